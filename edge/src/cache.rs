//! Public answers in the data centre's cache (the runtime's Cache API).
//!
//! Only what a stranger sees is ever kept: no key names a person, and callers with a token never come
//! here. How long an answer counts depends on its [`Kind`]; while the database is down it may be served
//! longer.
//!
//! Every board carries the generation it was made in. Whoever hides themself begins a new one, so that
//! no older board is served again in this data centre; other data centres follow within the ten
//! seconds. A board whose making began before and ended after that moment carries the old generation.
//! Lists that show nobody have no generations.
//!
//! An isolate also remembers the answers that it has seen: for boards only the generation is looked up,
//! for lists nothing.

use std::cell::RefCell;
use std::collections::BTreeMap;

use carbon_domain::Lang;
use form_urlencoded::byte_serialize;
use futures_util::future::join;
use serde_json::Value;
use worker::{Cache, Headers, Response, ResponseBuilder};

use crate::call::{App, now_ms, random};
use crate::etag::RELEASE;
use crate::metrics;
use crate::storage::otp_id::hex;

/// Milliseconds of an hour.
pub const HOUR_MS: i64 = 3_600_000;

/// A kind of public answer.
#[derive(Debug, PartialEq, Eq)]
pub struct Kind {
    /// The name, in keys and metrics.
    pub name: &'static str,
    /// Milliseconds for which an answer is as good as a new one.
    pub fresh_ms: i64,
    /// Whether it shows people, who may ask not to be shown any longer.
    pub shows_people: bool,
}

/// Boards as strangers see them.
pub const BOARDS: Kind = Kind {
    name: "board",
    fresh_ms: 10_000,
    shows_people: true,
};
/// The achievements there are.
pub const ACHIEVEMENTS: Kind = Kind {
    name: "achievements",
    fresh_ms: 6 * HOUR_MS,
    shows_people: false,
};
/// The challenges of a day, which the question names: they stay what they are until the day ends.
pub const CHALLENGES: Kind = Kind {
    name: "challenges",
    fresh_ms: 24 * HOUR_MS,
    shows_people: false,
};

/// Seconds for which the generation is kept: longer than any board.
const GENERATION_SECS: i64 = 86_400;
/// The generation of what shows nobody.
const NO_GENERATION: &str = "-";
/// Keys are addresses that nothing answers at.
const BASE: &str = "https://cache.carbon.invalid/";
const GENERATION_HEADER: &str = "x-generation";
const STORED_AT_HEADER: &str = "x-stored-at";
/// Answers that an isolate remembers; at most 100 rows of 300 bytes each are 1 MB.
const MOST_REMEMBERED: usize = 32;

/// A kept answer.
#[derive(Clone)]
pub struct Kept {
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

/// The answer of this key if it still counts as new.
fn recall(key: &str, fresh_ms: i64, now_ms: i64) -> Option<Remembered> {
    REMEMBERED.with_borrow(|answers| {
        let answer = answers.get(key)?;
        let fresh = (0..fresh_ms).contains(&(now_ms - answer.stored_at_ms));
        fresh.then(|| answer.clone())
    })
}

fn remember(key: &str, answer: Remembered) {
    REMEMBERED.with_borrow_mut(|answers| {
        // Most last ten seconds: which of them goes is all the same.
        if answers.len() >= MOST_REMEMBERED {
            answers.clear();
        }
        answers.insert(key.to_owned(), answer);
    });
}

/// What the cache knows when something is asked for.
pub struct Looked {
    kind: &'static Kind,
    key: String,
    generation: Option<String>,
    kept: Option<Kept>,
}

/// The key of an answer: its kind, the question (the parameters as the database gets them, and the day
/// where the answer depends on it), the language of its names and the release that made it.
pub fn key(kind: &Kind, question: &Value, lang: Lang) -> String {
    // The names of an object's members are in order, whatever order they were sent in.
    let text = question.to_string();
    let question: String = byte_serialize(text.as_bytes()).collect();
    format!("{BASE}{RELEASE}/{}/{}?{question}", lang.code(), kind.name)
}

impl Looked {
    /// Looks an answer and the generation up. A cache that fails is an empty one.
    pub async fn up(kind: &'static Kind, key: String) -> Self {
        let cache = Cache::default();
        let generation = current_generation(kind);
        let (generation, kept) = match recall(&key, kind.fresh_ms, now_ms()) {
            Some(answer) => {
                let generation = generation.await;
                let kept = (generation.as_ref() == Some(&answer.generation)).then(|| Kept {
                    age_ms: now_ms() - answer.stored_at_ms,
                    body: answer.body,
                });
                (generation, kept)
            }
            None => {
                let (generation, found) = join(generation, cache.get(&key, false)).await;
                let kept = match found {
                    Ok(Some(response)) => kept_of(&key, response, generation.as_deref()).await,
                    _ => None,
                };
                (generation, kept)
            }
        };
        Self {
            kind,
            key,
            generation,
            kept,
        }
    }

    /// The answer, if it is at most so many milliseconds old.
    pub fn kept(&self, most_ms: i64) -> Option<&Kept> {
        let kept = self.kept.as_ref();
        kept.filter(|kept| (0..most_ms).contains(&kept.age_ms))
    }

    /// The answer if it counts as new; counted as hit or miss.
    pub fn fresh(&self) -> Option<&Kept> {
        let kept = self.kept(self.kind.fresh_ms);
        let name = match kept {
            Some(_) => "carbon_cache_hits_total",
            None => "carbon_cache_misses_total",
        };
        metrics::add(name, &format!(r#"class="{}""#, self.kind.name), 1);
        kept
    }

    /// Keeps an answer for at most so many milliseconds, after it was sent.
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

async fn current_generation(kind: &Kind) -> Option<String> {
    if !kind.shows_people {
        return Some(NO_GENERATION.to_owned());
    }
    let found = Cache::default().get(&generation_key(), false).await;
    header(&found.ok()??, GENERATION_HEADER)
}

async fn kept_of(key: &str, mut response: Response, generation: Option<&str>) -> Option<Kept> {
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
    Some(Kept {
        age_ms: now_ms() - stored_at_ms,
        body: answer.body,
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
        for number in 0..2 * MOST_REMEMBERED {
            remember(&number.to_string(), answer(1_000));
        }
        let count = REMEMBERED.with_borrow(BTreeMap::len);
        assert!(count <= MOST_REMEMBERED, "{count}");
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
