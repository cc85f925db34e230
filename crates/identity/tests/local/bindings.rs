//! Whose a process tree is, and for how long.

use identity::bindings::{BINDINGS_MAX, BindError, Binding, Bindings, Key};
use identity::config::ProcessConfig;
use identity::process_rules::ProcessRules;
use identity::verified::VerifiedPrincipal;
use model::principal::Proof;
use model::process::{Process, ProcessKey};
use model::time::{BootTime, WallTime};

use crate::workload::{attested, key, process};

const NOW: WallTime = WallTime(1000);
const LATER: WallTime = WallTime(2000);

/// Some principal; how it was proved does not matter here.
fn principal(id: &str) -> VerifiedPrincipal {
    let config = ProcessConfig { id: id.into(), uid: Some(1001), ..ProcessConfig::default() };
    ProcessRules::new(&[config]).unwrap().find(&attested(&process())).unwrap().clone()
}

fn bind(bindings: &mut Bindings, key: Key, id: &str) -> Result<(), BindError> {
    bindings.bind(key, principal(id), Some("monthly report"), LATER, NOW)
}

fn who(bindings: &Bindings, process: &Process, now: WallTime) -> String {
    match bindings.lookup(process, now) {
        Binding::Bound(principal) => principal.principal().actor.id.to_string(),
        Binding::Expired => "expired".into(),
        Binding::None => "none".into(),
    }
}

#[test]
fn children_inherit_and_the_nearest_counts() {
    let mut bindings = Bindings::default();
    let process = process();
    assert_eq!(who(&bindings, &process, NOW), "none");
    bind(&mut bindings, Key::Root(key(100)), "grandparent").unwrap();
    assert_eq!(who(&bindings, &process, NOW), "grandparent");
    bind(&mut bindings, Key::Root(key(200)), "parent").unwrap();
    assert_eq!(who(&bindings, &process, NOW), "parent");
    bind(&mut bindings, Key::Root(key(300)), "self").unwrap();
    assert_eq!(who(&bindings, &process, NOW), "self");
    let Binding::Bound(found) = bindings.lookup(&process, NOW) else { panic!("bound") };
    let found = found.principal();
    assert_eq!(
        (found.proof, found.purpose.as_deref(), found.expires),
        (Proof::BoundProcess, Some("monthly report"), Some(LATER))
    );
}

#[test]
fn others_cannot_claim_it() {
    let mut bindings = Bindings::default();
    bind(&mut bindings, Key::Root(key(200)), "parent").unwrap();
    let orphan = Process { ancestors: [].into(), ..process() };
    assert_eq!(who(&bindings, &orphan, NOW), "none");
    // The pid again, another process.
    let reused = ProcessKey { start: BootTime(1), ..key(200) };
    assert_eq!(who(&bindings, &Process { key: reused, ..orphan }, NOW), "none");
    assert_eq!(bind(&mut bindings, Key::Root(key(200)), "other"), Err(BindError::Bound));
}

#[test]
fn it_ends_with_its_root_or_its_time() {
    let mut bindings = Bindings::default();
    bind(&mut bindings, Key::Root(key(200)), "parent").unwrap();
    let process = process();
    assert_eq!(who(&bindings, &process, WallTime(1999)), "parent");
    assert_eq!(who(&bindings, &process, LATER), "expired");
    bindings.ended(Key::Root(key(200)));
    assert_eq!((who(&bindings, &process, NOW), bindings.is_empty()), ("none".into(), true));
    assert_eq!(bindings.bind(Key::Mark(1), principal("a"), None, NOW, NOW), Err(BindError::Expired));
}

#[test]
fn an_expired_inner_tree_is_not_the_outer_one() {
    let mut bindings = Bindings::default();
    bindings.bind(Key::Root(key(100)), principal("outer"), None, WallTime(9000), NOW).unwrap();
    bind(&mut bindings, Key::Root(key(200)), "inner").unwrap();
    assert_eq!(who(&bindings, &process(), LATER), "expired");
}

#[test]
fn a_mark_of_the_kernel_can_stand_for_a_tree() {
    let mut bindings = Bindings::default();
    bind(&mut bindings, Key::Mark(7), "marked").unwrap();
    assert!(matches!(bindings.lookup_mark(7, NOW), Binding::Bound(_)));
    assert_eq!(bindings.lookup_mark(7, LATER), Binding::Expired);
    assert_eq!(bindings.lookup_mark(8, NOW), Binding::None);
    assert_eq!(who(&bindings, &process(), NOW), "none");
}

#[test]
fn a_purpose_is_one_line() {
    for purpose in ["", "a\nb", " a", &"x".repeat(257)] {
        let bound = Bindings::default().bind(Key::Mark(1), principal("a"), Some(purpose), LATER, NOW);
        assert_eq!(bound, Err(BindError::Purpose), "{purpose:?}");
    }
}

#[test]
fn the_table_is_bounded_and_makes_room_of_what_expired() {
    let mut bindings = Bindings::default();
    for mark in 0..BINDINGS_MAX as u64 {
        bind(&mut bindings, Key::Mark(mark), "a").unwrap();
    }
    assert_eq!(bind(&mut bindings, Key::Mark(u64::MAX), "a"), Err(BindError::Full));
    assert_eq!(bindings.bind(Key::Mark(u64::MAX), principal("a"), None, WallTime(3000), LATER), Ok(()));
    assert_eq!(bindings.len(), 1);
}
