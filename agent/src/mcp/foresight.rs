//! What the policies would say, without asking the server: the same set and the same verification of tokens as the
//! agent's, but without its knowledge of processes, of what sessions have set, and of the catalogue.

use std::sync::Arc;

use model::Known;
use model::access::{Grant, GrantId, Holder, Scope};
use model::principal::{Principal, UnknownPrincipal};
use model::time::{BootTime, WallTime};
use policy::{ActiveGrant, SessionContext, Transport, UtcOffset};
use store::form::access::HolderForm;

use super::answer::Failure;
use super::databases::Place;
use crate::clock;
use crate::control::grants::GrantView;
use crate::policies::trial::{Deed, Outcome, Trial};
use crate::policy_files;

/// What the server sees of sessions.
pub(super) const APPLICATION: &str = "warder mcp";

/// What would come of a deed.
pub(super) fn foresee(
    place: &Place<'_>,
    who: Principal,
    grants: Vec<ActiveGrant>,
    sql_database: &str,
    deed: Deed,
) -> Result<Outcome, Failure> {
    let set = policy_files::set(&place.guard.policies).map_err(|error| Failure::of("policies", &error))?;
    let trial = Trial {
        who: Known::<_, UnknownPrincipal>::Known(who),
        session: SessionContext {
            database_name: place.name.into(),
            environment: place.guard.environment.as_str().into(),
            mode: policy_files::mode(place.guard.mode),
            database: sql_database.into(),
            user: place.role.into(),
            application: APPLICATION.into(),
            transport: Transport::Tcp,
            encrypted: false,
            client_address: Some(place.address.ip()),
            process: None,
            in_transaction: false,
            utc_offset: UtcOffset::new(place.guard.utc_offset).unwrap_or_default(),
        },
        grants,
        now: clock::wall(),
        deed,
    };
    Ok(trial.run(&set))
}

/// Of all grants those that are active, this holder's, and for this database.
pub(super) fn active(grants: &[GrantView], who: &Principal, database: &str) -> Vec<ActiveGrant> {
    let holder = Holder::from(who);
    let form = HolderForm::from(&holder).into_owned();
    let covers = |view: &&GrantView| {
        view.state == "active" && view.holder == form && view.scope.database_entry == database && view.once.is_none()
    };
    let grants = grants.iter().filter(covers).filter_map(|view| grant(view, &holder));
    // What this version does not understand is not counted on.
    grants.filter_map(|grant| ActiveGrant::new(&grant, BootTime(u64::MAX)).ok()).collect()
}

fn grant(view: &GrantView, holder: &Holder) -> Option<Grant> {
    let names = |names: &[std::borrow::Cow<'_, str>]| names.iter().map(|name| Arc::from(&**name)).collect();
    Some(Grant {
        id: GrantId::parse(&view.grant)?,
        holder: holder.clone(),
        scope: Scope {
            database: Arc::from(&*view.scope.database_entry),
            sql_database: view.scope.database.as_deref().map(Arc::from),
            actions: names(&view.scope.actions),
            relations: names(&view.scope.relations),
        },
        purpose: view.purpose.as_str().into(),
        ticket: view.ticket.as_deref().map(Arc::from),
        duration: view.seconds.saturating_mul(1_000_000_000),
        once: None,
        break_glass: view.break_glass,
        renews: None,
        rule: view.rule.as_str().into(),
        requested: WallTime::default(),
    })
}
