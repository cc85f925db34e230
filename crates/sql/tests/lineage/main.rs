//! Where values come from: each shape of a query, with the columns that it must name.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on ends")]

use std::sync::Arc;

use model::Known;
use model::lineage::{CopyForm, CopyText, Lineage, Origin, Output, Rows};
use sql::catalogue::rows::{
    Column, Definition, Function, Generated, Inexact, Inheritance, Operator, Relation, RelationKind, Type,
};
use sql::catalogue::{Builder, Catalogue};
use sql::changed::Changed;
use sql::state::{State, Temporary};
use sql::{Analyser, Limits};

const PEOPLE: u32 = 100;
const NOTES: u32 = 101;
const ADULTS: u32 = 102;
const OLD_PEOPLE: u32 = 103;
const PAIRS: u32 = 104;
const TOTALS: u32 = 105;

/// `people(id, name, ssn, shout)` with a view, a table below it, and a materialized view of the view.
fn catalogue() -> Catalogue {
    let mut builder = Builder::new();
    let relations = [
        (PEOPLE, "people", RelationKind::Table, &["id", "name", "ssn", "shout"][..]),
        (NOTES, "notes", RelationKind::Table, &["id", "person", "body"]),
        (ADULTS, "adults", RelationKind::View, &["who", "number"]),
        (OLD_PEOPLE, "people_2019", RelationKind::Table, &["id", "name", "ssn", "shout"]),
        (PAIRS, "pairs", RelationKind::View, &["id", "twin"]),
        (TOTALS, "totals", RelationKind::MaterializedView, &["first_number", "how_many"]),
    ];
    for schema in ["pg_catalog", "public"] {
        builder.schema(schema.into());
    }
    for (oid, name, kind) in [(20, "pg_class", RelationKind::Table), (21, "pg_tables", RelationKind::View)] {
        builder.relation(Relation { oid, schema: "pg_catalog".into(), name: name.into(), kind });
        builder.column(Column { relation: oid, number: 1, name: "oid".into() });
    }
    for (oid, name, kind, columns) in relations {
        builder.relation(Relation { oid, schema: "public".into(), name: name.into(), kind });
        for (number, column) in (1..).zip(columns) {
            builder.column(Column { relation: oid, number, name: (*column).into() });
        }
    }
    builder.inheritance(Inheritance { child: OLD_PEOPLE, parent: PEOPLE });
    builder.function(Function {
        oid: 200,
        schema: "public".into(),
        name: "guess".into(),
        extension: "".into(),
        takes_row: false,
    });
    builder.generated(Generated { relation: PEOPLE, number: 4, text: "upper(ssn)".into() });
    builder.inexact(Inexact { relation: PEOPLE, number: 1 });
    let definition = |relation, text: &str| Definition { relation, text: text.into() };
    builder
        .definition(definition(ADULTS, "SELECT p.name AS who, p.ssn AS number FROM public.people p WHERE p.id > 17;"));
    builder.definition(definition(PAIRS, "SELECT a.id, a.name || a.ssn AS twin FROM public.people a;"));
    builder
        .definition(definition(TOTALS, "SELECT min(number) AS first_number, count(*) AS how_many FROM public.adults;"));
    builder.build(1)
}

fn lineage(sql: &str) -> Arc<Lineage> {
    let state = State {
        search_path: Known::Known(Arc::from([Arc::from("public")])),
        server_major: Some(18),
        ..State::new("alice".into())
    };
    let limits = Limits { lineage: true, ..Limits::default() };
    let facts = Analyser::new(limits).facts(sql.as_bytes(), &state, &catalogue());
    let statement = facts.statements.first().unwrap_or_else(|| panic!("{sql}: {:?}", facts.opaque));
    Arc::clone(statement.lineage.as_ref().unwrap_or_else(|| panic!("{sql}: {:?}", statement.opaque)))
}

/// `=ssn` a value as it is stored, `~ssn` one that is made of it, `-` of nothing, `?` unknown; the table's name is left out
/// for people.
fn shown(origin: &Origin) -> String {
    let mut names: Vec<String> = origin
        .sources()
        .filter(|column| &*column.relation != "people_2019")
        .map(|column| match &*column.relation {
            "people" => column.name.to_string(),
            other => format!("{other}.{}", column.name),
        })
        .collect();
    names.dedup();
    match origin {
        Origin::Direct(_) if names.is_empty() => "null".to_owned(),
        Origin::Direct(_) => format!("={}", names.join("+")),
        Origin::Derived(_) if names.is_empty() => "-".to_owned(),
        Origin::Derived(_) => format!("~{}", names.join("+")),
        Origin::Unknown(_) => "?".to_owned(),
    }
}

fn rows(rows: &Rows) -> String {
    match rows {
        Rows::Columns(columns) => columns.iter().map(shown).collect::<Vec<_>>().join(" "),
        Rows::Every(origin) => format!("*{}", shown(origin)),
    }
}

fn copied(form: Option<&CopyForm>) -> String {
    match form {
        Some(CopyForm::Binary) => "binary".to_owned(),
        Some(CopyForm::Text(text)) => {
            let CopyText { delimiter, null, quote, has_header } = text;
            let quote = quote.map_or(String::new(), |quote| char::from(quote).to_string());
            format!("{:?} {null} {quote}{}", char::from(*delimiter), if *has_header { " header" } else { "" })
        }
        None => "?".to_owned(),
    }
}

#[track_caller]
fn check(sql: &str, expected: &str) {
    let lineage = lineage(sql);
    let got = match &lineage.output {
        Output::Rows(columns) => rows(columns),
        Output::Copy(columns, form) => format!("copy {} {}", rows(columns), copied(form.as_ref())),
        Output::Nothing => "nothing".to_owned(),
        Output::Plan => "plan".to_owned(),
        Output::Measured => "measured".to_owned(),
        Output::Cursor(name) => format!("cursor {name}"),
        Output::Prepared(name) => format!("prepared {name}"),
    };
    assert_eq!(got, expected, "{sql}\n{lineage:#?}");
}

#[test]
fn columns_are_followed_by_position_and_name() {
    for (sql, expected) in [
        ("select ssn from people", "=ssn"),
        ("select p.ssn as x, name from public.people as p", "=ssn =name"),
        ("select * from people", "=id =name =ssn ~shout+ssn"),
        ("select p.* from notes n, people p", "=id =name =ssn ~shout+ssn"),
        ("select c from (select ssn as c from people) x", "=ssn"),
        ("select x.b from (select id, ssn from people) as x(a, b)", "=ssn"),
        ("select a from people as p(z, y, a)", "=ssn"),
        ("with x as (select ssn, id from people) select * from x", "=ssn =id"),
        ("with x(a, b) as (select ssn, id from people) select b, a from x", "=id =ssn"),
        ("table people", "=id =name =ssn ~shout+ssn"),
        ("select (select ssn from people limit 1)", "~ssn"),
        (
            "select l.s from notes n cross join lateral (select p.ssn as s from people p where p.id = n.person) l",
            "=ssn",
        ),
        ("select s from people p join lateral (select p.ssn as s) l on true", "=ssn"),
        ("select max(ssn), count(*), count(ssn) from people", "~ssn - -"),
        ("select ssn from people group by ssn", "=ssn"),
        ("select upper from (select upper(ssn) from people) x", "~ssn"),
        ("select coalesce from (select coalesce(ssn, 'x') from people) x", "~ssn"),
        ("select varchar from (select ssn::varchar from people) x", "?"),
        ("select ssn from (select ssn::varchar from people) x", "~ssn"),
        ("select shout from people", "~shout+ssn"),
        ("select p from people p", "~id+name+shout+ssn"),
        ("select row_to_json(p) from people p", "~id+name+shout+ssn"),
        ("select row_to_json(x) from (select id, name from people) x", "~id+name"),
        ("select to_jsonb(people.*) from people", "~id+name+shout+ssn"),
        ("select ctid, tableoid::regclass, name from people", "- - =name"),
        ("values (1, 'a'), (2, (select ssn from people))", "- ~ssn"),
        ("select case when ssn like '1%' then 1 end from people", "~ssn"),
        ("select array_agg(ssn), string_agg(name, ',' order by ssn) from people", "~ssn ~name+ssn"),
        (
            "select rank() over (order by ssn), rank() over w from people window w as (partition by name)",
            "~name+ssn ~name",
        ),
        ("select exists (select 1 from people where ssn = 'x')", "-"),
        ("select array(select ssn from people)", "~ssn"),
        ("select id from people where ssn = 'x' for update", "=id"),
        ("select 1", "-"),
        ("select now(), current_user, version()", "- - -"),
        ("select u from unnest(array['a']) as u", "-"),
        ("select g, p.name from generate_series(1, 3) g, people p", "- =name"),
        ("select value from people, jsonb_each(to_jsonb(people))", "~id+name+shout+ssn"),
        ("select key from json_each_text('{}')", "-"),
        ("select a, b from json_to_record('{}') as x(a int, b text)", "- -"),
    ] {
        check(sql, expected);
    }
}

#[test]
fn joins_and_set_operations_are_followed_column_by_column() {
    for (sql, expected) in [
        ("select * from people join notes using (id)", "=notes.id+id =name =ssn ~shout+ssn =notes.person =notes.body"),
        ("select * from notes natural join people", "=notes.id+id =notes.person =notes.body =name =ssn ~shout+ssn"),
        ("select j.body, j.ssn from (people join notes using (id)) as j", "=notes.body =ssn"),
        ("select body from people full join notes using (id)", "=notes.body"),
        ("select id, name from people union select id, ssn from people", "=id =name+ssn"),
        ("select id, 'x' from people union all select id, ssn from people order by 1", "=id ~ssn"),
        ("select id, ssn from people union select id, null from notes", "=notes.id+id =ssn"),
        ("select null::text, 1 from people union all select ssn, null from people", "=ssn -"),
        ("select null, null || ssn, coalesce(null, ssn) from people", "null ~ssn ~ssn"),
        ("(select ssn from people) except (select body from notes)", "=notes.body+ssn"),
        ("select a.id from people a, people b, notes c where a.id = b.id", "=id"),
        (
            "with recursive r(n, v) as (select 1, name from people union all select n + 1, (select max(ssn) from people) \
             from r where n < 3) select v, n from r",
            "~name+ssn -",
        ),
        (
            "with recursive r(a, b, c) as (select '', '', ssn from people union all select b, c, c from r) select a from r",
            "~ssn",
        ),
        ("with recursive a as (select * from b), b as (select ssn from people) select * from a", "*?"),
    ] {
        check(sql, expected);
    }
}

#[test]
fn where_places_are_not_known_everything_may_stand_everywhere() {
    for (sql, expected) in [
        // Words of the grammar have names.
        (
            "select j.* from ((select 'x' as \"current_user\", 1 as z) l natural join (select current_user, ssn, name from \
             people) r) as j",
            "- - =ssn =name",
        ),
        (
            "select * from (select xmlelement(name a), id from people) a natural join (select ssn, xmlelement(name a) from people) b",
            "- =id =ssn",
        ),
        (
            "select * from (select json_array(1), id from people) a natural join (select ssn, 1 as json_array from people) b",
            "- =id =ssn",
        ),
        // `extract` or `date_part`.
        (
            "select * from (select extract(year from now()), id from people) a join (select ssn, id from people) b using (id)",
            "*~id+ssn",
        ),
        (
            "select extract from (select extract(year from now()) from people) a natural left join people",
            "~id+name+shout+ssn",
        ),
        ("select a.id from (select extract(year from now()), id from people) a natural join people p", "=id"),
        // Rows of a composite type are as many columns as it has.
        ("select j.c from (cast('(1)' as notes) u cross join people p) as j(a, b, c)", "~id+name+shout+ssn"),
        ("select u.*, p.ssn from unnest('{(1)}'::notes[]) u, people p", "*~ssn"),
        ("select u.*, p.ssn from unnest(array['(1)'::notes]) u, people p", "*~ssn"),
        ("select u.*, p.ssn from unnest('{1}'::int[]) u, people p", "- =ssn"),
        ("select u.*, p.ssn from unnest(array['a', $1::text]) u, people p", "- =ssn"),
        ("select u.*, p.ssn from coalesce(null::notes) u, people p", "*~ssn"),
        // An alias names the column of one function only.
        (
            "select * from rows from (generate_series(1, 2), generate_series(1, 2)) as id natural join people p",
            "- - =id =name =ssn ~shout+ssn",
        ),
    ] {
        check(sql, expected);
    }
}

#[test]
fn views_are_what_they_are_defined_as() {
    for (sql, expected) in [
        ("select * from adults", "=name =ssn"),
        ("select number from adults a", "=ssn"),
        ("select twin from pairs", "~name+ssn"),
        ("select * from totals", "~ssn -"),
        ("select ssn from only people_2019", "=ssn"),
    ] {
        check(sql, expected);
    }
    let family = lineage("select ssn from people_2019");
    assert!(family.reads.iter().any(|column| &*column.relation == "people"), "{family:#?}");
}

#[test]
fn what_errors_may_quote_is_read() {
    let reads = |sql: &str| {
        let lineage = lineage(sql);
        let columns = lineage.reads.iter().filter(|column| &*column.relation == "people");
        let names: Vec<&str> = columns.map(|column| &*column.name).collect();
        format!("{}{}", names.join(" "), if lineage.reads_unknown.is_some() { " ?" } else { "" })
    };
    for (sql, expected) in [
        ("select who from adults", "id name ssn"),
        ("select first_number from totals", "id name ssn"),
        ("create index on people ((ssn::int))", "id name shout ssn"),
        ("alter table people add check (ssn::int > 0)", "id name shout ssn"),
        ("alter table notes attach partition people default", "id name shout ssn"),
        ("alter sequence people rename to p", ""),
        ("create index on nowhere (id)", " ?"),
        ("analyze people", "id name shout ssn"),
        ("vacuum", " ?"),
        ("reindex index people_key", " ?"),
        ("refresh materialized view totals", "id name ssn"),
        ("alter domain number add check (value::int > 0)", " ?"),
        ("alter domain number drop not null", ""),
        ("update people set name = 'x'", "id name shout ssn"),
        ("insert into people (id) values (1) on conflict (id) do update set name = 'x'", "id name shout ssn"),
        ("insert into people (id) values (1)", ""),
        ("create view x as select id from people", "id"),
    ] {
        assert_eq!(reads(sql), expected, "{sql}");
        assert_eq!(lineage(sql).unknown, None, "{sql}");
    }
}

#[test]
fn changes_give_back_and_keep() {
    check("insert into notes (body) values ('a') returning body, id", "=notes.body =notes.id");
    check("update people set name = 'a' where id = 1 returning *", "=id =name =ssn ~shout+ssn");
    check("delete from people using notes n where n.id = people.id returning ssn, n.body", "=ssn =notes.body");
    check("update people set name = 'a' returning old.ssn, new.name", "=ssn =name");
    check("insert into notes select 1, 2, 'a'", "nothing");
    let kept = |sql: &str| {
        let lineage = lineage(sql);
        let target = |stored: &model::lineage::Stored| {
            stored.target.as_ref().map_or("new".to_owned(), |target| format!("{}.{}", target.relation, target.name))
        };
        let all = lineage.stored.iter().map(|stored| format!("{}<{}", target(stored), shown(&stored.origin)));
        all.collect::<Vec<_>>().join(" ")
    };
    for (sql, expected) in [
        ("insert into notes select id, id, ssn from people", "notes.id<=id notes.person<=id notes.body<=ssn"),
        ("insert into notes (body) select upper(ssn) from people", "notes.body<~ssn"),
        ("update people set name = ssn", "people.name<=ssn"),
        (
            "update notes set (body, person) = (select ssn, id from people limit 1)",
            "notes.body<~id+ssn notes.person<~id+ssn",
        ),
        ("create table x as select ssn from people", "new<=ssn"),
        ("select ssn into x from people", "new<=ssn"),
        ("select name into x from people union all select ssn from people", "new<=name new<=name+ssn"),
        ("create materialized view x as select ssn from people", "new<=ssn"),
        ("create view x as select ssn from people", ""),
        ("create temp view x as select ssn from people", "new<=ssn"),
        ("select pg_notify('c', ssn) from people", "new<~ssn"),
        ("select set_config('a.b', ssn, false) from people", "new<~ssn"),
        ("copy people (ssn) to '/tmp/x'", "new<=ssn"),
        (
            "with x as (insert into notes (body) select ssn from people returning body) select * from x",
            "notes.body<=ssn",
        ),
        (
            "merge into notes n using people p on n.id = p.id when matched then update set body = p.ssn",
            "notes.body<=ssn",
        ),
        (
            "insert into notes (id, body) values (1, 'a') on conflict (id) do update set body = excluded.body",
            "notes.body<=notes.body",
        ),
        // Whether a call with an effect runs tells about what it stands beside.
        (
            "select case when ssn like 'A%' then set_config('my.r', '1', false) end, name, nextval('s') from people",
            "new<~ssn",
        ),
        (
            "select coalesce((select nextval('s') where name = 'x'), 1), (ssn > 'A' and random() > 0) from people",
            "new<~ssn",
        ),
        ("select max(nextval('s')) filter (where ssn like 'A%') from people", "new<~ssn"),
        ("select q.d is null or pg_try_advisory_lock(1) from (select nullif(ssn, 'x') as d from people) q", "new<~ssn"),
        ("select random(), ssn, id + txid_current() from people", "new<~id"),
        ("select case when ssn > 'A' then pg_sleep(1) end from people", "new<~ssn"),
        ("select pg_sleep(1), ssn from people where setseed(id) is null", "new<~id"),
        // Subscripts stay as keys.
        ("update notes set body[(select ssn from people)] = '1'", "notes.body<~ssn"),
        ("update notes set body[1:(select id from people)] = '{1}', id = 2", "notes.body<~id"),
        ("update people set ssn[1] = ssn", "people.ssn<~ssn"),
        ("insert into notes (id, body[(select ssn from people)]) values (1, '1')", "notes.body<~ssn"),
        (
            "insert into notes (body[(select ssn from people)]) select x.* from (select (a).* from (select 1 as a) y) x",
            "new<~ssn",
        ),
        (
            "insert into notes (id) values (1) on conflict (id) do update set body[(select ssn from people)] = '1'",
            "notes.body<~ssn",
        ),
        (
            "merge into notes n using people p on n.id = p.id when matched then update set body[p.ssn] = '1' \
             when not matched then insert (id, body[p.name]) values (1, '1')",
            "notes.body<~ssn notes.body<~name",
        ),
    ] {
        assert_eq!(kept(sql), expected, "{sql}");
    }
}

#[test]
fn other_statements_say_what_comes_back() {
    for (sql, expected) in [
        ("copy people to stdout", "copy =id =name =ssn ?"),
        ("copy people (shout) to stdout", "copy ~shout+ssn '\\t' \\N "),
        ("copy people (name) to stdout", "copy =name '\\t' \\N "),
        ("copy (select ssn from people) to stdout", "copy =ssn '\\t' \\N "),
        ("copy people (ssn) to stdout with csv header", "copy =ssn ','  \" header"),
        ("copy people (ssn) to stdout (format csv, header off, delimiter ';', null 'none')", "copy =ssn ';' none \""),
        ("copy people (ssn) to stdout (header, quote '''', format csv, escape '''')", "copy =ssn ','  ' header"),
        ("copy people (ssn) to stdout (format binary)", "copy =ssn binary"),
        ("copy people (ssn) to stdout (format 'json')", "copy =ssn ?"),
        ("copy people (ssn) to stdout (header match)", "copy =ssn ?"),
        ("copy people (ssn) to stdout (format csv, escape '\')", "copy =ssn ?"),
        ("copy people (ssn) to stdout (encoding 'SJIS')", "copy =ssn ?"),
        ("copy people from stdin", "nothing"),
        ("explain select ssn from people", "plan"),
        ("explain analyze select ssn from people", "measured"),
        ("explain (verbose, analyze true) select ssn from people", "measured"),
        ("explain (analyze off) select ssn from people", "plan"),
        ("show search_path", "*-"),
        ("fetch all from c", "cursor c"),
        ("move all in c", "cursor c"),
        ("declare c cursor for select ssn from people", "nothing"),
        ("execute x(1)", "prepared x"),
        ("begin", "nothing"),
    ] {
        check(sql, expected);
    }
    let cursor = lineage("declare c cursor for select ssn from people").cursor.clone().unwrap();
    assert_eq!((&*cursor.name, rows(&cursor.rows), cursor.holds), ("c", "=ssn".to_owned(), false));
    let held = lineage("declare c scroll cursor with hold for select ssn from people").cursor.clone().unwrap();
    assert!(held.holds);
}

#[test]
fn conditions_are_sorted_by_how_closely_they_look() {
    let looked = |sql: &str| {
        let lineage = lineage(sql);
        let names = |sources: &model::lineage::Sources| {
            let of_people = sources.iter().filter(|column| &*column.relation == "people");
            of_people.map(|column| column.name.to_string()).collect::<Vec<_>>().join("+")
        };
        (names(&lineage.matched), names(&lineage.compared), lineage.joined.len())
    };
    for (sql, matched, compared, joined) in [
        ("select 1 from people where ssn = 'x'", "ssn", "", 0),
        ("select 1 from people where ssn in ('x', 'y') and id = $1", "id+ssn", "", 0),
        ("select 1 from people where ssn = any($1)", "ssn", "", 0),
        ("select 1 from people where lower(ssn) = 'x'", "ssn", "", 0),
        ("select 1 from people where ssn like 'x%'", "", "ssn", 0),
        ("select 1 from people where ssn > 'x'", "", "ssn", 0),
        ("select 1 from people where not (ssn between 'a' and 'b' or id = 1)", "id", "ssn", 0),
        ("select 1 from people where substr(ssn, 1, 1) = '1'", "", "ssn", 0),
        ("select 1 from people where ssn::char(1) = '1'", "", "ssn", 0),
        ("select 1 from people where ssn is not null", "", "", 0),
        ("select 1 from people where (ssn = 'x') is not true", "ssn", "", 0),
        ("select 1 from people where (ssn like 'x%') is true", "", "ssn", 0),
        ("select 1 from people where coalesce(ssn, '') = 'x'", "ssn", "", 0),
        ("select 1 from people where coalesce(ssn, 'x'::name) = 'x'", "", "ssn", 0),
        ("select 1 from people where coalesce(ssn, name) = 'x'", "", "name+ssn", 0),
        ("select 1 from people order by coalesce(ssn, 'x')", "", "ssn", 0),
        ("select 1 from people where (id, ssn) = (1, 'x')", "id+ssn", "", 0),
        ("select 1 from people where (id, ssn) in ((1, 'x'), ($1, $2))", "id+ssn", "", 0),
        ("select 1 from people where (id, ssn) in ((1, 'x'), (2, name))", "id", "name+ssn", 0),
        ("select 1 from people where (id, left(ssn, 1)) = (1, 'x')", "id", "ssn", 0),
        ("select 1 from people p, notes n where (n.id, n.body) = (1, p.ssn)", "", "", 1),
        ("select 1 from people where (id, ssn) < (1, 'x')", "", "id+ssn", 0),
        // Their texts are rounded, or a part of them.
        ("select 1 from people where id::text = '1' or lower(id) = '1'", "", "id", 0),
        ("select 1 from people order by id::text", "", "id", 0),
        ("select 1 from people p join notes n on n.body = p.ssn", "", "", 1),
        ("select 1 from people p where ssn in (select body from notes)", "", "", 1),
        ("select g from generate_series(1, 9) g join people on ssn = g::text", "", "", 1),
        ("select count(*) filter (where ssn like '1%') from people", "", "ssn", 0),
        ("select count(*) from people group by ssn < '5'", "", "ssn", 0),
        ("select ssn < '5' as b, count(*) from people group by b", "", "ssn", 0),
        ("select ssn < '5', count(*) from people group by 1", "", "ssn", 0),
        ("select id from people order by ssn", "", "", 0),
        ("select id from people order by ssn < '5'", "", "ssn", 0),
        ("select id from people limit (select ascii(ssn) from people limit 1)", "", "ssn", 0),
        ("select g from people, generate_series(1, ascii(ssn)) g", "", "ssn", 0),
        ("update people set name = 'x' where ssn > 'x'", "", "ssn", 0),
        ("select 1 from adults where number like '1%'", "", "ssn", 0),
        ("select 1 from people having max(ssn) > '5'", "", "ssn", 0),
        // Whoever makes a view puts its conditions.
        ("create view x as select id from people where ssn like 'A%'", "", "ssn", 0),
        ("create schema y create view x as select id from people where ssn like 'A%'", "", "ssn", 0),
        ("create materialized view x as select id from people where ssn like 'A%'", "", "ssn", 0),
        ("create table x as select id from people where ssn like 'A%'", "", "ssn", 0),
        // Outputs by number and name: stars count for all of their columns, functions name theirs.
        ("select id, ssn from people union all select 0, 'C' order by 2", "", "ssn", 0),
        ("select id, ssn from people union all select 0, 'C' order by ssn", "", "ssn", 0),
        ("select id, ssn from people union all select 0, 'C' order by id", "", "id", 0),
        (
            "(select id, ssn from people union all select 0, 'C' order by 2 limit 1) union all select 1, 'x'",
            "",
            "ssn",
            0,
        ),
        ("with recursive x as (select id, ssn from people union all select 0, 'C' order by 2) table x", "", "ssn", 0),
        ("select *, ssn < 'C' from people order by 5", "", "ssn", 0),
        ("select *, ssn < 'C' from people order by 4", "", "shout+ssn", 0),
        ("select *, ssn < 'C' from people order by 3, id", "", "", 0),
        ("select substr(ssn, 1, 1) from people, (select 1 as substr) x order by substr", "", "ssn", 0),
        ("select max(id) from people, (select 1 as substr) x group by substr", "", "", 0),
        ("select substr(name, 1, 1) from people order by substr", "", "name", 0),
        ("select distinct on (substr) substr(ssn, 1, 1) from people, (select 1 as substr) x", "", "ssn", 0),
        // NULL beside a column says which values are NULL.
        ("select ssn from people union select null", "", "", 0),
        ("select ssn from people union select 'x'", "", "", 1),
        ("select id, ssn from people union select id, null from people order by 2", "", "", 0),
        // Numbers of rows.
        ("select pg_options_to_table(array[ssn]) from people", "", "ssn", 0),
        ("select information_schema._pg_expandarray(string_to_array(ssn, 'A')) from people", "", "ssn", 0),
        // Rows that are compared with each other.
        ("with recursive r as (select substr(ssn, 1, 1) d from people union select 'A' from r) table r", "", "ssn", 1),
        ("with recursive r as (select ssn from people union select 'A' from r) select 1 from r", "", "ssn", 1),
        ("with recursive r as (select ssn from people union all select ssn from r) select 1 from r", "", "", 0),
        (
            "with recursive r(d) as (select substr(ssn, 1, 1) from people union all select 'A' from r) \
             cycle d set c using p select 1 from r",
            "",
            "ssn",
            1,
        ),
    ] {
        let got = looked(sql);
        assert_eq!((&*got.0, &*got.1, got.2), (matched, compared, joined), "{sql}");
    }
}

#[test]
fn what_is_not_known_is_unknown() {
    assert!(lineage("select * from nowhere").unknown.is_some());
    assert!(lineage("select nothing from people").unknown.is_some());
    assert!(lineage("select people.guess from people").unknown.is_some());
    let calls = lineage("select guess(1), lo_get(1)").calls.clone();
    assert_eq!(calls.len(), 2, "{calls:?}");
    assert!(lineage("select upper('a'), 1 + 1").calls.is_empty());
    for sql in ["select pg_sleep(1)", "select setseed(0.5)", "select pg_catalog.pg_export_snapshot()"] {
        assert!(lineage(sql).calls.is_empty(), "{sql} reads no rows");
    }
    for sql in [
        "copy people from stdin where guess(id) = 1",
        "create table x (a int default guess(1))",
        "create table x (a int, check (guess(a) > 0))",
        "alter table people alter id set default guess(1)",
        "alter table people add check (guess(id) > 0)",
        "create domain d as int default guess(1)",
        "alter domain d set default guess(1)",
        "create policy p on people using (guess(id) = 1)",
        "create index on people (guess(id))",
    ] {
        assert_eq!(lineage(sql).calls.len(), 1, "{sql}: it runs for what others write");
    }
    let count =
        lineage("select count(1 order by ssn::int, guess(1), lo_get(1)::text using operator(public.<<)) from people");
    assert_eq!((count.reads.len(), count.calls.len()), (2, 3), "{count:?}");
}

#[test]
fn what_keywords_types_and_attributes_call_is_named() {
    let mut builder = Builder::new();
    ["pg_catalog", "public"].into_iter().for_each(|schema| builder.schema(schema.into()));
    builder.relation(Relation {
        oid: PEOPLE,
        schema: "public".into(),
        name: "people".into(),
        kind: RelationKind::Table,
    });
    builder.column(Column { relation: PEOPLE, number: 1, name: "id".into() });
    let (schema, extension): (Arc<str>, Arc<str>) = ("public".into(), "".into());
    builder.function(Function { oid: 200, schema: schema.clone(), name: "peek".into(), extension, takes_row: true });
    for name in ["=", "~~", "<="] {
        builder.operator(Operator { schema: schema.clone(), name: name.into(), function: 200 });
    }
    builder.type_code(Type { schema, name: "checked".into(), relation: 0, function: 200 });
    let catalogue = builder.build(1);
    let calls = |sql: &str| {
        let state = State {
            server_major: Some(18),
            search_path: Known::Known(Arc::from([Arc::from("public")])),
            ..State::new("alice".into())
        };
        let limits = Limits { lineage: true, ..Limits::default() };
        let facts = Analyser::new(limits).facts(sql.as_bytes(), &state, &catalogue);
        facts.statements[0].lineage.as_ref().unwrap().calls.len()
    };
    for (sql, expected) in [
        ("select id + 1 from people", 0),
        ("select id like 'a' from people", 1),
        ("select id from people where id in (1, 2)", 1),
        ("select id between 1 and 2 from people", 1),
        ("select case id when 1 then 2 end from people", 1),
        ("select id in (select 1) from people", 1),
        ("select id from people where id in (select 1)", 1),
        ("select people.id from people join people p using (id)", 1),
        ("select people.id from people natural join people p", 1),
        ("select id::checked from people", 1),
        ("select (p).peek from people p", 1),
        ("select json_value('1', '$' returning checked)", 1),
        ("select json_query('1', '$' returning checked), json_value('1', '$' returning text)", 1),
        ("select json_object('a': 1 returning checked), json_array(1 returning checked)", 1),
        ("select json_array(select 1 returning checked)", 1),
        ("select json_objectagg('a': 1 returning checked), json_serialize('1' returning checked)", 1),
        ("select 1 from json_to_record('{}') as r(a checked)", 1),
        ("select 1 from rows from (json_to_record('{}') as (a checked), now())", 1),
    ] {
        assert_eq!(calls(sql), expected, "{sql}");
    }
}

#[test]
fn tables_of_the_server_are_known_whatever_has_changed() {
    let reads_in = |path: &[&str], temporary, sql: &str, functions_changed| {
        let search_path = Known::Known(path.iter().map(|schema| Arc::from(*schema)).collect());
        let state = State { search_path, temporary, ..State::new("alice".into()) };
        let state = State { changed: Changed::Everything, functions_changed, ..state };
        let limits = Limits { lineage: true, ..Limits::default() };
        let facts = Analyser::new(limits).facts(sql.as_bytes(), &state, &catalogue());
        let lineage = Arc::clone(facts.statements[0].lineage.as_ref().unwrap());
        lineage.unknown.is_none() && lineage.calls.is_empty()
    };
    let reads = |sql: &str, functions_changed| reads_in(&["public"], Temporary::None, sql, functions_changed);
    assert!(reads("select oid from pg_catalog.pg_class where oid = 1", false));
    assert!(reads("select c.oid from pg_catalog.pg_class c", true));
    assert!(!reads("select oid from pg_catalog.pg_class where oid = 1", true), "it may be another operator");
    let unqualified = "select oid from pg_class";
    assert!(reads(unqualified, false));
    let temporary = Temporary::listed([Arc::from("scratch")], |_| true);
    assert!(!reads_in(&["public"], temporary, unqualified, false), "that one may have another name now");
    assert!(!reads_in(&["public", "pg_catalog"], Temporary::None, unqualified, false), "one may stand before it");
    assert!(!reads("select oid from pg_catalog.pg_tables", false), "what a view calls may be another function");
    assert!(!reads("select id from public.people", false));
}

#[test]
fn temporary_relations_hold_nothing_and_hide_others() {
    let shown_with = |sql: &str| {
        let state = State {
            search_path: Known::Known(Arc::from([Arc::from("public")])),
            temporary: Temporary::listed([Arc::from("people"), Arc::from("scratch")], |_| true),
            ..State::new("alice".into())
        };
        let limits = Limits { lineage: true, ..Limits::default() };
        let facts = Analyser::new(limits).facts(sql.as_bytes(), &state, &catalogue());
        match &facts.statements[0].lineage.as_ref().unwrap().output {
            Output::Rows(columns) => rows(columns),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(shown_with("select a from scratch"), "-");
    assert_eq!(shown_with("select a from pg_temp.scratch"), "-");
    assert_eq!(shown_with("select a from people"), "~id+name+shout+ssn");
    assert_eq!(shown_with("select ssn from public.people"), "=ssn");
}

#[test]
fn nesting_and_chains_have_an_end() {
    let deep = format!("{}select 1{}", "select (".repeat(100), ")".repeat(100));
    lineage(&deep);
    let chain = format!("select ssn from people {}", "union all select ssn from people ".repeat(800));
    check(&chain, "=ssn");
    let joins = format!("select p.ssn from people p {}", "join notes n on true ".repeat(60));
    check(&joins, "=ssn");
    let tower: String = (0..40)
        .map(|level| {
            format!(
                "x{level} as (select * from {}), ",
                if level == 0 { "people".to_owned() } else { format!("x{}", level - 1) }
            )
        })
        .collect();
    check(&format!("with {tower} y as (select 1) select ssn from x39"), "=ssn");
}
