//! The complete gateway, in front of an upstream that echoes what reached it.

use super::*;
use crate::outbound::HttpClient;
use axum::body::to_bytes;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;
use tokio::net::TcpListener;

#[path = "bounds_tests.rs"]
mod bounds;

const SECRET: &str = "the-workers-secret-1";
const OTHER_SECRET: &str = "the-workers-secret-2";
const ADDRESS_SECRET: &str = "the-workers-proof-01";

async fn start(router: Router) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    tokio::spawn(async move { axum::serve(listener, service).await });
    address
}

/// Echoes the request, under the name of the service it stands for.
fn echo(name: &'static str) -> Router {
    Router::new().fallback(move |request: Request| async move {
        let (parts, body) = request.into_parts();
        let body = to_bytes(body, usize::MAX).await.unwrap();
        let headers: serde_json::Map<String, Value> = parts
            .headers
            .iter()
            .map(|(name, value)| {
                (
                    name.to_string(),
                    json!(String::from_utf8_lossy(value.as_bytes())),
                )
            })
            .collect();
        let report = json!({
            "service": name,
            "method": parts.method.as_str(),
            "target": parts.uri.to_string(),
            "headers": headers,
            "length": body.len(),
            "body": String::from_utf8_lossy(&body[..body.len().min(1000)]),
        });
        let mut response = answer(StatusCode::IM_A_TEAPOT, &report);
        response
            .headers_mut()
            .insert("content-range", HeaderValue::from_static("0-0/1"));
        response
    })
}

async fn gateway() -> String {
    gateway_to(&start(echo("rest")).await, &start(echo("auth")).await).await
}

async fn gateway_to(rest: &str, auth: &str) -> String {
    gateway_with_realtime(rest, auth, None).await
}

async fn gateway_with_realtime(rest: &str, auth: &str, realtime: Option<&str>) -> String {
    let settings = Settings::of(&[
        ("ANON_KEY", "a.n.on"),
        ("SERVICE_ROLE_KEY", "s.v.c"),
        ("PUBLISHABLE_KEY", "sb_publishable_1"),
        ("SECRET_KEY", "sb_secret_1"),
        ("EDGE_SECRETS", &format!("{SECRET},{OTHER_SECRET}")),
        ("EDGE_ADDRESS_SECRETS", ADDRESS_SECRET),
        ("REST_UPSTREAM", rest),
        ("AUTH_UPSTREAM", auth),
        ("REALTIME_UPSTREAM", realtime.unwrap_or_default()),
    ]);
    start(router(Gateway::new(&settings).unwrap())).await
}

const USER: [(&str, &str); 2] = [ANON, ("authorization", "Bearer u.s.er")];

struct Seen {
    status: u16,
    headers: HeaderMap,
    json: Value,
}

async fn ask(
    address: &str,
    method: &str,
    target: &str,
    headers: &[(&str, &str)],
    body: impl Into<Body>,
) -> Seen {
    let mut request = Request::builder()
        .method(method)
        .uri(format!("{address}{target}"));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let client: HttpClient = Client::builder(TokioExecutor::new()).build_http();
    let response = client
        .request(request.body(body.into()).unwrap())
        .await
        .unwrap();
    let (head, body) = response.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    Seen {
        status: head.status.as_u16(),
        headers: head.headers,
        json: serde_json::from_slice(&body).unwrap_or_default(),
    }
}

const ANON: (&str, &str) = ("apikey", "sb_publishable_1");

#[tokio::test]
async fn requests_are_routed_with_the_keys_role() {
    let gateway = gateway().await;
    let seen = ask(
        &gateway,
        "GET",
        "/rest/v1/waste_entries?select=id",
        &[ANON, ("prefer", "count=planned")],
        "",
    )
    .await;
    assert_eq!(
        (seen.status, &seen.json["service"], &seen.json["target"]),
        (418, &json!("rest"), &json!("/waste_entries?select=id"))
    );
    let headers = &seen.json["headers"];
    assert_eq!(
        (&headers["authorization"], &headers["prefer"]),
        (&json!("Bearer a.n.on"), &json!("count=exact"))
    );
    assert_eq!(
        (&headers["x-forwarded-for"], &headers["apikey"]),
        (&json!("127.0.0.1"), &Value::Null)
    );
    assert_eq!(seen.headers["access-control-allow-origin"], "*");
    assert_eq!(seen.headers["content-range"], "0-0/1");

    let user = [ANON, ("authorization", "Bearer u.s.er")];
    let seen = ask(&gateway, "GET", "/auth/v1/user", &user, "").await;
    assert_eq!(
        (&seen.json["service"], &seen.json["target"]),
        (&json!("auth"), &json!("/user"))
    );
    assert_eq!(seen.json["headers"]["authorization"], "Bearer u.s.er");
}

#[tokio::test]
async fn without_a_key_only_the_key_set_is_answered() {
    let gateway = gateway().await;
    for path in [
        "/rest/v1/t",
        "/auth/v1/user",
        "/auth/v1/health",
        "/realtime/v1/websocket",
    ] {
        let seen = ask(&gateway, "GET", path, &[], "").await;
        assert_eq!(
            (seen.status, &seen.json["code"]),
            (401, &json!("no_api_key")),
            "{path}"
        );
    }
    assert_eq!(
        ask(&gateway, "GET", "/auth/v1/.well-known/jwks.json", &[], "")
            .await
            .status,
        418
    );
    assert_eq!(ask(&gateway, "GET", "/health", &[], "").await.status, 200);
    assert_eq!(
        ask(&gateway, "GET", "/rest/v1/t?apikey=sb_secret_1", &[], "")
            .await
            .json["headers"]["authorization"],
        "Bearer s.v.c"
    );
}

#[tokio::test]
async fn the_rest_of_auth_opens_with_either_secret_only() {
    let gateway = gateway().await;
    let otp = |headers: Vec<(&'static str, &'static str)>| {
        let gateway = gateway.clone();
        async move {
            ask(
                &gateway,
                "POST",
                "/auth/v1/otp",
                &headers,
                r#"{"phone":"+66812345678"}"#,
            )
            .await
        }
    };
    for headers in [
        vec![ANON],
        vec![ANON, ("x-edge-secret", "wrong")],
        vec![("apikey", "sb_secret_1")],
    ] {
        let seen = otp(headers).await;
        assert_eq!(
            (seen.status, &seen.json["code"]),
            (403, &json!("not_allowed"))
        );
    }
    for secret in [SECRET, OTHER_SECRET] {
        let seen = otp(vec![
            ANON,
            ("X-Edge-Secret", secret),
            ("cf-connecting-ip", "1.2.3.4"),
        ])
        .await;
        assert_eq!((seen.status, &seen.json["target"]), (418, &json!("/otp")));
        let headers = &seen.json["headers"];
        assert_eq!(
            (&headers["x-edge-secret"], &headers["cf-connecting-ip"]),
            (&Value::Null, &json!("1.2.3.4"))
        );
    }
    assert_eq!(
        otp(vec![("x-edge-secret", SECRET)]).await.status,
        401,
        "the secret is no key"
    );
}

#[tokio::test]
async fn a_users_change_arrives_rewritten() {
    let gateway = gateway().await;
    let headers = [ANON, ("content-type", "application/json")];
    let seen = ask(
        &gateway,
        "PUT",
        "/auth/v1/user",
        &headers,
        r#"{ "data": {"name": "ก"} , "code_challenge": null}"#,
    )
    .await;
    assert_eq!(
        (seen.status, &seen.json["body"]),
        (418, &json!(r#"{"data":{"name":"ก"}}"#))
    );
    let seen = ask(
        &gateway,
        "PUT",
        "/auth/v1/user",
        &headers,
        r#"{"data":{},"phone":"x"}"#,
    )
    .await;
    assert_eq!(
        (seen.status, &seen.json["error_code"]),
        (403, &json!("body_not_allowed"))
    );
}

#[tokio::test]
async fn bodies_of_real_clients_are_read_or_refused_by_what_they_are() {
    let gateway = gateway().await;
    let marked = "\u{feff}{\"data\":{\"a\":1}}";
    for kind in ["application/json", "application/json; charset=utf8"] {
        let headers = [ANON, ("content-type", kind)];
        for (method, path) in [("PUT", "/auth/v1/user"), ("POST", "/rest/v1/t")] {
            let seen = ask(&gateway, method, path, &headers, marked).await;
            assert_eq!(seen.json["body"], marked[3..], "{path} {kind}");
        }
    }
    for encoding in ["gzip", "deflate", "br", "identity, gzip"] {
        let headers = [ANON, ("content-encoding", encoding)];
        let seen = ask(&gateway, "POST", "/rest/v1/t", &headers, "x").await;
        assert_eq!(
            (seen.status, &seen.json["code"]),
            (415, &json!("encoding_not_supported"))
        );
        assert_eq!(seen.headers["accept-encoding"], "identity");
    }
    let headers = [ANON, ("content-encoding", "identity")];
    let seen = ask(&gateway, "POST", "/rest/v1/t", &headers, "x").await;
    assert_eq!(seen.status, 418);
}

/// A body whose length is not announced.
fn streamed(bytes: usize) -> Body {
    let body = http_body_util::StreamBody::new(Chunks { left: bytes });
    Body::new(body)
}

struct Chunks {
    left: usize,
}

impl futures_core::Stream for Chunks {
    type Item = Result<hyper::body::Frame<Bytes>, std::convert::Infallible>;

    fn poll_next(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Self::Item>> {
        let size = self.left.min(64 * 1024);
        self.left -= size;
        let frame = (size > 0).then(|| Ok(hyper::body::Frame::data(Bytes::from(vec![b' '; size]))));
        std::task::Poll::Ready(frame)
    }
}

#[tokio::test]
async fn bodies_are_counted_as_they_come() {
    let gateway = gateway().await;
    const MIB: usize = 1024 * 1024;
    for (path, bytes, expected) in [
        ("/rest/v1/waste_entries", MIB, 418),
        ("/rest/v1/waste_entries", MIB + 1, 413),
        ("/rest/v1/rpc/create_waste_entries", 7 * MIB, 418),
        ("/rest/v1/rpc/create_waste_entries", 7 * MIB + 1025, 413),
        ("/rest/v1/rpc/migrate_local", 21 * MIB, 418),
        ("/rest/v1/rpc/migrate_local", 21 * MIB + 1, 413),
    ] {
        let seen = ask(&gateway, "POST", path, &[ANON], streamed(bytes)).await;
        assert_eq!(seen.status, expected, "{path} {bytes} streamed");
        if expected == 418 {
            assert_eq!(seen.json["length"], bytes);
        }
    }
    let seen = ask(&gateway, "POST", "/rest/v1/t", &[ANON], vec![b' '; MIB + 1]).await;
    assert_eq!(
        (seen.status, &seen.json["code"]),
        (413, &json!("body_too_large"))
    );
}

#[tokio::test]
async fn a_service_that_is_down_is_said_to_be() {
    let gateway = gateway_to("http://127.0.0.1:9", "http://127.0.0.1:9").await;
    for path in ["/rest/v1/t", "/auth/v1/health", "/realtime/v1/websocket"] {
        let seen = ask(&gateway, "GET", path, &[ANON], "").await;
        assert_eq!(
            (seen.status, seen.headers["retry-after"].to_str().unwrap()),
            (503, "2"),
            "{path}"
        );
        assert_eq!(seen.headers["access-control-allow-origin"], "*");
    }
}

#[tokio::test]
async fn preflights_are_answered_for_every_path() {
    let gateway = gateway().await;
    let preflight = [
        ("origin", "http://app"),
        ("access-control-request-method", "PATCH"),
        ("access-control-request-headers", "apikey,prefer"),
    ];
    let seen = ask(
        &gateway,
        "OPTIONS",
        "/rest/v1/waste_entries",
        &preflight,
        "",
    )
    .await;
    assert_eq!(seen.status, 200);
    assert_eq!(
        seen.headers["access-control-allow-headers"],
        "apikey,prefer"
    );
    assert!(
        seen.headers["access-control-allow-methods"]
            .to_str()
            .unwrap()
            .contains("PATCH")
    );
}

/// Odd paths must reach the rules as they were sent, so they are written to the socket by hand.
#[tokio::test]
async fn odd_paths_are_refused_on_the_wire() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let gateway = gateway().await;
    let host = gateway.strip_prefix("http://").unwrap();
    for target in [
        "/auth/v1/x/../otp",
        "//auth/v1/otp",
        "/auth/v1/%6Ftp",
        "/auth/v1/otp;x",
        "/auth/v1//otp",
        "http://x/auth/v1/otp",
        "/auth/v1/otp/",
        "/auth/v1/token?grant_type=refresh_token&grant_type=password",
    ] {
        let mut socket = tokio::net::TcpStream::connect(host).await.unwrap();
        let request = format!(
            "POST {target} HTTP/1.1\r\nhost: x\r\napikey: a.n.on\r\ncontent-type: application/json\r\n\
             content-length: 2\r\nconnection: close\r\n\r\n{{}}"
        );
        socket.write_all(request.as_bytes()).await.unwrap();
        let mut text = String::new();
        socket.read_to_string(&mut text).await.unwrap();
        let status = &text[9..12];
        assert!(
            matches!(status, "403" | "404"),
            "{target} answered {status}"
        );
    }
}

/// Stands for Realtime: accepts the handshake, reports what reached it, and echoes what it is sent.
fn mirror() -> Router {
    use axum::extract::ws::{Message, WebSocketUpgrade};
    let connect = |upgrade: WebSocketUpgrade, request: Request| async move {
        let key = request.headers().get("x-api-key");
        let key = key.map(|value| value.to_str().unwrap().to_owned());
        let report = json!({ "target": request.uri().to_string(), "key": key }).to_string();
        upgrade.on_upgrade(|mut socket| async move {
            socket.send(Message::Text(report.into())).await.unwrap();
            while let Some(Ok(Message::Text(text))) = socket.recv().await {
                socket.send(Message::Text(text)).await.unwrap();
            }
        })
    };
    Router::new().route("/socket/websocket", axum::routing::get(connect))
}

#[tokio::test]
async fn a_websocket_is_passed_on_both_ways_with_the_keys_jwt() {
    use futures_util::{SinkExt, StreamExt};
    use tokio_tungstenite::tungstenite::Message;
    let realtime = start(mirror()).await;
    let gateway =
        gateway_with_realtime("http://127.0.0.1:9", "http://127.0.0.1:9", Some(&realtime));
    let address = gateway.await.replace("http://", "ws://");
    let target = format!("{address}/realtime/v1/websocket?apikey=sb_publishable_1&vsn=2.0.0");
    let (mut socket, answer) = tokio_tungstenite::connect_async(target).await.unwrap();
    assert_eq!(answer.status(), 101);
    let report = socket.next().await.unwrap().unwrap().into_text().unwrap();
    assert_eq!(
        serde_json::from_str::<Value>(&report).unwrap(),
        json!({ "target": "/socket/websocket?vsn=2.0.0", "key": "a.n.on" })
    );
    let text = "ก".repeat(10_000);
    socket.send(Message::text(text.clone())).await.unwrap();
    let back = socket.next().await.unwrap().unwrap().into_text().unwrap();
    assert_eq!(back.as_str(), text);
    socket.close(None).await.unwrap();

    for (path, status) in [
        ("/realtime/v1/websocket?apikey=wrong", 401),
        ("/realtime/v1/websocket", 401),
        ("/rest/v1/t?apikey=sb_publishable_1", 501),
    ] {
        let refused = tokio_tungstenite::connect_async(format!("{address}{path}")).await;
        let Err(tokio_tungstenite::tungstenite::Error::Http(answer)) = refused else {
            panic!("{path} was not refused");
        };
        assert_eq!(answer.status(), status, "{path}");
    }
}
