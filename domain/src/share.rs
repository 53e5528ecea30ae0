//! What a user passes on to people outside: a title and a text without a picture, for a link.

/// What is shared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    /// An achievement, by its name.
    Achievement,
    /// A level, trees saved, days in a row, or a community challenge; by its name.
    Milestone,
    /// A referral code.
    Referral,
}

impl Subject {
    /// The subject of a name in SQL, `None` for any other.
    #[must_use]
    pub fn by_name(name: &str) -> Option<Subject> {
        Some(match name {
            "achievement" => Subject::Achievement,
            "milestone" => Subject::Milestone,
            "referral" => Subject::Referral,
            _ => return None,
        })
    }

    /// Title and text in Thai, `{}` for the thing itself.
    const fn thai(self) -> (&'static str, &'static str) {
        match self {
            Self::Achievement => (
                "ฉันได้รับ “{}”",
                "ฉันคัดแยกขยะกับ Carbon-Pixels จนได้รับ “{}” มาเริ่มด้วยกันไหม",
            ),
            Self::Milestone => (
                "ฉันทำได้แล้ว: {}",
                "ฉันคัดแยกขยะกับ Carbon-Pixels และทำได้แล้ว: {} มาเริ่มด้วยกันไหม",
            ),
            Self::Referral => (
                "มาคัดแยกขยะด้วยกัน",
                "สมัคร Carbon-Pixels ด้วยรหัส {} ของฉัน แล้วเราทั้งคู่จะได้รับเครดิต",
            ),
        }
    }

    /// The same in English.
    const fn english(self) -> (&'static str, &'static str) {
        match self {
            Self::Achievement => (
                "I earned “{}”",
                "I sort my waste with Carbon-Pixels and earned “{}”. Will you join me?",
            ),
            Self::Milestone => (
                "I did it: {}",
                "I sort my waste with Carbon-Pixels, and I did it: {}. Will you join me?",
            ),
            Self::Referral => (
                "Sort your waste with me",
                "Join Carbon-Pixels with my code {}, and both of us earn credits.",
            ),
        }
    }

    /// Title and text about the thing of this name, in Thai and in English.
    #[must_use]
    pub fn card(self, name_th: &str, name_en: &str) -> [(String, String); 2] {
        let filled = |(title, text): (&str, &str), name: &str| {
            (title.replace("{}", name), text.replace("{}", name))
        };
        [
            filled(self.thai(), name_th),
            filled(self.english(), name_en),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_card_names_its_subject_in_both_languages() {
        for name in ["achievement", "milestone", "referral"] {
            let subject = Subject::by_name(name).unwrap();
            let cards = subject.card("หนึ่ง", "one");
            for ((title, text), own) in cards.iter().zip(["หนึ่ง", "one"]) {
                assert!(text.contains(own), "{text}");
                assert_eq!(title.contains(own), subject != Subject::Referral, "{title}");
                assert!(!title.contains("{}") && !text.contains("{}"));
                assert!(text.contains("Carbon-Pixels"));
            }
        }
        assert_eq!(Subject::by_name("entry"), None);
    }
}
