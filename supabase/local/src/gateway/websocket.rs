//! WebSockets: the handshake goes on like any request, and then bytes go both ways until either side ends.

use super::denial::Denial;
use super::rules::Upstream;
use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, header};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;

/// The header by which Realtime takes the key of a connection, before the parameter `apikey`.
const KEY_HEADER: HeaderName = HeaderName::from_static("x-api-key");
/// Frames are small, and there are thousands of connections: 2 KiB for each direction.
const BUFFER_BYTES: usize = 2 * 1024;

const NOT_HERE: Denial = Denial::new(
    501,
    "websocket_not_supported",
    "WebSockets are offered under /realtime/v1/websocket only",
);

/// Whether the request asks to become a WebSocket; an error where none is offered.
pub fn is_asked_for(
    method: &Method,
    headers: &HeaderMap,
    upstream: Upstream,
) -> Result<bool, Denial> {
    let Some(protocol) = headers.get(header::UPGRADE) else {
        return Ok(false);
    };
    let is_websocket = protocol.as_bytes().eq_ignore_ascii_case(b"websocket");
    if is_websocket && method == Method::GET && upstream == Upstream::Realtime {
        Ok(true)
    } else {
        Err(NOT_HERE)
    }
}

/// The query without the key, which goes on as a header: addresses end up in logs.
pub fn without_key(target: &str) -> String {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let parameters: Vec<&str> = query
        .split('&')
        .filter(|part| !part.is_empty() && !part.starts_with("apikey="))
        .collect();
    if parameters.is_empty() {
        path.to_owned()
    } else {
        format!("{path}?{}", parameters.join("&"))
    }
}

/// Makes a handshake of the request for the upstream, with the JWT of the caller's key.
pub fn prepare(headers: &mut HeaderMap, role_jwt: &str) {
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.remove(header::CONTENT_LENGTH);
    if let Ok(key) = HeaderValue::from_str(role_jwt) {
        headers.insert(KEY_HEADER, key);
    }
}

/// Joins both sides once the upstream has agreed, and answers the client's handshake; anything but its consent goes on
/// as it is. The place is held until either side ends.
pub fn join(
    client: Option<OnUpgrade>,
    answer: Response<hyper::body::Incoming>,
    place: Option<impl Send + 'static>,
    clean: impl FnOnce(HeaderMap) -> HeaderMap,
) -> Response<Body> {
    let agreed = answer.status() == StatusCode::SWITCHING_PROTOCOLS;
    let (mut head, body) = match (agreed, client) {
        (true, Some(client)) => {
            let mut answer = answer;
            let upstream = hyper::upgrade::on(&mut answer);
            tokio::spawn(async move {
                carry(client, upstream).await;
                drop(place);
            });
            answer.into_parts()
        }
        _ => answer.into_parts(),
    };
    head.headers = clean(head.headers);
    if agreed {
        let headers = &mut head.headers;
        headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    }
    Response::from_parts(head, Body::new(body))
}

async fn carry(client: OnUpgrade, upstream: OnUpgrade) {
    // Either side may go away at any time; then the other one is closed as well.
    let (Ok(client), Ok(upstream)) = tokio::join!(client, upstream) else {
        return;
    };
    let (mut client, mut upstream) = (TokioIo::new(client), TokioIo::new(upstream));
    let _ = tokio::io::copy_bidirectional_with_sizes(
        &mut client,
        &mut upstream,
        BUFFER_BYTES,
        BUFFER_BYTES,
    )
    .await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_leaves_the_address() {
        for (target, expected) in [
            (
                "/socket/websocket?apikey=k&vsn=2.0.0",
                "/socket/websocket?vsn=2.0.0",
            ),
            (
                "/socket/websocket?vsn=2.0.0&apikey=k",
                "/socket/websocket?vsn=2.0.0",
            ),
            ("/socket/websocket?apikey=k", "/socket/websocket"),
            ("/socket/websocket", "/socket/websocket"),
        ] {
            assert_eq!(without_key(target), expected);
        }
    }

    #[test]
    fn only_realtime_is_upgraded_and_only_to_a_websocket() {
        let asks = |method: Method, protocol: &'static str, upstream: Upstream| {
            let headers =
                HeaderMap::from_iter([(header::UPGRADE, HeaderValue::from_static(protocol))]);
            is_asked_for(&method, &headers, upstream).map_err(|denial| denial.status)
        };
        assert_eq!(asks(Method::GET, "WebSocket", Upstream::Realtime), Ok(true));
        assert_eq!(
            asks(Method::POST, "websocket", Upstream::Realtime),
            Err(501)
        );
        assert_eq!(asks(Method::GET, "h2c", Upstream::Realtime), Err(501));
        assert_eq!(asks(Method::GET, "websocket", Upstream::Rest), Err(501));
        assert_eq!(
            is_asked_for(&Method::GET, &HeaderMap::new(), Upstream::Rest),
            Ok(false)
        );
    }
}
