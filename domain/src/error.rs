//! Every mistake of a user or client, each with one stable token and one text per language.
//!
//! The extension raises the token as DETAIL, the Worker answers it as `code`, and neither has texts of its own. Errors that
//! only SQL can detect (a taken user name, an outdated revision) are here too, for the same reason.

use std::borrow::Cow;
use std::fmt;

use serde::Serialize;
use serde::ser::{SerializeStruct, Serializer};

use crate::lang::Lang;

macro_rules! errors {
    ($($variant:ident, $token:literal, $field:expr, $en:literal, $th:literal;)*) => {
        /// One kind of mistake. The token never changes; the texts may.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum DomainError {
            $(#[doc = $en] $variant,)*
        }

        impl DomainError {
            /// Every error, in the order of the documentation.
            pub const ALL: &'static [DomainError] = &[$(DomainError::$variant,)*];

            /// The stable token, for example `carbon.unknown_category`.
            #[must_use]
            pub const fn token(self) -> &'static str {
                match self { $(DomainError::$variant => concat!("carbon.", $token),)* }
            }

            /// The token without its prefix: a field's `code` in the edge's answers, the `reason` of a migration.
            #[must_use]
            pub const fn code(self) -> &'static str {
                match self { $(DomainError::$variant => $token,)* }
            }

            /// The input field that the error is usually about; `None` if it is not about a single field.
            #[must_use]
            pub const fn field(self) -> Option<&'static str> {
                match self { $(DomainError::$variant => $field,)* }
            }

            const fn texts(self) -> (&'static str, &'static str) {
                match self { $(DomainError::$variant => ($en, $th),)* }
            }
        }
    };
}

errors! {
    // Factors and amounts.
    UnknownCategory, "unknown_category", Some("category_id"), "There is no such waste category.", "ไม่มีประเภทขยะนี้";
    UnknownMethod, "unknown_method", Some("disposal_method"), "This category has no such disposal method.", "ประเภทขยะนี้ไม่มีวิธีจัดการดังกล่าว";
    UnknownFactorSet, "unknown_factor_set", Some("factor_set"), "There is no such factor set.", "ไม่มีชุดค่าคำนวณนี้";
    WeightRequired, "weight_required", Some("weight_kg"), "The weight in kilograms is missing.", "กรุณาระบุน้ำหนักเป็นกิโลกรัม";
    WeightNotANumber, "weight_not_a_number", Some("weight_kg"), "The weight must be a number of kilograms.", "น้ำหนักต้องเป็นตัวเลขหน่วยกิโลกรัม";
    WeightOutOfRange, "weight_out_of_range", Some("weight_kg"), "The weight must be between 0.01 and 100 kg.", "น้ำหนักต้องอยู่ระหว่าง 0.01 ถึง 100 กิโลกรัม";
    // Entries.
    NotAnObject, "not_an_object", None, "A JSON object is expected here.", "ข้อมูลส่วนนี้ต้องเป็นออบเจกต์ JSON";
    NotAList, "not_a_list", None, "A JSON list is expected here.", "ข้อมูลส่วนนี้ต้องเป็นรายการ JSON";
    CategoryRequired, "category_required", Some("category_id"), "The waste category is missing.", "กรุณาระบุประเภทขยะ";
    CategoryNotText, "category_not_text", Some("category_id"), "The waste category must be text.", "ประเภทขยะต้องเป็นข้อความ";
    MethodRequired, "method_required", Some("disposal_method"), "The disposal method is missing.", "กรุณาระบุวิธีจัดการขยะ";
    MethodNotText, "method_not_text", Some("disposal_method"), "The disposal method must be text.", "วิธีจัดการขยะต้องเป็นข้อความ";
    LoggedAtRequired, "logged_at_required", Some("logged_at"), "The time of the entry is missing.", "กรุณาระบุเวลาที่บันทึก";
    LoggedAtInvalid, "logged_at_invalid", Some("logged_at"), "The time must be ISO 8601 with a time zone, for example 2024-06-01T08:30:00+07:00.", "เวลาต้องอยู่ในรูปแบบ ISO 8601 พร้อมเขตเวลา เช่น 2024-06-01T08:30:00+07:00";
    LoggedAtInFuture, "logged_at_in_future", Some("logged_at"), "The time lies more than 5 minutes in the future; send the entry without it.", "เวลาที่บันทึกอยู่ในอนาคตเกิน 5 นาที กรุณาส่งใหม่โดยไม่ระบุเวลา";
    LoggedAtBuddhistEra, "logged_at_buddhist_era", Some("logged_at"), "The year is one of the Buddhist era; send the year of the common era (543 less).", "ปีที่ส่งมาเป็นพุทธศักราช กรุณาส่งเป็นคริสต์ศักราช (ลบ 543)";
    LoggedAtTooOld, "logged_at_too_old", Some("logged_at"), "Entries older than 7 years are not kept.", "ไม่รับรายการที่เก่ากว่า 7 ปี";
    LocationInvalid, "location_invalid", Some("location"), "The location must be {latitude, longitude}, both numbers.", "ตำแหน่งต้องประกอบด้วย latitude และ longitude ที่เป็นตัวเลข";
    LatitudeOutOfRange, "latitude_out_of_range", Some("location.latitude"), "The latitude must be between -90 and 90.", "ละติจูดต้องอยู่ระหว่าง -90 ถึง 90";
    LongitudeOutOfRange, "longitude_out_of_range", Some("location.longitude"), "The longitude must be between -180 and 180.", "ลองจิจูดต้องอยู่ระหว่าง -180 ถึง 180";
    NotesInvalid, "notes_invalid", Some("notes"), "The notes must be text without U+0000 and without half a surrogate pair (an emoji cut in two).", "บันทึกต้องเป็นข้อความที่ไม่มีอักขระ U+0000 และไม่มีอีโมจิที่ถูกตัดครึ่ง";
    NotesTooLong, "notes_too_long", Some("notes"), "The notes may have at most 500 characters.", "บันทึกยาวได้ไม่เกิน 500 ตัวอักษร";
    PlaceInvalid, "place_invalid", Some("place"), "The place must be text without U+0000 and without half a surrogate pair (an emoji cut in two).", "ชื่อสถานที่ต้องเป็นข้อความที่ไม่มีอักขระ U+0000 และไม่มีอีโมจิที่ถูกตัดครึ่ง";
    PlaceTooLong, "place_too_long", Some("place"), "The place may have at most 200 characters.", "ชื่อสถานที่ยาวได้ไม่เกิน 200 ตัวอักษร";
    ImageIdInvalid, "image_id_invalid", Some("image_id"), "The image id must be a UUID.", "รหัสรูปภาพต้องเป็น UUID";
    DeviceIdInvalid, "device_id_invalid", Some("device_id"), "The device id must be text of 1 to 100 characters.", "รหัสอุปกรณ์ต้องเป็นข้อความ 1 ถึง 100 ตัวอักษร";
    OfflineIdInvalid, "offline_id_invalid", Some("offline_id"), "The offline id must be text of 1 to 200 characters.", "รหัสออฟไลน์ต้องเป็นข้อความ 1 ถึง 200 ตัวอักษร";
    OfflineIdKnown, "offline_id_known", Some("offline_id"), "An entry with this offline id is stored already; nothing of this statement was stored.", "มีรายการที่ใช้รหัสออฟไลน์นี้อยู่แล้ว จึงไม่มีรายการใดในคำสั่งนี้ถูกบันทึก";
    EntryIdInvalid, "entry_id_invalid", Some("id"), "The entry's id must be a UUID.", "รหัสรายการต้องเป็น UUID";
    EntriesRequired, "entries_required", Some("entries"), "A list of entries is expected.", "กรุณาส่งรายการบันทึกอย่างน้อยหนึ่งรายการ";
    BatchTooLarge, "batch_too_large", Some("entries"), "At most 500 entries fit into one batch.", "ส่งได้ไม่เกิน 500 รายการต่อครั้ง";
    // Profile.
    UnknownField, "unknown_field", None, "There is no such field.", "ไม่มีช่องข้อมูลนี้";
    FieldReadOnly, "field_read_only", None, "This field cannot be changed here.", "ช่องข้อมูลนี้แก้ไขไม่ได้";
    UsernameInvalid, "username_invalid", Some("username"), "The user name must have 3 to 50 characters: letters a-z, digits, dot, dash, underscore.", "ชื่อผู้ใช้ต้องมี 3 ถึง 50 ตัว ใช้ได้เฉพาะ a-z ตัวเลข จุด ขีดกลาง และขีดล่าง";
    UsernameReserved, "username_reserved", Some("username"), "This user name is reserved.", "ชื่อผู้ใช้นี้สงวนไว้";
    UsernameTaken, "username_taken", Some("username"), "This user name is taken.", "ชื่อผู้ใช้นี้มีคนใช้แล้ว";
    DisplayNameInvalid, "display_name_invalid", Some("display_name"), "The display name must have 1 to 100 characters, something visible, and no control, direction or filler characters.", "ชื่อที่แสดงต้องมี 1 ถึง 100 ตัวอักษร มีอักขระที่มองเห็นได้ และไม่มีอักขระควบคุม อักขระกำหนดทิศทาง หรืออักขระว่าง";
    TextHasHiddenCharacters, "text_has_hidden_characters", None, "The text has characters that readers cannot see: zero-width, direction, control or filler characters.", "ข้อความมีอักขระที่มองไม่เห็น เช่น อักขระความกว้างศูนย์ อักขระกำหนดทิศทาง อักขระควบคุม หรืออักขระว่าง";
    TextNotAllowed, "text_not_allowed", None, "The text has a word that cannot be shown to others; choose another.", "ข้อความมีคำที่ไม่เหมาะสมจะแสดงให้ผู้อื่นเห็น กรุณาใช้คำอื่น";
    UnknownProvince, "unknown_province", Some("province"), "There is no such province; use its ISO code, for example TH-10.", "ไม่มีจังหวัดนี้ กรุณาใช้รหัส ISO เช่น TH-10";
    ProvinceRequired, "province_required", Some("province"), "Name a province, or set one in your profile.", "กรุณาระบุจังหวัด หรือตั้งจังหวัดในโปรไฟล์";
    DistrictInvalid, "district_invalid", Some("district"), "The district must have 1 to 100 characters, something visible, and no control, direction or filler characters.", "อำเภอหรือเขตต้องมี 1 ถึง 100 ตัวอักษร มีอักขระที่มองเห็นได้ และไม่มีอักขระควบคุม อักขระกำหนดทิศทาง หรืออักขระว่าง";
    PrivacyLevelInvalid, "privacy_level_invalid", Some("privacy_level"), "The privacy level must be 1, 2 or 3.", "ระดับความเป็นส่วนตัวต้องเป็น 1, 2 หรือ 3";
    FlagInvalid, "flag_invalid", None, "The value must be true or false.", "ค่าต้องเป็น true หรือ false";
    LanguageInvalid, "language_invalid", Some("language"), "The language must be th or en.", "ภาษาต้องเป็น th หรือ en";
    TimeZoneInvalid, "time_zone_invalid", Some("time_zone"), "The time zone must be an IANA name, for example Asia/Bangkok.", "เขตเวลาต้องเป็นชื่อตาม IANA เช่น Asia/Bangkok";
    DailyGoalInvalid, "daily_goal_invalid", Some("daily_goal"), "The daily goal must be a whole number between 1 and 100,000.", "เป้าหมายรายวันต้องเป็นจำนวนเต็มระหว่าง 1 ถึง 100,000";
    MeasurementUnitInvalid, "measurement_unit_invalid", Some("measurement_unit"), "The unit must be kg, g or lb.", "หน่วยวัดต้องเป็น kg, g หรือ lb";
    ThemeInvalid, "theme_invalid", Some("theme"), "The theme must be a short name of letters a-z, digits, dash or underscore.", "ธีมต้องเป็นชื่อสั้นที่ใช้ a-z ตัวเลข ขีดกลาง หรือขีดล่าง";
    NotificationSettingsInvalid, "notification_settings_invalid", Some("notification_settings"), "Notification settings must be an object of true and false.", "การตั้งค่าการแจ้งเตือนต้องเป็นออบเจกต์ที่มีค่า true หรือ false";
    // Phones.
    PhoneRequired, "phone_required", Some("phone_number"), "The phone number is missing.", "กรุณาระบุหมายเลขโทรศัพท์";
    PhoneInvalid, "phone_invalid", Some("phone_number"), "This is not a phone number.", "หมายเลขโทรศัพท์ไม่ถูกต้อง";
    PhoneTooShort, "phone_too_short", Some("phone_number"), "The phone number has too few digits.", "หมายเลขโทรศัพท์สั้นเกินไป";
    PhoneTooLong, "phone_too_long", Some("phone_number"), "The phone number has too many digits.", "หมายเลขโทรศัพท์ยาวเกินไป";
    PhoneForeign, "phone_foreign", Some("phone_number"), "Only Thai mobile numbers can be used.", "ใช้ได้เฉพาะหมายเลขโทรศัพท์มือถือของไทย";
    PhoneLandline, "phone_landline", Some("phone_number"), "This is a landline; a mobile number is needed to receive the code.", "หมายเลขนี้เป็นโทรศัพท์บ้าน กรุณาใช้หมายเลขมือถือเพื่อรับรหัส";
    PhoneVoip, "phone_voip", Some("phone_number"), "Internet telephony numbers cannot be used; a mobile number is needed.", "ใช้หมายเลขโทรศัพท์ผ่านอินเทอร์เน็ตไม่ได้ กรุณาใช้หมายเลขมือถือ";
    PhoneNotMobile, "phone_not_mobile", Some("phone_number"), "This is not a Thai mobile number.", "หมายเลขนี้ไม่ใช่หมายเลขมือถือของไทย";
    // Devices and sync.
    PlatformInvalid, "platform_invalid", Some("platform"), "The platform must be web, ios or android.", "แพลตฟอร์มต้องเป็น web, ios หรือ android";
    AppVersionInvalid, "app_version_invalid", Some("app_version"), "The app version must be text of at most 50 characters.", "เวอร์ชันแอปต้องเป็นข้อความไม่เกิน 50 ตัวอักษร";
    SinceRevisionInvalid, "since_revision_invalid", Some("since_revision"), "since_revision must be a whole number from 0.", "since_revision ต้องเป็นจำนวนเต็มตั้งแต่ 0";
    RevisionAhead, "revision_ahead", Some("since_revision"), "This device is ahead of the server; restore it from revision 0.", "อุปกรณ์นี้มีข้อมูลล้ำหน้าเซิร์ฟเวอร์ กรุณากู้คืนจากรุ่น 0";
    ExpectedRevisionInvalid, "expected_revision_invalid", Some("expected_revision"), "expected_revision must be a whole number from 1.", "expected_revision ต้องเป็นจำนวนเต็มตั้งแต่ 1";
    RevisionConflict, "revision_conflict", Some("expected_revision"), "The entry was changed meanwhile.", "รายการนี้ถูกแก้ไขไปแล้วจากที่อื่น";
    // Lists and reports.
    DateInvalid, "date_invalid", Some("date"), "The date must be YYYY-MM-DD.", "วันที่ต้องอยู่ในรูปแบบ YYYY-MM-DD";
    DateInFuture, "date_in_future", Some("date"), "The date lies beyond tomorrow.", "วันที่อยู่หลังวันพรุ่งนี้";
    DateBuddhistEra, "date_buddhist_era", Some("date"), "The year is one of the Buddhist era; send the year of the common era (543 less).", "ปีที่ส่งมาเป็นพุทธศักราช กรุณาส่งเป็นคริสต์ศักราช (ลบ 543)";
    MonthInvalid, "month_invalid", Some("month"), "The month must be YYYY-MM.", "เดือนต้องอยู่ในรูปแบบ YYYY-MM";
    DateRangeInvalid, "date_range_invalid", Some("date_to"), "date_to must not lie before date_from.", "วันที่สิ้นสุดต้องไม่มาก่อนวันที่เริ่มต้น";
    PageInvalid, "page_invalid", Some("page"), "The page must be a whole number from 1.", "หน้าต้องเป็นจำนวนเต็มตั้งแต่ 1";
    LimitInvalid, "limit_invalid", Some("limit"), "The limit must be a whole number within its range.", "จำนวนต่อหน้าต้องเป็นจำนวนเต็มในช่วงที่กำหนด";
    CursorInvalid, "cursor_invalid", Some("cursor"), "The cursor is not one of ours.", "ตัวชี้หน้าถัดไปไม่ถูกต้อง";
    PageAndCursor, "page_and_cursor", Some("cursor"), "Use either page or cursor.", "ใช้ page หรือ cursor อย่างใดอย่างหนึ่ง";
    QueryInvalid, "query_invalid", Some("q"), "The search text may have at most 100 characters.", "ข้อความค้นหายาวได้ไม่เกิน 100 ตัวอักษร";
    BoardTypeInvalid, "board_type_invalid", Some("type"), "The board must be global, province or friends.", "ประเภทอันดับต้องเป็น global, province หรือ friends";
    TimeframeInvalid, "timeframe_invalid", Some("timeframe"), "The timeframe must be daily, weekly, monthly or all_time.", "ช่วงเวลาต้องเป็น daily, weekly, monthly หรือ all_time";
    // Migration.
    MigrationUnreadable, "migration_unreadable", Some("payload"), "The payload is neither {local_storage: {...}} nor {waste_entries: [...]}.", "ข้อมูลที่ส่งมาไม่ใช่ {local_storage: {...}} หรือ {waste_entries: [...]}";
    MigrationTooManyEntries, "migration_too_many_entries", Some("payload"), "At most 20,000 entries can be migrated in one call; send the keys in several calls.", "ย้ายข้อมูลได้ไม่เกิน 20,000 รายการต่อครั้ง กรุณาแบ่งส่งทีละคีย์";
    DiaryNotMergeable, "diary_not_mergeable", None, "This diary cannot be moved into that account.", "ย้ายบันทึกนี้เข้าบัญชีนั้นไม่ได้";
    BatchNotFound, "batch_not_found", Some("batch_id"), "There is no such migration, or it can no longer be undone.", "ไม่พบการย้ายข้อมูลนี้ หรือย้อนกลับไม่ได้แล้ว";
    BatchIdInvalid, "batch_id_invalid", Some("batch_id"), "The batch id must be a UUID.", "รหัสการย้ายข้อมูลต้องเป็น UUID";
    // Goals.
    MetricUnknown, "metric_unknown", Some("criteria.metric"), "The criteria name no metric that exists here.", "เกณฑ์ไม่ได้ระบุตัวชี้วัดที่ใช้ได้ที่นี่";
    AtLeastInvalid, "at_least_invalid", Some("criteria.at_least"), "at_least must be a number of at least 1 (for weight_kg, kilograms from 0.001), at most 1,000,000,000.", "at_least ต้องเป็นตัวเลขตั้งแต่ 1 ขึ้นไป (weight_kg ตั้งแต่ 0.001 กิโลกรัม) และไม่เกิน 1,000,000,000";
    CriteriaMemberUnknown, "criteria_member_unknown", Some("criteria"), "This metric knows no such condition.", "ตัวชี้วัดนี้ไม่มีเงื่อนไขดังกล่าว";
    TallyInvalid, "tally_invalid", Some("tally"), "These bytes are no tally.", "ข้อมูลนี้ไม่ใช่ยอดรวมที่อ่านได้";
    // People.
    PersonRequired, "person_required", Some("user_id"), "Name one person: by user name, by code or by id.", "กรุณาระบุผู้ใช้หนึ่งคนด้วยชื่อผู้ใช้ รหัสเพื่อน หรือรหัสผู้ใช้";
    SelfRequest, "self_request", Some("user_id"), "This is your own account.", "นี่คือบัญชีของคุณเอง";
    UserIdInvalid, "user_id_invalid", Some("user_id"), "The user id must be a UUID.", "รหัสผู้ใช้ต้องเป็น UUID";
    RequestIdInvalid, "request_id_invalid", Some("request_id"), "The request id must be a UUID.", "รหัสคำขอต้องเป็น UUID";
    FriendStatusInvalid, "friend_status_invalid", Some("status"), "The status must be accepted, incoming, outgoing or blocked.", "สถานะต้องเป็น accepted, incoming, outgoing หรือ blocked";
    FriendsFull, "friends_full", None, "One of the two has 1,000 friends already.", "คนใดคนหนึ่งมีเพื่อนครบ 1,000 คนแล้ว";
    OpenFriendRequests, "open_friend_requests", None, "At most 200 friend requests can be open at once; withdraw one first.", "มีคำขอเป็นเพื่อนที่ยังรออยู่ได้ไม่เกิน 200 รายการ กรุณายกเลิกบางรายการก่อน";
    FriendRequestsPerHour, "friend_requests_per_hour", None, "At most 20 friend requests an hour; try again later.", "ส่งคำขอเป็นเพื่อนได้ไม่เกิน 20 ครั้งต่อชั่วโมง กรุณาลองใหม่ภายหลัง";
    PersonLookupsPerHour, "person_lookups_per_hour", None, "At most 30 people an hour can be looked up; try again later.", "ค้นหาผู้ใช้ได้ไม่เกิน 30 ครั้งต่อชั่วโมง กรุณาลองใหม่ภายหลัง";
    SelfReferral, "self_referral", Some("code"), "This is your own code.", "นี่คือรหัสของคุณเอง";
    AlreadyRedeemed, "already_redeemed", Some("code"), "You have redeemed a code already.", "คุณใช้รหัสแนะนำไปแล้ว";
    AccountTooOld, "account_too_old", Some("code"), "A code can be redeemed within 14 days after signing up.", "ใช้รหัสแนะนำได้ภายใน 14 วันหลังสมัครเท่านั้น";
    ReferralOrder, "referral_order", Some("code"), "Only an account that is older than yours can refer you.", "ผู้แนะนำต้องสมัครก่อนคุณ";
    ReferralReused, "referral_reused", Some("code"), "This number or sign-in was referred within the last 90 days.", "หมายเลขหรือบัญชีนี้เคยได้รับการแนะนำภายใน 90 วันที่ผ่านมา";
    RedeemsPerHour, "redeems_per_hour", None, "At most 10 codes an hour can be tried; try again later.", "ลองใช้รหัสแนะนำได้ไม่เกิน 10 ครั้งต่อชั่วโมง กรุณาลองใหม่ภายหลัง";
    ReferralIdInvalid, "referral_id_invalid", Some("referral_id"), "The referral id must be a UUID.", "รหัสการแนะนำต้องเป็น UUID";
    DecisionInvalid, "decision_invalid", Some("decision"), "The decision must be pay or refuse.", "การตัดสินใจต้องเป็น pay หรือ refuse";
    ReferralNotHeld, "referral_not_held", Some("referral_id"), "This referral does not wait for a decision.", "การแนะนำนี้ไม่ได้รอการตัดสินใจ";
    // Community challenges.
    ChallengeEnded, "challenge_ended", None, "This community challenge has ended or was cancelled.", "ชาเลนจ์ชุมชนนี้สิ้นสุดหรือถูกยกเลิกแล้ว";
    ChallengeJoined, "challenge_joined", None, "You take part in this community challenge already.", "คุณเข้าร่วมชาเลนจ์ชุมชนนี้อยู่แล้ว";
    ChallengesFull, "challenges_full", None, "You can take part in at most 20 running community challenges.", "เข้าร่วมชาเลนจ์ชุมชนที่ยังดำเนินอยู่ได้ไม่เกิน 20 รายการ";
    JoinCodeInvalid, "join_code_invalid", Some("join_code"), "This challenge needs the join code of the school.", "ชาเลนจ์นี้ต้องใช้รหัสเข้าร่วมของโรงเรียน";
    ChallengeStatusInvalid, "challenge_status_invalid", Some("status"), "The status must be active, upcoming or ended.", "สถานะต้องเป็น active, upcoming หรือ ended";
    RankedByInvalid, "ranked_by_invalid", Some("by"), "by must be people or provinces.", "by ต้องเป็น people หรือ provinces";
    ChallengeIdInvalid, "challenge_id_invalid", Some("challenge_id"), "The id of the community challenge must be a UUID.", "รหัสชาเลนจ์ชุมชนต้องเป็น UUID";
    ChallengeHasParticipants, "challenge_has_participants", None, "Somebody takes part already; only the texts can change.", "มีผู้เข้าร่วมแล้ว จึงแก้ไขได้เฉพาะข้อความ";
    // Callers and limits.
    NotSignedIn, "not_signed_in", None, "Sign in first.", "กรุณาเข้าสู่ระบบก่อน";
    PermissionDenied, "permission_denied", None, "This is not allowed.", "ไม่ได้รับอนุญาต";
    AccountRequired, "account_required", None, "This needs an account: sign in with a phone number or a provider first.", "ต้องมีบัญชีก่อน กรุณาเข้าสู่ระบบด้วยหมายเลขโทรศัพท์หรือผู้ให้บริการ";
    ReasonInvalid, "reason_invalid", Some("reason"), "A reason of 1 to 500 characters is needed.", "กรุณาระบุเหตุผล 1 ถึง 500 ตัวอักษร";
    WordInvalid, "word_invalid", Some("word"), "A word of the list has at most 100 letters, all Latin or all Thai; a Latin word may begin or end with an asterisk.", "คำในรายการต้องเป็นตัวอักษรไทยล้วนหรือละตินล้วน ไม่เกิน 100 ตัว คำละตินขึ้นต้นหรือลงท้ายด้วยดอกจันได้";
    WordStateInvalid, "word_state_invalid", Some("state"), "The state must be blocked, allowed or unlisted.", "สถานะต้องเป็น blocked, allowed หรือ unlisted";
    UnknownUser, "unknown_user", Some("user_id"), "This user has no profile.", "ไม่พบโปรไฟล์ของผู้ใช้นี้";
    NotFound, "not_found", None, "Not found.", "ไม่พบข้อมูล";
    IdempotencyKeyInvalid, "idempotency_key_invalid", Some("Idempotency-Key"), "The Idempotency-Key must have 1 to 255 visible ASCII characters.", "Idempotency-Key ต้องเป็นอักขระ ASCII ที่มองเห็นได้ 1 ถึง 255 ตัว";
    IdempotencyKeyReused, "idempotency_key_reused", Some("Idempotency-Key"), "This Idempotency-Key was used for another request; choose a new one.", "Idempotency-Key นี้ถูกใช้กับคำขออื่นแล้ว กรุณาใช้ค่าใหม่";
    RowsPerStatement, "rows_per_statement", None, "At most 500 entries can be written at once.", "เขียนได้ไม่เกิน 500 รายการต่อครั้ง";
    RowsPerHour, "rows_per_hour", None, "Too many entries within an hour; try again later.", "บันทึกมากเกินไปในหนึ่งชั่วโมง กรุณาลองใหม่ภายหลัง";
    UserMetadataTooLarge, "user_metadata_too_large", Some("data"), "The data kept with an account may have at most 4 KiB.", "ข้อมูลที่เก็บไว้กับบัญชีมีขนาดได้ไม่เกิน 4 KiB";
    EntriesPerDay, "entries_per_day", None, "At most 40,000 entries can be added in a day; try again tomorrow.", "เพิ่มได้ไม่เกิน 40,000 รายการต่อวัน กรุณาลองใหม่พรุ่งนี้";
    EntriesInAll, "entries_in_all", None, "A diary holds at most 400,000 entries.", "บันทึกทั้งหมดมีได้ไม่เกิน 400,000 รายการ";
    ImportsPerHour, "imports_per_hour", None, "At most 10 imports an hour, dry runs and roll-backs included; try again later.", "ย้ายข้อมูลได้ไม่เกิน 10 ครั้งต่อชั่วโมง รวมการทดลองและการย้อนกลับ กรุณาลองใหม่ภายหลัง";
    ImportsPerDay, "imports_per_day", None, "At most 30 imports a day, dry runs and roll-backs included; try again tomorrow.", "ย้ายข้อมูลได้ไม่เกิน 30 ครั้งต่อวัน รวมการทดลองและการย้อนกลับ กรุณาลองใหม่พรุ่งนี้";
    TooManyAtOnce, "too_many_at_once", None, "Too many requests at the same time; try again in a moment.", "มีคำขอพร้อมกันมากเกินไป กรุณาลองใหม่อีกครั้ง";
    AlreadyRunning, "already_running", None, "The same is being done already; ask again in a moment for what came of it.", "กำลังดำเนินการคำขอเดียวกันอยู่ กรุณาลองใหม่อีกครั้งเพื่อดูผล";
    SessionEnded, "session_ended", None, "This session has ended; sign in again.", "เซสชันนี้สิ้นสุดแล้ว กรุณาเข้าสู่ระบบใหม่";
    KeptAnswers, "kept_answers", Some("Idempotency-Key"), "Too many writes with an Idempotency-Key within a day; try again later.", "มีคำขอที่ใช้ Idempotency-Key มากเกินไปในหนึ่งวัน กรุณาลองใหม่ภายหลัง";
    FilterRequired, "filter_required", None, "Say which rows: a change or deletion without a filter is refused.", "กรุณาระบุเงื่อนไข ไม่สามารถแก้ไขหรือลบโดยไม่มีตัวกรอง";
    IdentityTaken, "identity_taken", None, "This identity already signs in to another account.", "บัญชีนี้ใช้เข้าสู่ระบบของผู้ใช้อื่นอยู่แล้ว";
    ProviderLinked, "provider_linked", None, "The account already has an identity of this provider; remove that one first.", "บัญชีนี้เชื่อมกับผู้ให้บริการรายนี้อยู่แล้ว กรุณายกเลิกการเชื่อมเดิมก่อน";
    LastIdentity, "last_identity", None, "This is the only way into the account; add a phone number or another identity first.", "นี่เป็นช่องทางเข้าสู่ระบบเดียวที่เหลือ กรุณาเพิ่มหมายเลขโทรศัพท์หรือบัญชีอื่นก่อน";
    PasswordsNotUsed, "passwords_not_used", None, "Nobody here has a password; sign in with a code.", "ระบบนี้ไม่ใช้รหัสผ่าน กรุณาเข้าสู่ระบบด้วยรหัสยืนยัน";
}

impl DomainError {
    /// The text shown to users in this language.
    #[must_use]
    pub const fn message(self, lang: Lang) -> &'static str {
        let (en, th) = self.texts();
        match lang {
            Lang::En => en,
            Lang::Th => th,
        }
    }

    /// The error of a token, with or without the prefix `carbon.`; `None` for anything else.
    #[must_use]
    pub fn from_token(token: &str) -> Option<DomainError> {
        let code = token.strip_prefix("carbon.").unwrap_or(token);
        DomainError::ALL
            .iter()
            .copied()
            .find(|error| error.code() == code)
    }
}

impl fmt::Display for DomainError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.message(Lang::En))
    }
}

impl std::error::Error for DomainError {}

/// A mistake in one field of what a client sent.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct FieldError {
    /// Path of the field in the input, for example `weight_kg` or `location.latitude`.
    pub field: Cow<'static, str>,
    /// What is wrong with it.
    pub error: DomainError,
}

impl FieldError {
    /// An error about `field`, regardless of the field that it is usually about.
    #[must_use]
    pub fn new(field: impl Into<Cow<'static, str>>, error: DomainError) -> FieldError {
        FieldError {
            field: field.into(),
            error,
        }
    }
}

impl From<DomainError> for FieldError {
    /// An error about its usual field (an empty path if there is none).
    fn from(error: DomainError) -> FieldError {
        FieldError::new(error.field().unwrap_or(""), error)
    }
}

impl fmt::Display for FieldError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.field.is_empty() {
            write!(formatter, "{}", self.error)
        } else {
            write!(formatter, "{}: {}", self.field, self.error)
        }
    }
}

impl std::error::Error for FieldError {}

impl Serialize for FieldError {
    /// `{field, token, code, message_th, message_en}`
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut out = serializer.serialize_struct("FieldError", 5)?;
        out.serialize_field("field", &self.field)?;
        out.serialize_field("token", self.error.token())?;
        out.serialize_field("code", self.error.code())?;
        out.serialize_field("message_th", self.error.message(Lang::Th))?;
        out.serialize_field("message_en", self.error.message(Lang::En))?;
        out.end()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn tokens_are_unique_and_lead_back_to_their_error() {
        let mut seen = HashSet::new();
        for error in DomainError::ALL {
            assert!(seen.insert(error.token()), "{} stands twice", error.token());
            assert_eq!(DomainError::from_token(error.token()), Some(*error));
            assert_eq!(DomainError::from_token(error.code()), Some(*error));
            assert!(
                error
                    .code()
                    .bytes()
                    .all(|byte| byte.is_ascii_lowercase() || byte == b'_')
            );
        }
        assert_eq!(DomainError::from_token("carbon.carbon.not_found"), None);
    }

    #[test]
    fn every_error_has_a_text_in_both_languages() {
        for error in DomainError::ALL {
            assert!(error.message(Lang::En).is_ascii(), "{error:?}");
            let is_thai = |character| ('\u{0E00}'..='\u{0E7F}').contains(&character);
            assert!(error.message(Lang::Th).chars().any(is_thai), "{error:?}");
        }
    }

    #[test]
    fn a_field_error_names_its_field() {
        let error = FieldError::from(DomainError::WeightOutOfRange);
        assert_eq!(
            error.to_string(),
            "weight_kg: The weight must be between 0.01 and 100 kg."
        );
        assert_eq!(
            FieldError::from(DomainError::NotFound).to_string(),
            "Not found."
        );
        let json = serde_json::to_value(&error).unwrap();
        assert_eq!(json["token"], "carbon.weight_out_of_range");
        assert_eq!(json["code"], "weight_out_of_range");
        assert!(json["message_th"].is_string() && json["message_en"].is_string());
    }
}
