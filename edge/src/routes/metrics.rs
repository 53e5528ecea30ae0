//! `/metrics`: what Prometheus scrapes.

use futures_util::future::join;

use crate::error::ApiError;
use crate::http::call::Call;
use crate::http::reply::Reply;
use crate::http::session::prove_secret;
use crate::observe::metrics_text;
use crate::storage::{metrics_do, sms_budget};

/// The exposition format's type.
const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// `GET /metrics`, for callers with the metrics token: the sums of all isolates, with this one's
/// own counts up to now.
pub async fn metrics(call: &Call) -> Result<Reply, ApiError> {
    let authorization = call.header("authorization");
    prove_secret(authorization.as_deref(), &call.app.config.metrics_token)?;
    // The budget's object may fail: then its gauges are missing and everything else is shown.
    let (sums, gauges) = join(
        metrics_do::exchange(&call.app),
        sms_budget::gauges(&call.app),
    )
    .await;
    let text = metrics_text::text(&sums?, &gauges.unwrap_or_default());
    Ok(Reply::of_type(TEXT, &text))
}
