//! Query parameters: read, checked, and made the named arguments of an rpc. All problems are
//! gathered, so that one answer names every bad parameter.

use carbon_domain::DomainError;
use carbon_domain::time::{parse_date, parse_month};
use chrono::{DateTime, Utc};
use serde_json::{Map, Value, json};

use crate::error::{ApiError, FieldProblem};
use crate::messages;
use crate::uuid::is_uuid;

/// Rows of a page, at most.
pub const MAX_LIMIT: i64 = 100;
/// Rows of a page when the caller does not say.
pub const DEFAULT_LIMIT: i64 = 20;
/// Characters of a search text.
const MAX_SEARCH_CHARACTERS: usize = 100;
/// Bytes of a cursor.
const MAX_CURSOR_BYTES: usize = 512;

/// The parameters of a request and what was wrong with them.
pub struct Query {
    pairs: Vec<(String, String)>,
    arguments: Map<String, Value>,
    problems: Vec<FieldProblem>,
    now: DateTime<Utc>,
}

impl Query {
    /// Parameters in the order they were sent, decoded; dates are bounded by `now`.
    pub fn new(pairs: Vec<(String, String)>, now: DateTime<Utc>) -> Self {
        Self {
            pairs,
            now,
            arguments: Map::new(),
            problems: Vec::new(),
        }
    }

    /// The text of a parameter; a repeated one is a problem.
    pub fn text(&mut self, name: &str) -> Option<String> {
        let mut values = self
            .pairs
            .iter()
            .filter(|(n, _)| n == name)
            .map(|(_, value)| value.clone());
        let first = values.next();
        if values.next().is_some() {
            self.problems
                .push(FieldProblem::new(name, "repeated", messages::REPEATED));
        }
        first
    }

    /// Sets an argument of the rpc.
    pub fn set(&mut self, argument: &str, value: impl Into<Value>) {
        self.arguments.insert(argument.to_owned(), value.into());
    }

    fn refuse(&mut self, name: &str, error: DomainError) {
        self.problems.push(FieldProblem::domain(name, error));
    }

    /// A parameter that must pass `is_right`, passed on as text under the name `argument`.
    pub fn checked(
        &mut self,
        name: &str,
        argument: &str,
        error: DomainError,
        is_right: impl Fn(&str) -> bool,
    ) {
        match self.text(name) {
            Some(value) if is_right(&value) => self.set(argument, value),
            Some(_) => self.refuse(name, error),
            None => {}
        }
    }

    /// A date `YYYY-MM-DD` that exists and lies no later than tomorrow.
    pub fn date(&mut self, name: &str, argument: &str) {
        let now = self.now;
        self.read(name, argument, |text| parse_date(text, now));
    }

    fn read<T>(
        &mut self,
        name: &str,
        argument: &str,
        read: impl Fn(&str) -> Result<T, DomainError>,
    ) {
        let Some(value) = self.text(name) else { return };
        match read(&value) {
            Ok(_) => self.set(argument, value),
            Err(error) => self.refuse(name, error),
        }
    }

    /// `date_from` and `date_to`, both inclusive, not the wrong way round.
    pub fn date_range(&mut self) {
        self.date("date_from", "date_from");
        self.date("date_to", "date_to");
        let wrong_way = match (
            self.arguments.get("date_from"),
            self.arguments.get("date_to"),
        ) {
            // Dates in this form compare as texts do.
            (Some(Value::String(from)), Some(Value::String(to))) => from > to,
            _ => false,
        };
        if wrong_way {
            self.refuse("date_to", DomainError::DateRangeInvalid);
        }
    }

    /// A month `YYYY-MM` that has begun by tomorrow.
    pub fn month(&mut self, name: &str) {
        let now = self.now;
        self.read(name, name, |text| parse_month(text, now));
    }

    /// One of a few words.
    pub fn one_of(&mut self, name: &str, argument: &str, error: DomainError, words: &[&str]) {
        self.checked(name, argument, error, |text| words.contains(&text));
    }

    /// A text that is searched for: at most 100 characters; an empty one searches for nothing.
    pub fn search(&mut self, name: &str) {
        self.checked(name, name, DomainError::QueryInvalid, |text| {
            text.chars().count() <= MAX_SEARCH_CHARACTERS && !text.contains('\0')
        });
        self.remove_if_empty(name);
    }

    fn remove_if_empty(&mut self, argument: &str) {
        if self.arguments.get(argument).and_then(Value::as_str) == Some("") {
            self.arguments.remove(argument);
        }
    }

    /// `limit` (1–100, default 20) as `page_size`.
    pub fn limit(&mut self) {
        self.limit_up_to(MAX_LIMIT);
    }

    /// `limit` (1–`max`, default 20) as `page_size`.
    pub fn limit_up_to(&mut self, max: i64) {
        let limit = self.number("limit", 1, max, DomainError::LimitInvalid);
        self.set("page_size", limit.unwrap_or(DEFAULT_LIMIT));
    }

    /// `cursor`; an empty one counts as absent.
    pub fn cursor(&mut self) {
        self.checked("cursor", "cursor", DomainError::CursorInvalid, |text| {
            text.len() <= MAX_CURSOR_BYTES && text.bytes().all(|byte| byte.is_ascii_graphic())
        });
        self.remove_if_empty("cursor");
    }

    /// `page` or `cursor`, and `limit`.
    pub fn paging(&mut self) {
        self.limit();
        // Pages so far out that row numbers overflow are no pages.
        let page = self.number(
            "page",
            1,
            i64::from(i32::MAX) / MAX_LIMIT,
            DomainError::PageInvalid,
        );
        self.cursor();
        if let Some(page) = page {
            if self.arguments.contains_key("cursor") {
                self.refuse("cursor", DomainError::PageAndCursor);
            }
            self.set("page", page);
        }
    }

    fn number(&mut self, name: &str, min: i64, max: i64, error: DomainError) -> Option<i64> {
        let text = self.text(name)?;
        let digits = text.bytes().all(|byte| byte.is_ascii_digit());
        match text.parse::<i64>() {
            Ok(number) if digits && (min..=max).contains(&number) => Some(number),
            _ => {
                self.refuse(name, error);
                None
            }
        }
    }

    /// `true` or `false`; absent is `false`.
    pub fn flag(&mut self, name: &str) -> bool {
        match self.text(name).as_deref() {
            None | Some("false") => false,
            Some("true") => true,
            Some(_) => {
                self.problems.push(FieldProblem::new(
                    name,
                    "flag_invalid",
                    messages::NOT_A_FLAG,
                ));
                false
            }
        }
    }

    /// `around=me`.
    pub fn around_me(&mut self) {
        match self.text("around").as_deref() {
            None => {}
            Some("me") => self.set("around_me", true),
            Some(_) => {
                let problem = FieldProblem::new("around", "around_invalid", messages::AROUND_FORM);
                self.problems.push(problem);
            }
        }
    }

    /// The arguments, if nothing was wrong.
    ///
    /// # Errors
    /// `VALIDATION_ERROR` naming every bad parameter.
    pub fn arguments(self) -> Result<Value, ApiError> {
        if self.problems.is_empty() {
            Ok(Value::Object(self.arguments))
        } else {
            Err(ApiError::fields(self.problems))
        }
    }
}

/// A UUID from the path.
///
/// # Errors
/// `VALIDATION_ERROR` naming `field` for anything else.
pub fn path_uuid(field: &str, text: &str, error: DomainError) -> Result<Value, ApiError> {
    if is_uuid(text) {
        Ok(json!(text))
    } else {
        Err(ApiError::field(FieldProblem::domain(field, error)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use carbon_domain::Lang;

    fn query(pairs: &[(&str, &str)]) -> Query {
        Query::new(
            pairs
                .iter()
                .map(|(n, v)| ((*n).to_owned(), (*v).to_owned()))
                .collect(),
            DateTime::from_timestamp(1_795_860_000, 0).unwrap(),
        )
    }

    fn bad_fields(query: Query) -> Vec<String> {
        let error = query.arguments().expect_err("something must be wrong");
        let shown: Value = serde_json::from_str(&error.envelope(Lang::En, "")).unwrap();
        let fields = shown["error"]["details"]["fields"]
            .as_array()
            .unwrap()
            .clone();
        fields
            .iter()
            .map(|f| f["code"].as_str().unwrap().to_owned())
            .collect()
    }

    #[test]
    fn a_list_has_a_limit_and_a_page_or_a_cursor() {
        let mut empty = query(&[]);
        empty.paging();
        assert_eq!(empty.arguments().unwrap(), json!({"page_size": 20}));
        let mut paged = query(&[("page", "3"), ("limit", "100")]);
        paged.paging();
        assert_eq!(
            paged.arguments().unwrap(),
            json!({"page": 3, "page_size": 100})
        );
        let mut both = query(&[("page", "3"), ("cursor", "abc")]);
        both.paging();
        assert_eq!(bad_fields(both), ["page_and_cursor"]);
    }

    #[test]
    fn all_bad_parameters_are_named_at_once() {
        let mut bad = query(&[
            ("limit", "0"),
            ("page", "-1"),
            ("cursor", "a b"),
            ("date_from", "2024-02-30"),
            ("month", "2024-13"),
            ("q", &"ก".repeat(101)),
            ("type", "moon"),
            ("around", "you"),
        ]);
        bad.paging();
        bad.date_range();
        bad.month("month");
        bad.search("q");
        bad.one_of(
            "type",
            "board_type",
            DomainError::BoardTypeInvalid,
            &["global"],
        );
        bad.around_me();
        assert_eq!(
            bad_fields(bad),
            [
                "limit_invalid",
                "page_invalid",
                "cursor_invalid",
                "date_invalid",
                "month_invalid",
                "query_invalid",
                "board_type_invalid",
                "around_invalid"
            ]
        );
    }

    #[test]
    fn numbers_are_plain_digits_in_range() {
        for text in ["101", "+5", "1e2", " 5", "5.0", "٥", "99999999999999999999"] {
            let mut bad = query(&[("limit", text)]);
            bad.paging();
            assert_eq!(bad_fields(bad), ["limit_invalid"], "{text}");
        }
    }

    #[test]
    fn a_list_may_have_a_lower_limit() {
        for (text, is_right) in [("50", true), ("51", false), ("0", false)] {
            let mut query = query(&[("limit", text)]);
            query.limit_up_to(50);
            assert_eq!(query.arguments().is_ok(), is_right, "{text}");
        }
    }

    #[test]
    fn ranges_repeats_and_empty_values() {
        let mut range = query(&[("date_from", "2024-05-02"), ("date_to", "2024-05-01")]);
        range.date_range();
        assert_eq!(bad_fields(range), ["date_range_invalid"]);
        let mut repeated = query(&[("page", "1"), ("page", "2")]);
        repeated.paging();
        assert_eq!(bad_fields(repeated), ["repeated"]);
        let mut empty = query(&[("q", ""), ("cursor", "")]);
        empty.search("q");
        empty.paging();
        assert_eq!(empty.arguments().unwrap(), json!({"page_size": 20}));
        let mut nothing = query(&[("date", ""), ("around", ""), ("limit", "")]);
        nothing.date("date", "day");
        nothing.around_me();
        nothing.paging();
        let expected = ["date_invalid", "around_invalid", "limit_invalid"];
        assert_eq!(bad_fields(nothing), expected);
    }

    #[test]
    fn a_range_may_be_one_day() {
        let day = "2024-05-02";
        let mut range = query(&[("date_from", day), ("date_to", day)]);
        range.date_range();
        let expected = json!({"date_from": day, "date_to": day});
        assert_eq!(range.arguments().unwrap(), expected);
    }

    #[test]
    fn a_month_is_a_year_and_two_digits() {
        let mut good = query(&[("month", "2024-05")]);
        good.month("month");
        assert_eq!(good.arguments().unwrap(), json!({"month": "2024-05"}));
        for text in ["2024-5", "2024-00", "2024-05-01", "24-05", "2024/05"] {
            let mut bad = query(&[("month", text)]);
            bad.month("month");
            assert_eq!(bad_fields(bad), ["month_invalid"], "{text}");
        }
    }

    #[test]
    fn a_page_is_one_whose_rows_can_be_numbered() {
        let mut last = query(&[("page", "21474836")]);
        last.paging();
        assert_eq!(last.arguments().unwrap()["page"], 21_474_836);
        let mut beyond = query(&[("page", "21474837")]);
        beyond.paging();
        assert_eq!(bad_fields(beyond), ["page_invalid"]);
    }

    #[test]
    fn a_flag_is_true_or_false_and_absent_is_false() {
        for (pairs, expected) in [
            (&[][..], false),
            (&[("dry_run", "false")], false),
            (&[("dry_run", "true")], true),
        ] {
            let mut query = query(pairs);
            assert_eq!(query.flag("dry_run"), expected, "{pairs:?}");
            assert!(query.arguments().is_ok());
        }
        for text in ["", "1", "True", "yes"] {
            let mut bad = query(&[("dry_run", text)]);
            assert!(!bad.flag("dry_run"));
            assert_eq!(bad_fields(bad), ["flag_invalid"], "{text}");
        }
    }

    #[test]
    fn a_refused_date_is_named_by_its_parameter_with_its_own_code() {
        for (text, code) in [
            ("2023-02-29", "date_invalid"),
            ("0000-01-01", "date_invalid"),
            ("2569-11-28", "date_buddhist_era"),
            ("2026-12-31", "date_in_future"),
        ] {
            for name in ["date_from", "date_to"] {
                let mut bad = query(&[(name, text)]);
                bad.date_range();
                assert_eq!(bad_fields(bad), [code], "{name} {text}");
            }
        }
        for (text, code) in [
            ("2569-11", "date_buddhist_era"),
            ("2027-01", "date_in_future"),
            ("0000-01", "month_invalid"),
        ] {
            let mut bad = query(&[("month", text)]);
            bad.month("month");
            assert_eq!(bad_fields(bad), [code], "{text}");
        }
    }

    #[test]
    fn the_caller_s_own_surroundings_are_asked_for_with_around_me() {
        for (pairs, expected) in [
            (&[][..], json!({})),
            (&[("around", "me")], json!({"around_me": true})),
        ] {
            let mut query = query(pairs);
            query.around_me();
            assert_eq!(query.arguments().unwrap(), expected);
        }
    }

    #[test]
    fn path_ids_are_uuids() {
        assert!(
            path_uuid(
                "id",
                "6F1B0B1E-3c52-4f43-9a53-1f6a5a1f0c11",
                DomainError::EntryIdInvalid
            )
            .is_ok()
        );
        assert!(path_uuid("id", "1", DomainError::EntryIdInvalid).is_err());
    }
}
