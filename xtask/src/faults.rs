//! `service`: operations on one process of the local system, for manual use, for the fault tests and for
//! `chaos`.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use rustix::process::Signal;

use crate::checkout::Checkout;
use crate::supervisor::{Service, descendants, running, send, stop};
use crate::up;

/// How long a service may take until it responds again.
const START_PATIENCE: Duration = Duration::from_secs(30);

/// What can be done to a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Starts it and returns once its process runs; it may not respond yet.
    Start,
    /// Sends a termination signal and waits.
    Stop,
    /// Kills it, without a chance to clean up.
    Kill,
    /// Kills the process that the service's own restart loop restarts; PostgreSQL without a checkpoint.
    Crash,
    /// Stops it (SIGSTOP): connections stay open but get no responses.
    Pause,
    /// Resumes it.
    Resume,
}

impl Action {
    /// Parses a word of the command line.
    pub fn parse(word: &str) -> Result<Self> {
        Ok(match word {
            "start" => Self::Start,
            "stop" => Self::Stop,
            "kill" => Self::Kill,
            "crash" => Self::Crash,
            "pause" => Self::Pause,
            "resume" => Self::Resume,
            _ => bail!("service start|stop|kill|crash|pause|resume NAME"),
        })
    }
}

/// `service ACTION NAME`
pub fn command(checkout: &Checkout, action: &str, name: &str) -> Result<()> {
    let services = up::services_of_running(checkout)?;
    let Some(service) = services.iter().find(|service| service.name == name) else {
        let names: Vec<&str> = services.iter().map(|service| service.name).collect();
        bail!("no service {name:?}; there are {}", names.join(", "));
    };
    apply(checkout, service, Action::parse(action)?)
}

/// Does it.
pub fn apply(checkout: &Checkout, service: &Service, action: Action) -> Result<()> {
    let name = service.name;
    match action {
        Action::Start => start(checkout, service),
        Action::Stop => service.stop(checkout).map(drop),
        // The rest of PostgreSQL ends when it notices that the postmaster is gone.
        Action::Kill => stop(checkout, name, Signal::KILL, Duration::ZERO).map(drop),
        Action::Crash if name == "postgres" => {
            stop(checkout, name, Signal::QUIT, Duration::from_secs(10)).map(drop)
        }
        Action::Crash => signal_below(checkout, name, Signal::KILL),
        Action::Pause => signal(checkout, name, Signal::STOP),
        Action::Resume => signal(checkout, name, Signal::CONT),
    }
}

/// To all processes of a service.
fn signal(checkout: &Checkout, name: &str, signal: Signal) -> Result<()> {
    let Some(process) = running(checkout, name) else {
        bail!("{name} does not run");
    };
    send(&descendants(process.pid), signal);
    Ok(())
}

/// How long a restart loop may take to start its program again, on a busy machine.
const RESTART: Duration = Duration::from_secs(10);

/// To all processes of a service but the first. Its restart loop may just be about to start the program again, so this
/// waits for one.
fn signal_below(checkout: &Checkout, name: &str, signal: Signal) -> Result<()> {
    let begun = Instant::now();
    loop {
        match running(checkout, name).map(|process| descendants(process.pid)) {
            Some(family) if family.len() > 1 => {
                send(&family[1..], signal);
                return Ok(());
            }
            Some(_) if begun.elapsed() < RESTART => {
                std::thread::sleep(Duration::from_millis(50));
            }
            _ => bail!("{name} has no restart loop that would start it again"),
        }
    }
}

/// A killed PostgreSQL can only be started once the last of its sessions has ended, so retry.
fn start(checkout: &Checkout, service: &Service) -> Result<()> {
    let begun = Instant::now();
    loop {
        service.start(checkout)?;
        if service.name != "postgres" {
            return Ok(());
        }
        while running(checkout, service.name).is_some() {
            if service.health.is_good() {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        if begun.elapsed() > START_PATIENCE {
            bail!(
                "{} does not start; read `cargo xtask logs {}`",
                service.name,
                service.name
            );
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}
