//! A session ends with the grants of whoever acts there: what runs under them stops. Not where policies only watch.

use std::rc::Rc;

use model::access::{AccessChange, AccessEvent};
use model::credential::AccessEnd;
use tokio::sync::mpsc::Receiver;

use super::desk::Desk;
use super::minting::Minting;
use super::minting::access::When;

/// Ends of grants that wait to be carried out: many may expire in one turn of the desk.
pub(super) const WAITING_MAX: usize = 65_536;

/// Those of them that are carried out at once.
const TOGETHER_MAX: usize = 256;

/// Carries out what the desk has written down, for as long as there is a desk.
pub(super) async fn follow(mut ended: Receiver<AccessEvent>, desk: Rc<Desk>, minting: Rc<Minting>) {
    let mut events = Vec::new();
    while ended.recv_many(&mut events, TOGETHER_MAX).await > 0 {
        minting.catch_up().await;
        for event in events.drain(..).filter(|event| desk.enforces(&event.grant.scope.database)) {
            carry_out(&event, &desk, &minting);
        }
    }
}

fn carry_out(event: &AccessEvent, desk: &Desk, minting: &Rc<Minting>) {
    let (end, when) = match event.change {
        AccessChange::Revoked => (AccessEnd::Revoked, When::Now),
        AccessChange::Expired if !desk.is_renewed(event.grant.id) => (AccessEnd::GrantExpired, When::BetweenStatements),
        _ => return,
    };
    minting.end_of_grant(&event.grant, end, when);
}
