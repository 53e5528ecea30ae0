//! What a copy of a checkout (`cp -r`) must not take over from its original: processes, ports, paths.
//!
//! `.local/checkout` records the path of the checkout and the identity of its state directory. A copy has
//! another path and another directory; a checkout that was only moved has the same directory, and its
//! running processes are its own.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use anyhow::{Context, Result};

use crate::checkout::{Checkout, OsUser};
use crate::process::{command, text};
use crate::stamp;

/// How the state in `.local` came to this path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Origin {
    /// It was created here.
    Here,
    /// The checkout was moved.
    Moved,
    /// It was copied from another checkout, which may be running.
    Copied,
}

/// Separates the state of a copied checkout from the original's; does nothing in other checkouts.
pub fn separate(checkout: &Checkout) -> Result<()> {
    let note = checkout.local.join("checkout");
    fs::create_dir_all(&checkout.local)?;
    let here = checkout.root.display().to_string();
    let folder = fs::metadata(&checkout.local)?.ino().to_string();
    let home = fs::read_to_string(checkout.postgres_home_note()).unwrap_or_default();
    let noted = fs::read_to_string(&note).unwrap_or_default();
    match origin(&noted, &here, &folder, home.trim()) {
        Origin::Here if noted.is_empty() => {}
        Origin::Here => return Ok(()),
        Origin::Moved => leave_old_place(checkout, home.trim())?,
        Origin::Copied => leave_original(checkout)?,
    }
    stamp::write(&note, &format!("{here}\n{folder}"))
}

/// `home` is the directory of the cluster: for checkouts older than the record, nothing else shows their
/// former path.
fn origin(noted: &str, here: &str, folder: &str, home: &str) -> Origin {
    let mut lines = noted.lines();
    match (lines.next(), lines.next()) {
        (Some(place), _) if place == here => Origin::Here,
        (Some(_), Some(noted_folder)) if noted_folder == folder => Origin::Moved,
        (Some(_), _) => Origin::Copied,
        (None, _) => {
            let elsewhere = home
                .strip_suffix("/.local")
                .is_some_and(|root| root != here);
            if elsewhere {
                Origin::Copied
            } else {
                Origin::Here
            }
        }
    }
}

/// A cluster directory outside the checkout is unchanged; one inside has moved with it.
fn leave_old_place(checkout: &Checkout, home: &str) -> Result<()> {
    if home.ends_with("/.local") {
        remove(&checkout.postgres_home_note())?;
    }
    remove(&checkout.local.join("pgrx"))
}

fn leave_original(checkout: &Checkout) -> Result<()> {
    let local = &checkout.local;
    let ran = has_files(&local.join("run")) || local.join("pg/postmaster.pid").exists();
    // The pid files name the original's processes, which `down` here would end.
    for name in ["run", "env", "pgrx", "pgrx-test"] {
        remove(&local.join(name))?;
    }
    remove(&checkout.postgres_home_note())?;
    if ran {
        // Files of a running database that were copied one after the other are inconsistent.
        for name in ["pg", "pg-notes", "edge"] {
            remove(&local.join(name))?;
        }
        println!(
            "  … this checkout was copied while the original ran; its data begins empty (to take data along: \
             `cargo xtask down` before copying)"
        );
        return Ok(());
    }
    println!("  … this checkout is a copy; from now on it has its own data");
    match checkout.postgres_user() {
        Ok(Some(user)) if local.join("pg").exists() => set_owner(&local.join("pg"), user),
        _ => Ok(()),
    }
}

/// Root's copy belongs to root, and PostgreSQL refuses a cluster of another user.
fn set_owner(folder: &Path, user: OsUser) -> Result<()> {
    let owner = format!("{}:{}", user.uid, user.gid);
    text(command("chown").args(["-R", &owner]).arg(folder)).map(drop)
}

fn has_files(folder: &Path) -> bool {
    fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_some())
}

fn remove(path: &Path) -> Result<()> {
    let result = if path.is_dir() {
        fs::remove_dir_all(path)
    } else if path.exists() {
        fs::remove_file(path)
    } else {
        Ok(())
    };
    result.with_context(|| path.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A checkout in a temporary directory, with state as `up` leaves it.
    fn checkout(name: &str) -> Result<Checkout> {
        let root = std::env::temp_dir().join(format!("copied-{name}-{}", std::process::id()));
        let local = root.join(".local");
        for folder in ["run", "pg", "pg-notes", "edge", "pgrx"] {
            fs::create_dir_all(local.join(folder))?;
        }
        fs::write(local.join("run/postgres.pid"), "1 2 3")?;
        fs::write(local.join("pg/PG_VERSION"), "15")?;
        fs::write(local.join("env"), "PORT_API=1\n")?;
        fs::write(local.join("secrets"), "A=b\n")?;
        fs::write(
            local.join("postgres-home"),
            format!("{}\n", local.display()),
        )?;
        Ok(Checkout {
            local,
            cache: root.join("cache"),
            root,
        })
    }

    fn copy(original: &Checkout, name: &str) -> Result<Checkout> {
        let copy = original
            .root
            .with_file_name(format!("copied-{name}-{}", std::process::id()));
        text(command("cp").arg("-r").arg(&original.root).arg(&copy))?;
        Ok(Checkout {
            local: copy.join(".local"),
            cache: original.cache.clone(),
            root: copy,
        })
    }

    fn clean(checkouts: [&Checkout; 2]) -> Result<()> {
        for checkout in checkouts {
            fs::remove_dir_all(&checkout.root)?;
        }
        Ok(())
    }

    #[test]
    fn a_copy_made_while_the_original_ran_leaves_its_processes_and_its_torn_data() -> Result<()> {
        let original = checkout("running")?;
        separate(&original)?;
        let copy = copy(&original, "of-running")?;
        separate(&copy)?;
        for gone in [
            "run",
            "pg",
            "pg-notes",
            "edge",
            "env",
            "pgrx",
            "postgres-home",
        ] {
            assert!(!copy.local.join(gone).exists(), "{gone}");
        }
        assert!(copy.local.join("secrets").exists());
        assert!(original.local.join("run/postgres.pid").exists());
        assert!(!copy.postgres_home()?.starts_with(&original.root));
        clean([&original, &copy])
    }

    #[test]
    fn a_copy_of_a_stopped_checkout_takes_the_data_along() -> Result<()> {
        let original = checkout("stopped")?;
        fs::remove_file(original.local.join("run/postgres.pid"))?;
        separate(&original)?;
        let copy = copy(&original, "of-stopped")?;
        separate(&copy)?;
        assert!(copy.local.join("pg/PG_VERSION").exists());
        assert!(!copy.local.join("postgres-home").exists());
        clean([&original, &copy])
    }

    #[test]
    fn a_copy_is_known_also_where_the_original_is_older_than_the_note() -> Result<()> {
        let original = checkout("older")?;
        let copy = copy(&original, "of-older")?;
        separate(&copy)?;
        assert!(!copy.local.join("run").exists());
        clean([&original, &copy])
    }

    #[test]
    fn a_second_command_in_a_checkout_changes_nothing() -> Result<()> {
        let original = checkout("again")?;
        separate(&original)?;
        separate(&original)?;
        assert!(original.local.join("run/postgres.pid").exists());
        fs::remove_dir_all(&original.root)?;
        Ok(())
    }

    #[test]
    fn a_moved_checkout_keeps_its_processes_and_looks_for_the_cluster_in_the_new_place()
    -> Result<()> {
        let mut moved = checkout("moved-from")?;
        separate(&moved)?;
        let root = moved
            .root
            .with_file_name(format!("copied-moved-to-{}", std::process::id()));
        fs::rename(&moved.root, &root)?;
        moved.local = root.join(".local");
        moved.root = root;
        separate(&moved)?;
        assert!(moved.local.join("run/postgres.pid").exists());
        assert!(moved.local.join("pg/PG_VERSION").exists());
        assert!(!moved.local.join("postgres-home").exists());
        fs::remove_dir_all(&moved.root)?;
        Ok(())
    }
}
