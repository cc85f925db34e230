//! Who acts: a person, a service or an agent, known by a token, a certificate or the process itself.

use std::sync::Arc;

use crate::time::WallTime;
use crate::words::words;

words! {
    /// What kind of actor it is.
    PrincipalKind {
        /// A human.
        Person = "person",
        /// A program that runs unattended.
        Service = "service",
        /// A program that decides what it does next: an AI agent.
        Agent = "agent",
    }
}

words! {
    /// How an identity was proved.
    Proof {
        /// A token of an issuer, in the password field.
        Token = "token",
        /// A token of an issuer, by OAUTHBEARER.
        OauthBearer = "oauth_bearer",
        /// A client certificate.
        Certificate = "certificate",
        /// A rule about the process that connects.
        Process = "process",
        /// A token that is bound to the process tree (`warder exec`).
        BoundProcess = "bound_process",
    }
}

/// One actor.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Actor {
    /// What kind.
    pub kind: PrincipalKind,
    /// Name, unique together with the issuer: `alice@example.com`, `spiffe://example.org/billing`, `nightly-report`.
    pub id: Arc<str>,
    /// Who says so: the issuer's URL, the certificate authority's name, or `process` for a rule of the configuration.
    pub issuer: Arc<str>,
}

/// Who acts on a session.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Principal {
    /// Who does it.
    pub actor: Actor,
    /// Groups and roles that the issuer vouches for, sorted, each once.
    pub groups: Arc<[Arc<str>]>,
    /// On whose behalf, nearest first: *agent X acting for person Y* has X as the actor and Y here (RFC 8693, `act`).
    pub acting_for: Vec<Actor>,
    /// How it was proved.
    pub proof: Proof,
    /// When the proof ends; `None`: with the session.
    pub expires: Option<WallTime>,
    /// What it is for, in the words of whoever asked (`warder exec --purpose`).
    pub purpose: Option<Arc<str>>,
}

words! {
    /// Why nobody knows who acts.
    UnknownPrincipal {
        /// Nobody asked: the session does not go through the proxy, or its database has no policies.
        NotAsked = "not_asked",
        /// No token came, and no rule is about the process.
        NoProof = "no_proof",
        /// The client is a pooler: others stand behind it.
        SharedPool = "shared_pool",
        /// The connection is encrypted and relayed unread.
        Unread = "unread",
        /// The client's process is not on this host, or not known.
        NoProcess = "no_process",
        /// What would prove it could not be asked for.
        Unavailable = "unavailable",
        /// The proof has ended.
        Expired = "expired",
    }
}
