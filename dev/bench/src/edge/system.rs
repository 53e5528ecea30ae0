//! The entire path from the Worker to the scratch cluster, on separate ports, and the resource usage of its
//! processes.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::load::{Ask, agent, send_well};
use crate::scratch::{SMALL, Scratch};
use xtask::environment::Environment;
use xtask::services::{self, AuthKind};
use xtask::supervisor::{Health, Service, running};
use xtask::up;

/// The processes started here, in start order; they are stopped in reverse.
const NAMES: [&str; 6] = [
    "bench-auth",
    "bench-postgrest",
    "bench-gateway",
    "bench-inbox",
    "bench-edge",
    "bench-plain",
];

/// What takes part in a request, as `cpu_ms_by_part` tells it apart.
pub const PARTS: [&str; 5] = ["runtime", "gateway", "PostgREST", "Auth", "server"];

/// Processor time of each of [`PARTS`], milliseconds.
pub type Parts = [f64; PARTS.len()];

/// Gateway, PostgREST, Auth, inbox and Worker on the scratch cluster.
pub struct System<'a> {
    pub scratch: &'a Scratch<'a>,
    pub environment: Environment,
    folder: PathBuf,
}

impl<'a> System<'a> {
    /// Starts everything but the workers.
    pub fn start(scratch: &'a Scratch<'a>) -> Result<Self> {
        let mut environment = scratch.environment.clone();
        let ports = &mut environment.ports;
        for port in [
            &mut ports.api,
            &mut ports.supabase,
            &mut ports.rest,
            &mut ports.auth,
            &mut ports.inbox,
        ] {
            *port = free_port()?;
        }
        let folder = scratch.checkout.local.join("bench-edge");
        let system = Self {
            scratch,
            environment,
            folder,
        };
        system.stop()?;
        fs::create_dir_all(&system.folder)?;
        let (checkout, environment) = (scratch.checkout, &system.environment);
        for (name, mut service) in NAMES.into_iter().zip([
            services::auth(checkout, environment, &AuthKind::Embedded)?,
            services::postgrest(checkout, environment)?,
            services::gateway(checkout, environment)?,
            services::inbox(checkout, environment)?,
        ]) {
            service.name = name;
            up::ensure(checkout, &service)?;
        }
        Ok(system)
    }

    /// Restarts the Worker, with or without its limits.
    pub fn worker(&self, limits: bool) -> Result<Worker> {
        let checkout = self.scratch.checkout;
        let mut service = services::edge(checkout, &self.environment)?;
        service.name = "bench-edge";
        service.env.retain(|(name, _)| name != "NO_LIMITS");
        if !limits {
            service
                .env
                .push(("NO_LIMITS".to_owned(), "true".to_owned()));
        }
        let state = self.folder.join("state").display().to_string();
        for (name, value) in &mut service.env {
            if name == "EDGE_PERSIST" {
                value.clone_from(&state);
            }
        }
        up::stop_one(checkout, service.name)?;
        up::ensure(checkout, &service)?;
        Ok(Worker::of(&service))
    }

    /// Starts the plain JavaScript worker with the answers that it is to give.
    pub fn plain(&self, answers: &Value) -> Result<Worker> {
        let checkout = self.scratch.checkout;
        let file = self.folder.join("answers.json");
        fs::write(&file, answers.to_string())?;
        let mut service = services::edge(checkout, &self.environment)?;
        service.name = "bench-plain";
        service.port = free_port()?;
        service.args = vec![checkout.path("edge/bench/plain.mjs").display().to_string()];
        service.env = vec![
            ("PORT_API".to_owned(), service.port.to_string()),
            ("ANSWERS".to_owned(), file.display().to_string()),
        ];
        service.health = Health::Http {
            url: Environment::http(service.port),
            below: 500,
        };
        up::stop_one(checkout, service.name)?;
        up::ensure(checkout, &service)?;
        Ok(Worker::of(&service))
    }

    /// The process of a service that `start` started.
    pub fn process(&self, name: &str) -> Result<Process> {
        let found = running(self.scratch.checkout, name).context("it runs")?;
        Ok(Process::of(found.pid))
    }

    /// CPU time of our processes so far (milliseconds), in the order of [`PARTS`].
    pub fn cpu_ms_by_part(&self, worker: &Worker) -> Result<Parts> {
        let server = running(self.scratch.checkout, "bench-postgres").context("it runs")?;
        let mut of_server = Process::of(server.pid).cpu_ms()?;
        for pid in children(server.pid)? {
            // A process that ends in between used next to nothing.
            of_server += Process::of(pid).cpu_ms().unwrap_or(0.0);
        }
        Ok([
            worker.runtime(self)?.cpu_ms()?,
            self.process("bench-gateway")?.cpu_ms()?,
            self.process("bench-postgrest")?.cpu_ms()?,
            self.process("bench-auth")?.cpu_ms()?,
            of_server,
        ])
    }

    /// Stops everything that `start`, `worker` and `plain` started, and deletes the Worker's state.
    pub fn stop(&self) -> Result<()> {
        for name in NAMES.into_iter().rev() {
            up::stop_one(self.scratch.checkout, name)?;
        }
        if self.folder.exists() {
            fs::remove_dir_all(&self.folder)?;
        }
        Ok(())
    }

    /// Access tokens of users with diaries.
    pub fn tokens(&self, people: usize) -> Result<Vec<String>> {
        let ids = self.scratch.sql(
            SMALL,
            &format!(
                "select id from auth.users where phone is not null order by id limit {people}"
            ),
        )?;
        ids.lines().map(|id| self.token(id)).collect()
    }

    fn token(&self, id: &str) -> Result<String> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
        let issuer = format!(
            "{}/auth/v1",
            Environment::http(self.environment.ports.supabase)
        );
        let claims = json!({
            "sub": id, "role": "authenticated", "aud": "authenticated", "iss": issuer, "exp": now + 3600,
        });
        let secret = self.environment.secrets.get("JWT_SECRET")?;
        Ok(carbon_dev_jwt::sign(secret, &claims))
    }

    /// The token of a new user, without an entry.
    pub fn newcomer(&self, worker: &Worker) -> Result<String> {
        let ask = Ask {
            body: Some("{}".to_owned()),
            ..worker.ask("/auth/anonymous")
        };
        let answer: Value = serde_json::from_str(&send_well(&agent(), &ask)?)?;
        let token = answer["data"]["access_token"].as_str();
        token.map(str::to_owned).context("no token for a newcomer")
    }
}

/// One of the two workers.
pub struct Worker {
    name: &'static str,
    port: u16,
}

impl Worker {
    fn of(service: &Service) -> Self {
        Self {
            name: service.name,
            port: service.port,
        }
    }

    /// A GET of a path below the API's base, signed out.
    pub fn ask(&self, path: &str) -> Ask {
        Ask {
            url: format!("{}/api/v1{path}", Environment::http(self.port)),
            token: None,
            body: None,
        }
    }

    /// The runtime's process: the child of node that holds the worker.
    pub fn runtime(&self, system: &System) -> Result<Process> {
        let parent = running(system.scratch.checkout, self.name).context("the worker runs")?;
        for entry in fs::read_dir("/proc")? {
            let name = entry?.file_name();
            let Some(pid) = name.to_str().and_then(|name| name.parse::<i32>().ok()) else {
                continue;
            };
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            let Some((head, fields)) = stat.rsplit_once(") ") else {
                continue;
            };
            let ppid = fields.split(' ').nth(1).and_then(|ppid| ppid.parse().ok());
            if ppid == Some(parent.pid) && head.ends_with("(workerd") {
                return Ok(Process { pid });
            }
        }
        anyhow::bail!("{} has no runtime's process", self.name)
    }
}

/// A process, as reported by /proc.
pub struct Process {
    pid: i32,
}

impl Process {
    /// By its pid.
    pub fn of(pid: i32) -> Self {
        Self { pid }
    }

    /// Peak memory (MB).
    pub fn peak_mb(&self) -> Result<f64> {
        self.memory_mb("VmHWM:")
    }

    /// Current memory (MB).
    pub fn memory_now_mb(&self) -> Result<f64> {
        self.memory_mb("VmRSS:")
    }

    fn memory_mb(&self, field: &str) -> Result<f64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid))?;
        let kilobytes: f64 = status
            .lines()
            .find_map(|line| line.strip_prefix(field))
            .and_then(|line| line.trim().strip_suffix(" kB"))
            .and_then(|number| number.trim().parse().ok())
            .with_context(|| format!("/proc says nothing of {field}"))?;
        Ok(kilobytes / 1024.0)
    }

    /// CPU time of all its threads so far (milliseconds).
    pub fn cpu_ms(&self) -> Result<f64> {
        let mut nanoseconds = 0.0;
        for entry in fs::read_dir(format!("/proc/{}/task", self.pid))? {
            let file = entry?.path().join("schedstat");
            let text = fs::read_to_string(file).unwrap_or_default();
            nanoseconds += text
                .split(' ')
                .next()
                .and_then(|number| number.parse::<f64>().ok())
                .unwrap_or(0.0);
        }
        Ok(nanoseconds / 1e6)
    }
}

/// Its child processes that still run.
fn children(parent: i32) -> Result<Vec<i32>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse::<i32>().ok()) else {
            continue;
        };
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let of = stat.rsplit_once(") ").and_then(|(_, fields)| {
            let ppid = fields.split(' ').nth(1)?;
            ppid.parse::<i32>().ok()
        });
        if of == Some(parent) {
            found.push(pid);
        }
    }
    Ok(found)
}

fn free_port() -> Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?
        .local_addr()?
        .port())
}
