//! Ways to make a statement look like another one.

use super::render::check;

#[test]
fn names_in_every_spelling() {
    check("SELECT 1 FROM Users", "SELECT: select users all");
    check("SELECT 1 FROM \"Users\"", "SELECT: select Users all");
    check("SELECT 1 FROM U&\"us\\0065rs\"", "SELECT: select users all");
    check("SELECT 1 FROM U&\"us!0065rs\" UESCAPE '!'", "SELECT: select users all");
    check("DELETE/**/FROM\"users\"", "DELETE: delete users all");
    check("((SELECT ssn FROM users))", "SELECT: select users(ssn) all");
    check("/*!99999 */ TABLE users", "SELECT: select users(*) all");
    check("SELECT 1 FROM db.public.users", "SELECT: select public.users all");
}

#[test]
fn strings_that_end_where_they_do_not_seem_to() {
    check(r"SELECT E'\'; DROP TABLE users; --'", "SELECT: ");
    check(r"SELECT '\'; DROP TABLE users; --'", "SELECT: ; DROP TABLE: drop users, =relation(users)");
    check("SELECT $a$ $b$ $a$; DELETE FROM t -- $b$", "SELECT: ; DELETE: delete t all");
    check("SELECT 'a'\n'; b'; DELETE FROM t", "SELECT: ; DELETE: delete t all");
    check("SELECT 1 /* /* */; DELETE FROM t -- */", "SELECT: ");
    check("SELECT 1 /* /* */; DELETE FROM t", "opaque: syntax");
}

#[test]
fn functions_with_effects() {
    for (call, expected) in [
        ("pg_read_file('/etc/passwd')", "call pg_catalog.pg_read_file(), server_file server"),
        ("pg_catalog.pg_ls_dir('.')", "call pg_catalog.pg_ls_dir(), server_file server"),
        ("lo_import('/etc/passwd')", "call pg_catalog.lo_import(), server_file server, create [LARGE OBJECT ]"),
        ("lo_export(1, '/tmp/x')", "select [LARGE OBJECT ], call pg_catalog.lo_export(), server_file server"),
        ("nextval('app.\"S\"')", "update app.S, call pg_catalog.nextval()"),
        ("setval('s', 1)", "update s, call pg_catalog.setval()"),
        ("pg_terminate_backend(pid)", "call pg_catalog.pg_terminate_backend(), admin server"),
        ("pg_notify('c', 'x')", "call pg_catalog.pg_notify(), notify session c"),
        ("pg_advisory_lock(1)", "lock session -, call pg_catalog.pg_advisory_lock()"),
        ("pg_switch_wal()", "call pg_catalog.pg_switch_wal(), admin server"),
        ("query_to_xml('DELETE', true, true, '')", "call pg_catalog.query_to_xml(), opaque dynamic_sql"),
        ("table_to_xml('users', true, true, '')", "call pg_catalog.table_to_xml(), opaque dynamic_sql"),
        ("ext.dblink('', 'DROP')", "call ext.dblink(), opaque dynamic_sql"),
        (
            "pg_logical_slot_get_changes('s', null, null)",
            "call pg_catalog.pg_logical_slot_get_changes(), replicate server",
        ),
        ("pg_sleep(10)", "call pg_sleep()"),
        // The text names a type, and its domain may have checks.
        ("pg_input_is_valid('1', 'bait')", "call pg_input_is_valid()"),
        ("message FROM pg_input_error_info('1', 'bait')", "call pg_input_error_info()"),
        ("app.evil(1)", "call app.evil()"),
        ("1 OPERATOR(app.+) 2", "call app.+()"),
        ("1 OPERATOR(pg_catalog.+) 2", ""),
        ("sum(x) FILTER (WHERE app.evil(1)) OVER (ORDER BY app.worse(2))", "call app.evil(), call app.worse()"),
        ("count(*), lower('x'), now(), coalesce(1, 2), date_trunc('day', now())", ""),
        ("has_table_privilege('t', 'x') AS delete", ""),
    ] {
        check(&format!("SELECT {call}"), &format!("SELECT: {expected}"));
    }
}

#[test]
fn functions_hide_anywhere() {
    let call = "app.evil()";
    for text in [
        format!("SELECT 1 WHERE {call}"),
        format!("SELECT 1 ORDER BY {call}"),
        format!("SELECT 1 GROUP BY {call}"),
        format!("SELECT 1 HAVING {call}"),
        format!("SELECT 1 LIMIT {call}"),
        format!("SELECT 1 OFFSET {call}"),
        format!("SELECT * FROM {call}"),
        format!("SELECT * FROM ROWS FROM (lower('x'), {call}) AS f"),
        format!("SELECT CASE WHEN {call} THEN 1 END"),
        format!("SELECT ARRAY[{call}]"),
        format!("SELECT (ARRAY[1])[{call}]"),
        format!("SELECT ROW({call})"),
        format!("SELECT greatest(1, {call})"),
        format!("SELECT coalesce({call})"),
        format!("SELECT {call} IS NULL"),
        format!("SELECT {call}::text COLLATE \"C\""),
        format!("SELECT 1 IN (2, {call})"),
        format!("SELECT xmlelement(name a, {call})"),
        format!("SELECT lower(VARIADIC a => {call})"),
        format!("SELECT sum(1) OVER (PARTITION BY {call})"),
        format!("VALUES ({call})"),
        format!("SELECT DISTINCT ON ({call}) 1"),
        format!("SELECT 1 WINDOW w AS (ORDER BY {call})"),
        format!("SELECT 1 UNION SELECT 1 ORDER BY (SELECT {call})"),
        format!("SELECT (SELECT {call})"),
        format!("SELECT * FROM XMLTABLE('/a' PASSING {call} COLUMNS a int DEFAULT {call})"),
        format!("SELECT * FROM JSON_TABLE({call}, '$' COLUMNS (a int PATH '$.a'))"),
        format!("SELECT JSON_OBJECT('a': {call})"),
        format!("EXECUTE p({call})"),
        format!("SELECT ({call})[1:{call}]"),
    ] {
        let words = super::render::words(&super::render::facts(&text));
        assert!(words.contains("call app.evil()"), "{text}: {words}");
    }
}

#[test]
fn what_is_put_before_the_server_s_own_functions_is_a_call() {
    check(
        "SET search_path = evil, pg_catalog; SELECT lower('x') || 'y'",
        "SET: set_parameter parameter search_path, =search_path:\"evil\", \"pg_catalog\"; SELECT: call lower(), call ||()",
    );
    check(
        "CREATE FUNCTION lower(x) RETURNS int LANGUAGE sql AS ''; SELECT lower(a) FROM t",
        "CREATE FUNCTION: create lower(), =catalogue, =functions; SELECT: select t(a) all, call lower()",
    );
}

#[test]
fn keywords_are_operators_that_anybody_can_define() {
    for (expression, operator) in [
        ("a IN (1)", "="),
        ("a IN (SELECT 1)", "="),
        ("CASE a WHEN 1 THEN 2 END", "="),
        ("NULLIF(a, 1)", "="),
        ("a IS DISTINCT FROM 1", "="),
        ("a LIKE 'x'", "~~"),
        ("a NOT ILIKE 'x'", "!~~*"),
        ("a SIMILAR TO 'x'", "~"),
        ("a BETWEEN 1 AND 2", ">="),
        ("1 FROM u JOIN v USING (a)", "="),
    ] {
        let words = super::render::words(&super::render::facts(&format!(
            "SET search_path = evil, pg_catalog; SELECT {expression}"
        )));
        assert!(words.contains(&format!("call {operator}()")), "{words}");
        let words = super::render::words(&super::render::facts(&format!("SELECT {expression}")));
        assert!(!words.contains("call"), "{words}");
    }
}

#[test]
fn locks_behind_a_subquery() {
    check(
        "SELECT * FROM (SELECT * FROM t) s, u FOR UPDATE",
        "SELECT: select t(*) all, select u(*) all, lock t, lock u",
    );
    check(
        "SELECT 1 FROM u JOIN LATERAL (SELECT 1 FROM t) s ON true FOR SHARE OF s",
        "SELECT: select t all, select u all, lock t",
    );
    check("WITH w AS (SELECT 1) SELECT 1 FROM w, t FOR UPDATE OF t", "SELECT: select t all, lock t");
}

#[test]
fn the_view_of_settings_sets_them() {
    let update = "pg_settings SET setting = 'x' WHERE name = 'search_path'";
    check(
        &format!("UPDATE {update}"),
        "UPDATE: select pg_settings(name) some, update pg_settings(setting) some, opaque code",
    );
    check(
        &format!("UPDATE app.{update}"),
        "UPDATE: select app.pg_settings(name) some, update app.pg_settings(setting) some",
    );
}

#[test]
fn words_that_older_servers_take_for_names() {
    use model::facts::OpaqueReason;
    use sql::catalogue::Catalogue;
    use sql::state::State;
    use sql::{Analyser, Limits};

    let opaque = |text: &str, major| {
        let state = State { server_major: major, ..super::render::state() };
        let facts = Analyser::new(Limits::default()).facts(text.as_bytes(), &state, &Catalogue::none());
        facts.statements.iter().any(|statement| statement.opaque.contains(&OpaqueReason::Construct))
    };
    for (text, since) in [
        ("SELECT JSON_VALUE(a, '$')", 17),
        ("SELECT JSON_SCALAR(1)", 17),
        ("SELECT JSON_OBJECT('a': 1)", 16),
        ("SELECT a IS JSON", 16),
        ("SELECT system_user", 16),
    ] {
        assert!(opaque(text, Some(since - 1)), "{text}");
        assert!(opaque(text, None), "{text}");
        assert!(!opaque(text, Some(since)), "{text}");
    }
    assert!(!opaque("SELECT json_object('{a,b}')", Some(15)));
}
