//! The users that the devices write for: who exists, what they chose, and what the devices share about them.

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

/// How many users there are at any time.
pub const USERS: usize = 40;
/// The first few of them, which all devices write to.
pub const HOT: usize = 3;
/// Sent entries that other devices may repeat.
const REMEMBERED: usize = 32;

/// Provinces that users move between; no province is one of them.
pub const PROVINCES: [Option<&str>; 4] = [None, Some("TH-10"), Some("TH-38"), Some("TH-50")];

/// What the user or an operator chose.
#[derive(Clone, Copy, Debug)]
pub struct Chosen {
    pub zone: usize,
    pub excluded: bool,
}

/// One of the users.
pub struct TestUser {
    pub id: String,
    /// Deleted, or about to be.
    pub gone: AtomicBool,
    /// Locked while a choice is written, so that the test knows which one came last.
    pub chosen: tokio::sync::Mutex<Chosen>,
    /// The easternmost zone that the user ever had, in minutes east of UTC: no day may close before it
    /// has ended there.
    pub eastmost: AtomicI64,
}

impl TestUser {
    pub fn is_gone(&self) -> bool {
        self.gone.load(Ordering::SeqCst)
    }
}

/// What all devices share.
pub struct Population {
    pub system: System,
    pub factors: Factors,
    /// Categories and methods that cost points, and those that earn some.
    pub pairs: [Vec<(String, String)>; 2],
    pub users: RwLock<Vec<Arc<TestUser>>>,
    pub deleted_users: Mutex<Vec<Arc<TestUser>>>,
    pub sends: Mutex<VecDeque<(Arc<TestUser>, Sent)>>,
    pub cuts: AtomicUsize,
    operator: Client,
}

impl Population {
    /// A population of new users.
    pub async fn gather(system: System, factors: Factors, rng: &mut StdRng) -> Self {
        let (operator, connection) = tokio_postgres::connect(&system.db_url, NoTls)
            .await
            .expect("the database");
        tokio::spawn(connection);
        let earns = |pair: &(String, String)| factors.figures(&pair.0, &pair.1, 1_000).credits > 0;
        let (earning, costing) = factors.pairs().into_iter().partition(earns);
        let population = Self {
            system,
            pairs: [costing, earning],
            factors,
            users: RwLock::default(),
            deleted_users: Mutex::default(),
            sends: Mutex::default(),
            cuts: AtomicUsize::new(0),
            operator,
        };
        for _ in 0..USERS {
            let user = population.sign_up(rng).await;
            population.users.write().expect("users").push(user);
        }
        population
    }

    /// Signs a user up, by a number that cannot be signed in with or anonymously, with a profile that began days to months ago.
    pub async fn sign_up(&self, rng: &mut StdRng) -> Arc<TestUser> {
        let anonymous = rng.random_ratio(1, 12);
        let days: i32 = *[0, 3, 20, 400].get(rng.random_range(0..4)).expect("one");
        let phone = format!("6660{:07}", rng.random_range(0..10_000_000));
        let row = self
            .operator
            .query_one(NEW_USER, &[&anonymous, &phone])
            .await
            .expect("a new user");
        let id: String = row.get(0);
        self.operator
            .execute(PROFILE_BEGAN, &[&id, &days])
            .await
            .expect("a profile");
        Arc::new(TestUser {
            id,
            gone: AtomicBool::new(false),
            chosen: tokio::sync::Mutex::new(Chosen {
                zone: 0,
                excluded: false,
            }),
            eastmost: AtomicI64::new(ZONES[0].minutes),
        })
    }

    /// A random user: two times in five one of the hot ones.
    pub fn anyone(&self, rng: &mut StdRng) -> Arc<TestUser> {
        let users = self.users.read().expect("users");
        let place = if rng.random_ratio(2, 5) {
            rng.random_range(0..HOT)
        } else {
            rng.random_range(HOT..users.len())
        };
        users[place].clone()
    }

    /// Remembers what is about to be sent, so that other devices send it as well.
    pub fn remember(&self, user: &Arc<TestUser>, sent: &Sent) {
        let mut sends = self.sends.lock().expect("sends");
        sends.push_back((user.clone(), sent.clone()));
        if sends.len() > REMEMBERED {
            sends.pop_front();
        }
    }

    /// Puts a new user in the place of one who leaves.
    pub fn replace(&self, leaving: &Arc<TestUser>, new: Arc<TestUser>) {
        let mut users = self.users.write().expect("users");
        let place = users.iter().position(|one| one.id == leaving.id);
        users[place.expect("still there")] = new;
        self.deleted_users
            .lock()
            .expect("deleted_users")
            .push(leaving.clone());
    }

    /// Deletes a user as Auth does.
    pub async fn delete(&self, user: &Arc<TestUser>) {
        self.operator
            .execute(
                "delete from auth.users where id = $1::text::uuid",
                &[&user.id],
            )
            .await
            .expect("a user is deleted");
        self.deleted_users
            .lock()
            .expect("deleted_users")
            .push(user.clone());
    }

    /// All users who exist now.
    pub fn existing(&self) -> Vec<Arc<TestUser>> {
        self.users.read().expect("users").clone()
    }
}

const NEW_USER: &str = "insert into auth.users
    (id, aud, role, phone, phone_confirmed_at, is_anonymous, created_at, updated_at)
  values (gen_random_uuid(), 'authenticated', 'authenticated', case when not $1 then $2::text end,
          case when not $1 then now() end, $1, now(), now())
  returning id::text";

/// Challenges exist for the days since the profile began.
const PROFILE_BEGAN: &str = "update public.profiles set created_at = now() - make_interval(days => $2) where id = $1::text::uuid";
