//! The kind of a where-clause.

use super::render::facts;
use model::facts::{Action, Condition};

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
        "NOT (1 = 2)",
        "coalesce(true, false)",
        "CASE WHEN true THEN true END",
    ] {
        check(condition, Condition::Everything);
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
        "id = 1 OR false",
        "id IN (1, 2)",
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
