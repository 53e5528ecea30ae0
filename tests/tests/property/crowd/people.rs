//! The people of the crowd: who they are, what they chose, and what the devices share about them.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, RwLock};

use carbon_tests::figures::Factors;
use carbon_tests::system::System;
use rand::Rng;
use rand::rngs::StdRng;
use tokio_postgres::{Client, NoTls};

use crate::diary::ZONES;
use crate::operation::Sent;

/// How many people there are at any time; the first few are everybody's target.
pub const PEOPLE: usize = 40;
pub const HOT: usize = 3;
/// Sends of a device that others repeat.
const REMEMBERED: usize = 32;

/// Provinces that people move between; none is one of them.
pub const PROVINCES: [Option<&str>; 4] = [None, Some("TH-10"), Some("TH-38"), Some("TH-50")];

/// What a person or an operator chose.
#[derive(Clone, Copy, Debug)]
pub struct Chosen {
    pub zone: usize,
    pub excluded: bool,
}

/// Somebody.
pub struct Soul {
    pub id: String,
    /// Deleted, or about to be.
    pub gone: AtomicBool,
    /// Held while a choice is made, so that it is known which one came last.
    pub chosen: tokio::sync::Mutex<Chosen>,
    /// The clock furthest east that the person ever had, minutes east of UTC.
    pub eastmost: AtomicI64,
}

impl Soul {
    pub fn is_gone(&self) -> bool {
        self.gone.load(Ordering::SeqCst)
    }
}

/// What all devices share.
pub struct Crowd {
    pub system: System,
    pub factors: Factors,
    /// Categories and methods that cost points, and those that give some.
    pub pairs: [Vec<(String, String)>; 2],
    pub people: RwLock<Vec<Arc<Soul>>>,
    pub buried: Mutex<Vec<Arc<Soul>>>,
    pub sends: Mutex<VecDeque<(Arc<Soul>, Sent)>>,
    pub cuts: AtomicUsize,
    operator: Client,
}

impl Crowd {
    /// A crowd of new people.
    pub async fn gather(system: System, factors: Factors, rng: &mut StdRng) -> Self {
        let (operator, connection) = tokio_postgres::connect(&system.db_url, NoTls)
            .await
            .expect("the database");
        tokio::spawn(connection);
        let gives = |pair: &(String, String)| factors.figures(&pair.0, &pair.1, 1_000).credits > 0;
        let (giving, costing) = factors.pairs().into_iter().partition(gives);
        let crowd = Self {
            system,
            pairs: [costing, giving],
            factors,
            people: RwLock::default(),
            buried: Mutex::default(),
            sends: Mutex::default(),
            cuts: AtomicUsize::new(0),
            operator,
        };
        for _ in 0..PEOPLE {
            let soul = crowd.born(rng).await;
            crowd.people.write().expect("people").push(soul);
        }
        crowd
    }

    /// Somebody signs up: by a number nobody can sign in with, or anonymously; days to months ago.
    pub async fn born(&self, rng: &mut StdRng) -> Arc<Soul> {
        let anonymous = rng.random_ratio(1, 12);
        let days: i32 = *[0, 3, 20, 400].get(rng.random_range(0..4)).expect("one");
        let phone = format!("6660{:07}", rng.random_range(0..10_000_000));
        let row = self
            .operator
            .query_one(BORN, &[&anonymous, &phone])
            .await
            .expect("a new person");
        let id: String = row.get(0);
        self.operator
            .execute(BEGAN, &[&id, &days])
            .await
            .expect("a profile");
        Arc::new(Soul {
            id,
            gone: AtomicBool::new(false),
            chosen: tokio::sync::Mutex::new(Chosen {
                zone: 0,
                excluded: false,
            }),
            eastmost: AtomicI64::new(ZONES[0].minutes),
        })
    }

    /// One of the people: every other time one of the few that all devices write to.
    pub fn anyone(&self, rng: &mut StdRng) -> Arc<Soul> {
        let people = self.people.read().expect("people");
        let place = if rng.random_ratio(2, 5) {
            rng.random_range(0..HOT)
        } else {
            rng.random_range(HOT..people.len())
        };
        people[place].clone()
    }

    /// Remembers what is about to be sent, for others to send as well.
    pub fn remember(&self, soul: &Arc<Soul>, sent: &Sent) {
        let mut sends = self.sends.lock().expect("sends");
        sends.push_back((soul.clone(), sent.clone()));
        if sends.len() > REMEMBERED {
            sends.pop_front();
        }
    }

    /// Puts somebody new in the place of a person who leaves.
    pub fn replace(&self, leaving: &Arc<Soul>, new: Arc<Soul>) {
        let mut people = self.people.write().expect("people");
        let place = people.iter().position(|one| one.id == leaving.id);
        people[place.expect("still there")] = new;
        self.buried.lock().expect("buried").push(leaving.clone());
    }

    /// Deletes somebody as Auth does.
    pub async fn delete(&self, soul: &Arc<Soul>) {
        self.operator
            .execute(
                "delete from auth.users where id = $1::text::uuid",
                &[&soul.id],
            )
            .await
            .expect("a person is deleted");
        self.buried.lock().expect("buried").push(soul.clone());
    }

    /// Everybody who is there now.
    pub fn living(&self) -> Vec<Arc<Soul>> {
        self.people.read().expect("people").clone()
    }
}

const BORN: &str = "insert into auth.users
    (id, aud, role, phone, phone_confirmed_at, is_anonymous, created_at, updated_at)
  values (gen_random_uuid(), 'authenticated', 'authenticated', case when not $1 then $2::text end,
          case when not $1 then now() end, $1, now(), now())
  returning id::text";

/// Challenges exist for the days since the profile began.
const BEGAN: &str = "update public.profiles set created_at = now() - make_interval(days => $2) where id = $1::text::uuid";
