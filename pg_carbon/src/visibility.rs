//! What a viewer sees of a person, the card that shows it, and codes by which people find one another.

use carbon_domain::invite_code;
use carbon_domain::visibility::{FoundBy, Relation, Sight, sight as domain_sight};
use pgrx::JsonB;
use pgrx::datum::Uuid;
use pgrx::prelude::*;
use serde_json::json;

/// A relation by its name. An unknown one is a programming error in the calling SQL.
pub fn relation(name: &str) -> Relation {
    Relation::parse(name).unwrap_or_else(|| error!("there is no relation {name:?}"))
}

/// How much a viewer sees of a person with this privacy level, found in this way. An unknown relation or way is a
/// programming error in the calling SQL.
fn sight_of(relation_name: &str, privacy_level: i16, found_by: &str) -> Sight {
    let found_by =
        FoundBy::parse(found_by).unwrap_or_else(|| error!("nobody is found by {found_by:?}"));
    domain_sight(relation(relation_name), privacy_level, found_by)
}

/// How much a viewer sees of a person: `nothing`, `masked`, `identity`, `public`, `profile` or `everything`. NULL for
/// any NULL.
///
/// Errors: XX000 for an unknown relation or way of finding, which are programming errors in the calling SQL.
#[pg_extern(immutable, strict, parallel_safe)]
fn sight(relation: &str, privacy_level: i16, found_by: &str) -> &'static str {
    sight_of(relation, privacy_level, found_by).name()
}

/// The card of a person as a viewer may see it: `{id, display_name, avatar_url, province, level, credits,
/// daily_streak}`, with null for what the viewer may not see. NULL if the viewer may not see who it is, and for a NULL
/// id, relation, level of privacy or way of finding.
///
/// Errors as `sight`.
#[pg_extern(immutable, parallel_safe)]
#[allow(clippy::too_many_arguments)]
fn card(
    relation: Option<&str>,
    privacy_level: Option<i16>,
    found_by: Option<&str>,
    user_id: Option<Uuid>,
    display_name: Option<&str>,
    avatar_url: Option<&str>,
    province: Option<&str>,
    level: Option<i32>,
    credits: Option<i64>,
    daily_streak: Option<i32>,
) -> Option<JsonB> {
    let sight = sight_of(relation?, privacy_level?, found_by?);
    let user_id = user_id?.to_string();
    sight.shows_identity().then(|| {
        JsonB(json!({
            "id": user_id,
            "display_name": display_name,
            "avatar_url": avatar_url.filter(|_| sight.shows_picture()),
            "province": province.filter(|_| sight.shows_level()),
            "level": level.filter(|_| sight.shows_level()),
            "credits": credits.filter(|_| sight.shows_figures()),
            "daily_streak": daily_streak.filter(|_| sight.shows_figures()),
        }))
    })
}

/// A code of this many signs from random bytes; NULL if they are too few (twice as many bytes as signs practically
/// always suffice) and for any NULL.
#[pg_extern(immutable, strict, parallel_safe)]
fn invite_code(random_bytes: &[u8], signs: i32) -> Option<String> {
    invite_code::from_random(random_bytes, usize::try_from(signs).ok()?)
}

/// A code of this many signs as it is stored, from what somebody typed: case, spaces and dashes do not matter. NULL for
/// anything else and for any NULL.
#[pg_extern(immutable, strict, parallel_safe)]
fn normalised_code(typed: &str, signs: i32) -> Option<String> {
    invite_code::normalised(typed, usize::try_from(signs).ok()?)
}

#[cfg(any(test, feature = "pg_test"))]
#[pgrx::pg_schema]
mod tests {
    use pgrx::prelude::*;

    use crate::testing::{is_null, one};

    fn card(relation: &str, privacy_level: i16, found_by: &str) -> String {
        format!(
            "select carbon.card('{relation}', {privacy_level}::smallint, '{found_by}', '0a000000-0000-4000-8000-00000000000a',
                                'ก', 'https://a/1', 'TH-10', 2, 440, 7)"
        )
    }

    #[pg_test]
    fn a_card_has_null_for_what_the_viewer_may_not_see() {
        let shown = |relation, level, found_by| -> String {
            one(&format!(
                "select string_agg(m.key || '=' || m.value, ' ' order by m.key) from jsonb_each_text(({})) as m where m.value is not null",
                card(relation, level, found_by)
            ))
        };
        let identity =
            "avatar_url=https://a/1 display_name=ก id=0a000000-0000-4000-8000-00000000000a";
        assert_eq!(shown("friend", 3, "listing"), identity);
        assert_eq!(
            shown("friend", 2, "listing"),
            format!(
                "{} level=2 province=TH-10",
                identity.replace(" display", " credits=440 daily_streak=7 display")
            )
        );
        assert_eq!(
            shown("stranger", 1, "listing"),
            format!("{identity} level=2 province=TH-10")
        );
        assert_eq!(shown("stranger", 3, "code"), identity);
        assert!(one::<bool>(&format!(
            "select ({}) ? 'credits'",
            card("stranger", 1, "listing")
        )));
    }

    #[pg_test]
    fn nobody_has_a_card_whom_the_viewer_may_not_see() {
        for hidden in [
            card("blocked", 1, "code"),
            card("stranger", 2, "listing"),
            card("stranger", 3, "username"),
            "select carbon.card(null, null, null, null, null, null, null, null, null, null)".into(),
        ] {
            assert!(is_null(&hidden), "{hidden}");
        }
        assert_eq!(
            one::<String>(
                "select carbon.sight('stranger', 2::smallint, 'listing') || ' ' || carbon.sight('visitor', 1::smallint, 'listing')"
            ),
            "masked public"
        );
    }

    #[pg_test(error = "there is no relation \"admirer\"")]
    fn an_unknown_relation_is_an_error() {
        one::<String>("select carbon.sight('admirer', 1::smallint, 'listing')");
    }

    #[pg_test]
    fn codes_are_made_of_random_bytes_and_read_as_people_type_them() {
        assert_eq!(
            one::<String>("select carbon.invite_code('\\x00ff1e1f', 3)"),
            "2Z2"
        );
        assert!(is_null("select carbon.invite_code('\\xff', 1)"));
        assert_eq!(
            one::<String>("select carbon.normalised_code(' abcde-23456 ', 10)"),
            "ABCDE23456"
        );
        assert!(is_null("select carbon.normalised_code('ABCDE-2345O', 10)"));
    }
}
