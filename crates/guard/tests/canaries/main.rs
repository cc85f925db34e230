//! Canaries at a real server: whatever the SQL and the way it is sent, no byte to the client has a protected value in it,
//! and what is not protected is what a direct run gives.
//!
//! As root, with the server of the distribution.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on ends")]

mod client;
#[path = "../../../sql/tests/server/cluster.rs"]
mod cluster;
mod generate;
mod migration;
mod names;
mod newer;
mod relay;
mod shapes;
#[path = "../../../sql/tests/server/snapshot.rs"]
mod snapshot;
#[path = "../session/wire.rs"]
#[allow(dead_code, reason = "the other test program uses the rest")]
mod wire;
mod workload;

use std::collections::BTreeSet;
use std::net::TcpStream;
use std::os::unix::net::UnixStream;

use client::{Answer, Client, WAYS, Way};
use cluster::Cluster;
use mask::protection::{Mask, Protection, Rule, Settings};
use mask::{Key, Pattern};

const POLICIES: &str = r#"
@id("all")
@reason("everything is allowed, but for reading in clear")
permit (principal, action, resource);
"#;

/// With it everything is read in clear.
const CLEAR: &str = r#"
@id("all")
@reason("everything is allowed")
permit (principal, action, resource);
@id("clear")
@reason("in clear, too")
permit (principal, action == Action::"ReadClear", resource);
"#;

/// With it queries wait until somebody has looked at them.
const HELD: &str = r#"
@id("all")
@reason("everything is allowed, but for reading in clear")
permit (principal, action, resource);
@id("look")
@reason("somebody looks at what is read")
forbid (principal, action == Action::"RunUnattended", resource)
when { context.verb == Verb::"Select" };
"#;

const SCHEMA: &str = "
create table people (id int primary key, name text, ssn text, email text, born date, doc jsonb, token text, words text[],
                     shout text generated always as (upper(ssn)) stored);
insert into people select i, 'name' || i, 'zq7Xk2Lm9Wp4-' || i, 'qv8Rt3Yh6Nj1x' || i || '@example.com',
    date '1987-06-05' + i, jsonb_build_object('k', 'bn5Gf2Kd8Sc3v' || i), 'hy6Tg4Rf1Wq9u' || i, array['mw3Zx7Cv5Bn1t' || i]
    from generate_series(1, 7) i;
create table orders (id int primary key, person int, amount numeric, what text);
insert into orders select i, i % 7 + 1, i * 10.5, 'thing' || i from generate_series(1, 20) i;
create table archive (note text);
create table keyed (j jsonb);
insert into keyed values ('{}');
create view contacts as select id, name as who, email as mail, lower(ssn) as folded from people;
create view nested as select c.who, c.mail, o.what from contacts c join orders o on o.person = c.id;
create view casting as select id from people where ssn::int > 0;
create materialized view stored as select name, ssn from people;
create table events (at int, person int, ssn text) partition by range (at);
create table events_1 partition of events for values from (0) to (100);
insert into events select i, i, 'zq7Xk2Lm9Wp4-' || i from generate_series(1, 5) i;
create table base (a text); create table below (b int) inherits (base);
create function peek(int) returns text language sql as 'select ssn from people where id = $1';
create function tell() returns text language plpgsql as
    'begin raise notice ''%'', (select ssn from people limit 1); return null; end';
create function shout(t text) returns text language sql as 'select upper(t)';
create function twice(t text, n int) returns text language sql as 'select shout($1) || repeat(shout(twice.t), n)';
create function find(t text) returns int language sql as 'select id from people where ssn like t order by id limit 1';
create function known(i int) returns text language sql as 'select p.name from people p where p.id = i';
create function hidden(ssn int) returns text language sql as 'select ssn from people where id = 1';
create function several() returns setof text language sql as 'select ssn from people';
create function things(n int) returns table (id int, what text) language sql as 'select o.id, o.what from orders o where o.id <= n';
create function keeps(t text) returns void language sql as 'insert into archive values (t)';
create function two_queries() returns text language sql as 'select null::text; select ssn from people limit 1';
create function kind(i int) returns text language sql as 'select ''number''';
create function kind(t text) returns text language plpgsql as 'begin return (select ssn from people limit 1); end';
create function again(i int) returns text language sql as 'select case when i > 0 then again(i - 1) end';
create function defaulted(a text default 'x', b text default peek(1)) returns text language sql as 'select b';
create function person(p int) returns json language sql as 'select row_to_json(p) from people p where p.id = $1';
create function logged(t text) returns text language sql as
    'with i as (insert into archive values (t) returning 1) select t';
create function settled(t text) returns text language sql set search_path = public as 'select ssn from people limit 1';
create function who(p people) returns text language sql as 'select p.ssn';
create extension pg_trgm; create extension hstore;
create schema aside;
create function aside.shout(t int) returns text language plpgsql as 'begin return (select ssn from people limit 1); end';
create sequence numbers start 7;
create table groups (k int primary key);
insert into groups values (1);
create table members (k int references groups on update cascade, ssn text);
insert into members values (1, 'zq7Xk2Lm9Wp4-1');
alter table members add check (ssn::int > 0) not valid;
create table strict (ssn text check (length(ssn) < 5), v int);
analyze;
create role reader login;
";

/// What a value begins with that no client may see; and the same as hex and base64 of its inner part.
fn canaries() -> Vec<String> {
    let mut all = Vec::new();
    for canary in ["zq7Xk2Lm9Wp4", "qv8Rt3Yh6Nj1x", "bn5Gf2Kd8Sc3v", "hy6Tg4Rf1Wq9u", "mw3Zx7Cv5Bn1t"] {
        let hex: String = canary.bytes().map(|byte| format!("{byte:02x}")).collect();
        all.extend([canary[..6].to_lowercase(), hex[..12].to_owned(), base64(&canary.as_bytes()[..6]).to_lowercase()]);
    }
    all
}

fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let groups = bytes.chunks_exact(3).map(|group| u32::from_be_bytes([0, group[0], group[1], group[2]]));
    groups.flat_map(|group| [18, 12, 6, 0].map(|shift| char::from(LETTERS[(group >> shift & 63) as usize]))).collect()
}

fn protection() -> Protection {
    let rule = |name: &str, columns: &[&str], mask: Mask| Rule {
        name: name.into(),
        columns: columns.iter().map(|column| Pattern::parse(column).unwrap()).collect(),
        tags: BTreeSet::new(),
        mask,
    };
    let rules = vec![
        rule(
            "numbers",
            &["public.people.ssn", "*.events.ssn", "*.strict.ssn", "*.members.ssn", "*.notes.ssn"],
            Mask::Last(2),
        ),
        rule("mail", &["*.*.email"], Mask::EmailDomain),
        rule("birth", &["*.people.born"], Mask::Year),
        rule("tokens", &["*.people.token"], Mask::Token),
        rule("rest", &["*.people.doc", "*.people.words"], Mask::Null),
    ];
    Protection::new(rules, Settings { key: Key::new(vec![7; 32]), ..Settings::default() })
}

/// A server, a relay in front of it, and what no client may see.
struct Stage {
    cluster: Cluster,
    port: u16,
    canaries: Vec<String>,
}

impl Stage {
    fn start(policies: &'static str) -> Self {
        Self::start_with(policies, "")
    }

    fn start_with(policies: &'static str, more: &str) -> Self {
        Self::on(Cluster::start(), policies, more)
    }

    fn on(cluster: Cluster, policies: &'static str, more: &str) -> Self {
        cluster.run("postgres", SCHEMA);
        cluster.run("postgres", more);
        let rules = relay::Rules { policies, protection: protection(), catalogue: snapshot::fetch(&cluster) };
        let port = relay::start(rules, cluster.socket());
        Self { cluster, port, canaries: canaries() }
    }

    fn masked(&self) -> Client {
        Client::start(TcpStream::connect(("127.0.0.1", self.port)).unwrap())
    }

    fn direct(&self) -> Client {
        Client::start(UnixStream::connect(self.cluster.socket()).unwrap())
    }

    /// Whether there was something to hide.
    fn has_canary(&self, bytes: &[u8]) -> bool {
        let text = String::from_utf8_lossy(bytes).to_lowercase();
        self.canaries.iter().any(|canary| text.contains(canary))
    }

    #[track_caller]
    fn no_canary(&self, bytes: &[u8], sql: &str) {
        let text = String::from_utf8_lossy(bytes).to_lowercase();
        for canary in &self.canaries {
            assert!(!text.contains(canary), "{sql} shows {canary}: {text}");
        }
    }
}

/// `c` for a column as in the direct run, `m` for one that is masked; `!` where the statement is refused, `error` where the
/// server does not take it.
fn seen(masked: &Answer, direct: &Answer) -> String {
    if let Some(error) = &masked.error {
        let is_ours = error.contains("C42501") || direct.error.is_none();
        return if is_ours { format!("!{error}") } else { "error".to_owned() };
    }
    if direct.error.is_some() || masked.rows.len() != direct.rows.len() {
        return format!("other rows: {} and {}", masked.rows.len(), direct.rows.len());
    }
    let width = direct.rows.first().map_or(0, Vec::len);
    let is_same = |column: usize| {
        masked.rows.iter().zip(&direct.rows).all(|(masked, direct)| masked.get(column) == direct.get(column))
    };
    if masked.rows.iter().any(|row| row.len() != width) {
        return "another width".to_owned();
    }
    (0..width).map(|column| if is_same(column) { 'c' } else { 'm' }).collect()
}

/// Runs a statement; what it changes does not stay.
fn run(client: &mut Client, way: Way, sql: &str) -> Answer {
    if way == Way::Cursor {
        return client.run(way, sql);
    }
    client.run(Way::Simple, "begin");
    let answer = client.run(way, sql);
    client.run(Way::Simple, "rollback");
    answer
}

#[test]
fn no_shape_shows_a_canary() {
    let stage = Stage::start(POLICIES);
    let (mut refused, mut wrong) = (0, Vec::new());
    let (mut masked, mut direct) = (stage.masked(), stage.direct());
    for (sql, expected) in shapes::SHAPES {
        for way in WAYS {
            let is_query = sql.starts_with("select") || sql.starts_with("with") || sql.starts_with("values");
            if way.is_for_queries() && (!is_query || sql.contains("insert") || sql.contains("delete")) {
                continue;
            }
            let (got, plain) = (run(&mut masked, *way, sql), run(&mut direct, *way, sql));
            stage.no_canary(&got.raw, sql);
            let seen = seen(&got, &plain);
            // Not everything can be asked for in every way: the server says so as well.
            if *way != Way::Simple && seen == "error" {
                continue;
            }
            refused += usize::from(seen.starts_with('!'));
            // A COPY has to name its columns.
            if matches!(way, Way::Copy | Way::CopyBinary) && sql.contains('*') && seen.starts_with('!') {
                continue;
            }
            if !(seen == *expected || (*expected == "!" && seen.starts_with('!'))) {
                wrong.push(format!("{way:?} {sql}: {seen}, not {expected}"));
            }
        }
    }
    println!("{} shapes in up to {} ways, {refused} of their runs refused", shapes::SHAPES.len(), WAYS.len());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn who_may_read_in_clear_gets_what_the_server_says() {
    let stage = Stage::start(CLEAR);
    let (mut masked, mut direct) = (stage.masked(), stage.direct());
    for (sql, _) in shapes::SHAPES.iter().filter(|(sql, _)| sql.starts_with("select")) {
        let (got, plain) = (run(&mut masked, Way::Extended, sql), run(&mut direct, Way::Extended, sql));
        assert_eq!((got.rows, got.error.is_some()), (plain.rows, plain.error.is_some()), "{sql}");
    }
}

#[test]
fn what_has_waited_is_masked_all_the_same() {
    let stage = Stage::start(HELD);
    let mut client = stage.masked();
    for way in [Way::Simple, Way::Extended, Way::Undescribed, Way::Binary, Way::Portal] {
        let answer = client.run(way, "select name, ssn from people where id = 1");
        stage.no_canary(&answer.raw, "what has waited");
        let hidden = Some(b"************-1".to_vec());
        assert_eq!(answer.rows, [[Some(b"name1".to_vec()), hidden]], "{way:?}: {:?}", answer.error);
        let refused = client.run(way, "select tell() from people");
        assert!(refused.error.is_some_and(|error| error.contains("C42501")), "{way:?}");
    }
}

#[test]
fn the_session_goes_on_after_a_refusal() {
    let stage = Stage::start(POLICIES);
    let mut client = stage.masked();
    for way in [Way::Simple, Way::Extended, Way::Undescribed, Way::Portal] {
        assert!(client.run(way, "select tell()").error.is_some());
        assert_eq!(client.run(way, "select id from people where id = 1").rows, [[Some(b"1".to_vec())]], "{way:?}");
    }
    let prepared = client.run(Way::Simple, "prepare x as select id, ssn from people where id = 1; execute x");
    assert_eq!(prepared.rows, [[Some(b"1".to_vec()), Some(b"*************-1"[1..].to_vec())]], "{prepared:?}");
    let later = client.run(Way::Simple, "execute x");
    assert_eq!(later.rows, prepared.rows);
    // What the arguments call counts as well.
    let called = client.run(Way::Simple, "prepare y(text) as select $1 as v; execute y(peek(1))");
    assert!(called.error.as_ref().is_some_and(|error| error.contains("unknown-origin")), "{called:?}");
    let of_cursor =
        client.run(Way::Simple, "begin; declare c cursor for select token from people; fetch 1 from c; commit");
    stage.no_canary(&of_cursor.raw, "fetch");
    assert_eq!(of_cursor.rows.len(), 1, "{of_cursor:?}");
    // A cursor that nobody has seen declared.
    assert!(client.run(Way::Simple, "fetch all from d").error.unwrap().contains("unknown-origin"));
}

#[test]
fn a_temporary_table_hides_no_other_names_where_the_search_path_changes() {
    let stage = Stage::start(POLICIES);
    let mut client = stage.masked();
    for sql in ["create temporary table mine (id int)", "set search_path = public", "select name from people"] {
        assert_eq!(client.run(Way::Simple, sql).error, None, "{sql}");
    }
    // Of what code has made nobody knows the names.
    client.run(Way::Simple, "reset all");
    let answer = client.run(Way::Simple, "select ssn from people");
    stage.no_canary(&answer.raw, "behind a reset");
}

#[test]
fn a_temporary_table_is_read_until_it_is_changed_otherwise_than_by_being_made() {
    let stage = Stage::start(POLICIES);
    let mut client = stage.masked();
    let reads = |client: &mut Client| client.run(Way::Simple, "select id from mine").error.is_none();
    for sql in ["create temporary table mine (id int)", "create temporary table other ()", "drop table other"] {
        assert_eq!(client.run(Way::Simple, sql).error, None, "{sql}");
        assert!(reads(&mut client), "{sql}");
    }
    assert_eq!(client.run(Way::Simple, "alter table mine add column more int").error, None);
    assert!(!reads(&mut client), "a trigger or rule may fill it by now");
    assert_eq!(client.run(Way::Simple, "select id from orders where id = 1").rows.len(), 1);
}

#[test]
fn what_a_temporary_view_shows_is_not_followed() {
    let stage = Stage::start(POLICIES);
    let mut client = stage.masked();
    // The server makes a view of a temporary table a temporary one, whatever its name says.
    for sql in ["create temporary table mine (id int)", "create view shown as select ssn from people, mine"] {
        assert_eq!(client.run(Way::Simple, sql).error, None, "{sql}");
    }
    client.run(Way::Simple, "insert into mine values (1)");
    let answer = client.run(Way::Simple, "select ssn from shown");
    stage.no_canary(&answer.raw, "a temporary view");
    assert!(answer.error.is_some_and(|error| error.contains("C42501")));
}

#[test]
fn names_that_the_server_cuts_elsewhere_are_not_followed() {
    for encoding in ["LATIN1", "SQL_ASCII"] {
        let stage = Stage::on(Cluster::start_in(encoding), POLICIES, "");
        let (mut masked, mut direct) = (stage.masked(), stage.direct());
        // 63 letters of LATIN1, and 63 bytes, the last of which are a half of a letter.
        let [one, other] = if encoding == "LATIN1" { ["éx", "éy"] } else { ["aé", "a中"] };
        let [one, other] = [one, other].map(|end| format!("{}{end}", "a".repeat(61)));
        for client in [&mut masked, &mut direct] {
            // A notice would say that a name is cut.
            let answer = client.run(Way::Simple, "set client_encoding = 'UTF8'; set client_min_messages = error");
            assert_eq!(answer.error, None);
        }
        let sql = format!(
            "select \"{other}\".ssn || '' from (select name as ssn from people) \"{one}\", people \"{other}\" limit 3"
        );
        let plain = direct.run(Way::Simple, &sql);
        assert!(stage.has_canary(&plain.raw), "{encoding} {:?}", plain.error);
        for way in [Way::Simple, Way::Undescribed] {
            let answer = masked.run(way, &sql);
            stage.no_canary(&answer.raw, &sql);
            assert!(answer.error.is_some_and(|error| error.contains("encoding")));
        }
        for sql in ["select 'ÉÀ' as größe", "select name as \"Größe\" from people"] {
            let is_taken = encoding == "LATIN1" || !sql.ends_with("größe");
            assert_eq!(masked.run(Way::Simple, sql).error.is_none(), is_taken, "{sql}");
        }
    }
}

#[test]
fn long_rows_are_masked_as_they_pass() {
    let stage = Stage::start(POLICIES);
    stage.cluster.run(
        "postgres",
        "insert into people (id, name, ssn) select 100, repeat('n', 700000), repeat('zq7Xk2Lm9Wp4', 100000)",
    );
    for way in [Way::Simple, Way::Binary] {
        let answer = stage.masked().run(way, "select id, ssn, name from people where id = 100");
        stage.no_canary(&answer.raw, "a long row");
        let row = &answer.rows[0];
        assert_eq!(row[1].as_ref().map(Vec::len), Some(1_200_000));
        assert!(row[2].as_ref().is_some_and(|name| name.len() == 700_000 && name.iter().all(|letter| *letter == b'n')));
    }
}

#[test]
fn a_long_error_beside_a_refusal_is_withheld() {
    let stage = Stage::start(POLICIES);
    for length in [70_000, 1_100_000] {
        let sql = format!("select (ssn || repeat('x', {length}))::int from people");
        let batch = [wire::once(&sql), wire::parse("", "select tell()"), wire::sync()].concat();
        assert!(stage.has_canary(&stage.direct().send(&batch, 1).raw));
        let answer = stage.masked().send(&batch, 1);
        stage.no_canary(&answer.raw, "a long error");
        assert!(answer.error.is_some());
    }
}

#[test]
fn an_ordinary_day_goes_on() {
    let stage = Stage::start(POLICIES);
    let (mut masked, mut direct) = (stage.masked(), stage.direct());
    let mut refused = Vec::new();
    for sql in workload::WORKLOAD {
        for way in [Way::Simple, Way::Undescribed] {
            let (got, plain) = (run(&mut masked, way, sql), run(&mut direct, way, sql));
            assert_eq!(plain.error, None, "{sql}");
            stage.no_canary(&got.raw, sql);
            assert_eq!(got.rows.len(), if got.error.is_none() { plain.rows.len() } else { 0 }, "{sql}");
            refused.extend(got.error.map(|error| format!("{sql}: {error}")));
        }
    }
    let runs = workload::WORKLOAD.len() * 2;
    println!("of {runs} ordinary statements {} are refused: {refused:#?}", refused.len());
    assert!(refused.len() * 50 < runs, "more than 2 %");
}

#[test]
fn random_queries_show_no_canary() {
    let stage = Stage::start(POLICIES);
    let is_long = std::env::var_os("WARDER_LONG").is_some_and(|value| value == "1");
    let queries = if is_long { 20_000 } else { 2_000 };
    let (mut masked, mut direct) = (stage.masked(), stage.direct());
    let (mut refused, mut failed, mut hidden) = (0_u64, 0_u64, 0_u64);
    for seed in 0..queries {
        let sql = generate::query(seed);
        let way = [Way::Simple, Way::Undescribed, Way::Binary][usize::try_from(seed % 3).unwrap()];
        let (got, plain) = (masked.run(way, &sql), direct.run(way, &sql));
        stage.no_canary(&got.raw, &sql);
        hidden += u64::from(stage.has_canary(&plain.raw));
        match (&got.error, &plain.error) {
            (None, None) => {
                assert_eq!(got.rows.len(), plain.rows.len(), "{sql}");
                assert!(got.rows.iter().zip(&plain.rows).all(|(got, plain)| got.len() == plain.len()), "{sql}");
            }
            (Some(error), None) => {
                assert!(error.contains("C42501"), "{sql}: {error}");
                refused += 1;
            }
            (_, Some(_)) => failed += 1,
        }
    }
    println!(
        "{queries} random queries: {hidden} with something to hide, {refused} refused, {failed} not taken by the server"
    );
    assert!(hidden > queries / 4, "only {hidden} have something to hide");
    assert!(
        failed < queries / 4 && refused < queries / 2,
        "the generator says little: {refused} refused, {failed} failed"
    );
}
