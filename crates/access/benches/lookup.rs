//! What a holder has, among few and among many grants: the question that is asked for each new decision.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a bench measures time, and ends when it cannot")]

#[path = "../tests/common/mod.rs"]
mod common;

use std::hint::black_box;
use std::time::Instant;

use access::{Desk, Limits, Moment, Terms};
use common::ask;
use model::access::{GrantId, Holder};
use model::id::BootId;
use model::principal::{Actor, PrincipalKind};
use model::time::{BootTime, WallTime};

const NOW: Moment = Moment { wall: WallTime(1_000_000_000_000), boot: BootTime(1_000_000_000), boot_id: BootId(1) };
const HOUR: u64 = 3_600_000_000_000;
const LOOKS: u32 = 100_000;
const ROUNDS: usize = 9;

fn holder(number: u64) -> Holder {
    let id = format!("person-{number}@example.com").into();
    let issuer = "https://login.example.com".into();
    Holder { actor: Actor { kind: PrincipalKind::Person, id, issuer }, acting_for: Vec::new() }
}

fn desk(grants: u64) -> Desk {
    let mut desk = Desk::new(Limits::default());
    for number in 0..grants {
        let terms = Terms {
            rule: "ask".into(),
            approvals: 0,
            duration_max: HOUR,
            decide_within: HOUR,
            escalate_after: None,
            review_within: None,
        };
        let proposal = desk.request(NOW, GrantId::new(number), ask(holder(number), HOUR), terms).unwrap();
        proposal.commit(|_, _| Ok::<(), ()>(())).unwrap();
    }
    desk
}

/// Nanoseconds of one look.
fn look(desk: &Desk, holder: &Holder) -> f64 {
    let began = Instant::now();
    for _ in 0..LOOKS {
        assert_eq!(desk.active(black_box(holder), "shop", NOW).count(), 1);
    }
    began.elapsed().as_secs_f64() * 1e9 / f64::from(LOOKS)
}

fn main() {
    let desks = [10, 100, 10_000].map(|grants| (grants, desk(grants)));
    let holder = holder(5);
    let mut times = desks.each_ref().map(|_| Vec::new());
    for _ in 0..ROUNDS {
        for ((_, desk), times) in desks.iter().zip(&mut times) {
            times.push(look(desk, &holder));
        }
    }
    for ((grants, _), times) in desks.iter().zip(&mut times) {
        times.sort_by(f64::total_cmp);
        let (least, median, most) = (times.first(), times.get(ROUNDS / 2), times.last());
        println!(
            "{grants:>6} grants: {:.0} ns a look ({:.0} to {:.0})",
            median.unwrap(),
            least.unwrap(),
            most.unwrap()
        );
    }
}
