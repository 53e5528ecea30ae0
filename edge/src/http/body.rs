//! Bodies: how large, of which type, and whether they are JSON at all.

use carbon_domain::json;
use futures_util::StreamExt;
use serde::de::IgnoredAny;
use serde_json::Value;
use worker::{ByteStream, Request};

use crate::clients::within;
use crate::error::ApiError;
use crate::messages::{self, LocalizedText};

/// Bytes of an ordinary body: 1 MiB.
pub const MAX_BODY_BYTES: usize = 1024 * 1024;
/// Bytes of a batch: 500 entries of full length as any JSON writer escapes them, 12 bytes a character, are 6 MiB.
pub const MAX_BATCH_BYTES: usize = 7 * 1024 * 1024;
/// Bytes of a migration: 10 MiB.
pub const MAX_MIGRATION_BYTES: usize = 10 * 1024 * 1024;
/// Bytes of a refused body that are read to let its sender see the refusal: 32 MiB.
const MAX_DISCARDED_BYTES: usize = 32 * 1024 * 1024;
/// Milliseconds for reading them.
const DISCARD_DEADLINE_MS: u64 = 5_000;
/// U+FEFF in UTF-8.
const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";
/// JSON may be nested this deep; the deepest in the contract is 4.
pub const MAX_JSON_DEPTH: usize = 32;

/// What a route takes as body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyRule {
    /// None; one that comes is not read.
    Empty,
    /// JSON up to 1 MiB.
    Json,
    /// JSON up to 1 MiB, or nothing.
    OptionalJson,
    /// JSON up to 7 MiB.
    Batch,
    /// JSON up to 10 MiB, passed on as it is.
    Migration,
}

impl BodyRule {
    fn max_bytes(self) -> usize {
        match self {
            Self::Migration => MAX_MIGRATION_BYTES,
            Self::Batch => MAX_BATCH_BYTES,
            _ => MAX_BODY_BYTES,
        }
    }

    fn too_large(self) -> LocalizedText {
        match self {
            Self::Migration => messages::MIGRATION_TOO_LARGE,
            Self::Batch => messages::BATCH_TOO_LARGE,
            _ => messages::TOO_LARGE,
        }
    }
}

/// Reads the body that a route takes, never more than it may have.
///
/// # Errors
/// `PAYLOAD_TOO_LARGE`, `UNSUPPORTED_MEDIA_TYPE`, or `VALIDATION_ERROR` for bytes that are not UTF-8.
pub async fn read_body(request: &mut Request, rule: BodyRule) -> Result<String, ApiError> {
    if rule == BodyRule::Empty {
        return Ok(String::new());
    }
    let header = |name: &str| request.headers().get(name).ok().flatten();
    let declared = header("content-length").and_then(|length| length.parse::<usize>().ok());
    let content_type = header("content-type");
    let content_encoding = header("content-encoding");
    if declared.is_some_and(|length| length > rule.max_bytes()) {
        return Err(ApiError::too_large(rule.too_large()));
    }
    let bytes = match declared {
        Some(0) => Vec::new(),
        Some(_) => request.bytes().await.map_err(broken_off)?,
        None => read_stream(request, rule).await?,
    };
    if bytes.len() > rule.max_bytes() {
        return Err(ApiError::too_large(rule.too_large()));
    }
    if bytes.is_empty() && rule == BodyRule::OptionalJson {
        return Ok(String::new());
    }
    if !is_identity(content_encoding.as_deref()) {
        return Err(ApiError::content_coding());
    }
    if !is_json_type(content_type.as_deref()) {
        return Err(ApiError::media_type());
    }
    text_of(bytes)
}

/// The body as text, without the one byte order mark that some clients put in front (RFC 8259, 8.1).
fn text_of(mut bytes: Vec<u8>) -> Result<String, ApiError> {
    if bytes.starts_with(BYTE_ORDER_MARK) {
        bytes.drain(..BYTE_ORDER_MARK.len());
    }
    String::from_utf8(bytes).map_err(|_| ApiError::body("not_utf8", messages::NOT_UTF8))
}

/// Whether a `Content-Encoding` leaves the body as it is.
fn is_identity(content_encoding: Option<&str>) -> bool {
    let codings = content_encoding.unwrap_or("").split(',').map(str::trim);
    codings
        .filter(|coding| !coding.is_empty())
        .all(|coding| coding.eq_ignore_ascii_case("identity"))
}

fn broken_off(error: worker::Error) -> ApiError {
    not_json().because(format!("reading the body: {error}"))
}

async fn read_stream(request: &mut Request, rule: BodyRule) -> Result<Vec<u8>, ApiError> {
    let mut bytes = Vec::new();
    // A request without a body has no stream.
    let Ok(mut stream) = request.stream() else {
        return Ok(bytes);
    };
    while let Some(chunk) = stream.next().await {
        bytes.extend_from_slice(&chunk.map_err(broken_off)?);
        if bytes.len() > rule.max_bytes() {
            drain(&mut stream).await;
            return Err(ApiError::too_large(rule.too_large()));
        }
    }
    Ok(bytes)
}

/// Reads an unread body and drops it, regardless of the answer: a client that is still sending when the
/// answer comes would see a broken connection instead, and so would its next request on that connection.
pub async fn discard(request: &mut Request) {
    if let Ok(mut stream) = request.stream() {
        // A client that sends it more slowly gets the answer and loses the connection.
        let _ = within(DISCARD_DEADLINE_MS, drain(&mut stream)).await;
    }
}

async fn drain(stream: &mut ByteStream) {
    let mut left = MAX_DISCARDED_BYTES;
    while let Some(Ok(chunk)) = stream.next().await {
        left = left.saturating_sub(chunk.len());
        if left == 0 {
            return;
        }
    }
}

/// Whether a `Content-Type` says JSON in UTF-8.
fn is_json_type(content_type: Option<&str>) -> bool {
    let mut parts = content_type.unwrap_or("").split(';').map(str::trim);
    let json = parts
        .next()
        .is_some_and(|kind| kind.eq_ignore_ascii_case("application/json"));
    json && parts.all(|parameter| {
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        !name.trim().eq_ignore_ascii_case("charset") || is_utf8(value.trim().trim_matches('"'))
    })
}

/// Whether a charset is UTF-8, by its name or as many clients spell it.
fn is_utf8(charset: &str) -> bool {
    ["utf-8", "utf8"]
        .iter()
        .any(|name| charset.eq_ignore_ascii_case(name))
}

/// A body that is not JSON.
pub fn not_json() -> ApiError {
    ApiError::body("not_json", messages::NOT_JSON)
}

/// Parses a body; numbers keep their decimal text. Half a surrogate pair is read as U+0000, which no field takes, so
/// that the field is named and not the body.
///
/// # Errors
/// `VALIDATION_ERROR` with `not_json` or `too_deep`.
pub fn parse_json(text: &str) -> Result<Value, ApiError> {
    if depth(text) > MAX_JSON_DEPTH {
        return Err(ApiError::body("too_deep", messages::TOO_DEEP));
    }
    json::read(text, MAX_JSON_DEPTH).ok_or_else(not_json)
}

/// Checks that a text is JSON without building a value, however deep it is nested; escapes of
/// lone surrogates and of U+0000, which old dumps hold, are let through.
///
/// # Errors
/// `VALIDATION_ERROR` with `not_json`.
pub fn check_json(text: &str) -> Result<(), ApiError> {
    serde_json::from_str::<IgnoredAny>(text)
        .map(drop)
        .map_err(|_| not_json())
}

/// How deep lists and objects are nested, brackets in strings left out.
fn depth(text: &str) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    let (mut in_string, mut escaped) = (false, false);
    for byte in text.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'{' | b'[' if !in_string => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b'}' | b']' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_json_in_utf8_is_taken() {
        for good in [
            "application/json",
            "Application/JSON; charset=UTF-8",
            "application/json; charset=\"utf-8\"; profile=x",
            "application/json; charset=utf8",
            "application/json;charset=UTF8",
        ] {
            assert!(is_json_type(Some(good)), "{good}");
        }
        for bad in [
            None,
            Some("text/plain"),
            Some("application/jsonx"),
            Some("application/json; charset=latin1"),
        ] {
            assert!(!is_json_type(bad), "{bad:?}");
        }
    }

    #[test]
    fn one_byte_order_mark_in_front_is_ignored() {
        assert_eq!(text_of(b"\xEF\xBB\xBF{}".to_vec()).unwrap(), "{}");
        assert_eq!(
            text_of(b"\xEF\xBB\xBF\xEF\xBB\xBF{}".to_vec()).unwrap(),
            "\u{FEFF}{}"
        );
        assert_eq!(text_of(b"{}".to_vec()).unwrap(), "{}");
        assert!(text_of(b"\xEF\xBB{}".to_vec()).is_err());
    }

    #[test]
    fn only_a_body_as_it_is_is_taken() {
        for good in [None, Some(""), Some("identity"), Some("Identity, identity")] {
            assert!(is_identity(good), "{good:?}");
        }
        for bad in [
            "gzip",
            "deflate",
            "br",
            "zstd",
            "identity, gzip",
            "aws-chunked",
        ] {
            assert!(!is_identity(Some(bad)), "{bad}");
        }
    }

    #[test]
    fn nesting_is_limited_outside_strings() {
        let nested = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n));
        assert!(parse_json(&nested(MAX_JSON_DEPTH)).is_ok());
        assert!(parse_json(&nested(MAX_JSON_DEPTH + 1)).is_err());
        assert!(parse_json(&format!("{{\"a\":\"\\\"{}\"}}", "[".repeat(99))).is_ok());
    }

    #[test]
    fn numbers_keep_their_text() {
        let text = r#"{"weight_kg":0.12345678901234567890}"#;
        assert_eq!(parse_json(text).unwrap().to_string(), text);
    }

    #[test]
    fn half_a_surrogate_pair_is_json_that_no_field_takes() {
        let value = parse_json(r#"{"notes":"a\ud83d"}"#).unwrap();
        assert!(value["notes"].as_str().unwrap().contains('\0'));
        assert!(parse_json("{").is_err());
    }

    #[test]
    fn a_dump_is_checked_but_never_changed() {
        for good in [
            r#"{"a":"\ud800 \u0000"}"#,
            &format!("{}{}", "[".repeat(100_000), "]".repeat(100_000)),
        ] {
            assert!(check_json(good).is_ok());
        }
        for bad in ["", "{", "{}x", "nul", "{\"a\":\"\u{1}\"}"] {
            assert!(check_json(bad).is_err(), "{bad}");
        }
    }
}
