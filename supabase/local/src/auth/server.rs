//! What all requests share: settings, the pool, and the budget of messages.

use super::config::Config;
use super::http::Call;
use super::tokens::Claims;
use crate::outbound::HttpClient;
use deadpool_postgres::Pool;
use std::sync::Mutex;
use std::time::Instant;

/// What every request needs.
pub struct Server {
    pub config: Config,
    pub pool: Pool,
    pub http: HttpClient,
    pub sms_budget: Budget,
}

impl Server {
    /// The audience a request is about: the header's, else the token's, else the configured one.
    pub fn audience(&self, call: &Call, claims: Option<&Claims>) -> String {
        let of_token = claims.and_then(Claims::audience);
        call.header("x-jwt-aud")
            .or(of_token)
            .unwrap_or(&self.config.jwt_aud)
            .to_owned()
    }
}

/// A number of events an hour, refilled evenly.
pub struct Budget {
    per_hour: f64,
    left: Mutex<(f64, Instant)>,
}

impl Budget {
    pub fn new(per_hour: f64) -> Self {
        Self {
            per_hour,
            left: Mutex::new((per_hour, Instant::now())),
        }
    }

    /// Takes one, if there is one left.
    pub fn take(&self) -> bool {
        let mut state = self
            .left
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let now = Instant::now();
        let refill = now.duration_since(state.1).as_secs_f64() / 3600.0 * self.per_hour;
        let left = (state.0 + refill).min(self.per_hour);
        let granted = left >= 1.0;
        *state = (if granted { left - 1.0 } else { left }, now);
        granted
    }
}

#[cfg(test)]
mod tests {
    use super::Budget;

    #[test]
    fn a_budget_is_used_up_and_refills_with_time() {
        let budget = Budget::new(2.0);
        assert_eq!(
            [budget.take(), budget.take(), budget.take()],
            [true, true, false]
        );
        budget.left.lock().unwrap().1 -= std::time::Duration::from_secs(1_800);
        assert_eq!([budget.take(), budget.take()], [true, false]);
    }
}
