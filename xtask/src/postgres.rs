//! PostgreSQL for one checkout: a relocated copy of the server, a cluster, and psql.
//!
//! The copy exists so that installing the extension never touches the system's own server, and
//! so that two checkouts with different extensions run side by side.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;

use crate::checkout::{Checkout, OsUser};
use crate::environment::{Environment, write_private};
use crate::process::{command, text};
use crate::progress::Step;
use crate::stamp;
use crate::supervisor::{Health, Service};

/// The directory of the server's programs in Debian's package.
const SYSTEM_BIN: &str = "/usr/lib/postgresql/15/bin";

/// The program that prints the directories of a server, below its prefix.
pub const PG_CONFIG: &str = "lib/postgresql/15/bin/pg_config";

/// The superuser, named as in Supabase's image.
const SUPERUSER: &str = "supabase_admin";

/// The settings that production has too, below the checkout's root.
const SETTINGS: &str = "supabase/postgresql.conf";

/// Settings of this machine alone: the server listens on loopback, on a port from the environment.
const LOCAL_SETTINGS: &str = "\
listen_addresses = '127.0.0.1'
unix_socket_directories = ''
";

/// Passwords over loopback, nothing else.
const HBA: &str = "\
# TYPE  DATABASE  USER  ADDRESS       METHOD
host    all       all   127.0.0.1/32  scram-sha-256
";

/// The server's files of one checkout.
#[derive(Clone, Debug)]
pub struct Postgres {
    /// Prefix of the relocated copy.
    pub server: PathBuf,
    /// The cluster.
    pub data: PathBuf,
    /// Notes about the cluster (which bootstrap ran); deleted with it.
    pub notes: PathBuf,
    /// The settings file.
    settings: PathBuf,
    user: Option<OsUser>,
}

impl Postgres {
    pub fn of(checkout: &Checkout) -> Result<Self> {
        let home = checkout.postgres_home()?;
        Ok(Self {
            server: home.join("pgsql"),
            data: home.join("pg"),
            notes: home.join("pg-notes"),
            settings: checkout.path(SETTINGS),
            user: checkout.postgres_user()?,
        })
    }

    /// A second cluster beside the checkout's own, with the same server and settings.
    pub fn scratch(checkout: &Checkout, name: &str) -> Result<Self> {
        let own = Self::of(checkout)?;
        Ok(Self {
            data: own.data.with_file_name(format!("pg-{name}")),
            notes: own.notes.with_file_name(format!("pg-notes-{name}")),
            ..own
        })
    }

    /// A program of the relocated server.
    pub fn bin(&self, name: &str) -> PathBuf {
        self.server.join("lib/postgresql/15/bin").join(name)
    }

    /// The version of the installed package; the copy is updated to it.
    fn system_version() -> Result<String> {
        text(command(Path::new(SYSTEM_BIN).join("postgres")).arg("--version"))
    }

    /// Prefix of a second copy: the extension's tests replace the extension in the server they use, which
    /// would crash a running one.
    pub fn test_server(&self) -> PathBuf {
        self.server.with_file_name("pgsql-test")
    }

    /// Whether both relocated copies exist and have the installed version.
    pub fn is_relocated(&self) -> Result<bool> {
        let version = Self::system_version()?;
        Ok([&self.server, &self.test_server()]
            .iter()
            .all(|prefix| stamp::matches(&prefix.join("version"), &version)))
    }

    /// Copies Debian's server to our own prefixes.
    pub fn relocate(&self, step: &Step) -> Result<()> {
        relocate_to(&self.server, step)?;
        relocate_to(&self.test_server(), step)
    }

    /// Whether the cluster exists.
    pub fn has_cluster(&self) -> bool {
        self.data.join("PG_VERSION").exists() && self.notes.join("initialised").exists()
    }

    /// Creates the cluster.
    pub fn initdb(&self, environment: &Environment, step: &Step) -> Result<()> {
        self.delete_cluster()?;
        fs::create_dir_all(&self.data)?;
        fs::create_dir_all(&self.notes)?;
        let password_file = self.notes.join("password");
        write_private(
            &password_file,
            environment.secrets.get("DB_PASSWORD_SUPERUSER")?,
        )?;
        if let Some(user) = self.user {
            for path in [&self.data, &password_file] {
                std::os::unix::fs::chown(path, Some(user.uid), Some(user.gid))?;
            }
        }
        let mut initdb = command(self.bin("initdb"));
        initdb
            .args(["--encoding=UTF8", "--locale=C.UTF-8", "--data-checksums"])
            .args(["--auth=scram-sha-256", "--no-sync", "--no-instructions"])
            .arg(format!("--username={SUPERUSER}"))
            .arg(format!("--pwfile={}", password_file.display()))
            .arg(&self.data);
        step.run(self.as_user(&mut initdb))?;
        fs::remove_file(&password_file)?;
        stamp::write(&self.notes.join("initialised"), "yes")
    }

    /// Writes the settings files; they are generated, so each start may replace them.
    fn configure(&self, port: u16) -> Result<String> {
        let shared = fs::read_to_string(&self.settings)
            .with_context(|| self.settings.display().to_string())?;
        let settings = format!("{shared}\n{LOCAL_SETTINGS}port = {port}\n");
        fs::write(self.data.join("pg_hba.conf"), HBA)?;
        fs::write(self.data.join("postgresql.conf"), &settings)?;
        Ok(settings)
    }

    /// The server as a service of the checkout.
    pub fn service(&self, environment: &Environment) -> Result<Service> {
        let port = environment.ports.db;
        let settings = self.configure(port)?;
        let extension = fs::read_to_string(self.server.join("pg_carbon.stamp")).unwrap_or_default();
        Ok(Service {
            name: "postgres",
            program: self.bin("postgres"),
            args: vec!["-D".to_owned(), self.data.display().to_string()],
            env: Vec::new(),
            user: self.user,
            port,
            port_variable: "PORT_DB",
            health: Health::Command(vec![
                self.bin("pg_isready").display().to_string(),
                "--quiet".to_owned(),
                "--host=127.0.0.1".to_owned(),
                format!("--port={port}"),
            ]),
            deadline: Duration::from_secs(30),
            // "Fast": sessions are ended, data is flushed.
            stop_signal: Signal::INT,
            // A new extension counts as well: sessions retain the library they have loaded.
            inputs: format!("{settings}{HBA}{extension}"),
        })
    }

    /// Deletes the cluster and the records about it. The server must not run.
    pub fn delete_cluster(&self) -> Result<()> {
        for folder in [&self.data, &self.notes] {
            if folder.exists() {
                fs::remove_dir_all(folder).with_context(|| folder.display().to_string())?;
            }
        }
        Ok(())
    }

    /// psql as the superuser, stopping at the first error.
    pub fn psql(&self, environment: &Environment) -> Result<Command> {
        Ok(psql(&environment.db_url(SUPERUSER)?))
    }

    fn as_user<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        if let Some(user) = self.user {
            command.uid(user.uid).gid(user.gid).current_dir("/");
        }
        command
    }
}

/// Copies Debian's server and share files below `prefix`.
///
/// The programs find their libraries and share files by relative paths, so the directory layout is
/// preserved. Headers are only read, so a link is enough.
fn relocate_to(prefix: &Path, step: &Step) -> Result<()> {
    if prefix.exists() {
        fs::remove_dir_all(prefix)?;
    }
    let copies = [
        ("/usr/lib/postgresql/15", "lib/postgresql/15"),
        ("/usr/share/postgresql/15", "share/postgresql/15"),
    ];
    for (from, to) in copies {
        let to = prefix.join(to);
        fs::create_dir_all(to.parent().context("a prefix has folders")?)?;
        step.run(command("cp").arg("-rL").arg(from).arg(&to))?;
    }
    // LLVM bitcode is only used by the just-in-time compiler, which is off; it is half of the copy.
    let bitcode = prefix.join("lib/postgresql/15/lib/bitcode");
    if bitcode.exists() {
        fs::remove_dir_all(bitcode)?;
    }
    fs::create_dir_all(prefix.join("include"))?;
    std::os::unix::fs::symlink("/usr/include/postgresql", prefix.join("include/postgresql"))?;
    let found = text(command(prefix.join(PG_CONFIG)).arg("--sharedir"))?;
    ensure!(
        Path::new(&found) == prefix.join("share/postgresql/15"),
        "the copied server looks for its files in {found}"
    );
    stamp::write(&prefix.join("version"), &Postgres::system_version()?)
}

/// psql on a database given by URL, quiet, without the user's own settings.
///
/// The password is passed in the environment: arguments are visible to every user of the machine.
pub fn psql(url: &str) -> Command {
    let mut psql = command("psql");
    psql.args(["--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1"]);
    let (address, password) = split_password(url);
    if let Some(password) = password {
        psql.env("PGPASSWORD", password);
    }
    psql.arg(format!("--dbname={address}"));
    psql.env("PGCONNECT_TIMEOUT", "10");
    psql
}

/// Removes the password from `scheme://user:password@host…`, decoding %xx.
fn split_password(url: &str) -> (String, Option<String>) {
    let parts = url.split_once("://").and_then(|(scheme, rest)| {
        let end = rest.find('/').unwrap_or(rest.len());
        let at = rest[..end].rfind('@')?;
        let (user, password) = rest[..at].split_once(':')?;
        Some((
            format!("{scheme}://{user}{}", &rest[at..]),
            decode(password),
        ))
    });
    match parts {
        Some((address, password)) => (address, Some(password)),
        None => (url.to_owned(), None),
    }
}

fn decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut position = 0;
    while position < bytes.len() {
        let escaped = (bytes[position] == b'%')
            .then(|| text.get(position + 1..position + 3))
            .flatten()
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        decoded.push(escaped.unwrap_or(bytes[position]));
        position += if escaped.is_some() { 3 } else { 1 };
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_password_of_a_url_does_not_become_an_argument() {
        let (address, password) = split_password("postgres://ann:p%40ss@db:5432/x?sslmode=require");
        assert_eq!(address, "postgres://ann@db:5432/x?sslmode=require");
        assert_eq!(password.as_deref(), Some("p@ss"));
    }

    #[test]
    fn every_setting_stands_once_and_below_its_reason() {
        let file = include_str!("../../supabase/postgresql.conf");
        let mut names = std::collections::HashSet::new();
        let mut has_reason = false;
        for line in file.lines() {
            if line.trim().is_empty() {
                has_reason = false;
            } else if line.starts_with('#') {
                has_reason = true;
            } else {
                let (name, value) = line.split_once(" = ").expect("name = value");
                assert!(has_reason, "{name} has no reason");
                assert!(names.insert(name), "{name} stands twice");
                assert!(!value.is_empty(), "{name} has no value");
            }
        }
        let local = ["port", "listen_addresses", "unix_socket_directories"];
        assert!(local.iter().all(|name| !names.contains(name)));
        assert!(names.len() > 20, "{names:?}");
    }

    #[test]
    fn a_url_without_a_password_stays_as_it_is() {
        let url = "postgresql://db/x?user=a";
        assert_eq!(split_password(url), (url.to_owned(), None));
    }
}
