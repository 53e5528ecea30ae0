//! What one client cannot do to the others: bounds, rates, and connections that turn out dead.

use super::*;

#[tokio::test]
async fn a_body_that_nothing_reads_does_not_go_on() {
    let gateway = gateway().await;
    for (method, path) in [
        ("GET", "/auth/v1/user"),
        ("GET", "/rest/v1/t"),
        ("DELETE", "/rest/v1/t?id=eq.1"),
        ("GET", "/realtime/v1/api/x"),
    ] {
        let seen = ask(&gateway, method, path, &USER, "ignored").await;
        if !path.starts_with("/realtime") {
            assert_eq!(
                (seen.status, &seen.json["length"]),
                (418, &json!(0)),
                "{path}"
            );
        }
    }
    let seen = ask(&gateway, "PATCH", "/rest/v1/t?id=eq.1", &USER, "{}").await;
    assert_eq!(seen.json["length"], 2);
}

#[tokio::test]
async fn what_a_user_stores_in_auth_has_one_kibibyte() {
    let gateway = gateway().await;
    let headers = [ANON, ("content-type", "application/json")];
    let put = |length: usize| {
        let (gateway, body) = (gateway.clone(), json!({"data": {"a": "x".repeat(length)}}));
        async move {
            let seen = ask(&gateway, "PUT", "/auth/v1/user", &headers, body.to_string()).await;
            (seen.status, seen.json["code"].clone())
        }
    };
    let overhead = r#"{"a":""}"#.len();
    assert_eq!(put(1024 - overhead).await.0, 418);
    assert_eq!(
        put(1025 - overhead).await,
        (413, json!("metadata_too_large"))
    );
    assert_eq!(put(6_000).await, (413, json!("body_too_large")));
}

#[tokio::test]
async fn postgrests_description_of_itself_is_not_shown() {
    let gateway = gateway().await;
    for method in ["GET", "HEAD", "POST"] {
        for path in ["/rest/v1/", "/rest/v1", "/rest/v1/?select=*"] {
            let seen = ask(&gateway, method, path, &USER, "").await;
            assert_eq!(seen.status, 404, "{method} {path}");
        }
    }
}

#[tokio::test]
async fn a_query_that_would_cost_too_much_is_refused_by_name() {
    let gateway = gateway().await;
    let conditions = format!("or=({})", vec!["notes.match.a"; 700].join(","));
    let terms = format!("or=({})", vec!["a.eq.1"; 21].join(","));
    for (query, code) in [
        ("select=notes::numeric", "cast_not_allowed"),
        ("a=eq.1;select=notes::numeric", "cast_not_allowed"),
        ("notes=eq.%FF", "query_not_utf8"),
        ("select=notes,n:notes", "repeated_column"),
        (&terms, "too_many_conditions"),
        (&conditions, "query_too_long"),
    ] {
        let path = format!("/rest/v1/waste_entries?{query}");
        let seen = ask(&gateway, "GET", &path, &USER, "").await;
        assert_eq!(
            (seen.status, &seen.json["code"]),
            (400, &json!(code)),
            "{code}"
        );
    }
}

/// A service that plays dead: each connection answers once and then ends behind the next request, without a word.
async fn dying_service() -> (String, std::sync::Arc<std::sync::Mutex<Vec<String>>>) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let heard = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let noted = heard.clone();
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let noted = noted.clone();
            tokio::spawn(async move {
                for answered in 0.. {
                    let mut head = vec![0; 4096];
                    let length = socket.read(&mut head).await.unwrap_or_default();
                    if length == 0 {
                        return;
                    }
                    let head = String::from_utf8_lossy(&head[..length]).into_owned();
                    noted.lock().unwrap().push(head);
                    if answered > 0 {
                        return;
                    }
                    let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
                    socket.write_all(answer).await.unwrap();
                }
            });
        }
    });
    (address, heard)
}

#[tokio::test]
async fn a_read_on_a_dead_connection_is_tried_once_more_and_a_write_is_not() {
    let (service, heard) = dying_service().await;
    let gateway = gateway_to(&service, &service).await;
    for (method, statuses) in [("GET", [200, 200]), ("POST", [200, 503])] {
        for expected in statuses {
            let seen = ask(&gateway, method, "/rest/v1/t", &USER, "").await;
            assert_eq!(seen.status, expected, "{method}");
        }
    }
    let count = |method: &str| {
        let heard = heard.lock().unwrap();
        heard.iter().filter(|head| head.starts_with(method)).count()
    };
    // The second GET was written twice, the second time on a connection of its own.
    assert_eq!((count("GET"), count("POST")), (3, 2));
}

#[tokio::test]
async fn a_head_uses_a_connection_of_its_own() {
    let (service, heard) = dying_service().await;
    let gateway = gateway_to(&service, &service).await;
    for method in ["HEAD", "POST"] {
        let seen = ask(&gateway, method, "/rest/v1/t", &USER, "").await;
        assert_eq!(seen.status, 200, "{method}");
    }
    let heard = heard.lock().unwrap();
    assert!(
        heard[0].to_ascii_lowercase().contains("connection: close"),
        "{}",
        heard[0]
    );
}

/// Requests whose bodies the gateway refuses or ignores, on one connection: each has its answer, also a body
/// that its length alone refuses, which the client goes on writing.
#[tokio::test]
async fn a_refusal_leaves_the_connection_usable() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let gateway = gateway().await;
    let mut socket = tokio::net::TcpStream::connect(gateway.strip_prefix("http://").unwrap())
        .await
        .unwrap();
    for (method, target, bytes, status) in [
        ("DELETE", "/nowhere", 200_000, "404"),
        ("DELETE", "/rest/v1/", 200_000, "404"),
        ("POST", "/rest/v1/t", 3_000_000, "413"),
        ("DELETE", "/rest/v1/t", 200_000, "418"),
    ] {
        let head = format!(
            "{method} {target} HTTP/1.1\r\nhost: x\r\napikey: a.n.on\r\ncontent-length: {bytes}\r\n\r\n"
        );
        socket.write_all(head.as_bytes()).await.unwrap();
        socket.write_all(&vec![b'x'; bytes]).await.unwrap();
        let mut answer = vec![0; 64 * 1024];
        let length = socket.read(&mut answer).await.unwrap();
        let text = String::from_utf8_lossy(&answer[..length]).into_owned();
        assert_eq!(text.get(9..12), Some(status), "{target}: {text}");
        assert!(!text.contains("connection: close"), "{target}");
    }
}

#[tokio::test]
async fn a_person_is_counted_by_address_and_the_worker_and_the_keys_are_not() {
    let gateway = gateway().await;
    let json = ("content-type", "application/json");
    let put = |more: Vec<(&'static str, &'static str)>| {
        let gateway = gateway.clone();
        async move {
            let headers = [vec![json], more].concat();
            ask(&gateway, "PUT", "/auth/v1/user", &headers, r#"{"data":{}}"#).await
        }
    };
    for _ in 0..10 {
        assert_eq!(put(USER.to_vec()).await.status, 418);
    }
    let seen = put(USER.to_vec()).await;
    assert_eq!(
        (seen.status, &seen.json["code"]),
        (429, &json!("rate_limited"))
    );
    let wait: u32 = seen.headers["retry-after"]
        .to_str()
        .unwrap()
        .parse()
        .unwrap();
    assert!((1..=6).contains(&wait), "{wait}");
    // Another token from there is another user, and the service role is not a client.
    let other = vec![ANON, ("authorization", "Bearer o.th.er")];
    assert_eq!(put(other).await.status, 418);
    for proof in [
        vec![("apikey", "s.v.c")],
        [USER.to_vec(), vec![("x-edge-client-proof", ADDRESS_SECRET)]].concat(),
    ] {
        for _ in 0..12 {
            assert_eq!(put(proof.clone()).await.status, 418);
        }
    }
    let wrong = [
        USER.to_vec(),
        vec![("x-edge-client-proof", "the-workers-proof-02")],
    ]
    .concat();
    assert_eq!(put(wrong).await.status, 429, "a wrong proof proves nothing");
}

#[tokio::test]
async fn the_address_that_the_worker_states_goes_on_and_opens_nothing() {
    let gateway = gateway().await;
    let stated = |secret: &'static str| {
        [
            USER.to_vec(),
            vec![
                ("x-edge-client-proof", secret),
                ("x-edge-client", "192.0.2.9"),
            ],
        ]
        .concat()
    };
    let seen = ask(&gateway, "GET", "/rest/v1/t", &stated(ADDRESS_SECRET), "").await;
    let headers = &seen.json["headers"];
    assert_eq!(headers["x-forwarded-for"], "192.0.2.9");
    assert_eq!(
        (&headers["x-edge-client"], &headers["x-edge-client-proof"]),
        (&Value::Null, &Value::Null)
    );
    let seen = ask(
        &gateway,
        "GET",
        "/rest/v1/t",
        &stated("the-workers-proof-02"),
        "",
    )
    .await;
    assert_eq!(seen.json["headers"]["x-forwarded-for"], "127.0.0.1");
    let seen = ask(
        &gateway,
        "POST",
        "/auth/v1/otp",
        &stated(ADDRESS_SECRET),
        "{}",
    )
    .await;
    assert_eq!(
        (seen.status, &seen.json["code"]),
        (403, &json!("not_allowed"))
    );
}

#[tokio::test]
async fn who_is_not_signed_in_has_few_requests_under_way() {
    let slow = Router::new().fallback(|| async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        StatusCode::OK
    });
    let gateway = gateway_to(&start(slow).await, "http://127.0.0.1:9").await;
    let at_once = |headers: Vec<(&'static str, &'static str)>| {
        let gateway = gateway.clone();
        async move {
            let requests = (0..12).map(|_| ask(&gateway, "GET", "/rest/v1/t", &headers, ""));
            let seen = futures_util::future::join_all(requests).await;
            seen.iter().filter(|seen| seen.status == 200).count()
        }
    };
    assert_eq!(at_once(vec![ANON]).await, rates::MAX_ANONYMOUS_REQUESTS);
    assert_eq!(
        at_once(USER.to_vec()).await,
        12,
        "the database counts signed-in users"
    );
    assert_eq!(
        at_once(vec![ANON]).await,
        rates::MAX_ANONYMOUS_REQUESTS,
        "places come free"
    );
}
