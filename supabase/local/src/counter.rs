//! How many of something one subject has open.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Counts by subject, up to a limit for each.
pub struct Counter<S> {
    limit: usize,
    open: Arc<Mutex<HashMap<S, usize>>>,
}

/// One of a subject's places, until it is dropped.
pub struct Place<S: Eq + Hash> {
    subject: S,
    open: Arc<Mutex<HashMap<S, usize>>>,
}

fn locked<S>(open: &Mutex<HashMap<S, usize>>) -> MutexGuard<'_, HashMap<S, usize>> {
    open.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<S: Clone + Eq + Hash> Counter<S> {
    /// A counter with `limit` places a subject.
    pub fn new(limit: usize) -> Self {
        let open = Arc::default();
        Self { limit, open }
    }

    /// A place of the subject, if one is free.
    pub fn take(&self, subject: S) -> Option<Place<S>> {
        let mut counts = locked(&self.open);
        let count = counts.entry(subject.clone()).or_default();
        if *count >= self.limit {
            return None;
        }
        *count += 1;
        let open = self.open.clone();
        Some(Place { subject, open })
    }
}

impl<S: Eq + Hash> Drop for Place<S> {
    fn drop(&mut self) {
        let mut counts = locked(&self.open);
        if let Some(count) = counts.get_mut(&self.subject) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.subject);
            }
        }
    }
}
