//! Fields of a JSON body: read one by one, all problems gathered.

use carbon_domain::DomainError;
use carbon_domain::device::check_app_version;
use carbon_domain::entry::check_device_id;
use serde_json::{Map, Value};

use crate::error::{ApiError, FieldProblem};
use crate::messages;

/// A body, and the problems found so far. `null` counts as absent.
pub struct Fields<'a> {
    object: &'a Map<String, Value>,
    /// Goes before the names in problems: empty, or `device_info.` and the like.
    prefix: &'static str,
    problems: Vec<FieldProblem>,
}

/// The device that signs in.
pub struct DeviceInfo {
    /// 1 to 100 characters.
    pub device_id: String,
    /// `web`, `ios` or `android`.
    pub platform: String,
    /// At most 50 characters without U+0000.
    pub app_version: Option<String>,
}

/// An integer, also written `3.0`.
pub fn integer(value: &Value) -> Option<i64> {
    let text = value.as_number()?.as_str();
    let (digits, decimals) = text.split_once('.').unwrap_or((text, ""));
    if decimals.bytes().all(|byte| byte == b'0') {
        digits.parse().ok()
    } else {
        None
    }
}

impl<'a> Fields<'a> {
    /// The fields of a body.
    pub fn of(object: &'a Map<String, Value>) -> Self {
        Self {
            object,
            prefix: "",
            problems: Vec::new(),
        }
    }

    fn path(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    fn value(&self, name: &str) -> Option<&'a Value> {
        self.object.get(name).filter(|value| !value.is_null())
    }

    /// Notes a problem with a field.
    pub fn refuse(&mut self, name: &str, error: DomainError) {
        self.problems
            .push(FieldProblem::domain(&self.path(name), error));
    }

    /// Notes a problem of a rule that only the edge has.
    pub fn note(&mut self, problem: FieldProblem) {
        self.problems.push(problem);
    }

    /// A text, if it is there.
    pub fn optional_text(&mut self, name: &str) -> Option<String> {
        match self.value(name)? {
            Value::String(text) => Some(text.clone()),
            _ => {
                let path = self.path(name);
                self.problems
                    .push(FieldProblem::new(&path, "not_text", messages::NOT_TEXT));
                None
            }
        }
    }

    /// A text that must be there; an empty one is a problem and comes back empty.
    pub fn text(&mut self, name: &str) -> String {
        let before = self.problems.len();
        let text = self.optional_text(name).unwrap_or_default();
        if text.is_empty() && self.problems.len() == before {
            let path = self.path(name);
            self.problems.push(FieldProblem::required(&path));
        }
        text
    }

    /// `true` or `false`, if it is there.
    pub fn optional_flag(&mut self, name: &str) -> Option<bool> {
        let value = self.value(name)?;
        if !value.is_boolean() {
            self.refuse(name, DomainError::FlagInvalid);
        }
        value.as_bool()
    }

    /// An integer in a range.
    pub fn integer_in(
        &mut self,
        name: &str,
        range: std::ops::RangeInclusive<i64>,
        error: DomainError,
    ) -> Option<i64> {
        let number = integer(self.value(name)?).filter(|number| range.contains(number));
        if number.is_none() {
            self.refuse(name, error);
        }
        number
    }

    /// `device_info`, which must be there if `required`.
    pub fn device_info(&mut self, required: bool) -> Option<DeviceInfo> {
        let info = match self.value("device_info") {
            Some(Value::Object(info)) => info,
            Some(_) => {
                self.refuse("device_info", DomainError::NotAnObject);
                return None;
            }
            None => {
                if required {
                    self.problems.push(FieldProblem::required("device_info"));
                }
                return None;
            }
        };
        let mut fields = Fields {
            object: info,
            prefix: "device_info.",
            problems: Vec::new(),
        };
        let device_id = fields.text("device_id");
        if !device_id.is_empty() && check_device_id(&device_id).is_err() {
            fields.refuse("device_id", DomainError::DeviceIdInvalid);
        }
        let platform = fields.text("platform");
        if !platform.is_empty() && !["web", "ios", "android"].contains(&platform.as_str()) {
            fields.refuse("platform", DomainError::PlatformInvalid);
        }
        let app_version = fields.optional_text("app_version");
        if app_version
            .as_ref()
            .is_some_and(|version| check_app_version(version).is_err())
        {
            fields.refuse("app_version", DomainError::AppVersionInvalid);
        }
        self.problems.append(&mut fields.problems);
        Some(DeviceInfo {
            device_id,
            platform,
            app_version,
        })
    }

    /// Ends the reading.
    ///
    /// # Errors
    /// `VALIDATION_ERROR` naming every bad field.
    pub fn end(self) -> Result<(), ApiError> {
        if self.problems.is_empty() {
            Ok(())
        } else {
            Err(ApiError::fields(self.problems))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use carbon_domain::Lang;
    use serde_json::json;

    fn bad(body: &Value, read: impl Fn(&mut Fields)) -> Vec<String> {
        let mut fields = Fields::of(body.as_object().unwrap());
        read(&mut fields);
        let Err(error) = fields.end() else {
            return Vec::new();
        };
        let shown: Value = serde_json::from_str(&error.envelope(Lang::En, "")).unwrap();
        let all = shown["error"]["details"]["fields"]
            .as_array()
            .unwrap()
            .clone();
        all.iter()
            .map(|f| {
                format!(
                    "{} {}",
                    f["field"].as_str().unwrap(),
                    f["code"].as_str().unwrap()
                )
            })
            .collect()
    }

    #[test]
    fn missing_null_and_wrong_types_are_named() {
        let body = json!({"a": 1, "b": null, "c": "", "d": "x"});
        let problems = bad(&body, |fields| {
            for name in ["a", "b", "c", "d", "e"] {
                fields.text(name);
            }
        });
        assert_eq!(
            problems,
            ["a not_text", "b required", "c required", "e required"]
        );
    }

    #[test]
    fn a_device_is_checked_field_by_field() {
        let good =
            json!({"device_info": {"device_id": "d", "platform": "web", "app_version": "1"}});
        assert!(bad(&good, |fields| assert!(fields.device_info(true).is_some())).is_empty());
        let wrong = json!({"device_info": {"device_id": "", "platform": "tv", "app_version": "x".repeat(51)}});
        assert_eq!(
            bad(&wrong, |fields| drop(fields.device_info(true))),
            [
                "device_info.device_id required",
                "device_info.platform platform_invalid",
                "device_info.app_version app_version_invalid"
            ]
        );
        let unstorable =
            json!({"device_info": {"device_id": "a\0", "platform": "web\0", "app_version": "1\0"}});
        assert_eq!(
            bad(&unstorable, |fields| drop(fields.device_info(true))),
            [
                "device_info.device_id device_id_invalid",
                "device_info.platform platform_invalid",
                "device_info.app_version app_version_invalid"
            ]
        );
        assert_eq!(
            bad(&json!({}), |fields| drop(fields.device_info(true))),
            ["device_info required"]
        );
        assert!(bad(&json!({}), |fields| drop(fields.device_info(false))).is_empty());
    }

    #[test]
    fn an_app_version_has_at_most_fifty_characters() {
        let read = |length| {
            let info =
                json!({"device_id": "d", "platform": "web", "app_version": "ก".repeat(length)});
            bad(&json!({ "device_info": info }), |fields| {
                drop(fields.device_info(true));
            })
        };
        assert!(read(50).is_empty());
        assert_eq!(read(51), ["device_info.app_version app_version_invalid"]);
    }

    #[test]
    fn a_problem_of_the_edge_s_own_rules_is_listed_with_the_others() {
        let problems = bad(&json!({}), |fields| {
            fields.note(FieldProblem::new("a", "not_text", messages::NOT_TEXT));
            fields.refuse("b", DomainError::LimitInvalid);
        });
        assert_eq!(problems, ["a not_text", "b limit_invalid"]);
    }

    #[test]
    fn integers_are_integers_in_their_range() {
        for (value, good) in [
            (json!(0), true),
            (json!(500), true),
            (json!(501), false),
            (json!(-1), false),
            (json!(1.5), false),
            (json!(2.0), true),
            (json!("1"), false),
        ] {
            let body = json!({ "n": value });
            let problems = bad(&body, |f| {
                f.integer_in("n", 0..=500, DomainError::LimitInvalid);
            });
            assert_eq!(problems.is_empty(), good, "{body}");
        }
    }
}
