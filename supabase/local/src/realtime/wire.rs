//! A connection to PostgreSQL that streams what is committed: the few messages of its protocol that logical
//! replication needs. The client library of the other parts speaks everything but these.

use axum::body::Bytes;
use postgres_protocol::authentication::sasl::{self, ChannelBinding, ScramSha256};
use postgres_protocol::message::frontend;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_postgres::Config;
use tokio_postgres::config::Host;

/// Longest time to reach the server.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// The server asks for a sign of life after half of this, and ends the connection after all of it.
const SENDER_TIMEOUT_SECS: u64 = 10;
/// A server that is silent for this long is gone: it would have asked for a keep-alive by then.
pub const SILENCE: Duration = Duration::from_secs(15);
/// PostgreSQL counts microseconds from 2000-01-01.
const EPOCH_SECS: u64 = 946_684_800;
/// Messages of the server are rows of small tables; a longer one is not from a PostgreSQL.
const MAX_MESSAGE_BYTES: usize = 1 << 30;

/// What the stream brings.
#[derive(Debug)]
pub enum Event {
    /// A piece of the output plugin's: one of its messages.
    Data(Bytes),
    /// The server is there, and asks whether we are.
    KeepAliveRequested,
    Alive,
}

/// An open connection in replication mode.
pub struct Connection {
    stream: TcpStream,
    received: bytes::BytesMut,
    /// Up to where everything has been taken.
    position: u64,
}

impl Connection {
    /// Connects and authenticates as the user of the address, which needs the right to replicate.
    pub async fn open(config: &Config) -> Result<Self, String> {
        let host = match config.get_hosts().first() {
            Some(Host::Tcp(host)) => host.clone(),
            _ => return Err("the database's address has no host".into()),
        };
        let port = config.get_ports().first().copied().unwrap_or(5432);
        let connect = TcpStream::connect((host, port));
        let stream = tokio::time::timeout(CONNECT_TIMEOUT, connect)
            .await
            .map_err(|_| "the database does not answer".to_owned())?
            .map_err(reason)?;
        stream.set_nodelay(true).map_err(reason)?;
        let mut connection = Self {
            stream,
            received: bytes::BytesMut::new(),
            position: 0,
        };
        let start = connection.start(config);
        tokio::time::timeout(CONNECT_TIMEOUT, start)
            .await
            .map_err(|_| "the database does not finish the sign-in".to_owned())??;
        Ok(connection)
    }

    async fn start(&mut self, config: &Config) -> Result<(), String> {
        let user = config.get_user().unwrap_or_default();
        let options = format!("-c wal_sender_timeout={SENDER_TIMEOUT_SECS}s");
        let parameters = [
            ("user", user),
            ("database", config.get_dbname().unwrap_or(user)),
            ("replication", "database"),
            ("application_name", "carbon-local realtime"),
            ("options", options.as_str()),
        ];
        let mut message = bytes::BytesMut::new();
        frontend::startup_message(parameters, &mut message).map_err(reason)?;
        self.stream.write_all(&message).await.map_err(reason)?;
        let mut scram = None;
        loop {
            let (tag, mut body) = self.message().await?;
            match tag {
                b'R' if body.len() >= 4 => {
                    let kind = bytes::Buf::get_i32(&mut body);
                    self.authenticate(kind, &body, config, &mut scram).await?;
                }
                b'E' => return Err(error_text(&body)),
                b'Z' => return Ok(()),
                _ => {}
            }
        }
    }

    async fn authenticate(
        &mut self,
        kind: i32,
        body: &[u8],
        config: &Config,
        scram: &mut Option<ScramSha256>,
    ) -> Result<(), String> {
        let mut answer = bytes::BytesMut::new();
        match (kind, scram.as_mut()) {
            (0, _) => return Ok(()),
            (10, _) => {
                let password = config.get_password().unwrap_or_default();
                let begun = ScramSha256::new(password, ChannelBinding::unsupported());
                frontend::sasl_initial_response(sasl::SCRAM_SHA_256, begun.message(), &mut answer)
                    .map_err(reason)?;
                *scram = Some(begun);
            }
            (11, Some(scram)) => {
                scram.update(body).map_err(reason)?;
                frontend::sasl_response(scram.message(), &mut answer).map_err(reason)?;
            }
            (12, Some(scram)) => return scram.finish(body).map_err(reason),
            _ => return Err("the database wants another kind of password than SCRAM".into()),
        }
        self.stream.write_all(&answer).await.map_err(reason)
    }

    /// Runs a command that answers nothing of interest.
    pub async fn run(&mut self, command: &str) -> Result<(), String> {
        self.send_query(command).await?;
        let mut failure = None;
        loop {
            let (tag, body) = self.message().await?;
            match tag {
                b'E' => failure = Some(error_text(&body)),
                b'Z' => return failure.map_or(Ok(()), Err),
                _ => {}
            }
        }
    }

    /// Begins the stream; from here on there is only [`Connection::next`].
    pub async fn stream(&mut self, command: &str) -> Result<(), String> {
        self.send_query(command).await?;
        loop {
            let (tag, body) = self.message().await?;
            match tag {
                b'W' => return Ok(()),
                b'E' => return Err(error_text(&body)),
                _ => {}
            }
        }
    }

    async fn send_query(&mut self, command: &str) -> Result<(), String> {
        let mut message = bytes::BytesMut::new();
        frontend::query(command, &mut message).map_err(reason)?;
        self.stream.write_all(&message).await.map_err(reason)
    }

    /// The next event of the stream. May be dropped while it waits, and called again.
    pub async fn next(&mut self) -> Result<Event, String> {
        use bytes::Buf;
        let (tag, mut body) = self.message().await?;
        match tag {
            b'd' => {}
            b'E' => return Err(error_text(&body)),
            b'c' => return Err("the database ended the stream".into()),
            _ => return Ok(Event::Alive),
        }
        match body.first() {
            Some(b'w') if body.len() >= 25 => {
                body.advance(1);
                // The length of the data says nothing about the log: a row that is compressed there is longer here, and a
                // server that stops waits for ever for a position that is not its own to be confirmed.
                self.position = self.position.max(body.get_u64());
                body.advance(16);
                Ok(Event::Data(body))
            }
            Some(b'k') if body.len() == 18 => {
                body.advance(1);
                self.position = self.position.max(body.get_u64());
                body.advance(8);
                Ok(if body.get_u8() == 1 {
                    Event::KeepAliveRequested
                } else {
                    Event::Alive
                })
            }
            _ => Err("the stream holds something else than data".into()),
        }
    }

    /// Confirms to the server that everything so far has been taken, so that it drops it.
    pub async fn confirm(&mut self) -> Result<(), String> {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH + Duration::from_secs(EPOCH_SECS))
            .unwrap_or_default();
        let micros = u64::try_from(now.as_micros()).unwrap_or_default();
        let mut message = Vec::with_capacity(39);
        message.push(b'd');
        message.extend_from_slice(&38u32.to_be_bytes());
        message.push(b'r');
        for value in [self.position, self.position, self.position, micros] {
            message.extend_from_slice(&value.to_be_bytes());
        }
        message.push(0);
        self.stream.write_all(&message).await.map_err(reason)
    }

    /// One complete message: its tag and its body.
    async fn message(&mut self) -> Result<(u8, Bytes), String> {
        loop {
            if let Some(complete) = take_message(&mut self.received)? {
                return Ok(complete);
            }
            // What has arrived stays in the buffer when the future is dropped here.
            let count = self.stream.read_buf(&mut self.received).await;
            if count.map_err(reason)? == 0 {
                return Err("the database closed the connection".into());
            }
        }
    }
}

/// Takes a message off the front, when all of it is there.
fn take_message(received: &mut bytes::BytesMut) -> Result<Option<(u8, Bytes)>, String> {
    let Some(head) = received.first_chunk::<5>() else {
        return Ok(None);
    };
    let tag = head[0];
    let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
    if !(4..MAX_MESSAGE_BYTES).contains(&length) {
        return Err("the database speaks another protocol".into());
    }
    if received.len() <= length {
        return Ok(None);
    }
    let mut complete = received.split_to(length + 1).freeze();
    bytes::Buf::advance(&mut complete, 5);
    Ok(Some((tag, complete)))
}

/// The message field of an error, which holds no values of anybody.
fn error_text(body: &[u8]) -> String {
    let field = body
        .split(|byte| *byte == 0)
        .find_map(|field| field.strip_prefix(b"M"));
    field.map_or_else(
        || "the database refused".to_owned(),
        |text| String::from_utf8_lossy(text).into_owned(),
    )
}

fn reason(why: impl std::fmt::Display) -> String {
    why.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_taken_whole() {
        let mut received = bytes::BytesMut::from(&b"Z\0\0\0\x05I"[..]);
        received.extend_from_slice(b"C\0\0\0\x06O");
        let (tag, body) = take_message(&mut received).unwrap().unwrap();
        assert_eq!((tag, &body[..]), (b'Z', &b"I"[..]));
        assert!(take_message(&mut received).unwrap().is_none());
        received.extend_from_slice(b"K");
        let (tag, body) = take_message(&mut received).unwrap().unwrap();
        assert_eq!((tag, &body[..]), (b'C', &b"OK"[..]));
        received.extend_from_slice(b"HTTP/1.1 400");
        assert!(take_message(&mut received).is_err());
    }

    #[test]
    fn an_error_tells_its_message_alone() {
        assert_eq!(
            error_text(b"SFATAL\0C28P01\0Mno entry\0Dsecret\0\0"),
            "no entry"
        );
    }
}
