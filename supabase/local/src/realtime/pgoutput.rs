//! The messages of PostgreSQL's output plugin `pgoutput` (version 1), as far as new rows of
//! `realtime.messages` are concerned.

use axum::body::Bytes;
use bytes::Buf;
use std::collections::HashMap;

/// A row of `realtime.messages`, as its columns' text.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Message {
    pub id: String,
    /// Topic without the prefix that clients use.
    pub topic: String,
    pub event: String,
    /// JSON text.
    pub payload: String,
    /// Whether it is for a private channel.
    pub private: bool,
}

/// What the stream has said about tables so far: the columns of each.
#[derive(Default)]
pub struct Decoder {
    columns: HashMap<u32, Vec<String>>,
}

impl Decoder {
    /// Reads one message; a message to be sent comes out of a new row that is a broadcast with event and JSON payload.
    pub fn read(&mut self, mut data: Bytes) -> Result<Option<Message>, String> {
        if data.is_empty() {
            return Err(short());
        }
        match data.get_u8() {
            b'R' => self.relation(&mut data).map(|()| None),
            b'I' => self.insert(&mut data),
            // Begin, commit and everything that is no new row.
            _ => Ok(None),
        }
    }

    fn relation(&mut self, data: &mut Bytes) -> Result<(), String> {
        let id = take::<4>(data).map(u32::from_be_bytes)?;
        text_until_zero(data)?;
        text_until_zero(data)?;
        take::<1>(data)?;
        let count = take::<2>(data).map(u16::from_be_bytes)?;
        let mut names = Vec::with_capacity(count.into());
        for _ in 0..count {
            take::<1>(data)?;
            names.push(text_until_zero(data)?);
            take::<8>(data)?;
        }
        self.columns.insert(id, names);
        Ok(())
    }

    fn insert(&self, data: &mut Bytes) -> Result<Option<Message>, String> {
        let id = take::<4>(data).map(u32::from_be_bytes)?;
        let columns = self.columns.get(&id).ok_or("a row of an unknown table")?;
        take::<1>(data)?;
        let count = take::<2>(data).map(u16::from_be_bytes)?;
        if usize::from(count) != columns.len() {
            return Err("a row with other columns than its table".into());
        }
        let mut row = HashMap::with_capacity(columns.len());
        for name in columns {
            match take::<1>(data)?[0] {
                b't' => row.insert(name.as_str(), counted_text(data)?),
                b'n' | b'u' => None,
                _ => return Err("a value in a form that was not requested".into()),
            };
        }
        if row.get("extension").map(String::as_str) != Some("broadcast") {
            return Ok(None);
        }
        let mut column = |name: &str| row.remove(name);
        let (Some(id), Some(topic), Some(event), Some(payload)) = (
            column("id"),
            column("topic"),
            column("event"),
            column("payload"),
        ) else {
            return Ok(None);
        };
        let private = column("private").as_deref() == Some("t");
        Ok(Some(Message {
            id,
            topic,
            event,
            payload,
            private,
        }))
    }
}

fn short() -> String {
    "a message of the stream is cut short".into()
}

fn take<const N: usize>(data: &mut Bytes) -> Result<[u8; N], String> {
    let taken = *data.first_chunk::<N>().ok_or_else(short)?;
    data.advance(N);
    Ok(taken)
}

fn text_until_zero(data: &mut Bytes) -> Result<String, String> {
    let end = data.iter().position(|byte| *byte == 0).ok_or_else(short)?;
    let text = data.split_to(end);
    data.advance(1);
    utf8(&text)
}

fn counted_text(data: &mut Bytes) -> Result<String, String> {
    let length = take::<4>(data).map(u32::from_be_bytes)? as usize;
    if data.len() < length {
        return Err(short());
    }
    utf8(&data.split_to(length))
}

fn utf8(text: &[u8]) -> Result<String, String> {
    String::from_utf8(text.to_vec()).map_err(|_| "a text of the stream is not UTF-8".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: [&str; 6] = ["topic", "extension", "payload", "event", "private", "id"];

    fn relation() -> Bytes {
        let mut data = b"R\0\0\0\x07realtime\0messages_2026_11_22\0d\0\x06".to_vec();
        for name in COLUMNS {
            data.push(0);
            data.extend_from_slice(name.as_bytes());
            data.extend_from_slice(&[0; 9]);
        }
        data.into()
    }

    fn insert(values: [Option<&str>; 6]) -> Bytes {
        let mut data = b"I\0\0\0\x07N\0\x06".to_vec();
        for value in values {
            match value {
                None => data.push(b'n'),
                Some(text) => {
                    data.push(b't');
                    data.extend_from_slice(&u32::try_from(text.len()).unwrap().to_be_bytes());
                    data.extend_from_slice(text.as_bytes());
                }
            }
        }
        data.into()
    }

    #[test]
    fn a_new_row_is_a_message_once_its_table_is_known() {
        let mut decoder = Decoder::default();
        let row = insert([
            Some("user:1:x"),
            Some("broadcast"),
            Some(r#"{"a": 1}"#),
            Some("e"),
            Some("t"),
            Some("i"),
        ]);
        assert!(decoder.read(row.clone()).is_err());
        assert_eq!(decoder.read(relation()).unwrap(), None);
        let message = decoder.read(row).unwrap().unwrap();
        assert_eq!(
            (
                message.topic.as_str(),
                message.event.as_str(),
                message.payload.as_str(),
                message.private
            ),
            ("user:1:x", "e", r#"{"a": 1}"#, true)
        );
    }

    #[test]
    fn rows_without_event_or_payload_and_other_extensions_are_no_messages() {
        let mut decoder = Decoder::default();
        decoder.read(relation()).unwrap();
        for (extension, payload, event) in [
            ("broadcast", None, Some("e")),
            ("broadcast", Some("{}"), None),
            ("presence", Some("{}"), Some("e")),
        ] {
            let row = insert([
                Some("t"),
                Some(extension),
                payload,
                event,
                Some("t"),
                Some("i"),
            ]);
            assert_eq!(decoder.read(row).unwrap(), None);
        }
        assert_eq!(decoder.read(Bytes::from_static(b"C\0")).unwrap(), None);
    }

    #[test]
    fn what_is_cut_short_is_an_error() {
        let mut decoder = Decoder::default();
        let complete = relation();
        for end in 0..complete.len() {
            assert!(decoder.read(complete.slice(..end)).is_err(), "{end}");
        }
    }
}
