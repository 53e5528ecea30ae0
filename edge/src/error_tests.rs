use super::*;

fn postgrest(status: u16, code: &str, details: &str, message: &str) -> ApiError {
    let body = json!({"code": code, "details": details, "message": message, "hint": null});
    ApiError::from_postgrest(status, &body.to_string())
}

fn shown(error: &ApiError, lang: Lang) -> Value {
    serde_json::from_str(&error.envelope(lang, "r-1")).unwrap()
}

#[test]
fn an_envelope_names_code_message_details_and_request() {
    let shown = shown(&ApiError::not_found(), Lang::En);
    assert_eq!(shown["success"], false);
    assert_eq!(shown["error"]["code"], "NOT_FOUND");
    assert_eq!(shown["error"]["message"], "Not found.");
    assert_eq!(shown["error"]["request_id"], "r-1");
    assert_eq!(shown["error"]["details"], Value::Null);
}

#[test]
fn a_token_of_the_database_becomes_a_field_in_the_caller_s_language() {
    let error = postgrest(400, "22023", "carbon.weight_out_of_range", "weight_kg: …");
    assert_eq!(error.code, Code::ValidationError);
    for lang in [Lang::Th, Lang::En] {
        let field = shown(&error, lang)["error"]["details"]["fields"][0].clone();
        assert_eq!(field["field"], "weight_kg");
        assert_eq!(field["code"], "weight_out_of_range");
        let expected = DomainError::WeightOutOfRange.message(lang);
        assert_eq!(field["message"], expected);
    }
}

#[test]
fn an_error_about_any_text_names_the_field_that_the_database_names() {
    let error = DomainError::TextNotAllowed;
    let message = format!("display_name: {}", error.message(Lang::En));
    let refusal = postgrest(400, "22023", error.token(), &message);
    let field = &shown(&refusal, Lang::Th)["error"]["details"]["fields"][0];
    assert_eq!(field["field"], "display_name");
    assert_eq!(field["code"], "text_not_allowed");
    assert_eq!(field["message"], error.message(Lang::Th));
}

#[test]
fn statuses_follow_sqlstates() {
    for (status, sqlstate, expected) in [
        (404, "PT404", Code::NotFound),
        (409, "PT409", Code::Conflict),
        (429, "PT429", Code::RateLimited),
        (403, "42501", Code::PermissionDenied),
        (409, "23505", Code::Conflict),
        (400, "22P02", Code::ValidationError),
        (500, "57014", Code::ServiceUnavailable),
        (500, "57P01", Code::ServiceUnavailable),
        (503, "53300", Code::ServiceUnavailable),
        (503, "PGRST001", Code::ServiceUnavailable),
        (504, "PGRST003", Code::ServiceUnavailable),
        (500, "XX000", Code::InternalError),
        (404, "PGRST202", Code::InternalError),
        (404, "42883", Code::InternalError),
    ] {
        assert_eq!(
            postgrest(status, sqlstate, "", "m").code,
            expected,
            "{sqlstate}"
        );
    }
}

#[test]
fn refused_tokens_are_told_apart() {
    assert_eq!(
        postgrest(401, "PGRST301", "", "JWT expired").code,
        Code::AuthExpired
    );
    assert_eq!(
        postgrest(401, "PGRST303", "", "JWT expired").code,
        Code::AuthExpired
    );
    assert_eq!(
        postgrest(401, "PGRST301", "", "JWSError").code,
        Code::AuthInvalid
    );
    assert_eq!(postgrest(401, "PGRST302", "", "").code, Code::AuthRequired);
    let gone = postgrest(409, "23503", "carbon.unknown_user", "");
    assert_eq!(gone.code, Code::AuthInvalid);
    // The token is genuine, but its session has ended: there is nothing to refresh.
    let ended = postgrest(401, "PT401", "carbon.session_ended", "");
    assert_eq!(ended.code, Code::AuthInvalid);
    let signed_out = postgrest(403, "42501", "carbon.not_signed_in", "");
    assert_eq!(signed_out.code, Code::AuthRequired);
}

#[test]
fn an_outage_and_a_limit_say_when_to_come_back() {
    let page = ApiError::from_postgrest(502, "<html>bad gateway</html>");
    assert_eq!(page.code, Code::ServiceUnavailable);
    assert_eq!(page.retry_after_secs, Some(OUTAGE_RETRY_SECS));
    let limited = postgrest(429, "PT429", "carbon.rows_per_hour", "");
    assert_eq!(limited.retry_after_secs, Some(3600));
    assert_eq!(shown(&limited, Lang::En)["error"]["details"]["limit"], 5060);
    assert!(shown(&limited, Lang::En)["error"]["details"]["reason"].is_null());
}

#[test]
fn of_all_limits_only_a_twin_at_work_leaves_open_whether_something_was_written() {
    for error in DomainError::ALL {
        let limited = postgrest(429, "PT429", error.token(), "");
        let reason = &shown(&limited, Lang::En)["error"]["details"]["reason"];
        assert_eq!(
            *reason == "already_running",
            *error == DomainError::AlreadyRunning,
            "{error:?}"
        );
    }
}

#[test]
fn an_ended_session_is_no_longer_signed_in() {
    assert_eq!(
        postgrest(401, "PT401", "carbon.session_ended", "").code,
        Code::AuthInvalid
    );
}

#[test]
fn internals_are_logged_and_never_shown() {
    let error = postgrest(500, "XX000", "secret table", "relation secret");
    assert!(error.internal.as_deref().unwrap().contains("XX000"));
    assert!(!error.envelope(Lang::En, "r").contains("secret"));
}

#[test]
fn every_token_of_the_domain_has_an_answer() {
    for token in DomainError::ALL {
        let error = postgrest(400, "22023", token.token(), "");
        assert!(error.code.status() < 500, "{}", token.token());
        assert!(
            !shown(&error, Lang::Th)["error"]["message"]
                .as_str()
                .unwrap()
                .is_empty()
        );
    }
}

#[test]
fn a_lost_connection_and_an_absent_origin_are_outages() {
    for (status, body) in [
        (
            400,
            r#"{"code":"","message":"","details":null,"hint":null}"#,
        ),
        (503, r#"{"code":"upstream_unavailable"}"#),
        (503, r#"{"code":"PGRST002"}"#),
        (500, r#"{"code":"57P02"}"#),
        (502, "<html>"),
    ] {
        let error = ApiError::from_postgrest(status, body);
        assert_eq!(error.code, Code::ServiceUnavailable, "{status} {body}");
        assert_eq!(error.retry_after_secs, Some(OUTAGE_RETRY_SECS));
    }
    let mistake = ApiError::from_postgrest(400, r#"{"message":"no code"}"#);
    assert_eq!(mistake.code, Code::InternalError);
}
