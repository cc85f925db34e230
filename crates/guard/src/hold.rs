//! A statement that waits in its session until somebody has decided about it.
//!
//! It waits at its message: everything before that is answered, nothing behind it is looked at. What was asked about is what
//! runs: the message stays where it is, and its digest covers the exact text and the exact values that are bound.

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use model::access::{GrantId, Holder, StatementDigest};
use model::facts::Facts;
use model::request::Request;
use model::statement::{Parameter, StatementKind, Text};
use model::time::BootTime;
use model::verdict::{Denial, Hold};
use sha2::{Digest as _, Sha256};

use crate::judge::Judged;

/// Portals whose values are known. Whoever binds more without executing binds again.
const PORTALS_MAX: usize = 64;
/// Bytes of a Bind whose values somebody could look through.
const BIND_BYTES_MAX: usize = 48 << 10;
/// Separates these digests from all others, and versions of them.
const DOMAIN: &[u8] = b"warder statement 1\0";
/// SQLSTATE of whatever was not approved.
const NOT_ALLOWED: &str = "42501";
/// SQLSTATE `query_canceled`.
const CANCELLED: &str = "57014";

/// What somebody is to decide about.
#[derive(Clone, Debug)]
pub struct Question {
    /// The whole text, exactly as it was sent.
    pub text: Arc<str>,
    /// The values that are bound, as far as they can be read.
    pub parameters: Vec<Parameter>,
    /// Over the exact bytes of both.
    pub digest: StatementDigest,
    /// What it would do.
    pub facts: Arc<Facts>,
    /// The policy that asks, and why.
    pub hold: Hold,
    /// Who acts on the session; `None`: nobody knows.
    pub holder: Option<Holder>,
    /// A transaction is open: locks are held while it waits.
    pub in_transaction: bool,
    /// Schemas in which names are looked up, in this order; `None`: not known.
    pub search_path: Option<Arc<[Arc<str>]>>,
    /// Process and key of the server, as a CancelRequest carries them.
    pub cancel_key: Option<Box<[u8]>>,
}

/// What was decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Exactly this may run, once.
    Approved(GrantId),
    /// It may not: under which number it was asked for, if it got one, and why.
    Denied(Option<GrantId>, Denied),
}

/// Why a statement that waited does not run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Denied {
    /// Somebody has said no, in these words.
    Refused(Arc<str>),
    /// Nobody has decided in time.
    TimedOut,
    /// The client has cancelled it.
    Cancelled,
    /// It could not be asked, or the answer cannot come any more, for this reason.
    Unavailable(Arc<str>),
}

/// What the client is told while it waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announcement {
    /// The number under which it is asked for.
    pub grant: GrantId,
    /// Who can approve it, for people.
    pub approvers: Arc<str>,
    /// Until when it waits, for people.
    pub until: Arc<str>,
}

/// A statement that waits.
pub(crate) struct Parked {
    pub(crate) request: Option<Box<Request>>,
    /// When its message was heard.
    pub(crate) at: BootTime,
    pub(crate) judged: Rc<Judged>,
    pub(crate) digest: StatementDigest,
    /// The values that are bound.
    parameters: Vec<Parameter>,
    pub(crate) stage: Stage,
}

/// How far it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// What came before it is not answered yet.
    Settling,
    /// Somebody was asked.
    Asked,
    /// Somebody has decided.
    Answered(Answer),
}

impl Parked {
    /// `Err`: nobody can be asked about it, for this reason.
    pub(crate) fn new(
        request: Option<Box<Request>>,
        at: BootTime,
        judged: Rc<Judged>,
        portals: &Portals,
    ) -> Result<Self, &'static str> {
        let digest = digest(request.as_deref(), portals)?;
        let parameters = portals.of(request.as_deref()).map(|bound| bound.parameters.clone()).unwrap_or_default();
        Ok(Self { request, at, judged, digest, parameters, stage: Stage::Settling })
    }

    /// What was decided about it, if anything was.
    pub(crate) const fn answer(&self) -> Option<&Answer> {
        match &self.stage {
            Stage::Answered(answer) => Some(answer),
            Stage::Settling | Stage::Asked => None,
        }
    }

    /// The digest in hexadecimal.
    pub(crate) fn digest_text(&self) -> String {
        self.digest.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The hold that its policies ask for.
    pub(crate) fn hold(&self) -> Option<&Hold> {
        self.judged.verdict.hold.as_ref()
    }

    /// What is asked; the rest of it is the session's.
    pub(crate) fn question(&self) -> Option<Question> {
        let request = self.request.as_deref()?;
        let Text::Whole(text) = &request.text else { return None };
        Some(Question {
            text: Arc::clone(text),
            parameters: self.parameters.clone(),
            digest: self.digest,
            facts: Arc::clone(&self.judged.facts),
            hold: self.hold()?.clone(),
            holder: None,
            in_transaction: false,
            search_path: None,
            cancel_key: None,
        })
    }

    /// The decision about the statement after all: what was answered, and what the policies say now.
    pub(crate) fn conclude(&self, again: Rc<Judged>) -> Rc<Judged> {
        let (Some(answer), Some(hold)) = (self.answer(), self.hold()) else { return again };
        match answer {
            Answer::Denied(grant, why) => Rc::new(again.denied(*grant, denial(hold, why))),
            Answer::Approved(grant) if again.facts == self.judged.facts => Rc::new(again.released(*grant)),
            Answer::Approved(grant) => {
                let why = Denied::Unavailable("what it does has changed since it was asked for: ask again".into());
                Rc::new(again.denied(Some(*grant), denial(hold, &why)))
            }
        }
    }
}

/// The refusal of something that was to wait.
pub(crate) fn denial(hold: &Hold, why: &Denied) -> Denial {
    let Hold { rule, what, remedy, .. } = hold;
    let (reason, otherwise, sqlstate): (Arc<str>, &str, _) = match why {
        Denied::Refused(words) => (Arc::clone(words), "talk to whoever has denied it", NOT_ALLOWED),
        Denied::TimedOut => {
            ("nobody has approved it in time".into(), "run it again when somebody can look", NOT_ALLOWED)
        }
        Denied::Cancelled => ("it was cancelled while it waited for approval".into(), "", CANCELLED),
        Denied::Unavailable(words) => (Arc::clone(words), "run it again", NOT_ALLOWED),
    };
    let remedy = if remedy.is_empty() { otherwise.into() } else { Arc::clone(remedy) };
    Denial { rule: Arc::clone(rule), what: Arc::clone(what), reason, remedy, sqlstate }
}

/// What was bound to portals whose statements have to wait.
#[derive(Default)]
pub(crate) struct Portals(HashMap<Arc<str>, Bound>);

struct Bound {
    /// Over its values.
    values: [u8; 32],
    /// As far as they can be read.
    parameters: Vec<Parameter>,
    /// Its statement has begun to run under this approval.
    released: Option<(GrantId, StatementDigest)>,
}

impl Portals {
    /// A Bind goes to the server; `bytes`: the message, if it is there whole and its statement has to wait.
    pub(crate) fn bind(&mut self, request: &Request, bytes: Option<&[u8]>) {
        let Some(portal) = &request.portal else { return };
        self.0.remove(portal);
        if self.0.len() >= PORTALS_MAX {
            self.0.clear();
        }
        if let Some(values) = bytes.filter(|bytes| bytes.len() <= BIND_BYTES_MAX).and_then(values) {
            let parameters = request.parameters.clone().unwrap_or_default();
            self.0.insert(Arc::clone(portal), Bound { values, parameters, released: None });
        }
    }

    fn of(&self, request: Option<&Request>) -> Option<&Bound> {
        self.0.get(request?.portal.as_ref()?)
    }

    /// The statement of an Execute runs under this approval: what is fetched from it later is the same run.
    pub(crate) fn release(&mut self, request: Option<&Request>, grant: GrantId, digest: StatementDigest) {
        let portal = request.and_then(|request| self.0.get_mut(request.portal.as_ref()?));
        if let Some(bound) = portal {
            bound.released = Some((grant, digest));
        }
    }

    /// The approval under which the portal of this Execute runs already.
    pub(crate) fn released(&self, request: Option<&Request>, digest: StatementDigest) -> Option<GrantId> {
        let (grant, released) = self.of(request)?.released?;
        (released == digest).then_some(grant)
    }
}

/// Over the exact text and values; `Err`: they are not known exactly, so that nobody can approve them.
fn digest(request: Option<&Request>, portals: &Portals) -> Result<StatementDigest, &'static str> {
    let request = request.ok_or("the message is not understood")?;
    let Text::Whole(text) = &request.text else { return Err("its text is not known whole") };
    if request.doubtful || text.contains(char::REPLACEMENT_CHARACTER) {
        return Err("its text is not known exactly");
    }
    let values = match (request.kind, &request.portal) {
        (StatementKind::Simple, _) => no_values(),
        (StatementKind::Execute, Some(_)) => {
            portals.of(Some(request)).ok_or("what is bound is not known, or too long to be looked at")?.values
        }
        _ => return Err("a function call by number cannot be shown: call it in SQL"),
    };
    let text = text.as_bytes();
    let length = (text.len() as u64).to_be_bytes();
    let hash = Sha256::new().chain_update(DOMAIN).chain_update(length).chain_update(text).chain_update(values);
    Ok(StatementDigest(hash.finalize().into()))
}

fn no_values() -> [u8; 32] {
    Sha256::digest(0_u16.to_be_bytes()).into()
}

/// Over the values of a Bind (55.7): their number, then of each its format and its bytes.
fn values(message: &[u8]) -> Option<[u8; 32]> {
    let mut body = Body(message.get(5..)?);
    body.text()?;
    body.text()?;
    let formats = (0..body.number()?).map(|_| body.number()).collect::<Option<Vec<_>>>()?;
    let count = body.number()?;
    let mut hash = Sha256::new().chain_update(count.to_be_bytes());
    for place in 0..usize::from(count) {
        let format = match formats.as_slice() {
            [] => 0,
            [all] => *all,
            each => *each.get(place)?,
        };
        let length = body.take(4)?;
        hash.update(format.to_be_bytes());
        hash.update(length);
        // -1 is NULL.
        if let Ok(length) = u32::try_from(i32::from_be_bytes(length.try_into().ok()?)) {
            hash.update(body.take(length as usize)?);
        }
    }
    Some(hash.finalize().into())
}

/// What is left of a message's body.
struct Body<'a>(&'a [u8]);

impl<'a> Body<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn number(&mut self) -> Option<u16> {
        Some(u16::from_be_bytes(self.take(2)?.try_into().ok()?))
    }

    /// A text with its zero byte.
    fn text(&mut self) -> Option<&'a [u8]> {
        let end = self.0.iter().position(|byte| *byte == 0)?;
        self.take(end.saturating_add(1))
    }
}
