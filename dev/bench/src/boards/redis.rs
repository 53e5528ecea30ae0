//! Redis, for comparison only: a sorted set of the same users, queried for ranks over one connection.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::scratch::Scratch;
use xtask::process::{command, succeeds};
use xtask::tools;

/// Duration of the queries in one round.
const ROUND: Duration = Duration::from_secs(2);

/// A separate server, in memory only.
pub struct Redis {
    server: Child,
    port: u16,
    people: u32,
}

impl Redis {
    /// Starts a server and fills it; none, with a printed reason, if there is no Redis and none can be
    /// installed.
    pub fn start(scratch: &Scratch, people: u32) -> Result<Option<Self>> {
        let is_there = || succeeds(command("redis-server").arg("--version"));
        if !is_there() {
            let installed = tools::ensure_apt(scratch.checkout, &["redis-server"], "redis-server");
            if installed.is_err() || !is_there() {
                println!(
                    "      without Redis, which the comparison alone needs: apt-get install redis-server"
                );
                return Ok(None);
            }
        }
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?
            .local_addr()?
            .port();
        let server = command("redis-server")
            .args([
                "--bind",
                "127.0.0.1",
                "--save",
                "",
                "--appendonly",
                "no",
                "--port",
            ])
            .arg(port.to_string())
            .stdout(Stdio::null())
            .spawn()
            .context("redis-server")?;
        let redis = Self {
            server,
            port,
            people,
        };
        scratch.step("the same people in Redis", |_| redis.fill())?;
        Ok(Some(redis))
    }

    pub fn stop(mut self) -> Result<()> {
        self.server.kill()?;
        self.server.wait()?;
        Ok(())
    }

    fn connect(&self) -> Result<BufReader<TcpStream>> {
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            match TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)) {
                Ok(stream) => {
                    stream.set_nodelay(true)?;
                    return Ok(BufReader::new(stream));
                }
                Err(error) if Instant::now() > deadline => bail!("redis-server: {error}"),
                Err(_) => std::thread::sleep(Duration::from_millis(50)),
            }
        }
    }

    fn fill(&self) -> Result<()> {
        let mut connection = self.connect()?;
        for first in (1..=self.people).step_by(1000) {
            let mut line = "ZADD board".to_owned();
            for person in first..(first + 1000).min(self.people + 1) {
                let place = u64::from(person).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 48;
                write!(
                    line,
                    " {} {}",
                    place * place * 20_000 / (65_536 * 65_536),
                    member(person)
                )?;
            }
            ask(&mut connection, &line)?;
        }
        Ok(())
    }

    /// The time of each ZREVRANK, as the client saw it.
    pub fn ranks_ms(&self) -> Result<Vec<f64>> {
        let mut connection = self.connect()?;
        let mut latencies = Vec::new();
        let started = Instant::now();
        let mut person = 1;
        while started.elapsed() < ROUND {
            person = (person * 48_271) % 2_147_483_647_u64;
            let chosen = u32::try_from(person % u64::from(self.people))? + 1;
            let line = format!("ZREVRANK board {}", member(chosen));
            let asked = Instant::now();
            let answer = ask(&mut connection, &line)?;
            latencies.push(asked.elapsed().as_secs_f64() * 1000.0);
            ensure!(answer.len() > 1, "a user is missing in Redis");
        }
        Ok(latencies)
    }
}

/// As long as a uuid.
fn member(person: u32) -> String {
    format!("00000000-0000-4000-8000-{person:012}")
}

/// Sends one command and returns the integer reply, without its type prefix.
fn ask(connection: &mut BufReader<TcpStream>, line: &str) -> Result<String> {
    connection
        .get_mut()
        .write_all(format!("{line}\r\n").as_bytes())?;
    let mut answer = String::new();
    connection.read_line(&mut answer)?;
    ensure!(answer.starts_with(':'), "Redis answered {answer}");
    Ok(answer[1..].trim_end().to_owned())
}
