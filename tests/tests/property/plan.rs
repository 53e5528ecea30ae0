//! Draws random operations that make sense for the present diary.

use std::collections::BTreeSet;

use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;

use crate::diary::{Content, Diary, ZONES};
use crate::operation::{Change, Old, Operation, Sent, Way};

const ALL_WAYS: [Way; 5] = [
    Way::Edge,
    Way::RestRpc,
    Way::RestTable,
    Way::SqlRpc,
    Way::SqlTable,
];
const CALL_WAYS: [Way; 3] = [Way::Edge, Way::RestRpc, Way::SqlRpc];
const TABLE_WAYS: [Way; 2] = [Way::RestTable, Way::SqlTable];
const DAY_MILLIS: i64 = 86_400_000;

/// Draws operations from a seed.
pub struct Planner {
    pub rng: StdRng,
    pub pairs: Vec<(String, String)>,
    pub now_millis: i64,
}

/// Operations that are sent at the same moment; most groups have one.
pub type Group = Vec<Operation>;

impl Planner {
    /// The next group for the diary.
    pub fn next(&mut self, diary: &Diary) -> Group {
        match self.rng.random_range(0..100) {
            0..6 => self.twins(),
            6..12 if !diary.live.is_empty() => self.contention(diary),
            12..25 => self.simultaneous(diary),
            25..28 => self.same_dump(diary),
            _ => {
                let mut taken = BTreeSet::new();
                vec![self.single(diary, &mut taken)]
            }
        }
    }

    /// One new entry sent by several ways at once.
    fn twins(&mut self) -> Group {
        let entry = Sent {
            content: self.content(),
            offline_id: Some(self.name("twin")),
            bad: false,
        };
        let count = self.rng.random_range(2..=4);
        (0..count)
            .map(|_| Operation::Create {
                way: self.way(&ALL_WAYS),
                entry: entry.clone(),
            })
            .collect()
    }

    /// Changes and deletions of one entry at once, through interfaces that return the revision.
    fn contention(&mut self, diary: &Diary) -> Group {
        let id = self.target(diary, &mut BTreeSet::new()).unwrap_or_default();
        let count = self.rng.random_range(2..=4);
        let mut group = Group::new();
        for _ in 0..count {
            let way = self.way(&CALL_WAYS);
            let deletes = self.rng.random_ratio(1, 4);
            let id = id.clone();
            group.push(if deletes {
                Operation::Delete { way, id }
            } else {
                Operation::Update {
                    way,
                    id,
                    change: self.change(),
                }
            });
        }
        group
    }

    /// Different operations at once, each on entries of its own. At most one of them migrates, rolls back or sends again: the
    /// outcome of two of these would depend on their order, which the answers do not show.
    fn simultaneous(&mut self, diary: &Diary) -> Group {
        let count = self.rng.random_range(3..=6);
        let mut taken = BTreeSet::new();
        let mut group = Group::new();
        while group.len() < count {
            let operation = self.single(diary, &mut taken);
            let moves_batches = |one: &Operation| {
                matches!(one, Operation::Migrate { .. } | Operation::RollBack { .. })
            };
            let resends = |one: &Operation| match one {
                Operation::Create { entry, .. } => {
                    diary.has_sent(entry.offline_id.as_deref(), &entry.content)
                }
                Operation::Batch { entries, .. } => entries
                    .iter()
                    .any(|entry| diary.has_sent(entry.offline_id.as_deref(), &entry.content)),
                _ => false,
            };
            let crossing = (moves_batches(&operation) || resends(&operation))
                && group.iter().any(|one| moves_batches(one) || resends(one));
            if !crossing && !matches!(operation, Operation::Zone { .. }) {
                group.push(operation);
            }
        }
        group
    }

    /// The same dump twice at once.
    fn same_dump(&mut self, diary: &Diary) -> Group {
        let Operation::Migrate {
            entries,
            normalised,
            ..
        } = self.migration(diary)
        else {
            return Group::new();
        };
        let mut send = || Operation::Migrate {
            way: self.way(&CALL_WAYS),
            entries: entries.clone(),
            normalised,
            dry_run: false,
        };
        vec![send(), send()]
    }

    fn single(&mut self, diary: &Diary, taken: &mut BTreeSet<String>) -> Operation {
        match self.rng.random_range(0..100) {
            0..24 => Operation::Create {
                way: self.way(&ALL_WAYS),
                entry: self.fresh(),
            },
            24..31 => Operation::Create {
                way: self.way(&ALL_WAYS),
                entry: self.resent(diary),
            },
            31..40 => self.batch(diary),
            40..47 => {
                let count = self.rng.random_range(1..=6);
                Operation::InsertMany {
                    way: self.way(&TABLE_WAYS),
                    entries: (0..count).map(|_| self.fresh()).collect(),
                }
            }
            47..66 => self.update(diary, taken),
            66..71 => {
                let ids = self.targets(diary, taken);
                let change = self.change();
                if ids.is_empty() {
                    self.batch(diary)
                } else {
                    Operation::UpdateMany {
                        way: self.way(&TABLE_WAYS),
                        ids,
                        change,
                    }
                }
            }
            71..80 => match self.target(diary, taken) {
                Some(id) => Operation::Delete {
                    way: self.way(&ALL_WAYS),
                    id,
                },
                None => self.batch(diary),
            },
            80..83 => {
                let ids = self.targets(diary, taken);
                if ids.is_empty() {
                    self.batch(diary)
                } else {
                    Operation::DeleteMany {
                        way: self.way(&TABLE_WAYS),
                        ids,
                    }
                }
            }
            83..92 => self.migration(diary),
            92..97 => match diary.batches.choose(&mut self.rng) {
                Some(batch) => Operation::RollBack {
                    way: self.way(&CALL_WAYS),
                    batch: batch.id.clone(),
                },
                None => self.migration(diary),
            },
            _ => Operation::Zone {
                index: self.rng.random_range(0..ZONES.len()),
            },
        }
    }

    fn update(&mut self, diary: &Diary, taken: &mut BTreeSet<String>) -> Operation {
        match self.target(diary, taken) {
            Some(id) => Operation::Update {
                way: self.way(&ALL_WAYS),
                id,
                change: self.change(),
            },
            None => Operation::Create {
                way: self.way(&ALL_WAYS),
                entry: self.fresh(),
            },
        }
    }

    fn batch(&mut self, diary: &Diary) -> Operation {
        let count = self.rng.random_range(1..=12);
        let mut entries: Vec<Sent> = Vec::new();
        for _ in 0..count {
            let entry = match self.rng.random_range(0..10) {
                0 => Sent {
                    bad: true,
                    offline_id: None,
                    ..self.fresh()
                },
                1 => self.resent(diary),
                2 if !entries.is_empty() => entries
                    .choose(&mut self.rng)
                    .cloned()
                    .unwrap_or_else(|| self.fresh()),
                3 => Sent {
                    offline_id: entries.last().and_then(|last| last.offline_id.clone()),
                    ..self.fresh()
                },
                _ => self.fresh(),
            };
            entries.push(entry);
        }
        Operation::Batch {
            way: self.way(&CALL_WAYS),
            entries,
        }
    }

    fn migration(&mut self, diary: &Diary) -> Operation {
        let normalised = self.rng.random_ratio(1, 3);
        let count = self.rng.random_range(1..=25);
        let mut entries: Vec<Old> = Vec::new();
        for _ in 0..count {
            let recorded = self.recorded_identity(diary);
            let old = match (self.rng.random_range(0..10), recorded) {
                (0, _) => Old {
                    content: self.content(),
                    id: Some(self.name("bad")),
                    bad: true,
                },
                (1..3, Some((id, content))) => Old {
                    content,
                    id,
                    bad: false,
                },
                (3, Some((id, _))) if !normalised => Old {
                    content: self.content(),
                    id,
                    bad: false,
                },
                (4, _) if !entries.is_empty() => {
                    entries.choose(&mut self.rng).cloned().expect("not empty")
                }
                (5, _) => Old {
                    content: self.content(),
                    id: None,
                    bad: false,
                },
                _ => Old {
                    content: self.content(),
                    id: Some(self.name("old")),
                    bad: false,
                },
            };
            entries.push(old);
        }
        Operation::Migrate {
            way: self.way(&CALL_WAYS),
            entries,
            normalised,
            dry_run: self.rng.random_ratio(1, 6),
        }
    }

    /// An identity that was recorded once, whether it is still taken or was freed by a roll-back.
    fn recorded_identity(&mut self, diary: &Diary) -> Option<(Option<String>, Content)> {
        let index = self
            .rng
            .random_range(0..(diary.identities.len() + diary.migrated.len()).max(1));
        diary
            .identities
            .keys()
            .nth(index)
            .or_else(|| {
                diary
                    .migrated
                    .get(index.saturating_sub(diary.identities.len()))
            })
            .cloned()
    }

    fn fresh(&mut self) -> Sent {
        let offline_id = self.rng.random_ratio(1, 2).then(|| self.name("offline"));
        Sent {
            content: self.content(),
            offline_id,
            bad: false,
        }
    }

    /// An offline_id or a migrated id sent again, with the same content or another.
    fn resent(&mut self, diary: &Diary) -> Sent {
        match self.recorded_identity(diary) {
            Some((Some(id), content)) => {
                let content = if self.rng.random_ratio(1, 2) {
                    content
                } else {
                    self.content()
                };
                Sent {
                    content,
                    offline_id: Some(id),
                    bad: false,
                }
            }
            _ => self.fresh(),
        }
    }

    fn target(&mut self, diary: &Diary, taken: &mut BTreeSet<String>) -> Option<String> {
        let free: Vec<&String> = diary
            .live
            .keys()
            .filter(|id| !taken.contains(*id))
            .collect();
        let id = free.choose(&mut self.rng).map(|id| (*id).clone())?;
        taken.insert(id.clone());
        Some(id)
    }

    fn targets(&mut self, diary: &Diary, taken: &mut BTreeSet<String>) -> Vec<String> {
        let count = self.rng.random_range(2..=5);
        (0..count)
            .filter_map(|_| self.target(diary, taken))
            .collect()
    }

    fn change(&mut self) -> Change {
        let mut change = Change::default();
        if self.rng.random_ratio(2, 3) {
            change.grams = Some(self.grams());
        }
        if self.rng.random_ratio(1, 2) {
            change.at_millis = Some(self.instant());
        }
        if self.rng.random_ratio(1, 3) || (change.grams.is_none() && change.at_millis.is_none()) {
            change.kind = self.pairs.choose(&mut self.rng).cloned();
        }
        change
    }

    fn content(&mut self) -> Content {
        let (category, method) = self
            .pairs
            .choose(&mut self.rng)
            .cloned()
            .unwrap_or_default();
        Content {
            category,
            method,
            grams: self.grams(),
            at_millis: self.instant(),
        }
    }

    /// Mostly small weights, often multiples of 500 g (their credits are rounded), sometimes the limits.
    fn grams(&mut self) -> i64 {
        match self.rng.random_range(0..10) {
            0..5 => self.rng.random_range(10..2_000),
            5..7 => self.rng.random_range(1..=20) * 500,
            7 => *[10, 100_000].choose(&mut self.rng).unwrap_or(&10),
            _ => self.rng.random_range(10..=100_000),
        }
    }

    /// Mostly recent days, up to almost seven years back, and often within a millisecond of midnight in one of the zones.
    fn instant(&mut self) -> i64 {
        let days_back = match self.rng.random_range(0..20) {
            0..12 => self.rng.random_range(0..45),
            12..17 => self.rng.random_range(0..400),
            _ => self.rng.random_range(0..2_500),
        };
        let latest = self.now_millis - 5_000;
        let at = latest - days_back * DAY_MILLIS - self.rng.random_range(0..DAY_MILLIS);
        if self.rng.random_ratio(1, 5) {
            let offset = ZONES
                .choose(&mut self.rng)
                .map_or(0, |zone| zone.minutes * 60_000);
            let midnight = (at + offset).div_euclid(DAY_MILLIS) * DAY_MILLIS - offset;
            return (midnight + self.rng.random_range(-1..=1)).min(latest);
        }
        at
    }

    fn way(&mut self, ways: &[Way]) -> Way {
        ways.choose(&mut self.rng).copied().unwrap_or(Way::Edge)
    }

    fn name(&mut self, kind: &str) -> String {
        format!("{kind}-{:016x}", self.rng.random::<u64>())
    }
}
