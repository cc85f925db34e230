//! The kind of a where-clause.

use super::render::facts;
use model::facts::{Action, Columns, Condition, Effect};

#[track_caller]
fn check(condition: &str, expected: Condition) {
    let text = format!("DELETE FROM t WHERE {condition}");
    let facts = facts(&text);
    let effects = facts.statements.first().map(|statement| statement.effects.as_slice()).unwrap_or_default();
    let delete = effects.iter().find(|effect| effect.action == Action::Delete);
    assert_eq!(delete.map(|effect| effect.condition), Some(expected), "{text}");
}

#[test]
fn true_by_its_form() {
    for condition in [
        "true",
        "1 = 1",
        "'a' = 'a'",
        "NOT false",
        "NOT NOT true",
        "id = id",
        "t.id = id",
        "id >= id",
        "id IS NOT DISTINCT FROM id",
        "id IN (1, id)",
        "name LIKE '%'",
        "id = 1 OR true",
        "id = 1 OR 1 = 1",
        "true OR (id = 1 AND k = 2)",
        "(true)",
        "true AND 1 = 1",
        "'t'::bool",
        "1 <> 2",
        "$1",
        "random() < 2",
        "now() > '2020-01-01'",
        "EXISTS (SELECT 1)",
        "EXISTS (SELECT 1 FROM s WHERE s.id = 1)",
        // The inner `t` hides the one that is changed.
        "EXISTS (SELECT 1 FROM t WHERE t.id = 1)",
        "EXISTS (SELECT 1 FROM s JOIN u AS t ON true WHERE t.id = 1)",
        // Equal, though they are written in two ways; and the other way round.
        "1.0 = 1",
        "'t'::bool = 'true'::bool",
        "'1' = 1",
        "'abc'::char(1)::text <> 'abc'::text",
        "(SELECT true)",
        "CASE WHEN true THEN true ELSE id = 1 END",
        "CASE WHEN id > 0 THEN true ELSE true END",
        "CASE 1 WHEN 1 THEN true ELSE id = 2 END",
        "CASE id WHEN id THEN true END",
        "CASE WHEN $1 THEN id = 1 ELSE true END",
        "NOT CASE WHEN true THEN false ELSE id = 1 END",
        // Nothing is left out.
        "id IS NULL OR id IS NOT NULL",
        "NOT (id IS NULL AND id IS NOT NULL)",
        "id = 1 OR id <> 1",
        "id = 1 OR (k = 2 OR t.id <> 1)",
        "id = 1 OR NOT id = 1",
        "id < 5 OR k = 1 OR id > 5 OR id = 5",
        "id <= 5 OR 5 <= id",
        "id > 0 OR id < 9",
        "$1 = id OR id <> $1",
        "lower(name) = 'x' OR lower(name) <> 'x'",
        "active OR NOT active",
        "active IS TRUE OR active IS NOT TRUE",
        "name LIKE 'a%' OR name NOT LIKE 'a%'",
        "name ~ 'a' OR name !~ 'a'",
        "id IN (1, 2) OR id NOT IN (1, 2)",
        "id BETWEEN 1 AND 2 OR id NOT BETWEEN 1 AND 2",
        "id IS DISTINCT FROM 1 OR id IS NOT DISTINCT FROM 1",
        "NOT (id <> id)",
        "NOT (id = 1 AND id <> 1)",
        "id::text = 'a' OR id::text <> 'a'",
        "NOT (1 = 2)",
        "coalesce(true, false)",
        "coalesce(true, id = 1)",
        "coalesce(NULL, true, id = 1)",
        "CASE WHEN true THEN true END",
        // Several columns, lists, and what is moved by a number.
        "(id, k) = (id, k)",
        "(id, k) IN ((1, 2), (id, k))",
        "array[id] = array[t.id]",
        "coalesce(id, 0) = coalesce(id, 0)",
        "greatest(id, k) >= greatest(id, k)",
        "id BETWEEN id AND id",
        "id NOT BETWEEN 5 AND 4",
        "id = ANY (array[1, id])",
        "id = ALL (array[id])",
        "id <> ALL ('{}')",
        "NOT id = ANY (array[]::int[])",
        "id + 0 = id",
        "id + 1 > id",
        "id < 1 + id + 1",
        "1 * id = +id",
        "id - id = 0",
        "id * 0 < 1",
        "id % 1 = 0",
        "name || '' = name",
        "id >= 5.0 OR id < 5.0",
        // Every text.
        "name ~ ''",
        "name ~* '.*'",
        "name SIMILAR TO '%'",
        // Tests of tests.
        "(id = id) IS TRUE",
        "(id <> id) IS NOT TRUE",
        "(true OR id = 1) IS NOT FALSE",
        "(id IS NULL) IS NOT NULL",
        "(id IS NULL) IS NOT UNKNOWN",
        "ctid IS NOT NULL",
        "t.tableoid IS NOT NULL",
        // The table itself, whole.
        "id IN (SELECT id FROM t)",
        "t.id = ANY (SELECT x.id FROM public.t AS x)",
        "(id, k) IN (SELECT id, k FROM t ORDER BY k)",
        "ctid = ANY (ARRAY(SELECT ctid FROM t))",
        "EXISTS (SELECT 1 FROM t AS x WHERE x.id = t.id)",
        "EXISTS (SELECT 1 FROM t AS x WHERE t.id = x.id LIMIT 1)",
        "k = 1 OR id IN (SELECT id FROM t)",
    ] {
        check(condition, Condition::Everything);
    }
}

#[test]
fn a_table_that_is_joined_with_itself() {
    for (text, expected) in [
        ("DELETE FROM t USING t AS u WHERE t.id = u.id", Condition::Everything),
        ("DELETE FROM t USING t AS u WHERE t.ctid = u.ctid AND true", Condition::Everything),
        // What restricts one restricts the other.
        ("DELETE FROM t USING t AS u WHERE t.id = u.id AND u.k = 1", Condition::Some),
        ("DELETE FROM t USING t AS u WHERE t.k = u.k AND t.id > u.id", Condition::Some),
        ("DELETE FROM t USING t AS u WHERE t.id = u.parent", Condition::Some),
        ("DELETE FROM t USING u WHERE t.id = u.id", Condition::Some),
        ("DELETE FROM public.t WHERE id IN (SELECT id FROM other.t)", Condition::Some),
        ("WITH u AS (SELECT id FROM t WHERE k = 1) DELETE FROM t USING u WHERE t.id = u.id", Condition::Some),
        (
            "WITH t AS (SELECT id FROM t WHERE k = 1) DELETE FROM public.t WHERE id IN (SELECT id FROM t)",
            Condition::Some,
        ),
    ] {
        let facts = facts(text);
        let effects = facts.statements.first().map(|statement| statement.effects.as_slice()).unwrap_or_default();
        let delete = effects.iter().find(|effect| effect.action == Action::Delete);
        assert_eq!(delete.map(|effect| effect.condition), Some(expected), "{text}");
    }
}

#[test]
fn what_seems_never_true_of_another_table_bounds_nothing() {
    // Each holds for some value: fractions, infinity and what it times 0 is, texts in the order of letters, NULL.
    for condition in [
        "u.price % 1 <> 0",
        "NOT (u.price % 1 = 0)",
        "u.f + 1 = u.f",
        "u.f * 0 <> 0",
        "u.f - u.f <> 0",
        "u.name BETWEEN 10::text AND 2::text",
        "u.id <> u.id",
        "CASE u.id WHEN u.id THEN t.id = 1 ELSE true END",
    ] {
        let text = format!("DELETE FROM t USING u WHERE {condition}");
        let facts = facts(&text);
        let effects = facts.statements.first().map(|statement| statement.effects.as_slice()).unwrap_or_default();
        let delete = effects.iter().find(|effect| effect.action == Action::Delete);
        assert_eq!(delete.map(|effect| effect.condition), Some(Condition::Everything), "{text}");
    }
}

#[test]
fn looks_at_the_relation() {
    for condition in [
        "1 = 0",
        "'a' = 'b'",
        "1 <> 1",
        "EXISTS (SELECT 1 FROM s WHERE s.id = t.id)",
        "id = 1",
        "id = $1",
        "NOT id = 1",
        "id = other",
        "active",
        "id IS NULL",
        "active IS TRUE",
        "id = 1 AND true",
        "id = 1 OR id = 2",
        "CASE WHEN id = 1 THEN true ELSE false END",
        "CASE id WHEN 1 THEN true END",
        "CASE WHEN k = 1 THEN id = 1 ELSE id = 2 END",
        "CASE WHEN false THEN true ELSE id = 1 END",
        "CASE WHEN true THEN id = 1 ELSE true END",
        "id = 1 OR id <> 2 AND k = 1",
        "id < 0 OR id > 9",
        "id IS NULL OR k IS NOT NULL",
        "id = 1 AND id <> 1",
        "NOT (id = 1 OR id <> 1)",
        "lower(name) = 'x' OR upper(name) <> 'x'",
        "coalesce(id = 1, true)",
        "name LIKE 'a%' OR name NOT LIKE 'b%'",
        "id <> id",
        "xmlexists('//a' PASSING data)",
        "id = 1 OR false",
        "id IN (1, 2)",
        "(id, k) = (k, id)",
        "coalesce(id, 0) = coalesce(id, 1)",
        "id BETWEEN id AND 5",
        "id = ANY (array[1, 2])",
        "id + 1 = id + k",
        "id - k = 0",
        "id % 2 = 0",
        "name ~ 'a.*'",
        "name SIMILAR TO 'a%'",
        "(id = 1) IS TRUE",
        "(id = 1) IS NOT FALSE",
        "(id = 1) IS NOT NULL",
        "id IN (SELECT id FROM t WHERE k = 1)",
        "id IN (SELECT id FROM t LIMIT 10)",
        "id IN (SELECT k FROM t)",
        "id IN (SELECT id FROM s)",
        "id IN (SELECT max(id) FROM t)",
        "id IN (SELECT id FROM t GROUP BY id HAVING count(*) > 1)",
        "ctid IN (SELECT ctid FROM t ORDER BY k LIMIT 10)",
        "EXISTS (SELECT 1 FROM t AS x WHERE x.parent = t.id)",
        "EXISTS (SELECT 1 FROM t AS x WHERE x.id = t.id AND x.k = 1)",
        "id = ANY ($1)",
        "id BETWEEN 1 AND 2",
        "name LIKE 'a%'",
        "lower(name) = 'x'",
        "(id, k) = (1, 2)",
        "id IN (SELECT id FROM s)",
        "EXISTS (SELECT 1 FROM s WHERE s.id = t.id)",
        "data ->> 'a' = 'b'",
        "false",
        "1 = 0",
        "NULL",
    ] {
        check(condition, Condition::Some);
    }
}

/// Of the update that stands behind ON CONFLICT.
#[test]
fn conflicts() {
    for (source, condition, expected) in [
        ("VALUES (1)", "", Condition::Some),
        ("VALUES (lower($1), now(), nextval('s'))", "", Condition::Some),
        ("VALUES (1), (2)", "", Condition::Some),
        ("DEFAULT VALUES", "", Condition::Some),
        ("VALUES (generate_series(1, 1000000))", "", Condition::Everything),
        ("VALUES (1 + unnest($1::int[]))", "", Condition::Everything),
        ("VALUES (app.f())", "", Condition::Everything),
        ("SELECT id FROM t", "", Condition::Everything),
        ("SELECT id FROM t WHERE id = 1", "", Condition::Everything),
        ("VALUES (1) UNION SELECT id FROM t", "", Condition::Everything),
        ("SELECT id FROM t", "WHERE t.total < 5", Condition::Some),
        ("SELECT id FROM t", "WHERE true", Condition::Everything),
        ("SELECT id FROM t", "WHERE excluded.total < 5", Condition::Everything),
    ] {
        let text = format!("INSERT INTO t {source} ON CONFLICT (id) DO UPDATE SET total = 0 {condition}");
        let facts = facts(&text);
        let effects = facts.statements.first().map(|statement| statement.effects.as_slice()).unwrap_or_default();
        // That of a sequence has no condition.
        let is_of_rows = |effect: &&Effect| effect.action == Action::Update && effect.columns != Columns::None;
        let update = effects.iter().find(is_of_rows);
        assert_eq!(update.map(|effect| effect.condition), Some(expected), "{text}");
    }
}
