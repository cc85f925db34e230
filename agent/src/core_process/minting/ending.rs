//! The end of an access: decided, written down, carried out, and confirmed by the kernel witness.

mod close;

use std::rc::{Rc, Weak};
use std::time::Duration;

use mint::failure::Failure;
use mint::name::RoleName;
use mint::statements;
use model::credential::{AccessEnd, Confirmation, Credential, CredentialStep};
use model::mediation::End;
use tokio::time::{Instant, sleep, timeout};
use tracing::warn;

use super::access::{Access, Order, OwnRole, When};
use super::admin::Trouble;
use super::fault::{Step, reached};
use super::{Mint, Minting};
use crate::clock;
use crate::core_process::access_ends::EndSeen;
use crate::identity_link::{FromCore, SessionEnd};

/// How long a session whose access is over may go on with what it does.
const STATEMENT_GRACE: Duration = Duration::from_secs(30);
/// How long sessions may take to end that were told to, before the role stays for another attempt.
const TERMINATE_PATIENCE: Duration = Duration::from_secs(10);
/// How long the kernel witness's word is waited for.
const CONFIRM_PATIENCE: Duration = Duration::from_secs(5);
/// How often it is looked whether something has ended.
const LOOK: Duration = Duration::from_millis(5);
/// Pause before the next attempt to take a role away; each is longer, up to the second.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// Looks after an access to its end: one whose role was made, or one without a role whose end is decided.
pub(super) async fn attend(minting: Rc<Minting>, access: Rc<Access>) {
    let order = until_it_ends(&access).await;
    // Else it has ended already.
    if !matches!(order.end, AccessEnd::Session | AccessEnd::PolicyChanged) {
        decide(&minting, &access, &order);
        reached(Step::Decided);
        cut(&minting, &access, &order).await;
    }
    match &access.role {
        Some(role) => take_away(&minting, &access, role, order.end).await,
        None => close::close(&minting, &access, &order).await,
    }
    access.is_cut.send_replace(true);
    let confirmation = confirm(&minting, &access).await;
    let latency = access.seen.borrow().server.map(|(.., at)| at.nanos_since(order.decided));
    minting.record(Credential {
        end: Some(order.end),
        confirmation: Some(confirmation),
        latency,
        ..access.credential(CredentialStep::Ended)
    });
    minting.forget(&access);
}

/// Waits for the end of the session, or for the decision that the access ends.
async fn until_it_ends(access: &Access) -> Order {
    let (mut seen, mut orders) = (access.seen.subscribe(), access.orders.subscribe());
    tokio::select! {
        biased;
        Ok(order) = orders.wait_for(Option::is_some) => {
            if let Some(order) = &*order {
                return order.clone();
            }
        }
        _ = seen.wait_for(|seen| seen.client.is_some() || seen.server.is_some()) => {}
    }
    // Who asked for an end would have ordered it here; only the policies are read by the worker itself.
    let by_policy = access.seen.borrow().client == Some(End::AccessEnded);
    let end = if by_policy { AccessEnd::PolicyChanged } else { AccessEnd::Session };
    Order { end, when: When::BetweenStatements, decided: clock::boot(), by: None }
}

fn decide(minting: &Minting, access: &Access, order: &Order) {
    let ending =
        Credential { end: Some(order.end), detail: order.by.clone(), ..access.credential(CredentialStep::Ending) };
    // One that cannot be written down is carried out all the same: it takes something away.
    minting.record(ending);
}

/// Has the worker end the session. Returns when it has, or may not be waited for any longer.
async fn cut(minting: &Minting, access: &Access, order: &Order) {
    tell(minting, access, order);
    if let Some(OwnRole { name, mint, .. }) = &access.role {
        // From here on the server knows that it ends, and tells a core that knows nothing.
        if let Err(trouble) = mint.admin.change(&statements::disable(name)).await {
            warn!(role = %name, "a role could not be disabled yet: {trouble}");
        }
        access.is_cut.send_replace(true);
    }
    if order.when == When::Now {
        return;
    }
    let deadline = Instant::now() + STATEMENT_GRACE;
    let mut orders = access.orders.subscribe();
    let is_urgent = |order: &Option<Order>| order.as_ref().is_some_and(|order| order.when == When::Now);
    while access.seen.borrow().client.is_none() && Instant::now() < deadline {
        minting.rings.wake();
        if let Ok(Ok(order)) = timeout(LOOK, orders.wait_for(is_urgent)).await {
            order.iter().for_each(|order| tell(minting, access, order));
            return;
        }
    }
}

fn tell(minting: &Minting, access: &Access, order: &Order) {
    let when = match order.when {
        When::BetweenStatements => SessionEnd::BetweenStatements,
        When::Now => SessionEnd::Now,
    };
    let end = FromCore::End { connection: access.connection.0, when, why: order.end.word().to_owned() };
    // Which worker has an adopted session is not known: to the others the connection means nothing.
    let lines = match access.line.upgrade() {
        Some(line) => vec![line],
        None => minting.lines.borrow().iter().filter_map(Weak::upgrade).collect(),
    };
    for line in lines {
        // A worker that does not read loses the session at the server all the same.
        let _full = line.get_ref().try_send(&end, &[], &[]);
    }
}

/// Takes the role away, however long it takes.
async fn take_away(minting: &Minting, access: &Access, role: &OwnRole, end: AccessEnd) {
    let mut pause = RETRY.0;
    while let Err(trouble) = remove(&role.mint, &role.name, &role.group).await {
        if pause == RETRY.0 {
            warn!(role = %role.name, "a role could not be taken away, and is tried again: {trouble}");
            minting.record(Credential {
                end: Some(end),
                detail: Some(trouble.to_string()),
                ..access.credential(CredentialStep::Stuck)
            });
        }
        sleep(pause).await;
        pause = (pause * 2).min(RETRY.1);
    }
}

/// Disables a role, ends its sessions, gives away what it owns, and drops it.
pub(super) async fn remove(mint: &Mint, role: &RoleName, group: &str) -> Result<(), Trouble> {
    match mint.admin.change(&statements::disable(role)).await {
        Err(Trouble::Refused(Failure::Gone, _)) => return Ok(()),
        // A transaction of its own may hold the row of the role: it ends first then.
        Err(Trouble::Refused(..)) => {
            mint.admin.rows(&statements::terminate(role)).await?;
            mint.admin.change(&statements::disable(role)).await?;
        }
        other => other?,
    }
    reached(Step::Disabled);
    let deadline = Instant::now() + TERMINATE_PATIENCE;
    while !mint.admin.rows(&statements::terminate(role)).await?.is_empty() {
        if Instant::now() > deadline {
            return Err(Trouble::Refused(Failure::Other, "a session of it does not end".to_owned()));
        }
        sleep(LOOK).await;
    }
    reached(Step::Terminated);
    let dropped = match mint.admin.change(&statements::drop_role(role)).await {
        Err(Trouble::Refused(Failure::Owns, _)) => {
            give_away(mint, role, group).await?;
            mint.admin.change(&statements::drop_role(role)).await
        }
        other => other,
    };
    match dropped {
        Err(Trouble::Refused(Failure::Gone, _)) | Ok(()) => {}
        other => return other,
    }
    reached(Step::Dropped);
    Ok(())
}

/// Gives what the role owns to its group, in every database.
async fn give_away(mint: &Mint, role: &RoleName, group: &str) -> Result<(), Trouble> {
    let text = statements::give_away(role, group);
    // Databases and tablespaces belong to no database: the first text gives them away.
    mint.admin.change(&text).await?;
    for row in mint.admin.rows(&statements::owning_databases(role)).await? {
        if let Some(Some(database)) = row.first() {
            mint.admin.change_in(database, &text).await?;
        }
    }
    Ok(())
}

/// Whether the kernel witness has seen the server's socket close; its record comes when the client's is closed as well.
fn server_closed(minting: &Minting, access: &Access) -> Option<Confirmation> {
    if access.seen.borrow().server.is_none() {
        let pipeline = minting.pipeline.borrow();
        let session = pipeline.sessions.get_mediated(access.connection)?.id;
        let (at, missed) = pipeline.sessions.server_closed(access.connection)?;
        let how = if missed { Confirmation::Iterator } else { Confirmation::Kernel };
        access.saw(EndSeen::Server { session, how, at });
    }
    access.seen.borrow().server.map(|(_, how, _)| how)
}

/// Waits until the kernel witness has seen the server's socket close.
async fn confirm(minting: &Minting, access: &Access) -> Confirmation {
    let connection = access.connection;
    let deadline = Instant::now() + CONFIRM_PATIENCE;
    loop {
        if let Some(how) = server_closed(minting, access) {
            return how;
        }
        // A session without a socket of the server's was never there for the kernel to see.
        let is_open = minting.pipeline.borrow().sessions.get_mediated(connection).is_some();
        if Instant::now() > deadline {
            return if is_open { Confirmation::Unseen } else { Confirmation::NoSession };
        }
        if !is_open && access.seen.borrow().client.is_some() {
            return Confirmation::NoSession;
        }
        minting.rings.wake();
        sleep(LOOK).await;
    }
}
