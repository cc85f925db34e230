//! Cancel requests, limits, times, the end.

use std::io::Write as _;
use std::sync::atomic::Ordering;
use std::time::Duration;

use model::mediation::{End, Listener, MediationEvent, Moment, Refusal};
use model::wire::WireEvent;
use proxy::{Settings, WhenUnrecorded};
use recorder::Level;

use crate::support::client::{Raw, message, startup};
use crate::support::cluster::Cluster;
use crate::support::proxy::{Options, Proxy, Reads};
use crate::support::wait;

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The next message is this FATAL error, and then the connection ends.
fn fatal(client: &mut Raw, sqlstate: &str) -> String {
    let (kind, body) = client.message();
    let body = text(&body);
    assert_eq!(kind, b'E', "{body}");
    assert!(body.contains(&format!("C{sqlstate}\0")), "{body}");
    assert!(client.rest().is_empty());
    body
}

#[test]
fn a_cancel_request_stops_the_query_and_its_key_is_not_recorded() {
    let cluster = Cluster::start("", "");
    let proxy = Proxy::start(Options::plain(&cluster));
    let mut client = Raw::connect(&proxy);
    client.send(&startup(0));
    let opened = client.until_ready();
    let key = &opened.iter().find(|message| message.0 == b'K').unwrap().1;
    client.send(&message(b'Q', b"select pg_sleep(60)\0"));
    wait::until("the query", || {
        cluster.direct("select 1 from pg_stat_activity where query like '%sleep(60)' and state = 'active'").stdout
            == b"1\n"
    });
    let mut canceller = Raw::connect(&proxy);
    canceller.send(&[&[0, 0, 0, 16, 0x04, 0xd2, 0x16, 0x2e][..], key].concat());
    assert!(canceller.rest().is_empty());
    let answer = client.until_ready();
    assert!(answer.iter().any(|(_, body)| text(body).contains("57014")), "{answer:?}");
    let pid = u32::from_be_bytes(key[..4].try_into().unwrap());
    proxy.hears("the request", |heard| heard.events.contains(&WireEvent::CancelRequested { pid }));
    let heard = proxy.heard.lock().unwrap();
    assert!(!heard.bytes.windows(4).any(|bytes| bytes == &key[4..]), "the key was recorded");
    drop(heard);
    assert_eq!(proxy.stats().cancels, 1);
}

#[test]
fn psql_can_be_interrupted() {
    let cluster = Cluster::start("", "");
    let proxy = Proxy::start(Options::plain(&cluster));
    let mut psql = proxy.psql_command("sslmode=disable");
    psql.args(["-c", "select pg_sleep(61)"]);
    let psql = psql.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped()).spawn().unwrap();
    wait::until("the query", || {
        cluster.direct("select 1 from pg_stat_activity where query like '%sleep(61)' and state = 'active'").stdout
            == b"1\n"
    });
    let pid = nix::unistd::Pid::from_raw(i32::try_from(psql.id()).unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT).unwrap();
    let output = psql.wait_with_output().unwrap();
    assert!(text(&output.stderr).contains("canceling statement due to user request"), "{}", text(&output.stderr));
}

#[test]
fn each_limit_has_its_name_in_the_refusal_and_is_counted() {
    let cluster = Cluster::start("", "");
    let cases: [(Settings, &str, Refusal); 2] = [
        (Settings { sessions_max: 2, ..Settings::default() }, "sessions_max is 2", Refusal::SessionLimit),
        (
            Settings { sessions_per_address_max: 2, ..Settings::default() },
            "sessions_per_address_max is 2",
            Refusal::AddressLimit,
        ),
    ];
    for (settings, name, reason) in cases {
        let proxy = Proxy::start(Options { settings, ..Options::plain(&cluster) });
        let held = [Raw::login(&proxy), Raw::login(&proxy)];
        let output = proxy.psql("sslmode=disable", "select 1");
        assert!(text(&output.stderr).contains(name), "{}", text(&output.stderr));
        let mut third = Raw::connect(&proxy);
        third.send(&startup(0));
        assert!(fatal(&mut third, "53300").contains(name));
        let place = Refusal::ALL.iter().position(|one| *one == reason).unwrap();
        assert_eq!(proxy.stats().refusals[place], 2);
        drop((held, third));
        proxy.no_session_left();
        assert_eq!(proxy.psql("sslmode=disable", "select 1").stdout, b"1\n");
    }
}

#[test]
fn openings_in_progress_are_limited() {
    let cluster = Cluster::start("", "");
    let settings = Settings { startups_max: 3, ..Settings::default() };
    let proxy = Proxy::start(Options { settings, ..Options::plain(&cluster) });
    let silent: Vec<_> = (0..3).map(|_| Raw::connect(&proxy)).collect();
    wait::until("three openings", || proxy.stats().startups == 3);
    let mut fourth = Raw::connect(&proxy);
    fourth.send(&startup(0));
    assert!(fatal(&mut fourth, "53300").contains("startups_max is 3"));
    drop(silent);
    proxy.no_session_left();
    Raw::login(&proxy);
}

#[test]
fn a_steered_connection_to_another_port_is_refused() {
    let cluster = Cluster::start("", "");
    let options = Options { kind: Listener::Steered, upstream: None, port: Some(1), ..Options::plain(&cluster) };
    let proxy = Proxy::start(options);
    assert!(Raw::connect(&proxy).rest().is_empty());
    let place = Refusal::ALL.iter().position(|one| *one == Refusal::NotForDatabase).unwrap();
    assert_eq!(proxy.stats().refusals[place], 1);
}

#[test]
fn a_server_that_is_not_there_is_named_as_the_reason() {
    let cluster = Cluster::start("", "");
    let upstream = Some(([127, 0, 0, 1], crate::support::cluster::free_port()).into());
    let proxy = Proxy::start(Options { upstream, ..Options::plain(&cluster) });
    let mut client = Raw::connect(&proxy);
    client.send(&startup(0));
    assert!(fatal(&mut client, "08006").contains("could not connect"));
}

#[test]
fn an_idle_session_ends_and_a_busy_one_does_not() {
    let cluster = Cluster::start("", "");
    let settings = Settings { idle: Some(Duration::from_millis(700)), ..Settings::default() };
    let proxy = Proxy::start(Options { settings, ..Options::plain(&cluster) });
    let mut idle = Raw::login(&proxy);
    let mut busy = Raw::login(&proxy);
    busy.send(&message(b'Q', b"select pg_sleep(3)\0"));
    assert!(fatal(&mut idle, "57P05").contains("idle"));
    assert!(busy.until_ready().iter().any(|message| message.0 == b'D'));
    proxy.hears("why", |heard| heard.notes.iter().any(|n| matches!(n, MediationEvent::Ended { by: End::Idle, .. })));
}

#[test]
fn draining_ends_idle_sessions_at_the_deadline_and_waits_for_busy_ones() {
    let cluster = Cluster::start("", "");
    let proxy = Proxy::start(Options::plain(&cluster));
    let mut idle = Raw::login(&proxy);
    let mut in_transaction = Raw::login(&proxy);
    in_transaction.send(&message(b'Q', b"begin\0"));
    in_transaction.until_ready();
    let mut busy = Raw::login(&proxy);
    busy.send(&message(b'Q', b"select pg_sleep(4)\0"));
    let drained = proxy.drain(Duration::from_millis(500));
    fatal(&mut idle, "57P01");
    assert_eq!(drained.recv().unwrap().left, 2);
    assert!(std::net::TcpStream::connect(("127.0.0.1", proxy.port)).is_err(), "it does not accept any more");
    in_transaction.send(&message(b'Q', b"commit\0"));
    in_transaction.until_ready();
    assert!(busy.until_ready().iter().any(|message| message.0 == b'D'));
}

#[test]
fn counts_are_told_when_it_is_quiet() {
    let cluster = Cluster::start("", "");
    let proxy = Proxy::start(Options::plain(&cluster));
    let mut client = Raw::login(&proxy);
    client.send(&message(b'Q', b"select 1\0"));
    client.until_ready();
    let is_told = |note: &&MediationEvent| match note {
        MediationEvent::Counted { counts, moment: Moment::Quiet, .. } => {
            counts.messages_to_upstream == 1 && counts.from_client == counts.to_upstream
        }
        _ => false,
    };
    proxy.hears("the counts", |heard| heard.notes.iter().any(|note| is_told(&note)));
    // Nothing moves, and they are told again: the first were too early to be held against the kernel's.
    proxy.hears("the counts once more", |heard| heard.notes.iter().filter(is_told).count() == 2);
    assert!(proxy.beats.load(Ordering::Relaxed) >= 4);
    let stats = proxy.stats();
    assert_eq!(stats.from_client, stats.to_upstream);
    assert!(stats.latency.buckets.iter().sum::<u64>() >= 1);
}

#[test]
fn without_room_for_the_record_observe_goes_on_and_enforce_does_not() {
    let cluster = Cluster::start("", "");
    let query = message(b'Q', format!("select length('{}')\0", "f".repeat(50_000)).as_bytes());
    for unrecorded in [WhenUnrecorded::Continue, WhenUnrecorded::Refuse] {
        let options = Options { unrecorded, ring: 64 << 10, core: Reads::NotYet, ..Options::plain(&cluster) };
        let proxy = Proxy::start(options);
        let mut client = Raw::login(&proxy);
        client.send(&query);
        if unrecorded == WhenUnrecorded::Continue {
            client.until_ready();
            client.send(&query);
            client.until_ready();
            assert!(proxy.stats().unrecorded > 0);
            proxy.core_reads();
            proxy.hears("the loss", |heard| heard.lost > 0);
            client.send(&message(b'Q', b"select 'seen again'\0"));
            client.until_ready();
            proxy.hears("what came after it", |heard| {
                heard.events.iter().any(|event| matches!(event, WireEvent::Gap { .. }))
                    && heard.events.iter().any(|event| format!("{event:?}").contains("seen again"))
            });
        } else {
            // The ring has room for one of them.
            let mut refused = false;
            for _ in 0..40 {
                let (kind, body) = client.message();
                if kind == b'E' {
                    assert!(text(&body).contains("C58030\0"), "{}", text(&body));
                    refused = true;
                    break;
                }
                if kind == b'Z' {
                    let _broken = client.0.write_all(&query);
                }
            }
            assert!(refused);
            assert_eq!(proxy.stats().unrecorded, 0);
        }
    }
}

#[test]
fn a_higher_level_waits_for_the_core() {
    let cluster = Cluster::start("", "");
    let proxy = Proxy::start(Options { level: Level::Written, ..Options::plain(&cluster) });
    let mut client = Raw::login(&proxy);
    client.send(&message(b'Q', b"select 1\0"));
    client.until_ready();
    proxy.core_rests();
    let before = proxy.stats().from_client;
    let statement = message(b'Q', b"create table too_early()\0");
    client.send(&statement);
    proxy.has_received(before + statement.len() as u64);
    assert_eq!(cluster.direct("select to_regclass('too_early') is null").stdout, b"t\n");
    proxy.core_reads();
    client.until_ready();
    assert_eq!(cluster.direct("select to_regclass('too_early') is null").stdout, b"f\n");
}

#[test]
fn nobody_waits_for_ever() {
    for unrecorded in [WhenUnrecorded::Continue, WhenUnrecorded::Refuse] {
        let cluster = Cluster::start("", "");
        let options = Options { level: Level::Written, unrecorded, ..Options::plain(&cluster) };
        let proxy = Proxy::start(options);
        let mut client = Raw::login(&proxy);
        proxy.core_rests();
        client.send(&message(b'Q', b"create table never_recorded()\0"));
        let asked = std::time::Instant::now();
        if unrecorded == WhenUnrecorded::Continue {
            client.until_ready();
            assert_eq!(proxy.stats().unrecorded, 1);
            // The next does not wait: nothing was heard of the core since.
            let again = std::time::Instant::now();
            client.send(&message(b'Q', b"select 1\0"));
            client.until_ready();
            assert!(again.elapsed() < Duration::from_secs(2), "{:?}", again.elapsed());
        } else {
            let (kind, body) = client.message();
            assert!(kind == b'E' && text(&body).contains("C58030\0"), "{}", text(&body));
            assert_eq!(cluster.direct("select to_regclass('never_recorded') is null").stdout, b"t\n");
        }
        assert!(asked.elapsed() < Duration::from_secs(10), "{:?}", asked.elapsed());
    }
}
