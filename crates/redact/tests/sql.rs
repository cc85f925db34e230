//! Statements' texts: what is tainted and what is left of it.

use redact::{Judgement, sql};

#[track_caller]
fn check(given: &str, expected: &str) {
    assert_eq!(sql(given), Judgement::Tainted(expected.to_owned()), "{given}");
}

#[test]
fn plain_texts_are_kept() {
    for text in [
        "SELECT 'drop table x'",
        "SELECT id, ssn FROM users WHERE id = $1",
        "SELECT abalance FROM pgbench_accounts WHERE aid = 4711;",
        "UPDATE pgbench_accounts SET abalance = abalance + -17 WHERE aid = 4711;",
        "INSERT INTO pgbench_history (tid, bid, aid, delta, mtime) VALUES (1, 2, 3, 4, CURRENT_TIMESTAMP);",
        "copy pgbench_accounts from stdin with (freeze on)",
        "CREATE TABLE roles (user_id int, token text)",
        "CREATE INDEX users_idx ON users (id)",
        "ALTER TABLE user_groups ADD COLUMN x text DEFAULT 'y'",
        "SELECT U&'d\\0061t\\+000061' FROM t",
        "SELECT 'http://example.org:80/a', 'alice@example.org'",
        "SELECT jsonb_build_object('tokens', 5), md5('x'), encrypted FROM t",
        "SELECT pg_catalog.ts_token_type('default')",
        "EXPLAIN (ANALYZE, BUFFERS) SELECT 1",
        "SELECT 'cwd is pwdx', 'bearers'",
        "SELECT 'disk-proj-report', task_live_ FROM sk_live_",
        "SELECT passenger, bypass, compass FROM passes WHERE passed = 'yes'",
        "SET SESSION AUTHORIZATION 'alice'",
        "COPY t FROM PROGRAM 'mkdir -p /tmp/x && curl -s https://example.org/a'",
        "SELECT programme, 'x' FROM t",
        "SELECT private, 'key' FROM t",
        "SELECT c.oid, n.nspname, c.relname FROM pg_catalog.pg_class c LEFT JOIN pg_catalog.pg_namespace n ON n.oid \
         = c.relnamespace WHERE c.relname OPERATOR(pg_catalog.~) '^(x)$' COLLATE pg_catalog.default",
        "SELECT c.relchecks, pg_catalog.array_to_string(c.reloptions || array(select 'toast.' || x from \
         pg_catalog.unnest(tc.reloptions) x), ', ') FROM pg_catalog.pg_class c",
        "SELECT r.rolname, r.rolsuper, r.rolinherit, r.rolcreaterole FROM pg_catalog.pg_roles r WHERE r.rolname !~ '^pg_'",
        "",
    ] {
        assert_eq!(sql(text), Judgement::Plain, "{text}");
    }
}

#[test]
fn definitions_lose_their_literals() {
    check("ALTER ROLE x PASSWORD 'S'", "ALTER ROLE x PASSWORD '***'");
    check(
        "alter user x with encrypted password\n  E'S\\'S' valid until 'tomorrow'",
        "alter user x with encrypted password\n  '***' valid until '***'",
    );
    check("ALTER USER \"x\" PASSWORD 'SCRAM-SHA-256$4096:c2FsdA==$a:b'", "ALTER USER \"x\" PASSWORD '***'");
    check("CREATE /* S */ -- S\n ROLE x", "CREATE /*…*/ /*…*/\n ROLE x");
    check("/* S */CREATE USER x PASSWORD 'S'; SELECT 1", "/*…*/CREATE USER x PASSWORD '***'; SELECT 1");
    check(
        "CREATE USER MAPPING FOR u SERVER s OPTIONS (user 'u', password 'p')",
        "CREATE USER MAPPING FOR u SERVER s OPTIONS (user '***', password '***')",
    );
    check(
        "CREATE SUBSCRIPTION s CONNECTION 'host=x password=y' PUBLICATION p",
        "CREATE SUBSCRIPTION s CONNECTION '***' PUBLICATION p",
    );
    check("ALTER SUBSCRIPTION s CONNECTION $a$host=x$a$", "ALTER SUBSCRIPTION s CONNECTION '***'");
    check(
        "CREATE FOREIGN TABLE t (x int) SERVER s OPTIONS /* c */ (key 'S')",
        "CREATE FOREIGN TABLE t (x int) SERVER s OPTIONS /*…*/ (key '***')",
    );
    check("ALTER GROUP g RENAME TO h", "ALTER GROUP g RENAME TO h");
    check("ALTER SYSTEM SET primary_conninfo = E'pass\\167ord=S'", "ALTER SYSTEM SET primary_conninfo = '***'");
    check(
        "ALTER SYSTEM SET U&\"primary\\005fconninfo\" = 'x S'",
        "ALTER SYSTEM SET U&\"primary\\005fconninfo\" = '***'",
    );
    check("ALTER ROLE x PASSWORD NULL", "ALTER ROLE x PASSWORD NULL");
    check("ALTER ROLE x PASSWORD NULL;", "ALTER ROLE x PASSWORD NULL;");
}

#[test]
fn passwords_without_their_quotes() {
    check("ALTER ROLE x PASSWORD SECRET", "ALTER ROLE x PASSWORD '***'");
    check("ALTER ROLE x PASSWORD = S;RET VALID", "ALTER ROLE x PASSWORD '***'");
    check("ALTER ROLE x PASSWORD \"SE CRET\" VALID", "ALTER ROLE x PASSWORD '***'");
    check("ALTER ROLE x PASSWORD SE CRET", "ALTER ROLE x PASSWORD '***'");
    check("ALTER ROLE x WITH PASSWORD TO SECRET", "ALTER ROLE x WITH PASSWORD '***'");
    check("ALTER ROLE x WITH PASSWORD: SECRET", "ALTER ROLE x WITH PASSWORD '***'");
    check("ALTER ROLE x PASSWORD E SECRET 'b'", "ALTER ROLE x PASSWORD '***'");
    check("ALTER ROLE x PASSWORD\u{a0}SECRET", "ALTER ROLE x PASSWORD '***'");
    check("ALTER ROLE x PASSWORD\u{2018}SE CRET\u{2019}", "ALTER ROLE x PASSWORD '***'");
    check("CREATE USER x IDENTIFIED BY SECRET", "CREATE USER x IDENTIFIED '***'");
    check("ALTER ROLE x VALID UNTIL 'S'", "ALTER ROLE x VALID UNTIL '***'");
    check("ALTER ROLE x PASSWORD SE'CR ET", "ALTER ROLE x PASSWORD '***'");
    check("ALTER ROLE x PASSWORD 'SE'CRET'", "ALTER ROLE x PASSWORD '***'");
    check("ALTER ROLE x CONNECTION \"host=h password=S\"", "ALTER ROLE x CONNECTION \"***\"");
    check("host=h password=SECRET user=u", "host=h password=*** user=u");
    check("postgres://u:SECRET@h/db", "postgres://u:***@h/db");
}

#[test]
fn words_taint_anywhere() {
    check("SELECT 'a', 1 FROM t -- PassWord S", "SELECT '***', 1 FROM t /*…*/");
    check("SELECT x.passwd_hash = 'S'", "SELECT x.passwd_hash = '***'");
    check("SELECT user_pwd, 'S'", "SELECT user_pwd, '***'");
    check("UPDATE wp_users SET user_pass = 'S'", "UPDATE wp_users SET user_pass = '***'");
    check("INSERT INTO users (name, pass) VALUES ('a', 'S')", "INSERT INTO users (name, pass) VALUES ('***', '***')");
    check("SELECT 'jdbc:x?user=u&pass=S'", "SELECT '***'");
    check("SELECT '-----BEGIN RSA PRIVATE KEY-----'", "SELECT '***'");
    check("SELECT http_header('Authorization', 'Basic S')", "SELECT http_header('***', '***')");
    check("SELECT f('{\"authorization\": \"S\"}')", "SELECT f('***')");
    check("SELECT dblink_connect('host=.. pass=S')", "SELECT dblink_connect('***')");
    check("SELECT crypt('S', gen_salt('bf'))", "SELECT crypt('***', gen_salt('***'))");
    check("SELECT pgp_sym_encrypt('a', 'S')", "SELECT pgp_sym_encrypt('***', '***')");
    check("SELECT 1 WHERE access_token = 'S'", "SELECT 1 WHERE access_token = '***'");
    check("SELECT f('Bearer S')", "SELECT f('***')");
    check("SELECT f('eyJhbGciOiJIUzI1NiJ9.e30.S')", "SELECT f('***')");
    for beginning in ["ghp_", "github_pat_", "glpat-", "xoxb-", "sk_live_", "sk-proj-"] {
        check(&format!("SELECT f('{beginning}SECRET7890abcdef1234', 'b')"), "SELECT f('***', '***')");
        // Cut.
        check(&format!("SELECT f('{beginning}S"), "SELECT f('***'");
    }
    check("SELECT 'postgres://u:S@h'", "SELECT '***'");
    check("SELECT 'postgres://u:S", "SELECT '***'");
    check("SELECT 'md5d41d8cd98f00b204e9800998ecf8427e'", "SELECT '***'");
    check("SELECT password FROM users WHERE id = $1", "SELECT password FROM users WHERE id = $1");
}

#[test]
fn command_lines_that_the_server_runs() {
    check("COPY t FROM PROGRAM 'curl -u bob:S https://x/y'", "COPY t FROM PROGRAM '***'");
    check("COPY t FROM PROGRAM 'curl --user bob:S ftp://x'", "COPY t FROM PROGRAM '***'");
    check("copy t to program E'mysql -pS -u root'", "copy t to program '***'");
    check("COPY t FROM PROGRAM $$sshpass -p S ssh x$$", "COPY t FROM PROGRAM '***'");
    check("COPY t FROM PROGRAM 'sh -c \"x --auth-token S\"'", "COPY t FROM PROGRAM '***'");
    check(
        "COPY a FROM PROGRAM 'ls'; COPY b FROM PROGRAM 'curl -ubob:S x'",
        "COPY a FROM PROGRAM '***'; COPY b FROM PROGRAM '***'",
    );
    check("ALTER SYSTEM SET archive_command = 'sshpass -pS scp %p x'", "ALTER SYSTEM SET archive_command = '***'");
}

#[test]
fn every_form_of_literal_is_replaced() {
    check(
        "SELECT password, 'a''b', E'a\\'b', U&'a', B'01', X'ff', n'a', $$a$$, $t$a$$b$t$, $1, 5",
        "SELECT password, '***', '***', '***', '***', '***', '***', '***', '***', $1, 5",
    );
    check("SELECT password, 'a'\n'b', fooE'x'", "SELECT password, '***'\n'***', fooE'***'");
    check("DO $$ BEGIN EXECUTE 'ALTER ROLE x PASSWORD ''S'''; END $$", "DO '***'");
    check("DO $a$ $b$ password $b$ $a$ LANGUAGE plpgsql", "DO '***' LANGUAGE plpgsql");
    check("SELECT password /* a /* b */ c */, 'd'", "SELECT password /*…*/, '***'");
    check("SELECT \"it's\", password, 'S'", "SELECT \"it's\", password, '***'");
    check("SELECT straße$$, password, 'S'", "SELECT straße$$, password, '***'");
    check("SELECT '密码 S' AS 密码, 'password'", "SELECT '***' AS 密码, '***'");
}

#[test]
fn what_is_doubtful_goes_to_the_end() {
    check("SELECT password, 'a\\', 'S'", "SELECT password, '***'");
    check("SELECT password, U&'\\0041', 'S'", "SELECT password, '***'");
    check("SELECT password, 'a', $$S", "SELECT password, '***'");
    check("SELECT password, 'a', 'S", "SELECT password, '***'");
    check("SELECT password /* S", "SELECT password /*…*/");
    check("SELECT password, \"S", "SELECT password, \"***\"");
    // Shift-JIS: the second byte of a character is a backslash.
    check("SELECT password, E'\u{fffd}\\', 'S'", "SELECT password, '***'");
}

#[test]
fn split_words_are_no_key_words() {
    // PostgreSQL reads two words here, too, and refuses them.
    check("ALTER ROLE x PASSW/**/ORD 'S'", "ALTER ROLE x PASSW/*…*/ORD '***'");
    assert_eq!(sql("SELECT PASSW/**/ORD 'x'"), Judgement::Plain);
}

#[test]
fn hostile_texts_take_linear_time() {
    for piece in [
        "program ",
        "_command -u",
        "pass",
        "authorization'",
        "create/*",
        "create /* */",
        "://",
        "://a:",
        "options/* */ ",
        "crypt",
        "'",
        "$a$",
        "/*",
        "a://b@",
        "password=",
    ] {
        let text = piece.repeat(200_000);
        let _ = sql(&text);
        let nested = format!("{text}{}", "*/".repeat(200_000));
        let _ = sql(&nested);
    }
}
