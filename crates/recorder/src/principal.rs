//! Who acts, as bytes.

use std::sync::Arc;

use model::Known;
use model::principal::{Actor, Principal, PrincipalKind, Proof, UnknownPrincipal};
use model::time::WallTime;

use crate::codec::{List, Reader, Writer};
use crate::encoding::BODY_BYTES_MAX;

/// Where the chain of those who are acted for ends, and where the groups do, in bytes of the record.
const ACTORS_END: usize = BODY_BYTES_MAX / 2;
const GROUPS_END: usize = BODY_BYTES_MAX - 64;

impl Writer<'_> {
    pub(crate) fn principal(&mut self, principal: &Known<Arc<Principal>, UnknownPrincipal>) {
        match principal {
            Known::Unknown(reason) => {
                self.byte(0);
                self.word(UnknownPrincipal::ALL, *reason);
            }
            Known::Known(principal) => {
                self.byte(1);
                self.known_principal(principal);
            }
        }
    }

    fn known_principal(&mut self, principal: &Principal) {
        let Principal { actor, groups, acting_for, proof, expires, purpose } = principal;
        self.actor(actor);
        self.word(Proof::ALL, *proof);
        self.option(*expires, |out, expires| out.number(expires.0));
        self.option(purpose.as_deref(), Self::text);
        self.list(ACTORS_END, acting_for.iter(), Self::actor);
        self.list(GROUPS_END, groups.iter(), |out, group| out.text(group));
    }

    fn actor(&mut self, actor: &Actor) {
        self.word(PrincipalKind::ALL, actor.kind);
        self.text(&actor.id);
        self.text(&actor.issuer);
    }
}

impl Reader<'_> {
    pub(crate) fn principal(&mut self) -> Option<Known<Arc<Principal>, UnknownPrincipal>> {
        match self.byte()? {
            0 => self.word(UnknownPrincipal::ALL).map(Known::Unknown),
            1 => self.known_principal().map(|principal| Known::Known(Arc::new(principal))),
            _ => None,
        }
    }

    fn known_principal(&mut self) -> Option<Principal> {
        let actor = self.actor()?;
        let proof = self.word(Proof::ALL)?;
        let expires = self.option(|input| input.number().map(WallTime))?;
        let purpose = self.option(Self::text)?;
        let List { items: mut acting_for, dropped } = self.list(Self::actor)?;
        if let (1.., Some(last)) = (dropped, acting_for.last()) {
            acting_for.push(Actor { id: others(dropped), ..last.clone() });
        }
        let List { items: mut groups, dropped } = self.list(Self::text)?;
        groups.extend((dropped > 0).then(|| others(dropped)));
        Some(Principal { actor, groups: groups.into(), acting_for, proof, expires, purpose })
    }

    fn actor(&mut self) -> Option<Actor> {
        Some(Actor { kind: self.word(PrincipalKind::ALL)?, id: self.text()?, issuer: self.text()? })
    }
}

/// Stands for what found no room: no issuer gives such a name, and a reader sees that something is missing.
pub(crate) fn others(count: u64) -> Arc<str> {
    Arc::from(format!("(and {count} more)"))
}
