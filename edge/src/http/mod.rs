//! HTTP: what a request says, checked, and what an answer says.

pub mod body;
pub mod call;
pub mod etag;
pub mod idempotency;
pub mod query;
pub mod reply;
pub mod response;
pub mod session;
