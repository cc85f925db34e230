//! What the core tells the workers about grants: who has what, of one database, until when.

use std::sync::Arc;

use access::{Case, Moment};
use anyhow::{Context as _, Result};
use model::access::{Grant, GrantId, Holder};
use model::time::{BootTime, WallTime};
use policy::ActiveGrant;
use serde::{Deserialize, Serialize};
use store::form::access::{HolderForm, ScopeForm};

/// All that one holder has now; nothing: no grants.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct HolderGrants {
    holder: HolderForm<'static>,
    grants: Vec<GrantForm>,
}

/// One active grant.
#[derive(Debug, Serialize, Deserialize)]
struct GrantForm {
    id: u64,
    scope: ScopeForm<'static>,
    purpose: String,
    ticket: Option<String>,
    break_glass: bool,
    rule: String,
    /// When it ends, in nanoseconds since boot: no clock that can be set prolongs it.
    until: u64,
}

impl HolderGrants {
    pub(crate) fn new<'a>(holder: &Holder, cases: impl Iterator<Item = &'a Arc<Case>>, now: Moment) -> Self {
        let grants = cases.map(|case| GrantForm::new(case, now)).collect();
        Self { holder: HolderForm::from(holder).into_owned(), grants }
    }

    /// Whose they are, and what decisions need of them.
    pub(crate) fn read(self) -> Result<(Holder, Vec<ActiveGrant>)> {
        let holder = self.holder.holder().context("a holder of an unknown kind")?;
        let grants = self.grants.into_iter().map(|form| form.grant(&holder));
        Ok((holder.clone(), grants.collect::<Result<_>>()?))
    }
}

impl GrantForm {
    fn new(case: &Case, now: Moment) -> Self {
        let grant = &*case.grant;
        let left = case.not_after.map_or(0, |end| end.left(now));
        Self {
            id: grant.id.number(),
            scope: ScopeForm::from(&grant.scope).into_owned(),
            purpose: grant.purpose.to_string(),
            ticket: grant.ticket.as_deref().map(str::to_owned),
            break_glass: grant.break_glass,
            rule: grant.rule.to_string(),
            until: now.boot.0.saturating_add(left),
        }
    }

    fn grant(self, holder: &Holder) -> Result<ActiveGrant> {
        let grant = Grant {
            id: GrantId::new(self.id),
            holder: holder.clone(),
            scope: self.scope.scope(),
            purpose: self.purpose.into(),
            ticket: self.ticket.map(Arc::from),
            duration: 0,
            once: None,
            break_glass: self.break_glass,
            renews: None,
            rule: self.rule.into(),
            requested: WallTime::default(),
        };
        Ok(ActiveGrant::new(&grant, BootTime(self.until))?)
    }
}
