//! Looks at the server now and then for roles that nobody needs: what a crash has left. Each is an alert.

use std::collections::HashSet;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use mint::name::RoleName;
use mint::note::Note;
use mint::statements;
use mint::sweep::{Fate, Found, Sweeper};
use model::credential::{AccessEnd, Confirmation, Credential, CredentialStep, MintedRole};
use tokio::task::spawn_local;
use tokio::time::sleep;
use tracing::warn;

use super::access::{Access, OwnRole, Stage};
use super::admin::Trouble;
use super::fault::{Step, reached};
use super::{Mint, Minting, ending};
use crate::clock;

/// Before the first sweep the workers say which sessions live.
const FIRST: Duration = Duration::from_secs(2);
/// Between two sweeps.
const PERIOD: Duration = Duration::from_secs(60);
/// Pause after one that failed: the server may just be starting.
const RETRY: Duration = Duration::from_secs(5);
/// Sweeps that another session may prevent by its lock. It is an agent's that has hung, or somebody's who wants orphans to
/// live: two sweeps at once do no harm.
const PREVENTED_MAX: u32 = 3;

/// Sweeps for as long as the core lives.
pub(super) async fn keep(minting: Rc<Minting>, mint: Rc<Mint>) {
    sleep(FIRST).await;
    minting.prepare(&mint);
    loop {
        match sweep(&minting, &mint).await {
            Ok(()) => sleep(PERIOD).await,
            Err(trouble) => {
                if mint.unswept.replace(mint.unswept.get() + 1) == 0 {
                    warn!(database = %mint.name, "roles of ended sessions cannot be looked for: {trouble}");
                }
                sleep(RETRY).await;
            }
        }
    }
}

async fn sweep(minting: &Rc<Minting>, mint: &Rc<Mint>) -> Result<(), Trouble> {
    let is_locked = mint.admin.rows(&statements::try_lock()).await?;
    let is_locked = is_locked.first().and_then(|row| row.first()?.as_deref()) == Some("t");
    if !is_locked && mint.unswept.get() < PREVENTED_MAX {
        return Err(Trouble::Broken(anyhow::anyhow!("somebody else holds the lock of sweeps")));
    }
    let swept = sweep_alone(minting, mint).await;
    if is_locked {
        mint.admin.rows(&statements::unlock()).await?;
    }
    swept?;
    mint.unswept.set(0);
    Ok(())
}

async fn sweep_alone(minting: &Rc<Minting>, mint: &Rc<Mint>) -> Result<(), Trouble> {
    let name = |access: &Rc<Access>| access.role.as_ref().map(|role| role.name.clone());
    let names = || minting.accesses.borrow().values().filter_map(name).collect::<HashSet<RoleName>>();
    // What begins or ends while the server answers is known before or after.
    let mut known = names();
    let rows = mint.admin.rows(&statements::look()).await?;
    known.extend(names());
    let sweeper = Sweeper { host: minting.host, boot: minting.boot, now: clock::wall() };
    for found in rows.into_iter().filter_map(found) {
        let is_alive = |note: &Note| minting.pipeline.borrow().sessions.get_mediated(note.connection).is_some();
        match sweeper.fate(&found, |name| known.contains(name), is_alive) {
            Fate::Kept => {}
            Fate::Foreign => {
                warn!(role = ?found.name, "a role has a name like those of sessions, and is none: it stays")
            }
            Fate::Adopted(role, note) => adopt(minting, mint, role, note),
            Fate::Orphan(role, note) => remove(minting, mint, &role, &note).await,
        }
    }
    Ok(())
}

fn found(row: Vec<Option<String>>) -> Option<Found> {
    let [name, comment, can_login, sessions] = <[Option<String>; 4]>::try_from(row).ok()?;
    Some(Found { name: name?, comment, can_login: can_login?.parse().ok()?, sessions: sessions?.parse().ok()? })
}

/// The session lives: another core has made its role.
fn adopt(minting: &Rc<Minting>, mint: &Rc<Mint>, role: RoleName, note: Note) {
    let role = OwnRole::new(role, &note.group, Rc::clone(mint), note.until, AccessEnd::Lifetime);
    let access = Rc::new(Access { named: note.principal, ..Access::with_role(note.connection, role) });
    access.stage.set(Stage::Made);
    minting.look_after(Rc::clone(&access));
    minting.record(Credential {
        until: Some(note.until),
        detail: Some(format!("for {}", access.named)),
        ..access.credential(CredentialStep::Adopted)
    });
    spawn_local(ending::attend(Rc::clone(minting), access));
}

async fn remove(minting: &Rc<Minting>, mint: &Mint, role: &RoleName, note: &Note) {
    let step = |step| {
        let role = MintedRole { name: role.as_str().into(), group: note.group.as_str().into() };
        let detail = Some(format!("for {}", note.principal));
        Credential {
            end: Some(AccessEnd::Orphan),
            until: Some(note.until),
            detail,
            ..Credential::new(step, Some(role), Arc::clone(&mint.name))
        }
    };
    minting.record(step(CredentialStep::Orphan));
    reached(Step::Swept);
    match ending::remove(mint, role, &note.group).await {
        Ok(()) => {
            let confirmation = Some(Confirmation::NoSession);
            minting.record(Credential { confirmation, ..step(CredentialStep::Ended) });
        }
        Err(trouble) => {
            warn!(%role, "an orphan could not be taken away, and is tried again: {trouble}");
            minting.record(Credential { detail: Some(trouble.to_string()), ..step(CredentialStep::Stuck) });
        }
    }
}
