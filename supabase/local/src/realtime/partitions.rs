//! The partitions of `realtime.messages`, one a day: made ahead and dropped by the server, as the real one does.
//!
//! A message of a day without a partition is lost with a warning. Every listener has joined through this server,
//! which accepts no one before its partitions exist; those of coming days are made three days early.

use chrono::{Days, NaiveDate, Utc};
use deadpool_postgres::Pool;
use std::collections::HashSet;
use std::time::Duration;

/// Days that are retained behind today and made ahead of it.
const DAYS_BEHIND: u64 = 1;
const DAYS_AHEAD: u64 = 3;
/// Messages are retained this long; they are not read again.
const KEPT_DAYS: u64 = 3;
/// How often they are checked.
pub const INTERVAL: Duration = Duration::from_secs(3600);

const EXISTING: &str = "select c.relname from pg_inherits as i join pg_class as c on c.oid = i.inhrelid \
     where i.inhparent = 'realtime.messages'::regclass";

fn name(day: NaiveDate) -> String {
    day.format("messages_%Y_%m_%d").to_string()
}

/// Statements that make of the existing partitions those that there should be.
fn statements(existing: &HashSet<String>, today: NaiveDate) -> Vec<String> {
    let first = today - Days::new(DAYS_BEHIND);
    let needed = first
        .iter_days()
        .take((DAYS_BEHIND + DAYS_AHEAD + 1) as usize);
    let made = needed
        .filter(|day| !existing.contains(&name(*day)))
        .map(|day| {
            let (name, next) = (name(day), day + Days::new(1));
            format!(
                "create table if not exists realtime.{name} partition of realtime.messages \
             for values from ('{day}') to ('{next}'); \
             alter table realtime.{name} owner to supabase_realtime_admin"
            )
        });
    let oldest = name(today - Days::new(KEPT_DAYS));
    let old = existing
        .iter()
        .filter(|name| {
            name.starts_with("messages_") && name.len() == oldest.len() && **name < oldest
        })
        .map(|name| format!("drop table if exists realtime.{name}"));
    made.chain(old).collect()
}

/// Makes and drops what is due. Either waits for a lock of the table for a moment only: writers do not queue behind it.
pub async fn maintain(pool: &Pool) -> Result<(), String> {
    let client = pool.get().await.map_err(|why| why.to_string())?;
    let reason = |why: tokio_postgres::Error| match why.as_db_error() {
        Some(db) => db.message().to_owned(),
        None => why.to_string(),
    };
    let rows = client.query(EXISTING, &[]).await.map_err(reason)?;
    let existing = rows.iter().map(|row| row.get(0)).collect();
    for statement in statements(&existing, Utc::now().date_naive()) {
        let bounded = format!("begin; set local lock_timeout = '2s'; {statement}; commit");
        if let Err(why) = client.batch_execute(&bounded).await {
            let _ = client.batch_execute("rollback").await;
            return Err(reason(why));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_days_are_there_and_old_ones_go() {
        let today = NaiveDate::from_ymd_opt(2026, 3, 1).unwrap();
        let existing = [
            "messages_2026_02_25",
            "messages_2026_02_26",
            "messages_2026_02_28",
            "messages_x",
        ];
        let existing: HashSet<String> = existing.map(str::to_owned).into();
        let statements = statements(&existing, today);
        assert_eq!(statements.len(), 5, "{statements:?}");
        assert!(statements[0].contains("messages_2026_03_01 partition"));
        assert!(statements[0].contains("('2026-03-01') to ('2026-03-02')"));
        assert!(statements[3].contains("messages_2026_03_04"));
        assert_eq!(
            statements[4],
            "drop table if exists realtime.messages_2026_02_25"
        );
    }
}
