//! The proof that an identity was proved.

use std::sync::Arc;

use model::principal::{Principal, Proof};

/// A principal whose proof this crate has checked. There is no other way to make one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedPrincipal {
    principal: Arc<Principal>,
    token_id: Option<Arc<str>>,
}

impl VerifiedPrincipal {
    pub(crate) fn new(principal: Principal, token_id: Option<Arc<str>>) -> Self {
        Self { principal: Arc::new(principal), token_id }
    }

    /// Who it is.
    #[must_use]
    pub fn principal(&self) -> &Principal {
        &self.principal
    }

    /// Who it is, to keep.
    #[must_use]
    pub fn shared(&self) -> Arc<Principal> {
        Arc::clone(&self.principal)
    }

    /// The token's `jti`, where it has one: with it the issuer's log can be searched. Nobody checks that it is new.
    #[must_use]
    pub fn token_id(&self) -> Option<&Arc<str>> {
        self.token_id.as_ref()
    }

    /// The same, where the token came by OAUTHBEARER and not as a password.
    #[must_use]
    pub fn over_oauthbearer(self) -> Self {
        let Self { principal, token_id } = self;
        let proof = if principal.proof == Proof::Token { Proof::OauthBearer } else { principal.proof };
        Self::new(Principal { proof, ..Arc::unwrap_or_clone(principal) }, token_id)
    }

    /// The same, where the token is bound to a process tree.
    pub(crate) fn bound(self, purpose: Option<Arc<str>>) -> Self {
        let principal = Arc::unwrap_or_clone(self.principal);
        Self::new(Principal { proof: Proof::BoundProcess, purpose, ..principal }, self.token_id)
    }
}
