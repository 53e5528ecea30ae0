//! What a user can do to the diary, and what the system may answer.

use crate::diary::Content;

/// The interface that an operation uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// The Worker's API.
    Edge,
    /// An rpc through the gateway and PostgREST.
    RestRpc,
    /// The table through the gateway and PostgREST.
    RestTable,
    /// The rpc in SQL as role authenticated.
    SqlRpc,
    /// The table in SQL as role authenticated.
    SqlTable,
}

/// An entry as it is sent.
#[derive(Clone, Debug)]
pub struct Sent {
    pub content: Content,
    pub offline_id: Option<String>,
    /// Whether it must be refused, for batches: the weight is sent negative.
    pub bad: bool,
}

/// An entry of an old diary: the id it had in the app.
#[derive(Clone, Debug)]
pub struct Old {
    pub content: Content,
    pub id: Option<String>,
    pub bad: bool,
}

/// A changed weight, method or time; None leaves it as it is.
#[derive(Clone, Debug, Default)]
pub struct Change {
    pub grams: Option<i64>,
    pub at_millis: Option<i64>,
    pub kind: Option<(String, String)>,
}

/// One call.
#[derive(Clone, Debug)]
pub enum Operation {
    Create {
        way: Way,
        entry: Sent,
    },
    Batch {
        way: Way,
        entries: Vec<Sent>,
    },
    InsertMany {
        way: Way,
        entries: Vec<Sent>,
    },
    Update {
        way: Way,
        id: String,
        change: Change,
    },
    UpdateMany {
        way: Way,
        ids: Vec<String>,
        change: Change,
    },
    Delete {
        way: Way,
        id: String,
    },
    DeleteMany {
        way: Way,
        ids: Vec<String>,
    },
    Migrate {
        way: Way,
        entries: Vec<Old>,
        normalised: bool,
        dry_run: bool,
    },
    RollBack {
        way: Way,
        batch: String,
    },
    Zone {
        index: usize,
    },
}

/// The outcome for one sent entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    Created {
        id: String,
    },
    /// With the id of the entry that it duplicates, if this interface returns it.
    Duplicate {
        id: Option<String>,
    },
    Refused,
}

/// What a migration answered, and which entries the database has of it.
#[derive(Clone, Debug, Default)]
pub struct Report {
    pub batch: String,
    pub received: i64,
    pub migrated: i64,
    pub duplicate: i64,
    pub rejected: i64,
    pub credits: i64,
    /// (entry id, its content, its id in the dump)
    pub added: Vec<(String, Content, Option<String>)>,
}

/// What the system answered.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// One fate for each sent entry, in order, and the revision if this interface returns it.
    Entries {
        fates: Vec<Fate>,
        revision: Option<i64>,
    },
    /// The ids that were changed, and the revision if this interface returns it.
    Changed {
        ids: Vec<String>,
        revision: Option<i64>,
    },
    Report(Report),
    RolledBack {
        removed: i64,
        credits: i64,
    },
    NotFound,
    Done,
}

impl Outcome {
    /// The order in which the answers of a group of simultaneous calls are applied: changes by their revision, then a
    /// roll-back, then calls that found nothing. Creations come first; they commute with everything but duplicates of themselves.
    pub fn order(&self) -> (u8, i64) {
        match self {
            Self::Entries { fates, revision } => {
                let created = fates
                    .iter()
                    .any(|fate| matches!(fate, Fate::Created { .. }));
                (u8::from(!created), revision.unwrap_or(0))
            }
            Self::Report(report) => (u8::from(report.migrated == 0), 0),
            Self::Changed { revision, .. } => (2, revision.unwrap_or(0)),
            Self::RolledBack { .. } => (3, 0),
            Self::NotFound | Self::Done => (4, 0),
        }
    }
}
