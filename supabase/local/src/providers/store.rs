//! Codes and tokens that were handed out, with what they stand for.

use serde_json::Value;
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Kept in memory, by kind and name.
#[derive(Default)]
pub struct Store(Mutex<HashMap<(String, String), Value>>);

impl Store {
    fn all(&self) -> MutexGuard<'_, HashMap<(String, String), Value>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Stores it under a new name.
    pub fn put(&self, kind: &str, value: Value) -> String {
        let name = format!("local-{}", uuid::Uuid::new_v4().simple());
        self.all().insert((kind.to_owned(), name.clone()), value);
        name
    }

    /// What has this name.
    pub fn see(&self, kind: &str, name: &str) -> Option<Value> {
        let key = (kind.to_owned(), name.to_owned());
        self.all().get(&key).cloned()
    }

    /// What has this name, which nothing has from now on.
    pub fn take(&self, kind: &str, name: &str) -> Option<Value> {
        self.all().remove(&(kind.to_owned(), name.to_owned()))
    }

    /// How many there are of a kind.
    pub fn count(&self, kind: &str) -> usize {
        self.all().keys().filter(|(of, _)| of == kind).count()
    }
}
