//! One connection of a client: its channels, from the first join to the last.
//!
//! What is read and what is written run side by side, with a bounded queue between them, so that a client that asks
//! is answered while messages come, and a client that does not read delays no other.

use super::frame::{self, Frame, Version};
use super::hub::{Client, MemberId, Outgoing, QUEUE_FRAMES};
use super::pgoutput::Message;
use super::server::{MAX_CONNECTIONS, Realtime};
use super::token::{self, Claims, Refusal};
use super::{access, join};
use crate::counter::Place;
use axum::extract::ws::{self, WebSocket, close_code};
use futures_util::{SinkExt, Stream, StreamExt};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;
use uuid::Uuid;

/// A join with its token is 2 KB; what is longer than this is not for us.
pub const MAX_FRAME_BYTES: usize = 64 * 1024;
/// Channels of one connection, as at the real server. There are five topics per user.
const MAX_CHANNELS: usize = 100;
/// Joins and renewals within [`ASKING_SPAN`], each of which asks the database. Rejoining all channels is one go.
const MAX_QUESTIONS: usize = 2 * MAX_CHANNELS;
const ASKING_SPAN: Duration = Duration::from_secs(10);
/// Longest time to write a frame: the client reads too slowly, or is gone.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

/// Longest time to wait for a client's own farewell.
const FAREWELL: Duration = Duration::from_secs(2);

const NO_READ: &str = "You do not have permissions to read from this Channel topic: ";
const NO_WRITE: &str = "You do not have permissions to write to this Channel topic: ";
/// What is added to the refusal of a topic that resembles another one.
const EXACT_TOPIC: &str =
    ". Topics are exact strings: ids and names in them are written in lower case, without blanks";
const NO_DATABASE: &str = "Realtime was unable to connect to the project database";

/// A joined channel.
struct Channel {
    topic: String,
    join_ref: Value,
    token: String,
    claims: Claims,
    member: MemberId,
    receives_own: bool,
    acknowledged: bool,
    /// Whether this user may send, once the database was asked.
    may_send: Option<bool>,
}

/// A connection ends with this code and reason.
struct Ended(u16, &'static str);

struct Session {
    realtime: Arc<Realtime>,
    client: Client,
    /// The token of the connection: that of its API key.
    key: String,
    channels: HashMap<String, Channel>,
    /// Whose connection it is, once they have shown a token: one of the places that a user has.
    users: HashMap<String, Place<String>>,
    questions: usize,
    questions_since: Instant,
}

/// Serves a connection until it ends.
pub async fn run(realtime: Arc<Realtime>, stream: WebSocket, version: Version, key: String) {
    let (queue, waiting) = mpsc::channel(QUEUE_FRAMES);
    let too_slow = Arc::new(Notify::new());
    let client = Client {
        version,
        queue,
        too_slow: too_slow.clone(),
    };
    let mut session = Session {
        realtime,
        client,
        key,
        channels: HashMap::new(),
        users: HashMap::new(),
        questions: 0,
        questions_since: Instant::now(),
    };
    let (outgoing, incoming) = stream.split();
    tokio::select! {
        () = session.read(incoming) => {}
        () = write(outgoing, waiting) => {}
        // Its frames are lost with it: the client comes back and re-reads.
        () = too_slow.notified() => {}
    }
    for channel in session.channels.into_values() {
        session.realtime.hub.leave(&channel.topic, channel.member);
    }
}

/// Writes what waits until the connection ends; all that waits together, so that a busy topic costs one call a client.
async fn write(
    mut stream: impl SinkExt<ws::Message> + Unpin,
    mut waiting: mpsc::Receiver<Outgoing>,
) {
    while let Some(first) = waiting.recv().await {
        let mut next = Some(first);
        let mut last = false;
        let batch = async {
            while let Some(outgoing) = next.take() {
                last = matches!(outgoing, Outgoing::Close(..));
                stream.feed(outgoing.into_message()).await?;
                next = waiting.try_recv().ok().filter(|_| !last);
            }
            stream.flush().await
        };
        let written = tokio::time::timeout(WRITE_TIMEOUT, batch).await;
        if !matches!(written, Ok(Ok(()))) {
            return;
        }
        if last {
            // The reader sees the client's answer, and ends the connection.
            std::future::pending::<()>().await;
        }
    }
}

impl Session {
    /// Reads and answers until the connection ends.
    async fn read(
        &mut self,
        mut stream: impl Stream<Item = Result<ws::Message, axum::Error>> + Unpin,
    ) {
        let idle = self.realtime.idle;
        let mut heard = Instant::now();
        loop {
            let ended = tokio::select! {
                message = stream.next() => {
                    heard = Instant::now();
                    match message {
                        Some(Ok(message)) => self.take(message).await,
                        // Too large a frame, broken frames, or the end of the connection.
                        Some(Err(_)) => Err(Ended(close_code::SIZE, "frame not accepted")),
                        None => return,
                    }
                }
                () = tokio::time::sleep_until(heard + idle) => {
                    Err(Ended(close_code::NORMAL, "no heartbeat"))
                }
                () = tokio::time::sleep(self.until_next_expiry()) => {
                    self.close_expired().await;
                    Ok(())
                }
            };
            if let Err(Ended(code, reason)) = ended {
                let _ = self.client.queue.send(Outgoing::Close(code, reason)).await;
                // With what it still sends unread, the connection would be reset, and the reason lost.
                let rest = async { while let Some(Ok(_)) = stream.next().await {} };
                let _ = tokio::time::timeout(FAREWELL, rest).await;
                return;
            }
        }
    }

    async fn take(&mut self, message: ws::Message) -> Result<(), Ended> {
        let version = self.client.version;
        let frame = match message {
            ws::Message::Text(text) => Frame::read(version, &text),
            ws::Message::Binary(data) => Frame::read_binary(version, &data),
            ws::Message::Ping(_) | ws::Message::Pong(_) => return Ok(()),
            ws::Message::Close(_) => return Err(Ended(close_code::NORMAL, "")),
        };
        let frame = frame.ok_or(Ended(close_code::INVALID, "not a frame of the protocol"))?;
        match frame.event.as_str() {
            "heartbeat" if frame.topic == "phoenix" => {
                self.reply(&frame, "ok", &json!({})).await;
                Ok(())
            }
            "phx_join" => self.join(frame).await,
            "access_token" => self.renew(frame).await,
            event => {
                match event {
                    "phx_leave" => self.leave(frame).await,
                    "broadcast" => self.broadcast(frame).await,
                    "presence" => {
                        self.refuse(&frame, "This project does not offer presence")
                            .await;
                    }
                    _ if !self.has(&frame.topic) => self.refuse(&frame, "unmatched topic").await,
                    _ => {}
                }
                Ok(())
            }
        }
    }

    async fn send(&self, refs: [&Value; 2], topic: &str, event: &str, payload: &Value) {
        let text = frame::write(self.client.version, refs, topic, event, payload);
        // An ended writer ends the connection.
        let _ = self.client.queue.send(Outgoing::Text(text.into())).await;
    }

    async fn reply(&self, frame: &Frame, status: &str, response: &Value) {
        let payload = json!({ "status": status, "response": response });
        let refs = [&frame.join_ref, &frame.reference];
        self.send(refs, &frame.topic, "phx_reply", &payload).await;
    }

    async fn refuse(&self, frame: &Frame, reason: &str) {
        self.reply(frame, "error", &json!({ "reason": reason }))
            .await;
    }

    /// Counts what asks the database; a client that asks without end is let go.
    fn count(&mut self) -> Result<(), Ended> {
        if self.questions_since.elapsed() > ASKING_SPAN {
            (self.questions, self.questions_since) = (0, Instant::now());
        }
        self.questions += 1;
        match self.questions > MAX_QUESTIONS {
            true => Err(Ended(close_code::POLICY, "too many joins")),
            false => Ok(()),
        }
    }

    /// Whether the topic is joined; a failure of the messages' stream empties all channels.
    fn has(&self, topic: &str) -> bool {
        let channel = self.channels.get(topic);
        channel.is_some_and(|channel| self.realtime.hub.holds(&channel.topic, channel.member))
    }

    async fn join(&mut self, frame: Frame) -> Result<(), Ended> {
        self.count()?;
        let topic = frame.topic.clone();
        if let Some(old) = self.take_out(&topic) {
            let join_ref = &old.join_ref;
            self.send([join_ref, join_ref], &topic, "phx_close", &json!({}))
                .await;
        }
        match self.admit(&frame).await {
            Ok(channel) => {
                self.channels.insert(topic, channel);
                // All that commits from here on arrives, so a client that now reads misses nothing.
                self.reply(&frame, "ok", &json!({ "postgres_changes": [] }))
                    .await;
            }
            Err(Refusal { code, message }) => {
                self.refuse(&frame, &format!("{code}: {message}")).await;
            }
        }
        Ok(())
    }

    async fn admit(&mut self, frame: &Frame) -> Result<Channel, Refusal> {
        let request = join::read(&frame.topic, &frame.payload)?;
        let hub = self.realtime.hub.clone();
        self.channels
            .retain(|_, channel| hub.holds(&channel.topic, channel.member));
        if self.channels.len() >= MAX_CHANNELS {
            return Err(refusal("ChannelRateLimitReached", "Too many channels"));
        }
        let token = request.token.unwrap_or_else(|| self.key.clone());
        let claims = self.claims(&request.topic, &token).await?;
        let join_ref = match &frame.join_ref {
            Value::Null => frame.reference.clone(),
            join_ref => join_ref.clone(),
        };
        let member = hub
            .join(&request.topic, self.client.clone(), join_ref.clone())
            .ok_or_else(|| refusal("UnableToConnectToProject", NO_DATABASE))?;
        Ok(Channel {
            topic: request.topic,
            join_ref,
            token,
            claims,
            member,
            receives_own: request.receives_own,
            acknowledged: request.acknowledged,
            may_send: None,
        })
    }

    /// What a token says, if it lets its holder listen to the topic.
    async fn claims(&mut self, topic: &str, token: &str) -> Result<Claims, Refusal> {
        let claims = token::read(&self.realtime.jwt_secret, token, token::now())?;
        self.count_person(&claims.subject)?;
        self.may_listen(topic, &claims).await?;
        Ok(claims)
    }

    /// Counts the connection as one of this user's, if the token is a user's.
    fn count_person(&mut self, subject: &str) -> Result<(), Refusal> {
        if subject.is_empty() || self.users.contains_key(subject) {
            return Ok(());
        }
        let place = self.realtime.users.take(subject.to_owned());
        let place = place.ok_or_else(|| {
            let message = format!("A person may have {MAX_CONNECTIONS} connections");
            refusal("ConnectionRateLimitReached", message)
        })?;
        self.users.insert(subject.to_owned(), place);
        Ok(())
    }

    async fn may_listen(&self, topic: &str, claims: &Claims) -> Result<(), Refusal> {
        match access::may_listen(&self.realtime.pool, topic, claims).await {
            Ok(true) => Ok(()),
            Ok(false) => {
                let exact = topic.trim() == topic && topic.to_lowercase() == topic;
                let hint = if exact { "" } else { EXACT_TOPIC };
                Err(refusal("Unauthorized", format!("{NO_READ}{topic}{hint}")))
            }
            Err(access::Unavailable) => Err(refusal("UnableToConnectToProject", NO_DATABASE)),
        }
    }

    /// A new token for a channel: it has to let its holder listen, or the channel ends.
    async fn renew(&mut self, frame: Frame) -> Result<(), Ended> {
        let Some(token) = join::token(&frame.payload) else {
            return Ok(());
        };
        let channel = self
            .channels
            .get(&frame.topic)
            .filter(|channel| channel.token != token);
        let Some(topic) = channel.map(|channel| channel.topic.clone()) else {
            return Ok(());
        };
        self.count()?;
        let renewed = self.claims(&topic, &token).await;
        match (renewed, self.channels.get_mut(&frame.topic)) {
            (Ok(claims), Some(channel)) => {
                (channel.token, channel.claims, channel.may_send) = (token, claims, None);
            }
            (Err(refusal), _) => self.close(&frame.topic, &refusal.message).await,
            _ => {}
        }
        Ok(())
    }

    async fn leave(&mut self, frame: Frame) {
        let left = self.take_out(&frame.topic);
        self.reply(&frame, "ok", &json!({})).await;
        if let Some(channel) = left {
            let refs = [&channel.join_ref; 2];
            self.send(refs, &frame.topic, "phx_close", &json!({})).await;
        }
    }

    /// A client's own message: to the others, if row-level security lets its sender make the row.
    async fn broadcast(&mut self, frame: Frame) {
        if !self.has(&frame.topic) {
            return self.refuse(&frame, "unmatched topic").await;
        }
        let Some(channel) = self.channels.get_mut(&frame.topic) else {
            return;
        };
        let may_send = match channel.may_send {
            Some(channel) => channel,
            None => access::may_send(&self.realtime.pool, &channel.topic, &channel.claims)
                .await
                .inspect(|answer| channel.may_send = Some(*answer))
                .unwrap_or(false),
        };
        let text = |name: &str| frame.payload.get(name).and_then(Value::as_str);
        let message = Message {
            id: Uuid::new_v4().to_string(),
            topic: channel.topic.clone(),
            event: text("event").unwrap_or_default().to_owned(),
            payload: frame
                .payload
                .get("payload")
                .unwrap_or(&json!({}))
                .to_string(),
            private: true,
        };
        let except = (!channel.receives_own).then_some(channel.member);
        let acknowledged = channel.acknowledged;
        if !may_send {
            self.refuse(&frame, &format!("{NO_WRITE}{}", message.topic))
                .await;
            return;
        }
        self.realtime.hub.send(&message, except);
        if acknowledged {
            self.reply(&frame, "ok", &json!({})).await;
        }
    }

    fn take_out(&mut self, topic: &str) -> Option<Channel> {
        let channel = self.channels.remove(topic)?;
        self.realtime.hub.leave(&channel.topic, channel.member);
        Some(channel)
    }

    /// Ends a channel and says why.
    async fn close(&mut self, topic: &str, why: &str) {
        let Some(channel) = self.take_out(topic) else {
            return;
        };
        let system = json!({
            "extension": "system", "status": "error", "message": why, "channel": channel.topic,
        });
        let join_ref = &channel.join_ref;
        self.send([join_ref, &Value::Null], topic, "system", &system)
            .await;
        self.send([join_ref, join_ref], topic, "phx_close", &json!({}))
            .await;
    }

    fn until_next_expiry(&self) -> Duration {
        let expiries = self.channels.values().map(|channel| channel.claims.expires);
        let next = expiries.fold(f64::INFINITY, f64::min) - token::now();
        // A day at most: a timer takes no more than its own range.
        Duration::from_secs_f64(next.clamp(0.0, 86_400.0))
    }

    async fn close_expired(&mut self) {
        let now = token::now();
        let expired: Vec<String> = self
            .channels
            .iter()
            .filter(|(_, channel)| channel.claims.expires <= now)
            .map(|(topic, _)| topic.clone())
            .collect();
        for topic in expired {
            self.close(&topic, "Token has expired 0 seconds ago").await;
        }
    }
}

fn refusal(code: &'static str, message: impl Into<String>) -> Refusal {
    Refusal {
        code,
        message: message.into(),
    }
}
