//! A connection alone, without a database.

use super::*;
use carbon_dev_jwt as jwt;
use futures_util::{SinkExt, StreamExt};
use tokio_tungstenite::tungstenite::{Error, Message};

const SECRET: &str = "a secret of some length";

/// A server whose clients must not be silent for long; nothing answers where its database should be.
async fn start(idle: Duration) -> String {
    let config: Config = "postgres://x:y@127.0.0.1:9/x".parse().unwrap();
    let realtime = Arc::new(Realtime {
        hub: Arc::default(),
        pool: pool(&config).unwrap(),
        jwt_secret: SECRET.to_owned(),
        idle,
        users: Counter::new(MAX_CONNECTIONS),
        has_partitions: AtomicBool::new(false),
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router(realtime)).await });
    format!("ws://{address}/socket/websocket?vsn=2.0.0")
}

fn key(expires: u64) -> String {
    jwt::sign(SECRET, &json!({ "role": "anon", "exp": expires }))
}

#[tokio::test]
async fn a_client_that_says_nothing_is_let_go() {
    let address = start(Duration::from_millis(300)).await;
    let target = format!("{address}&apikey={}", key(u64::MAX / 2));
    let (mut socket, _) = tokio_tungstenite::connect_async(target).await.unwrap();
    let beat = r#"[null,"1","phoenix","heartbeat",{}]"#;
    for _ in 0..4 {
        tokio::time::sleep(Duration::from_millis(150)).await;
        socket.send(Message::text(beat)).await.unwrap();
        let reply = socket.next().await.unwrap().unwrap();
        assert!(reply.to_text().unwrap().contains("phx_reply"));
    }
    let last = socket.next().await.unwrap().unwrap();
    let Message::Close(Some(close)) = last else {
        panic!("{last:?}")
    };
    assert_eq!(close.reason.as_str(), "no heartbeat");
}

#[tokio::test]
async fn without_its_database_joins_are_refused_and_may_be_tried_again() {
    let address = start(IDLE).await;
    let target = format!("{address}&apikey={}", key(u64::MAX / 2));
    let (mut socket, _) = tokio_tungstenite::connect_async(target).await.unwrap();
    for number in ["1", "2"] {
        let join =
            json!([number, number, "realtime:a", "phx_join", { "config": { "private": true } }]);
        socket.send(Message::text(join.to_string())).await.unwrap();
        let reply = socket.next().await.unwrap().unwrap();
        assert!(
            reply
                .to_text()
                .unwrap()
                .contains("UnableToConnectToProject")
        );
    }
}

#[tokio::test]
async fn the_handshake_wants_a_key_that_holds() {
    let address = start(IDLE).await;
    for target in [
        address.clone(),
        format!("{address}&apikey=x"),
        format!("{address}&apikey={}", key(1)),
        format!(
            "{address}&apikey={}",
            jwt::sign("another", &json!({ "role": "anon", "exp": 9e9 }))
        ),
    ] {
        let refused = tokio_tungstenite::connect_async(target).await;
        let Err(Error::Http(answer)) = refused else {
            panic!("not refused")
        };
        assert_eq!(answer.status(), 401);
    }
}

/// Joins on a connection of its own as this user; answers the connection and the reply.
async fn join_as(address: &str, subject: &str) -> (impl Sized, String) {
    let target = format!("{address}&apikey={}", key(u64::MAX / 2));
    let (mut socket, _) = tokio_tungstenite::connect_async(target).await.unwrap();
    let claims = json!({ "role": "authenticated", "sub": subject, "exp": u64::MAX / 2 });
    let payload =
        json!({ "config": { "private": true }, "access_token": jwt::sign(SECRET, &claims) });
    let join = json!(["1", "1", "realtime:a", "phx_join", payload]);
    socket.send(Message::text(join.to_string())).await.unwrap();
    let reply = socket.next().await.unwrap().unwrap();
    (socket, reply.to_text().unwrap().to_owned())
}

#[tokio::test]
async fn a_person_has_twenty_connections_and_another_person_is_not_held_up() {
    const LIMIT: &str = "ConnectionRateLimitReached";
    let address = start(IDLE).await;
    let mut open = Vec::new();
    for _ in 0..MAX_CONNECTIONS {
        let (socket, reply) = join_as(&address, "one").await;
        assert!(!reply.contains(LIMIT), "{reply}");
        open.push(socket);
    }
    let (refused, reply) = join_as(&address, "one").await;
    assert!(reply.contains(LIMIT), "{reply}");
    let (other, reply) = join_as(&address, "two").await;
    assert!(!reply.contains(LIMIT), "{reply}");
    drop((open, refused, other));
    for tries in 0.. {
        let (_socket, reply) = join_as(&address, "one").await;
        if !reply.contains(LIMIT) {
            break;
        }
        assert!(tries < 100, "places come free");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
