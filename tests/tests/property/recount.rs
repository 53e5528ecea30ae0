//! Compares what a user has earned, by the ledger and by every function that shows it, with a recount of the entries.

use std::collections::{BTreeMap, BTreeSet};

use carbon_tests::earned::{Begin, Earned, Goals, Logged, day_of};
use carbon_tests::figures::{decimal, level, local_date, trees};
use carbon_tests::rewards::{self, ChallengeIds, Row};
use chrono::{Days, NaiveDate};
use serde_json::{Value, json};

use crate::compare::now_millis;
use crate::snapshot::Snapshot;

/// Totals, ledger, feed, and the day and type of each challenge id.
const FACTS: &str = "select jsonb_build_object(
    'totals', (select to_jsonb(t) from private.user_state as t where t.user_id = p.id),
    'began', carbon.local_date(p.created_at, 'Asia/Bangkok'),
    'zone', coalesce((select c.time_zone from public.user_preferences as c where c.user_id = p.id), 'Asia/Bangkok'),
    'ledger', (select coalesce(jsonb_agg(to_jsonb(r) order by r.number), '[]') from private.rewards as r where r.user_id = p.id),
    'feed', (select coalesce(jsonb_agg(to_jsonb(a)), '[]') from public.activity_feed as a where a.user_id = p.id),
    'ids', (select coalesce(jsonb_object_agg(carbon.challenge_id(d.day, k.id), jsonb_build_array(d.day, k.id)), '{}')
      from (select distinct r.local_date as day from private.rewards as r where r.user_id = p.id and r.local_date is not null) as d
      cross join public.challenge_types as k))::text
  from public.profiles as p where p.id = $1::text::uuid";

/// A user whose rewards are recounted.
pub struct Counted<'a> {
    pub id: &'a str,
    pub entries: &'a [Logged],
    /// The user's present zone, and the easternmost one they ever had, in minutes east of UTC.
    pub minutes: i64,
    pub eastmost: i64,
    /// The last closed day at the comparison before.
    pub closed_before: Option<NaiveDate>,
}

/// Asserts that everything stored and shown about rewards follows from the entries; returns the rewards and the last closed
/// day.
pub async fn compare(
    snapshot: &Snapshot,
    counted: &Counted<'_>,
    goals: &Goals,
) -> (Earned, Option<NaiveDate>) {
    let facts = snapshot.value(FACTS, &[&counted.id]).await;
    let begin = Begin {
        day: day_of(&facts["began"]).expect("a day"),
        closed_through: day_of(&facts["totals"]["days_closed_through"]),
    };
    compare_closed(counted, begin.closed_through);
    let earned = Earned::from(counted.entries, begin, goals);
    let rows: Vec<Row> = array(&facts["ledger"]).iter().map(Row::of).collect();
    let ids: ChallengeIds = facts["ids"]
        .as_object()
        .expect("ids")
        .iter()
        .map(|(id, of)| {
            let day = day_of(&of[0]).expect("a day");
            (id.clone(), (day, text(&of[1])))
        })
        .collect();
    let who = counted.id;
    let (held, marks) = rewards::read(&rows, &ids)
        .unwrap_or_else(|wrong| panic!("{who}: the ledger: {wrong:#?}\n{rows:#?}"));
    assert_eq!(
        held.achievements, earned.achievements,
        "{who}: achievements"
    );
    assert_eq!(held.challenges, earned.challenges, "{who}: challenges");
    assert_eq!(held.rewards, earned.rewards, "{who}: net of the ledger");
    assert_eq!(
        marks,
        earned.marks(),
        "{who}: marks of {} and {} days",
        earned.total(),
        earned.longest_run
    );
    compare_feed(who, &facts["feed"], &rows);
    compare_totals(who, &facts["totals"], &earned, rows.len());
    snapshot.read_as(Some(who)).await;
    compare_history(snapshot, who, &rows).await;
    compare_views(snapshot, counted, &earned).await;
    compare_profile(snapshot, who, &earned).await;
    compare_achievements(snapshot, counted, begin, goals).await;
    compare_challenges(snapshot, counted, begin, goals).await;
    compare_days(snapshot, counted, begin, goals).await;
    snapshot.read_as_superuser().await;
    (earned, begin.closed_through)
}

/// The last closed day never moves back, and it has ended in at least one zone that the user had.
fn compare_closed(counted: &Counted<'_>, closed_through: Option<NaiveDate>) {
    assert!(
        closed_through >= counted.closed_before,
        "{}: closed through {closed_through:?} after {:?}",
        counted.id,
        counted.closed_before
    );
    let yesterday = local_date(now_millis(), counted.eastmost) - Days::new(1);
    assert!(
        closed_through.is_none_or(|until| until <= yesterday),
        "{}: {closed_through:?} has not ended",
        counted.id
    );
}

/// Everybody here is younger than the feed is retained, so it has all that the ledger says.
fn compare_feed(who: &str, feed: &Value, rows: &[Row]) {
    let mut seen: Vec<rewards::FeedItem> = array(feed)
        .iter()
        .map(|item| {
            (
                text(&item["created_at"]),
                text(&item["activity_type"]),
                item["activity_data"].clone(),
                text(&item["visibility"]),
            )
        })
        .collect();
    seen.sort_by_key(|item| (item.0.clone(), item.1.clone(), item.2.to_string()));
    assert_eq!(seen, rewards::feed(rows), "{who}: the feed");
}

fn compare_totals(who: &str, totals: &Value, earned: &Earned, rows: usize) {
    let held: BTreeSet<&str> = array(&totals["achievements"])
        .iter()
        .filter_map(Value::as_str)
        .collect();
    let expected: BTreeSet<&str> = earned.achievements.keys().map(String::as_str).collect();
    assert_eq!(held, expected, "{who}: achievements of the totals");
    let stored = json!([totals["credits"], totals["rewards"], totals["ledger_rows"]]);
    assert_eq!(
        stored,
        json!([earned.credits, earned.rewards, rows]),
        "{who}: credits, rewards, rows"
    );
}

/// The user reads every row of their ledger, in both languages.
async fn compare_history(snapshot: &Snapshot, who: &str, rows: &[Row]) {
    let statement = "select coalesce(jsonb_agg(to_jsonb(h) order by h.number), '[]')::text from public.credit_history as h";
    let shown = snapshot.value(statement, &[]).await;
    let shown = array(&shown);
    assert_eq!(shown.len(), rows.len(), "{who}: rows of the history");
    for (seen, row) in shown.iter().zip(rows) {
        let event = if row.sequence % 2 == 1 {
            "granted"
        } else {
            "taken_back"
        };
        let expected = json!([row.number, row.source, row.source_id, event, row.credits]);
        let shown = json!([
            seen["number"],
            seen["source"],
            seen["source_id"],
            seen["event"],
            seen["credits"]
        ]);
        assert_eq!(shown, expected, "{who}: {seen}");
        for name in ["name_th", "name_en"] {
            assert!(
                seen[name].as_str().is_some_and(|name| !name.is_empty()),
                "{who}: {name} of {seen}"
            );
        }
    }
}

async fn compare_views(snapshot: &Snapshot, counted: &Counted<'_>, earned: &Earned) {
    let who = counted.id;
    let statement = "select coalesce(jsonb_agg(a.achievement_id), '[]')::text from public.user_achievements as a
        where a.unlocked_at is not null";
    let seen: BTreeSet<String> = array(&snapshot.value(statement, &[]).await)
        .iter()
        .map(text)
        .collect();
    let expected: BTreeSet<String> = earned.achievements.keys().cloned().collect();
    assert_eq!(seen, expected, "{who}: user_achievements");
    let statement = "select coalesce(jsonb_agg(jsonb_build_array(c.challenge_id, c.credits_earned)), '[]')::text
      from public.user_daily_challenges as c where c.completed";
    let seen = snapshot.value(statement, &[]).await;
    let paid: i64 = array(&seen).iter().map(|row| integer(&row[1])).sum();
    assert_eq!(
        (
            array(&seen).len(),
            paid,
            array(&seen)
                .iter()
                .map(|row| text(&row[0]))
                .collect::<BTreeSet<_>>()
                .len()
        ),
        (
            earned.challenges.len(),
            earned.challenges.values().sum(),
            earned.challenges.len()
        ),
        "{who}: user_daily_challenges"
    );
}

async fn compare_profile(snapshot: &Snapshot, who: &str, earned: &Earned) {
    let shown = snapshot
        .value("select public.get_gamification_profile()::text", &[])
        .await;
    let seen = json!([
        shown["total_credits"],
        shown["current_level"],
        shown["trees_saved"],
        shown["achievements_count"]
    ]);
    let total = earned.total();
    let expected = json!([total, level(total), trees(total), earned.achievements.len()]);
    assert_eq!(seen, expected, "{who}: profile");
}

async fn compare_achievements(
    snapshot: &Snapshot,
    counted: &Counted<'_>,
    begin: Begin,
    goals: &Goals,
) {
    let who = counted.id;
    let shown = snapshot
        .value("select public.get_achievements()::text", &[])
        .await;
    let seen: BTreeMap<String, (bool, i64, i64)> = array(&shown["achievements"])
        .iter()
        .map(|one| {
            let progress = &one["progress"];
            let unlocked = one["unlocked"] == json!(true);
            assert_eq!(unlocked, !one["unlocked_at"].is_null(), "{who}: {one}");
            (
                text(&one["id"]),
                (
                    unlocked,
                    milli(&progress["value"]),
                    milli(&progress["at_least"]),
                ),
            )
        })
        .collect();
    let expected: BTreeMap<String, (bool, i64, i64)> = goals
        .achievements()
        .iter()
        .map(|(id, goal)| {
            let at_least = goal.criteria.at_least;
            let value = goal.criteria.value(counted.entries, begin.closed_through);
            (id.clone(), (value >= at_least, value, at_least))
        })
        .collect();
    assert_eq!(seen, expected, "{who}: get_achievements");
}

/// The progress of a day's counted entries in each of its challenges; no challenges before the profile began.
fn progress(
    counted: &Counted<'_>,
    begin: Begin,
    goals: &Goals,
    day: NaiveDate,
) -> BTreeMap<String, (i64, i64)> {
    let own: Vec<Logged> = counted
        .entries
        .iter()
        .filter(|entry| entry.day == day && !entry.imported)
        .cloned()
        .collect();
    let of = |(kind, goal): (String, carbon_tests::earned::Goal)| {
        let value = goal.criteria.value(&own, None);
        let earned = if value >= goal.criteria.at_least {
            goal.reward
        } else {
            0
        };
        (kind, (value, earned))
    };
    let challenges = goals.challenges(day).into_iter();
    challenges.filter(|_| day >= begin.day).map(of).collect()
}

fn shown_progress(challenges: &[Value]) -> BTreeMap<String, (i64, i64)> {
    let of = |one: &Value| {
        let earned = one["credits_earned"].as_i64().unwrap_or(0);
        assert_eq!(one["completed"] == json!(true), earned > 0, "{one}");
        assert_eq!(one["completed_at"].is_null(), earned == 0, "{one}");
        (
            text(&one["challenge_type"]),
            (milli(&one["progress"]), earned),
        )
    };
    challenges.iter().map(of).collect()
}

async fn compare_challenges(
    snapshot: &Snapshot,
    counted: &Counted<'_>,
    begin: Begin,
    goals: &Goals,
) {
    let shown = snapshot
        .value("select public.get_challenges_today()::text", &[])
        .await;
    let day = day_of(&shown["date"]).expect("a day");
    let today = local_date(now_millis(), counted.minutes);
    assert!(
        day == today || day + Days::new(1) == today,
        "{}: {day} is not today",
        counted.id
    );
    assert_eq!(
        shown_progress(array(&shown["challenges"])),
        progress(counted, begin, goals, day),
        "{}: challenges of {day}",
        counted.id
    );
}

/// The history, page by page: each day with counted entries, newest first, none twice.
async fn compare_days(snapshot: &Snapshot, counted: &Counted<'_>, begin: Begin, goals: &Goals) {
    let who = counted.id;
    let mut seen: Vec<(NaiveDate, String, i64, i64)> = Vec::new();
    let mut cursor: Option<String> = None;
    loop {
        let page = snapshot
            .value(
                "select public.get_challenge_history(7, $1::text)::text",
                &[&cursor],
            )
            .await;
        for one in array(&page["history"]) {
            let (value, earned) = shown_progress(std::slice::from_ref(one))
                .into_values()
                .next()
                .expect("one");
            let day = day_of(&one["date"]).expect("a day");
            seen.push((day, text(&one["challenge_type"]), value, earned));
        }
        cursor = page["next_cursor"].as_str().map(str::to_owned);
        if cursor.is_none() {
            break;
        }
        assert!(!array(&page["history"]).is_empty(), "{who}: an empty page");
    }
    assert!(
        seen.is_sorted_by(|one, next| one.0 >= next.0),
        "{who}: newest day first"
    );
    let days: BTreeSet<NaiveDate> = counted
        .entries
        .iter()
        .filter(|entry| !entry.imported && entry.day >= begin.day)
        .map(|entry| entry.day)
        .collect();
    let mut expected: Vec<(NaiveDate, String, i64, i64)> = Vec::new();
    for day in days {
        for (kind, (value, earned)) in progress(counted, begin, goals, day) {
            expected.push((day, kind, value, earned));
        }
    }
    seen.sort();
    assert_eq!(seen, expected, "{who}: history of challenges");
}

fn array(value: &Value) -> &Vec<Value> {
    value
        .as_array()
        .unwrap_or_else(|| panic!("a list, not {value}"))
}

fn text(value: &Value) -> String {
    value
        .as_str()
        .unwrap_or_else(|| panic!("a text, not {value}"))
        .to_owned()
}

fn integer(value: &Value) -> i64 {
    value
        .as_i64()
        .unwrap_or_else(|| panic!("a whole number, not {value}"))
}

fn milli(value: &Value) -> i64 {
    decimal(&value.to_string(), 3).unwrap_or_else(|| panic!("a decimal, not {value}"))
}
