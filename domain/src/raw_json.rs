//! Reads untrusted JSON without building a tree of it.
//!
//! Values remain slices of the payload until they are read, so nesting needs no stack, unknown members need no memory, and
//! numbers retain their text. Strings may contain what PostgreSQL cannot store: U+0000 and lone surrogates.

use std::borrow::Cow;
use std::fmt;

use serde::Deserializer;
use serde::de::{DeserializeSeed, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// The kind of value of a slice of JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind<'a> {
    Null,
    Flag(bool),
    /// The number as it was written.
    Number(&'a str),
    /// The string as it was written, quotes and escapes included.
    Text(&'a str),
    List,
    Object,
}

pub(crate) fn kind(raw: &RawValue) -> Kind<'_> {
    let text = raw.get();
    match text.as_bytes().first() {
        Some(b'"') => Kind::Text(text),
        Some(b'{') => Kind::Object,
        Some(b'[') => Kind::List,
        Some(b't') => Kind::Flag(true),
        Some(b'f') => Kind::Flag(false),
        Some(b'-' | b'0'..=b'9') => Kind::Number(text),
        _ => Kind::Null,
    }
}

/// Checks that an entire text is JSON, at any depth; everything below relies on it.
pub(crate) fn parse(text: &str) -> Option<&RawValue> {
    serde_json::from_str(text).ok()
}

/// Calls back for every member of an object, in order, repeated ones included; does nothing for other values.
pub(crate) fn each_member<'a>(object: &'a RawValue, visit: impl FnMut(&[u8], &'a RawValue)) {
    // The text was parsed before, so the only possible error is that it is not an object.
    let _ = serde_json::Deserializer::from_str(object.get()).deserialize_map(Members(visit));
}

/// Calls back for every element of a list, in order; does nothing for other values.
pub(crate) fn each_element<'a>(list: &'a RawValue, visit: impl FnMut(&'a RawValue)) {
    let _ = serde_json::Deserializer::from_str(list.get()).deserialize_seq(Elements(visit));
}

struct Members<F>(F);

impl<'de, F: FnMut(&[u8], &'de RawValue)> Visitor<'de> for Members<F> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
        while let Some(name) = map.next_key_seed(StringBytes)? {
            let value = map.next_value()?;
            (self.0)(&name, value);
        }
        Ok(())
    }
}

struct Elements<F>(F);

impl<'de, F: FnMut(&'de RawValue)> Visitor<'de> for Elements<F> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut list: A) -> Result<(), A::Error> {
        while let Some(element) = list.next_element()? {
            (self.0)(element);
        }
        Ok(())
    }
}

/// Reads a string as bytes, because serde_json then accepts lone surrogates, encoded as UTF-8 would encode them.
struct StringBytes;

impl<'de> DeserializeSeed<'de> for StringBytes {
    type Value = Cow<'de, [u8]>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_bytes(self)
    }
}

impl<'de> Visitor<'de> for StringBytes {
    type Value = Cow<'de, [u8]>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a string")
    }

    fn visit_borrowed_bytes<E>(self, bytes: &'de [u8]) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(bytes))
    }

    fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Self::Value, E> {
        Ok(Cow::Owned(bytes.to_vec()))
    }
}

pub(crate) fn string_bytes(raw: &str) -> Cow<'_, [u8]> {
    StringBytes
        .deserialize(&mut serde_json::Deserializer::from_str(raw))
        .unwrap_or_default()
}

/// A string that has been made storable.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Text {
    pub text: String,
    /// It contained U+0000, which was dropped.
    pub nul_dropped: bool,
    /// It contained lone surrogates, which became U+FFFD.
    pub surrogates_replaced: bool,
}

impl Text {
    /// Decodes a string as it was written in JSON.
    pub fn decode(raw: &str) -> Text {
        Text::repair(&string_bytes(raw))
    }

    /// Makes text from bytes in which lone surrogates are encoded as UTF-8 would.
    pub fn repair(bytes: &[u8]) -> Text {
        let mut out = Text::default();
        for chunk in bytes.utf8_chunks() {
            out.text.push_str(chunk.valid());
            // A surrogate has three bytes, each of them invalid on its own; the first is always 0xED.
            if chunk.invalid().first() == Some(&0xED) {
                out.text.push(char::REPLACEMENT_CHARACTER);
                out.surrogates_replaced = true;
            }
        }
        if out.text.contains('\0') {
            out.text.retain(|character| character != '\0');
            out.nul_dropped = true;
        }
        out
    }

    /// Cuts the text to its first `max_chars` characters; returns whether any were cut.
    pub fn cut(&mut self, max_chars: usize) -> bool {
        match self.text.char_indices().nth(max_chars) {
            Some((end, _)) => {
                self.text.truncate(end);
                true
            }
            None => false,
        }
    }
}

/// Decodes a string whose content is itself JSON. Lone surrogates and U+0000, which only escapes can express there, are
/// escaped again, so that the inner parser finds them in their place.
pub(crate) fn decode_json(raw: &str) -> String {
    let bytes = string_bytes(raw);
    let mut out = String::with_capacity(bytes.len());
    let mut rest = bytes.as_ref();
    while !rest.is_empty() {
        let valid_until = match std::str::from_utf8(rest) {
            Ok(valid) => {
                out.push_str(valid);
                break;
            }
            Err(error) => error.valid_up_to(),
        };
        out.push_str(&String::from_utf8_lossy(&rest[..valid_until]));
        // 0xED, then the surrogate's ten bits in two bytes.
        let unit = match rest[valid_until..] {
            [0xED, high, low, ..] => 0xD000 | (u32::from(high & 0x3F) << 6) | u32::from(low & 0x3F),
            _ => 0xFFFD,
        };
        out.push_str(&format!("\\u{unit:04x}"));
        rest = rest.get(valid_until + 3..).unwrap_or(&[]);
    }
    if out.contains('\0') {
        out.replace('\0', "\\u0000")
    } else {
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_that_postgresql_could_not_store_are_repaired() {
        let plain = Text::decode(r#""ก\n😀""#);
        assert_eq!(
            plain,
            Text {
                text: "ก\n😀".into(),
                ..Text::default()
            }
        );
        let broken = Text::decode(r#""a\u0000b\ud83dc\ude00\ud83d\ude00""#);
        assert_eq!(broken.text, "ab\u{FFFD}c\u{FFFD}😀");
        assert!(broken.nul_dropped && broken.surrogates_replaced);
        for (raw, text) in [
            (r#""\ud83d\ud83d""#, "\u{FFFD}\u{FFFD}"),
            (r#""\ud83d\ud83d\ude00""#, "\u{FFFD}😀"),
            (r#""\ud83d\n\"""#, "\u{FFFD}\n\""),
            (r#""\ude00\u0e01""#, "\u{FFFD}ก"),
            (r#""\ud83d""#, "\u{FFFD}"),
        ] {
            assert_eq!(Text::decode(raw).text, text, "{raw}");
        }
    }

    #[test]
    fn json_inside_a_string_retains_its_surrogates_as_escapes() {
        assert_eq!(
            decode_json(r#""[\"a\ud83d\u0000é\"]""#),
            r#"["a\ud83d\u0000é"]"#
        );
        assert_eq!(decode_json(r#""\ude00""#), r"\ude00");
        assert_eq!(decode_json(r#""plain""#), "plain");
    }

    #[test]
    fn text_is_cut_between_characters() {
        let mut text = Text::decode("\"กขค\"");
        assert!(!text.cut(3));
        assert!(text.cut(2));
        assert_eq!(text.text, "กข");
    }

    #[test]
    fn reading_members_or_elements_of_another_kind_does_nothing() {
        let list = parse(" [1, {}] ").unwrap();
        each_member(list, |_, _| unreachable!("a list has no members"));
        let mut count = 0;
        each_element(list, |_| count += 1);
        assert_eq!(count, 2);
        let object = parse(r#"{"a":1,"a":[2],"\ud800":null}"#).unwrap();
        each_element(object, |_| unreachable!("an object has no elements"));
        let mut names = Vec::new();
        each_member(object, |name, value| names.push((name.len(), kind(value))));
        assert_eq!(
            names,
            [(1, Kind::Number("1")), (1, Kind::List), (3, Kind::Null)]
        );
    }

    #[test]
    fn depth_costs_no_stack() {
        let deep = format!("{}{}", "[".repeat(1_000_000), "]".repeat(1_000_000));
        assert!(parse(&deep).is_some());
        assert!(parse(&deep[1..]).is_none());
    }
}
