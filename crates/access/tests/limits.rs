//! Nobody takes the places of others: how many requests wait, of one holder, of one actor, of all.

mod common;

use access::{Desk, Limits, Moment, Refusal, Terms};
use common::ask;
use model::access::{ChangedBy, GrantId, Holder};
use model::id::BootId;
use model::principal::{Actor, PrincipalKind};
use model::time::{BootTime, WallTime};

const HOUR: u64 = 3_600_000_000_000;
const NOW: Moment = Moment { wall: WallTime(HOUR), boot: BootTime(HOUR), boot_id: BootId(1) };

fn actor(kind: PrincipalKind, id: &str) -> Actor {
    Actor { kind, id: id.into(), issuer: "https://issuer.example.com".into() }
}

fn helper_for(person: &str) -> Holder {
    let acting_for = vec![actor(PrincipalKind::Person, person)];
    Holder { actor: actor(PrincipalKind::Agent, "helper"), acting_for }
}

/// Asks so often; how many of the requests wait then.
fn flood(desk: &mut Desk, holder: &Holder, times: usize) -> usize {
    let waits = |desk: &mut Desk| {
        let terms = Terms {
            rule: "ask".into(),
            approvals: 1,
            duration_max: HOUR,
            decide_within: HOUR,
            escalate_after: None,
            review_within: None,
        };
        let id = GrantId::new(desk.cases().count() as u64 + 1);
        match desk.request(NOW, id, ask(holder.clone(), HOUR), terms) {
            Ok(proposal) => proposal.commit(|_, _| Ok::<(), ()>(())).is_ok(),
            Err(refusal) => {
                assert!(matches!(refusal, Refusal::TooManyWaiting(_)), "{refusal}");
                false
            }
        }
    };
    (0..times).filter(|_| waits(desk)).count()
}

#[test]
fn one_holder_has_its_own_places() {
    let mut desk = Desk::new(Limits::default());
    assert_eq!(flood(&mut desk, &helper_for("alice"), 100), Limits::default().waiting_of_one_max);
    assert_eq!(flood(&mut desk, &helper_for("bob"), 1), 1);
}

#[test]
fn an_agent_that_acts_for_many_leaves_places_to_others() {
    let mut desk = Desk::new(Limits::default());
    let waiting: usize = (0..100).map(|number| flood(&mut desk, &helper_for(&format!("person {number}")), 16)).sum();
    assert_eq!(waiting, Limits::default().waiting_of_actor_max);
    let alice = Holder { actor: actor(PrincipalKind::Person, "alice"), acting_for: Vec::new() };
    assert_eq!(flood(&mut desk, &alice, 1), 1);
}

/// Breaks the glass and gives back what it has got; whether it could.
fn breaks_the_glass(desk: &mut Desk, holder: &Holder) -> Result<GrantId, Refusal> {
    let id = GrantId::new(desk.cases().count() as u64 + 1);
    let terms = Terms {
        rule: "glass".into(),
        approvals: 0,
        duration_max: HOUR,
        decide_within: HOUR,
        escalate_after: None,
        review_within: Some(HOUR),
    };
    let asked = access::Ask { break_glass: true, ..ask(holder.clone(), HOUR) };
    let done = desk.request(NOW, id, asked, terms)?.commit(|_, _| Ok::<(), ()>(()));
    assert!(done.is_ok());
    let done = desk.revoke(NOW, id, ChangedBy::Holder(holder.clone()), "")?.commit(|_, _| Ok::<(), ()>(()));
    assert!(done.is_ok());
    Ok(id)
}

#[test]
fn who_breaks_glasses_that_nobody_looks_at_breaks_so_many() {
    let mut desk = Desk::new(Limits::default());
    let max = Limits::default().unreviewed_of_actor_max;
    for number in 0..max {
        assert!(breaks_the_glass(&mut desk, &helper_for(&format!("person {number}"))).is_ok());
    }
    let alice = helper_for("alice");
    assert_eq!(breaks_the_glass(&mut desk, &alice), Err(Refusal::TooManyUnreviewed(max)));
    assert_eq!(flood(&mut desk, &alice, 1), 1, "whoever asks others may go on");
    let bob = Holder { actor: actor(PrincipalKind::Person, "bob"), acting_for: Vec::new() };
    let first = breaks_the_glass(&mut desk, &bob).unwrap();
    let reviewed = desk.review(NOW, GrantId::new(1), bob, "").unwrap().commit(|_, _| Ok::<(), ()>(()));
    assert!(reviewed.is_ok() && first != GrantId::new(1));
    assert!(breaks_the_glass(&mut desk, &alice).is_ok(), "somebody has looked at one");
}
