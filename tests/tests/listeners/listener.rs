//! A user who listens: one connection by the bare protocol, joined to their own topic and to the shared one.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use carbon_tests::system::System;
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::{Message, protocol::WebSocketConfig};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

/// The topic that all users listen to.
pub const SHARED: &str = "leaderboard:live";
/// The interval of realtime-js.
const HEARTBEAT: Duration = Duration::from_secs(25);
/// Thousands of connections are held here: small buffers for small frames.
const BUFFER_BYTES: usize = 2 * 1024;

/// An event that reached a listener.
pub struct Arrival {
    pub number: u64,
    pub shared: bool,
    pub at: Instant,
}

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

pub struct Listener {
    socket: Socket,
    arrivals: mpsc::UnboundedSender<Arrival>,
}

/// The user's own topic.
pub fn topic_of(user_id: &str) -> String {
    format!("user:{user_id}:gamification")
}

impl Listener {
    /// Connects, joins and goes on listening; returns the user's id.
    pub async fn join(
        system: &System,
        arrivals: mpsc::UnboundedSender<Arrival>,
    ) -> Result<String, String> {
        let user_id = random_id();
        let url = format!(
            "{}/realtime/v1/websocket?apikey={}&vsn=2.0.0",
            system.supabase_url.replacen("http", "ws", 1),
            system.anon_key
        );
        let config = WebSocketConfig::default()
            .read_buffer_size(BUFFER_BYTES)
            .write_buffer_size(0);
        let connected = tokio_tungstenite::connect_async_with_config(url, Some(config), true);
        let (mut socket, _) = connected.await.map_err(|why| why.to_string())?;
        let token = token(&user_id, &system.jwt_secret);
        for (number, topic) in [topic_of(&user_id), SHARED.to_owned()]
            .into_iter()
            .enumerate()
        {
            let payload = json!({ "config": { "private": true }, "access_token": token });
            join_topic(&mut socket, &topic, &number.to_string(), &payload).await?;
        }
        tokio::spawn(Self { socket, arrivals }.listen());
        Ok(user_id)
    }

    async fn listen(mut self) {
        let mut heartbeat = tokio::time::interval(HEARTBEAT);
        loop {
            tokio::select! {
                message = self.socket.next() => match message {
                    Some(Ok(message)) => self.take(&message),
                    _ => return,
                },
                _ = heartbeat.tick() => {
                    let beat = json!([null, "beat", "phoenix", "heartbeat", {}]).to_string();
                    if self.socket.send(Message::text(beat)).await.is_err() {
                        return;
                    }
                }
            }
        }
    }

    fn take(&self, message: &Message) {
        let at = Instant::now();
        let frame: Value =
            serde_json::from_str(message.to_text().unwrap_or_default()).unwrap_or_default();
        if frame[3] == "broadcast"
            && let Some(number) = frame[4]["payload"]["number"].as_u64()
        {
            let shared = frame[2] == format!("realtime:{SHARED}");
            let _ = self.arrivals.send(Arrival { number, shared, at });
        }
    }
}

/// Joins a topic, and waits for the server's consent.
async fn join_topic(
    socket: &mut Socket,
    topic: &str,
    number: &str,
    payload: &Value,
) -> Result<(), String> {
    let join = json!([
        number,
        number,
        format!("realtime:{topic}"),
        "phx_join",
        payload
    ]);
    let sent = socket.send(Message::text(join.to_string())).await;
    sent.map_err(|why| why.to_string())?;
    loop {
        let message = socket.next().await.ok_or("the connection ended")?;
        let message = message.map_err(|why| why.to_string())?;
        let frame: Value =
            serde_json::from_str(message.to_text().unwrap_or_default()).unwrap_or_default();
        if frame[3] == "phx_reply" && frame[1] == number {
            return match frame[4]["status"] == "ok" {
                true => Ok(()),
                false => Err(frame.to_string()),
            };
        }
    }
}

fn random_id() -> String {
    let random: u128 = rand::random();
    let digits = format!("{random:032x}");
    let parts = [
        &digits[..8],
        &digits[8..12],
        &digits[12..16],
        &digits[16..20],
        &digits[20..],
    ];
    parts.join("-")
}

/// A token as Auth would issue it; a listener needs nothing else.
fn token(user_id: &str, secret: &str) -> String {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |time| time.as_secs());
    let claims = json!({ "sub": user_id, "role": "authenticated", "aud": "authenticated", "exp": now + 3600 });
    carbon_dev_jwt::sign(secret, &claims)
}
