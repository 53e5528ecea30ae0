//! The service's budget of messages: so many in a day that begins with its first one, a share of them
//! kept for numbers that have an account, so that whoever pumps messages to strange numbers does not
//! lock members out.

use super::subject::ask;
use super::subject_state::{Answer, Ask, Command};
use crate::call::App;
use crate::error::ApiError;

/// The subject that stands for the whole service.
const SUBJECT: &str = "service";
/// Percent of the budget that strange numbers cannot use.
const KEPT_FOR_MEMBERS_PERCENT: u32 = 30;
const DAY_MS: i64 = 24 * 60 * 60 * 1000;
const ALL: &str = "sms";
const STRANGERS: &str = "sms_strangers";

fn open_to_strangers(budget: u32) -> u32 {
    budget - (u64::from(budget) * u64::from(KEPT_FOR_MEMBERS_PERCENT) / 100) as u32
}

/// The rules by which a message counts.
fn rules(budget: u32, is_member: bool) -> Vec<Ask> {
    let rule = |name: &str, limit| Ask {
        rule: name.to_owned(),
        limit,
        window_ms: DAY_MS,
    };
    let mut rules = vec![rule(ALL, budget)];
    if !is_member {
        rules.push(rule(STRANGERS, open_to_strangers(budget)));
    }
    rules
}

/// Takes a message from the budget; answers whether there was one left for such a number.
///
/// # Errors
/// `SERVICE_UNAVAILABLE`: what cannot be counted is not sent.
pub async fn spend(app: &App, is_member: bool) -> Result<bool, ApiError> {
    if app.config.no_limits {
        return Ok(true);
    }
    let command = Command::Count(rules(app.config.sms_budget_per_day, is_member));
    Ok(ask(app, SUBJECT, &command).await? == Answer::Counted)
}

/// The budget's gauges for `/metrics`: name, labels, value.
///
/// # Errors
/// `SERVICE_UNAVAILABLE`
pub async fn gauges(app: &App) -> Result<Vec<(&'static str, String, f64)>, ApiError> {
    let look = Command::Look(vec![ALL.to_owned(), STRANGERS.to_owned()]);
    let (all, strangers) = match ask(app, SUBJECT, &look).await? {
        Answer::Seen(counted) if counted.len() == 2 => (counted[0], counted[1]),
        _ => return Err(ApiError::internal("the budget answered out of turn")),
    };
    let budget = app.config.sms_budget_per_day;
    let left = budget.saturating_sub(all);
    let left_for_strangers = open_to_strangers(budget)
        .saturating_sub(strangers)
        .min(left);
    let line =
        |name, share: &str, value: u32| (name, format!(r#"share="{share}""#), f64::from(value));
    Ok(vec![
        line("carbon_sms_budget_used", "all", all),
        line("carbon_sms_budget_used", "strangers", strangers),
        line("carbon_sms_budget_left", "all", left),
        line("carbon_sms_budget_left", "strangers", left_for_strangers),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::subject_state::SubjectState;

    fn granted(state: &mut SubjectState, is_member: bool, at_ms: i64) -> usize {
        let mut spend = || state.apply(Command::Count(rules(10, is_member)), at_ms);
        (0..20).filter(|_| spend() == Answer::Counted).count()
    }

    #[test]
    fn strangers_get_seven_tenths_and_members_the_rest() {
        let mut state = SubjectState::default();
        assert_eq!(granted(&mut state, false, 0), 7);
        assert_eq!(granted(&mut state, true, 0), 3);
        assert_eq!(granted(&mut state, true, DAY_MS - 1), 0);
        assert_eq!(granted(&mut state, false, DAY_MS), 7);
    }

    #[test]
    fn the_budget_is_for_24_hours() {
        let windows: Vec<i64> = rules(10, false).iter().map(|ask| ask.window_ms).collect();
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
            assert_eq!(open_to_strangers(budget), open);
        }
    }
}
