//! JSON from clients that serde_json and PostgreSQL's own types would refuse, and the embedded data files.
//!
//! Everything that JSON's grammar allows is parsed: half a surrogate pair (an emoji cut in two), U+0000, endless nesting.
//! The rules of its field then refuse such a value, so that it fails only its own field.

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Number, Value};

use crate::raw_json::{Kind, each_element, each_member, kind, parse, string_bytes};

/// Parses an embedded file. A mistake in it is a programming error, which the first test finds.
pub(crate) fn embedded<T: Deserialize<'static>>(text: &'static str) -> T {
    match serde_json::from_str(text) {
        Ok(value) => value,
        Err(error) => panic!("an embedded data file is broken: {error}"),
    }
}

/// Parses JSON text. What no field can store is replaced by something that fields refuse: half a surrogate pair by
/// U+0000, and values nested deeper than `levels` by `false`. Numbers retain their text; of repeated members the last
/// counts. `None` for text that is not JSON.
#[must_use]
pub fn read(text: &str, levels: usize) -> Option<Value> {
    // serde_json parses nearly every text, and faster.
    if let Ok(value) = serde_json::from_str(text) {
        return Some(value);
    }
    parse(text).map(|raw| loose(raw, levels))
}

fn loose(raw: &RawValue, levels: usize) -> Value {
    match kind(raw) {
        Kind::Null => Value::Null,
        Kind::Flag(flag) => Value::Bool(flag),
        // As it was written, because parsing would normalise the exponent.
        Kind::Number(text) => Value::Number(Number::from_string_unchecked(text.to_owned())),
        Kind::Text(raw) => Value::String(marked(&string_bytes(raw))),
        Kind::List | Kind::Object if levels == 0 => Value::Bool(false),
        Kind::List => {
            let mut list = Vec::new();
            each_element(raw, |element| list.push(loose(element, levels - 1)));
            Value::Array(list)
        }
        Kind::Object => {
            let mut object = Map::new();
            each_member(raw, |name, member| {
                object.insert(marked(name), loose(member, levels - 1));
            });
            Value::Object(object)
        }
    }
}

/// The text of bytes in which half a surrogate pair is three bytes that are not UTF-8.
fn marked(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        if !chunk.invalid().is_empty() {
            text.push('\0');
        }
    }
    text
}

/// A member of an object as it was written; of repeated ones the last. `None` if it is missing.
#[must_use]
pub fn member<'a>(object: &'a str, name: &str) -> Option<&'a str> {
    members(object, &[name])[0]
}

/// The members of an object with these names, each as [`member`], in one pass.
#[must_use]
pub fn members<'a>(object: &'a str, names: &[impl AsRef<str>]) -> Vec<Option<&'a str>> {
    let mut found = vec![None; names.len()];
    if let Some(object) = parse(object) {
        each_member(object, |member, value| {
            let place = names
                .iter()
                .position(|name| name.as_ref().as_bytes() == member);
            if let Some(place) = place {
                found[place] = Some(value.get());
            }
        });
    }
    found
}

/// The elements of a list, each as it was written. `None` for other values.
#[must_use]
pub fn elements(list: &str) -> Option<Vec<&str>> {
    let list = parse(list)?;
    let mut elements = Vec::new();
    each_element(list, |element| elements.push(element.get()));
    (kind(list) == Kind::List).then_some(elements)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn half_a_surrogate_pair_becomes_a_text_that_every_field_refuses() {
        let value = read(r#"{"a":"x\ud83d","b":"\u0e01\ud83c\udf7e","\ude00":1}"#, 3).unwrap();
        assert_eq!(value["a"], "x\0\0\0");
        assert_eq!(value["b"], "ก🍾");
        assert_eq!(
            read(r#"["\ud83d", 1e400]"#, 1).unwrap()[1].to_string(),
            "1e400"
        );
    }

    #[test]
    fn endless_nesting_affects_only_its_own_value() {
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        let value = read(&format!(r#"{{"a":1,"b":{deep}}}"#), 2).unwrap();
        assert_eq!(value, json!({"a": 1, "b": [false]}));
    }

    #[test]
    fn text_that_is_not_json_is_refused() {
        for text in ["", "{", "nul", "[1,]", "{\"a\":\"\u{1}\"}", "1 2"] {
            assert_eq!(read(text, 9), None, "{text}");
            assert_eq!(member(text, "a"), None);
            assert_eq!(elements(text), None);
        }
    }

    #[test]
    fn members_and_elements_are_returned_as_they_were_written() {
        let body = r#" {"a": 1, "entries" : [ 1.50, {"b":"\ud83d"} ], "a":2} "#;
        assert_eq!(member(body, "a"), Some("2"));
        assert_eq!(member(body, "c"), None);
        assert_eq!(members(body, &["c", "a"]), [None, Some("2")]);
        let entries = elements(member(body, "entries").unwrap()).unwrap();
        assert_eq!(entries, ["1.50", r#"{"b":"\ud83d"}"#]);
        assert_eq!(elements("{}"), None);
    }
}
