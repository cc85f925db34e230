//! A session with a role of its own ends with the grants of whoever acts there: what runs under them stops.
//!
//! Not here: sessions of service accounts. Their statements are refused from then on, and nothing else.

use std::rc::Rc;

use model::access::{AccessChange, AccessEvent};
use model::credential::AccessEnd;
use tokio::sync::mpsc::Receiver;

use super::desk::Desk;
use super::minting::Minting;
use super::minting::access::When;

/// Ends of grants that wait to be carried out: many may expire in one turn of the desk.
pub(super) const WAITING_MAX: usize = 65_536;

/// Carries out what the desk has written down, for as long as there is a desk.
pub(super) async fn follow(mut ended: Receiver<AccessEvent>, desk: Rc<Desk>, minting: Rc<Minting>) {
    while let Some(event) = ended.recv().await {
        let (end, when) = match event.change {
            AccessChange::Revoked => (AccessEnd::Revoked, When::Now),
            AccessChange::Expired if !desk.is_renewed(event.grant.id) => {
                (AccessEnd::GrantExpired, When::BetweenStatements)
            }
            _ => continue,
        };
        minting.end_of_grant(&event.grant, end, when);
    }
}
