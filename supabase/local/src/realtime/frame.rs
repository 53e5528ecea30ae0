//! Frames of the Phoenix protocol: version 2.0.0 writes a message as an array, 1.0.0 as an object.

use super::pgoutput::Message;
use serde_json::{Map, Value, json};

/// What clients put before the name of every channel.
pub const TOPIC_PREFIX: &str = "realtime:";
/// The kind of a binary frame by which clients of version 2 broadcast.
const BROADCAST_PUSH: u8 = 3;
/// Its payload is JSON; anything else is bytes.
const JSON_ENCODING: u8 = 1;

/// The protocol that a client chose for its connection.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Version {
    /// 1.0.0, the default.
    One,
    /// 2.0.0.
    Two,
}

impl Version {
    /// From the parameter `vsn`.
    pub fn parse(text: Option<&str>) -> Option<Self> {
        match text {
            None | Some("1.0.0") => Some(Self::One),
            Some("2.0.0") => Some(Self::Two),
            Some(_) => None,
        }
    }
}

/// A message of a client.
#[derive(Debug, PartialEq)]
pub struct Frame {
    /// The join that the channel began with; a text or null.
    pub join_ref: Value,
    /// The message itself, for its reply; a text or null.
    pub reference: Value,
    /// `realtime:` and the channel's name, or `phoenix`.
    pub topic: String,
    pub event: String,
    /// An object.
    pub payload: Map<String, Value>,
}

impl Frame {
    /// Reads a text frame.
    pub fn read(version: Version, text: &str) -> Option<Self> {
        let value: Value = serde_json::from_str(text).ok()?;
        let parts: [Value; 5] = match (version, value) {
            (Version::Two, Value::Array(parts)) => parts.try_into().ok()?,
            (Version::One, Value::Object(mut object)) => {
                ["join_ref", "ref", "topic", "event", "payload"]
                    .map(|name| object.remove(name).unwrap_or_default())
            }
            _ => return None,
        };
        let [join_ref, reference, topic, event, payload] = parts;
        let reads = |value: &Value| value.is_string() || value.is_null();
        match (topic, event, payload) {
            (Value::String(topic), Value::String(event), Value::Object(payload))
                if reads(&join_ref) && reads(&reference) =>
            {
                Some(Self {
                    join_ref,
                    reference,
                    topic,
                    event,
                    payload,
                })
            }
            _ => None,
        }
    }

    /// Reads a binary frame: the broadcast of a client of version 2, and there is no other.
    pub fn read_binary(version: Version, data: &[u8]) -> Option<Self> {
        let (&[kind, join_ref, reference, topic, event, meta, encoding], mut rest) =
            data.split_first_chunk::<7>()?;
        if version != Version::Two || kind != BROADCAST_PUSH || encoding != JSON_ENCODING {
            return None;
        }
        let mut text = |length: u8| {
            let (text, after) = rest.split_at_checked(length.into())?;
            rest = after;
            Some(std::str::from_utf8(text).ok()?.to_owned())
        };
        let (join_ref, reference) = (text(join_ref)?, text(reference)?);
        let (topic, event) = (text(topic)?, text(event)?);
        text(meta)?;
        let payload: Value = serde_json::from_slice(rest).ok()?;
        Some(Self {
            join_ref: json!(join_ref),
            reference: json!(reference),
            topic,
            event: "broadcast".to_owned(),
            payload: Map::from_iter([
                ("type".to_owned(), json!("broadcast")),
                ("event".to_owned(), json!(event)),
                ("payload".to_owned(), payload),
            ]),
        })
    }
}

/// A text frame for a client.
pub fn write(
    version: Version,
    [join_ref, reference]: [&Value; 2],
    topic: &str,
    event: &str,
    payload: &Value,
) -> String {
    match version {
        Version::Two => json!([join_ref, reference, topic, event, payload]).to_string(),
        Version::One => json!({
            "join_ref": join_ref, "ref": reference, "topic": topic, "event": event, "payload": payload,
        })
        .to_string(),
    }
}

/// The frame by which a message reaches everybody in its channel: the same for all of them, so it names no join.
pub fn of_message(version: Version, message: &Message) -> String {
    let text = |value: &str| Value::from(value).to_string();
    let topic = text(&format!("{TOPIC_PREFIX}{}", message.topic));
    // The payload is JSON already, as the database wrote it.
    let payload = format!(
        r#"{{"type":"broadcast","event":{},"payload":{},"meta":{{"id":{}}}}}"#,
        text(&message.event),
        message.payload,
        text(&message.id)
    );
    match version {
        Version::Two => format!(r#"[null,null,{topic},"broadcast",{payload}]"#),
        Version::One => format!(
            r#"{{"join_ref":null,"ref":null,"topic":{topic},"event":"broadcast","payload":{payload}}}"#
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_versions_read_the_same() {
        let two = Frame::read(
            Version::Two,
            r#"["1","2","realtime:a","phx_join",{"config":{}}]"#,
        );
        let one = Frame::read(
            Version::One,
            r#"{"topic":"realtime:a","event":"phx_join","payload":{"config":{}},"ref":"2","join_ref":"1"}"#,
        );
        assert!(two.is_some());
        assert_eq!(two, one);
    }

    #[test]
    fn anything_else_is_no_frame() {
        for garbage in [
            "",
            "null",
            "[]",
            "{}",
            "[1,2,3,4,5]",
            r#"["1","2","t","e"]"#,
            r#"["1","2","t","e",[]]"#,
            r#"[{"a":1},"2","t","e",{}]"#,
            r#"{"topic":"t","event":"e","payload":{}}"#,
            "\u{0}",
        ] {
            assert_eq!(Frame::read(Version::Two, garbage), None, "{garbage}");
        }
        for garbage in [
            &b""[..],
            b"\x03",
            b"\x03\xff\xff\xff\xff\xff\x01abc",
            b"\x07\0\0\0\0\0\x01{}",
        ] {
            assert_eq!(Frame::read_binary(Version::Two, garbage), None);
        }
    }

    #[test]
    fn a_binary_broadcast_is_read() {
        let data = b"\x03\x01\x01\x0a\x02\x00\x0112realtime:ahi{\"x\":1}";
        let frame = Frame::read_binary(Version::Two, data).unwrap();
        assert_eq!(
            (frame.topic.as_str(), &frame.payload["event"]),
            ("realtime:a", &json!("hi"))
        );
        assert_eq!(frame.payload["payload"], json!({ "x": 1 }));
        assert_eq!(Frame::read_binary(Version::One, data), None);
    }

    #[test]
    fn a_message_is_valid_json_with_any_names() {
        let message = Message {
            id: "i".into(),
            topic: "a\"b".into(),
            event: "ก\n".into(),
            payload: r#"{"n": 1.50}"#.into(),
            private: true,
        };
        for version in [Version::One, Version::Two] {
            let text = of_message(version, &message);
            assert!(text.contains(r#"{"n": 1.50}"#), "{text}");
            let frame = Frame::read(version, &text).unwrap();
            assert_eq!(
                (frame.topic.as_str(), &frame.payload["event"]),
                ("realtime:a\"b", &json!("ก\n"))
            );
        }
    }
}
