//! What bodies must be where the list says more than "any".

use super::denial::Denial;
use axum::body::Bytes;
use axum::http::{HeaderMap, header};
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::{Map, Value};

/// What a user stores in Auth: 1 KiB, and what supabase-js sends around it.
pub const MAX_METADATA_BYTES: usize = 1024;

const NOT_JSON: Denial = Denial::new(
    403,
    "json_only",
    "Content-Type must be application/json, given once",
);
const NOT_ALLOWED: Denial = Denial::new(
    403,
    "body_not_allowed",
    "Only {\"data\": {…}} may be sent here; everything else goes through the API",
);

const TOO_MUCH: Denial = Denial::new(
    413,
    "metadata_too_large",
    "data may have 1 KiB: Auth stores it with every session",
);

const ENCODED: Denial = Denial::new(
    415,
    "encoding_not_supported",
    "Bodies are taken as they are, without Content-Encoding",
);
/// Some editors and languages put it in front of UTF-8; JSON readers take it for a mistake.
const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// Refuses compressed bodies: no service behind the gateway reads them.
pub fn require_plain(headers: &HeaderMap) -> Result<(), Denial> {
    let values = headers.get_all(header::CONTENT_ENCODING).iter();
    let mut encoded = values.filter(|value| !value.as_bytes().eq_ignore_ascii_case(b"identity"));
    encoded.next().map_or(Ok(()), |_| Err(ENCODED))
}

/// The body without one byte order mark in front.
pub fn without_mark(body: &Bytes) -> Bytes {
    let mark = if body.starts_with(BYTE_ORDER_MARK) {
        BYTE_ORDER_MARK.len()
    } else {
        0
    };
    body.slice(mark..)
}

/// Members that supabase-js sends with every change of a user, null unless an e-mail address is changed.
const NULL_COMPANIONS: [&str; 2] = ["code_challenge", "code_challenge_method"];

/// Requires one Content-Type, of JSON, in UTF-8.
pub fn require_json(content_types: &[&str]) -> Result<(), Denial> {
    let [value] = content_types else {
        return Err(NOT_JSON);
    };
    let value = value.to_ascii_lowercase();
    let (media, parameter) = value.split_once(';').unwrap_or((&value, "charset=utf-8"));
    let utf8 = matches!(
        parameter.trim(),
        "charset=utf-8" | "charset=\"utf-8\"" | "charset=utf8" | "charset=\"utf8\""
    );
    if media.trim() == "application/json" && utf8 {
        Ok(())
    } else {
        Err(NOT_JSON)
    }
}

/// Requires a JSON object whose only member is `name`, an object, and serialises it again, so that no other parser can
/// read something else out of the original. The member has 1 KiB.
pub fn only_member(name: &str, body: &[u8]) -> Result<Vec<u8>, Denial> {
    let mut reader = serde_json::Deserializer::from_slice(body);
    let members = reader
        .deserialize_map(Members)
        .and_then(|members| reader.end().map(|()| members));
    let mut members = members.map_err(|_| NOT_ALLOWED)?;
    members.retain(|(key, value)| !(value.is_null() && NULL_COMPANIONS.contains(&key.as_str())));
    match members.pop() {
        Some((key, value @ Value::Object(_))) if key == name && members.is_empty() => {
            if value.to_string().len() > MAX_METADATA_BYTES {
                return Err(TOO_MUCH);
            }
            Ok(Value::Object(Map::from_iter([(key, value)]))
                .to_string()
                .into_bytes())
        }
        _ => Err(NOT_ALLOWED),
    }
}

/// Reads an object's members in their order, repeated ones as well.
struct Members;

impl<'de> Visitor<'de> for Members {
    type Value = Vec<(String, Value)>;

    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members = Vec::new();
        while let Some(member) = map.next_entry()? {
            members.push(member);
        }
        Ok(members)
    }
}
