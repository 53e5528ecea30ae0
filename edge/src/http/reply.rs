//! Successful answers: the envelope around data, and who may cache it.

use serde::Serialize;
use serde_json::{Map, Value};

/// Who may cache an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caching {
    /// No one: writes, tokens, anything without a rule of its own.
    NoStore,
    /// The user's own client, which asks whether it is still right each time.
    Private,
    /// Everybody, for this many seconds.
    Public(u32),
    /// Signed-out visitors, for this many seconds: signed-in users get another answer.
    SignedOut(u32),
}

impl Caching {
    pub fn header(self) -> String {
        match self {
            Self::NoStore => "no-store".to_owned(),
            Self::Private => "private, no-cache".to_owned(),
            Self::Public(secs) | Self::SignedOut(secs) => {
                format!("public, max-age={secs}")
            }
        }
    }
}

/// Answers are made of maps with text keys, so serialising them cannot fail.
fn text(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("answers are JSON")
}

/// JSON, as nearly all answers are.
const JSON: &str = "application/json; charset=utf-8";

/// A successful answer, before it becomes HTTP.
#[derive(Debug)]
pub struct Reply {
    /// 2xx or 304.
    pub status: u16,
    pub body: String,
    pub caching: Caching,
    /// What kind of text the body is.
    pub content_type: &'static str,
    /// What the answer depends on; release and language are added to it.
    pub tag: Option<String>,
    /// Whether it is the stored answer to this `Idempotency-Key`.
    pub replayed: bool,
}

impl Reply {
    /// `data` in the envelope, status 200, not to be cached.
    pub fn ok(data: &impl Serialize) -> Self {
        Self::with_meta(data, None)
    }

    /// The same with status 201.
    pub fn created(data: &impl Serialize) -> Self {
        Self {
            status: 201,
            ..Self::ok(data)
        }
    }

    /// `data` that is JSON text already.
    pub fn ok_text(data: &str) -> Self {
        Self::raw(&format!(r#"{{"success":true,"data":{data}}}"#))
    }

    /// `data` and `meta` in the envelope.
    pub fn with_meta(data: &impl Serialize, meta: Option<Map<String, Value>>) -> Self {
        let mut reply = Self::ok_text(&text(data));
        if let Some(meta) = meta {
            reply.body.pop();
            reply.body.push_str(r#","meta":"#);
            reply.body.push_str(&text(&meta));
            reply.body.push('}');
        }
        reply
    }

    /// A body outside the envelope, for callers with a protocol of their own (Auth's hook).
    pub fn raw(body: &str) -> Self {
        Self {
            status: 200,
            body: body.to_owned(),
            caching: Caching::NoStore,
            content_type: JSON,
            tag: None,
            replayed: false,
        }
    }

    /// Text of another kind.
    pub fn of_type(content_type: &'static str, body: &str) -> Self {
        Self {
            content_type,
            ..Self::raw(body)
        }
    }

    /// A user's own answer, which their client may cache and must revalidate; 304 if there is none.
    pub fn personal(data: Option<impl Serialize>) -> Self {
        data.map_or_else(Self::unchanged, |data| Self::ok(&data))
            .cached(Caching::Private)
    }

    /// The client has it already.
    pub fn unchanged() -> Self {
        Self {
            status: 304,
            ..Self::raw("")
        }
        .cached(Caching::Private)
    }

    /// The same answer with a tag.
    pub fn tagged(self, tag: String) -> Self {
        Self {
            tag: Some(tag),
            ..self
        }
    }

    /// The same answer with another rule for caches.
    pub fn cached(self, caching: Caching) -> Self {
        Self { caching, ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn data_and_meta_stand_in_the_envelope() {
        let reply = Reply::ok(&json!({"a": 1}));
        assert_eq!(reply.body, r#"{"success":true,"data":{"a":1}}"#);
        let meta = json!({"page": 2}).as_object().cloned();
        let reply = Reply::with_meta(&json!([]), meta);
        assert_eq!(
            reply.body,
            r#"{"success":true,"data":[],"meta":{"page":2}}"#
        );
        assert_eq!(Reply::created(&json!(null)).status, 201);
    }

    #[test]
    fn nothing_is_cached_unless_a_rule_says_so() {
        assert_eq!(Reply::ok(&json!({})).caching.header(), "no-store");
        let public = Reply::ok(&json!({})).cached(Caching::Public(86_400));
        assert_eq!(public.caching.header(), "public, max-age=86400");
        assert_eq!(Caching::SignedOut(9).header(), "public, max-age=9");
    }
}
