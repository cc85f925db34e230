//! Statements that read and change rows.

use super::render::check;

#[test]
fn a_query_reads_the_columns_that_it_names() {
    check("SELECT id, ssn FROM users WHERE id = $1", "SELECT: select users(id ssn) some");
    check("SELECT * FROM users LIMIT 10", "SELECT: select users(*) all, limit 10");
    check("SELECT count(*) FROM app.users", "SELECT: select app.users all");
    check("TABLE users", "SELECT: select users(*) all");
    check("SELECT u FROM users u", "SELECT: select users(*) all");
    check("SELECT (u).ssn FROM users u", "SELECT: select users(*) all");
    check("SELECT a.x, b.y FROM a, b", "SELECT: select a(x) all, select b(y) all");
    check("SELECT x FROM a, b", "SELECT: select a(?) all, select b(?) all");
    check("VALUES (1), (2)", "SELECT: ");
    check("SELECT 1 ORDER BY 1", "SELECT: ");
}

#[test]
fn columns_of_outer_queries_are_found() {
    check(
        "SELECT name FROM a WHERE EXISTS (SELECT 1 FROM b WHERE b.id = a.id)",
        "SELECT: select a(id name) some, select b(id) some",
    );
    check("SELECT (SELECT ssn FROM b LIMIT 1) FROM a", "SELECT: select a(ssn) all, select b(ssn) all");
    check("SELECT j.x FROM (a JOIN b ON a.i = b.i) AS j", "SELECT: select a(?) all, select b(?) all");
}

#[test]
fn joins_carry_a_restriction_on() {
    check("SELECT a.x FROM a JOIN b ON a.id = b.id WHERE b.k = 1", "SELECT: select a(id x) some, select b(id k) some");
    check("SELECT 1 FROM a JOIN b USING (id) WHERE a.k = 1", "SELECT: select a(id k) some, select b(id) some");
    check("SELECT 1 FROM a, b WHERE b.k = 1", "SELECT: select a all, select b(k) some");
    check("SELECT 1 FROM a NATURAL JOIN b", "SELECT: select a(?) all, select b(?) all");
}

#[test]
fn set_operations_read_all_arms() {
    check("SELECT a FROM x UNION SELECT b FROM y ORDER BY 1", "SELECT: select x(a) all, select y(b) all");
    check(
        "SELECT a FROM x WHERE a = 1 UNION ALL (WITH q AS (DELETE FROM z RETURNING i) SELECT i FROM q)",
        "SELECT: select x(a) some, select z(i) all, delete z all",
    );
}

#[test]
fn with_queries_hide_names_only_where_they_are_in_sight() {
    check("WITH t AS (SELECT 1) SELECT * FROM t", "SELECT: ");
    check("WITH t AS (SELECT a FROM t) SELECT * FROM t", "SELECT: select t(a) all");
    check("WITH RECURSIVE t AS (SELECT a FROM t) SELECT * FROM t", "SELECT: ");
    check("WITH t AS (SELECT 1) SELECT * FROM public.t", "SELECT: select public.t(*) all");
    check("SELECT * FROM (WITH t AS (SELECT 1) SELECT 1) s, t", "SELECT: select t(*) all");
    check("WITH t AS (SELECT 1) DELETE FROM t WHERE id = 1", "DELETE: select t(id) some, delete t some");
}

#[test]
fn changes_of_rows() {
    check("INSERT INTO t VALUES (1)", "INSERT: insert t(*)");
    check("INSERT INTO t (a, b) SELECT x, y FROM s", "INSERT: select s(x y) all, insert t(a b)");
    check("INSERT INTO t (a) VALUES (1) RETURNING id", "INSERT: select t(id) some, insert t(a)");
    check(
        "INSERT INTO t (a) VALUES (1) ON CONFLICT (a) DO UPDATE SET b = excluded.b",
        "INSERT: insert t(a), update t(b) some",
    );
    check("INSERT INTO t (a) VALUES (1) ON CONFLICT DO NOTHING", "INSERT: insert t(a)");
    check("UPDATE t SET a = 1", "UPDATE: update t(a) all");
    check("UPDATE t SET a = b WHERE id = 1", "UPDATE: select t(b id) some, update t(a) some");
    check(
        "UPDATE t SET (a, b) = (SELECT x, y FROM s WHERE s.i = t.i)",
        "UPDATE: select s(i x y) some, select t(i x y) all, update t(a b) all",
    );
    check(
        "UPDATE t SET a = s.x FROM s WHERE t.id = s.id",
        "UPDATE: select s(id x) some, select t(id) some, update t(a) some",
    );
    check("UPDATE t SET a = s.x FROM s WHERE s.id = 1", "UPDATE: select s(id x) some, update t(a) all");
    check("DELETE FROM t", "DELETE: delete t all");
    check("DELETE FROM ONLY t USING s WHERE t.i = s.i", "DELETE: select s(i) some, select t(i) some, delete t some");
    check("DELETE FROM t WHERE CURRENT OF c", "DELETE: delete t some");
    check("TRUNCATE a, b.c CASCADE", "TRUNCATE TABLE: truncate b.c, truncate a");
}

#[test]
fn merge_does_what_its_branches_do() {
    check(
        "MERGE INTO t USING s ON t.i = s.i WHEN MATCHED AND s.d THEN DELETE WHEN MATCHED THEN UPDATE SET a = s.a \
         WHEN NOT MATCHED THEN INSERT (i) VALUES (s.i)",
        "MERGE: select s(a d i) some, select t(i) some, insert t(i), update t(a) all, delete t all, merge t",
    );
    check(
        "MERGE INTO t USING s ON t.i = s.i WHEN MATCHED THEN DO NOTHING",
        "MERGE: select s(i) some, select t(i) some, merge t",
    );
}

#[test]
fn rows_that_become_tables() {
    check("SELECT a INTO n FROM t", "SELECT INTO: select t(a) all, insert n(*), create n, =relation(n)");
    check("CREATE TABLE n AS SELECT a FROM t", "CREATE TABLE AS: select t(a) all, insert n(*), create n, =relation(n)");
    check(
        "CREATE TABLE n AS EXECUTE p",
        "CREATE TABLE AS: insert n(*), create n, execute session p, =relation(n), =executes p",
    );
    check(
        "CREATE TEMP TABLE n AS SELECT a FROM t WITH NO DATA",
        "CREATE TABLE AS: select t(a) all, create pg_temp.n, =temporary n",
    );
}

#[test]
fn locks() {
    check("SELECT a FROM t WHERE a = 1 FOR UPDATE", "SELECT: select t(a) some, lock t");
    check("SELECT t.a FROM t, s FOR SHARE OF s", "SELECT: select s all, select t(a) all, lock s");
    check("LOCK TABLE a, b IN ACCESS EXCLUSIVE MODE", "LOCK TABLE: lock a, lock b");
}

#[test]
fn copy_in_all_forms() {
    check("COPY t (a, b) TO STDOUT", "COPY: select t(a b) all, copy_out t(a b)");
    check("COPY t FROM STDIN", "COPY: insert t(*), copy_in t(*)");
    check("COPY t FROM PROGRAM 'id'", "COPY: insert t(*), copy_in t(*), program server");
    check("COPY t TO '/tmp/x'", "COPY: select t(*) all, copy_out t(*), server_file server");
    check("COPY (DELETE FROM t RETURNING *) TO STDOUT", "COPY: select t(*) all, delete t all, copy_out session -");
    check("COPY (SELECT a FROM t) TO PROGRAM 'x'", "COPY: select t(a) all, copy_out session -, program server");
}

#[test]
fn words_that_only_look_dangerous() {
    check("SELECT 'drop table x'", "SELECT: ");
    check("SELECT \"delete\" FROM t", "SELECT: select t(delete) all");
    check("SELECT has_table_privilege('t', 'DELETE') AS delete", "SELECT: ");
    check("SELECT information_schema._pg_expandarray(a) FROM t", "SELECT: select t(a) all");
    check(
        "SELECT information_schema._pg_other(a) FROM t",
        "SELECT: select t(a) all, call information_schema._pg_other()",
    );
    check("SELECT $$; DROP TABLE t; $$ -- DELETE FROM t", "SELECT: ");
    check("SELECT insert, update FROM audit", "SELECT: select audit(insert update) all");
}
