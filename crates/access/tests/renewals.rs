//! What prolongs a grant, whatever has become of what is between them; what a request may be about.

mod common;

use access::{Desk, Limits, Moment, Refusal, Terms};
use common::ask;
use model::access::{ChangedBy, GrantId, Holder};
use model::id::BootId;
use model::principal::{Actor, PrincipalKind};
use model::time::{BootTime, WallTime};

const SECOND: u64 = 1_000_000_000;

const fn at(second: u64) -> Moment {
    Moment { wall: WallTime(second * SECOND), boot: BootTime(second * SECOND), boot_id: BootId(1) }
}

fn alice() -> Holder {
    let issuer = "https://issuer.example.com".into();
    Holder { actor: Actor { kind: PrincipalKind::Person, id: "alice".into(), issuer }, acting_for: Vec::new() }
}

/// Asks for so many seconds; whether it is granted.
fn request(desk: &mut Desk, now: Moment, (id, renews): (u64, Option<u64>), seconds: u64, approvals: u8) -> bool {
    let asked = access::Ask { renews: renews.map(GrantId::new), ..ask(alice(), seconds * SECOND) };
    let terms = Terms {
        rule: "ask".into(),
        approvals,
        duration_max: 3600 * SECOND,
        decide_within: 3600 * SECOND,
        escalate_after: None,
        review_within: None,
    };
    let proposal = desk.request(now, GrantId::new(id), asked, terms);
    proposal.is_ok_and(|proposal| proposal.commit(|_, _| Ok::<(), ()>(())).is_ok())
}

fn renewals(desk: &Desk, id: u64) -> Vec<GrantId> {
    desk.renewals(GrantId::new(id)).iter().map(|case| case.grant.id).collect()
}

#[test]
fn what_prolongs_a_grant_is_found_also_behind_what_is_over() {
    let mut desk = Desk::new(Limits::default());
    assert!(request(&mut desk, at(1), (1, None), 100, 0));
    assert!(request(&mut desk, at(1), (2, Some(1)), 5, 0));
    assert!(request(&mut desk, at(2), (3, Some(2)), 1000, 0));
    assert!(request(&mut desk, at(2), (4, Some(3)), 1000, 1), "nobody has decided about it");
    assert!(request(&mut desk, at(2), (5, None), 1000, 0), "another one");
    while let Some(proposal) = desk.next_due(at(10)) {
        assert!(proposal.commit(|_, _| Ok::<(), ()>(())).is_ok());
    }
    assert_eq!(renewals(&desk, 1), [3, 4].map(GrantId::new), "what was between them has expired");
    assert_eq!(renewals(&desk, 3), [GrantId::new(4)]);
    let by = ChangedBy::Operator { uid: 0 };
    let revoked = desk.revoke(at(10), GrantId::new(3), by, "").map(|proposal| proposal.commit(|_, _| Ok::<(), ()>(())));
    assert!(revoked.is_ok_and(|done| done.is_ok()));
    assert_eq!(renewals(&desk, 1), [GrantId::new(4)]);
    assert!(renewals(&desk, 5).is_empty());
}

#[test]
fn relations_are_lines_and_not_too_many() {
    let set = |count: usize, length: usize| (0..count).map(|number| format!("{number:0length$}").into()).collect();
    assert!(access::can_be_named(&set(1, 5)) && access::can_be_named(&set(64, 64)));
    assert!(
        !access::can_be_named(&set(0, 5)) && !access::can_be_named(&set(65, 5)) && !access::can_be_named(&set(64, 65))
    );
    assert!(!access::can_be_named(&["public.two\nlines".into()].into()));
}

#[test]
fn the_name_of_an_sql_database_is_a_name() {
    let mut desk = Desk::new(Limits::default());
    let mut asks = |name: &str| {
        let mut asked = ask(alice(), SECOND);
        asked.scope.sql_database = Some(name.into());
        let terms = Terms {
            rule: "ask".into(),
            approvals: 1,
            duration_max: SECOND,
            decide_within: SECOND,
            escalate_after: None,
            review_within: None,
        };
        desk.request(at(1), GrantId::new(1), asked, terms).map(drop)
    };
    assert_eq!(asks("shop"), Ok(()));
    for name in ["", "a\u{1b}[31m", "a\nb", &"x".repeat(300)] {
        assert!(matches!(asks(name), Err(Refusal::TooMuch(_))), "{name:?}");
    }
}
