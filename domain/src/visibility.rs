//! What one user may see of another: decided by how they stand to one another, by the other's privacy level, and by how
//! the viewer came upon them. Every interface that shows a person to somebody else asks here.

/// How a viewer stands to a person.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Relation {
    /// The person is the viewer.
    Own,
    /// Both agreed to be friends.
    Friend,
    /// Neither friends nor blocked.
    Stranger,
    /// One of the two blocks the other.
    Blocked,
    /// The viewer is a signed-out visitor.
    Visitor,
}

impl Relation {
    /// All relations.
    pub const ALL: [Relation; 5] = [
        Relation::Own,
        Relation::Friend,
        Relation::Stranger,
        Relation::Blocked,
        Relation::Visitor,
    ];

    /// By its name in SQL; `None` for any other.
    #[must_use]
    pub fn parse(name: &str) -> Option<Relation> {
        Relation::ALL
            .into_iter()
            .find(|relation| relation.name() == name)
    }

    /// Its name in SQL: `self`, `friend`, `stranger`, `blocked`, `visitor`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Relation::Own => "self",
            Relation::Friend => "friend",
            Relation::Stranger => "stranger",
            Relation::Blocked => "blocked",
            Relation::Visitor => "visitor",
        }
    }
}

/// How the viewer came upon the person.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FoundBy {
    /// A board, a list or an id.
    Listing,
    /// The exact user name.
    Username,
    /// A code or link that the person gave, or a request between the two.
    Code,
    /// The viewer's own block of the person.
    Block,
}

impl FoundBy {
    /// By its name in SQL, `listing`, `username`, `code` or `block`; `None` for any other.
    #[must_use]
    pub fn parse(name: &str) -> Option<FoundBy> {
        match name {
            "listing" => Some(FoundBy::Listing),
            "username" => Some(FoundBy::Username),
            "code" => Some(FoundBy::Code),
            "block" => Some(FoundBy::Block),
            _ => None,
        }
    }
}

/// How much of a person a viewer sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sight {
    /// As if there were no such person.
    Nothing,
    /// That there is somebody, without a name: a masked row of a board.
    Masked,
    /// Display name and picture.
    Identity,
    /// Display name, province and level: what is published.
    Public,
    /// Display name, picture, province and level.
    Profile,
    /// That and total and streak.
    Everything,
}

impl Sight {
    /// Its name in SQL.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Sight::Nothing => "nothing",
            Sight::Masked => "masked",
            Sight::Identity => "identity",
            Sight::Public => "public",
            Sight::Profile => "profile",
            Sight::Everything => "everything",
        }
    }

    /// Whether the viewer sees who it is: id and display name.
    #[must_use]
    pub const fn shows_identity(self) -> bool {
        !matches!(self, Sight::Nothing | Sight::Masked)
    }

    /// Whether the viewer sees the picture.
    #[must_use]
    pub const fn shows_picture(self) -> bool {
        matches!(self, Sight::Identity | Sight::Profile | Sight::Everything)
    }

    /// Whether the viewer sees province and level.
    #[must_use]
    pub const fn shows_level(self) -> bool {
        matches!(self, Sight::Public | Sight::Profile | Sight::Everything)
    }

    /// Whether the viewer sees total and streak, and what the person does.
    #[must_use]
    pub const fn shows_figures(self) -> bool {
        matches!(self, Sight::Everything)
    }
}

/// How much a viewer sees of a person with this privacy level (1 to 3; any other counts as 3, the strictest).
#[must_use]
pub const fn sight(relation: Relation, privacy_level: i16, found_by: FoundBy) -> Sight {
    match (relation, privacy_level) {
        (Relation::Own, _) | (Relation::Friend, 1 | 2) => Sight::Everything,
        (Relation::Friend, _) => Sight::Identity,
        (Relation::Stranger, 1) => Sight::Profile,
        (Relation::Stranger, 2) => match found_by {
            FoundBy::Listing | FoundBy::Block => Sight::Masked,
            FoundBy::Username | FoundBy::Code => Sight::Identity,
        },
        (Relation::Stranger, _) => match found_by {
            FoundBy::Listing | FoundBy::Username | FoundBy::Block => Sight::Nothing,
            FoundBy::Code => Sight::Identity,
        },
        (Relation::Visitor, 1) => Sight::Public,
        (Relation::Visitor, 2) => Sight::Masked,
        (Relation::Visitor, _) => Sight::Nothing,
        (Relation::Blocked, _) => match found_by {
            FoundBy::Listing | FoundBy::Username | FoundBy::Code => Sight::Nothing,
            FoundBy::Block => Sight::Identity,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FOUND_BY: [FoundBy; 4] = [
        FoundBy::Listing,
        FoundBy::Username,
        FoundBy::Code,
        FoundBy::Block,
    ];

    fn by_level(relation: Relation, found_by: FoundBy) -> [Sight; 3] {
        [1, 2, 3].map(|level| sight(relation, level, found_by))
    }

    #[test]
    fn one_sees_everything_of_oneself_and_of_friends_who_show_it() {
        for found_by in FOUND_BY {
            let own = by_level(Relation::Own, found_by);
            assert_eq!(own, [Sight::Everything; 3]);
            let friend = by_level(Relation::Friend, found_by);
            let figures_of_friends = [Sight::Everything, Sight::Everything, Sight::Identity];
            assert_eq!(friend, figures_of_friends);
        }
    }

    #[test]
    fn others_see_what_the_privacy_level_allows_for_the_way_they_found_the_person() {
        let seen = FOUND_BY.map(|found_by| by_level(Relation::Stranger, found_by));
        assert_eq!(
            seen,
            [
                [Sight::Profile, Sight::Masked, Sight::Nothing],
                [Sight::Profile, Sight::Identity, Sight::Nothing],
                [Sight::Profile, Sight::Identity, Sight::Identity],
                [Sight::Profile, Sight::Masked, Sight::Nothing],
            ]
        );
    }

    #[test]
    fn a_block_hides_everything_but_the_name_in_one_s_own_list_of_blocks() {
        for found_by in [FoundBy::Listing, FoundBy::Username, FoundBy::Code] {
            assert_eq!(by_level(Relation::Blocked, found_by), [Sight::Nothing; 3]);
        }
        let own_list = by_level(Relation::Blocked, FoundBy::Block);
        assert_eq!(own_list, [Sight::Identity; 3]);
    }

    #[test]
    fn signed_out_visitors_see_no_picture() {
        for found_by in FOUND_BY {
            let seen = by_level(Relation::Visitor, found_by);
            assert_eq!(seen, [Sight::Public, Sight::Masked, Sight::Nothing]);
            assert!(seen.iter().all(|sight| !sight.shows_picture()));
        }
    }

    #[test]
    fn an_unknown_privacy_level_counts_as_the_strictest() {
        for relation in Relation::ALL {
            for found_by in FOUND_BY {
                let strictest = sight(relation, 3, found_by);
                for level in [0, 4, -1, i16::MAX] {
                    assert_eq!(sight(relation, level, found_by), strictest);
                }
            }
        }
    }

    #[test]
    fn each_sight_shows_its_columns() {
        let shown = |sight: Sight| {
            [
                sight.shows_identity(),
                sight.shows_picture(),
                sight.shows_level(),
                sight.shows_figures(),
            ]
        };
        assert_eq!(shown(Sight::Nothing), [false; 4]);
        assert_eq!(shown(Sight::Masked), [false; 4]);
        assert_eq!(shown(Sight::Identity), [true, true, false, false]);
        assert_eq!(shown(Sight::Public), [true, false, true, false]);
        assert_eq!(shown(Sight::Profile), [true, true, true, false]);
        assert_eq!(shown(Sight::Everything), [true; 4]);
    }

    #[test]
    fn names_lead_back_to_their_relation() {
        for relation in Relation::ALL {
            assert_eq!(Relation::parse(relation.name()), Some(relation));
        }
        assert_eq!(Relation::parse("own"), None);
        assert_eq!(
            ["listing", "username", "code", "block"].map(FoundBy::parse),
            FOUND_BY.map(Some)
        );
        assert_eq!(FoundBy::parse("link"), None);
    }
}
