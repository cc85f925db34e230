//! Schema changes and rows in one transaction, as tools for migrations send them: what such a change cannot reach goes on
//! and is masked, and what it may have reached shows nothing.

use crate::client::{Answer, Client, Way};
use crate::{POLICIES, Stage};

const WAYS: [Way; 3] = [Way::Simple, Way::Extended, Way::Undescribed];

/// More of the schema: what a change could reach.
const MORE: &str = "
create schema other;
create function fill() returns trigger language plpgsql as
    'begin new.a := (select ssn from public.people limit 1); return new; end';
create function fill_what() returns trigger language plpgsql as
    'begin new.what := (select ssn from public.people limit 1); return new; end';
create table notes (id int, note text, ssn text);
insert into notes values (1, 'a note', 'zq7Xk2Lm9Wp4-1');
create table child () inherits (notes);
insert into child values (2, 'another', 'zq7Xk2Lm9Wp4-2');
create view plain as select id, note from notes;
create view over_plain as select note as n from plain;
create table owner_of (id int);
create sequence seq_of owned by owner_of.id;
create view other.seq_of as select ssn as last_value from people;
create table parted (note text) partition by list (note);
create table part_of partition of parted default;
create view other.part_of as select ssn as note from people;
create view other.over_plain as select ssn as n from people;
";

/// Runs statements in a transaction that is rolled back; the answers.
fn transaction(client: &mut Client, way: Way, statements: &[&str]) -> Vec<Answer> {
    client.run(way, "begin");
    let answers = statements.iter().map(|sql| client.run(way, sql)).collect();
    client.run(Way::Simple, "rollback");
    answers
}

fn stage() -> Stage {
    Stage::start_with(POLICIES, MORE)
}

#[test]
fn a_migration_writes_what_it_has_made_and_what_it_has_not_changed() {
    let stage = stage();
    let mut client = stage.masked();
    let one = |value: &str| [[Some(value.as_bytes().to_vec())]];
    for way in WAYS {
        for sql in [
            "begin",
            "create table fresh (id serial primary key, note text)",
            "insert into fresh (note) values ('a'), ('b')",
            "create index fresh_note on fresh (note)",
            "alter table fresh add column more int default 5",
            "update fresh set more = 7 where note = 'b'",
            "alter table fresh add constraint of_order foreign key (more) references orders (id)",
            "alter table orders add column extra text",
            "create table other.fresh2 (a int)",
            "insert into other.fresh2 select more from public.fresh",
            "create view made_too as select note from fresh",
            "drop view made_too",
            "drop table below",
        ] {
            assert_eq!(client.run(way, sql).error, None, "{way:?} {sql}");
        }
        assert_eq!(client.run(way, "select note from fresh where more = 7").rows, one("b"), "{way:?}");
        assert_eq!(client.run(way, "delete from other.fresh2 where a = 7 returning a").rows, one("7"), "{way:?}");
        let inserted = client.run(way, "insert into archive (note) values ('migrated') returning note");
        assert_eq!(inserted.rows, one("migrated"), "{way:?}: {:?}", inserted.error);
        let masked = client.run(way, "select ssn from people where id = 1");
        assert_eq!(masked.rows, one("************-1"), "{way:?}: {:?}", masked.error);
        assert_eq!(client.run(way, "select n from over_plain where n = 'a note'").rows, one("a note"), "{way:?}");
        // What it has changed is not known until it is read back.
        assert!(client.run(way, "select extra from orders").error.is_some_and(|error| error.contains("C42501")));
        assert_eq!(client.run(Way::Simple, "rollback").error, None);
    }
}

#[test]
fn what_a_change_may_have_reached_shows_nothing() {
    let stage = stage();
    let mut client = stage.masked();
    // Each ends with what would show a value if the snapshot were believed.
    let cases: &[&[&str]] = &[
        &[
            "alter table people rename ssn to t",
            "alter table people rename name to ssn",
            "alter table people rename t to name",
            "select upper(name) from people",
        ],
        &[
            "alter table notes rename ssn to t",
            "alter table notes rename note to ssn",
            "alter table notes rename t to note",
            "select upper(note) from child",
        ],
        &[
            "alter table child no inherit notes",
            "alter table child rename ssn to t",
            "alter table child rename note to ssn",
            "alter table child rename t to note",
            "alter table child inherit notes",
            "select upper(note) from notes",
        ],
        &["create or replace view plain as select id, ssn as note from notes", "select n || '' from over_plain"],
        &[
            "alter table notes rename ssn to t",
            "alter table notes rename note to ssn",
            "alter table notes rename t to note",
            "create or replace view plain as select id, note from notes",
            "select n from over_plain",
        ],
        &["alter table people rename to gone", "alter table notes rename to people", "select ssn from gone"],
        &[
            "alter table archive rename to gone",
            "alter table people rename to archive",
            "select archive::text from archive",
        ],
        &[
            "create table fresh (a text)",
            "alter table fresh rename to gone",
            "alter table people rename to fresh",
            "select ssn from fresh",
        ],
        &[
            "create table fresh (a text)",
            "drop table fresh",
            "alter table people rename to fresh",
            "select ssn from fresh",
        ],
        &["create table fresh (like people)", "alter table people inherit fresh", "select ssn from fresh"],
        &[
            "create table fresh (at int, person int, ssn text)",
            "alter table events attach partition fresh default",
            "select ssn from events",
        ],
        &[
            "create table fresh (at int, person int, ssn text) partition by range (at)",
            "alter table events detach partition events_1",
            "alter table fresh attach partition events_1 for values from (0) to (100)",
            "select ssn from fresh",
        ],
        &[
            "create table fresh () inherits (notes)",
            "insert into fresh values (3, 'c', 'd')",
            "select notes::text from notes",
        ],
        &["create table fresh (a text)", "insert into fresh select ssn from people", "select a from fresh"],
        &["create table fresh (ssn text)", "insert into fresh select ssn from people", "select ssn from fresh"],
        &["create table fresh (a text default peek(1))", "insert into fresh default values", "select a from fresh"],
        &[
            "create table fresh (a text)",
            "alter table fresh alter a set default peek(1)",
            "insert into fresh default values",
            "select a from fresh",
        ],
        &[
            "create table fresh (a text)",
            "alter table fresh add column b text default peek(1)",
            "insert into fresh values ('x')",
            "select b from fresh",
        ],
        &[
            "create table fresh (a text)",
            "insert into fresh values ('x')",
            "alter table fresh add column b text default peek(1)",
            "select b from fresh",
        ],
        &[
            "create table fresh (a text)",
            "insert into fresh values ('1')",
            "alter table fresh alter a type text using peek(a::int)",
            "select a from fresh",
        ],
        &[
            "create table fresh (a text default query_to_xml('select ssn from people', true, true, '')::text)",
            "insert into fresh default values",
            "select a from fresh",
        ],
        &[
            "create table fresh (a text)",
            "create trigger filled before insert on fresh for each row execute function fill()",
            "insert into fresh values ('x')",
            "select a from fresh",
        ],
        &[
            "create table fresh (a text)",
            "create rule filled as on insert to fresh do also update fresh set a = (select ssn from people limit 1)",
            "insert into fresh values ('x')",
            "select a from fresh",
        ],
        &[
            "create table fresh (a text)",
            "create rule \"_RETURN\" as on select to fresh do instead select ssn as a from people",
            "select a from fresh",
        ],
        &[
            "create table fresh (a text)",
            "do $$ begin insert into fresh select ssn from people; end $$",
            "select a from fresh",
        ],
        &["create table if not exists child (a text)", "select ssn from child"],
        &[
            "create table other.people (a text)",
            "select ssn from public.people",
            "set local search_path = other, public",
            "select upper(ssn) from people",
        ],
        &[
            "create table other.notes (id int, note text)",
            "set local search_path = other, public",
            "drop table other.notes",
            "select ssn from notes",
            "select upper(ssn) from notes",
        ],
        &["set local search_path = public, other", "drop table owner_of", "select last_value || '' from seq_of"],
        &[
            "set local search_path = public, other",
            "alter table owner_of drop column id",
            "select last_value || '' from seq_of",
        ],
        &["set local search_path = public, other", "drop table parted", "select note || '' from part_of"],
        &["set local search_path = public, other", "drop view over_plain", "select n || '' from over_plain"],
        &["set local search_path = public, other", "drop table notes cascade", "select n || '' from over_plain"],
        &[
            "savepoint s",
            "create table fresh (a text)",
            "rollback to s",
            "alter table people rename to fresh",
            "select ssn from fresh",
        ],
        &[
            "create temporary table orders (what text)",
            "create trigger filled before insert on orders for each row execute function fill_what()",
            "insert into orders values ('x')",
            "savepoint s",
            "discard temporary",
            "create table fresh ()",
            "select count(*) from notes",
            "rollback to s",
            "select what || '' from orders",
        ],
        &["create table fresh as select ssn from people", "select ssn from fresh"],
        &["create materialized view fresh as select ssn from people", "select ssn from fresh"],
        &["create view fresh as select ssn as a from people", "select a from fresh"],
        &[
            "create temporary table fresh (a text default peek(1))",
            "insert into fresh default values",
            "select a from fresh",
        ],
        &[
            "create temporary table fresh (a text)",
            "create trigger filled before insert on fresh for each row execute function fill()",
            "insert into fresh values ('x')",
            "select a from fresh",
        ],
    ];
    let mut direct = stage.direct();
    for statements in cases {
        let shown = transaction(&mut direct, Way::Simple, statements);
        let shows = shown.iter().any(|answer| stage.has_canary(&answer.raw));
        assert!(shows, "there is nothing to hide: {statements:?}: {:?}", shown.last());
        for way in WAYS {
            for (answer, sql) in transaction(&mut client, way, statements).iter().zip(*statements) {
                stage.no_canary(&answer.raw, &format!("{way:?}: {sql}, of {statements:?}"));
            }
        }
    }
}

#[test]
fn what_was_made_is_not_known_once_others_can_see_it() {
    let stage = stage();
    let mut client = stage.masked();
    for sql in ["begin", "create table fresh (a text)", "insert into fresh values ('x')", "commit"] {
        assert_eq!(client.run(Way::Simple, sql).error, None, "{sql}");
    }
    stage.cluster.run("postgres", "insert into fresh select ssn from people");
    let answer = client.run(Way::Simple, "select a from fresh");
    stage.no_canary(&answer.raw, "a table that others have written to");
    assert!(answer.error.is_some_and(|error| error.contains("C42501")));
}
