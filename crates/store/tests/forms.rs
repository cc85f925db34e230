//! Every record type is written as `docs/events.md` says, and read back as it was written.
#![allow(clippy::unwrap_used, clippy::panic, clippy::allow_attributes, reason = "helpers of tests")]

mod common;

use std::sync::Arc;

use common::*;
use model::Known;
use model::access::{AccessChange, AccessEvent, ChangedBy, Grant, GrantId, GrantState, Holder, Scope};
use model::coverage::{BypassReason, Class, ClassCount, Coverage};
use model::credential::{AccessEnd, Confirmation, Credential, CredentialStep, MintedRole};
use model::id::{DatabaseId, SocketCookie};
use model::mediation::{Listener, Mediation, RelayCounts};
use model::principal::{Actor, Principal, PrincipalKind, UnknownPrincipal};
use model::process::UnknownProcess;
use model::record::What;
use model::request::Request;
use model::session::{Encryption, Ledger, Login, Origin, Session, Transport};
use model::statement::{Statement, StatementKind, Text, UnknownText};
use model::time::{BootTime, WallTime};
use model::verdict::Mode;
use serde_json::{Value as Json, json};
use store::files::{Form, segment_path};
use store::form::event::Event;
use store::reader::Reader;

/// Writes one record, compares its line, and reads it back.
fn check(what: What, expected: Json) {
    let home = Home::new();
    let (mut writer, _) = home.open(LIMITS);
    writer.append(&at(250, what)).unwrap();
    writer.flush(NINE_THIRTY).unwrap();
    // Before it stands the record of the segment.
    let text = std::fs::read_to_string(segment_path(&home.journal, 1, Form::Plain)).unwrap();
    let line: Json = serde_json::from_str(text.lines().nth(1).unwrap()).unwrap();
    let mut common = json!({"v": 1, "seq": 2, "time": "2026-11-22T09:30:00.000250Z"});
    common.as_object_mut().unwrap().extend(expected.as_object().unwrap().clone());
    assert_eq!(line, common);

    let mut reader = Reader::after(&home.journal, 1);
    let entry = reader.next_entry().unwrap().unwrap();
    assert_eq!((entry.seq, entry.time.0), (2, WallTime(NINE_THIRTY.0 + 250_000)));
    let mut fields = expected;
    fields.as_object_mut().unwrap().remove("type");
    assert_eq!(written_again(&entry.event), fields);
}

fn written_again(event: &Event) -> Json {
    let json = match event {
        Event::AgentStart(form) => serde_json::to_value(form),
        Event::AgentStop => Ok(json!({})),
        Event::Gap(form) => serde_json::to_value(form),
        Event::SessionOpen(form) | Event::SessionChange(form) => serde_json::to_value(form),
        Event::SessionClose(form) => serde_json::to_value(form),
        Event::Request(form) => serde_json::to_value(form),
        Event::Statement(form) => serde_json::to_value(form),
        Event::Cancel(form) => serde_json::to_value(form),
        Event::Refused(form) => serde_json::to_value(form),
        Event::SessionGap(form) => serde_json::to_value(form),
        Event::Process(form) => serde_json::to_value(form),
        Event::Loss(form) => serde_json::to_value(form),
        Event::Operator(form) => serde_json::to_value(form),
        Event::Access(form) => serde_json::to_value(form),
        Event::Proxy(form) => serde_json::to_value(form),
        Event::Bypass(form) => serde_json::to_value(form),
        Event::BypassRefused(form) => serde_json::to_value(form),
        Event::Integrity(form) => serde_json::to_value(form),
        Event::Coverage(form) => serde_json::to_value(form),
        Event::Credential(form) => serde_json::to_value(form),
        Event::KeyHandover(form) => serde_json::to_value(form),
        Event::SegmentsRemoved(form) => serde_json::to_value(form),
        Event::Recovered(form) => serde_json::to_value(form),
        Event::Segment | Event::Checkpoint => panic!("a record of the journal itself"),
        Event::Other(word) => panic!("unknown type {word}"),
    };
    json.unwrap()
}

const ID: &str = "01234567-feedbeef-4242";

fn process_json() -> Json {
    json!({
        "pid": 1234, "start_us": 5000, "name": "psql", "exe": "/usr/bin/psql", "exe_device": "8:1", "exe_inode": 77,
        "exe_changed": "2026-11-22T09:30:00.000000Z", "exe_flags": ["truncated", "memory"], "argv": ["psql", "-h", ""],
        "argv_truncated": true, "uid": 1000, "gid": 1001, "login_uid": 1000, "tty": "136:2", "cgroup": 42,
        "mount_namespace": 4_026_531_841_u32, "source": "kernel",
        "ancestors": [{"pid": 1200, "start_us": 4000, "uid": 1000, "name": "bash"}],
    })
}

fn session_json() -> Json {
    json!({
        "session": ID, "database_entry": "main", "transport": "tcp", "client_address": "10.0.0.7:51000",
        "server_address": "[::1]:5432", "network_namespace": 9, "origin": "opened", "encryption": "tls",
        "client": process_json(), "principal": principal_json(), "server_unknown": "not_seen", "peer_pid": 1234, "peer_uid": 1000, "protocol": "3.2",
        "user": "alice", "database": "shop", "application_name": "psql", "authenticated": true, "statements": 2,
        "errors": 1, "gaps": 0, "received_bytes": 1000, "sent_bytes": 1000, "content_received_bytes": 1000,
        "content_sent_bytes": 500, "captured_bytes": 1500, "coverage": 0.75,
    })
}

fn principal_json() -> Json {
    json!({
        "kind": "agent", "id": "nightly-report", "issuer": "https://id.example.com", "groups": ["analysts", "berlin"],
        "acting_for": [{"kind": "person", "id": "alice@example.com", "issuer": "https://id.example.com"}],
        "proof": "bound_process", "expires": "2026-11-22T09:30:00.000000Z", "purpose": "figures of the quarter",
    })
}

fn with(mut json: Json, more: Json) -> Json {
    json.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    json
}

#[test]
fn the_agent_starts_and_stops() {
    let level = "full".to_owned();
    check(
        What::AgentStarted { version: "0.1.0", level, kernel: "6.18".into() },
        json!({"type": "agent.start", "version": "0.1.0", "level": "full", "kernel": "6.18",
            "host": "0123456789abcdef0123456789abcdef", "boot": "feedbeef000000000000000000000001"}),
    );
    check(What::AgentStopped, json!({"type": "agent.stop"}));
    check(
        What::NotObserved { from: WallTime(0), to: NINE_THIRTY, reason: "stopped" },
        json!({"type": "gap", "from": "1970-01-01T00:00:00.000000Z", "to": "2026-11-22T09:30:00.000000Z", "reason": "stopped"}),
    );
}

#[test]
fn sessions() {
    check(What::SessionOpened(Arc::new(session(4242))), with(session_json(), json!({"type": "session.open"})));
    check(What::SessionChanged(Arc::new(session(4242))), with(session_json(), json!({"type": "session.change"})));
    check(
        What::SessionClosed { session: Arc::new(session(4242)), duration: 1_500_999, missed: true },
        with(session_json(), json!({"type": "session.close", "duration_us": 1500, "missed": true})),
    );
}

#[test]
fn what_is_not_known_of_a_session_is_absent() {
    let session = Session {
        transport: Transport::Unix { path: String::new() },
        origin: Origin::FoundAtStart,
        client: Known::Unknown(UnknownProcess::Gone),
        principal: Known::Unknown(UnknownPrincipal::SharedPool),
        server: Known::Unknown(UnknownProcess::Remote),
        peer_credentials: None,
        encryption: Encryption::Undecided,
        login: Login { inferred: true, replication: Some("database".into()), ..Login::default() },
        ledger: Ledger::default(),
        ..session(4242)
    };
    check(
        What::SessionClosed { session: Arc::new(session), duration: 0, missed: false },
        json!({
            "type": "session.close", "session": ID, "database_entry": "main", "transport": "unix", "origin": "found_at_start",
            "client_unknown": "gone", "principal_unknown": "shared_pool", "server_unknown": "remote", "replication": "database", "inferred": true,
            "authenticated": false, "statements": 2, "errors": 1, "gaps": 0, "received_bytes": 0, "sent_bytes": 0,
            "content_received_bytes": 0, "content_sent_bytes": 0, "captured_bytes": 0, "duration_us": 0,
        }),
    );
}

#[test]
fn statements() {
    let statement_of =
        |statement| What::Statement { session: session_id(4242), number: 7, statement: Box::new(statement) };
    check(
        statement_of(statement()),
        json!({
            "type": "statement", "session": ID, "number": 7, "kind": "execute",
            "text": "SELECT balance FROM accounts WHERE branch = $1 AND id = $2", "prepared": "s1", "portal": "",
            "parameters": [{"type": 23, "value": "17"}, {"type": 25, "value": "alpha"}],
            "transaction_before": "idle", "transaction_after": "idle", "latency_us": 250,
            "outcomes": [{"tag": "SELECT 1", "rows": 1}], "rows_sent": 1,
        }),
    );
    check(
        statement_of(strange_statement()),
        json!({
            "type": "statement", "session": ID, "number": 7, "kind": "function_call", "function": 99,
            "text": "a\u{1b}[31m\"\\\n", "text_bytes": 5000, "prepared": "s1", "portal": "",
            "parameters": [{"null": true}, {"type": 17, "opaque_bytes": 12, "format": "binary"}, {"redacted": true}],
            "row_limit": 10, "resumed": true, "transaction_before": "idle",
            "outcomes": [{"severity": "ERROR", "sqlstate": "42P01"}, {"empty": true}, {"suspended": true, "rows": 10},
                {"returned": true}, {"copy": "both"}],
            "outcomes_dropped": 3, "rows_sent": 1, "notices": 2, "copy_bytes": 7, "ending": "unanswered", "redacted": true,
        }),
    );
    let unseen = Statement { text: Text::Unknown(UnknownText::PreparedBeforeStart), parameters: None, ..statement() };
    check(
        statement_of(unseen),
        json!({
            "type": "statement", "session": ID, "number": 7, "kind": "execute", "text_unknown": "prepared_before_start",
            "prepared": "s1", "portal": "", "transaction_before": "idle", "transaction_after": "idle", "latency_us": 250,
            "outcomes": [{"tag": "SELECT 1", "rows": 1}], "rows_sent": 1,
        }),
    );
}

#[test]
fn requests() {
    let Statement { text, prepared, portal, parameters, .. } = statement();
    let request = Request {
        kind: StatementKind::Bind,
        text,
        doubtful: true,
        prepared,
        portal,
        parameters,
        row_limit: 0,
        at: BootTime(0),
        redacted: true,
        judgement: None,
    };
    let request_of = |request| What::Requested { session: session_id(4242), request: Box::new(request) };
    check(
        request_of(request.clone()),
        json!({
            "type": "request", "session": ID, "kind": "bind",
            "text": "SELECT balance FROM accounts WHERE branch = $1 AND id = $2", "prepared": "s1", "portal": "",
            "parameters": [{"type": 23, "value": "17"}, {"type": 25, "value": "alpha"}],
            "doubtful": true, "redacted": true,
        }),
    );
    let call = Request {
        kind: StatementKind::FunctionCall { function: 99 },
        text: Text::Unknown(UnknownText::None),
        doubtful: false,
        prepared: None,
        portal: None,
        parameters: None,
        row_limit: 7,
        redacted: false,
        judgement: None,
        ..request
    };
    check(
        request_of(call),
        json!({
            "type": "request", "session": ID, "kind": "function_call", "function": 99, "text_unknown": "none",
            "row_limit": 7,
        }),
    );
}

#[test]
fn who_acts_for_himself_without_an_end() {
    let principal =
        Principal { groups: Arc::new([]), acting_for: Vec::new(), expires: None, purpose: None, ..principal() };
    let expected = json!({
        "kind": "agent", "id": "nightly-report", "issuer": "https://id.example.com", "proof": "bound_process",
    });
    check(
        What::SessionOpened(Arc::new(Session { principal: Known::Known(Arc::new(principal)), ..session(4242) })),
        with(session_json(), json!({"type": "session.open", "principal": expected})),
    );
}

#[test]
fn what_was_decided() {
    let judged = |judgement| Statement { judgement: Some(Arc::new(judgement)), ..statement() };
    let line =
        |judgement| What::Statement { session: session_id(4242), number: 7, statement: Box::new(judged(judgement)) };
    let plain = json!({
        "type": "statement", "session": ID, "number": 7, "kind": "execute",
        "text": "SELECT balance FROM accounts WHERE branch = $1 AND id = $2", "prepared": "s1", "portal": "",
        "parameters": [{"type": 23, "value": "17"}, {"type": 25, "value": "alpha"}],
        "transaction_before": "idle", "transaction_after": "idle", "latency_us": 250,
        "outcomes": [{"tag": "SELECT 1", "rows": 1}], "rows_sent": 1,
    });
    let select = json!({"action": "select", "object": "relation", "schema": "public", "name": "accounts",
        "columns": ["balance", "branch", "id"], "condition": "some"});
    check(
        line(allowed()),
        with(
            plain.clone(),
            json!({
                "verdict": {"decision": "allowed", "epoch": 7, "mode": "enforce", "allowed_by": ["readers"],
                    "obligations": {"rows_max": 1000},
                    "masked": [{"rule": "amounts", "column": "public.accounts.balance"}]},
                "effects": [select],
            }),
        ),
    );
    let mut refused = refused();
    let denied = |decision: &str, mode: &str| {
        json!({
            "verdict": {"decision": decision, "rule": "no-drop", "what": "DROP of table public.customers",
                "reason": "nobody drops tables in production", "epoch": 7, "mode": mode},
            "effects": [{"action": "drop", "object": "relation", "schema_unknown": "no_catalogue", "name": "customers"}],
            "opaque": ["code"],
        })
    };
    check(line(refused.clone()), with(plain.clone(), denied("refused", "enforce")));
    refused.verdict.mode = Mode::Warn;
    check(line(refused.clone()), with(plain.clone(), denied("would_refuse", "warn")));
    refused.verdict.mode = Mode::Observe;
    check(line(refused), with(plain, denied("would_refuse", "observe")));
}

#[test]
fn what_was_decided_about_a_request() {
    let request = Request {
        kind: StatementKind::Simple,
        text: Text::Whole("drop table customers".into()),
        doubtful: false,
        prepared: None,
        portal: None,
        parameters: None,
        row_limit: 0,
        at: BootTime(0),
        redacted: false,
        judgement: Some(Arc::new(refused())),
    };
    check(
        What::Requested { session: session_id(4242), request: Box::new(request) },
        json!({
            "type": "request", "session": ID, "kind": "simple", "text": "drop table customers",
            "verdict": {"decision": "refused", "rule": "no-drop", "what": "DROP of table public.customers",
                "reason": "nobody drops tables in production", "epoch": 7, "mode": "enforce"},
            "effects": [{"action": "drop", "object": "relation", "schema_unknown": "no_catalogue", "name": "customers"}],
            "opaque": ["code"],
        }),
    );
}

#[test]
fn what_became_of_a_grant() {
    let actor = |kind, id: &str| Actor { kind, id: id.into(), issuer: "https://login.example.com".into() };
    let person = |id: &str| Holder { actor: actor(PrincipalKind::Person, id), acting_for: Vec::new() };
    let agent = Holder {
        actor: actor(PrincipalKind::Agent, "helper"),
        acting_for: vec![actor(PrincipalKind::Person, "alice@example.com")],
    };
    let grant = Grant {
        id: GrantId::parse("g-7k3f9q2d").unwrap(),
        holder: agent,
        scope: Scope {
            database: "shop".into(),
            sql_database: None,
            actions: ["Delete".into()].into(),
            relations: ["public.orders".into()].into(),
        },
        purpose: "cleaning".into(),
        ticket: Some("INC-1".into()),
        duration: 3_600_000_000_000,
        once: None,
        break_glass: false,
        renews: None,
        rule: "grants-ask".into(),
        requested: NINE_THIRTY,
    };
    let event = AccessEvent {
        grant: Arc::new(grant),
        change: AccessChange::Approved,
        state: GrantState::Active,
        by: ChangedBy::Holder(person("bob@example.com")),
        reason: "agreed".into(),
        approvals: (1, 1),
        not_after: Some(NINE_THIRTY),
    };
    let issuer = "https://login.example.com";
    check(
        What::Access(Box::new(event)),
        json!({
            "type": "access", "grant": "g-7k3f9q2d", "change": "approved", "state": "active",
            "holder": {"kind": "agent", "id": "helper", "issuer": issuer,
                "acting_for": [{"kind": "person", "id": "alice@example.com", "issuer": issuer}]},
            "database_entry": "shop", "actions": ["Delete"], "relations": ["public.orders"],
            "purpose": "cleaning", "ticket": "INC-1", "duration_us": 3_600_000_000_u64, "rule": "grants-ask",
            "by": "holder", "by_holder": {"kind": "person", "id": "bob@example.com", "issuer": issuer},
            "reason": "agreed", "approvals": 1, "approvals_needed": 1, "not_after": "2026-11-22T09:30:00.000000Z",
        }),
    );
}

#[test]
fn the_rarer_records() {
    let session = session_id(4242);
    check(
        What::CancelRequested { session, pid: 99, target: Some(session_id(7)) },
        json!({"type": "cancel", "session": ID, "pid": 99, "target": "01234567-feedbeef-7"}),
    );
    check(
        What::CancelRequested { session, pid: 99, target: None },
        json!({"type": "cancel", "session": ID, "pid": 99}),
    );
    let (severity, sqlstate, message) = ("FATAL".to_owned(), "28P01".to_owned(), "no".to_owned());
    check(
        What::Refused { session, by: "server", logged_in: false, severity, sqlstate, message },
        json!({"type": "refused", "session": ID, "by": "server", "severity": "FATAL", "sqlstate": "28P01", "message": "no"}),
    );
    let (severity, sqlstate, message) = ("FATAL".to_owned(), "57P05".to_owned(), "idle".to_owned());
    check(
        What::Refused { session, by: "proxy", logged_in: true, severity, sqlstate, message },
        json!({"type": "refused", "session": ID, "by": "proxy", "logged_in": true, "severity": "FATAL", "sqlstate": "57P05",
            "message": "idle"}),
    );
    check(
        What::SessionGap { session, side: "server", bytes: Some(10), reason: "lost" },
        json!({"type": "session.gap", "session": ID, "side": "server", "gap_bytes": 10, "reason": "lost"}),
    );
    check(
        What::ProcessChanged { session, change: "exec", process: Some(Arc::new(process())), pid: 1234 },
        json!({"type": "process", "session": ID, "change": "exec", "pid": 1234, "process": process_json()}),
    );
    check(
        What::ProcessChanged { session, change: "exit", process: None, pid: 1234 },
        json!({"type": "process", "session": ID, "change": "exit", "pid": 1234}),
    );
    check(
        What::Lost { kind: "content", stage: "kernel", count: 3 },
        json!({"type": "loss", "kind": "content", "stage": "kernel", "count": 3}),
    );
    check(
        What::Proxy { event: "worker_ended", database_name: None, worker: Some(1), detail: Some("signal: 9".into()) },
        json!({"type": "proxy", "event": "worker_ended", "worker": 1, "detail": "signal: 9"}),
    );
    let role = MintedRole { name: "warder_s_0".into(), group: "warder_read".into() };
    let credential = Credential {
        session: Some(session_id(4242)),
        until: Some(NINE_THIRTY),
        end: Some(AccessEnd::Revoked),
        confirmation: Some(Confirmation::Kernel),
        latency: Some(2_500_000),
        detail: Some("why".into()),
        ..Credential::new(CredentialStep::Ended, Some(role), "main".into())
    };
    check(
        What::Credential(Box::new(credential)),
        json!({
            "type": "credential", "step": "ended", "role": "warder_s_0", "group": "warder_read", "database_entry": "main",
            "session": ID, "until": "2026-11-22T09:30:00.000000Z", "end": "revoked", "confirmation": "kernel",
            "latency_us": 2500, "detail": "why",
        }),
    );
    check(What::OperatorCommand { verb: "scan".into(), uid: 0 }, json!({"type": "operator", "verb": "scan", "uid": 0}));
}

fn mediated() -> Session {
    let mediation = Mediation {
        accepted: SocketCookie(41),
        listener: Some(Listener::Steered),
        upstream: Some(SocketCookie(43)),
        hop: Some(Transport::Tcp {
            client: "127.0.0.1:40000".parse().unwrap(),
            server: "127.0.0.1:5432".parse().unwrap(),
            network_namespace: 9,
        }),
        hop_encryption: Encryption::Plaintext,
        relayed: true,
        counts: RelayCounts {
            from_client: 1,
            to_client: 2,
            to_upstream: 3,
            from_upstream: 4,
            messages_to_upstream: 5,
            messages_to_client: 6,
            masked_cells: 10,
        },
        front_received: 7,
        front_sent: 8,
        undelivered: 9,
        refused: Some("pg_hba"),
        ended_by: Some("client"),
    };
    let mut session = Session { mediation: Some(Box::new(mediation)), class: Some(Class::Mediated), ..session(4242) };
    (session.ledger.messages_received, session.ledger.messages_sent) = (11, 12);
    session
}

#[test]
fn the_proxys_part_of_a_session() {
    let mediation = json!({
        "accepted": 41, "listener": "steered", "upstream": 43, "hop": "127.0.0.1:40000", "hop_encryption": "plaintext",
        "relayed": true, "from_client_bytes": 1, "to_client_bytes": 2, "to_server_bytes": 3, "from_server_bytes": 4,
        "messages_to_server": 5, "messages_to_client": 6, "masked_cells": 10, "front_received_bytes": 7,
        "front_sent_bytes": 8, "kernel_messages_to_server": 11, "kernel_messages_from_server": 12,
        "undelivered_bytes": 9, "refused": "pg_hba", "ended_by": "client",
    });
    check(
        What::SessionOpened(Arc::new(mediated())),
        with(session_json(), json!({"type": "session.open", "class": "mediated", "mediation": mediation})),
    );
    let mut bare = mediated();
    bare.mediation = Some(Box::new(Mediation::of(SocketCookie(41))));
    (bare.ledger.messages_received, bare.ledger.messages_sent) = (0, 0);
    let mediation = json!({
        "accepted": 41, "from_client_bytes": 0, "to_client_bytes": 0, "to_server_bytes": 0, "from_server_bytes": 0,
        "messages_to_server": 0, "messages_to_client": 0, "front_received_bytes": 0, "front_sent_bytes": 0,
    });
    check(
        What::SessionOpened(Arc::new(bare)),
        with(session_json(), json!({"type": "session.open", "class": "mediated", "mediation": mediation})),
    );
}

#[test]
fn what_the_two_witnesses_tell_of_each_other() {
    let reason = BypassReason::UnixSocket;
    let session = Arc::new(Session { class: Some(Class::Bypass(reason)), ..session(4242) });
    let bypass = json!({"type": "bypass", "class": "bypass", "class_detail": "unix_socket", "reason": "unix_socket"});
    check(What::Bypass { session, reason }, with(session_json(), bypass));
    check(
        What::BypassRefused {
            database_name: "main".into(),
            server: "127.0.0.1:5432".parse().unwrap(),
            client: Arc::new(process()),
        },
        json!({
            "type": "bypass.refused", "database_entry": "main", "server_address": "127.0.0.1:5432",
            "client": process_json(),
        }),
    );
    let session = session_id(4242);
    check(
        What::IntegrityAlert { session, figure: "bytes_to_server", proxy: 90, kernel: 100, when: "quiet" },
        json!({"type": "integrity", "session": ID, "figure": "bytes_to_server", "proxy": 90, "kernel": 100, "when": "quiet"}),
    );
    let count = |sessions, open, bytes| ClassCount { sessions, open, bytes };
    let coverage = Coverage {
        database: DatabaseId(0),
        database_name: "main".into(),
        from: WallTime(0),
        to: NINE_THIRTY,
        classes: vec![(Class::Mediated, count(3, 2, 1000)), (Class::AllowedDirect("standby".into()), count(1, 1, 10))],
        lost_events: 7,
    };
    check(
        What::Coverage(Arc::new(coverage)),
        json!({
            "type": "coverage", "database_entry": "main", "from": "1970-01-01T00:00:00.000000Z",
            "to": "2026-11-22T09:30:00.000000Z", "observed": {"sessions": 4, "open": 3, "bytes": 1010},
            "classes": [{"class": "mediated", "sessions": 3, "open": 2, "bytes": 1000},
                {"class": "allowed_direct", "detail": "standby", "sessions": 1, "open": 1, "bytes": 10}],
            "lost_events": 7,
        }),
    );
}
