//! Paths: the checkout, its state in `.local`, the user's cache, PostgreSQL's files.

use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::process::command;
use crate::stamp;

/// The operating-system user that runs a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OsUser {
    pub uid: u32,
    pub gid: u32,
}

/// The directories that every command uses.
#[derive(Clone, Debug)]
pub struct Checkout {
    /// The repository's root.
    pub root: PathBuf,
    /// State of this checkout (`.local`): secrets, logs, pid files, data.
    pub local: PathBuf,
    /// Tools and toolchains shared by all checkouts of this user.
    pub cache: PathBuf,
}

impl Checkout {
    /// Finds the checkout that this command was built from, and the user's cache.
    pub fn find() -> Result<Self> {
        let manifest = std::env::var("CARGO_MANIFEST_DIR")
            .unwrap_or_else(|_| env!("CARGO_MANIFEST_DIR").to_owned());
        // The crates of dev/ are nested deeper than this one; all are members of the workspace that has the
        // lock file.
        let root = Path::new(&manifest)
            .ancestors()
            .find(|folder| folder.join("Cargo.lock").is_file())
            .context("the repository's root has Cargo.lock")?
            .to_owned();
        let cache = match std::env::var_os("XDG_CACHE_HOME").filter(|path| !path.is_empty()) {
            Some(path) => PathBuf::from(path),
            None => {
                PathBuf::from(std::env::var_os("HOME").context("HOME is not set")?).join(".cache")
            }
        };
        Ok(Self {
            local: root.join(".local"),
            cache: cache.join("carbon-pixels"),
            root,
        })
    }

    /// A path below the repository's root.
    pub fn path(&self, relative: &str) -> PathBuf {
        self.root.join(relative)
    }

    /// The log file of one service or one step.
    pub fn log(&self, name: &str) -> PathBuf {
        self.local.join("logs").join(format!("{name}.log"))
    }

    /// Cargo's target directory of this workspace.
    pub fn target_dir(&self) -> PathBuf {
        match std::env::var_os("CARGO_TARGET_DIR").filter(|path| !path.is_empty()) {
            Some(path) => self.root.join(path),
            None => self.root.join("target"),
        }
    }

    /// PostgreSQL refuses to run as root, so root starts it as the package's user `postgres`.
    pub fn postgres_user(&self) -> Result<Option<OsUser>> {
        if !rustix::process::geteuid().is_root() {
            return Ok(None);
        }
        let passwd = std::fs::read_to_string("/etc/passwd")?;
        let fields: Vec<&str> = passwd
            .lines()
            .find(|line| line.starts_with("postgres:"))
            .context("there is no user `postgres`; the package postgresql-15 makes it")?
            .split(':')
            .collect();
        match fields.as_slice() {
            [_, _, uid, gid, ..] => Ok(Some(OsUser {
                uid: uid.parse()?,
                gid: gid.parse()?,
            })),
            _ => bail!("/etc/passwd: cannot read the line of `postgres`"),
        }
    }

    /// The file that records [`Self::postgres_home`].
    pub fn postgres_home_note(&self) -> PathBuf {
        self.local.join("postgres-home")
    }

    /// The directory of the cluster and of the relocated server.
    ///
    /// Usually `.local`. Below a directory that the user `postgres` may not search (`/root`, a 0700
    /// temporary directory) the server could not even open its binary, so root then uses a directory in
    /// `/var/lib`. The choice is recorded, so that it does not change for an existing cluster.
    pub fn postgres_home(&self) -> Result<PathBuf> {
        let note = self.postgres_home_note();
        if let Ok(path) = std::fs::read_to_string(&note) {
            return Ok(PathBuf::from(path.trim()));
        }
        let home = match self.postgres_user()? {
            Some(user) if !searchable_by(&self.root, user) => {
                let name = stamp::hex(&stamp::digest(self.root.as_os_str().as_bytes()));
                Path::new("/var/lib/carbon-pixels").join(&name[..16])
            }
            _ => self.local.clone(),
        };
        std::fs::create_dir_all(&home)?;
        std::fs::create_dir_all(&self.local)?;
        std::fs::write(&note, format!("{}\n", home.display()))?;
        Ok(home)
    }
}

fn searchable_by(path: &Path, user: OsUser) -> bool {
    command("test")
        .arg("-x")
        .arg(path)
        .current_dir("/")
        .uid(user.uid)
        .gid(user.gid)
        .status()
        .is_ok_and(|status| status.success())
}
