//! How many requests an address or a token may make, and how much of one address may be open at a time.
//!
//! Only digests and addresses are stored, in memory, and no more than [`MAX_SUBJECTS`] of them.

use super::denial::Denial;
use crate::counter::{Counter, Place};
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Requests at once that one address may have under way without being signed in, as one signed-in user has in the
/// database.
pub const MAX_ANONYMOUS_REQUESTS: usize = 8;
/// WebSockets of one address, behind which a carrier may put hundreds of users. A user has 20 at most: Realtime
/// counts those, because only Realtime sees who the user is.
pub const MAX_SOCKETS: usize = 500;
/// About 10 MB. When more are counted, those that owe nothing are forgotten, and all of them if that is not enough.
const MAX_SUBJECTS: usize = 100_000;

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Per {
    /// The client's address; of IPv6 its /64, which is what one line gets.
    Address,
    /// The bearer token, by its digest.
    Token,
}

/// A number of requests within a window that slides.
#[derive(Debug, PartialEq)]
pub struct Rate {
    /// A stable word.
    pub name: &'static str,
    pub per: Per,
    pub limit: u32,
    pub window_secs: u32,
}

impl Rate {
    /// A limit of the table.
    pub const fn new(name: &'static str, per: Per, limit: u32, window_secs: u32) -> Self {
        Self {
            name,
            per,
            limit,
            window_secs,
        }
    }
}

/// The subject of a count.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Subject {
    V4([u8; 4]),
    /// The /64 of an IPv6 address.
    V6([u8; 8]),
    /// Digest of a bearer token.
    Token([u8; 32]),
}

impl Subject {
    /// The line that an address belongs to.
    pub fn of_address(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self::V4(address.octets()),
            IpAddr::V6(address) => {
                let mut prefix = [0; 8];
                prefix.copy_from_slice(&address.octets()[..8]);
                Self::V6(prefix)
            }
        }
    }

    fn of_token(authorization: &str) -> Self {
        Self::Token(Sha256::digest(authorization).into())
    }
}

/// When the requests that were let in are paid off, by rule and subject.
type Debts = HashMap<(&'static str, Subject), Instant>;

/// Counts; without limits it lets everything in.
pub struct Limits {
    lifted: bool,
    debts: Mutex<Debts>,
    anonymous: Counter<Subject>,
    sockets: Counter<Subject>,
}

impl Limits {
    pub fn new(lifted: bool) -> Self {
        let bound = |limit| if lifted { usize::MAX } else { limit };
        Self {
            lifted,
            debts: Mutex::default(),
            anonymous: Counter::new(bound(MAX_ANONYMOUS_REQUESTS)),
            sockets: Counter::new(bound(MAX_SOCKETS)),
        }
    }

    /// Counts a request by all of its rates, or refuses it and counts nothing.
    pub fn count(
        &self,
        rates: &[Rate],
        address: IpAddr,
        authorization: &str,
        now: Instant,
    ) -> Result<(), Denial> {
        if self.lifted {
            return Ok(());
        }
        let mut debts = self.debts.lock().unwrap_or_else(PoisonError::into_inner);
        make_room(&mut debts, now);
        let mut counted = Vec::with_capacity(rates.len());
        for rate in rates {
            let subject = match rate.per {
                Per::Address => Subject::of_address(address),
                Per::Token => Subject::of_token(authorization),
            };
            let window = Duration::from_secs(rate.window_secs.into());
            let one = window / rate.limit;
            let paid_off = debts.get(&(rate.name, subject.clone())).copied();
            let owed = paid_off.map_or(now, |at| at.max(now)) + one;
            if owed > now + window {
                return Err(refused(owed - window - now));
            }
            counted.push(((rate.name, subject), owed));
        }
        debts.extend(counted);
        Ok(())
    }

    /// A place among the signed-out requests of this address; it is free again when dropped.
    pub fn anonymous(&self, address: IpAddr) -> Result<Place<Subject>, Denial> {
        let place = self.anonymous.take(Subject::of_address(address));
        place.ok_or_else(|| refused(Duration::ZERO))
    }

    /// A place among the WebSockets of this address.
    pub fn socket(&self, address: IpAddr) -> Result<Place<Subject>, Denial> {
        let place = self.sockets.take(Subject::of_address(address));
        place.ok_or(Denial::new(
            429,
            "too_many_sockets",
            "This address has too many WebSockets open",
        ))
    }
}

fn refused(wait: Duration) -> Denial {
    let secs = u32::try_from(wait.as_millis().div_ceil(1000)).unwrap_or(u32::MAX);
    Denial {
        retry_after_secs: secs.max(1),
        ..Denial::new(
            429,
            "rate_limited",
            "Too many requests; nothing was done. Retry-After says when to come again",
        )
    }
}

fn make_room(debts: &mut Debts, now: Instant) {
    if debts.len() >= MAX_SUBJECTS {
        debts.retain(|_, paid_off| *paid_off > now);
    }
    if debts.len() >= MAX_SUBJECTS {
        debts.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATES: &[Rate] = &[
        Rate::new("a", Per::Address, 3, 60),
        Rate::new("t", Per::Token, 2, 60),
    ];

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_limit_refuses_the_next_request_and_says_when_it_is_free_again() {
        let (limits, begun) = (Limits::new(false), Instant::now());
        let ask = |from: &str, token: &str, secs: u64| {
            let now = begun + Duration::from_secs(secs);
            limits.count(RATES, address(from), token, now)
        };
        assert_eq!(ask("192.0.2.1", "x", 0), Ok(()));
        assert_eq!(ask("192.0.2.1", "x", 0), Ok(()));
        let denial = ask("192.0.2.1", "x", 0).unwrap_err();
        assert_eq!((denial.status, denial.retry_after_secs), (429, 30));
        assert_eq!(
            ask("192.0.2.2", "x", 0).unwrap_err().status,
            429,
            "the token elsewhere"
        );
        assert_eq!(
            ask("192.0.2.1", "y", 0),
            Ok(()),
            "what was refused was not counted"
        );
        assert_eq!(ask("192.0.2.1", "z", 0).unwrap_err().retry_after_secs, 20);
        assert_eq!(ask("192.0.2.1", "z", 20), Ok(()));
    }

    #[test]
    fn an_ipv6_line_is_one_subject_and_an_ipv4_address_is_one() {
        let of = |text: &str| Subject::of_address(address(text));
        assert_eq!(of("2001:db8:1:2::1"), of("2001:db8:1:2:ffff::9"));
        assert_ne!(of("2001:db8:1:2::1"), of("2001:db8:1:3::1"));
        assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
        assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
    }

    #[test]
    fn what_is_open_at_once_is_bounded_by_address_and_free_again_when_it_ends() {
        let limits = Limits::new(false);
        let held: Vec<_> = (0..MAX_ANONYMOUS_REQUESTS)
            .map(|_| limits.anonymous(address("192.0.2.1")).unwrap())
            .collect();
        assert_eq!(
            limits.anonymous(address("192.0.2.1")).err().unwrap().status,
            429
        );
        assert!(limits.anonymous(address("192.0.2.2")).is_ok());
        drop(held);
        assert!(limits.anonymous(address("192.0.2.1")).is_ok());
    }

    #[test]
    fn the_501st_websocket_of_an_address_is_refused_until_one_ends() {
        let limits = Limits::new(false);
        let mut held: Vec<_> = (0..500)
            .map(|_| limits.socket(address("192.0.2.1")).unwrap())
            .collect();
        let denial = limits.socket(address("192.0.2.1")).err().unwrap();
        assert_eq!((denial.status, denial.code), (429, "too_many_sockets"));
        assert!(limits.socket(address("192.0.2.2")).is_ok());
        held.pop();
        assert!(limits.socket(address("192.0.2.1")).is_ok());
    }

    #[test]
    fn lifted_limits_count_nothing() {
        let limits = Limits::new(true);
        for _ in 0..1_000 {
            assert_eq!(
                limits.count(RATES, address("::1"), "x", Instant::now()),
                Ok(())
            );
        }
        let held: Vec<_> = (0..1_000).map(|_| limits.socket(address("::1"))).collect();
        assert!(held.iter().all(Result::is_ok));
    }
}
