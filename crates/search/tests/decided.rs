//! Who acts and what was decided, in a journal that the agent's own writer made.
#![allow(clippy::unwrap_used, clippy::allow_attributes, reason = "helpers of tests")]

use std::path::Path;
use std::sync::Arc;

use model::Known;
use model::facts::{Action, Columns, Effect, Facts, Name, Object, OpaqueReason, StatementFacts};
use model::id::{BootId, DatabaseId, HostId, SessionId, SocketCookie};
use model::principal::{Actor, Principal, PrincipalKind, Proof, UnknownPrincipal};
use model::process::UnknownProcess;
use model::record::{Record, What};
use model::request::Request;
use model::session::{Encryption, Ledger, Login, Origin, Session, Transport};
use model::statement::{StatementKind, Text};
use model::time::{BootTime, WallTime};
use model::verdict::{Denial, Judgement, Masked, Mode, Obligations, PolicyEpoch, Verdict};
use search::aspect::Aspect;
use search::filter::{Condition, Filter, FilterError, Key};
use search::index::indexer::Indexer;
use search::query::{Bounds, Order, Query, SearchError};
use search::source::Journal;
use store::keys::KeyFiles;
use store::line::Machine;
use store::writer::{Limits, Writer};

/// 2026-11-22T09:30:00Z
const NOW: WallTime = WallTime(1_795_339_800_000_000_000);
const HOUR: u64 = 3_600_000_000_000;
const MACHINE: Machine = Machine { host: HostId(1 << 96), boot: BootId(2 << 96) };

/// A journal in a folder of its own.
struct Home {
    root: tempfile::TempDir,
    writer: Writer,
}

impl Home {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let keys = KeyFiles::load_or_create(&root.path().join("key")).unwrap();
        let (writer, _) = Writer::open(&root.path().join("journal"), MACHINE, Limits::default(), keys, NOW).unwrap();
        Self { root, writer }
    }

    fn append(&mut self, time: WallTime, what: What) {
        self.writer.append(&Record { time, what }).unwrap();
        self.writer.settle(NOW).unwrap();
    }

    /// Texts of the requests, and types of the other records, that fit.
    fn find(&self, filter: &str) -> Result<Vec<String>, SearchError> {
        let (directory, index) = (self.root.path().join("journal"), self.root.path().join("index"));
        let query = Query::new(filter.as_bytes(), NOW, Order::OldestFirst).unwrap();
        let bounds = Bounds { hits_max: usize::MAX, blocks_max: usize::MAX };
        let search = |index: &Path| query.search(&mut Journal::new(&directory), index, bounds);
        let shown = |line: &[u8]| {
            let record: serde_json::Value = serde_json::from_slice(line).unwrap();
            record["text"].as_str().or(record["type"].as_str()).unwrap().to_owned()
        };
        let found = search(&index)?.hits.iter().map(|hit| shown(&hit.line)).collect::<Vec<_>>();
        // The index only narrows.
        let without =
            search(&self.root.path().join("none"))?.hits.iter().map(|hit| shown(&hit.line)).collect::<Vec<_>>();
        assert_eq!(found, without, "{filter}");
        Ok(found)
    }

    #[track_caller]
    fn check(&self, filter: &str, expected: &[&str]) {
        assert_eq!(self.find(filter).unwrap(), expected, "{filter}");
    }

    fn index(&self) {
        let journal = Journal::new(&self.root.path().join("journal"));
        Indexer::open(&self.root.path().join("index"), journal).unwrap().step().unwrap();
    }
}

fn session(cookie: u64) -> SessionId {
    SessionId { host: MACHINE.host, boot: MACHINE.boot, cookie: SocketCookie(cookie) }
}

fn opened(cookie: u64, principal: Known<Arc<Principal>, UnknownPrincipal>) -> What {
    What::SessionOpened(Arc::new(Session {
        id: session(cookie),
        database: DatabaseId(0),
        database_name: "main".into(),
        transport: Transport::Unix { path: String::new() },
        origin: Origin::Opened,
        opened: BootTime(0),
        client_cookie: None,
        client: Known::Unknown(UnknownProcess::Gone),
        principal,
        peer_credentials: None,
        server: Known::Unknown(UnknownProcess::NotSeen),
        encryption: Encryption::Plaintext,
        login: Login::default(),
        ledger: Ledger::default(),
        statements: 0,
        errors: 0,
        gaps: 0,
        mediation: None,
        class: None,
    }))
}

fn principal(
    id: &str,
    kind: PrincipalKind,
    acting_for: &[(&str, PrincipalKind)],
) -> Known<Arc<Principal>, UnknownPrincipal> {
    let actor = |id: &str, kind| Actor { kind, id: id.into(), issuer: "https://id.example.com".into() };
    Known::Known(Arc::new(Principal {
        actor: actor(id, kind),
        groups: Arc::new([]),
        acting_for: acting_for.iter().map(|(id, kind)| actor(id, *kind)).collect(),
        proof: Proof::Token,
        expires: None,
        purpose: None,
    }))
}

fn request(cookie: u64, text: &str, judgement: Option<Judgement>) -> What {
    let request = Request {
        kind: StatementKind::Simple,
        text: Text::Whole(text.into()),
        doubtful: false,
        prepared: None,
        portal: None,
        parameters: None,
        row_limit: 0,
        at: BootTime(0),
        redacted: false,
        judgement: judgement.map(Arc::new),
    };
    What::Requested { session: session(cookie), request: Box::new(request) }
}

fn judgement(action: Action, relation: &str, opaque: &[OpaqueReason], denied: Option<(Mode, &str)>) -> Judgement {
    let effect = Effect {
        action,
        object: Object::Relation(Name { schema: Known::Known("public".into()), name: relation.into() }),
        columns: Columns::None,
        condition: model::facts::Condition::NotApplicable,
    };
    let facts = StatementFacts { effects: vec![effect], opaque: opaque.to_vec(), ..StatementFacts::default() };
    let denial = denied.map(|(_, rule)| Denial {
        rule: rule.into(),
        what: "it".into(),
        reason: "because".into(),
        remedy: "ask".into(),
        sqlstate: "42501",
    });
    let verdict = Verdict {
        epoch: PolicyEpoch(1),
        mode: denied.map_or(Mode::Enforce, |(mode, _)| mode),
        allowed_by: if denial.is_some() { Arc::new([]) } else { Arc::new(["readers".into(), "owners".into()]) },
        denial,
        hold: None,
        obligations: Obligations::default(),
        masked: Arc::new([Masked { rule: format!("hides-{relation}").into(), column: "public.t.c".into() }]),
    };
    Judgement { verdict, facts: Arc::new(Facts { statements: vec![facts], opaque: None }) }
}

#[test]
fn who_acts_and_what_was_decided_is_found() {
    let mut home = Home::new();
    let robot = principal("nightly-report", PrincipalKind::Agent, &[("alice@example.com", PrincipalKind::Person)]);
    let nested =
        principal("tool", PrincipalKind::Service, &[("robot", PrincipalKind::Agent), ("bob", PrincipalKind::Person)]);
    home.append(NOW, opened(1, robot));
    home.append(NOW, opened(2, nested));
    home.append(NOW, opened(3, Known::Unknown(UnknownPrincipal::NoProof)));
    home.append(NOW, request(1, "read", Some(judgement(Action::Select, "customers", &[], None))));
    home.append(
        NOW,
        request(1, "drop", Some(judgement(Action::Drop, "customers", &[], Some((Mode::Enforce, "no-drop"))))),
    );
    let code = judgement(Action::Code, "other", &[OpaqueReason::Code], Some((Mode::Warn, "no-code")));
    home.append(NOW, request(2, "do", Some(code)));
    home.append(NOW, request(3, "nobody looked", None));
    for pass in 0..2 {
        home.check("who:nightly-report type:request", &["read", "drop"]);
        home.check("agent:nightly-report,robot type:request", &["read", "drop", "do"]);
        home.check("agent:tool", &[]);
        home.check("for:alice@example.com verdict:refused", &["drop"]);
        home.check("for:robot type:request", &["do"]);
        home.check("verdict:allowed", &["read"]);
        home.check("verdict:would_refuse,refused", &["drop", "do"]);
        home.check("rule:no-drop", &["drop"]);
        home.check("rule:owners", &["read"]);
        home.check("rule:hides-other", &["do"]);
        home.check("action:drop,code", &["drop", "do"]);
        home.check("action:read", &["read"]);
        home.check("action:ddl,write", &["drop"]);
        home.check("type:request verdict:allowed,refused,would_refuse -action:read,ddl", &["do"]);
        home.check("relation:customers", &["read", "drop"]);
        home.check("relation:public.customers -action:select", &["drop"]);
        home.check("relation:private.customers", &[]);
        home.check("opaque:code", &["do"]);
        home.check("-verdict:allowed,refused,would_refuse type:request", &["nobody looked"]);
        if pass == 0 {
            home.index();
        }
    }
}

#[test]
fn what_is_not_recorded_is_no_empty_result() {
    let mut home = Home::new();
    let before = WallTime(NOW.0 - 2 * HOUR);
    home.append(before, opened(1, Known::Unknown(UnknownPrincipal::NotAsked)));
    home.append(before, request(1, "before", None));
    let not_recorded = |home: &Home, filter: &str| match home.find(filter) {
        Err(SearchError::NotRecorded { key }) => key.to_string(),
        other => panic!("{filter}: {other:?}"),
    };
    for key in ["who", "agent", "for", "rule", "relation"] {
        assert_eq!(not_recorded(&home, &format!("{key}:anything")), key);
    }
    for (key, value) in [("verdict", "refused"), ("action", "drop"), ("opaque", "syntax")] {
        assert_eq!(not_recorded(&home, &format!("type:request {key}:{value}")), key);
    }
    // What is not asked for cannot be missing.
    home.check("-verdict:allowed type:request", &["before"]);
    home.append(NOW, opened(2, principal("alice", PrincipalKind::Person, &[])));
    home.append(NOW, request(2, "now", Some(judgement(Action::Select, "customers", &[], None))));
    home.check("verdict:refused", &[]);
    home.check("who:bob", &[]);
    home.check("who:alice relation:customers", &["now"]);
    let told = SearchError::NotRecorded { key: Key::Aspect(Aspect::Rule) }.to_string();
    assert!(told.contains("\"rule\"") && told.contains("not recorded before facts are enabled"), "{told}");
}

#[test]
fn groups_of_actions_are_those_of_policies() {
    let schema = include_str!("../../../policies/schema.cedarschema");
    for (word, group) in [("read", "[Read]"), ("write", "[Write]"), ("ddl", "[Ddl]")] {
        let line = schema.lines().find(|line| line.starts_with("action ") && line.contains(group)).unwrap();
        let (names, _) = line["action ".len()..].split_once(" in ").unwrap();
        let actions = names.split(", ").map(|name| {
            let is_named = |action: &&Action| action.word().replace('_', "") == name.to_ascii_lowercase();
            Action::ALL.iter().find(is_named).unwrap().word().to_owned()
        });
        let filter = Filter::parse(format!("action:{word}").as_bytes(), NOW).unwrap();
        assert_eq!(filter.terms[0].condition, Condition::Aspect(Aspect::Action, actions.collect()), "{word}");
    }
}

#[test]
fn who_changed_the_customers_is_one_question() {
    let mut home = Home::new();
    home.append(NOW, opened(1, principal("alice", PrincipalKind::Person, &[])));
    home.append(NOW, opened(2, principal("bob", PrincipalKind::Person, &[])));
    let before = WallTime(NOW.0 - 25 * HOUR);
    let judged = |action, relation| Some(judgement(action, relation, &[], None));
    home.append(before, request(1, "yesterday", judged(Action::Delete, "customers")));
    home.append(NOW, request(1, "changes", judged(Action::Update, "customers")));
    home.append(NOW, request(1, "reads", judged(Action::Select, "customers")));
    home.append(NOW, request(1, "changes others", judged(Action::Insert, "orders")));
    home.append(NOW, request(2, "somebody else", judged(Action::Insert, "customers")));
    home.check("who:alice relation:customers action:write since:24h", &["changes"]);
}

#[test]
fn words_that_do_not_exist_are_mistakes() {
    for (typed, part) in [
        ("verdict:refuse", "did you mean refused?"),
        ("action:dorp", "did you mean drop?"),
        ("action:wirte", "did you mean write?"),
        ("verdict:write", "it is one of: allowed, refused, would_refuse"),
        ("opaque:sintax", "did you mean syntax?"),
    ] {
        let error = Query::new(typed.as_bytes(), NOW, Order::OldestFirst).unwrap_err();
        assert!(matches!(error, FilterError::BadValue { .. }) && error.to_string().contains(part), "{error}");
    }
}
