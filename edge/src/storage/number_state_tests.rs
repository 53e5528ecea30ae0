use super::*;

const T0: i64 = 1_800_000_000_000;

fn message(code: &str) -> Message {
    Message {
        code: code.to_owned(),
        english: false,
    }
}

fn begin(state: &mut NumberState, attempt: &str, at_ms: i64) -> Answer {
    let command = Command::Begin {
        phone: "+66812345678".into(),
        attempt: attempt.into(),
        code_hash: format!("hash-{attempt}"),
        message: message("048213"),
        device_hash: None,
    };
    state.apply(command, at_ms)
}

fn take(state: &mut NumberState, webhook_id: &str, auth_code: &str, at_ms: i64) -> Vec<Message> {
    let command = Command::Take {
        webhook_id: webhook_id.into(),
        auth_code: auth_code.into(),
    };
    match state.apply(command, at_ms) {
        Answer::ToSend { messages } => messages,
        other => panic!("{other:?}"),
    }
}

fn check(state: &mut NumberState, attempt: &str, hash: &str, at_ms: i64) -> Answer {
    state.apply(
        Command::Check {
            attempt: attempt.into(),
            code_hash: hash.into(),
        },
        at_ms,
    )
}

fn settle(state: &mut NumberState, attempt: &str, auth_code: &str) {
    let command = Command::Settle {
        attempt: attempt.into(),
        auth_code: auth_code.into(),
        device_hash: "device".into(),
    };
    state.apply(command, T0);
}

fn right(auth_code: Option<&str>) -> Answer {
    Answer::Right {
        phone: "+66812345678".into(),
        auth_code: auth_code.map(str::to_owned),
    }
}

/// A state with attempt `a` begun at T0 and sent.
fn sent() -> NumberState {
    let mut state = NumberState::default();
    begin(&mut state, "a", T0);
    assert_eq!(
        take(&mut state, "w1", "1111111111", T0),
        [message("048213")]
    );
    state
}

#[test]
fn a_right_code_works_once() {
    let mut state = sent();
    assert_eq!(
        check(&mut state, "a", "hash-a", T0 + 1),
        right(Some("1111111111"))
    );
    assert_eq!(check(&mut state, "a", "hash-a", T0 + 2), Answer::Invalid);
    settle(&mut state, "a", "1111111111");
    assert_eq!(check(&mut state, "a", "hash-a", T0 + 3), Answer::Invalid);
}

#[test]
fn an_outage_of_auth_burns_no_code() {
    let mut state = sent();
    check(&mut state, "a", "hash-a", T0 + 1);
    state.apply(
        Command::Release {
            attempt: "a".into(),
        },
        T0 + 2,
    );
    assert_eq!(
        check(&mut state, "a", "hash-a", T0 + 3),
        right(Some("1111111111"))
    );
    // A Worker that died while it held the claim gives it back by time.
    assert_eq!(
        check(&mut state, "a", "hash-a", T0 + 3 + CLAIM_MS),
        right(Some("1111111111"))
    );
}

#[test]
fn five_wrong_tries_spend_the_code_even_for_the_right_one() {
    let mut state = sent();
    for _ in 0..MAX_WRONG_TRIES {
        assert_eq!(check(&mut state, "a", "wrong", T0 + 1), Answer::Wrong);
    }
    let spent = Answer::Spent {
        resend_at_ms: T0 + RESEND_AFTER_MS,
    };
    assert_eq!(check(&mut state, "a", "hash-a", T0 + 1), spent);
    assert_eq!(state.failures_in_row, 5);
}

#[test]
fn failures_are_counted_over_resends_until_a_right_code() {
    let mut state = sent();
    check(&mut state, "a", "wrong", T0 + 1);
    begin(&mut state, "b", T0 + RESEND_AFTER_MS);
    check(&mut state, "b", "wrong", T0 + RESEND_AFTER_MS + 1);
    assert_eq!(state.failures_in_row, 2);
    check(&mut state, "b", "hash-b", T0 + RESEND_AFTER_MS + 2);
    settle(&mut state, "b", "1111111111");
    assert_eq!(state.failures_in_row, 0);
}

#[test]
fn an_earlier_attempt_stays_valid() {
    let mut state = sent();
    begin(&mut state, "b", T0 + RESEND_AFTER_MS);
    take(&mut state, "w2", "2222222222", T0 + RESEND_AFTER_MS);
    let at = T0 + RESEND_AFTER_MS + 1;
    assert_eq!(check(&mut state, "a", "hash-b", at), Answer::Wrong);
    assert_eq!(
        check(&mut state, "a", "hash-a", at),
        right(Some("2222222222"))
    );
    settle(&mut state, "a", "2222222222");
    // The other device's code is right, but Auth's code is used up: the Worker asks for a new one.
    assert_eq!(check(&mut state, "b", "hash-b", at), right(None));
    assert_eq!(take(&mut state, "w3", "3333333333", at), []);
    let newest = Command::AuthCode {
        attempt: "b".into(),
    };
    assert_eq!(state.apply(newest, at), right(Some("3333333333")));
}

#[test]
fn resend_waits_a_minute() {
    let mut state = sent();
    let resend_at_ms = T0 + RESEND_AFTER_MS;
    assert_eq!(
        begin(&mut state, "b", resend_at_ms - 1),
        Answer::TooSoon { resend_at_ms }
    );
    assert!(matches!(
        begin(&mut state, "b", resend_at_ms),
        Answer::Begun { .. }
    ));
}

#[test]
fn a_refused_request_can_be_repeated_at_once_but_not_when_its_sms_is_on_the_way() {
    let mut state = NumberState::default();
    begin(&mut state, "a", T0);
    assert_eq!(
        state.apply(
            Command::Cancel {
                attempt: "a".into()
            },
            T0
        ),
        Answer::Cancelled
    );
    assert!(matches!(
        begin(&mut state, "b", T0 + 1),
        Answer::Begun { .. }
    ));
    take(&mut state, "w", "1111111111", T0 + 2);
    assert_eq!(
        state.apply(
            Command::Cancel {
                attempt: "b".into()
            },
            T0 + 3
        ),
        Answer::AlreadySent
    );
}

#[test]
fn a_code_ends_after_five_minutes_and_is_forgotten_after_an_hour_more() {
    let mut state = sent();
    assert_eq!(
        check(&mut state, "a", "hash-a", T0 + CODE_TTL_MS),
        Answer::Expired
    );
    let later = T0 + CODE_TTL_MS + REMEMBER_MS;
    assert_eq!(state.next_cleaning_ms(), Some(later + 1));
    assert_eq!(check(&mut state, "a", "hash-a", later), Answer::Invalid);
    assert!(state.is_empty() && state.auth_code.is_none() && state.phone.is_empty());
}

#[test]
fn a_plain_code_is_kept_only_until_the_hook_takes_it() {
    let mut state = NumberState::default();
    begin(&mut state, "a", T0);
    assert!(serde_json::to_string(&state).unwrap().contains("048213"));
    take(&mut state, "w", "1111111111", T0);
    assert!(!serde_json::to_string(&state).unwrap().contains("048213"));
    // Nor beyond its time if the hook never comes.
    let mut state = NumberState::default();
    begin(&mut state, "a", T0);
    state.forget_old(T0 + CODE_TTL_MS);
    assert!(!serde_json::to_string(&state).unwrap().contains("048213"));
}

#[test]
fn a_webhook_counts_once() {
    let mut state = sent();
    begin(&mut state, "b", T0 + RESEND_AFTER_MS);
    assert_eq!(
        take(&mut state, "w1", "9999999999", T0 + RESEND_AFTER_MS),
        []
    );
    assert_eq!(state.auth_code.as_deref(), Some("1111111111"));
}

#[test]
fn devices_that_proved_the_number_are_known() {
    let mut state = sent();
    settle(&mut state, "a", "1111111111");
    assert!(state.knows_device("device") && !state.knows_device("stranger"));
    for n in 0..MAX_DEVICES {
        state.settle("a", "", format!("device-{n}"));
    }
    assert!(!state.knows_device("device") && state.devices.len() == MAX_DEVICES);
}

#[test]
fn an_unknown_attempt_is_invalid() {
    let mut state = sent();
    assert_eq!(check(&mut state, "x", "hash-a", T0), Answer::Invalid);
}
