//! Public answers in the data centre's cache (the runtime's Cache API).
//!
//! Only what a stranger sees is ever kept: no key names a person, and callers with a token never come
//! here. A kept board counts for [`FRESH_MS`]; while the database is down it may be served longer.
//!
//! Every board carries the generation it was made in. Whoever hides themself begins a new one, so that
//! no older board is served again in this data centre; other data centres follow within the ten
//! seconds. A board whose making began before and ended after that moment carries the old generation.
//!
//! An isolate also remembers the boards that it has seen: for those only the generation is looked up.

use std::cell::RefCell;
use std::collections::BTreeMap;

use carbon_domain::Lang;
use chrono::{DateTime, Duration, Utc};
use form_urlencoded::byte_serialize;
use futures_util::future::join;
use serde_json::Value;
use worker::{Cache, Headers, Response, ResponseBuilder};

use crate::call::{App, now_ms, random};
use crate::etag::RELEASE;
use crate::metrics;
use crate::storage::otp_id::hex;

/// Milliseconds for which a board is as good as a new one.
pub const FRESH_MS: i64 = 10_000;
/// Seconds for which the generation is kept: longer than any board.
const GENERATION_SECS: i64 = 86_400;
/// Keys are addresses that nothing answers at.
const BASE: &str = "https://cache.carbon.invalid/";
const GENERATION_HEADER: &str = "x-generation";
const STORED_AT_HEADER: &str = "x-stored-at";
/// Boards that an isolate remembers; at most 100 rows of 300 bytes each are 1 MB.
const MOST_REMEMBERED: usize = 32;

/// A kept board.
#[derive(Clone)]
pub struct Board {
    /// The whole body.
    pub body: String,
    /// Milliseconds since it was made.
    pub age_ms: i64,
}

#[derive(Clone)]
struct Remembered {
    generation: String,
    stored_at_ms: i64,
    body: String,
}

thread_local! {
    static REMEMBERED: RefCell<BTreeMap<String, Remembered>> = const { RefCell::new(BTreeMap::new()) };
}

/// The board of this key if it still counts as new.
fn recall(key: &str, now_ms: i64) -> Option<Remembered> {
    REMEMBERED.with_borrow(|boards| {
        let board = boards.get(key)?;
        let fresh = (0..FRESH_MS).contains(&(now_ms - board.stored_at_ms));
        fresh.then(|| board.clone())
    })
}

fn remember(key: &str, board: Remembered) {
    REMEMBERED.with_borrow_mut(|boards| {
        // They last ten seconds: which of them goes is all the same.
        if boards.len() >= MOST_REMEMBERED {
            boards.clear();
        }
        boards.insert(key.to_owned(), board);
    });
}

/// What the cache knows when a board is asked for.
pub struct Looked {
    key: String,
    generation: Option<String>,
    board: Option<Board>,
}

/// The key of a board: its parameters as the database gets them, the day in Bangkok on which its
/// period depends, the language of its names and the release that made it.
pub fn board_key(arguments: &Value, lang: Lang, now: DateTime<Utc>) -> String {
    let day = (now + Duration::hours(7)).date_naive();
    // The names of an object's members are in order, whatever order they were sent in.
    let text = arguments.to_string();
    let question: String = byte_serialize(text.as_bytes()).collect();
    format!("{BASE}{RELEASE}/{}/{day}/boards?{question}", lang.code())
}

impl Looked {
    /// Looks a board and the generation up. A cache that fails is an empty one.
    pub async fn up(key: String) -> Self {
        let cache = Cache::default();
        let generation_key = generation_key();
        let generation = cache.get(&generation_key, false);
        let (generation, board) = match recall(&key, now_ms()) {
            Some(board) => {
                let generation = generation_of(generation.await);
                let board = (generation.as_ref() == Some(&board.generation)).then(|| Board {
                    age_ms: now_ms() - board.stored_at_ms,
                    body: board.body,
                });
                (generation, board)
            }
            None => {
                let (generation, kept) = join(generation, cache.get(&key, false)).await;
                let generation = generation_of(generation);
                let board = match kept {
                    Ok(Some(response)) => board_of(&key, response, generation.as_deref()).await,
                    _ => None,
                };
                (generation, board)
            }
        };
        Self {
            key,
            generation,
            board,
        }
    }

    /// The board, if it is at most so many milliseconds old.
    pub fn board(&self, most_ms: i64) -> Option<&Board> {
        let board = self.board.as_ref();
        board.filter(|board| (0..most_ms).contains(&board.age_ms))
    }

    /// The board if it counts as new; counted as hit or miss.
    pub fn fresh(&self) -> Option<&Board> {
        let board = self.board(FRESH_MS);
        let name = match board {
            Some(_) => "carbon_cache_hits_total",
            None => "carbon_cache_misses_total",
        };
        metrics::add(name, r#"class="board""#, 1);
        board
    }

    /// Keeps a board for at most so many milliseconds, after the answer was sent.
    pub fn keep(self, app: &App, body: String, most_ms: i64) {
        let stored_at_ms = now_ms();
        app.context.wait_until(async move {
            let generation = match self.generation {
                Some(generation) => generation,
                None => match begin_generation().await {
                    Some(generation) => generation,
                    None => return,
                },
            };
            let facts = [
                (GENERATION_HEADER, generation),
                (STORED_AT_HEADER, stored_at_ms.to_string()),
            ];
            if let Ok(response) = response(body, most_ms / 1000, &facts) {
                let _ = Cache::default().put(self.key, response).await;
            }
        });
    }
}

fn generation_of(kept: worker::Result<Option<Response>>) -> Option<String> {
    header(&kept.ok()??, GENERATION_HEADER)
}

async fn board_of(key: &str, mut response: Response, generation: Option<&str>) -> Option<Board> {
    let made_in = header(&response, GENERATION_HEADER)?;
    if generation != Some(made_in.as_str()) {
        return None;
    }
    let stored_at_ms: i64 = header(&response, STORED_AT_HEADER)?.parse().ok()?;
    let board = Remembered {
        generation: made_in,
        stored_at_ms,
        body: response.text().await.ok()?,
    };
    remember(key, board.clone());
    Some(Board {
        age_ms: now_ms() - stored_at_ms,
        body: board.body,
    })
}

/// From now on no board made before is served here again.
pub async fn forget_boards() {
    if begin_generation().await.is_none() {
        // Without a generation nothing is served from the cache.
        let _ = Cache::default().delete(generation_key(), false).await;
    }
}

async fn begin_generation() -> Option<String> {
    let generation = hex(&random::<16>().ok()?);
    let facts = [(GENERATION_HEADER, generation.clone())];
    let response = response(String::new(), GENERATION_SECS, &facts).ok()?;
    let put = Cache::default().put(generation_key(), response).await;
    put.ok().map(|()| generation)
}

fn generation_key() -> String {
    format!("{BASE}generation")
}

fn response(body: String, secs: i64, facts: &[(&str, String)]) -> worker::Result<Response> {
    let headers = Headers::new();
    headers.set("cache-control", &format!("max-age={secs}"))?;
    for (name, value) in facts {
        headers.set(name, value)?;
    }
    let builder = ResponseBuilder::new().with_headers(headers);
    Ok(builder.fixed(body.into_bytes()))
}

fn header(response: &Response, name: &str) -> Option<String> {
    response.headers().get(name).ok().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn few_boards_are_remembered_and_only_while_they_are_new() {
        let board = |stored_at_ms| Remembered {
            generation: "g".to_owned(),
            stored_at_ms,
            body: "{}".to_owned(),
        };
        remember("a", board(1_000));
        assert!(recall("a", 1_000 + FRESH_MS - 1).is_some());
        assert!(recall("a", 1_000 + FRESH_MS).is_none());
        assert!(recall("a", 0).is_none(), "a clock that went back");
        assert!(recall("b", 1_000).is_none());
        for number in 0..2 * MOST_REMEMBERED {
            remember(&number.to_string(), board(1_000));
        }
        let count = REMEMBERED.with_borrow(BTreeMap::len);
        assert!(count <= MOST_REMEMBERED, "{count}");
    }

    #[test]
    fn a_key_depends_on_parameters_language_and_day_and_on_nothing_else() {
        let at = |hour: u32| {
            DateTime::from_timestamp(1_800_000_000 / 86_400 * 86_400 + i64::from(hour) * 3600, 0)
                .unwrap()
        };
        let key = board_key(&json!({"a": 1, "b": "x&y=1"}), Lang::Th, at(1));
        assert_eq!(
            key,
            board_key(&json!({"b": "x&y=1", "a": 1}), Lang::Th, at(16))
        );
        for other in [
            board_key(&json!({"a": 1, "b": "x"}), Lang::Th, at(1)),
            board_key(&json!({"a": 1, "b": "x&y=1"}), Lang::En, at(1)),
            // Midnight in Bangkok is 17:00 UTC.
            board_key(&json!({"a": 1, "b": "x&y=1"}), Lang::Th, at(17)),
        ] {
            assert_ne!(key, other);
        }
        assert!(!key.contains('&') && key.bytes().all(|byte| byte.is_ascii_graphic()));
    }
}
