use super::*;

const T0: i64 = 1_800_000_000_000;

fn message(code: &str) -> Message {
    Message {
        code: code.to_owned(),
        english: false,
    }
}

fn begin(state: &mut NumberState, attempt: &str, at_ms: i64) -> NumberReply {
    begin_from(state, attempt, None, at_ms)
}

fn begin_from(
    state: &mut NumberState,
    attempt: &str,
    device: Option<&str>,
    at_ms: i64,
) -> NumberReply {
    begin_passed(state, attempt, device, false, at_ms)
}

fn begin_passed(
    state: &mut NumberState,
    attempt: &str,
    device: Option<&str>,
    passed: bool,
    at_ms: i64,
) -> NumberReply {
    let command = Command::Begin {
        phone: "+66812345678".into(),
        attempt: attempt.into(),
        code_hash: format!("hash-{attempt}"),
        message: message("048213"),
        device_hash: device.map(str::to_owned),
        begun_by: vec!["address".into(), "block".into()],
        anonymous_user: None,
        limited: true,
        passed,
    };
    state.apply(command, at_ms)
}

fn begins(state: &mut NumberState, attempt: &str, device: Option<&str>, at_ms: i64) {
    let answer = begin_from(state, attempt, device, at_ms);
    assert!(matches!(answer, NumberReply::Begun { .. }), "{answer:?}");
}

fn why(answer: NumberReply) -> Option<(Refusal, u32, i64)> {
    match answer {
        NumberReply::Refused {
            why,
            limit,
            reset_at_ms,
        } => Some((why, limit, reset_at_ms)),
        _ => None,
    }
}

fn take(state: &mut NumberState, webhook_id: &str, auth_code: &str, at_ms: i64) -> Vec<Message> {
    let command = Command::Take {
        webhook_id: webhook_id.into(),
        auth_code: auth_code.into(),
    };
    match state.apply(command, at_ms) {
        NumberReply::ToSend(messages) => messages,
        other => panic!("{other:?}"),
    }
}

fn check(state: &mut NumberState, attempt: &str, hash: &str, at_ms: i64) -> NumberReply {
    state.apply(
        Command::Check {
            attempt: attempt.into(),
            code_hash: hash.into(),
            caller: None,
        },
        at_ms,
    )
}

fn mark_used(state: &mut NumberState, attempt: &str, auth_code: &str) {
    let command = Command::MarkUsed {
        attempt: attempt.into(),
        auth_code: auth_code.into(),
        device_hash: "device".into(),
    };
    state.apply(command, T0);
}

fn right(auth_code: Option<&str>) -> NumberReply {
    NumberReply::Right {
        phone: "+66812345678".into(),
        auth_code: auth_code.map(str::to_owned),
        anonymous_user: None,
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
    assert_eq!(
        check(&mut state, "a", "hash-a", T0 + 2),
        NumberReply::Invalid
    );
    mark_used(&mut state, "a", "1111111111");
    assert_eq!(
        check(&mut state, "a", "hash-a", T0 + 3),
        NumberReply::Invalid
    );
}

#[test]
fn an_outage_of_auth_uses_up_no_code() {
    let mut state = sent();
    check(&mut state, "a", "hash-a", T0 + 1);
    state.apply(Command::Release("a".into()), T0 + 2);
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
        assert_eq!(check(&mut state, "a", "wrong", T0 + 1), NumberReply::Wrong);
    }
    let spent = (Refusal::Tries, 5, T0 + RESEND_AFTER_MS);
    assert_eq!(why(check(&mut state, "a", "hash-a", T0 + 1)), Some(spent));
    assert_eq!(state.unrecognised_failures, 5);
}

#[test]
fn failures_are_counted_over_resends_until_a_right_code() {
    let mut state = sent();
    check(&mut state, "a", "wrong", T0 + 1);
    begin(&mut state, "b", T0 + RESEND_AFTER_MS);
    check(&mut state, "b", "wrong", T0 + RESEND_AFTER_MS + 1);
    assert_eq!(state.unrecognised_failures, 2);
    check(&mut state, "b", "hash-b", T0 + RESEND_AFTER_MS + 2);
    mark_used(&mut state, "b", "1111111111");
    assert_eq!(state.unrecognised_failures, 0);
}

#[test]
fn an_earlier_attempt_stays_valid() {
    let mut state = sent();
    begin(&mut state, "b", T0 + RESEND_AFTER_MS);
    take(&mut state, "w2", "2222222222", T0 + RESEND_AFTER_MS);
    let at = T0 + RESEND_AFTER_MS + 1;
    assert_eq!(check(&mut state, "a", "hash-b", at), NumberReply::Wrong);
    assert_eq!(
        check(&mut state, "a", "hash-a", at),
        right(Some("2222222222"))
    );
    mark_used(&mut state, "a", "2222222222");
    // The other device's code is right, but Auth's code is used up: the Worker asks for a new one.
    assert_eq!(check(&mut state, "b", "hash-b", at), right(None));
    assert_eq!(take(&mut state, "w3", "3333333333", at), []);
    let newest = Command::AuthCode("b".into());
    assert_eq!(state.apply(newest, at), right(Some("3333333333")));
}

#[test]
fn auth_s_code_is_only_for_the_attempt_that_holds_the_claim() {
    let newest = |state: &mut NumberState| state.apply(Command::AuthCode("a".into()), T0 + 1);
    let mut state = sent();
    assert_eq!(newest(&mut state), NumberReply::Invalid);
    check(&mut state, "a", "hash-a", T0 + 1);
    assert_eq!(newest(&mut state), right(Some("1111111111")));
    state.apply(Command::Release("a".into()), T0 + 1);
    assert_eq!(newest(&mut state), NumberReply::Invalid);
    check(&mut state, "a", "hash-a", T0 + 1);
    mark_used(&mut state, "a", "");
    assert_eq!(newest(&mut state), NumberReply::Invalid);
}

#[test]
fn resend_waits_a_minute() {
    let mut state = sent();
    let resend_at_ms = T0 + RESEND_AFTER_MS;
    assert_eq!(
        why(begin(&mut state, "b", resend_at_ms - 1)),
        Some((Refusal::Resend, 1, resend_at_ms))
    );
    assert!(matches!(
        begin(&mut state, "b", resend_at_ms),
        NumberReply::Begun { .. }
    ));
}

#[test]
fn a_refused_request_can_be_repeated_at_once_but_not_when_its_sms_is_on_the_way() {
    let mut state = NumberState::default();
    begin(&mut state, "a", T0);
    assert_eq!(
        state.apply(Command::Cancel("a".into()), T0),
        NumberReply::Cancelled
    );
    assert!(matches!(
        begin(&mut state, "b", T0 + 1),
        NumberReply::Begun { .. }
    ));
    take(&mut state, "w", "1111111111", T0 + 2);
    assert_eq!(
        state.apply(Command::Cancel("b".into()), T0 + 3),
        NumberReply::AlreadySent
    );
}

#[test]
fn a_code_ends_after_five_minutes_and_is_forgotten_after_an_hour_more() {
    let mut state = sent();
    assert_eq!(
        check(&mut state, "a", "hash-a", T0 + CODE_TTL_MS),
        NumberReply::Expired
    );
    let later = T0 + CODE_TTL_MS + REMEMBER_MS;
    assert_eq!(state.next_cleaning_ms(), Some(later + 1));
    assert_eq!(
        check(&mut state, "a", "hash-a", later),
        NumberReply::Invalid
    );
    assert!(state.auth_code.is_none() && state.phone.is_empty() && state.attempts.is_empty());
    // What it used of the day's allowance is stored for a day.
    assert!(!state.is_empty());
    assert_eq!(state.next_cleaning_ms(), Some(T0 + DAY_MS + 1));
    state.forget_old(T0 + DAY_MS);
    assert!(state.is_empty() && state.next_cleaning_ms().is_none());
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
fn devices_that_proved_the_number_are_recognised() {
    let mut state = sent();
    mark_used(&mut state, "a", "1111111111");
    assert!(state.device("device").is_some() && state.device("other").is_none());
    for n in 0..MAX_DEVICES {
        state.mark_used("a", "", format!("device-{n}"));
    }
    assert!(state.device("device").is_none() && state.devices.len() == MAX_DEVICES);
}

#[test]
fn a_device_keeps_its_share_when_it_signs_in_again_and_may_lose_the_answer() {
    let mut state = signed_in();
    for (n, token) in ["device", "device", "device-1"].iter().enumerate() {
        let (at, attempt) = (T0 + (n as i64 + 1) * RESEND_AFTER_MS, format!("d{n}"));
        begins(&mut state, &attempt, Some(token), at);
        check(&mut state, &attempt, &format!("hash-{attempt}"), at);
        state.mark_used(&attempt, "", format!("device-{n}"));
    }
    assert_eq!(state.devices.len(), 1);
    assert_eq!(state.devices[0].hashes, ["device-1", "device-2"]);
    assert_eq!(state.devices[0].share.sms_at_ms.len(), 3);
}

/// A state in which the owner has signed in from "device", unrecognised until then, at T0.
fn signed_in() -> NumberState {
    let mut state = sent();
    check(&mut state, "a", "hash-a", T0);
    let credit = state.mark_used("a", "1111111111", "device".into());
    let begun_by = vec!["address".to_owned(), "block".to_owned()];
    assert_eq!(credit, NumberReply::MarkedUsed(begun_by));
    state
}

#[test]
fn unrecognised_devices_that_used_up_the_day_s_messages_do_not_affect_a_recognised_one() {
    let mut state = signed_in();
    let mut at = T0;
    for n in 1..SMS_A_DAY {
        at += RESEND_AFTER_MS;
        begins(&mut state, &format!("s{n}"), None, at);
    }
    at += RESEND_AFTER_MS;
    let spent = Some((Refusal::SmsUnlessPassed, 5, T0 + DAY_MS));
    assert_eq!(why(begin(&mut state, "s", at)), spent);
    assert_eq!(why(begin_from(&mut state, "s", Some("forged"), at)), spent);
    for n in 0..SMS_A_DAY {
        begins(&mut state, &format!("d{n}"), Some("device"), at);
        at += RESEND_AFTER_MS;
    }
    let own = why(begin_from(&mut state, "d", Some("device"), at));
    assert_eq!(own.map(|(why, ..)| why), Some(Refusal::Sms));
    // The oldest message leaves the day first.
    begins(&mut state, "next", None, T0 + DAY_MS);
}

fn can_begin(state: &mut NumberState, device: Option<&str>, at_ms: i64) -> NumberReply {
    let command = Command::CanBegin {
        device_hash: device.map(str::to_owned),
        limited: true,
    };
    state.apply(command, at_ms)
}

#[test]
fn a_passed_challenge_allows_one_more_message_a_day_where_unrecognised_devices_used_up_theirs() {
    let mut state = NumberState::default();
    let mut at = T0;
    for n in 0..SMS_A_DAY {
        begins(&mut state, &format!("s{n}"), None, at);
        at += RESEND_AFTER_MS;
    }
    let spent = Some((Refusal::SmsUnlessPassed, 5, T0 + DAY_MS));
    assert_eq!(why(can_begin(&mut state, None, at)), spent);
    assert_eq!(why(begin(&mut state, "s", at)), spent);
    let more = begin_passed(&mut state, "more", None, true, at);
    assert!(matches!(more, NumberReply::Begun { .. }), "{more:?}");
    at += RESEND_AFTER_MS;
    // That was the one: from now on no one is sent through the bot check for nothing.
    let spent = Some((Refusal::Sms, 5, T0 + RESEND_AFTER_MS + DAY_MS));
    assert_eq!(why(begin(&mut state, "s", at)), spent);
    let spent = Some((Refusal::Sms, 6, T0 + DAY_MS));
    assert_eq!(why(begin_passed(&mut state, "s", None, true, at)), spent);
    // A challenge opens a message and nothing else.
    let mut state = sent();
    let waits = Some((Refusal::Resend, 1, T0 + RESEND_AFTER_MS));
    assert_eq!(
        why(begin_passed(&mut state, "b", None, true, T0 + 1)),
        waits
    );
}

#[test]
fn a_challenge_allows_nothing_for_a_recognised_device_that_used_up_its_own_messages() {
    let mut state = signed_in();
    let mut at = T0;
    for n in 0..SMS_A_DAY {
        begins(&mut state, &format!("d{n}"), Some("device"), at);
        at += RESEND_AFTER_MS;
    }
    let spent = Some((Refusal::Sms, 5, T0 + DAY_MS));
    assert_eq!(why(can_begin(&mut state, Some("device"), at)), spent);
    let passed = begin_passed(&mut state, "d", Some("device"), true, at);
    assert_eq!(why(passed), spent);
}

#[test]
fn asking_whether_a_code_can_begin_names_the_refusal_or_the_device_and_changes_nothing() {
    let mut state = signed_in();
    let at = T0 + 1;
    // What would be refused at the beginning is refused here too, for the same reason.
    for device in [Some("forged"), None] {
        let refusal = why(can_begin(&mut state, device, at));
        assert!(refusal.is_some());
        assert_eq!(refusal, why(begin_from(&mut state, "b", device, at)));
    }
    state.forget_old(at + RESEND_AFTER_MS);
    let before = serde_json::to_string(&state).unwrap();
    for (device, recognised) in [
        (Some("device"), true),
        (Some("forged"), false),
        (None, false),
    ] {
        let answer = can_begin(&mut state, device, at + RESEND_AFTER_MS);
        assert_eq!(answer, NumberReply::Available { recognised }, "{device:?}");
    }
    assert_eq!(serde_json::to_string(&state).unwrap(), before);
}

#[test]
fn a_device_has_a_resend_timer_of_its_own() {
    let mut state = signed_in();
    let at = T0 + RESEND_AFTER_MS;
    begins(&mut state, "s", None, at);
    begins(&mut state, "d", Some("device"), at);
    for device in [None, Some("device")] {
        let refusal = why(begin_from(&mut state, "x", device, at + 1));
        assert_eq!(refusal, Some((Refusal::Resend, 1, at + RESEND_AFTER_MS)));
    }
}

#[test]
fn unrecognised_devices_share_ten_wrong_tries_in_any_day() {
    let mut state = signed_in();
    let mut at = T0;
    for attempt in ["b", "c"] {
        at += RESEND_AFTER_MS;
        begins(&mut state, attempt, None, at);
        for _ in 0..MAX_WRONG_TRIES {
            assert_eq!(check(&mut state, attempt, "wrong", at), NumberReply::Wrong);
        }
    }
    let free_at = T0 + RESEND_AFTER_MS + DAY_MS;
    let spent = Some((Refusal::TriesOfDay, 10, free_at));
    at += RESEND_AFTER_MS;
    assert_eq!(why(begin(&mut state, "d", at)), spent);
    // The owner's device is as free as before, and its own tries are its own.
    begins(&mut state, "own", Some("device"), at);
    assert_eq!(check(&mut state, "own", "wrong", at), NumberReply::Wrong);
    assert_eq!(check(&mut state, "own", "hash-own", at), right(None));
    assert_eq!(state.unrecognised_failures, 10);
    // Five tries leave the day together, five a minute later.
    begins(&mut state, "e", None, free_at);
    for _ in 0..MAX_WRONG_TRIES {
        assert_eq!(check(&mut state, "e", "wrong", free_at), NumberReply::Wrong);
    }
    let refusal = why(begin(&mut state, "f", free_at + RESEND_AFTER_MS - 1));
    assert_eq!(refusal.map(|(why, ..)| why), Some(Refusal::TriesOfDay));
}

#[test]
fn codes_a_minute_are_limited_over_all_devices() {
    let mut state = NumberState::default();
    for n in 0..CODES_A_MINUTE + 1 {
        state.mark_used("", "", format!("device-{n}"));
    }
    for n in 0..CODES_A_MINUTE {
        let device = format!("device-{n}");
        begins(&mut state, &device, Some(&device), T0 + n as i64);
    }
    let last = why(begin_from(&mut state, "x", Some("device-5"), T0 + 10));
    assert_eq!(last, Some((Refusal::Codes, 5, T0 + MINUTE_MS)));
    begins(&mut state, "y", Some("device-5"), T0 + MINUTE_MS);
}

#[test]
fn a_hundred_failures_in_a_row_lock_unrecognised_devices_out_until_the_owner_signs_in_or_an_operator_unlocks()
 {
    let unlocks: [fn(&mut NumberState, i64); 2] = [
        |state, at| {
            begins(state, "own", Some("device"), at);
            check(state, "own", "hash-own", at);
            state.mark_used("own", "", "device-2".into());
        },
        |state, _| drop(state.apply(Command::Unlock, 0)),
    ];
    for unlock in unlocks {
        let mut state = signed_in();
        let mut at = T0 + DAY_MS;
        for day in 0..10 {
            begins(&mut state, &format!("a{day}"), None, at);
            begins(&mut state, &format!("b{day}"), None, at + RESEND_AFTER_MS);
            for n in 0..10 {
                let attempt = format!("{}{day}", if n < 5 { "a" } else { "b" });
                let answer = check(&mut state, &attempt, "wrong", at + RESEND_AFTER_MS);
                assert_eq!(answer, NumberReply::Wrong);
            }
            at += DAY_MS + RESEND_AFTER_MS;
        }
        let locked = Some((Refusal::Locked, 100, at + LOCK_RETRY_MS));
        assert_eq!(why(begin(&mut state, "x", at)), locked);
        // Neither does time open it, nor a code that was begun before.
        let later = at + 365 * DAY_MS;
        assert!(!state.is_empty());
        assert!(why(begin(&mut state, "x", later)).is_some());
        unlock(&mut state, later);
        begins(&mut state, "free", None, later + RESEND_AFTER_MS);
    }
}

#[test]
fn a_locked_number_takes_no_code_that_was_begun_before() {
    let mut state = sent();
    state.unrecognised_failures = LOCK_AFTER;
    let refusal = why(check(&mut state, "a", "hash-a", T0 + 1));
    assert_eq!(refusal.map(|(why, ..)| why), Some(Refusal::Locked));
}

#[test]
fn a_code_that_was_not_sent_costs_nothing() {
    let mut state = NumberState::default();
    for n in 0..20 {
        let attempt = format!("a{n}");
        begins(&mut state, &attempt, None, T0 + n);
        state.apply(Command::Cancel(attempt), T0 + n);
    }
    assert!(state.is_empty());
}

#[test]
fn an_unknown_attempt_is_invalid() {
    let mut state = sent();
    assert_eq!(check(&mut state, "x", "hash-a", T0), NumberReply::Invalid);
}

#[test]
fn times_are_those_of_the_contract() {
    let minute = 60_000;
    assert_eq!(CODE_TTL_MS, 5 * minute);
    assert_eq!(RESEND_AFTER_MS, minute);
    assert_eq!(MINUTE_MS, minute);
    assert_eq!(DAY_MS, 86_400_000);
    assert_eq!(CLAIM_MS, 20_000);
    assert_eq!(REMEMBER_MS, 60 * minute);
    assert_eq!(WEBHOOK_MEMORY_MS, 15 * minute);
}

#[test]
fn metrics_tell_the_refusals_apart() {
    let all = [
        (Refusal::Resend, "resend"),
        (Refusal::Codes, "codes_a_minute"),
        (Refusal::Sms, "sms_a_day"),
        (Refusal::Tries, "tries"),
        (Refusal::TriesOfDay, "tries_a_day"),
        (Refusal::Locked, "locked"),
    ];
    for (refusal, label) in all {
        assert_eq!(refusal.label(), label);
    }
}

#[test]
fn anything_left_keeps_the_object() {
    assert!(NumberState::default().is_empty());
    // A device that proved the number is recognised from then on.
    let mut device = signed_in();
    device.forget_old(T0 + DAY_MS);
    assert!(device.attempts.is_empty() && device.unrecognised.newest_ms().is_none());
    assert!(!device.is_empty());
    // An attempt of a device that was forgotten in between.
    let mut attempt = sent();
    attempt.unrecognised = Share::default();
    assert!(!attempt.is_empty());
    let failures = NumberState {
        unrecognised_failures: 1,
        ..NumberState::default()
    };
    assert!(!failures.is_empty());
}

#[test]
fn a_webhook_is_remembered_for_a_quarter_of_an_hour() {
    let mut state = sent();
    begins(
        &mut state,
        "b",
        None,
        T0 + WEBHOOK_MEMORY_MS - RESEND_AFTER_MS,
    );
    let end = T0 + WEBHOOK_MEMORY_MS;
    assert_eq!(take(&mut state, "w1", "2222222222", end - 1), []);
    let sent = take(&mut state, "w1", "2222222222", end);
    assert_eq!(sent, [message("048213")]);
}
