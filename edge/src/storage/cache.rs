//! Public answers in the data centre's cache (the runtime's Cache API).
//!
//! Only what signed-out visitors see is ever cached: no key names a user, and callers with a token never come
//! here. How long an answer is fresh depends on its [`Kind`]; while the database is down it may be served
//! longer.
//!
//! Every board carries the generation it was made in. A user who hides begins a new one, so that no older board is
//! served again in this data centre; other data centres follow within ten seconds. A board whose making began before and
//! ended after that moment carries the old generation. Lists that show no users have no generations.
//!
//! An isolate also remembers the answers that it has seen: for boards it then reads only the generation, for lists
//! nothing.

use std::cell::RefCell;
use std::collections::BTreeMap;

use carbon_domain::Lang;
use form_urlencoded::byte_serialize;
use futures_util::future::join;
use serde_json::Value;
use worker::{Cache, Headers, Response, ResponseBuilder};

use crate::app::App;
use crate::clock::now_ms;
use crate::crypto::bytes::{hex, random};
use crate::observe::metrics;
use crate::release::RELEASE;

/// Milliseconds of an hour.
pub const HOUR_MS: i64 = 3_600_000;

/// A kind of public answer.
#[derive(Debug, PartialEq, Eq)]
pub struct Kind {
    /// The name, in keys and metrics.
    pub name: &'static str,
    /// Milliseconds for which an answer is fresh.
    pub fresh_ms: i64,
    /// Whether it shows users, who may hide.
    pub shows_users: bool,
}

/// Boards as signed-out visitors see them.
pub const BOARDS: Kind = Kind {
    name: "board",
    fresh_ms: 10_000,
    shows_users: true,
};
/// The list of all achievements.
pub const ACHIEVEMENTS: Kind = Kind {
    name: "achievements",
    fresh_ms: 6 * HOUR_MS,
    shows_users: false,
};
/// The challenges of a day, which the question names: they stay what they are until the day ends.
pub const CHALLENGES: Kind = Kind {
    name: "challenges",
    fresh_ms: 24 * HOUR_MS,
    shows_users: false,
};

/// Seconds for which the generation is stored: longer than any board.
const GENERATION_SECS: i64 = 86_400;
/// The generation of what shows no users.
const NO_GENERATION: &str = "-";
/// Keys are addresses that nothing answers at.
const BASE: &str = "https://cache.carbon.invalid/";
const GENERATION_HEADER: &str = "x-generation";
const STORED_AT_HEADER: &str = "x-stored-at";
/// Answers that an isolate remembers; at most 100 rows of 300 bytes each are 1 MB.
const MAX_REMEMBERED: usize = 32;

/// An answer from the cache.
#[derive(Clone)]
pub struct CachedAnswer {
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

/// The answer of this key if it is fresh.
fn recall(key: &str, fresh_ms: i64, now_ms: i64) -> Option<Remembered> {
    REMEMBERED.with_borrow(|answers| {
        let answer = answers.get(key)?;
        let fresh = (0..fresh_ms).contains(&(now_ms - answer.stored_at_ms));
        fresh.then(|| answer.clone())
    })
}

fn remember(key: &str, answer: Remembered) {
    REMEMBERED.with_borrow_mut(|answers| {
        // Most last ten seconds, so it matters little which are dropped.
        if answers.len() >= MAX_REMEMBERED {
            answers.clear();
        }
        answers.insert(key.to_owned(), answer);
    });
}

/// What was found in the cache, and what is needed to store a new answer.
pub struct CacheLookup {
    kind: &'static Kind,
    key: String,
    generation: Option<String>,
    cached: Option<CachedAnswer>,
}

/// The key of an answer: its kind, the question (the parameters as the database gets them, and the day
/// where the answer depends on it), the language of its names and the release that made it.
pub fn key(kind: &Kind, question: &Value, lang: Lang) -> String {
    // The members of an object are sorted by name, so their order in the request does not matter.
    let text = question.to_string();
    let question: String = byte_serialize(text.as_bytes()).collect();
    format!("{BASE}{RELEASE}/{}/{}?{question}", lang.code(), kind.name)
}

impl CacheLookup {
    /// Gets an answer and the current generation. A cache that fails counts as empty.
    pub async fn get(kind: &'static Kind, key: String) -> Self {
        let cache = Cache::default();
        let generation = current_generation(kind);
        let (generation, cached) = match recall(&key, kind.fresh_ms, now_ms()) {
            Some(answer) => {
                let generation = generation.await;
                let cached =
                    (generation.as_ref() == Some(&answer.generation)).then(|| CachedAnswer {
                        age_ms: now_ms() - answer.stored_at_ms,
                        body: answer.body,
                    });
                (generation, cached)
            }
            None => {
                let (generation, found) = join(generation, cache.get(&key, false)).await;
                let cached = match found {
                    Ok(Some(response)) => {
                        from_response(&key, response, generation.as_deref()).await
                    }
                    _ => None,
                };
                (generation, cached)
            }
        };
        Self {
            kind,
            key,
            generation,
            cached,
        }
    }

    /// The answer, if it is younger than this.
    pub fn younger_than(&self, max_age_ms: i64) -> Option<&CachedAnswer> {
        let cached = self.cached.as_ref();
        cached.filter(|cached| (0..max_age_ms).contains(&cached.age_ms))
    }

    /// The answer if it is fresh; counted as a hit or a miss.
    pub fn fresh(&self) -> Option<&CachedAnswer> {
        let cached = self.younger_than(self.kind.fresh_ms);
        let name = match cached {
            Some(_) => "carbon_cache_hits_total",
            None => "carbon_cache_misses_total",
        };
        metrics::add(name, &format!(r#"class="{}""#, self.kind.name), 1);
        cached
    }

    /// Stores an answer for `ttl_ms`, after it was sent.
    pub fn store(self, app: &App, body: String, ttl_ms: i64) {
        let stored_at_ms = now_ms();
        app.context.wait_until(async move {
            let generation = match self.generation {
                Some(generation) => generation,
                None => match begin_generation().await {
                    Some(generation) => generation,
                    None => return,
                },
            };
            let headers = [
                (GENERATION_HEADER, generation),
                (STORED_AT_HEADER, stored_at_ms.to_string()),
            ];
            if let Ok(response) = response(body, ttl_ms / 1000, &headers) {
                let _ = Cache::default().put(self.key, response).await;
            }
        });
    }
}

async fn current_generation(kind: &Kind) -> Option<String> {
    if !kind.shows_users {
        return Some(NO_GENERATION.to_owned());
    }
    let found = Cache::default().get(&generation_key(), false).await;
    header(&found.ok()??, GENERATION_HEADER)
}

async fn from_response(
    key: &str,
    mut response: Response,
    generation: Option<&str>,
) -> Option<CachedAnswer> {
    let made_in = header(&response, GENERATION_HEADER)?;
    if generation != Some(made_in.as_str()) {
        return None;
    }
    let stored_at_ms: i64 = header(&response, STORED_AT_HEADER)?.parse().ok()?;
    let answer = Remembered {
        generation: made_in,
        stored_at_ms,
        body: response.text().await.ok()?,
    };
    remember(key, answer.clone());
    Some(CachedAnswer {
        age_ms: now_ms() - stored_at_ms,
        body: answer.body,
    })
}

/// From now on no board made before is served here again.
pub async fn invalidate_boards() {
    if begin_generation().await.is_none() {
        // Without a generation nothing is served from the cache.
        let _ = Cache::default().delete(generation_key(), false).await;
    }
}

async fn begin_generation() -> Option<String> {
    let generation = hex(&random::<16>().ok()?);
    let headers = [(GENERATION_HEADER, generation.clone())];
    let response = response(String::new(), GENERATION_SECS, &headers).ok()?;
    let put = Cache::default().put(generation_key(), response).await;
    put.ok().map(|()| generation)
}

fn generation_key() -> String {
    format!("{BASE}generation")
}

fn response(body: String, secs: i64, values: &[(&str, String)]) -> worker::Result<Response> {
    let headers = Headers::new();
    headers.set("cache-control", &format!("max-age={secs}"))?;
    for (name, value) in values {
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
    fn few_answers_are_remembered_and_only_while_they_are_new() {
        let answer = |stored_at_ms| Remembered {
            generation: "g".to_owned(),
            stored_at_ms,
            body: "{}".to_owned(),
        };
        remember("a", answer(1_000));
        assert!(recall("a", 10, 1_009).is_some());
        assert!(recall("a", 10, 1_010).is_none());
        assert!(recall("a", 11, 1_010).is_some());
        assert!(recall("a", 10, 0).is_none(), "a clock that went back");
        assert!(recall("b", 10, 1_000).is_none());
        for number in 0..2 * MAX_REMEMBERED {
            remember(&number.to_string(), answer(1_000));
        }
        let count = REMEMBERED.with_borrow(BTreeMap::len);
        assert!(count <= MAX_REMEMBERED, "{count}");
    }

    #[test]
    fn a_key_depends_on_kind_question_and_language_and_on_nothing_else() {
        let question = json!({"a": 1, "b": "x&y=1"});
        let own = key(&BOARDS, &question, Lang::Th);
        assert_eq!(own, key(&BOARDS, &json!({"b": "x&y=1", "a": 1}), Lang::Th));
        for other in [
            key(&BOARDS, &json!({"a": 1, "b": "x"}), Lang::Th),
            key(&BOARDS, &question, Lang::En),
            key(&CHALLENGES, &question, Lang::Th),
        ] {
            assert_ne!(own, other);
        }
        assert!(!own.contains('&') && own.bytes().all(|byte| byte.is_ascii_graphic()));
    }
}
