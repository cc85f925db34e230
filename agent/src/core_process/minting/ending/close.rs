//! Ends a session whose login at the server is not its own: by its worker, which cancels what runs and closes; and where
//! that does not help, as the service account itself. A function can catch a cancel like an error and go on, and what a
//! client has left behind that is gone no worker reaches.

use std::rc::Rc;
use std::time::Duration;

use mint::statements;
use tokio::sync::SemaphorePermit;
use tokio::time::{Instant, sleep};
use tracing::warn;

use super::{LOOK, TERMINATE_PATIENCE, server_closed, tell};
use crate::core_process::minting::Minting;
use crate::core_process::minting::access::{Access, Order, When};
use crate::core_process::minting::admin::{Admin, Trouble};
use crate::link::Purpose;

/// How long the worker, and then the server, is given before more is done.
const PAUSE: Duration = Duration::from_millis(200);
/// Where a service account logs in whose session has named no database.
const SQL_DATABASE: &str = "postgres";

/// A login of the service account.
struct Account<'a> {
    admin: Admin,
    _turn: SemaphorePermit<'a>,
}

/// Returns when the session has ended at the server, or cannot be ended.
pub(super) async fn close(minting: &Minting, access: &Access, order: &Order) {
    let order = Order { when: When::Now, ..order.clone() };
    let deadline = Instant::now() + TERMINATE_PATIENCE;
    let mut account = None;
    let mut has_failed = false;
    loop {
        tell(minting, access, &order);
        if ends_within(minting, access, PAUSE).await {
            return;
        }
        if Instant::now() > deadline {
            warn!(principal = access.named, "a session whose access has ended does not end at the server");
            return;
        }
        let failed = terminate(minting, access, &mut account).await;
        if let Err(trouble) = failed
            && !std::mem::replace(&mut has_failed, true)
        {
            warn!("the service account cannot end its session; it may need another line in pg_hba.conf: {trouble}");
        }
    }
}

async fn ends_within(minting: &Minting, access: &Access, patience: Duration) -> bool {
    let deadline = Instant::now() + patience;
    while !has_ended(minting, access) {
        if Instant::now() > deadline {
            return false;
        }
        minting.rings.wake();
        sleep(LOOK).await;
    }
    true
}

fn has_ended(minting: &Minting, access: &Access) -> bool {
    server_closed(minting, access).is_some()
        || minting.pipeline.borrow().sessions.get_mediated(access.connection).is_none()
}

/// Ends it as the account that it is logged in with, where the agent has that one's login.
async fn terminate<'a>(
    minting: &'a Minting,
    access: &Access,
    account: &mut Option<Account<'a>>,
) -> Result<(), Trouble> {
    let Some((database, sql_database, pid)) = place(minting, access) else { return Ok(()) };
    let account = match account {
        Some(account) => account,
        None => {
            let turn = minting.closers.acquire().await.map_err(|closed| Trouble::Broken(closed.into()))?;
            let admin = Admin::new(Rc::clone(&minting.own), (database, Purpose::Ending), sql_database);
            account.insert(Account { admin, _turn: turn })
        }
    };
    // The number is the session's for as long as the kernel has not seen it end.
    if has_ended(minting, access) {
        return Ok(());
    }
    account.admin.rows(&statements::terminate_own(pid)).await.map(drop)
}

/// Where the session is: database of the configuration, SQL database, process.
fn place(minting: &Minting, access: &Access) -> Option<(u16, String, u32)> {
    let pipeline = minting.pipeline.borrow();
    let session = pipeline.sessions.get_mediated(access.connection)?;
    let database = Some(session.database.0).filter(|database| minting.accounts.contains(database))?;
    let sql_database = session.login.database.clone().unwrap_or_else(|| SQL_DATABASE.to_owned());
    Some((database, sql_database, pipeline.sessions.backend_pid(access.connection)?))
}
