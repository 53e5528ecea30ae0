//! What devices do, each act brought to a definite end and noted.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use rand::Rng;
use rand::seq::IndexedRandom;
use serde_json::{Value, json};

use super::device::Device;
use super::line::{Said, Statement, Voice};
use super::people::{PROVINCES, Soul};
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
/// The entries that came by these names.
const BY_NAME: &str = "select coalesce(jsonb_agg(jsonb_build_object('id', id, 'name', coalesce(offline_id, legacy_id), 'batch', batch_id)), '[]')::text
  from public.waste_entries where coalesce(offline_id, legacy_id) = any (string_to_array($1::text, ','))";
/// What an operator's tool may do: entries of several people in one statement.
const FOR_SEVERAL: &str = "with made as (
    insert into public.waste_entries (user_id, category_id, disposal_method, weight_kg, logged_at, offline_id, time_zone, province)
    select x.user_id, x.category_id, x.disposal_method, x.weight_kg, x.logged_at, x.offline_id, 'Asia/Bangkok', 'TH-10'
    from jsonb_to_recordset($1::text::jsonb) as x
      (user_id uuid, category_id text, disposal_method text, weight_kg numeric, logged_at timestamptz, offline_id text)
    returning id, offline_id)
  select jsonb_agg(jsonb_build_object('id', id, 'name', offline_id))::text from made";

/// What runs by the clock or when a person looks.
const JOBS: [&str; 5] = [
    "select to_jsonb(public.refresh_leaderboards())::text",
    "select to_jsonb(public.update_daily_streaks(3))::text",
    "select private.close_days_of_yesterday(100)::text",
    "select to_jsonb(private.close_elapsed_days(array(select s.user_id from private.user_state as s order by random() limit 20)))::text",
    "select to_jsonb(private.make_challenges(14))::text",
];

impl Device<'_> {
    pub async fn create(&mut self, soul: &Arc<Soul>) {
        let sent = self.fresh();
        self.crowd.remember(soul, &sent);
        let entry = ways::entry_in(&sent).to_string();
        if let Some((answer, _)) = self.must(soul, Statement::new(CREATE, &[&entry])).await {
            self.keep(soul, &answer["id"], &sent.four, None);
        }
    }

    /// Without an offline_id: the key alone makes the call repeatable.
    pub async fn create_once(&mut self, soul: &Soul) {
        let mut sent = self.fresh();
        let key = sent.offline_id.take().expect("a name");
        let entry = ways::entry_in(&sent).to_string();
        let statement = Statement::new(CREATE_ONCE, &[&key, &entry]);
        if let Some((answer, again)) = self.must(soul, statement).await {
            assert!(again || answer["replayed"] == json!(false), "{answer}");
            self.keep(soul, &answer["answer"]["id"], &sent.four, None);
        }
    }

    pub async fn batch(&mut self, soul: &Soul) {
        let sent = self.several(7);
        let entries: Vec<Value> = sent.iter().map(ways::entry_in).collect();
        let statement = Statement::new(BATCH, &[&Value::Array(entries).to_string()]);
        if let Some((answer, again)) = self.must(soul, statement).await {
            let lines = answer["entries"].as_array().expect("lines");
            assert_eq!(lines.len(), sent.len(), "{answer}");
            for (line, sent) in lines.iter().zip(&sent) {
                let fine = line["status"] == "created" || (again && line["status"] == "duplicate");
                assert!(fine, "{line}");
                self.keep(soul, &line["id"], &sent.four, None);
            }
        }
    }

    pub async fn insert_rows(&mut self, soul: &Soul) {
        let sent = self.several(4);
        let rows: Vec<Value> = sent.iter().map(ways::entry_in).collect();
        let statement = Statement::new(ways::INSERT_ROWS, &[&Value::Array(rows).to_string()]);
        let Some(told) = self.call(soul, &[statement]).await else {
            return;
        };
        if let Said::Refused(..) = told.said {
            assert!(told.again, "new rows were refused: {:?}", told.said);
        }
        self.keep_by_name(soul, &sent).await;
    }

    /// Looks up which entries came of these and notes them.
    async fn keep_by_name(&mut self, soul: &Soul, sent: &[Sent]) {
        let names: Vec<&str> = sent
            .iter()
            .filter_map(|one| one.offline_id.as_deref())
            .collect();
        let statement = Statement::new(BY_NAME, &[&names.join(",")]);
        if let Some((found, _)) = self.must(soul, statement).await {
            let found = found.as_array().expect("rows");
            assert_eq!(found.len(), sent.len(), "{names:?}: {found:?}");
            for row in found {
                let one = sent
                    .iter()
                    .find(|one| one.offline_id.as_deref() == row["name"].as_str());
                let batch = row["batch"].as_str();
                self.keep(soul, &row["id"], &one.expect("sent").four, batch);
            }
        }
    }

    pub async fn insert_for_several(&mut self) {
        let mut sent: Vec<(Arc<Soul>, Sent)> = Vec::new();
        for _ in 0..4 {
            let soul = self.crowd.anyone(&mut self.rng);
            sent.push((soul, self.fresh()));
        }
        let row = |(soul, sent): &(Arc<Soul>, Sent)| {
            let mut row = ways::entry_in(sent);
            row["user_id"] = json!(soul.id);
            row
        };
        let rows = Value::Array(sent.iter().map(row).collect()).to_string();
        let told = self
            .line
            .call(Voice::Service, &[Statement::new(FOR_SEVERAL, &[&rows])])
            .await;
        if let Said::Refused(code, token, _) = &told.said {
            let all_there = told.again && code == "23505";
            let one_gone = sent.iter().any(|(soul, _)| soul.is_gone());
            assert!(all_there || one_gone, "{code} {token}");
            // Either nothing was written or all of it; whose soul is gone is nobody's concern any more.
            if !all_there {
                return;
            }
        }
        for (soul, sent) in &sent {
            if !soul.is_gone() {
                self.keep_by_name(soul, std::slice::from_ref(sent)).await;
            }
        }
    }

    fn change(&mut self) -> Change {
        let four = self.four();
        let kinds = self.rng.random_range(1..8);
        Change {
            grams: (kinds & 1 > 0).then_some(four.grams),
            at_millis: (kinds & 2 > 0).then_some(four.at_millis),
            kind: (kinds & 4 > 0).then_some((four.category, four.method)),
        }
    }

    pub async fn update(&mut self, soul: &Soul) {
        let Some((id, _)) = self.some_of(soul, 1).pop() else {
            return;
        };
        let change = self.change();
        let statement = Statement::new(ways::UPDATE, &[&id, &ways::changes(&change).to_string()]);
        if self.must(soul, statement).await.is_some() {
            self.changed(soul, &[id], &change);
        }
    }

    pub async fn update_several(&mut self, soul: &Soul) {
        let ids: Vec<String> = self.some_of(soul, 5).into_iter().map(|one| one.0).collect();
        let change = self.change();
        let values = [ids.join(","), ways::changes(&change).to_string()];
        let statement = Statement::new(ways::UPDATE_ROWS, &[&values[0], &values[1]]);
        if let Some((answer, _)) = self.must(soul, statement).await {
            assert_eq!(answer.as_array().map(Vec::len), Some(ids.len()), "{answer}");
            self.changed(soul, &ids, &change);
        }
    }

    fn changed(&mut self, soul: &Soul, ids: &[String], change: &Change) {
        for id in ids {
            let kept = self.own(soul).entries.get_mut(id).expect("own");
            kept.four.grams = change.grams.unwrap_or(kept.four.grams);
            kept.four.at_millis = change.at_millis.unwrap_or(kept.four.at_millis);
            if let Some((category, method)) = change.kind.clone() {
                (kept.four.category, kept.four.method) = (category, method);
            }
        }
    }

    pub async fn delete(&mut self, soul: &Soul) {
        let Some((id, _)) = self.some_of(soul, 1).pop() else {
            return;
        };
        let statement = Statement::new(DELETE, &[&id]);
        if let Some(told) = self.call(soul, &[statement]).await {
            let done = matches!(told.said, Said::Done(_));
            assert!(done || told.again, "{id}: {:?}", told.said);
            self.own(soul).entries.remove(&id);
        }
    }

    /// A few of the device's entries, or all of them: everything earned by them is taken back.
    pub async fn delete_several(&mut self, soul: &Soul) {
        let most = if self.rng.random_ratio(1, 4) { 400 } else { 8 };
        let ids: Vec<String> = self
            .some_of(soul, most)
            .into_iter()
            .map(|one| one.0)
            .collect();
        let statement = Statement::new(ways::DELETE_ROWS, &[&ids.join(",")]);
        if let Some((answer, again)) = self.must(soul, statement).await {
            let gone = answer.as_array().map_or(0, Vec::len);
            assert!(again || gone == ids.len(), "{answer}");
            self.own(soul).entries.retain(|id, _| !ids.contains(id));
        }
    }

    pub async fn migrate(&mut self, soul: &Soul) {
        let sent = self.several(8);
        let old = |sent: &Sent| Old {
            four: sent.four.clone(),
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
        if self.must(soul, statement).await.is_none() {
            return;
        }
        self.keep_by_name(soul, &sent).await;
        let own = self.own(soul);
        let mut batches = own.entries.values().filter_map(|kept| kept.batch.clone());
        let new = batches.find(|batch| !own.batches.contains(batch));
        own.batches.extend(new);
    }

    pub async fn roll_back(&mut self, soul: &Soul) {
        let Some(batch) = self.own(soul).batches.pop() else {
            return;
        };
        let statement = Statement::new(ROLL_BACK, &[&batch]);
        if let Some(told) = self.call(soul, &[statement]).await {
            let done = matches!(told.said, Said::Done(_));
            assert!(done || told.again, "{batch}: {:?}", told.said);
            let entries = &mut self.own(soul).entries;
            entries.retain(|_, kept| kept.batch.as_ref() != Some(&batch));
        }
    }

    /// Create, change and delete in one transaction, with what was there before.
    pub async fn several_at_once(&mut self, soul: &Soul) {
        let sent = self.fresh();
        let change = self.change();
        let targets = self.some_of(soul, 2);
        let [(one, _), (other, _)] = targets.as_slice() else {
            return;
        };
        let statements = [
            Statement::new(CREATE, &[&ways::entry_in(&sent).to_string()]),
            Statement::new(ways::UPDATE, &[one, &ways::changes(&change).to_string()]),
            Statement::new(ways::DELETE_ROWS, &[other]),
        ];
        let Some(told) = self.call(soul, &statements).await else {
            return;
        };
        let Said::Done(answers) = &told.said else {
            panic!("{:?}", told.said);
        };
        let (one, other) = (one.clone(), other.clone());
        self.keep(soul, &answers[0]["id"], &sent.four, None);
        self.changed(soul, &[one], &change);
        self.own(soul).entries.remove(&other);
    }

    /// What a person's app asks for now and then; each of it may settle days that have ended.
    pub async fn settle(&mut self, soul: &Soul) {
        let asked = [
            "select public.check_achievements()::text",
            "select public.refresh_challenge_progress()::text",
        ];
        let sql = asked.choose(&mut self.rng).expect("one");
        self.must(soul, Statement::new(sql, &[])).await;
    }

    /// Another zone, province, privacy or visibility.
    pub async fn choose(&mut self, soul: &Soul) {
        let mut chosen = soul.chosen.lock().await;
        let change = match self.rng.random_range(0..6) {
            0 => {
                chosen.zone = self.rng.random_range(0..ZONES.len());
                let zone = ZONES[chosen.zone];
                soul.eastmost.fetch_max(zone.minutes, Ordering::SeqCst);
                json!({ "time_zone": zone.name })
            }
            1..3 => json!({ "province": PROVINCES[self.rng.random_range(0..PROVINCES.len())] }),
            3..5 => json!({ "privacy_level": self.rng.random_range(1..=3) }),
            _ => json!({ "visible_in_leaderboard": self.rng.random_ratio(2, 3) }),
        };
        let sql =
            "select public.update_profile(json_build_object('changes', $1::text::json))::text";
        self.must(soul, Statement::new(sql, &[&change.to_string()]))
            .await;
    }

    /// An operator takes somebody off the boards, or puts them back.
    pub async fn exclude(&mut self, soul: &Soul) {
        let mut chosen = soul.chosen.lock().await;
        let sql = if chosen.excluded {
            "select to_jsonb(public.include_in_boards($1::text::uuid, 'looked again')::text)::text"
        } else {
            "select to_jsonb(public.exclude_from_boards($1::text::uuid, 'looks farmed')::text)::text"
        };
        let told = self
            .line
            .call(Voice::Service, &[Statement::new(sql, &[&soul.id])])
            .await;
        let done = matches!(told.said, Said::Done(_));
        assert!(done || told.again || soul.is_gone(), "{:?}", told.said);
        chosen.excluded = !chosen.excluded;
    }

    pub async fn run_a_job(&mut self) {
        let sql = JOBS.choose(&mut self.rng).expect("one");
        let told = self
            .line
            .call(Voice::Job, &[Statement::new(sql, &[])])
            .await;
        let Said::Done(answers) = &told.said else {
            panic!("{sql}: {:?}", told.said);
        };
        // Nothing ever needs to be mended.
        let mended = answers[0]["mended"].as_i64().unwrap_or(0);
        assert_eq!(mended, 0, "{sql}: {answers:?}");
    }
}
