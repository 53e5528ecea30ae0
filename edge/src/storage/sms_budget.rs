//! The service's budget of messages for a day, which begins with the first one. A share is reserved for numbers that have
//! an account, so that an attacker who has messages sent to random numbers does not lock members out.

use super::subject_do::send_command;
use super::subject_state::{Command, RateRule, SubjectReply};
use crate::app::App;
use crate::error::ApiError;

/// The subject that stands for the service.
const SUBJECT: &str = "service";
/// Percent of the budget that numbers without an account cannot use.
const RESERVED_FOR_MEMBERS_PERCENT: u32 = 30;
const DAY_MS: i64 = 24 * 60 * 60 * 1000;
const ALL: &str = "sms";
const NON_MEMBERS: &str = "sms_non_members";

fn open_to_non_members(budget: u32) -> u32 {
    budget - (u64::from(budget) * u64::from(RESERVED_FOR_MEMBERS_PERCENT) / 100) as u32
}

/// The rules by which a message counts.
fn rules(budget: u32, is_member: bool) -> Vec<RateRule> {
    let rule = |name: &str, limit| RateRule {
        rule: name.to_owned(),
        limit,
        window_ms: DAY_MS,
    };
    let mut rules = vec![rule(ALL, budget)];
    if !is_member {
        rules.push(rule(NON_MEMBERS, open_to_non_members(budget)));
    }
    rules
}

/// Takes a message from the budget; returns whether one was left for such a number.
///
/// # Errors
/// `SERVICE_UNAVAILABLE`: what cannot be counted is not sent.
pub async fn spend(app: &App, is_member: bool) -> Result<bool, ApiError> {
    if app.config.no_limits {
        return Ok(true);
    }
    let command = Command::Count(rules(app.config.sms_budget_per_day, is_member));
    Ok(send_command(app, SUBJECT, &command).await? == SubjectReply::Counted)
}

/// The budget's gauges for `/metrics`: name, labels, value.
///
/// # Errors
/// `SERVICE_UNAVAILABLE`
pub async fn gauges(app: &App) -> Result<Vec<(&'static str, String, f64)>, ApiError> {
    let read = Command::Read(vec![ALL.to_owned(), NON_MEMBERS.to_owned()]);
    let (all, non_members) = match send_command(app, SUBJECT, &read).await? {
        SubjectReply::Counts(counted) if counted.len() == 2 => (counted[0], counted[1]),
        _ => return Err(ApiError::internal("the budget answered out of turn")),
    };
    let budget = app.config.sms_budget_per_day;
    let left = budget.saturating_sub(all);
    let left_for_non_members = open_to_non_members(budget)
        .saturating_sub(non_members)
        .min(left);
    // "strangers" in the metrics are numbers without an account.
    let line =
        |name, share: &str, value: u32| (name, format!(r#"share="{share}""#), f64::from(value));
    Ok(vec![
        line("carbon_sms_budget_used", "all", all),
        line("carbon_sms_budget_used", "strangers", non_members),
        line("carbon_sms_budget_left", "all", left),
        line("carbon_sms_budget_left", "strangers", left_for_non_members),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::subject_state::SubjectState;

    fn granted(state: &mut SubjectState, is_member: bool, at_ms: i64) -> usize {
        let mut spend = || state.apply(Command::Count(rules(10, is_member)), at_ms);
        (0..20).filter(|_| spend() == SubjectReply::Counted).count()
    }

    #[test]
    fn numbers_without_an_account_get_seven_tenths_and_members_the_rest() {
        let mut state = SubjectState::default();
        assert_eq!(granted(&mut state, false, 0), 7);
        assert_eq!(granted(&mut state, true, 0), 3);
        assert_eq!(granted(&mut state, true, DAY_MS - 1), 0);
        assert_eq!(granted(&mut state, false, DAY_MS), 7);
    }

    #[test]
    fn the_budget_is_for_24_hours() {
        let windows: Vec<i64> = rules(10, false).iter().map(|rule| rule.window_ms).collect();
        assert_eq!(windows, [86_400_000, 86_400_000]);
    }

    #[test]
    fn members_may_use_it_all() {
        let mut state = SubjectState::default();
        assert_eq!(granted(&mut state, true, 0), 10);
        assert_eq!(granted(&mut state, false, 0), 0);
    }

    #[test]
    fn shares_add_up_for_odd_and_huge_budgets() {
        for (budget, open) in [
            (0, 0),
            (1, 1),
            (10, 7),
            (2_000, 1_400),
            (u32::MAX, 3_006_477_107),
        ] {
            assert_eq!(open_to_non_members(budget), open);
        }
    }
}
