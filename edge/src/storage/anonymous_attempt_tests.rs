//! Codes that anonymous users ask for: sent without Auth, and used by nobody else.

use super::*;

const T0: i64 = 1_800_000_000_000;

fn begun(state: &mut NumberState, attempt: &str, user: Option<&str>, at_ms: i64) {
    let command = Command::Begin {
        phone: "+66812345678".into(),
        attempt: attempt.into(),
        code_hash: format!("hash-{attempt}"),
        message: message(attempt),
        device_hash: None,
        begun_by: Vec::new(),
        anonymous_user: user.map(str::to_owned),
        limited: true,
        passed: false,
    };
    let answer = state.apply(command, at_ms);
    assert!(matches!(answer, NumberReply::Begun { .. }), "{answer:?}");
}

fn message(attempt: &str) -> Message {
    Message {
        code: format!("code-{attempt}"),
        english: false,
    }
}

fn take_own(state: &mut NumberState, attempt: &str) -> Vec<Message> {
    match state.apply(Command::TakeOwn(attempt.into()), T0) {
        NumberReply::ToSend(messages) => messages,
        other => panic!("{other:?}"),
    }
}

fn check(state: &mut NumberState, attempt: &str, code: &str, caller: Option<&str>) -> NumberReply {
    let command = Command::Check {
        attempt: attempt.into(),
        code_hash: format!("hash-{code}"),
        caller: caller.map(str::to_owned),
    };
    state.apply(command, T0 + 70_000)
}

/// Two anonymous users who ask for codes for one number, a minute apart.
fn two_who_ask() -> NumberState {
    let mut state = NumberState::default();
    begun(&mut state, "a", Some("user-a"), T0);
    begun(&mut state, "b", Some("user-b"), T0 + RESEND_AFTER_MS);
    state
}

#[test]
fn an_own_message_is_taken_once_and_no_other() {
    let mut state = two_who_ask();
    assert_eq!(take_own(&mut state, "b"), [message("b")]);
    assert!(take_own(&mut state, "b").is_empty());
    assert!(take_own(&mut state, "unknown").is_empty());
    let take = Command::Take {
        webhook_id: "w".into(),
        auth_code: "1111111111".into(),
    };
    let rest = state.apply(take, T0);
    assert_eq!(rest, NumberReply::ToSend(vec![message("a")]));
    assert!(take_own(&mut state, "a").is_empty());
}

#[test]
fn a_code_that_is_sent_is_not_cancelled() {
    let mut state = two_who_ask();
    take_own(&mut state, "a");
    assert_eq!(
        state.apply(Command::Cancel("a".into()), T0),
        NumberReply::AlreadySent
    );
}

#[test]
fn a_code_of_another_attempt_opens_nothing() {
    let mut state = two_who_ask();
    assert_eq!(
        check(&mut state, "b", "a", Some("user-b")),
        NumberReply::Wrong
    );
    // Nor does the attempt of somebody else, even with its code.
    for caller in [Some("user-b"), None] {
        assert_eq!(
            check(&mut state, "a", "a", caller),
            NumberReply::Invalid,
            "{caller:?}"
        );
    }
}

#[test]
fn a_right_code_names_the_anonymous_user_who_asked() {
    let mut state = two_who_ask();
    let right = NumberReply::Right {
        phone: "+66812345678".into(),
        auth_code: None,
        anonymous_user: Some("user-a".into()),
    };
    assert_eq!(check(&mut state, "a", "a", Some("user-a")), right);
    assert_eq!(state.apply(Command::AuthCode("a".into()), T0), right);
}

#[test]
fn a_code_that_was_asked_for_without_a_session_may_come_with_one() {
    let mut state = NumberState::default();
    begun(&mut state, "a", None, T0);
    let answer = check(&mut state, "a", "a", Some("user-a"));
    assert!(
        matches!(
            answer,
            NumberReply::Right {
                anonymous_user: None,
                ..
            }
        ),
        "{answer:?}"
    );
}
