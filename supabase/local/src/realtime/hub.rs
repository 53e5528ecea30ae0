//! Which clients have joined which topic, and how a message reaches all of them.

use super::frame::{self, Version};
use super::pgoutput::Message;
use axum::extract::ws::{self, CloseFrame, Utf8Bytes};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{Notify, mpsc};

/// Frames that may wait for a client. One that reads more slowly is disconnected: a client re-reads when it comes
/// back, and memory stays bounded (about 1 MB a connection at worst, as events are below 1 KB).
pub const QUEUE_FRAMES: usize = 1_024;

/// What is sent to a client.
#[derive(Debug)]
pub enum Outgoing {
    Text(Utf8Bytes),
    /// The connection ends with this code and reason.
    Close(u16, &'static str),
}

impl Outgoing {
    /// As the connection takes it.
    pub fn into_message(self) -> ws::Message {
        match self {
            Self::Text(text) => ws::Message::Text(text),
            Self::Close(code, reason) => {
                let reason = reason.into();
                ws::Message::Close(Some(CloseFrame { code, reason }))
            }
        }
    }
}

/// The way to one client.
#[derive(Clone)]
pub struct Client {
    pub version: Version,
    /// What waits to be sent to it.
    pub queue: mpsc::Sender<Outgoing>,
    /// Notified when the queue was full.
    pub too_slow: Arc<Notify>,
}

impl Client {
    fn offer(&self, text: Utf8Bytes) {
        if let Err(mpsc::error::TrySendError::Full(_)) = self.queue.try_send(Outgoing::Text(text)) {
            self.too_slow.notify_one();
        }
    }
}

struct Member {
    client: Client,
    join_ref: Value,
}

#[derive(Default)]
struct Topics {
    /// Whether messages arrive from the database: only then can anybody join.
    live: bool,
    members: HashMap<String, HashMap<u64, Member>>,
    last_id: u64,
}

/// All topics that have members.
#[derive(Default)]
pub struct Hub(Mutex<Topics>);

/// A place in a topic.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MemberId(u64);

impl Hub {
    fn topics(&self) -> MutexGuard<'_, Topics> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether messages arrive from the database.
    pub fn is_live(&self) -> bool {
        self.topics().live
    }

    /// From now on messages arrive.
    pub fn begin(&self) {
        self.topics().live = true;
    }

    /// Messages may have been missed: every channel fails, and its client joins again and re-reads.
    pub fn fail(&self) {
        let mut topics = self.topics();
        topics.live = false;
        for (topic, members) in topics.members.drain() {
            let topic = format!("{}{topic}", frame::TOPIC_PREFIX);
            for member in members.into_values() {
                let refs = [&member.join_ref; 2];
                let text =
                    frame::write(member.client.version, refs, &topic, "phx_error", &json!({}));
                member.client.offer(text.into());
            }
        }
    }

    /// Lets a client join; impossible while no messages arrive.
    pub fn join(&self, topic: &str, client: Client, join_ref: Value) -> Option<MemberId> {
        let mut topics = self.topics();
        if !topics.live {
            return None;
        }
        topics.last_id += 1;
        let id = topics.last_id;
        let members = topics.members.entry(topic.to_owned()).or_default();
        members.insert(id, Member { client, join_ref });
        Some(MemberId(id))
    }

    /// Whether the place is still held: a failure empties all.
    pub fn holds(&self, topic: &str, id: MemberId) -> bool {
        let topics = self.topics();
        topics
            .members
            .get(topic)
            .is_some_and(|members| members.contains_key(&id.0))
    }

    /// Gives a place up.
    pub fn leave(&self, topic: &str, id: MemberId) {
        let mut topics = self.topics();
        if let Some(members) = topics.members.get_mut(topic) {
            members.remove(&id.0);
            if members.is_empty() {
                topics.members.remove(topic);
            }
        }
    }

    /// Sends a message to everybody in its topic, but to `except`. Every channel here is private.
    pub fn send(&self, message: &Message, except: Option<MemberId>) {
        if !message.private {
            return;
        }
        let topics = self.topics();
        let Some(members) = topics.members.get(&message.topic) else {
            return;
        };
        let mut texts: [Option<Utf8Bytes>; 2] = [None, None];
        for (id, member) in members {
            if except == Some(MemberId(*id)) {
                continue;
            }
            let version = member.client.version;
            let text = texts[usize::from(version == Version::Two)]
                .get_or_insert_with(|| frame::of_message(version, message).into());
            member.client.offer(text.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client() -> (Client, mpsc::Receiver<Outgoing>) {
        let (queue, received) = mpsc::channel(2);
        let too_slow = Arc::new(Notify::new());
        (
            Client {
                version: Version::Two,
                queue,
                too_slow,
            },
            received,
        )
    }

    fn message(topic: &str) -> Message {
        Message {
            topic: topic.into(),
            payload: "{}".into(),
            private: true,
            ..Message::default()
        }
    }

    #[tokio::test]
    async fn a_message_reaches_its_topic_alone_until_the_place_is_given_up() {
        let hub = Hub::default();
        let (client, mut received) = client();
        assert_eq!(
            hub.join("a", client.clone(), Value::Null),
            None,
            "nothing arrives yet"
        );
        hub.begin();
        let place = hub.join("a", client, Value::Null).unwrap();
        hub.send(&message("b"), None);
        hub.send(
            &Message {
                private: false,
                ..message("a")
            },
            None,
        );
        hub.send(&message("a"), Some(place));
        assert!(received.try_recv().is_err());
        hub.send(&message("a"), None);
        assert!(matches!(received.try_recv(), Ok(Outgoing::Text(_))));
        hub.leave("a", place);
        hub.send(&message("a"), None);
        assert!(received.try_recv().is_err() && hub.topics().members.is_empty());
    }

    #[tokio::test]
    async fn a_slow_client_is_told_and_keeps_nobody_waiting() {
        let hub = Hub::default();
        hub.begin();
        let (client, _received) = client();
        hub.join("a", client.clone(), Value::Null).unwrap();
        for _ in 0..4 {
            hub.send(&message("a"), None);
        }
        client.too_slow.notified().await;
    }

    #[tokio::test]
    async fn after_a_failure_every_channel_has_to_be_joined_again() {
        let hub = Hub::default();
        hub.begin();
        let (client, mut received) = client();
        let place = hub.join("a", client.clone(), json!("7")).unwrap();
        hub.fail();
        let Ok(Outgoing::Text(text)) = received.try_recv() else {
            panic!("no frame")
        };
        assert_eq!(text.as_str(), r#"["7","7","realtime:a","phx_error",{}]"#);
        assert!(!hub.holds("a", place) && !hub.is_live());
        assert_eq!(hub.join("a", client, Value::Null), None);
    }
}
