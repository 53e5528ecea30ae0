//! Applies the answers to the test's diary, and checks that each is the one that the contract demands for the diary as it was.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use carbon_tests::figures::Factors;

use crate::diary::{Batch, Content, Diary, Entry, Identity, ZONES, figures_of};
use crate::operation::{Change, Fate, Old, Operation, Outcome, Report, Sent, Way};

/// Applies a group of simultaneous operations in the order in which the system must have carried them out.
pub fn apply(diary: &mut Diary, factors: &Factors, mut group: Vec<(Operation, Outcome)>) {
    // An update that changes nothing answers the revision of the update before it. At equal revisions the one that states
    // more members did the change, so it goes first.
    group.sort_by_key(|(operation, outcome)| (outcome.order(), Reverse(members(operation))));
    for (operation, outcome) in group {
        apply_one(diary, factors, operation, outcome);
    }
}

/// How many members of an entry an operation states.
fn members(operation: &Operation) -> usize {
    match operation {
        Operation::Update { change, .. } => {
            usize::from(change.grams.is_some())
                + usize::from(change.at_millis.is_some())
                + usize::from(change.kind.is_some())
        }
        _ => 0,
    }
}

fn apply_one(diary: &mut Diary, factors: &Factors, operation: Operation, outcome: Outcome) {
    match (operation, outcome) {
        (Operation::Create { entry, .. }, Outcome::Entries { fates, .. }) => {
            apply_entries(diary, &[entry], &fates)
        }
        (
            Operation::Batch { entries, .. } | Operation::InsertMany { entries, .. },
            Outcome::Entries { fates, .. },
        ) => {
            apply_entries(diary, &entries, &fates);
        }
        (Operation::Update { id, change, .. }, Outcome::Changed { ids, .. }) => {
            apply_update(diary, &[id], &change, &ids)
        }
        (
            Operation::UpdateMany {
                ids: targets,
                change,
                ..
            },
            Outcome::Changed { ids, .. },
        ) => apply_update(diary, &targets, &change, &ids),
        (Operation::Delete { id, .. }, Outcome::Changed { ids, .. }) => {
            apply_delete(diary, &[id], &ids)
        }
        (Operation::DeleteMany { ids: targets, .. }, Outcome::Changed { ids, .. }) => {
            apply_delete(diary, &targets, &ids)
        }
        (Operation::Update { id, .. } | Operation::Delete { id, .. }, Outcome::NotFound) => {
            assert!(
                !diary.live.contains_key(&id),
                "{id} is there and was not found"
            );
        }
        (
            Operation::Migrate {
                way,
                entries,
                normalised,
                dry_run,
            },
            Outcome::Report(report),
        ) => {
            apply_migration(
                diary,
                factors,
                &Dump {
                    way,
                    entries,
                    normalised,
                    dry_run,
                },
                report,
            );
        }
        (Operation::RollBack { batch, .. }, Outcome::RolledBack { removed, credits }) => {
            assert!(
                diary
                    .batches
                    .iter()
                    .any(|one| one.id == batch && !one.rolled_back),
                "{batch} was rolled back twice"
            );
            assert_eq!(
                diary.roll_back(&batch, factors),
                (removed, credits),
                "roll-back of {batch}"
            );
        }
        (Operation::RollBack { batch, .. }, Outcome::NotFound) => {
            assert!(
                diary
                    .batches
                    .iter()
                    .any(|one| one.id == batch && one.rolled_back),
                "{batch} was not found"
            );
        }
        (Operation::Zone { index }, Outcome::Done) => {
            diary.zone = ZONES[index];
            diary.eastmost = diary.eastmost.max(diary.zone.minutes);
        }
        (operation, outcome) => panic!("{operation:?} was answered {outcome:?}"),
    }
}

fn apply_entries(diary: &mut Diary, sent: &[Sent], fates: &[Fate]) {
    assert_eq!(sent.len(), fates.len(), "an answer for each entry");
    // Within one call an offline_id is one entry, even if its other members differ.
    let mut named = BTreeSet::new();
    for (entry, fate) in sent.iter().zip(fates) {
        let repeated = entry
            .offline_id
            .as_ref()
            .is_some_and(|id| named.contains(id));
        let is_duplicate = repeated || diary.has_sent(entry.offline_id.as_deref(), &entry.content);
        if !entry.bad {
            named.extend(entry.offline_id.clone());
        }
        match fate {
            Fate::Refused => assert!(entry.bad, "{entry:?} was refused"),
            Fate::Duplicate { id } => {
                assert!(is_duplicate, "{entry:?} is new and was called a duplicate");
                let exists = id.as_ref().is_none_or(|id| diary.ever.contains(id));
                assert!(
                    exists,
                    "{entry:?} is a duplicate of {id:?}, which never was"
                );
            }
            Fate::Created { id } => {
                assert!(!is_duplicate && !entry.bad, "{entry:?} was created again");
                let live = Entry {
                    content: entry.content.clone(),
                    zone: diary.zone,
                    offline_id: entry.offline_id.clone(),
                    batch: None,
                };
                diary.insert(id, live, entry.offline_id.clone());
            }
        }
    }
}

fn apply_update(diary: &mut Diary, targets: &[String], change: &Change, changed: &[String]) {
    let existing: BTreeSet<&String> = targets
        .iter()
        .filter(|id| diary.live.contains_key(*id))
        .collect();
    let found: BTreeSet<&String> = changed.iter().collect();
    // A roll-back at the same moment is applied later: entries that it removed first were not found by this update.
    assert!(
        found.is_subset(&existing),
        "{found:?} of {existing:?} changed"
    );
    for id in found {
        let entry = diary.live.get_mut(id).expect("checked");
        let mut content = entry.content.clone();
        content.grams = change.grams.unwrap_or(content.grams);
        content.at_millis = change.at_millis.unwrap_or(content.at_millis);
        if let Some((category, method)) = &change.kind {
            (content.category, content.method) = (category.clone(), method.clone());
        }
        if entry.content != content {
            entry.content = content;
            diary.changes += 1;
        }
    }
}

fn apply_delete(diary: &mut Diary, targets: &[String], gone: &[String]) {
    for id in gone {
        assert!(targets.contains(id), "{id} was not to be deleted");
        assert!(diary.live.remove(id).is_some(), "{id} was deleted twice");
        diary.changes += 1;
    }
}

struct Dump {
    way: Way,
    entries: Vec<Old>,
    normalised: bool,
    dry_run: bool,
}

fn apply_migration(diary: &mut Diary, factors: &Factors, dump: &Dump, report: Report) {
    let (fresh, rejected) = expected_of(diary, dump);
    let received = i64::try_from(dump.entries.len()).expect("a count");
    let migrated = i64::try_from(fresh.len()).expect("a count");
    let seen = (
        report.received,
        report.migrated,
        report.duplicate,
        report.rejected,
    );
    assert_eq!(
        seen,
        (received, migrated, received - migrated - rejected, rejected),
        "{:?} {:?}",
        dump.way,
        dump.entries
    );
    let credits: i64 = fresh
        .iter()
        .map(|(_, content)| figures_of(factors, content).credits)
        .sum();
    assert_eq!(report.credits, credits, "imported credits");
    if dump.dry_run {
        return;
    }
    diary.migrated.extend(fresh.iter().cloned());
    let mut expected = BTreeMap::<Identity, i64>::new();
    for identity in fresh {
        *expected.entry(identity).or_default() += 1;
    }
    for (id, content, own) in &report.added {
        let identity = (own.clone(), content.clone());
        let left = expected
            .get_mut(&identity)
            .unwrap_or_else(|| panic!("{identity:?} was not in the dump"));
        *left -= 1;
        insert_old(diary, id, identity, dump.normalised, &report.batch);
    }
    assert!(
        expected.values().all(|left| *left == 0),
        "not all were added: {expected:?}"
    );
    if migrated > 0 {
        diary.batches.push(Batch {
            id: report.batch,
            rolled_back: false,
        });
    }
}

fn insert_old(
    diary: &mut Diary,
    id: &str,
    identity: (Option<String>, Content),
    normalised: bool,
    batch: &str,
) {
    let (own, content) = identity;
    let offline_id = if normalised { own.clone() } else { None };
    let entry = Entry {
        content,
        zone: diary.zone,
        offline_id,
        batch: Some(batch.to_owned()),
    };
    diary.insert(id, entry, own);
}

/// The identities that the dump should add, and how many of its entries are to be rejected.
fn expected_of(diary: &Diary, dump: &Dump) -> (Vec<Identity>, i64) {
    let mut fresh = Vec::new();
    let mut rejected = 0;
    let (mut seen, mut seen_ids) = (BTreeSet::new(), BTreeSet::new());
    for old in &dump.entries {
        if old.bad {
            rejected += 1;
            continue;
        }
        let identity = (old.id.clone(), old.content.clone());
        let repeated = seen.contains(&identity)
            || (dump.normalised && old.id.as_ref().is_some_and(|id| seen_ids.contains(id)));
        if !repeated && !diary.has_imported(&identity, dump.normalised) {
            fresh.push(identity.clone());
        }
        seen.insert(identity);
        seen_ids.extend(old.id.clone());
    }
    (fresh, rejected)
}
