//! The edge's own sentences. What the rules of the domain say stands in `carbon_domain::error`.

use carbon_domain::Lang;

/// A text in both languages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LocalizedText {
    pub th: &'static str,
    pub en: &'static str,
}

impl LocalizedText {
    /// The text in one language.
    pub fn text(self, lang: Lang) -> &'static str {
        lang.pick(self.th, self.en)
    }
}

macro_rules! texts {
    ($($name:ident: $th:literal, $en:literal;)*) => {
        $(#[doc = $en] pub const $name: LocalizedText = LocalizedText { th: $th, en: $en };)*
        #[cfg(test)]
        const ALL: &[LocalizedText] = &[$($name),*];
    };
}

texts! {
    // One for each code of the envelope.
    VALIDATION: "ข้อมูลที่ส่งมาไม่ถูกต้อง", "Some of what was sent is not valid.";
    AUTH_REQUIRED: "กรุณาเข้าสู่ระบบก่อน", "Sign in first.";
    AUTH_INVALID: "ข้อมูลยืนยันตัวตนไม่ถูกต้อง", "This proof of identity is not valid.";
    AUTH_EXPIRED: "หมดเวลาแล้ว กรุณาเข้าสู่ระบบใหม่", "This has expired; sign in again.";
    PERMISSION: "ไม่ได้รับอนุญาต", "This is not allowed.";
    NOT_FOUND: "ไม่พบข้อมูล", "Not found.";
    METHOD: "ใช้วิธีเรียกนี้กับที่อยู่นี้ไม่ได้", "This address does not take that method.";
    CONFLICT: "ข้อมูลขัดแย้งกับที่มีอยู่", "This conflicts with what is there.";
    TOO_LARGE: "ข้อมูลที่ส่งมาใหญ่เกินไป", "The body is too large.";
    MEDIA_TYPE: "รองรับเฉพาะ application/json", "Only application/json is taken here.";
    RATE_LIMITED: "เรียกใช้บ่อยเกินไป กรุณาลองใหม่ภายหลัง", "Too many requests; try again later.";
    INTERNAL: "เกิดข้อผิดพลาดภายในระบบ", "Something went wrong on our side.";
    FEATURE: "ยังไม่เปิดให้ใช้งาน", "This feature is not available yet.";
    UNAVAILABLE: "ระบบขัดข้องชั่วคราว กรุณาลองใหม่อีกครั้ง", "A part of the service is down; try again soon.";
    // Sign-in.
    CODE_WRONG: "รหัสไม่ถูกต้องหรือถูกใช้ไปแล้ว", "The code is wrong or was used already.";
    CODE_EXPIRED: "รหัสหมดอายุแล้ว กรุณาขอรหัสใหม่", "The code has expired; ask for a new one.";
    CODE_SPENT: "ใส่รหัสผิดหลายครั้งเกินไป กรุณาขอรหัสใหม่", "Too many wrong tries; ask for a new code.";
    RESEND_LATER: "เพิ่งส่งรหัสไป กรุณารอก่อนขอรหัสใหม่", "A code was sent a moment ago; wait before asking for another.";
    TRIES_SPENT: "ใส่รหัสผิดหลายครั้งเกินไปสำหรับหมายเลขนี้ กรุณาลองใหม่ภายหลัง", "Too many wrong codes for this number; try again later.";
    SMS_SPENT: "ส่งรหัสไปยังหมายเลขนี้ครบจำนวนแล้ว กรุณาลองใหม่ภายหลัง", "This number has had all its codes for now; try again later.";
    NUMBER_LOCKED: "หมายเลขนี้ถูกล็อกชั่วคราว กรุณาเข้าสู่ระบบจากอุปกรณ์ที่เคยใช้ หรือติดต่อเรา", "This number is locked; sign in from a device used before, or write to us.";
    CHALLENGE: "กรุณายืนยันว่าไม่ใช่บอต หรือลองใหม่ภายหลัง", "Pass the challenge, or try again later.";
    SESSION_ENDED: "การเข้าสู่ระบบสิ้นสุดแล้ว กรุณาเข้าสู่ระบบใหม่", "The session has ended; sign in again.";
    REDIRECT_URI: "ที่อยู่ปลายทางนี้ไม่ได้ลงทะเบียนไว้", "This address is not one of the registered ones.";
    // Bodies and fields.
    LENGTH: "ข้อความนี้สั้นหรือยาวเกินไป", "This text is too short or too long.";
    REASON_LENGTH: "ระบุเหตุผลได้ไม่เกิน 200 ตัวอักษร", "A reason has 200 characters at most.";
    HEAD_TOO_LONG: "ที่อยู่หรือส่วนหัวของคำขอยาวเกินไป", "The address or a header is too long.";
    CONTENT_CODING: "รับเฉพาะข้อมูลที่ไม่ได้บีบอัด", "Compressed bodies are not taken here; send it as it is.";
    NOT_UTF8: "ข้อมูลต้องเข้ารหัสแบบ UTF-8", "The body must be UTF-8.";
    NOT_JSON: "ข้อมูลไม่ใช่ JSON ที่ถูกต้อง", "The body is not valid JSON.";
    TOO_DEEP: "JSON ซ้อนกันลึกเกินไป", "The JSON is nested too deeply.";
    REQUIRED: "กรุณาระบุข้อมูลช่องนี้", "This field is missing.";
    NOT_TEXT: "ช่องนี้ต้องเป็นข้อความ", "This field must be text.";
    NOT_A_FLAG: "ค่าต้องเป็น true หรือ false", "The value must be true or false.";
    NOT_A_UUID: "ค่าต้องเป็น UUID", "The value must be a UUID.";
    REPEATED: "ระบุพารามิเตอร์นี้ได้ครั้งเดียว", "This parameter may be given once.";
    OTP_CODE_FORM: "รหัสต้องเป็นตัวเลข 6 หลัก", "The code has six digits.";
    AROUND_FORM: "ค่าที่ใช้ได้คือ me", "The only value is me.";
    BATCH_TOO_LARGE: "ข้อมูลใหญ่เกิน 7 MiB กรุณาแบ่งส่งครั้งละน้อยลง", "The batch is larger than 7 MiB; send fewer entries at a time.";
    MIGRATION_TOO_LARGE: "ข้อมูลใหญ่เกิน 10 MiB กรุณาแบ่งส่งทีละคีย์หลายครั้ง", "The payload is larger than 10 MiB; send its keys over several calls.";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_sentence_is_there_in_both_languages() {
        for text in ALL {
            assert!(text.text(Lang::En).is_ascii(), "{}", text.en);
            let is_thai = |c| ('\u{0E00}'..='\u{0E7F}').contains(&c);
            assert!(text.text(Lang::Th).chars().any(is_thai), "{}", text.th);
        }
    }
}
