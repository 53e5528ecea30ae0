//! Compares every board, page by page and around each user, with a count of all entries.

use std::collections::{BTreeMap, BTreeSet};

use carbon_tests::boards::{Board, Country, Standing, Sum, TIMEFRAMES, period};
use carbon_tests::earned::day_of;
use carbon_tests::figures::{decimal, local_date};
use chrono::DateTime;
use serde_json::{Value, json};

use crate::diary::ZONES;
use crate::snapshot::Snapshot;

/// All users' days computed from the entries, who is listed, and the sums of the ledgers.
const COUNTRY: &str = "select jsonb_build_object(
    'sums', (select coalesce(jsonb_agg(jsonb_build_array(s.user_id, s.local_date, s.province, s.credits)), '[]') from (
      select e.user_id, e.local_date, e.province, sum(e.carbon_credits) as credits
      from public.waste_entries as e join public.profiles as p on p.id = e.user_id group by 1, 2, 3) as s),
    'listed', (select coalesce(jsonb_agg(p.id), '[]') from public.profiles as p
      where p.privacy_level < 3 and p.visible_in_leaderboard and not p.is_anonymous and p.closed_until is null
        and not exists (select from private.board_exclusions as x where x.user_id = p.id)),
    'privacy', (select coalesce(jsonb_agg(jsonb_build_array(p.id, p.privacy_level)), '[]') from public.profiles as p),
    'friends', (select coalesce(jsonb_agg(jsonb_build_array(f.low_id, f.high_id)), '[]') from private.friend_pairs as f where f.state = 'accepted'),
    'blocks', (select coalesce(jsonb_agg(jsonb_build_array(b.blocker_id, b.blocked_id)), '[]') from public.user_blocks as b),
    'excluded', (select coalesce(jsonb_agg(x.user_id), '[]') from private.board_exclusions as x),
    'rewards', (select coalesce(jsonb_agg(jsonb_build_array(r.user_id, r.credits)), '[]') from (
      select x.user_id, sum(x.credits) as credits from private.rewards as x group by 1) as r))::text";

/// One page of a board.
const PAGE: &str = "select public.get_leaderboard($1::text, $2::text, $3::text, null, $4::text::integer, $5::text, $6::boolean)::text";

/// Which board.
#[derive(Clone, Debug)]
struct Which {
    timeframe: &'static str,
    province: Option<String>,
    of_friends: bool,
}

/// How people stand to one another, counted from the pairs and blocks.
struct People {
    privacy: BTreeMap<String, i64>,
    /// In both directions.
    friends: BTreeSet<(String, String)>,
    /// In both directions.
    blocked: BTreeSet<(String, String)>,
}

impl People {
    fn of(facts: &Value) -> Self {
        let both = |name: &str| {
            let pairs = facts[name].as_array().expect("pairs");
            let pair = |row: &Value| (text(&row[0]), text(&row[1]));
            pairs
                .iter()
                .map(pair)
                .flat_map(|(one, other)| [(one.clone(), other.clone()), (other, one)])
                .collect()
        };
        let privacy = facts["privacy"].as_array().expect("levels");
        let level = |row: &Value| (text(&row[0]), row[1].as_i64().expect("a level"));
        Self {
            privacy: privacy.iter().map(level).collect(),
            friends: both("friends"),
            blocked: both("blocks"),
        }
    }

    fn are(pairs: &BTreeSet<(String, String)>, viewer: Option<&str>, user: &str) -> bool {
        viewer.is_some_and(|viewer| pairs.contains(&(viewer.to_owned(), user.to_owned())))
    }

    fn is_friend(&self, viewer: Option<&str>, user: &str) -> bool {
        Self::are(&self.friends, viewer, user)
    }

    fn is_masked(&self, viewer: Option<&str>, user: &str) -> bool {
        let by_choice = self.privacy[user] == 2 && !self.is_friend(viewer, user);
        viewer != Some(user) && (by_choice || Self::are(&self.blocked, viewer, user))
    }

    fn seen_by<'a>(&'a self, id: Option<&'a str>) -> Viewer<'a> {
        Viewer { people: self, id }
    }

    /// The user and their friends.
    fn circle(&self, user: &str) -> BTreeSet<String> {
        let friends = self.friends.iter().filter(|pair| pair.0 == user);
        let ids = friends.map(|pair| pair.1.clone());
        ids.chain([user.to_owned()]).collect()
    }
}

/// Who reads a board; a signed-out visitor has no id.
struct Viewer<'a> {
    people: &'a People,
    id: Option<&'a str>,
}

fn text(value: &Value) -> String {
    value.as_str().expect("a text").to_owned()
}

impl Which {
    async fn page(
        &self,
        snapshot: &Snapshot,
        size: usize,
        cursor: Option<&str>,
        around: bool,
    ) -> Value {
        let kind = match (self.of_friends, &self.province) {
            (true, _) => "friends",
            (false, Some(_)) => "province",
            (false, None) => "global",
        };
        let size = size.to_string();
        snapshot
            .value(
                PAGE,
                &[
                    &kind,
                    &self.timeframe,
                    &self.province,
                    &size,
                    &cursor,
                    &around,
                ],
            )
            .await
    }
}

/// Reads the entire country; `excluded` are those of these users whom an operator has excluded from boards.
async fn country(
    snapshot: &Snapshot,
    user_ids: &[String],
    excluded: &BTreeSet<String>,
) -> (Country, People) {
    let facts = snapshot.value(COUNTRY, &[]).await;
    let rows = |name: &str| facts[name].as_array().expect("rows").clone();
    let stored: BTreeSet<String> = rows("excluded").iter().map(text).collect();
    for user_id in user_ids {
        let expected = excluded.contains(user_id);
        assert_eq!(stored.contains(user_id), expected, "{user_id} is excluded");
    }
    let country = Country {
        sums: rows("sums")
            .iter()
            .map(|row| Sum {
                user: text(&row[0]),
                day: day_of(&row[1]).expect("a day"),
                province: row[2].as_str().map(str::to_owned),
                credits: row[3].as_i64().expect("points"),
            })
            .collect(),
        listed: rows("listed").iter().map(text).collect(),
        rewards: rows("rewards")
            .iter()
            .map(|row| (text(&row[0]), row[1].as_i64().expect("points")))
            .collect(),
    };
    (country, People::of(&facts))
}

/// Asserts that every board shows exactly what a count yields, to a signed-out visitor and to these users.
pub async fn compare(
    snapshot: &Snapshot,
    round: usize,
    user_ids: &[String],
    excluded: &BTreeSet<String>,
) {
    let (country, people) = country(snapshot, user_ids, excluded).await;
    let mut provinces: Vec<Option<String>> = vec![None];
    provinces.extend(country.provinces().into_iter().map(Some));
    let mut turn = round;
    for timeframe in TIMEFRAMES {
        for province in &provinces {
            let which = Which {
                timeframe,
                province: province.clone(),
                of_friends: false,
            };
            // Half of the users on this board, the other half on the next one and in the next round: all would take too long.
            let skipped = turn % 2;
            let shown: Vec<&String> = user_ids.iter().skip(skipped).step_by(2).collect();
            compare_board(snapshot, &country, &people, &which, &shown).await;
            turn += 1;
        }
    }
}

async fn compare_board(
    snapshot: &Snapshot,
    country: &Country,
    people: &People,
    which: &Which,
    user_ids: &[&String],
) {
    snapshot.read_as(None).await;
    let first = which.page(snapshot, 1, None, false).await;
    let as_of = DateTime::parse_from_rfc3339(first["as_of"].as_str().expect("as_of"));
    let today = local_date(as_of.expect("a time").timestamp_millis(), ZONES[0].minutes);
    let of = |back| {
        country.board(
            which.province.as_deref(),
            period(which.timeframe, today, back),
        )
    };
    let board = of(0);
    let earlier = (which.timeframe != "all_time").then(|| of(1));
    compare_pages(snapshot, &board, &people.seen_by(None), which).await;
    for (place, user_id) in user_ids.iter().enumerate() {
        snapshot.read_as(Some(user_id)).await;
        // A page of another size around each user; in an even one the user is the earlier of the two in the middle.
        let size = 1 + place % 9;
        let page = which.page(snapshot, size, None, true).await;
        compare_own(
            &page["current_user"],
            &board,
            earlier.as_ref(),
            user_id,
            which,
        );
        compare_around(&page, &board, &people.seen_by(Some(user_id)), size, which);
        if which.province.is_none() {
            compare_friends(
                snapshot,
                &board,
                earlier.as_ref(),
                &people.seen_by(Some(user_id)),
                which,
            )
            .await;
        }
    }
    snapshot.read_as_superuser().await;
}

/// The board of a user and their friends.
async fn compare_friends(
    snapshot: &Snapshot,
    board: &Board,
    earlier: Option<&Board>,
    viewer: &Viewer<'_>,
    which: &Which,
) {
    let user_id = viewer.id.expect("signed in");
    let circle = viewer.people.circle(user_id);
    let of_friends = Which {
        of_friends: true,
        ..which.clone()
    };
    let board = board.among(&circle);
    let earlier = earlier.map(|board| board.among(&circle));
    compare_pages(snapshot, &board, viewer, &of_friends).await;
    let page = of_friends.page(snapshot, 4, None, true).await;
    let own = &page["current_user"];
    compare_own(own, &board, earlier.as_ref(), user_id, &of_friends);
    compare_around(&page, &board, viewer, 4, &of_friends);
}

/// All pages together hold every listed user exactly once, in order, with their ranks.
async fn compare_pages(snapshot: &Snapshot, board: &Board, viewer: &Viewer<'_>, which: &Which) {
    let expected = board.rows();
    let mut seen = Vec::new();
    let mut cursor: Option<String> = None;
    // Small pages, so that cursors fall between users who share a score.
    let size = (expected.len() / 5).clamp(1, 100);
    loop {
        let page = which.page(snapshot, size, cursor.as_deref(), false).await;
        seen.extend(page["leaderboard"].as_array().expect("rows").clone());
        cursor = page["next_cursor"].as_str().map(str::to_owned);
        if cursor.is_none() || seen.len() > expected.len() {
            break;
        }
    }
    assert_eq!(seen.len(), expected.len(), "{which:?}: users listed");
    for (row, (rank, user, credits)) in seen.iter().zip(&expected) {
        compare_row(row, *rank, user, *credits, viewer, which);
    }
}

fn compare_row(
    row: &Value,
    rank: i64,
    user: &str,
    credits: i64,
    viewer: &Viewer<'_>,
    which: &Which,
) {
    let masked = viewer.people.is_masked(viewer.id, user);
    let is_friend = viewer.people.is_friend(viewer.id, user);
    let whose = (!masked).then_some(user);
    let seen = json!([
        row["rank"],
        row["user_id"],
        row["credits"],
        row["masked"],
        row["is_friend"]
    ]);
    let expected = json!([rank, whose, credits, masked, is_friend]);
    let id = viewer.id;
    assert_eq!(seen, expected, "{which:?} for {id:?}: {row} of {user}");
    assert!(!masked || row["display_name"].is_null(), "{which:?}: {row}");
}

fn compare_own(
    shown: &Value,
    board: &Board,
    earlier: Option<&Board>,
    user_id: &str,
    which: &Which,
) {
    let own = board.standing(user_id);
    let seen = Standing {
        rank: shown["rank"].as_i64(),
        credits: shown["credits"].as_i64().expect("points"),
        percentile: decimal(&shown["percentile"].to_string(), 2),
    };
    assert_eq!(seen, own, "{which:?}: {user_id}: {shown}");
    let before = earlier.and_then(|board| board.standing(user_id).rank);
    let change = before.and_then(|before| own.rank.map(|rank| before - rank));
    assert_eq!(
        shown["rank_change"],
        json!(change),
        "{which:?}: {user_id} was {before:?}: {shown}"
    );
}

/// The rows around a user. A user who is not listed sees their own row among the listed ones.
fn compare_around(page: &Value, board: &Board, viewer: &Viewer<'_>, size: usize, which: &Which) {
    let user_id = viewer.id.expect("signed in");
    let own = board.standing(user_id);
    let shown = page["leaderboard"].as_array().expect("rows");
    let Some(rank) = own.rank else {
        assert!(shown.is_empty(), "{which:?}: {user_id}: {shown:?}");
        return;
    };
    let mut rows = board.rows();
    if !rows.iter().any(|row| row.1 == user_id) {
        rows.push((rank, user_id.to_owned(), own.credits));
        rows.sort_by(|one, other| other.2.cmp(&one.2).then_with(|| one.1.cmp(&other.1)));
    }
    let place = rows.iter().position(|row| row.1 == user_id).expect("there");
    let first = place.saturating_sub(size / 2);
    let last = (place + (size - 1) / 2).min(rows.len() - 1);
    let expected = &rows[first..=last];
    assert_eq!(shown.len(), expected.len(), "{which:?}: about {user_id}");
    for (row, (rank, user, credits)) in shown.iter().zip(expected) {
        compare_row(row, *rank, user, *credits, viewer, which);
    }
}
