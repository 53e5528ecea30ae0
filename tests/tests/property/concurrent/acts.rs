//! What devices do. Each operation is repeated until its outcome is certain, and what it wrote is recorded.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use rand::Rng;
use rand::seq::IndexedRandom;
use serde_json::{Value, json};

use super::device::Device;
use super::flaky_connection::{Outcome, Role, Statement};
use super::population::{PROVINCES, TestUser};
use crate::diary::ZONES;
use crate::operation::{Change, Old, Sent};
use crate::ways;

pub const CREATE: &str =
    "select public.create_waste_entry(json_build_object('entry', $1::text::jsonb))::text";
const CREATE_ONCE: &str = "select public.run_once(json_build_object('idempotency_key', $1::text,
    'request_scope', 'POST /waste/entries', 'request_fingerprint', encode(sha256(convert_to($2::text, 'UTF8')), 'hex'),
    'operation', 'create_waste_entry', 'arguments', json_build_object('entry', $2::text::json)))::text";
const BATCH: &str =
    "select public.create_waste_entries(json_build_object('entries', $1::text::jsonb))::text";
const DELETE: &str = "select public.delete_waste_entry($1::text::uuid)::text";
const MIGRATE: &str = "select public.migrate_local($1::text)::text";
const ROLL_BACK: &str = "select public.rollback_migration($1::text::uuid)::text";
/// The entries with these offline or legacy ids.
const BY_NAME: &str = "select coalesce(jsonb_agg(jsonb_build_object('id', id, 'name', coalesce(offline_id, legacy_id), 'batch', batch_id)), '[]')::text
  from public.waste_entries where coalesce(offline_id, legacy_id) = any (string_to_array($1::text, ','))";
/// The newest request received, if any: PT404.
const ACCEPT: &str = "select public.accept_friend((select (public.list_friends('incoming', 1) -> 'friends' -> 0 ->> 'request_id')::uuid where $1::text is not null))::text";
const REJECT: &str = "select public.reject_friend((select (public.list_friends('incoming', 1) -> 'friends' -> 0 ->> 'request_id')::uuid where $1::text is not null))::text";
/// What an operator's tool may do: entries of several users in one statement.
const FOR_SEVERAL: &str = "with made as (
    insert into public.waste_entries (user_id, category_id, disposal_method, weight_kg, logged_at, offline_id, time_zone, province)
    select x.user_id, x.category_id, x.disposal_method, x.weight_kg, x.logged_at, x.offline_id, 'Asia/Bangkok', 'TH-10'
    from jsonb_to_recordset($1::text::jsonb) as x
      (user_id uuid, category_id text, disposal_method text, weight_kg numeric, logged_at timestamptz, offline_id text)
    returning id, offline_id)
  select jsonb_agg(jsonb_build_object('id', id, 'name', offline_id))::text from made";

/// What runs on a schedule, or when a user reads.
const JOBS: [&str; 5] = [
    "select to_jsonb(public.refresh_leaderboards())::text",
    "select to_jsonb(public.update_daily_streaks(3))::text",
    "select private.close_days_of_yesterday(100)::text",
    "select to_jsonb(private.close_elapsed_days(array(select s.user_id from private.user_state as s order by random() limit 20)))::text",
    "select to_jsonb(private.make_challenges(14))::text",
];

impl Device<'_> {
    pub async fn create(&mut self, user: &Arc<TestUser>) {
        let sent = self.fresh();
        self.population.remember(user, &sent);
        let entry = ways::entry_in(&sent).to_string();
        if let Some((answer, _)) = self.must(user, Statement::new(CREATE, &[&entry])).await {
            self.record(user, &answer["id"], &sent.content, None);
        }
    }

    /// Without an offline_id: the key alone makes the call repeatable.
    pub async fn create_once(&mut self, user: &TestUser) {
        let mut sent = self.fresh();
        let key = sent.offline_id.take().expect("a name");
        let entry = ways::entry_in(&sent).to_string();
        let statement = Statement::new(CREATE_ONCE, &[&key, &entry]);
        if let Some((answer, again)) = self.must(user, statement).await {
            assert!(again || answer["replayed"] == json!(false), "{answer}");
            self.record(user, &answer["answer"]["id"], &sent.content, None);
        }
    }

    pub async fn batch(&mut self, user: &TestUser) {
        let sent = self.several(7);
        let entries: Vec<Value> = sent.iter().map(ways::entry_in).collect();
        let statement = Statement::new(BATCH, &[&Value::Array(entries).to_string()]);
        if let Some((answer, again)) = self.must(user, statement).await {
            let lines = answer["entries"].as_array().expect("lines");
            assert_eq!(lines.len(), sent.len(), "{answer}");
            for (line, sent) in lines.iter().zip(&sent) {
                let fine = line["status"] == "created" || (again && line["status"] == "duplicate");
                assert!(fine, "{line}");
                self.record(user, &line["id"], &sent.content, None);
            }
        }
    }

    pub async fn insert_rows(&mut self, user: &TestUser) {
        let sent = self.several(4);
        let rows: Vec<Value> = sent.iter().map(ways::entry_in).collect();
        let statement = Statement::new(ways::INSERT_ROWS, &[&Value::Array(rows).to_string()]);
        let Some(reply) = self.call(user, &[statement]).await else {
            return;
        };
        if let Outcome::Refused(..) = reply.outcome {
            assert!(reply.again, "new rows were refused: {:?}", reply.outcome);
        }
        self.record_by_name(user, &sent).await;
    }

    /// Reads which entries resulted from these and records them.
    async fn record_by_name(&mut self, user: &TestUser, sent: &[Sent]) {
        let names: Vec<&str> = sent
            .iter()
            .filter_map(|one| one.offline_id.as_deref())
            .collect();
        let statement = Statement::new(BY_NAME, &[&names.join(",")]);
        if let Some((found, _)) = self.must(user, statement).await {
            let found = found.as_array().expect("rows");
            assert_eq!(found.len(), sent.len(), "{names:?}: {found:?}");
            for row in found {
                let one = sent
                    .iter()
                    .find(|one| one.offline_id.as_deref() == row["name"].as_str());
                let batch = row["batch"].as_str();
                self.record(user, &row["id"], &one.expect("sent").content, batch);
            }
        }
    }

    pub async fn insert_for_several(&mut self) {
        let mut sent: Vec<(Arc<TestUser>, Sent)> = Vec::new();
        for _ in 0..4 {
            let user = self.population.anyone(&mut self.rng);
            sent.push((user, self.fresh()));
        }
        let row = |(user, sent): &(Arc<TestUser>, Sent)| {
            let mut row = ways::entry_in(sent);
            row["user_id"] = json!(user.id);
            row
        };
        let rows = Value::Array(sent.iter().map(row).collect()).to_string();
        let reply = self
            .connection
            .call(Role::Service, &[Statement::new(FOR_SEVERAL, &[&rows])])
            .await;
        if let Outcome::Refused(code, token, _) = &reply.outcome {
            let all_there = reply.again && code == "23505";
            let one_gone = sent.iter().any(|(user, _)| user.is_gone());
            assert!(all_there || one_gone, "{code} {token}");
            // The statement wrote everything or nothing. Rows of a user who is gone are deleted with them, so they are not checked.
            if !all_there {
                return;
            }
        }
        for (user, sent) in &sent {
            if !user.is_gone() {
                self.record_by_name(user, std::slice::from_ref(sent)).await;
            }
        }
    }

    fn change(&mut self) -> Change {
        let content = self.content();
        let kinds = self.rng.random_range(1..8);
        Change {
            grams: (kinds & 1 > 0).then_some(content.grams),
            at_millis: (kinds & 2 > 0).then_some(content.at_millis),
            kind: (kinds & 4 > 0).then_some((content.category, content.method)),
        }
    }

    pub async fn update(&mut self, user: &TestUser) {
        let Some((id, _)) = self.some_of(user, 1).pop() else {
            return;
        };
        let change = self.change();
        let statement = Statement::new(ways::UPDATE, &[&id, &ways::changes(&change).to_string()]);
        if self.must(user, statement).await.is_some() {
            self.changed(user, &[id], &change);
        }
    }

    pub async fn update_several(&mut self, user: &TestUser) {
        let ids: Vec<String> = self.some_of(user, 5).into_iter().map(|one| one.0).collect();
        let change = self.change();
        let values = [ids.join(","), ways::changes(&change).to_string()];
        let statement = Statement::new(ways::UPDATE_ROWS, &[&values[0], &values[1]]);
        if let Some((answer, _)) = self.must(user, statement).await {
            assert_eq!(answer.as_array().map(Vec::len), Some(ids.len()), "{answer}");
            self.changed(user, &ids, &change);
        }
    }

    fn changed(&mut self, user: &TestUser, ids: &[String], change: &Change) {
        for id in ids {
            let entry = self.own(user).entries.get_mut(id).expect("own");
            entry.content.grams = change.grams.unwrap_or(entry.content.grams);
            entry.content.at_millis = change.at_millis.unwrap_or(entry.content.at_millis);
            if let Some((category, method)) = change.kind.clone() {
                (entry.content.category, entry.content.method) = (category, method);
            }
        }
    }

    pub async fn delete(&mut self, user: &TestUser) {
        let Some((id, _)) = self.some_of(user, 1).pop() else {
            return;
        };
        let statement = Statement::new(DELETE, &[&id]);
        if let Some(reply) = self.call(user, &[statement]).await {
            let done = matches!(reply.outcome, Outcome::Done(_));
            assert!(done || reply.again, "{id}: {:?}", reply.outcome);
            self.own(user).entries.remove(&id);
        }
    }

    /// A few of the device's entries, or all of them: every reward earned by them is revoked.
    pub async fn delete_several(&mut self, user: &TestUser) {
        let most = if self.rng.random_ratio(1, 4) { 400 } else { 8 };
        let ids: Vec<String> = self
            .some_of(user, most)
            .into_iter()
            .map(|one| one.0)
            .collect();
        let statement = Statement::new(ways::DELETE_ROWS, &[&ids.join(",")]);
        if let Some((answer, again)) = self.must(user, statement).await {
            let gone = answer.as_array().map_or(0, Vec::len);
            assert!(again || gone == ids.len(), "{answer}");
            self.own(user).entries.retain(|id, _| !ids.contains(id));
        }
    }

    pub async fn migrate(&mut self, user: &TestUser) {
        let sent = self.several(8);
        let old = |sent: &Sent| Old {
            content: sent.content.clone(),
            id: sent.offline_id.clone(),
            bad: false,
        };
        let old: Vec<Old> = sent.iter().map(old).collect();
        let payload = if self.rng.random_ratio(1, 2) {
            ways::normalised_payload(&old)
        } else {
            ways::raw_dump(&old)
        };
        let statement = Statement::new(MIGRATE, &[&payload.to_string()]);
        if self.must(user, statement).await.is_none() {
            return;
        }
        self.record_by_name(user, &sent).await;
        let own = self.own(user);
        let mut batches = own.entries.values().filter_map(|entry| entry.batch.clone());
        let new = batches.find(|batch| !own.batches.contains(batch));
        own.batches.extend(new);
    }

    pub async fn roll_back(&mut self, user: &TestUser) {
        let Some(batch) = self.own(user).batches.pop() else {
            return;
        };
        let statement = Statement::new(ROLL_BACK, &[&batch]);
        if let Some(reply) = self.call(user, &[statement]).await {
            let done = matches!(reply.outcome, Outcome::Done(_));
            assert!(done || reply.again, "{batch}: {:?}", reply.outcome);
            let entries = &mut self.own(user).entries;
            entries.retain(|_, entry| entry.batch.as_ref() != Some(&batch));
        }
    }

    /// Create, change and delete in one transaction, with what was there before.
    pub async fn several_at_once(&mut self, user: &TestUser) {
        let sent = self.fresh();
        let change = self.change();
        let targets = self.some_of(user, 2);
        let [(one, _), (other, _)] = targets.as_slice() else {
            return;
        };
        let statements = [
            Statement::new(CREATE, &[&ways::entry_in(&sent).to_string()]),
            Statement::new(ways::UPDATE, &[one, &ways::changes(&change).to_string()]),
            Statement::new(ways::DELETE_ROWS, &[other]),
        ];
        let Some(reply) = self.call(user, &statements).await else {
            return;
        };
        let Outcome::Done(answers) = &reply.outcome else {
            panic!("{:?}", reply.outcome);
        };
        let (one, other) = (one.clone(), other.clone());
        self.record(user, &answers[0]["id"], &sent.content, None);
        self.changed(user, &[one], &change);
        self.own(user).entries.remove(&other);
    }

    /// What a user's app calls now and then; either call may close days that have ended.
    pub async fn close_days(&mut self, user: &TestUser) {
        let calls = [
            "select public.check_achievements()::text",
            "select public.refresh_challenge_progress()::text",
        ];
        let sql = calls.choose(&mut self.rng).expect("one");
        self.must(user, Statement::new(sql, &[])).await;
    }

    /// Another zone, province, privacy or visibility.
    pub async fn choose(&mut self, user: &TestUser) {
        let mut chosen = user.chosen.lock().await;
        let change = match self.rng.random_range(0..6) {
            0 => {
                chosen.zone = self.rng.random_range(0..ZONES.len());
                let zone = ZONES[chosen.zone];
                user.eastmost.fetch_max(zone.minutes, Ordering::SeqCst);
                json!({ "time_zone": zone.name })
            }
            1..3 => json!({ "province": PROVINCES[self.rng.random_range(0..PROVINCES.len())] }),
            3..5 => json!({ "privacy_level": self.rng.random_range(1..=3) }),
            _ => json!({ "visible_in_leaderboard": self.rng.random_ratio(2, 3) }),
        };
        let sql =
            "select public.update_profile(json_build_object('changes', $1::text::json))::text";
        self.must(user, Statement::new(sql, &[&change.to_string()]))
            .await;
    }

    /// Asks another user to be friends, answers a request, parts or blocks. What the two are afterwards, boards are
    /// compared with; that another device did something else meanwhile is no mistake.
    pub async fn meet(&mut self, user: &TestUser) {
        let other = self.population.anyone(&mut self.rng);
        let sql = *[
            "select public.request_friend(user_id => $1::text::uuid)::text",
            "select public.request_friend(user_id => $1::text::uuid)::text",
            ACCEPT,
            ACCEPT,
            REJECT,
            "select public.remove_friend($1::text::uuid)::text",
            "select public.block_user($1::text::uuid)::text",
        ]
        .choose(&mut self.rng)
        .expect("one");
        let reply = self
            .connection
            .call(Role::Person(&user.id), &[Statement::new(sql, &[&other.id])])
            .await;
        if let Outcome::Refused(code, token, words) = &reply.outcome {
            let expected = ["PT404", "PT409", "42501", "22023"].contains(&code.as_str());
            assert!(expected || user.is_gone(), "{sql}: {code} {token} {words}");
        }
    }

    /// An operator takes a user off the boards, or puts them back.
    pub async fn exclude(&mut self, user: &TestUser) {
        let mut chosen = user.chosen.lock().await;
        let sql = if chosen.excluded {
            "select to_jsonb(public.include_in_boards($1::text::uuid, 'reviewed')::text)::text"
        } else {
            "select to_jsonb(public.exclude_from_boards($1::text::uuid, 'looks farmed')::text)::text"
        };
        let reply = self
            .connection
            .call(Role::Service, &[Statement::new(sql, &[&user.id])])
            .await;
        let done = matches!(reply.outcome, Outcome::Done(_));
        assert!(done || reply.again || user.is_gone(), "{:?}", reply.outcome);
        chosen.excluded = !chosen.excluded;
    }

    pub async fn run_a_job(&mut self) {
        let sql = JOBS.choose(&mut self.rng).expect("one");
        let reply = self
            .connection
            .call(Role::Job, &[Statement::new(sql, &[])])
            .await;
        let Outcome::Done(answers) = &reply.outcome else {
            panic!("{sql}: {:?}", reply.outcome);
        };
        // Repairs never find anything to do: writes maintain the derived data.
        let repaired = answers[0]["repaired"].as_i64().unwrap_or(0);
        assert_eq!(repaired, 0, "{sql}: {answers:?}");
    }
}
