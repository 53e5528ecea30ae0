//! Cards to share.

use carbon_domain::share::Subject;
use pgrx::prelude::*;

/// Title and text of a card in both languages. `subject`: achievement, milestone or referral; the names are those of
/// the thing itself (for a referral, the code). No row for any other subject and for any NULL.
#[pg_extern(immutable, strict, parallel_safe)]
fn share_card(
    subject: &str,
    name_th: &str,
    name_en: &str,
) -> TableIterator<
    'static,
    (
        name!(title_th, String),
        name!(title_en, String),
        name!(text_th, String),
        name!(text_en, String),
    ),
> {
    let card = Subject::by_name(subject).map(|subject| {
        let [(title_th, text_th), (title_en, text_en)] = subject.card(name_th, name_en);
        (title_th, title_en, text_th, text_en)
    });
    TableIterator::new(card)
}

#[cfg(any(test, feature = "pg_test"))]
#[pgrx::pg_schema]
mod tests {
    use pgrx::prelude::*;

    use crate::testing::one;

    #[pg_test]
    fn a_card_has_a_title_and_a_text_in_both_languages() {
        let card = "from carbon.share_card('referral', 'ABCD2345', 'ABCD2345')";
        assert!(one::<bool>(&format!(
            "select text_th like '%ABCD2345%' and text_en like '%ABCD2345%' and title_th <> title_en {card}"
        )));
        assert_eq!(
            one::<i64>("select count(*) from carbon.share_card('entry', 'a', 'a')"),
            0
        );
    }
}
