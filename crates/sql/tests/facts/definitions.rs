//! Statements that change the catalogue, rights and the server.

use super::render::check;

#[test]
fn tables() {
    check("CREATE TABLE a.t (id int)", "CREATE TABLE: create a.t, =catalogue");
    check("CREATE TABLE t (id int REFERENCES s DEFAULT f())", "CREATE TABLE: call f(), create t, alter s, =catalogue");
    check("CREATE TABLE p PARTITION OF t DEFAULT", "CREATE TABLE: create p, alter t, =catalogue");
    check("ALTER TABLE t DROP COLUMN c", "ALTER TABLE: alter t, =catalogue");
    check("ALTER TABLE t ADD CHECK (evil(a))", "ALTER TABLE: call evil(), alter t, =catalogue");
    check("ALTER TABLE t ATTACH PARTITION p DEFAULT", "ALTER TABLE: alter p, alter t, =catalogue");
    check("ALTER TABLE t OWNER TO bob", "ALTER TABLE: alter t, =catalogue");
    check("ALTER TABLE t RENAME TO u", "ALTER TABLE: alter t, =catalogue");
    check("ALTER TABLE t RENAME COLUMN a TO b", "ALTER TABLE: alter t, =catalogue");
    check("ALTER TABLE t SET SCHEMA s", "ALTER TABLE: alter t, =catalogue");
    check("DROP TABLE a, s.b CASCADE", "DROP TABLE: drop s.b, drop a, =catalogue");
    check("DROP VIEW v", "DROP VIEW: drop v, =catalogue");
    check("CREATE INDEX i ON t (lower(a))", "CREATE INDEX: create [INDEX i], alter t");
    check("DROP INDEX i", "DROP INDEX: drop [INDEX i], =catalogue");
    check("CREATE VIEW v AS SELECT a FROM t", "CREATE VIEW: select t(a) all, create v, =catalogue");
    check("CREATE SEQUENCE s OWNED BY t.id", "CREATE SEQUENCE: create s, =catalogue");
    check(
        "CREATE TRIGGER g AFTER INSERT ON t EXECUTE FUNCTION f()",
        "CREATE TRIGGER: call f(), create [TRIGGER g], alter t, =catalogue",
    );
    check("DROP TRIGGER g ON s.t", "DROP TRIGGER: alter s.t, drop [TRIGGER s.g], =catalogue");
    check("CREATE POLICY p ON t USING (f(a))", "CREATE POLICY: call f(), create [POLICY p], alter t");
    check("COMMENT ON COLUMN t.c IS 'x'", "COMMENT: alter t");
}

#[test]
fn other_objects() {
    check("CREATE SCHEMA s CREATE TABLE t (a int)", "CREATE SCHEMA: create t, create schema s, =catalogue, =catalogue");
    check("DROP SCHEMA s", "DROP SCHEMA: drop schema s, =catalogue");
    check(
        "CREATE FUNCTION s.f() RETURNS int LANGUAGE sql AS 'DELETE FROM t'",
        "CREATE FUNCTION: create s.f(), =catalogue, =functions",
    );
    check("DROP FUNCTION f(int)", "DROP FUNCTION: drop f(), =catalogue");
    check("CREATE EXTENSION dblink", "CREATE EXTENSION: create [EXTENSION dblink], =catalogue, =functions");
    check("CREATE TYPE s.e AS ENUM ('a')", "CREATE TYPE: create [TYPE s.e], =catalogue, =functions");
    check("DROP DATABASE prod", "DROP DATABASE: drop [DATABASE prod], =catalogue");
    check("DROP OWNED BY bob", "DROP OWNED: drop role bob, drop server, =catalogue, =functions");
}

#[test]
fn roles_and_rights() {
    check("CREATE ROLE r SUPERUSER", "CREATE ROLE: create role r");
    check("ALTER USER CURRENT_USER PASSWORD 'x'", "ALTER ROLE: alter role current_user");
    check("DROP USER a, b", "DROP ROLE: drop role a, drop role b");
    check("GRANT admin TO bob", "GRANT ROLE: grant role admin");
    check("GRANT SELECT ON a, s.b TO bob", "GRANT: grant s.b, grant a");
    check("GRANT ALL ON ALL TABLES IN SCHEMA s TO bob", "GRANT: grant schema s");
    check("GRANT EXECUTE ON FUNCTION f(int) TO bob", "GRANT: grant f()");
    check("REVOKE USAGE ON SCHEMA s FROM bob", "REVOKE: revoke schema s");
    check("ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO bob", "ALTER DEFAULT PRIVILEGES: grant server");
}

#[test]
fn the_server() {
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
    check("CALL s.p(1)", "CALL: call s.p(), code session -");
}
