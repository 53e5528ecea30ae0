//! Tests of the extension in the catalogue: version, volatility and the like, comments, schema.

#[cfg(any(test, feature = "pg_test"))]
#[pgrx::pg_schema]
mod tests {
    use pgrx::prelude::*;

    use crate::testing::{one, plan};

    /// The functions and aggregates of the extension, without those of its tests.
    const OURS: &str = "from pg_catalog.pg_proc p
        join pg_catalog.pg_depend d on d.classid = 'pg_catalog.pg_proc'::regclass and d.objid = p.oid and d.deptype = 'e'
        join pg_catalog.pg_extension e on e.oid = d.refobjid and e.extname = 'pg_carbon'
        where p.pronamespace = 'carbon'::regnamespace";

    fn listed(query: &str) -> String {
        one(&format!(
            "select coalesce(string_agg(x, ', ' order by x), '') from ({query}) t(x)"
        ))
    }

    #[pg_test]
    fn default_version_is_the_version_of_the_crate() {
        let version: String = one(
            "select default_version from pg_catalog.pg_available_extensions where name = 'pg_carbon'",
        );
        assert_eq!(version, env!("CARGO_PKG_VERSION"));
        let installed: String =
            one("select extversion from pg_catalog.pg_extension where extname = 'pg_carbon'");
        assert_eq!(installed, version);
    }

    #[pg_test]
    fn every_function_has_a_comment() {
        let bare = listed(&format!(
            "select p.oid::regprocedure::text {OURS} and coalesce(obj_description(p.oid, 'pg_proc'), '') = ''"
        ));
        assert_eq!(bare, "", "functions without COMMENT ON");
        let count: i64 = one(&format!("select count(*) {OURS}"));
        assert!(count > 25, "only {count} functions were checked");
    }

    /// Functions that are not rules: requests are let in by settings, rows and locks, and writers wake the worker.
    const NO_RULES: &str =
        "('check_request', 'hold_heavy_slot', 'is_session_live', 'raise_limit', 'wake_worker')";

    #[pg_test]
    fn every_function_is_immutable_except_listed_ones() {
        let others = listed(&format!(
            "select p.proname::text {OURS} and p.proname not in {NO_RULES} and p.provolatile <> 'i'"
        ));
        // One is random, one only fails, three cache the goals for their session.
        assert_eq!(others, "derive_entry, has_rules, keep_rules, refuse, seal");
        let restricted = listed(&format!(
            "select p.proname::text {OURS} and p.proname not in {NO_RULES} and p.proparallel <> 's'"
        ));
        assert_eq!(restricted, "derive_entry, has_rules, keep_rules");
    }

    #[pg_test]
    fn only_functions_with_a_use_for_null_are_called_with_it() {
        let called_with_null = listed(&format!(
            "select p.proname::text {OURS} and not p.proisstrict and p.prokind = 'f' and p.pronargs > 0"
        ));
        // An entry may lack its id or a required field; a board its province or rows, a row or card a picture, a challenge and
        // an entry a province; null clears a field, also one whose texts are checked; the wrapper around a set must not be
        // strict to be inlined.
        assert_eq!(
            called_with_null,
            "board_id, board_ranks, board_row, boards_of, card, check_shown_text, contribution, derive_entry, entry_credits, entry_field, entry_identity, parse_entries, parse_entry, profile_field, run_as_of"
        );
    }

    #[pg_test]
    fn there_is_no_security_definer_and_nothing_outside_the_schema() {
        let definers = listed(&format!(
            "select p.proname::text {OURS} and (p.prosecdef or p.proconfig is not null)"
        ));
        assert_eq!(definers, "");
        let elsewhere = listed(
            "select pg_catalog.pg_describe_object(d.classid, d.objid, 0) from pg_catalog.pg_depend d
             join pg_catalog.pg_extension e on e.oid = d.refobjid and e.extname = 'pg_carbon'
             left join pg_catalog.pg_proc p on d.classid = 'pg_catalog.pg_proc'::regclass and d.objid = p.oid
             left join pg_catalog.pg_type t on d.classid = 'pg_catalog.pg_type'::regclass and d.objid = t.oid
             left join pg_catalog.pg_class c on d.classid = 'pg_catalog.pg_class'::regclass and d.objid = c.oid
             where d.deptype = 'e' and p.pronamespace is distinct from 'carbon'::regnamespace
               and coalesce(t.typnamespace, c.relnamespace) is distinct from 'carbon'::regnamespace
               and p.pronamespace is distinct from to_regnamespace('tests')
               and not (d.classid = 'pg_catalog.pg_namespace'::regclass and d.objid in
                        ('carbon'::regnamespace, to_regnamespace('tests')))",
        );
        assert_eq!(elsewhere, "");
    }

    #[pg_test]
    fn the_wrappers_over_grams_are_inlined() {
        Spi::run("create temp table probe (category text, method text, weight_kg numeric)")
            .unwrap();
        for function in ["credits", "co2e_kg", "co2e_avoided_kg"] {
            let plan = plan(&format!(
                "select carbon.{function}(category, method, weight_kg) from probe"
            ));
            assert!(!plan.contains(&format!("{function}(category")), "{plan}");
            assert!(plan.contains("grams(category"), "{plan}");
        }
    }
}
