//! What real drivers send for `SELECT id, ssn FROM users WHERE id = $1`: simple, unnamed, named, described in a Sync of
//! its own, described never again.

use crate::support::{c, check_session, client, s, server};

const SQL: &str = "SELECT id, ssn FROM users WHERE id = $1";

fn rows() -> Vec<u8> {
    [server::row("1"), server::complete("SELECT 1")].concat()
}

fn ready() -> Vec<u8> {
    server::ready('I')
}

#[track_caller]
fn check_driver(turns: &[(Vec<Vec<u8>>, Vec<Vec<u8>>)], expect: &str) {
    let pieces: Vec<_> = turns.iter().flat_map(|(ask, answer)| [c(ask), s(answer)]).collect();
    check_session(&pieces, &expect.replace("SQL", &format!("'{SQL}'")));
}

#[test]
fn psycopg2() {
    check_driver(
        &[(vec![client::query(SQL)], vec![server::row_description(), rows(), ready()])],
        "simple SQL rows=1 I>I 3-4 [SELECT 1 =1]",
    );
}

#[test]
fn psycopg3_and_pgbench_prepared() {
    let parse = vec![client::parse("_pg3_0", SQL, &[21]), client::bind_text("_pg3_0", &["1"])];
    let run = vec![client::describe('P', ""), client::execute("", 0), client::sync()];
    let again = vec![client::bind_text("_pg3_0", &["2"])];
    check_driver(
        &[
            (
                [parse, run.clone()].concat(),
                vec![server::parsed(), server::bound(), server::row_description(), rows(), ready()],
            ),
            ([again, run].concat(), vec![server::bound(), server::row_description(), rows(), ready()]),
        ],
        "execute SQL s=_pg3_0 p= ('1':21) rows=1 I>I 3-4 [SELECT 1 =1]
        execute SQL s=_pg3_0 p= ('2':21) rows=1 I>I 5-6 [SELECT 1 =1]",
    );
}

#[test]
fn node_pg() {
    check_driver(
        &[(
            vec![
                client::parse("", SQL, &[]),
                client::bind_text("", &["1"]),
                client::describe('P', ""),
                client::execute("", 0),
                client::sync(),
            ],
            vec![server::parsed(), server::bound(), server::row_description(), rows(), ready()],
        )],
        "execute SQL s= p= ('1') rows=1 I>I 3-4 [SELECT 1 =1]",
    );
}

#[test]
fn asyncpg() {
    let value: &[Option<&[u8]>] = &[Some(&[0, 0, 0, 1])];
    let execute = vec![client::bind("", "__asyncpg_1__", &[1], value), client::execute("", 0), client::sync()];
    check_driver(
        &[
            (
                vec![client::parse("__asyncpg_1__", SQL, &[]), client::describe('S', "__asyncpg_1__"), client::flush()],
                vec![server::parsed(), server::parameters(&[23]), server::row_description()],
            ),
            (execute.clone(), vec![server::bound(), rows(), ready()]),
            (execute, vec![server::bound(), rows(), ready()]),
        ],
        "execute SQL s=__asyncpg_1__ p= ('1':23) rows=1 I>I 5-6 [SELECT 1 =1]
        execute SQL s=__asyncpg_1__ p= ('1':23) rows=1 I>I 7-8 [SELECT 1 =1]",
    );
}

#[test]
fn tokio_postgres() {
    let value: &[Option<&[u8]>] = &[Some(&[0, 0, 0, 1])];
    check_driver(
        &[
            (
                vec![client::parse("s0", SQL, &[]), client::describe('S', "s0"), client::sync()],
                vec![server::parsed(), server::parameters(&[23]), server::row_description(), ready()],
            ),
            (
                vec![client::bind("", "s0", &[1], value), client::execute("", 0), client::sync()],
                vec![server::bound(), rows(), ready()],
            ),
            (vec![client::close('S', "s0"), client::sync()], vec![server::closed(), ready()]),
        ],
        "execute SQL s=s0 p= ('1':23) rows=1 I>I 5-6 [SELECT 1 =1]",
    );
}

#[test]
fn pg8000() {
    check_driver(
        &[
            (vec![client::parse("ps_0", SQL, &[]), client::sync()], vec![server::parsed(), ready()]),
            (
                vec![client::describe('S', "ps_0"), client::sync()],
                vec![server::parameters(&[23]), server::row_description(), ready()],
            ),
            (
                vec![client::bind_text("ps_0", &["1"]), client::execute("", 0), client::sync()],
                vec![server::bound(), rows(), ready()],
            ),
        ],
        "execute SQL s=ps_0 p= ('1':23) rows=1 I>I 7-8 [SELECT 1 =1]",
    );
}

#[test]
fn postgres_js() {
    let execute = vec![client::bind_text("hash1", &["1"]), client::execute("", 0), client::sync()];
    check_driver(
        &[
            (
                [vec![client::parse("hash1", SQL, &[0]), client::describe('S', "hash1")], execute.clone()].concat(),
                vec![
                    server::parsed(),
                    server::parameters(&[23]),
                    server::row_description(),
                    server::bound(),
                    rows(),
                    ready(),
                ],
            ),
            (execute, vec![server::bound(), rows(), ready()]),
        ],
        "execute SQL s=hash1 p= ('1':23) rows=1 I>I 3-4 [SELECT 1 =1]
        execute SQL s=hash1 p= ('1':23) rows=1 I>I 5-6 [SELECT 1 =1]",
    );
}

#[test]
fn pgjdbc() {
    let begin = vec![client::parse("", "BEGIN", &[]), client::bind_text("", &[]), client::execute("", 0)];
    let run = |name: &str| vec![client::bind_text(name, &["1"]), client::execute("", 1), client::sync()];
    let commit =
        vec![client::parse("", "COMMIT", &[]), client::bind_text("", &[]), client::execute("", 1), client::sync()];
    let done = |tag: &str| vec![server::parsed(), server::bound(), server::complete(tag)];
    check_driver(
        &[
            (
                [begin, vec![client::parse("S_1", SQL, &[23])], run("S_1")].concat(),
                [done("BEGIN"), vec![server::parsed(), server::bound(), rows(), server::ready('T')]].concat(),
            ),
            (run("S_1"), vec![server::bound(), rows(), server::ready('T')]),
            (commit, [done("COMMIT"), vec![ready()]].concat()),
        ],
        "execute 'BEGIN' s= p= I>O 3-4 [BEGIN]
        execute SQL s=S_1 p= ('1':23) limit=1 rows=1 I>O 3-4 [SELECT 1 =1]
        execute SQL s=S_1 p= ('1':23) limit=1 rows=1 O>O 5-6 [SELECT 1 =1]
        execute 'COMMIT' s= p= limit=1 O>I 7-8 [COMMIT]",
    );
}
