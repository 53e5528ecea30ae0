//! The bounds of queries, and every form that PostgREST would read differently from a human reader.

use super::*;

fn code(query: &str) -> Option<&'static str> {
    check(query).err().map(|denial| denial.code)
}

fn passes(query: &str) {
    assert_eq!(code(query), None, "{query}");
}

#[test]
fn what_clients_ask_for_passes() {
    for query in [
        "",
        "select=*",
        "select=id,weight:weight_kg,settings->theme,settings->>language&order=logged_at.desc,id.desc&limit=50",
        "select=id,name,waste_factors(method,credits_per_kg),...user_totals!inner(total_credits)",
        "id=in.(1,2,3)&logged_at=gte.2026-01-01T00:00:00Z&notes=ilike.*a%20b*",
        "or=(notes.ilike.*a*,place.eq.\"x,(y)\",and(weight_kg.gt.1,weight_kg.not.lt.2))",
        "waste_factors.or=(method.eq.sold,method.in.(a,\"b,c\",d))&waste_factors.order=method&waste_factors.limit=3",
        "columns=category_id,weight_kg&on_conflict=user_id,offline_id",
        "and=(a.eq(any).{1,2},b.fts(english).word,c.is.null)",
    ] {
        passes(query);
    }
}

#[test]
fn a_value_may_hold_two_colons_and_a_name_may_not() {
    for query in [
        "notes=eq.a::b",
        "notes=ilike.*a%3A%3Ab*",
        "or=(notes.eq.a::b,place.eq.\"c::d\")",
        "and=(notes.in.(a::b,\"c,::\"),or(notes.not.like.*::*,place.cs.{a::b}))",
        "q=::",
    ] {
        passes(query);
    }
    for query in [
        "select=notes::numeric",
        "select=id,notes%3A%3Anumeric",
        "select=id,n:notes::int",
        "select=id,other(notes::numeric)",
        "select=id;select=notes::numeric",
        "?select=notes::numeric",
        "selec%74=notes%3a:numeric",
        "select=count()::text",
        "notes::numeric=eq.1",
        "not.notes%3A%3Aint=eq.1",
        "other.notes::int=eq.1",
        "order=notes::int",
        "other.order=notes::int.desc",
        "columns=a::b",
        "or=(notes::int.eq.1,a.eq.2)",
        "or=(a.eq.1,and(b.eq.2,notes::int.gt.1))",
        "other.and=(a.eq.1,not.or(n->a::int.gt.1))",
        // What cannot be read is taken for the worse.
        "or=(a.eq.1,b::int",
        "or=a::int",
    ] {
        assert_eq!(code(query), Some("cast_not_allowed"), "{query}");
    }
}

#[test]
fn a_query_has_four_kibibytes() {
    passes(&format!("notes=eq.{}", "a".repeat(MAX_QUERY_BYTES - 9)));
    let long = format!("notes=eq.{}", "a".repeat(MAX_QUERY_BYTES - 8));
    assert_eq!(code(&long), Some("query_too_long"));
}

/// Twenty conditions pass and one more does not, however they are written.
#[test]
fn a_query_has_twenty_conditions_wherever_they_stand() {
    let terms = |n: usize| vec!["notes.match.a"; n].join(",");
    type Written<'a> = &'a dyn Fn(usize) -> String;
    let ways: [Written; 9] = [
        &|n| vec!["notes=match.a"; n].join("&"),
        &|n| vec!["notes=match.a"; n].join(";"),
        &|n| format!("or=({})", terms(n)),
        &|n| format!("or=({})", terms(n).replace('.', "%2e").replace(',', "%2C")),
        &|n| format!("a.b.not.and=({})", terms(n)),
        &|n| format!("or=({},and({}))", terms(n - 5), terms(5)),
        &|n| format!("or=(notes.eq.(,{})", terms(n - 1)),
        &|n| format!("notes=eq.1&or=({})&id=eq.2", terms(n - 2)),
        &|n| format!("or=(a.in.(1,2,3,4,5),b.cs.{{1,2,3}},{})", terms(n - 2)),
    ];
    for (index, way) in ways.iter().enumerate() {
        passes(&way(20));
        assert_eq!(code(&way(21)), Some("too_many_conditions"), "{index}");
    }
    let embedded = |n: usize| {
        let names: Vec<String> = (0..n).map(|n| format!("t{n}(id)")).collect();
        format!("select={}", names.join(","))
    };
    passes(&embedded(20));
    assert_eq!(code(&embedded(21)), Some("too_many_conditions"));
}

#[test]
fn a_list_of_values_is_one_condition() {
    let ids = vec!["0b0e7a9e-0000-4000-8000-000000000000"; 100].join(",");
    passes(&format!("id=in.({ids})"));
    passes(&format!("or=(id.in.({ids}),notes.eq.a)"));
}

#[test]
fn a_column_is_sent_once() {
    for query in [
        "select=notes,notes",
        "select=a:notes,b:notes",
        "select=*,id,*",
        "select=notes,%22no%5Ctes%22",
        "select=\"notes\", notes ",
        "select=id,t(a,b:a)",
        "select=a:t(id),b:t(id)",
        "select=id&select=name",
        "select=id;select=name",
    ] {
        assert_eq!(code(query), Some("repeated_column"), "{query}");
    }
    passes("select=id,t(id),u(id)");
    passes("select=*,day:local_date");
    let columns = |n: usize| {
        let names: Vec<String> = (0..n).map(|n| format!("settings->k{n}")).collect();
        names.join(",")
    };
    passes(&format!("select={}", columns(50)));
    assert_eq!(
        code(&format!("select={}", columns(51))),
        Some("too_many_columns")
    );
    passes(&format!("order={}", columns(10)));
    assert_eq!(
        code(&format!("order={}", columns(11))),
        Some("too_many_columns")
    );
}

#[test]
fn a_query_is_utf8() {
    for query in [
        "notes=eq.%FF",
        "%E0%B8=eq.1",
        "select=%C0%AF",
        "or=(a.eq.%ed%a0%80)",
    ] {
        assert_eq!(code(query), Some("query_not_utf8"), "{query}");
    }
    passes("notes=eq.%E0%B8%81&q=100%25&r=50%&s=%zz");
}
