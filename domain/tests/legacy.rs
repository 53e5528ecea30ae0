//! Old diaries: no input makes the parser panic or miscount.

use carbon_domain::legacy::{MAX_LISTED, Migration, fuzz, parse};
use carbon_domain::time::parse_instant;
use chrono::{DateTime, Utc};
use proptest::prelude::*;
use serde_json::{Value, json};

fn now() -> DateTime<Utc> {
    parse_instant("2024-06-15T12:00:00Z").unwrap()
}

fn read(payload: &str) -> Migration {
    let migration = parse(payload, now()).unwrap();
    check(&migration);
    migration
}

fn check(migration: &Migration) {
    let accepted = migration.entries.len() as u64;
    assert_eq!(
        migration.received,
        accepted + migration.duplicates + migration.rejected_count
    );
    assert_eq!(
        migration.rejected.len() as u64,
        migration.rejected_count.min(MAX_LISTED as u64)
    );
    assert_eq!(
        migration.adjusted.len() as u64,
        migration.adjusted_count.min(MAX_LISTED as u64)
    );
    let text = serde_json::to_string(migration).unwrap();
    assert!(!text.contains("\\u0000"), "PostgreSQL cannot store U+0000");
}

fn dump(key: &str, text: &str) -> String {
    json!({"local_storage": {key: text}}).to_string()
}

#[test]
fn counts_are_whole_and_lists_are_capped() {
    let many = format!("[{}1]", "{},".repeat(200_000));
    let migration = read(&dump("wasteEntries", &many));
    assert_eq!(
        (migration.received, migration.rejected_count),
        (200_001, 200_001)
    );
    assert_eq!(migration.rejected.len(), MAX_LISTED);
}

#[test]
fn adjustments_are_counted_beyond_the_list() {
    let entry = |id: usize| {
        json!({"id": id, "categoryId": "food_waste", "disposal": "composted", "weight": 1, "notes": "a\0b",
            "timestamp": "2024-06-01T01:30:00Z"})
    };
    let entries: Vec<Value> = (0..1_500).map(entry).collect();
    let migration = read(&dump("wasteEntries", &json!(entries).to_string()));
    assert_eq!(
        (migration.adjusted_count, migration.adjusted.len()),
        (1_500, MAX_LISTED)
    );
    assert_eq!(
        migration.entries[1_499].columns.notes.as_deref(),
        Some("ab")
    );
    let again = json!({"local_storage": {"wasteEntries": json!(entries).to_string(),
        "recentWasteEntries": json!(entries[..50]).to_string()}});
    assert_eq!(read(&again.to_string()).duplicates, 50);
}

#[test]
fn what_waits_to_be_sent_is_an_entry_or_holds_one_as_data() {
    let food = json!({"id": "a", "categoryId": "food_waste", "disposal": "composted", "weight": 1,
        "timestamp": "2024-06-01T01:30:00Z"});
    let cans = json!({"id": "b", "categoryId": "metal_cans", "disposal": "recycled", "weight": 1,
        "timestamp": "2024-06-01T01:30:00Z"});
    let mut both = food.clone();
    both["data"] = cans.clone();
    let wrapped = json!({"action": "create", "data": cans});
    for (key, entry, category) in [
        ("pending-sync", &food, Some("food_waste")),
        ("pending-sync", &wrapped, Some("metal_cans")),
        // An item that has a category itself is the entry, even if it also has a member `data`.
        ("pending-sync", &both, Some("food_waste")),
        ("wasteEntries", &both, Some("food_waste")),
        ("wasteEntries", &wrapped, None),
    ] {
        let migration = read(&dump(key, &json!([entry]).to_string()));
        let first = migration.entries.first();
        assert_eq!(
            first.map(|entry| entry.columns.category_id),
            category,
            "{key} {entry}"
        );
    }
}

#[test]
fn depth_costs_no_stack() {
    let deep = format!("{}{}", "[".repeat(1_000_000), "]".repeat(1_000_000));
    assert_eq!(read(&dump("wasteEntries", &deep)).rejected_count, 1);
    assert_eq!(
        read(&dump("wasteEntries", &deep[1..]))
            .unreadable_keys
            .len(),
        1
    );
    let deep = format!("{}1{}", r#"{"a":"#.repeat(500_000), "}".repeat(500_000));
    assert_eq!(
        read(&format!(r#"{{"waste_entries":[{deep}],"x":{deep}}}"#)).rejected_count,
        1
    );
}

#[test]
fn claims_are_bounded() {
    let stats: serde_json::Map<String, Value> =
        (0..500).map(|at| (format!("n{at}"), json!(at))).collect();
    let ids: Vec<String> = (0..500)
        .map(|at| format!("{at}{}", "x".repeat(500)))
        .collect();
    let payload = json!({"local_storage": {"carbon-pixels-user-stats": json!(stats).to_string(),
        "carbon-pixels-daily-streak": "{\"current\":\"7\"}",
        "carbon-pixels-achievements": json!(ids).to_string()}});
    let migration = read(&payload.to_string());
    assert_eq!(
        migration.claims["carbon-pixels-user-stats"]
            .as_object()
            .unwrap()
            .len(),
        20
    );
    assert!(!migration.claims.contains_key("carbon-pixels-daily-streak"));
    let claimed = migration.achievements_claimed.unwrap();
    assert_eq!((claimed.len(), claimed[0].len()), (100, 64));
}

#[test]
fn an_achievement_is_claimed_once_and_by_a_name() {
    let ids = json!(["first_scan", "", "first_scan", "tree_saver"]);
    let migration = read(&dump("carbon-pixels-achievements", &ids.to_string()));
    let claimed = migration.achievements_claimed.unwrap();
    assert_eq!(claimed, ["first_scan", "tree_saver"]);
}

#[test]
fn push_categories_are_known_by_every_name_the_app_had_for_them() {
    for (category, names) in [
        (
            "daily_reminder",
            &["daily_reminder", "dailyReminder", "dailyReminders"][..],
        ),
        (
            "achievement_unlocked",
            &[
                "achievement_unlocked",
                "achievementUnlocked",
                "achievements",
            ],
        ),
        ("level_up", &["level_up", "levelUp"]),
        (
            "friend_activity",
            &["friend_activity", "friendActivity", "friends"],
        ),
        (
            "challenge_complete",
            &["challenge_complete", "challengeComplete", "challenges"],
        ),
        (
            "community_milestone",
            &["community_milestone", "communityMilestone", "community"],
        ),
    ] {
        for name in names {
            let switches = json!({*name: false, "time": true, "sound": true});
            let migration = read(&dump("notificationPreferences", &switches.to_string()));
            assert_eq!(
                migration.preferences["notification_settings"],
                json!({category: false}),
                "{name}"
            );
        }
    }
}

#[test]
fn a_key_that_holds_nothing_is_as_one_that_is_not_there() {
    for key in [
        "wasteEntries",
        "pending-sync",
        "carbonCredits",
        "carbon_credits_v2",
        "carbon-pixels-user-stats",
        "carbon-pixels-achievements",
        "notificationPreferences",
        "userPreferences",
        "onboarding_completed",
    ] {
        let migration = read(&json!({"local_storage": {key: null}}).to_string());
        let nothing = read(r#"{"local_storage": {}}"#);
        assert_eq!(
            serde_json::to_string(&migration).unwrap(),
            serde_json::to_string(&nothing).unwrap(),
            "{key}"
        );
    }
}

#[test]
fn what_is_no_device_id_is_left_out() {
    for bad in [json!(7), json!(""), json!("x".repeat(101))] {
        let payload = json!({"local_storage": {}, "device_id": bad});
        assert_eq!(read(&payload.to_string()).device_id, None);
    }
}

#[test]
fn members_of_the_wrong_kind_are_refused_or_passed_over() {
    let entry = |name: &str, value: Value| {
        let mut entry = json!({"category_id": "food_waste", "disposal_method": "composted", "weight_kg": 1,
            "logged_at": "2024-06-01T01:30:00Z"});
        entry[name] = value;
        entry
    };
    let point = json!({"latitude": 1, "longitude": 2, "accuracy": 3});
    let payload = json!({"waste_entries": [entry("image_id", json!(1)), entry("device_id", json!(1)),
        entry("location", point), entry("disposal_method", json!("animalFeed"))]});
    let migration = read(&payload.to_string());
    let reasons: Vec<_> = migration
        .rejected
        .iter()
        .map(|rejected| rejected.error.code())
        .collect();
    assert_eq!(reasons, ["image_id_invalid", "device_id_invalid"]);
    assert_eq!(
        migration.entries[0]
            .columns
            .location_lng
            .unwrap()
            .to_string(),
        "2"
    );
    assert_eq!(migration.entries[1].columns.disposal_method, "animal_feed");
}

/// Any JSON, mixed with names and values that the parser knows.
fn any_json() -> impl Strategy<Value = String> {
    let word = proptest::sample::select(vec![
        "\"food_waste\"",
        "\"paper\"",
        "\"composted\"",
        "\"animalFeed\"",
        "\"2024-06-01T01:30:00Z\"",
        "1.5",
        "-0",
        "1e999999999",
        "0.0095",
        "null",
        "true",
        "\"\"",
        "\"\\u0000\"",
        "\"\\ud83d\"",
        "\"1717205400000\"",
        "1717205400000",
        "\"ก\"",
    ]);
    let leaf = prop_oneof![
        word.prop_map(str::to_owned),
        any::<f64>().prop_map(|number| json!(number).to_string()),
        "\\PC{0,8}".prop_map(|text| json!(text).to_string())
    ];
    let name = proptest::sample::select(vec![
        "id",
        "categoryId",
        "disposal",
        "weight",
        "timestamp",
        "notes",
        "location",
        "data",
        "offline_id",
        "category_id",
        "disposal_method",
        "weight_kg",
        "logged_at",
        "place",
        "latitude",
        "longitude",
        "image_id",
        "device_id",
        "theme",
        "language",
        "notifications",
        "__proto__",
        "local_storage",
        "waste_entries",
        "user_preferences",
        "carbon_credits",
        "achievements",
        "onboarding_completed",
        "\\ud800",
        "\\u0000",
    ]);
    leaf.prop_recursive(4, 64, 8, move |inner| {
        let members = proptest::collection::vec((name.clone(), inner.clone()), 0..8);
        prop_oneof![
            proptest::collection::vec(inner, 0..6).prop_map(|list| format!("[{}]", list.join(","))),
            members.prop_map(|members| {
                let members = members
                    .into_iter()
                    .map(|(name, value)| format!("\"{name}\":{value}"));
                format!("{{{}}}", members.collect::<Vec<_>>().join(","))
            }),
        ]
    })
}

fn any_key() -> impl Strategy<Value = &'static str> {
    proptest::sample::select(vec![
        "wasteEntries",
        "carbon-pixels-waste-entries",
        "waste_entries_v2",
        "recentWasteEntries",
        "pending-sync",
        "carbonCredits",
        "carbon_credits_v2",
        "carbon-pixels-user-stats",
        "carbon-pixels-achievements",
        "carbon-pixels-daily-streak",
        "userPreferences",
        "notificationPreferences",
        "carbon-pixels-preferences",
        "onboarding_completed",
        "theme",
    ])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn no_bytes_break_the_parser(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        fuzz(&bytes);
    }

    #[test]
    fn no_json_breaks_the_parser(payload in any_json(), key in any_key()) {
        fuzz(payload.as_bytes());
        fuzz(format!(r#"{{"waste_entries":[{payload}],"user_preferences":{payload},"achievements":{payload}}}"#).as_bytes());
        let stored = dump(key, &payload);
        fuzz(stored.as_bytes());
        check(&parse(&stored, now()).unwrap());
        check(&parse(&dump(key, &format!("[{payload},{payload}]")), now()).unwrap());
    }

    #[test]
    fn a_truncated_dump_never_breaks_the_parser(payload in any_json(), cut in any::<proptest::sample::Index>()) {
        let ends: Vec<usize> = payload.char_indices().map(|(at, _)| at).collect();
        let cut = if ends.is_empty() { 0 } else { ends[cut.index(ends.len())] };
        check(&parse(&dump("wasteEntries", &payload[..cut]), now()).unwrap());
    }

    #[test]
    fn importing_a_diary_again_finds_only_duplicates(weights in proptest::collection::vec(1_u32..20, 1..30)) {
        let entry = |weight: &u32| json!({"id": weight % 3, "categoryId": "food_waste", "disposal": "composted",
            "weight": weight, "timestamp": "2024-06-01T01:30:00Z"});
        let list = json!(weights.iter().map(entry).collect::<Vec<_>>()).to_string();
        let once = read(&dump("wasteEntries", &list));
        let both = json!({"local_storage": {"wasteEntries": list, "waste_entries_v2": list}}).to_string();
        let twice = read(&both);
        prop_assert_eq!(&once.entries, &twice.entries);
        prop_assert_eq!(twice.duplicates, once.duplicates + once.received);
    }
}
