//! Community challenges: after any order of joining, leaving, creates, batches, changes, deletions, imports, late entries,
//! moves to another province and deletions of accounts, contributions, totals, milestones, rewards and contributors' boards
//! are those of a model that shares no code with the system.

use std::collections::{BTreeMap, BTreeSet};

use carbon_tests::figures::{Factors, local_date};
use carbon_tests::system::System;
use chrono::{Days, NaiveDate};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, NoTls};

use crate::compare::now_millis;
use crate::setting;

const PEOPLE: usize = 8;
const DEFAULT_OPERATIONS: usize = 900;
const OPERATIONS_BETWEEN_COMPARISONS: usize = 45;
const DAY_MILLIS: i64 = 86_400_000;
const BANGKOK_MINUTES: i64 = 7 * 60;
const PROVINCES: [Option<&str>; 3] = [Some("TH-10"), Some("TH-50"), None];

/// An entry as the model knows it.
#[derive(Clone, Debug)]
struct Entry {
    owner: usize,
    day: NaiveDate,
    category: String,
    method: String,
    grams: i64,
    province: Option<&'static str>,
    imported: bool,
}

/// A challenge as it was made.
#[derive(Debug)]
struct Challenge {
    id: String,
    metric: &'static str,
    categories: Option<BTreeSet<&'static str>>,
    province: Option<&'static str>,
    target: i64,
    least: i64,
    reward: i64,
    first: NaiveDate,
    last: NaiveDate,
}

#[derive(Debug)]
struct Person {
    id: String,
    province: Option<&'static str>,
    /// Challenge → the first day that counts and the province at joining.
    joined: BTreeMap<usize, (NaiveDate, Option<&'static str>)>,
}

struct World<'a> {
    client: Client,
    factors: &'a Factors,
    rng: StdRng,
    pairs: Vec<(String, String)>,
    people: Vec<Option<Person>>,
    challenges: Vec<Challenge>,
    entries: BTreeMap<String, Entry>,
    /// What deleted accounts left behind: challenge and province → sum.
    erased: BTreeMap<(usize, Option<&'static str>), i64>,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_any_operations_contributions_totals_and_rewards_equal_the_model() {
    let system = System::load().expect("the running system");
    let factors = Factors::load().expect("the factors");
    let seed: u64 =
        setting("CARBON_TEST_SEED").unwrap_or_else(|| rand::rng().random_range(0..1_000_000));
    let operations: usize = setting("CARBON_TEST_OPERATIONS").unwrap_or(DEFAULT_OPERATIONS);
    println!("CARBON_TEST_SEED={seed} CARBON_TEST_OPERATIONS={operations}: community challenges");
    let (client, connection) = tokio_postgres::connect(&system.db_url, NoTls)
        .await
        .expect("the database");
    tokio::spawn(connection);
    let mut world = World {
        client,
        factors: &factors,
        rng: StdRng::seed_from_u64(seed),
        pairs: factors.pairs(),
        people: Vec::new(),
        challenges: Vec::new(),
        entries: BTreeMap::new(),
        erased: BTreeMap::new(),
    };
    world.begin().await;
    for operation in 1..=operations {
        world.step().await;
        if operation % OPERATIONS_BETWEEN_COMPARISONS == 0 {
            world.compare().await;
        }
    }
    world.compare().await;
    world.end().await;
}

impl World<'_> {
    async fn begin(&mut self) {
        for place in 0..PEOPLE {
            let province = PROVINCES[place % PROVINCES.len()];
            self.sign_up(province).await;
        }
        let today = local_date(now_millis(), BANGKOK_MINUTES);
        for (metric, categories, province, target, least) in [
            ("weight_kg", None, None, 150_000, 20_000),
            ("entries", None, Some("TH-50"), 40, 5),
            (
                "credits",
                Some(vec!["plastic_bottles", "food_waste", "glass_bottles"]),
                None,
                300,
                30,
            ),
            ("co2e_avoided_kg", None, None, 60_000_000, 1_000_000),
            ("entries", Some(vec!["paper_cardboard"]), None, 1_000_000, 1),
        ] {
            let (first, last) = (today - Days::new(9), today + Days::new(3));
            let mut criteria = json!({ "metric": metric });
            if let Some(categories) = &categories {
                criteria["category_any_of"] = json!(categories);
            }
            let challenge = json!({
                "title_th": "ก", "title_en": "a", "description_th": "ก", "description_en": "a",
                "challenge_type": if province.is_some() { "provincial" } else { "national" },
                "province": province, "criteria": criteria, "target_value": target, "min_contribution": least,
                "credits_reward": 30, "start_date": first.to_string(), "end_date": last.to_string(),
            });
            let made = self
                .ask(
                    "select public.make_community_challenge($1::text::jsonb)::text",
                    &[&challenge.to_string()],
                )
                .await;
            self.challenges.push(Challenge {
                id: made["id"].as_str().expect("an id").to_owned(),
                metric,
                categories: categories.map(|list| list.into_iter().collect()),
                province,
                target,
                least,
                reward: 30,
                first,
                last,
            });
        }
    }

    async fn sign_up(&mut self, province: Option<&'static str>) {
        let number = format!("6661{:07}", self.rng.random_range(0..10_000_000));
        let made = self
            .ask(
                "with made as (
                   insert into auth.users (id, aud, role, phone, phone_confirmed_at, created_at, updated_at)
                   values (gen_random_uuid(), 'authenticated', 'authenticated', $1, now(), now(), now()) returning id)
                 select to_jsonb(id)::text from made",
                &[&number],
            )
            .await;
        let id = made.as_str().expect("an id").to_owned();
        self.ask(
            "with moved as (update public.profiles set province = $2::text, privacy_level = 1 + abs(hashtext($1::text)) % 3
               where id = $1::text::uuid returning 1) select to_jsonb(count(*))::text from moved",
            &[&id, &province],
        )
        .await;
        self.people.push(Some(Person {
            id,
            province,
            joined: BTreeMap::new(),
        }));
    }

    async fn step(&mut self) {
        let living: Vec<usize> = (0..self.people.len())
            .filter(|place| self.people[*place].is_some())
            .collect();
        let who = *living.choose(&mut self.rng).expect("somebody");
        match self.rng.random_range(0..100) {
            0..35 => self.create(who, 1).await,
            35..43 => {
                let count = self.rng.random_range(2..6);
                self.create(who, count).await;
            }
            43..45 => self.import(who).await,
            45..65 => self.update(who).await,
            65..75 => self.delete(who).await,
            75..88 => self.join(who).await,
            88..95 => self.leave(who).await,
            95..99 => self.relocate(who).await,
            _ => self.erase(who).await,
        }
    }

    /// One entry by the rpc for one, several by the rpc for many.
    async fn create(&mut self, who: usize, count: usize) {
        let drawn: Vec<(Entry, Value)> = (0..count).map(|_| self.draw(who, false)).collect();
        let sent: Vec<Value> = drawn.iter().map(|(_, sent)| sent.clone()).collect();
        let answer = if count == 1 {
            let body = json!({"entry": sent[0]}).to_string();
            json!([self
                .act(
                    who,
                    "select public.create_waste_entry($1::text::json)::text",
                    &[&body]
                )
                .await])
        } else {
            let body = json!({ "entries": sent }).to_string();
            let answer = self
                .act(
                    who,
                    "select public.create_waste_entries($1::text::json)::text",
                    &[&body],
                )
                .await;
            answer["entries"].clone()
        };
        for (line, (entry, _)) in answer.as_array().expect("lines").iter().zip(drawn) {
            let id = line["id"].as_str().expect("an id").to_owned();
            self.entries.insert(id, entry);
        }
    }

    async fn import(&mut self, who: usize) {
        let (entry, sent) = self.draw(who, true);
        let payload = json!({ "waste_entries": [sent] }).to_string();
        self.act(who, "select public.migrate_local($1)::text", &[&payload])
            .await;
        let id = self.people[who].as_ref().expect("a person").id.clone();
        let added = self
            .ask(
                "select to_jsonb(max(e.id::text))::text from public.waste_entries as e
                 where e.user_id = $1::text::uuid and e.batch_id is not null and e.id::text <> all ($2::text[])",
                &[&id, &self.entries.keys().cloned().collect::<Vec<_>>()],
            )
            .await;
        self.entries
            .insert(added.as_str().expect("an entry").to_owned(), entry);
    }

    async fn update(&mut self, who: usize) {
        let Some(id) = self.some_entry(who) else {
            return;
        };
        let (drawn, mut changes) = self.draw(who, false);
        let entry = self.entries.get_mut(&id).expect("an entry");
        if changes["weight_kg"].as_f64() > Some(5.0) {
            changes = json!({"weight_kg": changes["weight_kg"]});
            entry.grams = drawn.grams;
        } else {
            // An edit keeps the province of before.
            (entry.category, entry.method, entry.grams, entry.day) =
                (drawn.category, drawn.method, drawn.grams, drawn.day);
        }
        let body = json!({"entry_id": id, "changes": changes}).to_string();
        self.act(
            who,
            "select public.update_waste_entry($1::text::json)::text",
            &[&body],
        )
        .await;
    }

    async fn delete(&mut self, who: usize) {
        let Some(id) = self.some_entry(who) else {
            return;
        };
        self.act(
            who,
            "select public.delete_waste_entry($1::text::uuid)::text",
            &[&id],
        )
        .await;
        self.entries.remove(&id);
    }

    /// Joins, and then as if that had been some days ago.
    async fn join(&mut self, who: usize) {
        let challenge = self.rng.random_range(0..self.challenges.len());
        let days_ago = self.rng.random_range(0..12);
        let id = self.challenges[challenge].id.clone();
        let person = self.people[who].as_ref().expect("a person");
        if person.joined.contains_key(&challenge) {
            return;
        }
        let (user_id, province) = (person.id.clone(), person.province);
        self.act(
            who,
            "select public.join_community_challenge($1::text::uuid)::text",
            &[&id],
        )
        .await;
        let joined_on = local_date(now_millis(), BANGKOK_MINUTES) - Days::new(days_ago);
        self.ask(
            "with moved as (update private.participations set joined_on = $3::text::date
               where challenge_id = $1::text::uuid and user_id = $2::text::uuid returning 1)
             select to_jsonb(count(*))::text from moved",
            &[&id, &user_id, &joined_on.to_string()],
        )
        .await;
        self.ask(
            "select public.recompute_user($1::text::uuid)::text",
            &[&user_id],
        )
        .await;
        let person = self.people[who].as_mut().expect("a person");
        person.joined.insert(challenge, (joined_on, province));
    }

    async fn leave(&mut self, who: usize) {
        let person = self.people[who].as_mut().expect("a person");
        let joined: Vec<usize> = person.joined.keys().copied().collect();
        let Some(&challenge) = joined.choose(&mut self.rng) else {
            return;
        };
        person.joined.remove(&challenge);
        let id = self.challenges[challenge].id.clone();
        self.act(
            who,
            "select public.leave_community_challenge($1::text::uuid)::text",
            &[&id],
        )
        .await;
    }

    async fn relocate(&mut self, who: usize) {
        let province = *PROVINCES.choose(&mut self.rng).expect("a province");
        let body = json!({"changes": {"province": province}}).to_string();
        self.act(
            who,
            "select public.update_profile($1::text::json)::text",
            &[&body],
        )
        .await;
        self.people[who].as_mut().expect("a person").province = province;
    }

    /// Deletes an account: what it gave stays. Somebody else comes instead.
    async fn erase(&mut self, who: usize) {
        for challenge in 0..self.challenges.len() {
            if let Some((sum, province)) = self.contribution(who, challenge) {
                *self.erased.entry((challenge, province)).or_default() += sum;
            }
        }
        let person = self.people[who].take().expect("a person");
        self.ask(
            "with gone as (delete from auth.users where id = $1::text::uuid returning id) select to_jsonb(count(*))::text from gone",
            &[&person.id],
        )
        .await;
        self.entries.retain(|_, entry| entry.owner != who);
        self.sign_up(person.province).await;
    }

    fn some_entry(&mut self, who: usize) -> Option<String> {
        let own: Vec<&String> = self
            .entries
            .iter()
            .filter(|(_, entry)| entry.owner == who)
            .map(|(id, _)| id)
            .collect();
        own.choose(&mut self.rng).map(|id| (*id).clone())
    }

    /// An entry of one of the last 14 days, in the model and as it is sent.
    fn draw(&mut self, who: usize, imported: bool) -> (Entry, Value) {
        let (category, method) = self.pairs.choose(&mut self.rng).cloned().expect("a pair");
        let grams = self.rng.random_range(10..10_000);
        let at_millis = now_millis() - 5_000 - self.rng.random_range(0..14 * DAY_MILLIS);
        let at = chrono::DateTime::from_timestamp_millis(at_millis).expect("a time");
        let sent = json!({
            "category_id": category, "disposal_method": method, "logged_at": at.to_rfc3339(),
            "weight_kg": f64::from(grams) / 1000.0,
        });
        let entry = Entry {
            owner: who,
            day: local_date(at_millis, BANGKOK_MINUTES),
            category,
            method,
            grams: grams.into(),
            province: self.people[who].as_ref().expect("a person").province,
            imported,
        };
        (entry, sent)
    }

    /// What the model says of a participant, and the province it counts for; none if they do not take part.
    fn contribution(&self, who: usize, challenge: usize) -> Option<(i64, Option<&'static str>)> {
        let person = self.people[who].as_ref()?;
        let (joined_on, province) = *person.joined.get(&challenge)?;
        let terms = &self.challenges[challenge];
        let counted = self.entries.values().filter(|entry| {
            entry.owner == who
                && !entry.imported
                && entry.day >= joined_on.max(terms.first)
                && entry.day <= terms.last
                && terms
                    .province
                    .is_none_or(|only| entry.province == Some(only))
                && terms
                    .categories
                    .as_ref()
                    .is_none_or(|ids| ids.contains(entry.category.as_str()))
        });
        let amount = |entry: &Entry| {
            let figures = self
                .factors
                .figures(&entry.category, &entry.method, entry.grams);
            match terms.metric {
                "weight_kg" => entry.grams,
                "entries" => 1,
                "credits" => figures.credits,
                _ => figures.avoided_micro,
            }
        };
        Some((counted.map(amount).sum(), province))
    }

    async fn compare(&self) {
        self.wait_for_jobs().await;
        for (place, challenge) in self.challenges.iter().enumerate() {
            let shown = self
                .ask(
                    "select jsonb_build_object(
                       'contributions', (select coalesce(jsonb_object_agg(p.user_id, p.contribution), '{}')
                         from private.contributions as p where p.challenge_id = c.id),
                       'totals', (select coalesce(jsonb_object_agg(coalesce(t.province, ''), jsonb_build_array(t.total, t.participants)), '{}')
                         from private.community_totals as t where t.challenge_id = c.id and (t.total <> 0 or t.participants <> 0)),
                       'facts', (select coalesce(jsonb_agg(f.milestone order by f.milestone), '[]')
                         from private.community_facts as f where f.challenge_id = c.id),
                       'rewards', (select coalesce(jsonb_object_agg(r.user_id, r.credits), '{}') from (
                         select r.user_id, sum(r.credits) as credits from private.rewards as r
                         where r.source = 'community' and r.source_id = c.id::text group by r.user_id) as r),
                       'board', (select coalesce(jsonb_object_agg(o.user_id, o.credits), '{}')
                         from private.board_order as o where o.board = c.board))::text
                     from public.community_challenges as c where c.id = $1::text::uuid",
                    &[&challenge.id],
                )
                .await;
            let has_target = shown["facts"]
                .as_array()
                .expect("facts")
                .contains(&json!(100));
            let (mut contributions, mut totals) =
                (BTreeMap::new(), BTreeMap::<&str, (i64, i64)>::new());
            for who in 0..self.people.len() {
                let Some((sum, province)) = self.contribution(who, place) else {
                    continue;
                };
                let id = self.people[who].as_ref().expect("a person").id.clone();
                let paid = if has_target && sum >= challenge.least {
                    challenge.reward
                } else {
                    0
                };
                assert_eq!(
                    shown["rewards"][&id].as_i64().unwrap_or(0),
                    paid,
                    "reward of {id} in {challenge:?}"
                );
                contributions.insert(id, sum);
                let total = totals.entry(province.unwrap_or("")).or_default();
                *total = (total.0 + sum, total.1 + 1);
            }
            for ((own, province), sum) in &self.erased {
                if *own == place {
                    totals.entry(province.unwrap_or("")).or_default().0 += sum;
                }
            }
            totals.retain(|_, total| *total != (0, 0));
            assert_eq!(
                shown["contributions"],
                json!(contributions),
                "contributions in {challenge:?}"
            );
            assert_eq!(
                shown["board"],
                json!(contributions),
                "contributors' board of {challenge:?}"
            );
            assert_eq!(shown["totals"], json!(totals), "totals of {challenge:?}");
            let total: i64 = totals.values().map(|total| total.0).sum();
            for milestone in [25, 50, 75, 100] {
                let is_reached = total * 100 >= milestone * challenge.target;
                let is_fact = shown["facts"]
                    .as_array()
                    .expect("facts")
                    .contains(&json!(milestone));
                assert!(
                    is_fact || !is_reached,
                    "{milestone} % of {challenge:?} at {total}"
                );
            }
        }
        for person in self.people.iter().flatten() {
            let found = self
                .ask(
                    "select to_jsonb(public.check_user($1::text::uuid))::text",
                    &[&person.id],
                )
                .await;
            assert_eq!(found, json!([]), "check_user of {}", person.id);
        }
        assert_eq!(
            self.ask("select private.check_communities()::text", &[])
                .await,
            json!([])
        );
    }

    /// Waits until the outbox is folded and due rewards are paid.
    async fn wait_for_jobs(&self) {
        let ids: Vec<&String> = self
            .people
            .iter()
            .flatten()
            .map(|person| &person.id)
            .collect();
        for _ in 0..2_000 {
            self.ask(
                "select jsonb_build_array(private.merge_boards(100000), private.evaluate_community_rewards(3))::text",
                &[],
            )
            .await;
            let left = self
                .ask(
                    "select to_jsonb(
                       (select count(*) from private.outbox as o where o.communities is not null or o.user_id::text = any ($1::text[]))
                       + (select count(*) from private.community_progress as g where g.evaluate_after is not null))::text",
                    &[&ids],
                )
                .await;
            if left == json!(0) {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        panic!("the outbox is not emptied");
    }

    async fn end(&self) {
        for person in self.people.iter().flatten() {
            self.ask(
                "with gone as (delete from auth.users where id = $1::text::uuid returning id) select to_jsonb(count(*))::text from gone",
                &[&person.id],
            )
            .await;
        }
        for challenge in &self.challenges {
            self.ask(
                "select public.cancel_community_challenge($1::text::uuid, 'the test has ended')::text",
                &[&challenge.id],
            )
            .await;
        }
    }

    /// One JSON value, as the superuser.
    async fn ask(&self, statement: &str, values: &[&(dyn ToSql + Sync)]) -> Value {
        let row = self
            .client
            .query_one(statement, values)
            .await
            .unwrap_or_else(|error| panic!("{statement}: {error:?}"));
        let text: Option<String> = row.get(0);
        text.map_or(Value::Null, |text| {
            serde_json::from_str(&text).expect("JSON")
        })
    }

    /// One JSON value, as this person.
    async fn act(&self, who: usize, statement: &str, values: &[&(dyn ToSql + Sync)]) -> Value {
        let id = &self.people[who].as_ref().expect("a person").id;
        let begin = format!(
            "begin; select set_config('request.jwt.claims', '{{\"sub\":\"{id}\",\"role\":\"authenticated\"}}', true); set local role authenticated"
        );
        self.client
            .batch_execute(&begin)
            .await
            .expect("a transaction");
        let answer = self.ask(statement, values).await;
        self.client.batch_execute("commit").await.expect("commit");
        answer
    }
}
