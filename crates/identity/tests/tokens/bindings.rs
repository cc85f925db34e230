//! Whose a process tree is, and for how long.

use identity::bindings::{BINDINGS_MAX, BINDINGS_PER_USER_MAX, BindError, Binding, Bindings, Purpose, Tree};
use identity::verified::VerifiedPrincipal;
use model::principal::Proof;
use model::time::WallTime;
use serde_json::json;

use crate::scene::{NOW, Scene, seconds};

const TREE: Tree = Tree(7);
const USER: u32 = 1001;
const START: WallTime = seconds(NOW);
/// `exp` of the tokens here, and the skew.
const END: WallTime = seconds(NOW + 100 + 60);

fn principal(sub: &str) -> VerifiedPrincipal {
    Scene::new().changed(&json!({ "sub": sub, "exp": NOW + 100 })).unwrap()
}

fn bind(bindings: &mut Bindings, tree: Tree, uid: u32, sub: &str) -> Result<(), BindError> {
    let purpose = Purpose::parse("monthly report").ok();
    bindings.bind(tree, uid, principal(sub), purpose, START).map(drop)
}

fn who(bindings: &Bindings, tree: Tree, now: WallTime) -> String {
    match bindings.lookup(tree, now) {
        Binding::Bound(principal) => principal.principal().actor.id.to_string(),
        Binding::Expired => "expired".into(),
        Binding::None => "none".into(),
    }
}

#[test]
fn a_tree_has_its_principal_and_others_have_none() {
    let mut bindings = Bindings::default();
    assert_eq!(who(&bindings, TREE, START), "none");
    bind(&mut bindings, TREE, USER, "alice").unwrap();
    bind(&mut bindings, Tree(9), USER, "bob").unwrap();
    let found = [TREE, Tree(8), Tree(9)].map(|tree| who(&bindings, tree, START));
    assert_eq!(found, ["alice", "none", "bob"]);
    let Binding::Bound(found) = bindings.lookup(TREE, START) else { panic!("bound") };
    let found = found.principal();
    assert_eq!(
        (found.proof, found.purpose.as_deref(), found.expires),
        (Proof::BoundProcess, Some("monthly report"), Some(END))
    );
}

#[test]
fn nobody_takes_a_tree_over() {
    let mut bindings = Bindings::default();
    bind(&mut bindings, TREE, USER, "alice").unwrap();
    assert_eq!(bind(&mut bindings, TREE, USER, "mallory"), Err(BindError::Bound));
    assert_eq!(who(&bindings, TREE, START), "alice");
}

#[test]
fn it_ends_with_its_token_and_is_gone_with_its_tree() {
    let mut bindings = Bindings::default();
    bind(&mut bindings, TREE, USER, "alice").unwrap();
    assert_eq!(who(&bindings, TREE, WallTime(END.0 - 1)), "alice");
    assert_eq!(who(&bindings, TREE, END), "expired");
    bindings.ended(TREE);
    assert_eq!((who(&bindings, TREE, START), bindings.is_empty()), ("none".into(), true));
    let late = bindings.bind(TREE, USER, principal("alice"), None, END);
    assert_eq!(late, Err(BindError::Expired));
}

#[test]
fn a_purpose_is_one_line() {
    assert!(Purpose::parse("INC-4711: look at the orders").is_ok());
    for text in ["", "a\nb", " a", &"x".repeat(257)] {
        assert_eq!(Purpose::parse(text), Err(BindError::Purpose), "{text:?}");
    }
}

#[test]
fn a_user_and_all_users_have_a_bound_and_what_expired_makes_room() {
    let mut bindings = Bindings::default();
    let (alice, late) = (principal("alice"), Scene::new().changed(&json!({ "exp": NOW + 200 })).unwrap());
    let per_user = BINDINGS_PER_USER_MAX as u64;
    for number in 0..BINDINGS_MAX as u64 {
        let uid = u32::try_from(number / per_user).unwrap();
        bindings.bind(Tree(number), uid, alice.clone(), None, START).unwrap();
        if number + 1 == per_user {
            assert_eq!(bind(&mut bindings, Tree(u64::MAX), 0, "a"), Err(BindError::UserFull));
        }
    }
    assert_eq!(bind(&mut bindings, Tree(u64::MAX), u32::MAX, "a"), Err(BindError::Full));
    assert!(bindings.bind(Tree(u64::MAX), u32::MAX, late, None, END).is_ok());
    assert_eq!(bindings.len(), 1);
}
