//! Every rule of the list, and every spelling that is not on it.

use super::*;

const JSON: &[&str] = &["application/json"];
const TOKEN: &str = "grant_type=refresh_token";

/// The complete decision: what goes on to the upstream, or the refusal's status.
fn decide(
    method: &str,
    address: &str,
    types: &[&str],
    body: &str,
    trusted: bool,
) -> Result<(String, String), u16> {
    let (path, query) = address.split_once('?').unwrap_or((address, ""));
    let passage = authorize(method, path, query, trusted).map_err(|denial| denial.status)?;
    let body = passage
        .check_body(types, body.as_bytes())
        .map_err(|denial| denial.status)?;
    Ok((
        passage.target.clone(),
        String::from_utf8(body.into_owned()).unwrap(),
    ))
}

fn refused(method: &str, address: &str) -> Option<u16> {
    decide(method, address, JSON, r#"{"data":{}}"#, false).err()
}

#[test]
fn what_has_texts_is_handed_to_the_database_unread() {
    let target = |method: &str, path: &str, query: &str| {
        authorize(method, path, query, false).unwrap().target
    };
    for (name, query) in [
        ("create_waste_entry", "entry"),
        ("create_waste_entries", "entries"),
        ("update_waste_entry", "changes"),
        ("update_profile", "changes"),
        ("run_once", "arguments"),
    ] {
        let path = format!("/rest/v1/rpc/{name}");
        let expected = format!("/rpc/{name}?columns={query}");
        assert_eq!(target("POST", &path, ""), expected);
        assert_eq!(target("POST", &path, "apikey=x"), expected);
        assert_eq!(
            target("POST", &path, "select=x"),
            format!("/rpc/{name}?select=x")
        );
        assert_eq!(target("GET", &path, ""), format!("/rpc/{name}"));
    }
    assert_eq!(
        target("POST", "/rest/v1/waste_entries", ""),
        "/waste_entries"
    );
}

#[test]
fn the_list_passes_as_it_stands() {
    let listed = [
        ("POST", "/auth/v1/token?grant_type=refresh_token"),
        ("GET", "/auth/v1/user"),
        ("PUT", "/auth/v1/user"),
        ("POST", "/auth/v1/logout"),
        ("POST", "/auth/v1/logout?scope=others"),
        ("GET", "/auth/v1/settings"),
        ("GET", "/auth/v1/health"),
        ("GET", "/auth/v1/.well-known/jwks.json"),
    ];
    for (method, address) in listed {
        let (target, _) = decide(method, address, JSON, r#"{"data":{}}"#, false).expect(address);
        assert_eq!(target, address.strip_prefix("/auth/v1").unwrap());
    }
}

#[test]
fn everything_else_of_auth_needs_the_secret() {
    let others = [
        ("POST", "/otp"),
        ("POST", "/verify"),
        ("GET", "/verify?token=1&type=sms"),
        ("POST", "/resend"),
        ("POST", "/signup"),
        ("GET", "/reauthenticate"),
        ("POST", "/recover"),
        ("POST", "/magiclink"),
        ("POST", "/invite"),
        ("GET", "/authorize"),
        ("GET", "/callback"),
        ("POST", "/factors"),
        ("POST", "/sso"),
        ("POST", "/passkeys/authentication/verify"),
        ("GET", "/admin/users"),
        ("POST", "/admin/generate_link"),
        ("POST", "/token?grant_type=password"),
        ("POST", "/token?grant_type=id_token"),
        ("POST", "/token?grant_type=pkce"),
        ("POST", "/token"),
        ("DELETE", "/user"),
        ("PATCH", "/user"),
        ("POST", "/user"),
        ("HEAD", "/user"),
        ("GET", "/logout"),
        ("POST", "/health"),
        ("DELETE", "/user/identities/1"),
        ("GET", ""),
        ("GET", "/"),
    ];
    for (method, rest) in others {
        let address = format!("/auth/v1{rest}");
        assert_eq!(refused(method, &address), Some(403), "{method} {address}");
        assert!(
            decide(method, &address, JSON, "{}", true).is_ok(),
            "{method} {address} with the secret"
        );
    }
}

#[test]
fn odd_spellings_of_listed_paths_are_not_on_the_list() {
    for path in [
        "user/",
        "User",
        "USER",
        "users",
        "user.",
        "user~",
        "user.json",
    ] {
        assert_eq!(
            refused("GET", &format!("/auth/v1/{path}")),
            Some(403),
            "{path}"
        );
    }
    let odd = [
        "/auth/v1//user",
        "//auth/v1/user",
        "/auth//v1/user",
        "/auth/v1/./user",
        "/auth/v1/x/../user",
        "/rest/v1/../../auth/v1/otp",
        "/auth/v1/%75ser",
        "/auth/v1/user%2F",
        "/auth/v1%2Fuser",
        "/auth/v1/%2e%2e/otp",
        "/auth/v1/user%00",
        "/auth/v1/%c0%afuser",
        "/auth/v1/us%C0%80er",
        "/auth/v1/user;a=b",
        "/auth/v1/user\\..\\otp",
        "/auth/v1/user@x",
        "/auth/v1/user:80",
        "/auth/v1/..",
        "auth/v1/user",
        "*",
        "",
    ];
    for path in odd {
        assert_eq!(refused("GET", path), Some(404), "{path}");
        assert_eq!(
            decide("GET", path, JSON, "", true).err(),
            Some(404),
            "{path} with the secret"
        );
    }
    for path in [
        "/AUTH/v1/user",
        "/auth/V1/user",
        "/auth/v2/user",
        "/auth/v1x/user",
        "/",
        "/storage/v1/object",
    ] {
        assert_eq!(refused("GET", path), Some(404), "{path}");
    }
}

#[test]
fn the_token_endpoint_takes_one_parameter_to_the_letter() {
    let odd = [
        "grant_type=refresh_token&grant_type=password",
        "grant_type=password&grant_type=refresh_token",
        "grant_type=refresh_token&x=1",
        "grant_type=refresh%5Ftoken",
        "grant%5Ftype=refresh_token",
        "grant_type=refresh_token;grant_type=password",
        "GRANT_TYPE=refresh_token",
        "grant_type=REFRESH_TOKEN",
        "grant_type[]=refresh_token",
        "grant_type=refresh_token ",
        "grant_type=",
        "grant_type=refresh_token&",
        "&grant_type=refresh_token",
        "?grant_type=refresh_token",
    ];
    for query in odd {
        assert_eq!(
            refused("POST", &format!("/auth/v1/token?{query}")),
            Some(403),
            "{query}"
        );
    }
    let forms: [&[&str]; 6] = [
        &["application/x-www-form-urlencoded"],
        &["multipart/form-data; boundary=x"],
        &["text/plain"],
        &["application/json", "application/x-www-form-urlencoded"],
        &["application/json, application/x-www-form-urlencoded"],
        &[],
    ];
    for types in forms {
        let address = format!("/auth/v1/token?{TOKEN}");
        assert_eq!(
            decide("POST", &address, types, "grant_type=password", false).err(),
            Some(403),
            "{types:?}"
        );
    }
}

#[test]
fn logout_takes_a_known_scope_once() {
    for query in [
        "scope=all",
        "scope=global&scope=local",
        "scope=",
        "Scope=global",
        "x=1",
    ] {
        assert_eq!(
            refused("POST", &format!("/auth/v1/logout?{query}")),
            Some(403),
            "{query}"
        );
    }
}

#[test]
fn the_key_in_the_query_is_taken_out() {
    let passage = authorize("GET", "/rest/v1/t", "select=*&apikey=k&id=eq.1", false).unwrap();
    assert_eq!(
        (passage.target.as_str(), passage.query_key.as_deref()),
        ("/t?select=*&id=eq.1", Some("k"))
    );
    let passage = authorize(
        "POST",
        "/auth/v1/token",
        &format!("apikey=k&{TOKEN}"),
        false,
    )
    .unwrap();
    assert_eq!(passage.target, format!("/token?{TOKEN}"));
    assert_eq!(refused("GET", "/rest/v1/t?apikey=a&apikey=b"), Some(400));
    assert_eq!(refused("GET", "/auth/v1/user?ApiKey=a"), Some(403));
}

#[test]
fn rest_and_realtime_are_open_and_routed() {
    let routed = [
        (
            "/rest/v1/waste_entries?select=id&or=(a.eq.1,b.eq.2)",
            "/waste_entries?select=id&or=(a.eq.1,b.eq.2)",
        ),
        ("/rest/v1/rpc/list_waste_entries", "/rpc/list_waste_entries"),
        (
            "/realtime/v1/websocket?vsn=2.0.0",
            "/socket/websocket?vsn=2.0.0",
        ),
        ("/realtime/v1/api/broadcast", "/api/broadcast"),
    ];
    for (address, expected) in routed {
        assert_eq!(decide("GET", address, &[], "", false).unwrap().0, expected);
    }
    for method in ["TRACE", "CONNECT", "PURGE", "get"] {
        assert_eq!(refused(method, "/rest/v1/t"), Some(405), "{method}");
    }
}

#[test]
fn only_migrations_and_batches_may_be_large() {
    let cap = |method: &str, path: &str| authorize(method, path, "", true).unwrap().max_body_bytes;
    assert_eq!(
        cap("POST", "/rest/v1/rpc/migrate_local"),
        MAX_MIGRATION_BYTES
    );
    assert_eq!(cap("POST", "/rest/v1/rpc/run_once"), MAX_MIGRATION_BYTES);
    assert_eq!(
        cap("POST", "/rest/v1/rpc/create_waste_entries"),
        MAX_BATCH_BYTES
    );
    assert_eq!(cap("PUT", "/rest/v1/rpc/migrate_local"), MAX_BODY_BYTES);
    assert_eq!(cap("POST", "/rest/v1/rpc/migrate_local/"), MAX_BODY_BYTES);
    assert_eq!(cap("POST", "/rest/v1/waste_entries"), MAX_BODY_BYTES);
    assert_eq!(cap("POST", "/auth/v1/otp"), MAX_BODY_BYTES);
    let long = format!("id=in.({})", "1,".repeat(MAX_TARGET_BYTES / 2));
    assert_eq!(
        authorize("GET", "/realtime/v1/websocket", &long, true)
            .unwrap_err()
            .status,
        414
    );
}

#[test]
fn a_user_may_change_data_and_nothing_else() {
    let put = |body: &str| decide("PUT", "/auth/v1/user", JSON, body, false).map(|(_, body)| body);
    assert_eq!(
        put(r#" { "data" : {"a": 1e400, "phone": "x"} } "#).unwrap(),
        r#"{"data":{"a":1e+400,"phone":"x"}}"#
    );
    assert_eq!(
        put(r#"{"data":{},"code_challenge":null,"code_challenge_method":null}"#).unwrap(),
        r#"{"data":{}}"#,
        "supabase-js sends these two along"
    );
    let refused = [
        "",
        "{}",
        "[]",
        "null",
        r#"[{"data":{}}]"#,
        r#"{"data":1}"#,
        r#"{"data":null}"#,
        r#"{"data":[]}"#,
        r#"{"Data":{}}"#,
        r#"{"data":{},"phone":"x"}"#,
        r#"{"phone":"x","data":{}}"#,
        r#"{"data":{},"phone":null}"#,
        r#"{"data":{},"Phone":"x"}"#,
        r#"{"data":{},"\u0070hone":"x"}"#,
        r#"{"data":{},"password":"x"}"#,
        r#"{"data":{},"code_challenge":"x"}"#,
        r#"{"data":1,"data":{}}"#,
        r#"{"data":{},"data":{}}"#,
        r#"{"data":{},"d\u0061ta":{"phone":"x"}}"#,
        r#"{"data":{},"attributes":{"phone":"x"}}"#,
        r#"{"data":{}}{"phone":"x"}"#,
        r#"{"data":{},}"#,
        r#"{"data":{}} // phone"#,
        "\u{feff}{\"data\":{}}",
    ];
    for body in refused {
        assert_eq!(put(body).unwrap_err(), 403, "{body}");
    }
    let deep = format!(
        r#"{{"data":{}{}}}"#,
        r#"{"a":"#.repeat(200),
        "}".repeat(200)
    );
    assert_eq!(put(&deep).unwrap_err(), 403);
    for types in [
        &["text/plain"][..],
        &[],
        &["application/json", "application/json"],
    ] {
        assert_eq!(
            decide("PUT", "/auth/v1/user", types, r#"{"data":{}}"#, false).unwrap_err(),
            403
        );
    }
    assert!(
        decide(
            "PUT",
            "/auth/v1/user",
            &["Application/JSON; charset=UTF-8"],
            r#"{"data":{}}"#,
            false
        )
        .is_ok()
    );
    assert!(
        decide("PUT", "/auth/v1/user", JSON, r#"{"phone":"x"}"#, true).is_ok(),
        "the Worker may"
    );
}
