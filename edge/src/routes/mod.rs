//! The handlers: parse, call, reply. One module an area of the contract.

pub mod auth;
mod challenge;
mod code_sms;
pub mod community;
pub mod description;
pub mod feed;
mod fields;
pub mod friends;
pub mod gamification;
mod give_number;
pub mod health;
pub mod hooks;
pub mod identities;
mod merge;
pub mod metrics;
pub mod migrate;
mod names;
pub mod operator;
mod public_cache;
pub mod referral;
pub mod rewards;
pub mod sign_in;
pub mod social;
mod social_proof;
pub mod stats;
pub mod sync;
pub mod user;
pub mod waste;

use crate::error::ApiError;
use crate::http::call::Call;
use crate::http::reply::Reply;

/// A route of the contract whose feature comes later.
pub async fn not_implemented(_: &Call) -> Result<Reply, ApiError> {
    Err(ApiError::feature_unavailable())
}

#[cfg(test)]
mod vector_tests;
