//! What an attacker who guesses codes for a day gets, by the real rules: 10,000 numbers, 1,000 addresses,
//! and a schedule that rules and tries the very moment that any rule allows it.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};

use super::number_protocol::{Command, Message, NumberReply};
use super::number_state::{self, NumberState};
use super::subject_state::{self, RateRule, SubjectReply, SubjectState};
use crate::limits::rules::SIGN_IN;

const NUMBERS: usize = 10_000;
const ADDRESSES: usize = 1_000;
const HOUR_MS: i64 = 60 * 60 * 1000;
const DAY_MS: i64 = 24 * HOUR_MS;
const CODES: f64 = 1e6;
/// Baht a message, about what Thai providers ask.
const BAHT: f64 = 0.35;
/// The service's budget for numbers without an account, by default.
const BUDGET_FOR_NON_MEMBERS: usize = 1_400;

/// What stands in the attacker's way.
#[derive(Clone, Copy)]
struct World {
    about: &'static str,
    /// Whether they pass each challenge, and so are not held by it.
    passes_challenges: bool,
    /// Numbers that share their leading digits.
    block: usize,
}

struct Attack {
    world: World,
    numbers: Vec<NumberState>,
    addresses: Vec<SubjectState>,
    blocks: Vec<SubjectState>,
    /// Addresses by when they can be used again.
    free: BTreeSet<(i64, usize)>,
    /// When guesses were made, by number.
    guesses: Vec<Vec<i64>>,
    /// When codes were begun.
    codes: Vec<i64>,
}

impl Attack {
    fn new(world: World) -> Self {
        let many = |count: usize| (0..count).map(|_| SubjectState::default()).collect();
        Self {
            world,
            numbers: (0..NUMBERS).map(|_| NumberState::default()).collect(),
            addresses: many(ADDRESSES),
            blocks: many(NUMBERS.div_ceil(world.block)),
            free: (0..ADDRESSES).map(|address| (0, address)).collect(),
            guesses: vec![Vec::new(); NUMBERS],
            codes: Vec::new(),
        }
    }

    fn subject(&mut self, address: usize, command: subject_state::Command, at: i64) -> Option<i64> {
        refusal(&self.addresses[address].apply(command, at))
    }

    /// Counts a call to `/auth` on some address that is free; the address, or when one will be.
    fn call(&mut self, at: i64) -> Result<usize, i64> {
        loop {
            let (free_at, address) = *self.free.first().expect("there are addresses");
            if free_at > at {
                return Err(free_at);
            }
            let rules = SIGN_IN.address.iter().map(|rule| RateRule {
                rule: rule.name.to_owned(),
                limit: rule.limit,
                window_ms: i64::from(rule.window_secs) * 1000,
            });
            let count = subject_state::Command::Count(rules.collect());
            match self.subject(address, count, at) {
                None => return Ok(address),
                Some(reset_at) => self.busy(address, free_at, reset_at),
            }
        }
    }

    fn busy(&mut self, address: usize, free_at: i64, until: i64) {
        self.free.remove(&(free_at, address));
        self.free.insert((until, address));
    }

    /// Begins a code for a number and spends its tries; when to come back.
    fn attack(&mut self, number: usize, at: i64) -> i64 {
        let address = match self.call(at) {
            Ok(address) => address,
            Err(free_at) => return free_at,
        };
        let attempt = format!("{number}-{at}");
        let begin = |limit| subject_state::Command::Begin {
            attempt: attempt.clone(),
            limit,
            passed: self.world.passes_challenges,
        };
        let (by_address, by_block) = (begin(3), begin(20));
        let block = number / self.world.block;
        if let Some(reset_at) = refusal(&self.blocks[block].apply(by_block, at)) {
            return reset_at;
        }
        if let Some(reset_at) = self.subject(address, by_address, at) {
            let refund = subject_state::Command::Refund(attempt);
            self.blocks[block].apply(refund, at);
            self.busy(address, at.min(self.free_at(address)), reset_at);
            return at;
        }
        let begun =
            self.numbers[number].apply(begin_command(&attempt, self.world.passes_challenges), at);
        if let NumberReply::Refused { reset_at_ms, .. } = begun {
            for subject in [&mut self.addresses[address], &mut self.blocks[block]] {
                subject.apply(subject_state::Command::Refund(attempt.clone()), at);
            }
            return reset_at_ms;
        }
        self.codes.push(at);
        self.guess(number, &attempt, at)
    }

    fn free_at(&self, address: usize) -> i64 {
        let found = self.free.iter().find(|(_, one)| *one == address);
        found.map_or(0, |(free_at, _)| *free_at)
    }

    fn guess(&mut self, number: usize, attempt: &str, at: i64) -> i64 {
        loop {
            if self.call(at).is_err() {
                return at + 1000;
            }
            let check = Command::Check {
                attempt: attempt.to_owned(),
                code_hash: "guess".to_owned(),
                caller: None,
            };
            match self.numbers[number].apply(check, at) {
                NumberReply::Wrong => self.guesses[number].push(at),
                NumberReply::Refused { reset_at_ms, .. } => {
                    return reset_at_ms.max(at + 1);
                }
                other => panic!("{other:?}"),
            }
        }
    }

    fn run(&mut self, until: i64) {
        let mut due: BinaryHeap<_> = (0..NUMBERS).map(|number| Reverse((1, number))).collect();
        while let Some(Reverse((at, number))) = due.pop() {
            if at >= until {
                return;
            }
            due.push(Reverse((self.attack(number, at), number)));
        }
    }

    /// The most guesses that any number took in any 24 hours.
    fn worst_day(&self) -> usize {
        let days = self.guesses.iter().flat_map(|guesses| {
            let in_day = |from: i64| {
                guesses
                    .iter()
                    .filter(move |at| (from..from + DAY_MS).contains(at))
            };
            guesses.iter().map(move |from| in_day(*from).count())
        });
        days.max().unwrap_or(0)
    }
}

fn begin_command(attempt: &str, passed: bool) -> Command {
    Command::Begin {
        phone: "+66812345678".to_owned(),
        attempt: attempt.to_owned(),
        code_hash: "right".to_owned(),
        message: Message {
            code: "000000".to_owned(),
            english: false,
        },
        device_hash: None,
        begun_by: Vec::new(),
        anonymous_user: None,
        limited: true,
        passed,
    }
}

fn refusal(answer: &SubjectReply) -> Option<i64> {
    match answer {
        SubjectReply::Refused { reset_at_ms, .. } => Some(*reset_at_ms),
        _ => None,
    }
}

#[test]
#[allow(clippy::cast_precision_loss)]
fn a_day_of_guessing_finds_any_one_number_s_code_with_a_chance_of_1e_5_at_most() {
    for world in [
        World {
            about: "who passes every challenge, numbers far apart",
            passes_challenges: true,
            block: 1,
        },
        World {
            about: "who passes no challenge, numbers far apart",
            passes_challenges: false,
            block: 1,
        },
        World {
            about: "who passes no challenge, all numbers of one block",
            passes_challenges: false,
            block: NUMBERS,
        },
    ] {
        let mut attack = Attack::new(world);
        // An hour more, because an attacker may wait for the end of a day to have two allowances in one day.
        attack.run(DAY_MS + HOUR_MS);
        let worst = attack.worst_day();
        let chance = 1.0 - (1.0 - 1.0 / CODES).powi(i32::try_from(worst).unwrap());
        let of_day = |times: &[i64]| times.iter().filter(|at| **at < DAY_MS).count();
        let all: usize = attack.guesses.iter().map(|times| of_day(times)).sum();
        let codes = of_day(&attack.codes);
        let sent = codes.min(BUDGET_FOR_NON_MEMBERS);
        println!(
            "guessing for a day, {}: {worst} guesses a number at most, chance {chance:.1e}; {all} guesses in all, \
             {:.2} numbers found; {codes} codes, of which {sent} leave as SMS by the service's budget \
             ({:.0} baht, {:.0} without one)",
            world.about,
            all as f64 / CODES,
            sent as f64 * BAHT,
            codes as f64 * BAHT,
        );
        assert!(worst <= number_state::WRONG_TRIES_A_DAY && chance <= 1e-5);
        let more = usize::from(world.passes_challenges) * number_state::SMS_AFTER_CHALLENGE;
        assert!(codes <= NUMBERS * (number_state::SMS_A_DAY + more));
    }
}
