//! Converts values between PostgreSQL's types and the domain's.

use carbon_domain::error::{DomainError, FieldError};
use chrono::{DateTime, Datelike, NaiveDate, TimeDelta, Utc};
use pgrx::datum::Date;
use pgrx::heap_tuple::PgHeapTuple;
use pgrx::prelude::*;
use pgrx::tupdesc::PgTupleDesc;

use crate::error::raise;

/// PostgreSQL counts microseconds from 2000-01-01 00:00 UTC; chrono's epoch is 1970.
const EPOCH_2000_SECS: i64 = 946_684_800;

/// The instant in chrono's type; `None` for ±infinity and years outside chrono's range.
pub fn to_chrono(instant: TimestampWithTimeZone) -> Option<DateTime<Utc>> {
    let microseconds = i64::from(instant);
    if !instant.is_finite() {
        return None;
    }
    DateTime::from_timestamp(EPOCH_2000_SECS, 0)?
        .checked_add_signed(TimeDelta::microseconds(microseconds))
}

/// An argument that bounds times, in chrono's type.
///
/// Errors: 22023 `carbon.logged_at_invalid` for an infinite one, under the argument's name.
pub fn instant(argument: &'static str, at: TimestampWithTimeZone) -> DateTime<Utc> {
    to_chrono(at).unwrap_or_else(|| raise(FieldError::new(argument, DomainError::LoggedAtInvalid)))
}

/// The instant in PostgreSQL's type, truncated to microseconds; `None` outside its range.
pub fn from_chrono(instant: DateTime<Utc>) -> Option<TimestampWithTimeZone> {
    let since_1970 = instant.timestamp_micros();
    let microseconds = since_1970.checked_sub(EPOCH_2000_SECS * 1_000_000)?;
    TimestampWithTimeZone::try_from(microseconds).ok()
}

/// PostgreSQL counts days from 2000-01-01, chrono from the first day of the common era.
const DAYS_TO_2000: i32 = 730_120;

/// The day in chrono's type.
///
/// Errors: 22023 `carbon.date_invalid` for a day outside chrono's calendar (infinity).
pub fn calendar_day(date: Date) -> NaiveDate {
    i32::from(date)
        .checked_add(DAYS_TO_2000)
        .and_then(NaiveDate::from_num_days_from_ce_opt)
        .unwrap_or_else(|| raise(DomainError::DateInvalid))
}

/// The day in PostgreSQL's type. Errors: 22023 `carbon.date_invalid` for a day outside its range.
pub fn date(day: NaiveDate) -> Date {
    // By number and not by year, month and day: the year before 1 is -1 there and 0 here.
    Date::try_from(day.num_days_from_ce() - DAYS_TO_2000)
        .unwrap_or_else(|_| raise(DomainError::DateInvalid))
}

/// The numeric of a decimal text made by the domain.
pub fn numeric(decimal: &str) -> AnyNumeric {
    AnyNumeric::try_from(decimal).expect("the domain writes decimals that PostgreSQL reads")
}

/// A composite type of this extension, by its name with the schema.
pub struct Composite(&'static str);

impl Composite {
    /// The type of that name, which must exist when the first value is created.
    pub const fn new(name: &'static str) -> Self {
        Self(name)
    }

    /// A value of the type; `columns` are those of the type, in their order.
    pub fn value<const N: usize>(
        &self,
        columns: [Option<pg_sys::Datum>; N],
    ) -> PgHeapTuple<'static, AllocatedByRust> {
        let described = PgTupleDesc::for_composite_type(self.0).expect("the extension made it");
        // SAFETY: the extension's script declares exactly these columns, in this order and of these types.
        unsafe { PgHeapTuple::from_datums(described, columns) }.expect("a value for each column")
    }
}
