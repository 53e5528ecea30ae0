//! Attacks that were found to block other users, each as one request to be sent as often as possible.

use anyhow::{Result, bail};
use serde_json::{Value, json};

/// The target of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interface {
    /// The Worker.
    Edge,
    /// The gateway in front of PostgREST and Auth.
    Gateway,
}

/// One request of the attacker; key and token are added.
#[derive(Debug)]
pub struct Request {
    pub interface: Interface,
    pub method: &'static str,
    pub path: String,
    pub headers: &'static [(&'static str, &'static str)],
    pub body: Option<String>,
}

/// One kind of attack.
pub struct Attack {
    pub name: &'static str,
    pub about: &'static str,
    pub connections: usize,
    /// Accounts that share the connections.
    pub accounts: usize,
    /// The request with this number; numbers are never reused.
    pub request: fn(usize) -> Request,
}

/// Every attack, in the order they run.
pub const ATTACKS: &[Attack] = &[
    Attack {
        name: "imports",
        about: "imports of one account wait for one another and hold the pool",
        connections: 25,
        accounts: 1,
        request: |number| import(number, 500, false),
    },
    Attack {
        name: "imports-of-forty",
        about: "the same by forty accounts",
        connections: 40,
        accounts: 40,
        request: |number| import(number, 500, false),
    },
    Attack {
        name: "dry-runs",
        about: "trial imports, which write and take back",
        connections: 10,
        accounts: 1,
        request: |number| import(number, 5000, true),
    },
    Attack {
        name: "edge-imports",
        about: "imports through the Worker",
        connections: 10,
        accounts: 1,
        request: edge_import,
    },
    Attack {
        name: "patterns",
        about: "a query with 700 patterns on notes",
        connections: 20,
        accounts: 1,
        request: |number| patterns(number, 700, 16),
    },
    Attack {
        name: "patterns-in-bounds",
        about: "queries of as many patterns as are allowed, by forty accounts",
        connections: 40,
        accounts: 40,
        request: |number| patterns(number, 18, 60),
    },
    Attack {
        name: "openapi",
        about: "PostgREST's description of everything",
        connections: 20,
        accounts: 1,
        request: |_| rest("GET", "/", None),
    },
    Attack {
        name: "casts",
        about: "notes read as numbers",
        connections: 8,
        accounts: 1,
        request: |_| {
            rest(
                "GET",
                "/waste_entries?select=notes::numeric,notes::bytea",
                None,
            )
        },
    },
    Attack {
        name: "heads",
        about: "HEAD with a count, after which PostgREST closes the connection",
        connections: 20,
        accounts: 1,
        request: |_| Request {
            headers: &[("prefer", "count=exact")],
            ..rest("HEAD", "/waste_entries?select=id", None)
        },
    },
    Attack {
        name: "bodies",
        about: "bodies where none is read",
        connections: 20,
        accounts: 1,
        request: |number| {
            let body = "x".repeat(3000);
            if number % 2 == 0 {
                rest("GET", "/waste_entries?select=id&limit=1", Some(body))
            } else {
                rest(
                    "DELETE",
                    &format!("/waste_entries?id=eq.{}", uuid(number)),
                    Some(body),
                )
            }
        },
    },
    Attack {
        name: "health",
        about: "the Worker's health, which asks every part",
        connections: 20,
        accounts: 1,
        request: |number| Request {
            interface: Interface::Edge,
            path: [
                "/api/v1/health/ready",
                "/api/v1/user/health",
                "/api/v1/waste/health",
            ][number % 3]
                .to_owned(),
            ..rest("GET", "", None)
        },
    },
    Attack {
        name: "idempotency",
        about: "large answers stored under ever new keys",
        connections: 20,
        accounts: 1,
        request: |number| {
            let body = json!({
                "idempotency_key": format!("hostile-{number}"), "request_scope": "POST /sync",
                "request_fingerprint": format!("{number:064x}"), "operation": "sync_changes",
                "arguments": {"since_revision": 0, "max_changes": 500},
            });
            rest("POST", "/rpc/run_once", Some(body.to_string()))
        },
    },
    Attack {
        name: "changes",
        about: "every row of a diary changed in one statement",
        connections: 10,
        accounts: 1,
        request: |number| {
            let body = json!({"notes": format!("{number}")});
            rest(
                "PATCH",
                "/waste_entries?id=not.is.null",
                Some(body.to_string()),
            )
        },
    },
    Attack {
        name: "batches",
        about: "batches of 500 entries",
        connections: 20,
        accounts: 1,
        request: |number| {
            let body = json!({"entries": entries(number, 500)});
            rest("POST", "/rpc/create_waste_entries", Some(body.to_string()))
        },
    },
    Attack {
        name: "boards",
        about: "reads of boards and profiles, as quick as they come, by forty accounts",
        connections: 40,
        accounts: 40,
        request: |number| match number % 2 {
            0 => rest(
                "POST",
                "/rpc/get_leaderboard",
                Some(json!({"page_size": 100}).to_string()),
            ),
            _ => rest(
                "POST",
                "/rpc/get_gamification_profile",
                Some("{}".to_owned()),
            ),
        },
    },
    Attack {
        name: "deletions",
        about: "a diary deleted in one statement, without a filter",
        connections: 10,
        accounts: 1,
        request: |_| rest("DELETE", "/waste_entries", None),
    },
    Attack {
        name: "accounts",
        about: "ever new anonymous accounts",
        connections: 20,
        accounts: 1,
        request: |number| {
            let path = ["/api/v1/auth/anonymous", "/auth/v1/signup"][number % 2];
            Request {
                interface: [Interface::Edge, Interface::Gateway][number % 2],
                path: path.to_owned(),
                ..rest("POST", "", Some("{}".to_owned()))
            }
        },
    },
];

/// Those with these names; all if none is named.
pub fn choose(names: &[&str]) -> Result<Vec<&'static Attack>> {
    for name in names {
        if !ATTACKS.iter().any(|attack| attack.name == *name) {
            let known: Vec<&str> = ATTACKS.iter().map(|attack| attack.name).collect();
            bail!("no attack {name:?}; there are {}", known.join(", "));
        }
    }
    Ok(ATTACKS
        .iter()
        .filter(|attack| names.is_empty() || names.contains(&attack.name))
        .collect())
}

fn rest(method: &'static str, path: &str, body: Option<String>) -> Request {
    Request {
        interface: Interface::Gateway,
        method,
        path: format!("/rest/v1{path}"),
        headers: &[],
        body,
    }
}

fn uuid(number: usize) -> String {
    format!("{number:08x}-0000-4000-8000-000000000000")
}

/// Entries that are not stored yet, spread over the last year's days.
fn entries(number: usize, count: usize) -> Vec<Value> {
    (0..count)
        .map(|one| {
            json!({
                "category_id": "food_waste", "disposal_method": "composted", "weight_kg": 0.5,
                "offline_id": format!("hostile-{number}-{one}"), "notes": "เศษอาหารจากมื้อเย็น",
            })
        })
        .collect()
}

fn diary(number: usize, count: usize) -> Value {
    let entries: Vec<Value> = (0..count)
        .map(|one| {
            let minute = number * count + one;
            json!({
                "id": format!("{number}-{one}"), "category_id": "food_waste", "disposal_method": "composted",
                "weight_kg": 0.5, "notes": "เศษอาหารจากมื้อเย็น",
                "logged_at": format!("2026-{:02}-{:02}T{:02}:{:02}:00Z",
                                     1 + minute / 40320 % 10, 1 + minute / 1440 % 28, minute / 60 % 24, minute % 60),
            })
        })
        .collect();
    json!({"waste_entries": entries})
}

fn import(number: usize, count: usize, dry_run: bool) -> Request {
    let body = json!({"payload": diary(number, count).to_string(), "dry_run": dry_run});
    rest("POST", "/rpc/migrate_local", Some(body.to_string()))
}

fn edge_import(number: usize) -> Request {
    Request {
        interface: Interface::Edge,
        path: "/api/v1/user/migrate-local".to_owned(),
        ..rest("POST", "", Some(diary(number, 500).to_string()))
    }
}

/// Patterns that scan every note, restart at each of its characters, and match none.
fn patterns(number: usize, count: usize, length: usize) -> Request {
    let terms: Vec<String> = (0..count)
        .map(|one| format!("notes.match.{}{number}x{one}", "a*".repeat(length / 2)))
        .collect();
    rest(
        "GET",
        &format!("/waste_entries?select=id&or=({})", terms.join(",")),
        None,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_attacks_have_one_name_and_each_uses_accounts_it_has() {
        let mut names: Vec<&str> = ATTACKS.iter().map(|attack| attack.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), ATTACKS.len());
        for attack in ATTACKS {
            assert!(attack.accounts <= super::super::ACCOUNTS, "{}", attack.name);
            let (one, other) = ((attack.request)(1), (attack.request)(1_000_001));
            assert_eq!(one.method, other.method, "{}", attack.name);
        }
    }

    #[test]
    fn only_attacks_that_there_are_can_be_chosen() {
        assert!(choose(&["heads"]).is_ok_and(|chosen| chosen.len() == 1));
        assert!(choose(&[]).is_ok_and(|chosen| chosen.len() == ATTACKS.len()));
        assert!(choose(&["kindness"]).is_err());
    }
}
