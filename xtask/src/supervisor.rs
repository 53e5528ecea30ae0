//! Starting, watching and stopping one background process by its pid file.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use close_fds::CloseFdsBuilder;
use rustix::process::{
    Pid, Signal, WaitOptions, kill_process, kill_process_group, test_kill_process_group, waitpid,
};

use crate::checkout::{Checkout, OsUser};
use crate::environment::private_folder;
use crate::process::{command, succeeds};
use crate::progress::Failure;
use crate::stamp;

/// Directories of `.local` with users' data: the services' logs, and the storage of the Worker's Durable
/// Objects.
const PRIVATE_FOLDERS: [&str; 2] = ["logs", "edge"];

/// Runs a program whose files only their owner may read.
const UNREADABLE: &str = r#"umask 077; exec "$0" "$@""#;

/// How to check that a service responds.
#[derive(Clone, Debug)]
pub enum Health {
    /// GET on this address returns a status below this one.
    Http { url: String, below: u16 },
    /// This command succeeds.
    Command(Vec<String>),
}

/// One background process of the local system.
#[derive(Clone, Debug)]
pub struct Service {
    pub name: &'static str,
    pub program: PathBuf,
    pub args: Vec<String>,
    pub env: Vec<(String, String)>,
    pub user: Option<OsUser>,
    pub port: u16,
    /// The variable that sets the port.
    pub port_variable: &'static str,
    pub health: Health,
    /// How long it may take until it responds.
    pub deadline: Duration,
    /// The signal that requests its termination.
    pub stop_signal: Signal,
    /// Digest of other inputs that determine its behaviour, such as a configuration file.
    pub inputs: String,
}

/// The content of the pid file of a running service.
#[derive(Clone, Debug)]
pub struct Running {
    pub pid: i32,
    started: String,
    fingerprint: String,
}

/// The action that `ensure` took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    AlreadyRunning,
    Started,
}

fn pid_file(checkout: &Checkout, name: &str) -> PathBuf {
    checkout.local.join("run").join(format!("{name}.pid"))
}

/// The process of a service, if it is the one for which the pid file was written.
///
/// The start time distinguishes it from a later process with the same pid.
pub fn running(checkout: &Checkout, name: &str) -> Option<Running> {
    let text = fs::read_to_string(pid_file(checkout, name)).ok()?;
    let mut words = text.split_whitespace();
    let running = Running {
        pid: words.next()?.parse().ok()?,
        started: words.next()?.to_owned(),
        fingerprint: words.next()?.to_owned(),
    };
    (start_time(running.pid)? == running.started).then_some(running)
}

/// Start of a process in ticks since boot; none if it is gone or a zombie.
fn start_time(pid: i32) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may contain spaces; the fields after it are state, ppid, …
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    match fields.first() {
        Some(&"Z" | &"X") => None,
        _ => fields.get(19).map(|ticks| (*ticks).to_owned()),
    }
}

/// Ends a service: requests termination, waits up to `patience`, then kills it and its descendants.
pub fn stop(checkout: &Checkout, name: &str, signal: Signal, patience: Duration) -> Result<bool> {
    let Some(process) = running(checkout, name) else {
        let _ = fs::remove_file(pid_file(checkout, name));
        return Ok(false);
    };
    let pid = Pid::from_raw(process.pid).context("a pid is positive")?;
    let family: Vec<(i32, Option<String>)> = descendants(process.pid)
        .into_iter()
        .map(|member| (member, start_time(member)))
        .collect();
    let _ = kill_process(pid, signal);
    let asked = Instant::now();
    while asked.elapsed() < patience && running(checkout, name).is_some() {
        std::thread::sleep(Duration::from_millis(20));
    }
    // Each service leads a process group; what remains of it is ended too. So are sessions of PostgreSQL,
    // which lead their own groups: one that outlived its postmaster would prevent the next one from
    // starting.
    let _ = kill_process_group(pid, Signal::KILL);
    let left: Vec<i32> = family
        .into_iter()
        .filter(|(member, started)| started.is_some() && start_time(*member) == *started)
        .map(|(member, _)| member)
        .collect();
    send(&left, Signal::KILL);
    // Its ports are only free once all of it is gone. A process started by this command is its child and
    // stays in the group until it is reaped.
    let forced = Instant::now();
    while forced.elapsed() < Duration::from_secs(2) {
        let _ = waitpid(Some(pid), WaitOptions::NOHANG);
        if test_kill_process_group(pid).is_err() {
            break;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let _ = fs::remove_file(pid_file(checkout, name));
    Ok(true)
}

/// Sends a signal to processes; those that have ended in the meantime are ignored.
pub fn send(pids: &[i32], signal: Signal) {
    for pid in pids.iter().filter_map(|pid| Pid::from_raw(*pid)) {
        let _ = kill_process(pid, signal);
    }
}

/// A process and its descendants, parents first. PostgreSQL's sessions lead their own process groups, so
/// the group alone would not reach them.
pub fn descendants(root: i32) -> Vec<i32> {
    let mut parents: Vec<(i32, i32)> = Vec::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let pid = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok());
        let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        let parent = stat
            .rsplit_once(')')
            .and_then(|(_, rest)| rest.split_whitespace().nth(1)?.parse().ok());
        parents.extend(pid.zip(parent));
    }
    let mut family = vec![root];
    let mut next = 0;
    while let Some(&pid) = family.get(next) {
        family.extend(parents.iter().filter(|(_, p)| *p == pid).map(|(c, _)| *c));
        next += 1;
    }
    family
}

impl Health {
    /// Sends the signal once.
    pub fn is_good(&self) -> bool {
        match self {
            Self::Http { url, below } => status(url).is_some_and(|status| status < *below),
            Self::Command(words) => {
                let (program, args) = words.split_first().expect("a health command has words");
                succeeds(command(program).args(args).current_dir("/"))
            }
        }
    }
}

/// Closes descriptors inherited from the caller of this command in the services, which outlive it: a lock
/// held by the caller (`flock FILE cargo xtask up`) would stay held as long as one of them runs. The three
/// standard ones are replaced for each service anyway.
fn keep_descriptors() {
    CloseFdsBuilder::new().cloexecfrom(3);
}

/// The HTTP status of a GET, if anything answers within two seconds.
pub fn status(url: &str) -> Option<u16> {
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .timeout_global(Some(Duration::from_secs(2)))
        .http_status_as_error(false)
        .build()
        .into();
    agent
        .get(url)
        .call()
        .ok()
        .map(|response| response.status().as_u16())
}

impl Service {
    fn fingerprint(&self) -> Result<String> {
        let env: String = self
            .env
            .iter()
            .map(|(name, value)| format!("{name}={value}\n"))
            .collect();
        stamp::inputs(
            Path::new(""),
            &[],
            &[
                &self.program.to_string_lossy(),
                &stamp::version_of(&self.program),
                &self.args.join("\n"),
                &env,
                &self.inputs,
            ],
        )
    }

    /// Starts the service unless it already runs with exactly these settings, and waits for health.
    pub fn ensure(&self, checkout: &Checkout) -> Result<Outcome> {
        let fingerprint = self.fingerprint()?;
        if let Some(process) = running(checkout, self.name) {
            if process.fingerprint == fingerprint && self.health.is_good() {
                return Ok(Outcome::AlreadyRunning);
            }
            self.stop(checkout)?;
        }
        self.launch(checkout, &fingerprint)?;
        self.wait_for_health(checkout)?;
        Ok(Outcome::Started)
    }

    /// Starts the service if it does not run, without waiting until it responds: its dependencies may be
    /// away.
    pub fn start(&self, checkout: &Checkout) -> Result<()> {
        if running(checkout, self.name).is_some() {
            return Ok(());
        }
        self.launch(checkout, &self.fingerprint()?)
    }

    fn launch(&self, checkout: &Checkout, fingerprint: &str) -> Result<()> {
        self.refuse_a_taken_port()?;
        let pid = self.spawn(checkout)?;
        let started = start_time(pid).unwrap_or_default();
        stamp::write(
            &pid_file(checkout, self.name),
            &format!("{pid} {started} {fingerprint}"),
        )
    }

    /// Ends the service if it runs.
    pub fn stop(&self, checkout: &Checkout) -> Result<bool> {
        stop(
            checkout,
            self.name,
            self.stop_signal,
            Duration::from_secs(20),
        )
    }

    fn refuse_a_taken_port(&self) -> Result<()> {
        let begun = Instant::now();
        let error = loop {
            match TcpListener::bind((Ipv4Addr::LOCALHOST, self.port)) {
                Ok(_) => return Ok(()),
                // A process that is ending holds its port a moment longer.
                Err(_) if begun.elapsed() < Duration::from_secs(2) => {
                    std::thread::sleep(Duration::from_millis(50));
                }
                Err(error) => break error,
            }
        };
        Err(Failure {
            what: format!(
                "{} cannot use port {} of 127.0.0.1: {error}",
                self.name, self.port
            ),
            log: None,
            advice: format!(
                "end the program that uses it (`ss -ltnp 'sport = :{}'` names it; perhaps another \
                 checkout: `cargo xtask down` there), or choose another port: `{}={} cargo xtask up`",
                self.port,
                self.port_variable,
                self.port.wrapping_add(10_000).max(1024)
            ),
        }
        .into())
    }

    fn spawn(&self, checkout: &Checkout) -> Result<i32> {
        let log = checkout.log(self.name);
        for folder in PRIVATE_FOLDERS {
            private_folder(&checkout.local.join(folder))?;
        }
        let mut file = OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(&log)?;
        writeln!(file, "--- start")?;
        // A separate session: closing the terminal or Ctrl-C there does not end the services.
        let mut starter = command("setsid");
        starter
            .args(["/bin/sh", "-c", UNREADABLE])
            .arg(&self.program)
            .args(&self.args)
            .envs(self.env.iter().map(|(name, value)| (name, value)))
            .stdout(file.try_clone()?)
            .stderr(file);
        match self.user {
            Some(user) => starter.current_dir("/").uid(user.uid).gid(user.gid),
            None => starter.current_dir(&checkout.root),
        };
        keep_descriptors();
        let child = starter
            .spawn()
            .with_context(|| format!("cannot start {}", self.program.display()))?;
        Ok(i32::try_from(child.id())?)
    }

    fn wait_for_health(&self, checkout: &Checkout) -> Result<()> {
        let started = Instant::now();
        let what = loop {
            if self.health.is_good() {
                return Ok(());
            }
            if running(checkout, self.name).is_none() {
                break format!("{} ended while starting", self.name);
            }
            if started.elapsed() > self.deadline {
                break format!(
                    "{} does not answer after {} s",
                    self.name,
                    self.deadline.as_secs()
                );
            }
            std::thread::sleep(Duration::from_millis(25));
        };
        Err(Failure {
            what,
            log: Some(checkout.log(self.name)),
            advice: format!(
                "read `cargo xtask logs {}`, then `cargo xtask up` again; \
                 `cargo xtask reset` begins with empty data",
                self.name
            ),
        }
        .into())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::sync::{Mutex, PoisonError};

    use super::*;

    /// Held by tests that start a process: one started concurrently by another test would inherit
    /// descriptors.
    static STARTING: Mutex<()> = Mutex::new(());

    fn checkout(name: &str) -> Checkout {
        let root = std::env::temp_dir().join(format!("supervisor-{name}-{}", std::process::id()));
        Checkout {
            local: root.join(".local"),
            cache: root.join("cache"),
            root,
        }
    }

    fn sleeper(health: Vec<String>) -> Service {
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .and_then(|listener| listener.local_addr())
            .expect("a free port")
            .port();
        Service {
            name: "sleeper",
            program: PathBuf::from("/bin/sleep"),
            args: vec!["60".to_owned()],
            env: Vec::new(),
            user: None,
            port,
            port_variable: "PORT_SLEEPER",
            health: Health::Command(health),
            deadline: Duration::from_millis(200),
            stop_signal: Signal::TERM,
            inputs: String::new(),
        }
    }

    #[test]
    fn a_service_starts_once_restarts_when_changed_and_stops() -> Result<()> {
        let _alone = STARTING.lock().unwrap_or_else(PoisonError::into_inner);
        let checkout = checkout("once");
        let mut service = sleeper(vec!["true".to_owned()]);
        assert_eq!(service.ensure(&checkout)?, Outcome::Started);
        let first = running(&checkout, "sleeper").context("it runs")?.pid;
        assert_eq!(service.ensure(&checkout)?, Outcome::AlreadyRunning);
        service.args = vec!["61".to_owned()];
        assert_eq!(service.ensure(&checkout)?, Outcome::Started);
        assert_ne!(first, running(&checkout, "sleeper").context("it runs")?.pid);
        assert!(service.stop(&checkout)?);
        assert!(running(&checkout, "sleeper").is_none());
        fs::remove_dir_all(&checkout.root)?;
        Ok(())
    }

    #[test]
    fn what_services_write_can_be_read_by_their_owner_alone() -> Result<()> {
        let _alone = STARTING.lock().unwrap_or_else(PoisonError::into_inner);
        let checkout = checkout("private");
        let written = checkout.local.join("edge/do/state");
        // An older version created it world-readable.
        fs::create_dir_all(checkout.local.join("edge"))?;
        let path = written.display().to_string();
        let mut service = sleeper(vec!["test".to_owned(), "-s".to_owned(), path.clone()]);
        service.program = PathBuf::from("/bin/sh");
        let script = "mkdir -p ${0%/*}; echo ended > $0; exec sleep 60".to_owned();
        service.args = vec!["-c".to_owned(), script, path];
        service.deadline = Duration::from_secs(10);
        let outcome = service.ensure(&checkout);
        assert!(service.stop(&checkout)?);
        assert_eq!(outcome?, Outcome::Started);
        for (path, mode) in [
            (checkout.local.join("edge"), 0o700),
            (checkout.local.join("edge/do"), 0o700),
            (written, 0o600),
            (checkout.local.join("logs"), 0o700),
            (checkout.log("sleeper"), 0o600),
        ] {
            let found = fs::metadata(&path)?.permissions().mode() & 0o777;
            assert_eq!(found, mode, "{}: {found:o}", path.display());
        }
        fs::remove_dir_all(&checkout.root)?;
        Ok(())
    }

    #[test]
    fn a_lock_that_the_caller_holds_is_not_held_by_the_services() -> Result<()> {
        let _alone = STARTING.lock().unwrap_or_else(PoisonError::into_inner);
        let checkout = checkout("lock");
        let service = sleeper(vec!["true".to_owned()]);
        fs::create_dir_all(&checkout.root)?;
        let path = checkout.root.join("lock");
        // As a shell opens it: inherited by the processes that the command starts.
        let lock = fs::File::create(&path)?;
        rustix::io::fcntl_setfd(&lock, rustix::io::FdFlags::empty())?;
        lock.try_lock()?;
        service.ensure(&checkout)?;
        drop(lock);
        let again = fs::File::open(&path)?.try_lock();
        assert!(service.stop(&checkout)?);
        assert!(again.is_ok(), "{again:?}");
        fs::remove_dir_all(&checkout.root)?;
        Ok(())
    }

    #[test]
    fn a_process_with_the_same_number_but_another_start_is_not_ours() -> Result<()> {
        let checkout = checkout("recycled");
        let own = std::process::id();
        stamp::write(&pid_file(&checkout, "other"), &format!("{own} 1 x"))?;
        assert!(running(&checkout, "other").is_none());
        assert!(!stop(
            &checkout,
            "other",
            Signal::TERM,
            Duration::from_secs(1)
        )?);
        fs::remove_dir_all(&checkout.root)?;
        Ok(())
    }

    #[test]
    fn a_taken_port_is_named_with_the_variable_that_moves_it() -> Result<()> {
        let _alone = STARTING.lock().unwrap_or_else(PoisonError::into_inner);
        let checkout = checkout("taken");
        let mut service = sleeper(vec!["true".to_owned()]);
        let holder = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        service.port = holder.local_addr()?.port();
        let error = service
            .ensure(&checkout)
            .expect_err("the port is taken")
            .to_string();
        assert!(error.contains("PORT_SLEEPER="), "{error}");
        Ok(())
    }

    #[test]
    fn a_service_that_never_answers_is_reported() -> Result<()> {
        let _alone = STARTING.lock().unwrap_or_else(PoisonError::into_inner);
        let checkout = checkout("mute");
        let service = sleeper(vec!["false".to_owned()]);
        let error = service.ensure(&checkout).expect_err("no health");
        assert!(error.to_string().contains("does not answer"), "{error}");
        assert!(service.stop(&checkout)?);
        fs::remove_dir_all(&checkout.root)?;
        Ok(())
    }
}
