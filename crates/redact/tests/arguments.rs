//! Command lines: what is taken out, what stays.

use redact::{ArgvPolicy, arguments};

fn raw(values: &[&str]) -> Vec<u8> {
    values.iter().flat_map(|value| value.bytes().chain([0])).collect()
}

fn check(given: &[&str], expected: &[&str]) {
    assert_eq!(arguments(&raw(given), ArgvPolicy::Redacted), expected, "{given:?}");
}

/// Arguments in which nothing is a secret come out as they went in.
fn check_kept(given: &[&str]) {
    check(given, given);
}

#[test]
fn policy_none_keeps_nothing_and_full_keeps_all() {
    let raw = raw(&["psql", "", "password=SECRET"]);
    assert!(arguments(&raw, ArgvPolicy::None).is_empty());
    assert_eq!(arguments(&raw, ArgvPolicy::Full), ["psql", "", "password=SECRET"]);
    assert!(arguments(b"", ArgvPolicy::Full).is_empty());
    assert_eq!(arguments(b"a\xff\0", ArgvPolicy::Full), ["a\u{fffd}"]);
}

#[test]
fn a_literal_of_sql_does_not_outlive_the_word_that_it_begins_in() {
    check(
        &["psql", "-c", "update a set password_hash=crypt($t$x SECRET$t$, 'x')"],
        &["psql", "-c", "update a set password_hash=***"],
    );
}

#[test]
fn ordinary_arguments_are_kept() {
    check_kept(&["psql", "-h", "db.example.org", "-p", "5432", "-U", "alice", "-d", "app", "-W"]);
    check_kept(&["psql", "-p5432", "-c", "SELECT 'it''s', $1 FROM users"]);
    check_kept(&["psql", "--no-password", "app", "-w"]);
    check_kept(&["psql", "--password", "-h", "db"]);
    check_kept(&["psql", "host=db port=5432 dbname=app user=alice passfile=/home/alice/.pgpass"]);
    check_kept(&["psql", "postgresql://alice@db:5432,db2:5433/app?sslmode=require"]);
    check_kept(&["psql", "postgres://db:5432"]);
    check_kept(&["psql", "postgres://[::1]:5432/app"]);
    check_kept(&["sh", "-c", "psql 'host=db user=alice' -c 'select 1'"]);
    check_kept(&["/usr/bin/python3", "-m", "http.server", "--bind", "127.0.0.1"]);
    check_kept(&["pgbench", "-c", "10", "-T", "60", "-S", "--progress=1"]);
    check_kept(&["postgres", "-D", "/var/lib/postgresql/15/main", "-c", "config_file=/etc/postgresql.conf"]);
    check_kept(&["curl", "-u", "alice", "https://example.org/a:b@c".split('@').next().unwrap()]);
}

#[test]
fn passwords_in_uris() {
    check(&["psql", "postgresql://u:SECRET@h/db"], &["psql", "postgresql://u:***@h/db"]);
    check(&["x", "amqp+tls://u:S%40CRET@h"], &["x", "amqp+tls://u:***@h"]);
    check(&["x", "postgres://u:SEC@RET@h/db"], &["x", "postgres://u:***@h/db"]);
    check(&["x", "postgres://u:SEC/RET@h/db"], &["x", "postgres://u:***@h/db"]);
    check(&["x", "postgres://u:SEC RET@h/db"], &["x", "postgres://u:***@h/db"]);
    check(&["x", "postgres://:SECRET@h/db"], &["x", "postgres://:***@h/db"]);
    check(&["x", "--remote=glpat-SECRET7890abcdef1234"], &["x", "--remote=***"]);
    check(&["x", "ghp_SECRET7890abcdef12345678"], &["x", "***"]);
    check(&["x", "https://ghp_SECRET@example.org/r.git"], &["x", "https://***@example.org/r.git"]);
    check(
        &["sh", "-c", "psql postgres://u:SECRET@h && psql postgres://v:SECRET@i"],
        &["sh", "-c", "psql postgres://u:***@h && psql postgres://v:***@i"],
    );
    check(
        &["x", "postgres://h/db?user=u&password=SECRET&sslmode=require&sslpassword=SECRET#x"],
        &["x", "postgres://h/db?user=u&password=***&sslmode=require&sslpassword=***#x"],
    );
    check(&["x", "postgres://h/db?pass%77ord=SECRET"], &["x", "postgres://h/db?pass%77ord=***"]);
    check(&["x", "jdbc:postgresql://h/db?user=u&password=S"], &["x", "jdbc:postgresql://h/db?user=u&password=***"]);
}

#[test]
fn a_cut_command_line_may_end_inside_of_a_secret() {
    assert_eq!(arguments(b"psql\0postgres://u:1234", ArgvPolicy::Redacted), ["psql", "postgres://u:***"]);
    assert_eq!(arguments(b"psql\0postgres://u:SECR\0", ArgvPolicy::Redacted), ["psql", "postgres://u:***"]);
    assert_eq!(arguments(b"psql\0host=h password='SE CR", ArgvPolicy::Redacted), ["psql", "host=h password=***"]);
}

#[test]
fn passwords_in_connection_strings() {
    check(&["psql", "host=h password=SECRET user=u"], &["psql", "host=h password=*** user=u"]);
    check(&["psql", "host=h PassWord = SECRET user=u"], &["psql", "host=h PassWord = *** user=u"]);
    check(&["psql", "password='SE CRET' user=u"], &["psql", "password=*** user=u"]);
    check(&["psql", r"password='S\'E CRET' user=u"], &["psql", "password=*** user=u"]);
    check(&["psql", r"password=S\ ECRET user=u"], &["psql", "password=*** user=u"]);
    check(&["psql", "sslpassword=SECRET"], &["psql", "sslpassword=***"]);
    check(&["psql", "host=h password='SE CRET"], &["psql", "host=h password=***"]);
    check(
        &["sh", "-c", r#"psql "host=h password='SE CRET' user=u""#],
        &["sh", "-c", r#"psql "host=h password=*** user=u""#],
    );
}

#[test]
fn options_with_a_secret_as_value() {
    check(&["x", "--password", "SECRET", "y"], &["x", "--password", "***", "y"]);
    check(&["x", "--password", "-SECRET"], &["x", "--password", "***"]);
    check(&["x", "--password=SE CRET"], &["x", "--password=***"]);
    check(&["x", "--db-password=SECRET"], &["x", "--db-password=***"]);
    check(&["x", "-password", "SECRET"], &["x", "-password", "***"]);
    check(&["mysql", "-pSECRET"], &["mysql", "-p***"]);
    check(&["mysql", "-pHUNTER"], &["mysql", "-p***"]);
    check(&["mysql", "-ppassword123"], &["mysql", "-p***"]);
    check(&["mysql", "-p123456"], &["mysql", "-p***"]);
    check(&["sshpass", "-p", "SECRET", "ssh"], &["sshpass", "-p", "***", "ssh"]);
    check(&["x", "--token", "SECRET", "--api-key=SECRET"], &["x", "--token", "***", "--api-key=***"]);
    check(&["curl", "-u", "alice:SECRET"], &["curl", "-u", "alice:***"]);
    check(&["curl", "-ualice:SECRET", "https://x"], &["curl", "-ualice:***", "https://x"]);
    check(&["curl", "-H", "Authorization: Bearer SECRET"], &["curl", "-H", "Authorization: ***"]);
    check(&["curl", "-H", "X-Api-Key: SECRET"], &["curl", "-H", "X-Api-Key: ***"]);
    check(
        &["curl", "-d", r#"{"user": "u", "password": "SE CRET"}"#],
        &["curl", "-d", r#"{"user": "u", "password": ***"#],
    );
    check(
        &["x", "--password-file=/run/p", "--token-file", "/run/t"],
        &["x", "--password-file=/run/p", "--token-file", "/run/t"],
    );
    check(&["sh", "-c", "mysql -u root -pHUNTER app"], &["sh", "-c", "mysql -u root -p*** app"]);
    check(&["sh", "-c", "x --password 'SE CRET' y"], &["sh", "-c", "x --password *** y"]);
    check(&["openssl", "-passin", "pass:SECRET"], &["openssl", "-p***", "pass:***"]);
}

#[test]
fn environment_assignments() {
    check(&["env", "PGPASSWORD=SE CRET", "psql"], &["env", "PGPASSWORD=***", "psql"]);
    check(&["sh", "-c", "PGPASSWORD=SECRET psql -h h"], &["sh", "-c", "PGPASSWORD=*** psql -h h"]);
    check(&["sh", "-ec", "PGPASSWORD='SE CRET' psql -h h"], &["sh", "-ec", "PGPASSWORD=*** psql -h h"]);
    check(
        &["env", "AWS_SECRET_KEY=S", "GITHUB_TOKEN=S", "DB_PASS=S", "MYSQL_PWD=S", "PGHOST=h"],
        &["env", "AWS_SECRET_KEY=***", "GITHUB_TOKEN=***", "DB_PASS=***", "MYSQL_PWD=***", "PGHOST=h"],
    );
}

#[test]
fn sql_in_arguments() {
    check(&["psql", "-c", "ALTER ROLE x PASSWORD 'SECRET'"], &["psql", "-c", "ALTER ROLE x PASSWORD ***"]);
    check(&["psql", "-cALTER USER x PASSWORD $$SECRET$$"], &["psql", "-cALTER USER x PASSWORD ***"]);
    // The shell took the quotes, or put its own number in the place of `$$`.
    check(&["psql", "-c", "ALTER ROLE x PASSWORD SECRET"], &["psql", "-c", "ALTER ROLE x PASSWORD ***"]);
    check(&["psql", "-c", "alter user x password 4711SECRET4711"], &["psql", "-c", "alter user x password ***"]);
    check(&["sh", "-c", r#"psql -c "ALTER ROLE o'x PASSWORD 'SECRET'""#], &["sh", "-c", r#"psql -c "ALTER ROLE o***"#]);
}
