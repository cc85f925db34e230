//! Questions for tests: whole ones, with one thing changed.

#![allow(dead_code, reason = "each test program uses a part of it")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot be set up has failed")]

use std::sync::Arc;

use model::Known;
use model::facts::{Action, Columns, Condition, Effect, Name, Object, StatementFacts, UnknownSchema};
use model::principal::{Actor, Principal, PrincipalKind, Proof, UnknownPrincipal};
use model::time::WallTime;
use model::verdict::{Mode, PolicyEpoch};
use policy::{Asked, Decision, PolicyFile, PolicySet, ProcessContext, Question, SessionContext, Transport, UtcOffset};

/// A Thursday, 12:34:56 UTC.
pub(crate) const NOON: WallTime = WallTime(1_709_210_096_000_000_000);

pub(crate) type Who = Known<Principal, UnknownPrincipal>;

pub(crate) fn set(text: &str) -> PolicySet {
    let file = PolicyFile { name: "test.cedar".to_owned(), text: text.to_owned() };
    PolicySet::compile(&[file], PolicyEpoch(7))
        .unwrap_or_else(|problems| panic!("{}", problems.iter().map(|p| format!("{p}\n")).collect::<String>()))
}

pub(crate) fn actor(kind: PrincipalKind, id: &str) -> Actor {
    Actor { kind, id: id.into(), issuer: "https://login.example.com".into() }
}

pub(crate) fn who(kind: PrincipalKind, id: &str, groups: &[&str]) -> Principal {
    Principal {
        actor: actor(kind, id),
        groups: groups.iter().map(|group| Arc::from(*group)).collect(),
        acting_for: Vec::new(),
        proof: Proof::Token,
        expires: None,
        purpose: None,
    }
}

pub(crate) fn alice() -> Who {
    Known::Known(who(PrincipalKind::Person, "alice@example.com", &["analysts"]))
}

pub(crate) fn session() -> SessionContext {
    SessionContext {
        database_name: "shop".into(),
        environment: "production".into(),
        mode: Mode::Enforce,
        database: "orders".into(),
        user: "app".into(),
        application: "psql".into(),
        transport: Transport::Tcp,
        encrypted: true,
        client_address: Some("10.1.2.3".parse().unwrap()),
        process: None,
        in_transaction: false,
        utc_offset: UtcOffset::default(),
    }
}

pub(crate) fn process() -> ProcessContext {
    ProcessContext {
        exe: "/usr/bin/psql".into(),
        exe_sha256: Some([0xab; 32]),
        uid: 1000,
        login_uid: Some(1000),
        cgroup: Some("/user.slice".into()),
        unit: None,
        ancestors: vec!["/usr/bin/bash".into(), "/usr/sbin/sshd".into()],
        tty: true,
    }
}

pub(crate) fn name(text: &str) -> Name {
    match text.split_once('.') {
        Some((schema, name)) => Name { schema: Known::Known(schema.into()), name: name.into() },
        None => Name { schema: Known::Unknown(UnknownSchema::NoCatalogue), name: text.into() },
    }
}

pub(crate) fn effect(action: Action, relation: &str) -> Effect {
    let condition = match action {
        Action::Select | Action::Update | Action::Delete => Condition::Some,
        _ => Condition::NotApplicable,
    };
    Effect { action, object: Object::Relation(name(relation)), columns: Columns::None, condition }
}

pub(crate) fn statement(command: &str, effects: impl IntoIterator<Item = Effect>) -> StatementFacts {
    StatementFacts { command: command.into(), effects: effects.into_iter().collect(), ..StatementFacts::default() }
}

pub(crate) fn select(relation: &str) -> StatementFacts {
    statement("SELECT", [effect(Action::Select, relation)])
}

pub(crate) fn ask(set: &PolicySet, who: &Who, facts: &StatementFacts) -> Decision {
    set.decide(&Question {
        principal: who,
        facts: Asked::Statement(facts),
        session: &session(),
        grants: &[],
        now: NOON,
    })
}

/// The policies that allow it, joined with a comma, or `-` and the rule that does not.
pub(crate) fn outcome(decision: &Decision) -> String {
    let verdict = decision.verdict();
    match &verdict.denial {
        Some(denial) => format!("-{}", denial.rule),
        None => verdict.allowed_by.join(","),
    }
}
