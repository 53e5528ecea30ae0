//! Listening on loopback and stopping gracefully.

use axum::Router;
use axum::serve::ListenerExt;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

/// Requests that still run this long after the signal to stop are cut off.
const SHUTDOWN_SECS: u64 = 10;

/// Opens the port. Anything but a loopback address is refused: nothing here is made for a network.
pub async fn listen(address: &str, setting: &str) -> Result<TcpListener, String> {
    let address: SocketAddr = address
        .parse()
        .map_err(|_| format!("{setting} is not an address with a port: {address:?}"))?;
    if !address.ip().is_loopback() {
        return Err(format!(
            "{setting} must be a loopback address, not {}",
            address.ip()
        ));
    }
    TcpListener::bind(address)
        .await
        .map_err(|why| format!("cannot listen on {address} ({setting}): {why}"))
}

/// Serves until SIGTERM or SIGINT, then lets running requests end.
pub async fn serve(listener: TcpListener, router: Router) -> Result<(), String> {
    let (stop, mut stopped) = tokio::sync::watch::channel(false);
    let mut terminate = signal(SignalKind::terminate()).map_err(|why| why.to_string())?;
    tokio::spawn(async move {
        tokio::select! { _ = terminate.recv() => {}, _ = tokio::signal::ctrl_c() => {} }
        let _ = stop.send(true);
    });
    let mut cut_off = stopped.clone();
    // A body that follows its head would wait 40 ms for the other side's acknowledgement otherwise.
    let listener = listener.tap_io(|stream| {
        if let Err(why) = stream.set_nodelay(true) {
            eprintln!("carbon-local: a connection has its delay still: {why}");
        }
    });
    let server = axum::serve(
        listener,
        router.into_make_service_with_connect_info::<SocketAddr>(),
    )
    .with_graceful_shutdown(async move {
        let _ = stopped.wait_for(|stop| *stop).await;
    });
    tokio::select! {
        ended = server => ended.map_err(|why| why.to_string()),
        () = async {
            let _ = cut_off.wait_for(|stop| *stop).await;
            tokio::time::sleep(Duration::from_secs(SHUTDOWN_SECS)).await;
        } => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::listen;

    #[tokio::test]
    async fn only_loopback_addresses_are_opened() {
        assert!(
            listen("0.0.0.0:0", "X_LISTEN")
                .await
                .unwrap_err()
                .contains("X_LISTEN")
        );
        assert!(listen("nonsense", "X_LISTEN").await.is_err());
        assert!(listen("127.0.0.1:0", "X_LISTEN").await.is_ok());
    }
}
