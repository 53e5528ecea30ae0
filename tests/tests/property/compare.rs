//! Compares everything the system derives with the diary and with its own recomputation.

use std::collections::BTreeMap;

use carbon_tests::earned::{Earned, Goals};
use carbon_tests::figures::{Factors, decimal, level, local_date, trees};
use chrono::{DateTime, Datelike, Days, NaiveDate};
use serde_json::{Value, json};

use crate::diary::{Diary, ZONES, figures_of};
use crate::person::Person;
use crate::recount::{self, Counted};
use crate::snapshot::Snapshot;

/// Asserts that entries, totals, days, streak, level and revision are those of the diary, through every interface, and that
/// the system's own recomputation changes nothing.
pub async fn compare(person: &Person, diary: &mut Diary, factors: &Factors) {
    // Closes the days that have ended, so that no job does it in the middle of the comparison.
    let checked = person
        .rest("POST", "rpc/check_achievements", Some(&json!({})))
        .await;
    assert_eq!(checked.status, 200, "{checked:?}");
    let earned = compare_earned(person, diary, factors).await;
    let diary = &*diary;
    compare_entries(person, diary, factors).await;
    compare_totals(person, diary, factors).await;
    compare_days(person, diary, factors).await;
    compare_gamification(person, diary, factors, &earned).await;
    compare_boards(person, diary, factors, &earned).await;
    let before = derived(person).await;
    let found = person
        .superuser(
            "select to_jsonb(public.check_user($1::text::uuid))::text",
            &[&person.id],
        )
        .await;
    assert_eq!(found, json!([]), "check_user finds differences");
    person
        .superuser(
            "select to_jsonb(public.recompute_user($1::text::uuid)::text)::text",
            &[&person.id],
        )
        .await;
    assert_eq!(
        derived(person).await,
        before,
        "a recomputation changes nothing"
    );
}

/// Ledger, achievements, challenges and levels, in every form in which they can be read.
async fn compare_earned(person: &Person, diary: &mut Diary, factors: &Factors) -> Earned {
    let snapshot = Snapshot::take(person.system()).await;
    let goals = Goals::of(&snapshot.value(Goals::STATEMENT, &[]).await);
    let entries = diary.logged(factors);
    let counted = Counted {
        id: &person.id,
        entries: &entries,
        minutes: diary.zone.minutes,
        eastmost: diary.eastmost,
        closed_before: diary.closed_through,
    };
    let (earned, closed_through) = recount::compare(&snapshot, &counted, &goals).await;
    diary.closed_through = closed_through;
    let today = local_date(now_millis(), diary.zone.minutes);
    let unclosed = entries
        .iter()
        .find(|entry| entry.day + Days::new(1) < today && closed_through < Some(entry.day));
    assert_eq!(unclosed, None, "a day that has ended is closed");
    earned
}

async fn compare_entries(person: &Person, diary: &Diary, factors: &Factors) {
    let statement = "select coalesce(jsonb_agg(jsonb_build_object('id', id, 'category', category_id, 'method', disposal_method,
        'grams', (weight_kg * 1000)::bigint, 'at', (extract(epoch from logged_at) * 1000)::bigint, 'day', local_date, 'credits', carbon_credits,
        'co2e', (co2e_kg * 1000000)::bigint, 'avoided', (co2e_avoided_kg * 1000000)::bigint, 'offline', offline_id, 'batch', batch_id)), '[]')::text
      from public.waste_entries where user_id = $1::text::uuid";
    let rows = person.superuser(statement, &[&person.id]).await;
    let shown: BTreeMap<String, Value> = rows
        .as_array()
        .expect("rows")
        .iter()
        .map(|row| (row["id"].as_str().expect("id").to_owned(), row.clone()))
        .collect();
    let expected: BTreeMap<String, Value> = diary.live.iter().map(|(id, entry)| {
        let own = figures_of(factors, &entry.content);
        let row = json!({
            "id": id, "category": entry.content.category, "method": entry.content.method, "grams": own.grams, "at": entry.content.at_millis,
            "day": entry.day().to_string(), "credits": own.credits, "co2e": own.co2e_micro, "avoided": own.avoided_micro,
            "offline": entry.offline_id, "batch": entry.batch,
        });
        (id.clone(), row)
    }).collect();
    for (id, row) in &expected {
        assert_eq!(shown.get(id), Some(row), "entry {id}");
    }
    assert_eq!(
        shown.len(),
        expected.len(),
        "entries that should not be there"
    );
}

async fn compare_totals(person: &Person, diary: &Diary, factors: &Factors) {
    let statement = "select jsonb_build_object('entries', t.entries, 'grams', (t.weight_kg * 1000)::bigint, 'credits', t.credits,
        'co2e', (t.co2e_kg * 1000000)::bigint, 'avoided', (t.co2e_avoided_kg * 1000000)::bigint, 'revision', t.revision,
        'newest', coalesce((select max(k.revision) from private.entry_keys k where k.user_id = t.user_id), 0))::text
      from public.user_totals t where t.user_id = $1::text::uuid";
    let shown = person.superuser(statement, &[&person.id]).await;
    let sums = diary.totals(factors);
    let expected = json!({
        "entries": diary.live.len(), "grams": sums.grams, "credits": sums.credits, "co2e": sums.co2e_micro, "avoided": sums.avoided_micro,
        "revision": diary.changes, "newest": diary.changes,
    });
    assert_eq!(shown, expected, "totals");
}

async fn compare_days(person: &Person, diary: &Diary, factors: &Factors) {
    let statement = "select coalesce(jsonb_object_agg(d.local_date, d.sums), '{}')::text from (
        select local_date, jsonb_build_object('entries', sum(entries), 'grams', (sum(weight_kg) * 1000)::bigint, 'credits', sum(credits),
          'positive', sum(credits_positive), 'negative', sum(credits_negative), 'co2e', (sum(co2e_kg) * 1000000)::bigint,
          'avoided', (sum(co2e_avoided_kg) * 1000000)::bigint) as sums
        from public.user_days where user_id = $1::text::uuid group by local_date) d";
    let shown = person.superuser(statement, &[&person.id]).await;
    let days = diary.days(factors).into_iter().map(|(date, day)| {
        let sums = json!({
            "entries": day.entries, "grams": day.figures.grams, "credits": day.figures.credits, "positive": day.positive, "negative": day.negative,
            "co2e": day.figures.co2e_micro, "avoided": day.figures.avoided_micro,
        });
        (date.to_string(), sums)
    });
    assert_eq!(shown, Value::Object(days.collect()), "days");
}

async fn compare_gamification(person: &Person, diary: &Diary, factors: &Factors, earned: &Earned) {
    let sums = diary.totals(factors);
    let total = earned.total();
    let (current, longest) = diary.streak(now_millis());
    let expected = (total, level(total), current, longest, trees(total));
    let edge = person.edge("GET", "/gamification/profile", None).await.body;
    let rest = person.rest("GET", "user_gamification", None).await.body[0].clone();
    let sql = person
        .sql("select public.get_gamification_profile()::text", &[])
        .await
        .body;
    for (way, shown) in [("edge", &edge), ("REST", &rest), ("SQL", &sql)] {
        let integer = |name: &str| {
            shown[name]
                .as_i64()
                .unwrap_or_else(|| panic!("{way} {name}: {shown}"))
        };
        let seen = (
            integer("total_credits"),
            integer("current_level"),
            integer("daily_streak"),
            integer("max_streak"),
            integer("trees_saved"),
        );
        assert_eq!(
            seen, expected,
            "{way}: credits, level, streak, longest streak, trees"
        );
    }
    for shown in [&edge, &sql] {
        assert_eq!(
            decimal(&shown["total_waste_kg"].to_string(), 3),
            Some(sums.grams),
            "{shown}"
        );
        assert_eq!(
            decimal(&shown["co2e_avoided_kg"].to_string(), 6),
            Some(sums.avoided_micro),
            "{shown}"
        );
    }
}

/// The person's own standing is the sum of the period's days, by the calendar of Bangkok.
async fn compare_boards(person: &Person, diary: &Diary, factors: &Factors, earned: &Earned) {
    let days = diary.days(factors);
    for timeframe in ["daily", "weekly", "monthly", "all_time"] {
        let route = format!("/gamification/leaderboard?type=global&timeframe={timeframe}&limit=1");
        let board = person.edge("GET", &route, None).await.body;
        let as_of = DateTime::parse_from_rfc3339(board["as_of"].as_str().expect("as_of"));
        let today = local_date(as_of.expect("a time").timestamp_millis(), ZONES[0].minutes);
        let in_period = |day: NaiveDate| match timeframe {
            "daily" => day == today,
            "weekly" => day.iso_week() == today.iso_week(),
            "monthly" => (day.year(), day.month()) == (today.year(), today.month()),
            _ => true,
        };
        let of_period = || days.iter().filter(|(day, _)| in_period(**day));
        let mut credits: i64 = of_period().map(|(_, sums)| sums.figures.credits).sum();
        if timeframe == "all_time" && !days.is_empty() {
            credits += earned.rewards;
        }
        let own = &board["current_user"];
        assert_eq!(own["credits"], json!(credits), "{timeframe}: {own}");
        assert_eq!(
            own["rank"].is_null(),
            of_period().next().is_none(),
            "{timeframe}: {own}"
        );
    }
}

/// Everything derived, as one value.
async fn derived(person: &Person) -> Value {
    let statement = "select jsonb_build_object(
        'totals', (select to_jsonb(t) - '{last_change_at,window_started_at,window_rows}'::text[] from private.user_state t where t.user_id = $1::text::uuid),
        'ledger', (select jsonb_agg(to_jsonb(r) order by r.number) from private.rewards r where r.user_id = $1::text::uuid),
        'feed', (select jsonb_agg(to_jsonb(a) order by a.created_at, a.id) from public.activity_feed a where a.user_id = $1::text::uuid),
        'days', (select jsonb_agg(to_jsonb(d) order by d.local_date, d.province, d.imported) from public.user_days d where d.user_id = $1::text::uuid))::text";
    person.superuser(statement, &[&person.id]).await
}

/// A copy of the diary as a device holds it at some revision: entry id → credits.
#[derive(Clone, Default)]
pub struct Device {
    pub since: i64,
    pub entries: BTreeMap<String, Value>,
}

impl Device {
    /// Fetches what changed, page by page, until there is no more.
    pub async fn pull(&mut self, person: &Person, page: i64) {
        loop {
            let body = json!({ "since_revision": self.since, "limit": page });
            let answer = person.edge("POST", "/user/sync/request", Some(&body)).await;
            assert_eq!(answer.status, 200, "{answer:?}");
            for change in answer.body["changes"].as_array().expect("changes") {
                let revision = change["revision"].as_i64().expect("a revision");
                assert!(
                    revision > self.since,
                    "revisions grow: {revision} after {}",
                    self.since
                );
                self.since = revision;
                if change["op"] == json!("delete") {
                    self.entries.remove(change["id"].as_str().expect("an id"));
                } else {
                    let entry = &change["entry"];
                    assert_eq!(entry["revision"], change["revision"]);
                    self.entries.insert(
                        entry["id"].as_str().expect("an id").to_owned(),
                        entry["carbon_credits"].clone(),
                    );
                }
            }
            if answer.body["has_more"] != json!(true) {
                assert_eq!(
                    answer.body["revision"].as_i64(),
                    Some(self.since.max(0)),
                    "the feed ends at the newest revision"
                );
                return;
            }
        }
    }

    /// Asserts that the device shows the diary's entries and nothing else.
    pub fn assert_shows(&self, diary: &Diary, factors: &Factors) {
        let expected: BTreeMap<String, Value> = diary
            .live
            .iter()
            .map(|(id, entry)| {
                (
                    id.clone(),
                    json!(figures_of(factors, &entry.content).credits),
                )
            })
            .collect();
        assert_eq!(
            self.entries, expected,
            "a device at revision {}",
            self.since
        );
        assert_eq!(self.since, diary.changes);
    }
}

/// Milliseconds since 1970.
pub fn now_millis() -> i64 {
    let since = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .expect("a clock after 1970");
    i64::try_from(since.as_millis()).expect("a time of this era")
}
