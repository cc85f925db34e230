//! Statements that change the catalogue, rights and the server.

use super::render::check;

#[test]
fn tables() {
    check("CREATE TABLE a.t (id int)", "CREATE TABLE: create a.t, =made(a.t)");
    check(
        "CREATE TABLE t (id int REFERENCES s DEFAULT f())",
        "CREATE TABLE: call f(), create t, alter s, =relation(t)",
    );
    check(
        "CREATE TABLE t (LIKE s INCLUDING IDENTITY INCLUDING COMMENTS)",
        "CREATE TABLE: create t, show s, =relation(t)",
    );
    for code in ["ALL", "CONSTRAINTS", "DEFAULTS", "GENERATED", "INDEXES", "STATISTICS", "ALL EXCLUDING DEFAULTS"] {
        let expected = "CREATE TABLE: call ?(), create t, show s, =relation(t)";
        check(&format!("CREATE TABLE t (LIKE s INCLUDING {code})"), expected);
    }
    check("CREATE TABLE p PARTITION OF t DEFAULT", "CREATE TABLE: create p, alter t, =relation(p), =relation(t)");
    check("ALTER TABLE t DROP COLUMN c", "ALTER TABLE: alter t, =relation(t)");
    check("ALTER TABLE t ADD CHECK (evil(a))", "ALTER TABLE: call evil(), alter t, =relation(t)");
    check(
        "ALTER TABLE t ATTACH PARTITION p DEFAULT",
        "ALTER TABLE: alter p, alter t, =relation(t), =relation(t), =relation(p)",
    );
    check("ALTER TABLE t OWNER TO bob", "ALTER TABLE: alter t, grant t, =relation(t)");
    check("ALTER TABLE t RENAME TO u", "ALTER TABLE: alter t, =relation(t), =relation(u)");
    check("ALTER TABLE t RENAME COLUMN a TO b", "ALTER TABLE: alter t, =relation(t)");
    check("ALTER TABLE t SET SCHEMA s", "ALTER TABLE: alter t, =catalogue");
    check("DROP TABLE a, s.b", "DROP TABLE: drop s.b, drop a, =relation(a), =relation(b)");
    check("DROP TYPE a CASCADE", "DROP TYPE: drop [DEPENDENT OBJECT ], drop [TYPE a], =catalogue");
    check("DROP VIEW v", "DROP VIEW: drop v, =relation(v)");
    check("CREATE INDEX i ON t (lower(a))", "CREATE INDEX: create [INDEX i], alter t");
    check("DROP INDEX i", "DROP INDEX: drop [INDEX i]");
    check("CREATE VIEW v AS SELECT a FROM t", "CREATE VIEW: select t(a) all, create v, =relation(v)");
    check("CREATE SEQUENCE s OWNED BY t.id", "CREATE SEQUENCE: create s, =relation(s)");
    check(
        "CREATE TRIGGER g AFTER INSERT ON t EXECUTE FUNCTION f()",
        "CREATE TRIGGER: call f(), create [TRIGGER g], alter t, =relation(t)",
    );
    check("DROP TRIGGER g ON s.t", "DROP TRIGGER: alter s.t, drop [TRIGGER s.g], =relation(t)");
    check("CREATE POLICY p ON t USING (f(a))", "CREATE POLICY: call f(), create [POLICY p], alter t");
    check("COMMENT ON COLUMN t.c IS 'x'", "COMMENT: alter t");
}

#[test]
fn other_objects() {
    check(
        "CREATE SCHEMA s CREATE TABLE t (a int)",
        "CREATE SCHEMA: create t, create schema s, =catalogue, =relation(t)",
    );
    check("DROP SCHEMA s", "DROP SCHEMA: drop schema s, =catalogue");
    check(
        "CREATE FUNCTION s.f() RETURNS int LANGUAGE sql AS 'DELETE FROM t'",
        "CREATE FUNCTION: delete t all, create s.f(), =catalogue, =functions",
    );
    check("DROP FUNCTION f(int)", "DROP FUNCTION: drop f(), =catalogue");
    check(
        "CREATE EXTENSION dblink",
        "CREATE EXTENSION: create [EXTENSION dblink], code [EXTENSION dblink], =catalogue, =functions",
    );
    // Nothing but another word for the extension.
    check(
        "CREATE LANGUAGE plperl",
        "CREATE EXTENSION: create [EXTENSION plperl], code [EXTENSION plperl], =catalogue, =functions",
    );
    check(
        "CREATE LANGUAGE l HANDLER h",
        "CREATE LANGUAGE: create [LANGUAGE l], code [LANGUAGE l], =catalogue, =functions",
    );
    check(
        "CREATE EVENT TRIGGER e ON ddl_command_start EXECUTE FUNCTION f()",
        "CREATE EVENT TRIGGER: create [EVENT TRIGGER e], code [EVENT TRIGGER e], =catalogue",
    );
    check("CREATE TYPE s.e AS ENUM ('a')", "CREATE TYPE: create [TYPE s.e], =catalogue");
    check("DROP DATABASE prod", "DROP DATABASE: drop [DATABASE prod], =catalogue");
    check("DROP OWNED BY bob", "DROP OWNED: drop role bob, drop server, =catalogue, =functions");
}

#[test]
fn code_that_runs_later() {
    let check = |text: &str, effects: &str| {
        check(text, &format!("CREATE FUNCTION: {effects}, =catalogue, =functions"));
    };
    check("CREATE FUNCTION f() RETURNS int LANGUAGE plpgsql AS 'BEGIN END'", "create f(), code f()");
    check("CREATE FUNCTION f() RETURNS int LANGUAGE c AS 'lib', 'f'", "program f(), create f(), code f()");
    check("CREATE FUNCTION f() RETURNS int LANGUAGE internal AS 'x'", "program f(), create f(), code f()");
    check("CREATE FUNCTION f() RETURNS int LANGUAGE plpython3u AS 'x'", "program f(), create f(), code f()");
    check("CREATE FUNCTION f(a int) RETURNS int LANGUAGE sql AS 'SELECT $1 + 1'", "create f()");
    check("CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT a FROM t'", "select t(a) all, create f()");
    check("CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELEC'", "create f(), code f()");
    check("CREATE FUNCTION f() RETURNS int RETURN (SELECT a FROM t)", "select t(a) all, create f()");
    check(
        "CREATE FUNCTION f() RETURNS int BEGIN ATOMIC DELETE FROM t; SELECT evil(); END",
        "delete t all, call evil(), create f()",
    );
    check(
        "CREATE FUNCTION f() RETURNS int LANGUAGE sql SET search_path = x SET role = bob AS 'SELECT lower(a) FROM s.t'",
        "select s.t(a) all, call lower(), create f(), set_role role bob, set_parameter parameter search_path",
    );
    let inner = "CREATE FUNCTION g() RETURNS int LANGUAGE sql AS ''DELETE FROM t''";
    check(&format!("CREATE FUNCTION f() RETURNS int LANGUAGE sql AS '{inner}'"), "create f(), create g(), code g()");
}

#[test]
fn rules() {
    check(
        "CREATE RULE r AS ON INSERT TO s.t DO ALSO DELETE FROM s.u WHERE id = new.id",
        "CREATE RULE: select s.u(id) some, delete s.u some, create [RULE s.r], alter s.t, =relation(t)",
    );
    check(
        "CREATE RULE r AS ON UPDATE TO s.t DO INSTEAD (DELETE FROM s.u; SELECT evil())",
        "CREATE RULE: delete s.u all, call evil(), create [RULE s.r], alter s.t, =relation(t)",
    );
    check(
        "CREATE RULE r AS ON UPDATE TO s.t DO INSTEAD NOTHING",
        "CREATE RULE: create [RULE s.r], alter s.t, =relation(t)",
    );
}

#[test]
fn settings_that_are_kept() {
    check(
        "ALTER ROLE bob SET session_replication_role = replica",
        "ALTER ROLE: alter role bob, set_parameter parameter session_replication_role",
    );
    check("ALTER ROLE bob RESET row_security", "ALTER ROLE: alter role bob");
    check("ALTER ROLE bob RESET ALL", "ALTER ROLE: alter role bob");
    check("ALTER ROLE ALL SET role = postgres", "ALTER ROLE: alter role -, set_role role postgres");
    check(
        "ALTER DATABASE d SET row_security FROM CURRENT",
        "ALTER DATABASE: alter [DATABASE d], set_parameter parameter row_security, =catalogue",
    );
    check(
        "ALTER FUNCTION f(int) SET session_replication_role TO replica",
        "ALTER FUNCTION: alter f(), set_parameter parameter session_replication_role, =catalogue, =functions",
    );
}

#[test]
fn roles_and_rights() {
    check("CREATE ROLE r", "CREATE ROLE: create role r");
    check("CREATE ROLE r NOLOGIN NOSUPERUSER CONNECTION LIMIT 3", "CREATE ROLE: create role r");
    for option in ["SUPERUSER", "CREATEROLE", "REPLICATION", "BYPASSRLS", "CREATEDB", "LOGIN", "ROLE bob", "ADMIN bob"]
    {
        check(&format!("CREATE ROLE r {option}"), "CREATE ROLE: create role r, grant role r");
    }
    check("CREATE ROLE r IN ROLE admin", "CREATE ROLE: create role r, grant role admin");
    check("CREATE USER r", "CREATE ROLE: create role r, grant role r");
    check("ALTER ROLE r SUPERUSER", "ALTER ROLE: alter role r, grant role r");
    check("ALTER ROLE r NOLOGIN", "ALTER ROLE: alter role r, revoke role r");
    check("ALTER USER CURRENT_USER PASSWORD 'x'", "ALTER ROLE: alter role current_user, grant role current_user");
    check("ALTER GROUP admin ADD USER bob", "ALTER ROLE: alter role admin, grant role admin");
    check("ALTER GROUP admin DROP USER bob", "ALTER ROLE: alter role admin, revoke role admin");
    check(
        "REASSIGN OWNED BY bob TO carol",
        "REASSIGN OWNED: alter role bob, alter server, grant role bob, grant server",
    );
    check("ALTER FUNCTION f(int) OWNER TO bob", "ALTER FUNCTION: alter f(), grant f(), =catalogue, =functions");
    check("ALTER SCHEMA s OWNER TO bob", "ALTER SCHEMA: alter schema s, grant schema s, =catalogue, =functions");
    check("ALTER INDEX i OWNER TO bob", "ALTER INDEX: alter [INDEX i], grant [INDEX i], =catalogue");
    check("DROP USER a, b", "DROP ROLE: drop role a, drop role b");
    check("GRANT admin TO bob", "GRANT ROLE: grant role admin");
    check("GRANT SELECT ON a, s.b TO bob", "GRANT: grant s.b, grant a");
    check("GRANT ALL ON ALL TABLES IN SCHEMA s TO bob", "GRANT: grant schema s");
    check("GRANT EXECUTE ON FUNCTION f(int) TO bob", "GRANT: grant f()");
    check("REVOKE USAGE ON SCHEMA s FROM bob", "REVOKE: revoke schema s");
    check("ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO bob", "ALTER DEFAULT PRIVILEGES: grant server");
}

#[test]
fn foreign_tables() {
    check(
        "CREATE FOREIGN TABLE s.t (a int DEFAULT f()) SERVER far OPTIONS (table_name 'x')",
        "CREATE FOREIGN TABLE: select [SERVER far], call f(), create s.t, =relation(t)",
    );
    check(
        "CREATE FOREIGN TABLE p PARTITION OF t DEFAULT SERVER far",
        "CREATE FOREIGN TABLE: select [SERVER far], create p, alter t, =relation(p), =relation(t)",
    );
    check(
        "CREATE FOREIGN TABLE t (a text) SERVER files OPTIONS (program 'id')",
        "CREATE FOREIGN TABLE: select [SERVER files], program server, create t, =relation(t)",
    );
    check(
        "ALTER FOREIGN TABLE t OPTIONS (SET filename '/etc/passwd')",
        "ALTER FOREIGN TABLE: server_file server, alter t, =relation(t)",
    );
}

#[test]
fn replication() {
    check(
        "CREATE SUBSCRIPTION s CONNECTION 'host=x' PUBLICATION p",
        "CREATE SUBSCRIPTION: create [SUBSCRIPTION s], replicate [SUBSCRIPTION s], =catalogue",
    );
    check("DROP SUBSCRIPTION s", "DROP SUBSCRIPTION: drop [SUBSCRIPTION s], replicate [SUBSCRIPTION s], =catalogue");
    check(
        "CREATE PUBLICATION p FOR TABLE t",
        "CREATE PUBLICATION: create [PUBLICATION p], replicate t, replicate [PUBLICATION p], =catalogue",
    );
    check(
        "ALTER PUBLICATION p SET (publish = 'insert')",
        "ALTER PUBLICATION: alter [PUBLICATION p], replicate [PUBLICATION p], =catalogue",
    );
}

#[test]
fn the_server() {
    check(
        "CREATE TABLESPACE s LOCATION '/etc'",
        "CREATE TABLESPACE: server_file [TABLESPACE s], create [TABLESPACE s], =catalogue",
    );
    check("ALTER SYSTEM SET fsync = off", "ALTER SYSTEM: admin server");
    check("CHECKPOINT", "CHECKPOINT: admin server");
    check("LOAD 'x'", "LOAD: server_file server, admin server");
    check("VACUUM", "VACUUM: maintain server");
    check("VACUUM FULL a, b", "VACUUM: maintain a, maintain b");
    check("ANALYZE t (c)", "ANALYZE: maintain t");
    check("REINDEX TABLE t", "REINDEX: maintain t");
    check("CLUSTER", "CLUSTER: maintain server");
    check("REFRESH MATERIALIZED VIEW v", "REFRESH MATERIALIZED VIEW: maintain v");
    check("DO $$ BEGIN DELETE FROM t; END $$", "DO: code session -, opaque code");
    check("DO LANGUAGE plperlu $$ x $$", "DO: program session -, code session -, opaque code");
    check("CALL s.p(1)", "CALL: call s.p(), code session -");
}
