//! Rates (contract §4): the rules, and counting by them.

pub mod count;
pub mod rules;
