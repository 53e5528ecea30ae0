//! What a client asks for when it joins a channel.

use super::frame::TOPIC_PREFIX;
use super::token::Refusal;
use serde_json::{Map, Value};

/// A join that can be granted, as far as its form goes.
#[derive(Debug, PartialEq)]
pub struct Join {
    /// The channel's name.
    pub topic: String,
    /// The token that came with it, unless it is an opaque API key.
    pub token: Option<String>,
    /// Whether the client wants its own broadcasts back.
    pub receives_own: bool,
    /// Whether its broadcasts are acknowledged.
    pub acknowledged: bool,
}

/// Opaque API keys begin so; the gateway has exchanged the one of the connection.
pub const OPAQUE_PREFIX: &str = "sb_";

fn refusal(code: &'static str, message: &str) -> Refusal {
    Refusal {
        code,
        message: message.to_owned(),
    }
}

/// As the real server reads switches: true, or the word in any letters.
fn is_on(value: &Value) -> bool {
    value
        .as_bool()
        .or_else(|| value.as_str().map(|text| text.eq_ignore_ascii_case("true")))
        .unwrap_or_default()
}

/// The token of a payload.
pub fn token(payload: &Map<String, Value>) -> Option<String> {
    let token = payload.get("access_token").filter(|value| !value.is_null());
    let token = token.or_else(|| payload.get("user_token"))?.as_str()?;
    (!token.starts_with(OPAQUE_PREFIX)).then(|| token.to_owned())
}

/// Reads a join of `realtime:…`: private channels with broadcasts, and nothing else.
pub fn read(topic: &str, payload: &Map<String, Value>) -> Result<Join, Refusal> {
    let topic = match topic.strip_prefix(TOPIC_PREFIX) {
        None => return Err(refusal("UnmatchedTopic", "unmatched topic")),
        Some("") => {
            return Err(refusal(
                "TopicNameRequired",
                "You must provide a topic name",
            ));
        }
        Some(topic) => topic,
    };
    let config = payload.get("config").unwrap_or(&Value::Null);
    if !is_on(&config["private"]) {
        return Err(refusal(
            "PrivateOnly",
            "This project only allows private channels",
        ));
    }
    if is_on(&config["presence"]["enabled"]) {
        return Err(refusal(
            "PresenceNotOffered",
            "This project does not offer presence",
        ));
    }
    let changes = config["postgres_changes"].as_array();
    if changes.is_some_and(|changes| changes.iter().any(|change| !change.is_null())) {
        return Err(refusal(
            "PostgresChangesNotOffered",
            "This project does not offer postgres_changes: no table is published",
        ));
    }
    if !config["broadcast"]["replay"].is_null() {
        return Err(refusal(
            "ReplayNotOffered",
            "This project does not offer replay: read again after joining",
        ));
    }
    Ok(Join {
        topic: topic.to_owned(),
        token: token(payload),
        receives_own: is_on(&config["broadcast"]["self"]),
        acknowledged: is_on(&config["broadcast"]["ack"]),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn code(topic: &str, config: Value) -> Option<&'static str> {
        let payload = json!({ "config": config });
        read(topic, payload.as_object().unwrap())
            .err()
            .map(|refusal| refusal.code)
    }

    #[test]
    fn what_supabase_js_sends_for_a_private_channel_is_granted() {
        let payload = json!({
            "config": {
                "broadcast": { "ack": false, "self": true },
                "presence": { "key": "", "enabled": false },
                "postgres_changes": [],
                "private": true,
            },
            "access_token": "a.b.c",
        });
        let join = read("realtime:user:1:x", payload.as_object().unwrap()).unwrap();
        assert_eq!(join.topic, "user:1:x");
        assert_eq!(join.token.as_deref(), Some("a.b.c"));
        assert!(join.receives_own && !join.acknowledged);
    }

    #[test]
    fn everything_else_is_refused_by_name() {
        assert_eq!(code("realtime:a", json!({ "private": true })), None);
        assert_eq!(code("realtime:a", json!({ "private": "TRUE" })), None);
        for (topic, config, expected) in [
            ("a", json!({ "private": true }), "UnmatchedTopic"),
            ("realtime:", json!({ "private": true }), "TopicNameRequired"),
            ("realtime:a", json!({}), "PrivateOnly"),
            ("realtime:a", json!({ "private": false }), "PrivateOnly"),
            ("realtime:a", json!({ "private": 1 }), "PrivateOnly"),
            ("realtime:a", json!(null), "PrivateOnly"),
            (
                "realtime:a",
                json!({ "private": true, "presence": { "enabled": true } }),
                "PresenceNotOffered",
            ),
            (
                "realtime:a",
                json!({ "private": true, "postgres_changes": [{ "table": "t" }] }),
                "PostgresChangesNotOffered",
            ),
            (
                "realtime:a",
                json!({ "private": true, "broadcast": { "replay": { "since": 0 } } }),
                "ReplayNotOffered",
            ),
        ] {
            assert_eq!(code(topic, config), Some(expected), "{topic}");
        }
    }

    #[test]
    fn an_opaque_key_is_no_token() {
        for (payload, expected) in [
            (json!({ "access_token": "sb_publishable_x" }), None),
            (
                json!({ "access_token": null, "user_token": "t" }),
                Some("t"),
            ),
            (json!({ "access_token": 1 }), None),
            (json!({}), None),
        ] {
            assert_eq!(token(payload.as_object().unwrap()).as_deref(), expected);
        }
    }
}
