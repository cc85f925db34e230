//! Load and bad manners on a way: nothing hangs, nothing is lost, and memory stays flat.

use std::fs;
use std::net::TcpStream;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use warder_tests::cluster::{Cluster, ClusterOptions};
use warder_tests::route::Route;
use warder_tests::suite_load::{self, Footprint, Leaving};
use warder_tests::way::{self, HOST, Passage, WayIn};
use warder_tests::wire::{self, RawClient};
use warder_tests::{directory, process, suite_scenes, tooling, wait};

const MEBIBYTE: u64 = 1024 * 1024;

/// How much the processes of a way may grow, however much passes: buffers, allocators, lists.
const GROWTH_MAX: u64 = 32 * MEBIBYTE;

/// Bytes of a long stream.
fn stream_bytes() -> u64 {
    if tooling::long_form() { 1024 * MEBIBYTE } else { 64 * MEBIBYTE }
}

fn cluster() -> Result<Cluster> {
    Cluster::start(&ClusterOptions::default().with("max_connections", "500").with("wal_level", "logical"))
}

/// Plays a test on each way: server, way, and what its processes hold at rest (after a few sessions).
fn on_each_way(test: impl Fn(&Cluster, &Passage, Footprint) -> Result<()>) -> Result<()> {
    for kind in way::under_test_over(Route::Tcp)? {
        let cluster = cluster()?;
        let passage = Passage::open(kind, &cluster)?;
        suite_load::open_and_close(&passage.way, 40, 4, &[Leaving::Orderly])?;
        let rest = Footprint::of(&passage.processes()?)?;
        test(&cluster, &passage, rest).with_context(|| format!("through {}", kind.name()))?;
        session(&passage.way)?
            .query("select 'still here'")
            .with_context(|| format!("{} serves no more", kind.name()))?;
        calm(&passage, rest)?;
    }
    Ok(())
}

/// Waits until the way holds no more descriptors than at rest; its memory has not grown by then.
fn calm(passage: &Passage, rest: Footprint) -> Result<()> {
    let pids = passage.processes()?;
    wait::until("the end of all connections in the way", wait::PATIENCE, || {
        // Poolers keep a connection for the next client; an agent may have a file more open.
        Ok((Footprint::of(&pids)?.descriptors <= rest.descriptors + 8).then_some(()))
    })?;
    grown(passage, rest, Footprint::of(&pids)?.resident_bytes)
}

fn grown(passage: &Passage, rest: Footprint, now: u64) -> Result<()> {
    let more = now.saturating_sub(rest.resident_bytes);
    eprintln!("{}: {} KiB at rest, {} KiB more", passage.way, rest.resident_bytes / 1024, more / 1024);
    ensure!(more <= GROWTH_MAX, "{} grew by {} MiB", passage.way, more / MEBIBYTE);
    Ok(())
}

fn session(way: &WayIn) -> Result<RawClient> {
    let mut client = RawClient::tcp(way.port)?;
    client.login()?;
    Ok(client)
}

/// A session whose stream is also at hand.
fn session_with_stream(way: &WayIn) -> Result<(RawClient, TcpStream)> {
    let stream = TcpStream::connect((HOST, way.port))?;
    stream.set_nodelay(true)?;
    let mut client = RawClient::connected(stream.try_clone()?)?;
    client.login()?;
    Ok((client, stream))
}

#[test]
fn connections_come_and_go_as_fast_as_they_can() -> Result<()> {
    let connections = if tooling::long_form() { 40_000 } else { 10_000 };
    on_each_way(|_, passage, rest| {
        let hammer = || suite_load::open_and_close(&passage.way, connections, 16, &Leaving::ALL);
        let ((), peak) = suite_load::peak_bytes_while(&passage.processes()?, hammer)?;
        grown(passage, rest, peak)
    })
}

#[test]
fn copies_of_any_size_pass_with_flat_memory() -> Result<()> {
    for kind in way::under_test_over(Route::Tcp)? {
        for route in [Route::Tcp, Route::Tls] {
            let cluster = cluster()?;
            cluster.sql("create table sink (line text)")?;
            let passage = suite_scenes::open(kind, &cluster, route)?;
            process::run(passage.way.client("psql", route)?.args(["-Xqc", "select 1"]))?;
            let rest = Footprint::of(&passage.processes()?)?;
            let rows = stream_bytes() / 1024;
            let out = format!("copy (select repeat('x', 1023) from generate_series(1, {rows})) to program 'md5sum'");
            let out = out.replace("copy (", "\\copy (");
            copy(&passage, rest, route, &out)?;
            // No row is kept: what is measured is the way, not the server's disk.
            let line = "x".repeat(1023);
            let program = format!("yes {line} | head -n {rows}");
            copy(&passage, rest, route, &format!("\\copy sink from program '{program}' where false"))?;
        }
    }
    Ok(())
}

/// One copy with psql, which prints `COPY` and the number of rows.
fn copy(passage: &Passage, rest: Footprint, route: Route, command: &str) -> Result<()> {
    let copy = || {
        let mut psql = passage.way.client("psql", route)?;
        process::run(psql.args(["-X", "-v", "ON_ERROR_STOP=1", "-c", command]))
    };
    let (output, peak) = suite_load::peak_bytes_while(&passage.processes()?, copy)?;
    let said = String::from_utf8(output.stdout)?;
    let expected = if command.contains("where false") { 0 } else { stream_bytes() / 1024 };
    ensure!(said.contains(&format!("COPY {expected}")), "{said}");
    grown(passage, rest, peak)
}

#[test]
fn a_client_that_does_not_read_is_waited_for() -> Result<()> {
    on_each_way(|cluster, passage, rest| {
        let rows = stream_bytes() / 8192;
        let mut slow = session(&passage.way)?;
        let sql = format!("select repeat('x', 8191) from generate_series(1, {rows})");
        slow.send(&wire::query(sql.as_bytes()))?;
        wait::until("a server that waits for the client", wait::PATIENCE, || {
            let waiting = "select count(*) from pg_stat_activity where wait_event = 'ClientWrite'";
            Ok((cluster.sql(waiting)? == "1").then_some(()))
        })?;
        let others = || suite_load::open_and_close(&passage.way, 200, 2, &[Leaving::Orderly]);
        let ((), peak) = suite_load::peak_bytes_while(&passage.processes()?, others)?;
        grown(passage, rest, peak)?;
        let mut received = 0;
        loop {
            let (kind, body) = slow.receive()?;
            match kind {
                b'D' => received += u64::from(body.len() == 8191 + 6),
                b'Z' => break,
                _ => {}
            }
        }
        ensure!(received == rows, "{received} rows of {rows} came");
        Ok(())
    })
}

#[test]
fn a_server_that_does_not_read_holds_the_client_back() -> Result<()> {
    on_each_way(|cluster, passage, rest| {
        cluster.sql("create table sink (line text)")?;
        let (mut client, mut stream) = session_with_stream(&passage.way)?;
        client.send(&wire::query(b"copy sink from stdin"))?;
        while client.receive()?.0 != b'G' {}
        let backend = "select pid from pg_stat_activity where query like 'copy sink%' and pid <> pg_backend_pid()";
        let backend: u32 = cluster.sql(backend)?.parse()?;
        process::send(backend, Signal::SIGSTOP)?;
        let piece = wire::message(b'd', &["x".repeat(8191).as_bytes(), b"\n"].concat());
        let limit = usize::try_from(64 * MEBIBYTE)?;
        let held = suite_load::peak_bytes_while(&passage.processes()?, || {
            suite_load::write_until_held_back(&mut stream, &piece, limit)
        });
        process::send(backend, Signal::SIGCONT)?;
        let (held, peak) = held?;
        eprintln!("{}: {} KiB were taken while the server slept", passage.way, held.written / 1024);
        grown(passage, rest, peak)?;
        let rest_of_piece = piece.get(held.offset..).unwrap_or_default();
        client.send(if held.offset == 0 { b"" } else { rest_of_piece })?;
        client.send(&wire::message(b'c', b""))?;
        client.until_ready()?;
        let rows: usize = cluster.sql("select count(*) from sink where length(line) = 8191")?.parse()?;
        ensure!(rows == held.written.div_ceil(piece.len()), "{rows} rows arrived");
        Ok(())
    })
}

#[test]
fn a_client_that_writes_byte_by_byte_is_served() -> Result<()> {
    on_each_way(|_, passage, _| {
        let stream = TcpStream::connect((HOST, passage.way.port))?;
        stream.set_nodelay(true)?;
        let mut client = RawClient::connected(stream)?;
        for byte in wire::startup("postgres", "postgres") {
            client.send(&[byte])?;
        }
        client.until_ready()?;
        for _ in 0..20 {
            for byte in wire::query(b"select 'slowly', repeat('x', 100)") {
                client.send(&[byte])?;
            }
            ensure!(client.until_ready()? == b"TDCZ", "another answer");
        }
        Ok(())
    })
}

#[test]
fn half_open_connections_disturb_nobody() -> Result<()> {
    on_each_way(|_, passage, rest| {
        let startup = wire::startup("postgres", "postgres");
        let mut held = Vec::new();
        for length in [0, 3, 8, startup.len() - 1].into_iter().cycle().take(200) {
            let mut client = RawClient::tcp(passage.way.port)?;
            client.send(startup.get(..length).unwrap_or_default())?;
            held.push(client);
        }
        let others = || suite_load::open_and_close(&passage.way, 100, 2, &[Leaving::Orderly]);
        let ((), peak) = suite_load::peak_bytes_while(&passage.processes()?, others)?;
        grown(passage, rest, peak)
    })
}

#[test]
fn a_client_that_stops_sending_still_gets_its_answer() -> Result<()> {
    on_each_way(|cluster, passage, _| {
        let sql = "select repeat('x', 1000) from generate_series(1, 5000)";
        let direct = suite_load::ask_and_half_close(&WayIn::direct(cluster), sql)?;
        let through = suite_load::ask_and_half_close(&passage.way, sql)?;
        ensure!(direct == through && direct > 5_000_000, "{direct} bytes directly, {through} through the way");
        Ok(())
    })
}

#[test]
fn cancel_requests_hit_their_own_session() -> Result<()> {
    let rounds = if tooling::long_form() { 20 } else { 3 };
    on_each_way(|_, passage, _| {
        let mut untouched = session(&passage.way)?;
        let mut sleepers = (0..32).map(|_| session(&passage.way)).collect::<Result<Vec<_>>>()?;
        for _ in 0..rounds {
            untouched.send(&wire::query(b"select pg_sleep(0.5)"))?;
            for sleeper in &mut sleepers {
                sleeper.send(&wire::query(b"select pg_sleep(600)"))?;
            }
            for sleeper in &sleepers {
                let pid = sleeper.backend_pid.context("no process id")?;
                let secret = sleeper.backend_secret.context("no secret")?;
                for wrong in 1..4 {
                    cancel(&passage.way, pid, secret.wrapping_add(wrong))?;
                }
                cancel(&passage.way, pid, secret)?;
            }
            for sleeper in &mut sleepers {
                ensure!(sleeper.until_ready()?.contains(&b'E'), "a query was not cancelled");
                sleeper.query("select 1")?;
            }
            ensure!(!untouched.until_ready()?.contains(&b'E'), "a query was cancelled by somebody else");
        }
        Ok(())
    })
}

fn cancel(way: &WayIn, pid: u32, secret: u32) -> Result<()> {
    let mut client = RawClient::tcp(way.port)?;
    client.send(&wire::cancel(pid, secret))?;
    client.until_closed()
}

#[test]
fn notifications_reach_an_idle_session_with_the_servers_process_id() -> Result<()> {
    on_each_way(|_, passage, _| {
        let (mut listener, mut speaker) = (session(&passage.way)?, session(&passage.way)?);
        listener.query("listen news")?;
        for number in 0..50 {
            speaker.query(&format!("notify news, 'number {number}'"))?;
            let (kind, body) = listener.receive()?;
            let (pid, text) = body.split_first_chunk::<4>().context("a short message")?;
            ensure!(kind == b'A' && text == format!("news\0number {number}\0").as_bytes(), "{kind} {text:?}");
            ensure!(speaker.backend_pid == Some(u32::from_be_bytes(*pid)), "another process id");
        }
        Ok(())
    })
}

#[test]
fn large_objects_come_back_as_they_went() -> Result<()> {
    on_each_way(|_, passage, _| {
        let folder = directory::private("large")?;
        let (original, copy) = (folder.path().join("original"), folder.path().join("copy"));
        let bytes: Vec<u8> = (0..8 * MEBIBYTE).map(|number| ((number * number) >> 7).to_le_bytes()[0]).collect();
        fs::write(&original, &bytes)?;
        let commands = format!("\\lo_import {}\n\\lo_export :LASTOID {}\n", original.display(), copy.display());
        let script = folder.path().join("script.sql");
        fs::write(&script, commands)?;
        process::run(passage.way.client("psql", Route::Tcp)?.args(["-Xq", "-v", "ON_ERROR_STOP=1", "-f"]).arg(script))?;
        ensure!(fs::read(copy)? == bytes, "the large object is not what was imported");
        Ok(())
    })
}

#[test]
fn replication_passes() -> Result<()> {
    on_each_way(|cluster, passage, _| {
        // The log from here on is kept for the receiver.
        cluster.sql("select pg_create_physical_replication_slot('kept', true)")?;
        cluster.prepare_pgbench(1)?;
        let folder = directory::private("replica")?;
        let path = |name: &str| folder.path().join(name);
        let tool = |name: &str| passage.way.client(name, Route::Tcp);
        process::run(tool("pg_basebackup")?.args(["--no-sync", "-c", "fast", "-X", "stream", "-D"]).arg(path("base")))?;
        process::run(Command::new(tooling::postgres_programs()?.join("pg_verifybackup")).arg(path("base")))?;
        check_logical(cluster, &passage.way, &path("changes"))?;
        fs::create_dir(path("wal"))?;
        let end = cluster.sql("select pg_switch_wal()")?;
        let mut receive = tool("pg_receivewal")?;
        process::run(receive.args(["--no-sync", "--no-loop", "-S", "kept", "--endpos", &end, "-D"]).arg(path("wal")))?;
        ensure!(fs::read_dir(path("wal"))?.count() > 0, "no log was received");
        Ok(())
    })
}

/// Changes that were decoded and streamed through the way are those that the server decodes by itself.
fn check_logical(cluster: &Cluster, way: &WayIn, file: &std::path::Path) -> Result<()> {
    for slot in ["streamed", "asked"] {
        cluster.sql(&format!("select pg_create_logical_replication_slot('{slot}', 'test_decoding')"))?;
    }
    cluster.sql("update pgbench_branches set bbalance = 7; delete from pgbench_tellers where tid > 3")?;
    let end = cluster.sql("select pg_current_wal_lsn()")?;
    let mut receive = way.client("pg_recvlogical", Route::Tcp)?;
    receive.args(["-d", "postgres", "-S", "streamed", "--start", "--no-loop", "--endpos", &end, "-f"]);
    process::run(receive.arg(file))?;
    let asked = cluster.sql("select data from pg_logical_slot_get_changes('asked', null, null)")?;
    let streamed = fs::read_to_string(file)?;
    ensure!(streamed.trim_end() == asked && asked.lines().count() > 8, "streamed:\n{streamed}\nasked:\n{asked}");
    Ok(())
}
