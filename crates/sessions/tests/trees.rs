//! Sessions of processes in a tree with a token: they are somebody's, also where the proxy does not see them.

mod common;

use std::sync::Arc;

use common::{closed, opened, run, subject, whole};
use model::Known;
use model::principal::{Actor, Principal, PrincipalKind, Proof, UnknownPrincipal};
use model::record::{Record, What};
use model::time::WallTime;
use sessions::{Limits, Sessions};

/// Control group of the clients here.
const GROUP: u64 = 1;

fn alice(expires: WallTime) -> Arc<Principal> {
    let (id, issuer) = ("alice@example.com".into(), "https://id.example.com".into());
    Arc::new(Principal {
        actor: Actor { kind: PrincipalKind::Person, id, issuer },
        groups: Arc::new([]),
        acting_for: Vec::new(),
        proof: Proof::BoundProcess,
        expires: Some(expires),
        purpose: Some("INC-1".into()),
    })
}

fn with_tree(group: u64, expires: u64) -> Sessions {
    let mut sessions = subject(Limits::default());
    sessions.set_tree(group, alice(WallTime(expires * 1_000_000)));
    sessions
}

fn who(records: &[Record]) -> Known<Arc<Principal>, UnknownPrincipal> {
    let opened = records.iter().find_map(|record| match &record.what {
        What::SessionOpened(session) => Some(session.principal.clone()),
        _ => None,
    });
    opened.expect("an opened session")
}

#[test]
fn a_session_around_the_proxy_is_the_trees() {
    let records = run(&mut with_tree(GROUP, 1000), whole(5, 10, 100, 200));
    assert_eq!(who(&records), Known::Known(alice(WallTime(1_000_000_000))));
}

#[test]
fn one_that_is_not_in_the_tree_is_not() {
    let records = run(&mut with_tree(GROUP + 1, 1000), whole(5, 10, 100, 200));
    assert_eq!(who(&records), Known::Unknown(UnknownPrincipal::NotAsked));
}

#[test]
fn a_tree_that_is_forgotten_is_nobodys() {
    let mut sessions = with_tree(GROUP, 1000);
    sessions.forget_tree(GROUP);
    assert_eq!(who(&run(&mut sessions, whole(5, 10, 100, 200))), Known::Unknown(UnknownPrincipal::NotAsked));
}

#[test]
fn an_expired_token_is_nobodys_and_no_longer_said_of_new_sessions() {
    let mut sessions = with_tree(GROUP, 50);
    let before = run(&mut sessions, whole(5, 49, 100, 200));
    let after = run(&mut sessions, whole(6, 50, 101, 201));
    assert!(who(&before).known().is_some());
    assert_eq!(who(&after), Known::Unknown(UnknownPrincipal::Expired));
}

#[test]
fn a_session_without_a_known_process_is_nobodys() {
    let records = run(&mut with_tree(GROUP, 1000), [opened(5, 10), closed(5, 20, 0)]);
    assert_eq!(who(&records), Known::Unknown(UnknownPrincipal::NotAsked));
}
