//! The golden cases of the domain crate, run through SQL: the same files, the same results.

#[cfg(any(test, feature = "pg_test"))]
#[pgrx::pg_schema]
mod tests {
    use pgrx::prelude::*;
    use serde_json::{Value, json};

    use crate::testing::one;

    /// Runs every case of a file, `[{name, input, expected}]`, and shows all differences.
    ///
    /// `query` returns the answer as jsonb and has the input in `$1`; invalid input becomes `{"error": token}`.
    fn run(file: &str, query: &str) {
        let cases: Vec<Value> = serde_json::from_str(file).expect("the vectors are JSON");
        // jsonb cannot store U+0000, so inputs with it never reach a function.
        let cases: Vec<Value> = cases
            .into_iter()
            .filter(|case| !has_null_character(case))
            .collect();
        assert!(cases.len() >= 5, "only {} cases", cases.len());
        Spi::run(
            "create or replace function pg_temp.answer(query text, input jsonb) returns jsonb language plpgsql as $body$
             declare result jsonb; token text;
             begin
                 execute query into result using input;
                 return result;
             exception when invalid_parameter_value then
                 get stacked diagnostics token = pg_exception_detail;
                 return jsonb_build_object('error', token);
             end $body$",
        )
        .expect("the helper can be created");
        let differences = Spi::get_one_with_args::<String>(
            "select coalesce(string_agg(format(E'%s\\n  expected %s\\n  answered %s', name, expected, answered), E'\\n'), '')
             from (select c->>'name', c->'expected', pg_temp.answer($2, c->'input')
                   from jsonb_array_elements($1::jsonb) c) t(name, expected, answered)
             where answered is distinct from expected",
            &[Value::Array(cases).to_string().into(), query.into()],
        );
        let differences = differences.expect("the cases run").expect("one row");
        assert!(differences.is_empty(), "{differences}");
    }

    fn has_null_character(value: &Value) -> bool {
        match value {
            Value::String(text) => text.contains('\0'),
            Value::Array(values) => values.iter().any(has_null_character),
            Value::Object(members) => members
                .iter()
                .any(|(name, value)| name.contains('\0') || has_null_character(value)),
            _ => false,
        }
    }

    #[pg_test]
    fn vectors_of_credits() {
        run(
            include_str!("../../domain/vectors/credits.json"),
            "select to_jsonb(carbon.credits($1->>'category_id', $1->>'disposal_method', ($1->>'weight_kg')::numeric, $1->>'factor_set'))",
        );
    }

    #[pg_test]
    fn vectors_of_emissions() {
        run(
            include_str!("../../domain/vectors/emissions.json"),
            "select jsonb_build_object(
                'co2e_kg', carbon.co2e_kg($1->>'category_id', $1->>'disposal_method', ($1->>'weight_kg')::numeric, $1->>'factor_set'),
                'co2e_avoided_kg', carbon.co2e_avoided_kg($1->>'category_id', $1->>'disposal_method', ($1->>'weight_kg')::numeric, $1->>'factor_set'))",
        );
    }

    #[pg_test]
    fn vectors_of_levels() {
        run(
            include_str!("../../domain/vectors/levels.json"),
            "select jsonb_build_object('level', carbon.level(t), 'credits_to_next_level', carbon.credits_to_next_level(t),
                'progress_percentage', carbon.level_progress(t), 'trees', carbon.trees(t)) from (select ($1->>'total')::bigint) x(t)",
        );
    }

    #[pg_test]
    fn vectors_of_marks() {
        run(
            include_str!("../../domain/vectors/marks.json"),
            "select coalesce(jsonb_agg(c.source || ' ' || c.source_id order by c.place), '[]')
             from carbon.changed_marks(($1->>'total')::bigint, ($1->>'longest_run')::integer, '{}', '{}')
               with ordinality as c (source, source_id, is_reached, place)",
        );
    }

    #[pg_test]
    fn vectors_of_streaks() {
        let days = "select d::date from jsonb_array_elements_text($1->'days') d";
        run(
            include_str!("../../domain/vectors/streaks.json"),
            &format!(
                "select jsonb_build_object('current', current_streak, 'max', max_streak)
                 from carbon.streak(array({days}), ($1->>'as_of')::date)"
            ),
        );
        run(
            include_str!("../../domain/vectors/streaks.json"),
            &format!(
                "select jsonb_build_object('current', current_streak, 'max', (select carbon.max_streak(d) from ({days}) t(d)))
                 from carbon.streak(array({days} order by 1 desc), ($1->>'as_of')::date)"
            ),
        );
    }

    #[pg_test]
    fn vectors_of_phones() {
        run(
            include_str!("../../domain/vectors/phones.json"),
            "select to_jsonb(carbon.normalize_phone($1->>'phone_number', coalesce($1->>'country_code', '66')))",
        );
    }

    #[pg_test]
    fn vectors_of_identity() {
        run(
            include_str!("../../domain/vectors/identity.json"),
            "select to_jsonb(carbon.entry_identity($1->>'id', $1->>'category_id', $1->>'disposal_method',
                ($1->>'weight_grams')::integer, ($1->>'logged_at')::timestamptz))",
        );
    }

    #[pg_test]
    fn vectors_of_local_dates() {
        run(
            include_str!("../../domain/vectors/local_dates.json"),
            "select to_jsonb(carbon.local_date(($1->>'at')::timestamptz, $1->>'time_zone'))",
        );
    }

    #[pg_test]
    fn vectors_of_entries() {
        run(
            include_str!("../../domain/vectors/entries.json"),
            r#"select case when e.errors is null then jsonb_build_object('entry', jsonb_strip_nulls(jsonb_build_object(
                    'category_id', e.category_id, 'disposal_method', e.disposal_method, 'weight_kg', e.weight_kg,
                    'time_zone', e.time_zone, 'logged_at', regexp_replace(to_char(e.logged_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US'), '([.]000000|000)$', '') || 'Z',
                    'location', jsonb_build_object('latitude', e.location_lat, 'longitude', e.location_lng),
                    'notes', e.notes, 'place', e.place, 'image_id', e.image_id, 'device_id', e.device_id, 'offline_id', e.offline_id))
                    - case when e.location_lat is null then 'location' else '' end)
                else jsonb_build_object('errors', (select jsonb_agg(jsonb_build_object('field', x->'field', 'token', x->'token') order by o)
                    from jsonb_array_elements(e.errors) with ordinality t(x, o))) end
               from carbon.parse_entries(jsonb_build_array($1->'entry'), ($1->>'now')::timestamptz) e"#,
        );
    }

    #[pg_test]
    fn vectors_of_profiles() {
        // The domain lists every invalid field; an ERROR names the first one.
        let mut cases: Vec<Value> =
            serde_json::from_str(include_str!("../../domain/vectors/profiles.json"))
                .expect("the vectors are JSON");
        for case in &mut cases {
            if let Some(token) = case["expected"]["errors"]
                .get(0)
                .map(|first| first["token"].clone())
            {
                case["expected"] = json!({"error": token});
            }
        }
        run(
            &Value::Array(cases).to_string(),
            "select jsonb_build_object('changes', carbon.parse_profile_changes(($1->'changes')::text)::jsonb)",
        );
    }

    #[pg_test]
    fn vectors_of_moderation() {
        run(
            include_str!("../../domain/vectors/moderation.json"),
            "select to_jsonb(case when carbon.check_shown_text('title', $1->>'text', '{}', '{}') then 'shown' end)",
        );
    }

    #[pg_test]
    fn vectors_of_migrations() {
        run(
            include_str!("../../domain/vectors/migrations.json"),
            "select carbon.parse_migration($1->>'payload', ($1->>'now')::timestamptz)",
        );
    }

    #[pg_test]
    fn a_difference_would_be_noticed() {
        let wrong = r#"[{"name": "wrong", "input": {"total": 0}, "expected": 2}]"#;
        let wrong: Vec<Value> = serde_json::from_str(wrong).expect("JSON");
        let many = Value::Array(vec![wrong[0].clone(); 10]).to_string();
        let outcome = std::panic::catch_unwind(|| {
            run(
                &many,
                "select to_jsonb(carbon.level(($1->>'total')::bigint))",
            )
        });
        assert!(outcome.is_err());
        assert_eq!(one::<i32>("select carbon.level(0)"), 1);
    }
}
