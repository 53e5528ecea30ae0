//! The attacker: reused connections from a separate address, each sending the next request as soon as the
//! last was answered.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::net::{AddressFamily, SocketType, bind, connect, socket};
use serde_json::Value;

use super::attacks::{Attack, Interface, Request};

/// The address that the attacker's connections come from: all of 127.0.0.0/8 is this machine.
const SOURCE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

/// Longest wait for an answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// Attacks for the given time and reports how often each status was returned.
pub fn attack(attack: &Attack, target: &Value) -> Result<String> {
    let seconds = target["seconds"].as_f64().context("seconds")?;
    let end = Instant::now() + Duration::from_secs_f64(seconds);
    let counts: Vec<Result<BTreeMap<u16, u32>>> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..attack.connections)
            .map(|connection| scope.spawn(move || keep_asking(attack, target, connection, end)))
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().expect("an attacker's thread does not panic"))
            .collect()
    });
    let mut sum = BTreeMap::<u16, u32>::new();
    for count in counts {
        for (status, times) in count? {
            *sum.entry(status).or_default() += times;
        }
    }
    let said: Vec<String> = sum
        .into_iter()
        .map(|(status, times)| match status {
            0 => format!("no answer {times}×"),
            _ => format!("{status} {times}×"),
        })
        .collect();
    Ok(said.join(", "))
}

fn keep_asking(
    attack: &Attack,
    target: &Value,
    connection: usize,
    end: Instant,
) -> Result<BTreeMap<u16, u32>> {
    let tokens = target["tokens"].as_array().context("tokens")?;
    let account = connection % attack.accounts;
    let token = tokens[account].as_str().context("a token")?;
    let key = target["key"].as_str().context("a key")?;
    let mut counts = BTreeMap::new();
    let mut idle: Option<BufReader<TcpStream>> = None;
    let mut number = 0;
    while Instant::now() < end {
        // Numbers of two processes never collide: each attack runs once.
        let request = (attack.request)(connection * 1_000_000 + number);
        number += 1;
        let port = match request.interface {
            Interface::Edge => &target["edge"],
            Interface::Gateway => &target["gateway"],
        };
        let port = u16::try_from(port.as_u64().context("a port")?)?;
        let stream = match idle.take() {
            Some(stream) => Ok(stream),
            None => open(SOURCE, port),
        };
        let answered = stream.and_then(|mut stream| {
            stream
                .get_mut()
                .write_all(&bytes(&request, key, token))
                .and_then(|()| answer(&mut stream, request.method == "HEAD", &mut io::sink()))
                .map(|(status, stays)| (status, stays.then_some(stream)))
        });
        let status = match answered {
            Ok((status, stream)) => {
                idle = stream;
                status
            }
            // A connection closed by the server counts as one answer; the next request opens another.
            Err(_) => 0,
        };
        *counts.entry(status).or_default() += 1;
    }
    Ok(counts)
}

/// Sends one request over a new connection from an address and reads the answer: its status and its full
/// text.
pub fn once(source: Ipv4Addr, port: u16, request: &str) -> io::Result<(u16, String)> {
    let mut stream = open(source, port)?;
    stream.get_mut().write_all(request.as_bytes())?;
    let mut body = Vec::new();
    let (status, _) = answer(&mut stream, false, &mut body)?;
    Ok((status, String::from_utf8_lossy(&body).into_owned()))
}

fn open(source: Ipv4Addr, port: u16) -> io::Result<BufReader<TcpStream>> {
    let socket = socket(AddressFamily::INET, SocketType::STREAM, None)?;
    bind(&socket, &SocketAddrV4::new(source, 0))?;
    connect(&socket, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, port))?;
    let stream = TcpStream::from(socket);
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(BufReader::new(stream))
}

fn bytes(request: &Request, key: &str, token: &str) -> Vec<u8> {
    let mut text = format!(
        "{} {} HTTP/1.1\r\nhost: localhost\r\napikey: {key}\r\nauthorization: Bearer {token}\r\n",
        request.method, request.path
    );
    for (name, value) in request.headers {
        text += &format!("{name}: {value}\r\n");
    }
    if let Some(body) = &request.body {
        text += &format!(
            "content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
    } else {
        text += "\r\n";
    }
    text.into_bytes()
}

/// Reads an answer to its end: its status, and whether the connection stays open.
fn answer(
    stream: &mut impl BufRead,
    is_head: bool,
    body: &mut impl Write,
) -> io::Result<(u16, bool)> {
    let broken = || io::Error::from(io::ErrorKind::InvalidData);
    let mut line = String::new();
    stream.read_line(&mut line)?;
    let status = line
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok());
    let status = status.ok_or_else(broken)?;
    let (mut length, mut is_chunked, mut stays) = (None, false, true);
    loop {
        line.clear();
        stream.read_line(&mut line)?;
        let header = line.trim_end().to_ascii_lowercase();
        match header.split_once(": ") {
            Some(("content-length", value)) => length = value.parse::<u64>().ok(),
            Some(("transfer-encoding", "chunked")) => is_chunked = true,
            Some(("connection", "close")) => stays = false,
            _ if header.is_empty() => break,
            _ => {}
        }
    }
    let has_body = !is_head && status != 204 && status != 304;
    match length {
        _ if !has_body => {}
        _ if is_chunked => copy_chunks(stream, body)?,
        Some(length) => {
            io::copy(&mut stream.take(length), body)?;
        }
        None => {
            io::copy(stream, body)?;
            stays = false;
        }
    }
    Ok((status, stays))
}

fn copy_chunks(stream: &mut impl BufRead, body: &mut impl Write) -> io::Result<()> {
    let mut line = String::new();
    loop {
        line.clear();
        stream.read_line(&mut line)?;
        let size = u64::from_str_radix(line.trim_end(), 16)
            .map_err(|_| io::Error::from(io::ErrorKind::InvalidData))?;
        io::copy(&mut stream.by_ref().take(size), body)?;
        // The line end after it.
        io::copy(&mut stream.by_ref().take(2), &mut io::sink())?;
        if size == 0 {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read_to_their_end_however_it_is_marked() -> Result<()> {
        let mut answers = io::Cursor::new(
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok\
             HTTP/1.1 429 Too Many\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n\
             HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n\
             HTTP/1.1 503 Away\r\nConnection: close\r\n\r\nthe rest",
        );
        assert_eq!(answer(&mut answers, false, &mut io::sink())?, (200, true));
        assert_eq!(answer(&mut answers, false, &mut io::sink())?, (429, true));
        assert_eq!(answer(&mut answers, true, &mut io::sink())?, (200, true));
        assert_eq!(answer(&mut answers, false, &mut io::sink())?, (503, false));
        assert!(answer(&mut answers, false, &mut io::sink()).is_err());
        Ok(())
    }
}
