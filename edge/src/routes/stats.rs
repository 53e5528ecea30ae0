//! `/waste/stats`: sums of a user's entries by day, month and category.

use crate::error::ApiError;
use crate::http::call::Call;
use crate::http::query::Query;
use crate::http::reply::Reply;

async fn answer(call: &Call, function: &str, query: Query) -> Result<Reply, ApiError> {
    let sums = call.read(function, &query.arguments()?).await?;
    Ok(Reply::personal(sums))
}

/// `GET /waste/stats/daily?date`, default today in the user's time zone.
pub async fn daily(call: &Call) -> Result<Reply, ApiError> {
    let mut query = call.query();
    query.date("date", "day");
    answer(call, "waste_stats_daily", query).await
}

/// `GET /waste/stats/monthly?month`, default this month.
pub async fn monthly(call: &Call) -> Result<Reply, ApiError> {
    let mut query = call.query();
    query.month("month");
    answer(call, "waste_stats_monthly", query).await
}

/// `GET /waste/stats/category?date_from&date_to`, both inclusive.
pub async fn by_category(call: &Call) -> Result<Reply, ApiError> {
    let mut query = call.query();
    query.date_range();
    answer(call, "waste_stats_by_category", query).await
}
