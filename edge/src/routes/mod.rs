//! The handlers: parse, call, reply. One module an area of the contract.

mod auth;
mod challenge;
mod description;
mod fields;
mod gamification;
mod health;
mod hooks;
mod metrics;
mod migrate;
mod names;
mod operator;
mod rewards;
mod shared;
mod sign_in;
mod stats;
mod sync;
mod user;
mod waste;

use crate::call::Call;
use crate::error::ApiError;
use crate::reply::Reply;

/// Who answers a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(
    missing_docs,
    reason = "each name is that of a handler, which is documented"
)]
pub enum Endpoint {
    PhoneOtp,
    VerifyOtp,
    Anonymous,
    Refresh,
    Logout,
    SendSmsHook,
    UnlockNumber,
    ExcludeFromBoards,
    IncludeInBoards,
    Profile,
    UpdateProfile,
    Migrate,
    RollBackMigration,
    SyncStatus,
    SyncChanges,
    Categories,
    CreateEntry,
    CreateEntries,
    ListEntries,
    GetEntry,
    UpdateEntry,
    DeleteEntry,
    StatsDaily,
    StatsMonthly,
    StatsByCategory,
    Leaderboard,
    GamificationProfile,
    Achievements,
    CheckAchievements,
    ChallengesToday,
    ChallengeHistory,
    RefreshChallenges,
    FeatureOfLater,
    Health,
    Ready,
    AreaHealth,
    HealthDetailed,
    Metrics,
    Description,
}

/// Calls the handler of an endpoint.
///
/// # Errors
/// What the handler answers.
pub async fn dispatch(endpoint: Endpoint, call: &Call) -> Result<Reply, ApiError> {
    match endpoint {
        Endpoint::PhoneOtp => sign_in::phone_otp(call).await,
        Endpoint::VerifyOtp => sign_in::verify_otp(call).await,
        Endpoint::Anonymous => auth::anonymous(call).await,
        Endpoint::Refresh => auth::refresh(call).await,
        Endpoint::Logout => auth::logout(call).await,
        Endpoint::SendSmsHook => hooks::send_sms(call).await,
        Endpoint::UnlockNumber => operator::unlock_number(call).await,
        Endpoint::ExcludeFromBoards => {
            operator::judge_for_boards(call, "exclude_from_boards").await
        }
        Endpoint::IncludeInBoards => operator::judge_for_boards(call, "include_in_boards").await,
        Endpoint::Profile => user::profile(call).await,
        Endpoint::UpdateProfile => user::update_profile(call).await,
        Endpoint::Migrate => migrate::migrate(call).await,
        Endpoint::RollBackMigration => migrate::roll_back(call).await,
        Endpoint::SyncStatus => sync::status(call).await,
        Endpoint::SyncChanges => sync::changes(call).await,
        Endpoint::Categories => Ok(waste::categories(call)),
        Endpoint::CreateEntry => waste::create(call).await,
        Endpoint::CreateEntries => waste::create_batch(call).await,
        Endpoint::ListEntries => waste::list(call).await,
        Endpoint::GetEntry => waste::get(call).await,
        Endpoint::UpdateEntry => waste::update(call).await,
        Endpoint::DeleteEntry => waste::delete(call).await,
        Endpoint::StatsDaily => stats::daily(call).await,
        Endpoint::StatsMonthly => stats::monthly(call).await,
        Endpoint::StatsByCategory => stats::by_category(call).await,
        Endpoint::Leaderboard => gamification::leaderboard(call).await,
        Endpoint::GamificationProfile => gamification::profile(call).await,
        Endpoint::Achievements => rewards::achievements(call).await,
        Endpoint::CheckAchievements => rewards::check_achievements(call).await,
        Endpoint::ChallengesToday => rewards::challenges_today(call).await,
        Endpoint::ChallengeHistory => rewards::challenge_history(call).await,
        Endpoint::RefreshChallenges => rewards::refresh_challenges(call).await,
        Endpoint::FeatureOfLater => Err(ApiError::feature_unavailable()),
        Endpoint::Health => Ok(health::live()),
        Endpoint::Ready => health::ready(call).await,
        Endpoint::AreaHealth => health::area(call).await,
        Endpoint::HealthDetailed => health::detailed(call).await,
        Endpoint::Metrics => metrics::metrics(call).await,
        Endpoint::Description => Ok(description::openapi()),
    }
}

#[cfg(test)]
mod vector_tests;
