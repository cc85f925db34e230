//! What a worker of the proxy asks the core, and what the core tells it: who acts on a connection, with which role it
//! logs in for it, when that access ends, and what the databases have. What a client brings to prove who acts comes behind
//! the question as the packet's record, and a password behind the answer: they are in no message.

use std::sync::Arc;

use identity::certificate::CertificateError;
use identity::proof::{ClientProof, ProofError};
use identity::secret::Secret;
use identity::token_error::TokenError;
use model::Known;
use model::principal::{Actor, Principal, PrincipalKind, Proof, UnknownPrincipal};
use model::time::WallTime;
use policy::ProcessContext;
use serde::{Deserialize, Serialize};

use crate::hold_link::{HoldAsk, HoldWord};

/// From a worker.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum WorkerSays {
    /// A question; the packet's record is the token that proves who acts, if one came.
    Identity(IdentityAsk),
    /// The policies have let in whoever acts: make the role that was reserved.
    Mint { connection: u64 },
    /// A statement waits; the packet's record is what is shown of it.
    Hold(Box<HoldAsk>),
    /// The hold with this number is over: its session does not want it any more, or has ended.
    HoldOver(u64),
    /// A client cancels what the connection of this name does, see [`cancel_name`](crate::hold_link::cancel_name).
    Cancel([u8; 32]),
}

/// Who acts on this connection? Named by the cookie of its accepted socket, which no other connection has.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct IdentityAsk {
    /// Number of the question: a connection may be asked about again before the first answer has come.
    pub(crate) question: u64,
    pub(crate) connection: u64,
    pub(crate) database: u16,
    /// The role that the client names: its word only.
    pub(crate) user: String,
    /// The SQL database, likewise: what it has is known before the answer comes, if it can be known soon.
    pub(crate) sql_database: String,
    /// What the packet's record is.
    pub(crate) proof: Option<ProofKind>,
}

/// What a record that proves who acts is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum ProofKind {
    /// A token, as the password.
    Token,
    /// A token, by OAUTHBEARER.
    OauthBearer,
    /// The first certificate of a chain that the worker has verified, DER.
    Certificate,
}

impl ProofKind {
    /// The kind of a proof, and its bytes.
    pub(crate) fn of(proof: &ClientProof) -> (Self, &[u8]) {
        match proof {
            ClientProof::Token(token) => (Self::Token, token.expose()),
            ClientProof::OauthBearer(token) => (Self::OauthBearer, token.expose()),
            ClientProof::Certificate(leaf) => (Self::Certificate, leaf),
        }
    }

    pub(crate) fn proof(self, bytes: Vec<u8>) -> ClientProof {
        match self {
            Self::Token => ClientProof::Token(Secret::new(bytes)),
            Self::OauthBearer => ClientProof::OauthBearer(Secret::new(bytes)),
            Self::Certificate => ClientProof::Certificate(bytes),
        }
    }
}

/// From the core.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum FromCore {
    /// The answer to a question.
    Identity(Box<IdentityAnswer>),
    /// First word of a core: whatever one before it was asked to decide is decided by nobody any more.
    Started,
    /// What becomes of the worker's hold with this number.
    Hold { hold: u64, word: HoldWord },
    /// The role is there, or cannot be made. The packet's record is its password.
    Minted { connection: u64, is_made: bool },
    /// The access of this connection has ended, for a reason in its fixed word.
    End { connection: u64, when: SessionEnd, why: String },
    /// What an SQL database has, as a reading found that began then ([`BootTime`](model::time::BootTime)). Too long for a
    /// packet: one descriptor, a file in memory with [`CatalogueForm`](crate::catalogue_form::CatalogueForm) as JSON.
    /// Without a descriptor: the same as the last time.
    Catalogue { database: u16, sql_database: String, read_at: u64 },
    /// Who has been granted what in a database: everybody (`whole`), or some whose grants have changed. One descriptor: a
    /// file in memory with [`HolderGrants`](crate::grant_link::HolderGrants) as a JSON array.
    Grants { database: u16, whole: bool },
}

/// When a session ends whose access has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum SessionEnd {
    /// When its server waits for the client.
    BetweenStatements,
    /// Whatever runs.
    Now,
}

/// Who it is.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct IdentityAnswer {
    /// Number of the question.
    pub(crate) question: u64,
    /// Or the reason, in its fixed word.
    pub(crate) principal: Result<PrincipalForm, String>,
    refusal: Option<RefusalForm>,
    pub(crate) process: Option<ProcessForm>,
    /// The role that is reserved for this session.
    pub(crate) role: Option<String>,
}

/// Why a proof proves nothing, in its fixed word.
#[derive(Clone, Debug, Serialize, Deserialize)]
enum RefusalForm {
    Token(String),
    Certificate(String),
}

impl RefusalForm {
    fn of(error: ProofError) -> Self {
        match error {
            ProofError::Token(error) => Self::Token(error.word().to_owned()),
            ProofError::Certificate(error) => Self::Certificate(error.word().to_owned()),
        }
    }

    fn error(&self) -> Option<ProofError> {
        match self {
            Self::Token(word) => {
                let found = TokenError::ALL.iter().copied().find(|error| error.word() == word);
                found.map(ProofError::Token)
            }
            Self::Certificate(word) => {
                let found = CertificateError::ALL.iter().copied().find(|error| error.word() == word);
                found.map(ProofError::Certificate)
            }
        }
    }
}

/// A principal on its way between processes.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct PrincipalForm {
    actor: ActorForm,
    groups: Vec<String>,
    acting_for: Vec<ActorForm>,
    proof: String,
    expires: Option<u64>,
    purpose: Option<String>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct ActorForm {
    kind: String,
    id: String,
    issuer: String,
}

/// A process on its way between processes.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct ProcessForm {
    exe: String,
    exe_sha256: Option<[u8; 32]>,
    uid: u32,
    login_uid: Option<u32>,
    cgroup: Option<String>,
    unit: Option<String>,
    ancestors: Vec<String>,
    tty: bool,
}

impl IdentityAnswer {
    pub(crate) fn new(
        question: u64,
        principal: &Known<Principal, UnknownPrincipal>,
        process: Option<&ProcessContext>,
    ) -> Self {
        let principal = match principal {
            Known::Known(principal) => Ok(PrincipalForm::of(principal)),
            Known::Unknown(reason) => Err(reason.word().to_owned()),
        };
        Self { question, principal, refusal: None, process: process.map(ProcessForm::of), role: None }
    }

    /// The same, where a proof came that proves nothing.
    pub(crate) fn refusing(self, refusal: Option<ProofError>) -> Self {
        Self { refusal: refusal.map(RefusalForm::of), ..self }
    }

    /// The same, with the role that the session may have.
    pub(crate) fn with_role(self, role: Option<String>) -> Self {
        Self { role, ..self }
    }

    pub(crate) fn refusal(&self) -> Option<ProofError> {
        self.refusal.as_ref()?.error()
    }

    pub(crate) fn principal(&self) -> Known<Principal, UnknownPrincipal> {
        let reason = |word: &str| UnknownPrincipal::ALL.iter().copied().find(|reason| reason.word() == word);
        match &self.principal {
            Ok(form) => form.principal().map_or(Known::Unknown(UnknownPrincipal::Unavailable), Known::Known),
            Err(word) => Known::Unknown(reason(word).unwrap_or(UnknownPrincipal::Unavailable)),
        }
    }

    pub(crate) fn process(self) -> Option<ProcessContext> {
        self.process.map(ProcessForm::context)
    }
}

impl PrincipalForm {
    fn of(principal: &Principal) -> Self {
        Self {
            actor: ActorForm::of(&principal.actor),
            groups: principal.groups.iter().map(|group| group.to_string()).collect(),
            acting_for: principal.acting_for.iter().map(ActorForm::of).collect(),
            proof: principal.proof.word().to_owned(),
            expires: principal.expires.map(|time| time.0),
            purpose: principal.purpose.as_deref().map(str::to_owned),
        }
    }

    fn principal(&self) -> Option<Principal> {
        Some(Principal {
            actor: self.actor.actor()?,
            groups: self.groups.iter().map(|group| Arc::from(group.as_str())).collect(),
            acting_for: self.acting_for.iter().map(ActorForm::actor).collect::<Option<_>>()?,
            proof: Proof::ALL.iter().copied().find(|proof| proof.word() == self.proof)?,
            expires: self.expires.map(WallTime),
            purpose: self.purpose.as_deref().map(Arc::from),
        })
    }
}

impl ActorForm {
    fn of(actor: &Actor) -> Self {
        Self { kind: actor.kind.word().to_owned(), id: actor.id.to_string(), issuer: actor.issuer.to_string() }
    }

    fn actor(&self) -> Option<Actor> {
        let kind = PrincipalKind::ALL.iter().copied().find(|kind| kind.word() == self.kind)?;
        Some(Actor { kind, id: self.id.as_str().into(), issuer: self.issuer.as_str().into() })
    }
}

impl ProcessForm {
    fn of(process: &ProcessContext) -> Self {
        Self {
            exe: process.exe.to_string(),
            exe_sha256: process.exe_sha256,
            uid: process.uid,
            login_uid: process.login_uid,
            cgroup: process.cgroup.as_deref().map(str::to_owned),
            unit: process.unit.as_deref().map(str::to_owned),
            ancestors: process.ancestors.iter().map(|ancestor| ancestor.to_string()).collect(),
            tty: process.tty,
        }
    }

    fn context(self) -> ProcessContext {
        ProcessContext {
            exe: self.exe.into(),
            exe_sha256: self.exe_sha256,
            uid: self.uid,
            login_uid: self.login_uid,
            cgroup: self.cgroup.map(Arc::from),
            unit: self.unit.map(Arc::from),
            ancestors: self.ancestors.into_iter().map(Arc::from).collect(),
            tty: self.tty,
        }
    }
}
