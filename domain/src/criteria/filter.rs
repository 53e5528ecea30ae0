//! Which entries criteria consider: filters by disposal method and by category.

use std::fmt;

use serde_json::Value;

use super::refused;
use crate::error::{DomainError, FieldError};
use crate::tally::pairs;

/// Conditions on an entry; none at all by default.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Filter {
    method: Option<String>,
    categories: Vec<String>,
}

impl Filter {
    /// Takes a member of criteria if it is a filter; `false` if it is not.
    pub(crate) fn take(&mut self, name: &str, value: &Value) -> Result<bool, FieldError> {
        match name {
            "disposal_method" => {
                self.method = value.as_str().map(str::to_owned);
                if self.method.is_none() {
                    return Err(refused(name, DomainError::UnknownMethod));
                }
            }
            "category_id" => self.add_categories([value], name)?,
            "category_any_of" => {
                let list = value.as_array().filter(|list| !list.is_empty());
                self.add_categories(
                    list.ok_or_else(|| refused(name, DomainError::NotAList))?,
                    name,
                )?;
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn add_categories<'a>(
        &mut self,
        stated: impl IntoIterator<Item = &'a Value>,
        member: &str,
    ) -> Result<(), FieldError> {
        for value in stated {
            let category = value
                .as_str()
                .filter(|id| pairs().iter().any(|pair| pair.category == *id))
                .ok_or_else(|| refused(member, DomainError::UnknownCategory))?;
            self.categories.push(category.to_owned());
        }
        Ok(())
    }

    /// Refuses filters that no entry can match.
    pub(crate) fn require_matches(&self) -> Result<(), FieldError> {
        if pairs()
            .iter()
            .any(|pair| self.matches(pair.category, pair.method))
        {
            return Ok(());
        }
        Err(refused("disposal_method", DomainError::UnknownMethod))
    }

    /// Whether an entry of this category and method is considered.
    pub(crate) fn matches(&self, category: &str, method: &str) -> bool {
        self.method.as_deref().is_none_or(|own| own == method)
            && (self.categories.is_empty() || self.categories.iter().any(|id| id == category))
    }

    /// The filter that [`Filter::fmt`] wrote as its two words.
    pub(crate) fn from_rule(method: &str, categories: &str) -> Filter {
        Filter {
            method: (method != "*").then(|| method.to_owned()),
            categories: match categories {
                "*" => Vec::new(),
                list => list.split(',').map(str::to_owned).collect(),
            },
        }
    }
}

impl fmt::Display for Filter {
    /// `method categories`, `*` for any.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let method = self.method.as_deref().unwrap_or("*");
        let categories = self.categories.join(",");
        let any = if categories.is_empty() { "*" } else { "" };
        write!(formatter, "{method} {categories}{any}")
    }
}
