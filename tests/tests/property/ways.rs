//! Carries an operation out through its interface and parses the answer into an outcome. Answers that the contract does not
//! allow panic.

use chrono::{DateTime, SecondsFormat};
use serde_json::{Map, Number, Value, json};

use crate::diary::{Content, ZONES};
use crate::operation::{Change, Fate, Old, Operation, Outcome, Report, Sent, Way};
use crate::person::{ClientReply, Person};

/// Carries the operation out and returns its outcome.
pub async fn execute(person: &Person, operation: &Operation) -> Outcome {
    match operation {
        Operation::Create { way, entry } => create(person, *way, entry).await,
        Operation::Batch { way, entries } => batch(person, *way, entries).await,
        Operation::InsertMany { way, entries } => insert_rows(person, *way, entries).await,
        Operation::Update { way, id, change } => update(person, *way, id, change).await,
        Operation::UpdateMany { way, ids, change } => update_rows(person, *way, ids, change).await,
        Operation::Delete { way, id } => delete(person, *way, id).await,
        Operation::DeleteMany { way, ids } => delete_rows(person, *way, ids).await,
        Operation::Migrate {
            way,
            entries,
            normalised,
            dry_run,
        } => migrate(person, *way, entries, *normalised, *dry_run).await,
        Operation::RollBack { way, batch } => roll_back(person, *way, batch).await,
        Operation::Zone { index } => {
            let answer = person
                .edge(
                    "PUT",
                    "/user/profile",
                    Some(&json!({ "time_zone": ZONES[*index].name })),
                )
                .await;
            assert_eq!(answer.status, 200, "{answer:?}");
            Outcome::Done
        }
    }
}

async fn create(person: &Person, way: Way, entry: &Sent) -> Outcome {
    if matches!(way, Way::RestTable | Way::SqlTable) {
        return insert_rows(person, way, std::slice::from_ref(entry)).await;
    }
    let sent = entry_in(entry);
    let answer = match way {
        Way::Edge => person.edge("POST", "/waste/entries", Some(&sent)).await,
        Way::RestRpc => {
            person
                .rest(
                    "POST",
                    "rpc/create_waste_entry",
                    Some(&json!({ "entry": sent })),
                )
                .await
        }
        _ => {
            person
                .sql(
                    "select public.create_waste_entry(json_build_object('entry', $1::text::jsonb))::text",
                    &[&sent.to_string()],
                )
                .await
        }
    };
    assert!(
        answer.status == 200 || answer.status == 201,
        "{sent}: {answer:?}"
    );
    if answer.body["duplicate"] == json!(true) {
        return Outcome::Entries {
            fates: vec![Fate::Duplicate {
                id: Some(text(&answer.body["id"])),
            }],
            revision: None,
        };
    }
    let fate = Fate::Created {
        id: text(&answer.body["id"]),
    };
    Outcome::Entries {
        fates: vec![fate],
        revision: Some(integer(&answer.body["revision"])),
    }
}

async fn batch(person: &Person, way: Way, entries: &[Sent]) -> Outcome {
    let sent: Vec<Value> = entries.iter().map(entry_in).collect();
    let body = json!({ "entries": sent });
    let answer = match way {
        Way::Edge => {
            person
                .edge("POST", "/waste/entries/batch", Some(&body))
                .await
        }
        Way::RestRpc => {
            person
                .rest("POST", "rpc/create_waste_entries", Some(&body))
                .await
        }
        _ => {
            person
                .sql(
                    "select public.create_waste_entries(json_build_object('entries', $1::text::jsonb))::text",
                    &[&body["entries"].to_string()],
                )
                .await
        }
    };
    assert_eq!(answer.status, 200, "{answer:?}");
    let lines = answer.body["entries"].as_array().expect("lines");
    let fates = lines.iter().map(|line| match line["status"].as_str() {
        Some("created") => Fate::Created {
            id: text(&line["id"]),
        },
        Some("duplicate") => Fate::Duplicate {
            id: Some(text(&line["id"])),
        },
        _ => Fate::Refused,
    });
    Outcome::Entries {
        fates: fates.collect(),
        revision: None,
    }
}

async fn insert_rows(person: &Person, way: Way, entries: &[Sent]) -> Outcome {
    let rows: Vec<Value> = entries.iter().map(entry_in).collect();
    let rows = Value::Array(rows);
    let answer = match way {
        Way::RestTable => {
            person
                .rest("POST", "waste_entries?select=id", Some(&rows))
                .await
        }
        _ => person.sql(INSERT_ROWS, &[&rows.to_string()]).await,
    };
    let fates = match answer.status {
        200 | 201 => ids(&answer)
            .into_iter()
            .map(|id| Fate::Created { id })
            .collect(),
        409 => vec![Fate::Duplicate { id: None }; entries.len()],
        _ => panic!("{rows}: {answer:?}"),
    };
    Outcome::Entries {
        fates,
        revision: None,
    }
}

pub const INSERT_ROWS: &str = "with made as (
    insert into public.waste_entries (category_id, disposal_method, weight_kg, logged_at, offline_id)
    select x.category_id, x.disposal_method, x.weight_kg, x.logged_at, x.offline_id
    from jsonb_to_recordset($1::text::jsonb) as x (category_id text, disposal_method text, weight_kg numeric, logged_at timestamptz, offline_id text)
    returning id, logged_at, weight_kg)
  select jsonb_agg(jsonb_build_object('id', id, 'at', logged_at, 'kg', weight_kg))::text from made";

async fn update(person: &Person, way: Way, id: &str, change: &Change) -> Outcome {
    if matches!(way, Way::RestTable | Way::SqlTable) {
        return update_rows(person, way, &[id.to_owned()], change).await;
    }
    let changes = changes(change);
    let answer = match way {
        Way::Edge => {
            person
                .edge("PUT", &format!("/waste/entries/{id}"), Some(&changes))
                .await
        }
        Way::RestRpc => {
            person
                .rest(
                    "POST",
                    "rpc/update_waste_entry",
                    Some(&json!({ "entry_id": id, "changes": changes })),
                )
                .await
        }
        _ => person.sql(UPDATE, &[&id, &changes.to_string()]).await,
    };
    changed(&answer)
}

async fn delete(person: &Person, way: Way, id: &str) -> Outcome {
    let answer = match way {
        Way::Edge => {
            person
                .edge("DELETE", &format!("/waste/entries/{id}"), None)
                .await
        }
        Way::RestRpc => {
            person
                .rest(
                    "POST",
                    "rpc/delete_waste_entry",
                    Some(&json!({ "entry_id": id })),
                )
                .await
        }
        Way::SqlRpc => {
            person
                .sql(
                    "select public.delete_waste_entry($1::text::uuid)::text",
                    &[&id],
                )
                .await
        }
        _ => return delete_rows(person, way, &[id.to_owned()]).await,
    };
    changed(&answer)
}

fn changed(answer: &ClientReply) -> Outcome {
    match answer.status {
        200 => Outcome::Changed {
            ids: vec![text(&answer.body["id"])],
            revision: Some(integer(&answer.body["revision"])),
        },
        404 => Outcome::NotFound,
        _ => panic!("{answer:?}"),
    }
}

async fn update_rows(person: &Person, way: Way, targets: &[String], change: &Change) -> Outcome {
    let changes = changes(change);
    let answer = match way {
        Way::RestTable => {
            person
                .rest(
                    "PATCH",
                    &format!("waste_entries?select=id&id=in.({})", targets.join(",")),
                    Some(&changes),
                )
                .await
        }
        _ => {
            person
                .sql(UPDATE_ROWS, &[&targets.join(","), &changes.to_string()])
                .await
        }
    };
    assert_eq!(answer.status, 200, "{answer:?}");
    Outcome::Changed {
        ids: ids(&answer),
        revision: None,
    }
}

pub const UPDATE_ROWS: &str = "with made as (
    update public.waste_entries as e
    set weight_kg = coalesce(x.weight_kg, e.weight_kg), logged_at = coalesce(x.logged_at, e.logged_at),
        category_id = coalesce(x.category_id, e.category_id), disposal_method = coalesce(x.disposal_method, e.disposal_method)
    from jsonb_to_record($2::text::jsonb) as x (category_id text, disposal_method text, weight_kg numeric, logged_at timestamptz)
    where e.id = any (string_to_array($1, ',')::uuid[])
    returning e.id)
  select coalesce(jsonb_agg(jsonb_build_object('id', id)), '[]')::text from made";

async fn delete_rows(person: &Person, way: Way, targets: &[String]) -> Outcome {
    let answer = match way {
        Way::RestTable => {
            person
                .rest(
                    "DELETE",
                    &format!("waste_entries?select=id&id=in.({})", targets.join(",")),
                    None,
                )
                .await
        }
        _ => person.sql(DELETE_ROWS, &[&targets.join(",")]).await,
    };
    assert_eq!(answer.status, 200, "{answer:?}");
    Outcome::Changed {
        ids: ids(&answer),
        revision: None,
    }
}

/// A change of one entry by its id and the changes.
pub const UPDATE: &str = "select public.update_waste_entry(
    json_build_object('entry_id', $1::text, 'changes', $2::text::json))::text";

pub const DELETE_ROWS: &str = "with made as (
    delete from public.waste_entries where id = any (string_to_array($1, ',')::uuid[]) returning id)
  select coalesce(jsonb_agg(jsonb_build_object('id', id)), '[]')::text from made";

async fn migrate(
    person: &Person,
    way: Way,
    entries: &[Old],
    normalised: bool,
    dry_run: bool,
) -> Outcome {
    let payload = if normalised {
        normalised_payload(entries)
    } else {
        raw_dump(entries)
    };
    let answer = loop {
        let answer = match way {
            Way::Edge => {
                person
                    .edge(
                        "POST",
                        &format!("/user/migrate-local?dry_run={dry_run}"),
                        Some(&payload),
                    )
                    .await
            }
            Way::RestRpc => {
                let body = json!({ "payload": payload.to_string(), "dry_run": dry_run });
                person.rest("POST", "rpc/migrate_local", Some(&body)).await
            }
            _ => {
                person
                    .sql(
                        "select public.migrate_local($1, $2)::text",
                        &[&payload.to_string(), &dry_run],
                    )
                    .await
            }
        };
        if !answer.must_be_repeated().await {
            break answer;
        }
    };
    assert_eq!(answer.status, 200, "{answer:?}");
    let body = &answer.body;
    let mut report = Report {
        batch: body["batch_id"].as_str().unwrap_or_default().to_owned(),
        received: integer(&body["received_entries"]),
        migrated: integer(&body["migrated_entries"]),
        duplicate: integer(&body["duplicate_entries"]),
        rejected: integer(&body["rejected_entries"]),
        credits: integer(&body["credits_imported"]),
        added: Vec::new(),
    };
    if !dry_run && report.migrated > 0 {
        report.added = added_by(person, &report.batch).await;
    }
    Outcome::Report(report)
}

async fn added_by(person: &Person, batch: &str) -> Vec<(String, Content, Option<String>)> {
    let statement = "select jsonb_agg(jsonb_build_object('id', id, 'category', category_id, 'method', disposal_method,
        'grams', (weight_kg * 1000)::bigint, 'at', (extract(epoch from logged_at) * 1000)::bigint, 'own', coalesce(offline_id, legacy_id)))::text
      from public.waste_entries where user_id = $1::text::uuid and batch_id = $2::text::uuid";
    let found = person.superuser(statement, &[&person.id, &batch]).await;
    let rows = found.as_array().expect("the batch has rows");
    let content = |row: &Value| Content {
        category: text(&row["category"]),
        method: text(&row["method"]),
        grams: integer(&row["grams"]),
        at_millis: integer(&row["at"]),
    };
    rows.iter()
        .map(|row| {
            (
                text(&row["id"]),
                content(row),
                row["own"].as_str().map(str::to_owned),
            )
        })
        .collect()
}

async fn roll_back(person: &Person, way: Way, batch: &str) -> Outcome {
    let answer = loop {
        let answer = match way {
            Way::Edge => {
                person
                    .edge("DELETE", &format!("/user/migrate-local/{batch}"), None)
                    .await
            }
            Way::RestRpc => {
                person
                    .rest(
                        "POST",
                        "rpc/rollback_migration",
                        Some(&json!({ "batch_id": batch })),
                    )
                    .await
            }
            _ => {
                person
                    .sql(
                        "select public.rollback_migration($1::text::uuid)::text",
                        &[&batch],
                    )
                    .await
            }
        };
        if !answer.must_be_repeated().await {
            break answer;
        }
    };
    match answer.status {
        200 => Outcome::RolledBack {
            removed: integer(&answer.body["removed_entries"]),
            credits: integer(&answer.body["credits_removed"]),
        },
        404 => Outcome::NotFound,
        _ => panic!("{answer:?}"),
    }
}

/// Kilograms of grams as a JSON number with its exact text.
fn kilograms(grams: i64) -> Value {
    let (sign, grams) = if grams < 0 {
        ("-", -grams)
    } else {
        ("", grams)
    };
    let number: Number =
        serde_json::from_str(&format!("{sign}{}.{:03}", grams / 1000, grams % 1000))
            .expect("a number");
    Value::Number(number)
}

/// An instant as the app writes it.
fn instant(at_millis: i64) -> String {
    let at = DateTime::from_timestamp_millis(at_millis).expect("an instant of this era");
    at.to_rfc3339_opts(SecondsFormat::Millis, true)
}

pub fn entry_in(entry: &Sent) -> Value {
    let grams = if entry.bad {
        -entry.content.grams
    } else {
        entry.content.grams
    };
    json!({
        "category_id": entry.content.category, "disposal_method": entry.content.method, "weight_kg": kilograms(grams),
        "logged_at": instant(entry.content.at_millis), "offline_id": entry.offline_id,
    })
}

pub fn changes(change: &Change) -> Value {
    let mut changes = Map::new();
    if let Some(grams) = change.grams {
        changes.insert("weight_kg".to_owned(), kilograms(grams));
    }
    if let Some(at_millis) = change.at_millis {
        changes.insert("logged_at".to_owned(), json!(instant(at_millis)));
    }
    if let Some((category, method)) = &change.kind {
        changes.insert("category_id".to_owned(), json!(category));
        changes.insert("disposal_method".to_owned(), json!(method));
    }
    Value::Object(changes)
}

pub fn normalised_payload(entries: &[Old]) -> Value {
    let sent = |old: &Old| {
        entry_in(&Sent {
            content: old.content.clone(),
            offline_id: old.id.clone(),
            bad: old.bad,
        })
    };
    json!({ "waste_entries": entries.iter().map(sent).collect::<Vec<_>>(), "carbon_credits": 1234 })
}

/// The app's localStorage with the entries spread over its keys.
pub fn raw_dump(entries: &[Old]) -> Value {
    let keys = [
        "wasteEntries",
        "carbon-pixels-waste-entries",
        "waste_entries_v2",
        "recentWasteEntries",
    ];
    let mut storage = Map::new();
    for (place, key) in keys.iter().enumerate() {
        let own: Vec<Value> = entries
            .iter()
            .skip(place)
            .step_by(keys.len())
            .map(old_entry)
            .collect();
        storage.insert((*key).to_owned(), json!(Value::Array(own).to_string()));
    }
    json!({ "local_storage": storage })
}

fn old_entry(old: &Old) -> Value {
    let grams = if old.bad {
        -old.content.grams
    } else {
        old.content.grams
    };
    let mut entry = json!({
        "categoryId": old.content.category, "disposal": old.content.method, "weight": kilograms(grams),
        "timestamp": instant(old.content.at_millis), "carbonCredits": 5, "inputMethod": "manual",
    });
    if let Some(id) = &old.id {
        entry["id"] = json!(id);
    }
    entry
}

fn ids(answer: &ClientReply) -> Vec<String> {
    answer
        .body
        .as_array()
        .expect("rows")
        .iter()
        .map(|row| text(&row["id"]))
        .collect()
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
