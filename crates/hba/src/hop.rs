//! The gate: may a connection go through a hop without being decided otherwise than it was?
//!
//! The rule that decides about the client's own connection (*original*) and the rule that decides about the hop are
//! compared. The start-up packet is the same on both. If no rule admits the original, the client gets the server's own
//! refusal. Otherwise the hop is the same only where this table says so:
//!
//! | method of both, options equal | the same through a hop |
//! |---|---|
//! | `trust`, `password`, `md5`, `scram-sha-256`, `bsd` | yes: name and password are all that counts |
//! | `ldap`, `radius`, `oauth` | yes: the server asks a third party that is not told the client's address |
//! | `gss`, `sspi` | yes where the connection is not encrypted by GSSAPI |
//! | `pam` | over Unix sockets, and over TCP from the same address: `PAM_RHOST` is the peer's address |
//! | `peer` | over Unix sockets: the hop carries the client's user id |
//! | `ident` | never: the server asks the host of the peer who owns the peer's port, and that is Warder |
//! | `cert`, or any with `clientcert=` | only where TLS is relayed unread: nobody else has the client's key |
//! | connection encrypted by GSSAPI | only where it is relayed unread |
//! | `reject` | the client is refused as it would have been |
//!
//! | original | hop | |
//! |---|---|---|
//! | admitted | no rule, or `reject` | [`Why::Refused`]: an outage, not a hole |
//! | anything but `trust` | `trust` | [`Why::Weaker`] |
//! | `scram-sha-256` | `md5`, `password` | [`Why::Weaker`]: a role with an MD5 verifier, or one that sends clear text, gets in |
//! | `md5` | `password` | [`Why::Weaker`] |
//! | `md5` | `scram-sha-256` | [`Why::Stricter`]: roles with an MD5 verifier no longer get in, all others as before |
//! | with `clientcert=` or `clientname=` | same method without, or `verify-ca` for `verify-full` | [`Why::Weaker`] |
//! | a method | the same, other options | [`Why::Options`] |
//! | a method | another | [`Why::Method`] |
//!
//! Only *the same* goes through. `md5` with a SCRAM verifier is SCRAM, but which verifier a role has is not in the file.

use std::fmt;
use std::net::IpAddr;

use crate::attempt::{Attempt, Encryption, How};
use crate::decision::Asked;
use crate::facts::{Fact, Facts, View, branch};
use crate::method::Method;
use crate::refusal::{Reason, Refusal};
use crate::rule::Rule;
use crate::rules::Rules;

/// What happens to encryption on the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Passage {
    /// Encrypted bytes are relayed as they are, or there are none: client and server speak with each other.
    Unread,
    /// The client's encryption ends at the proxy; that of the hop, if any, begins there.
    Terminated,
}

/// A hop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Through {
    /// As the server sees it. Over a Unix socket it has the client's user id.
    pub how: How,
    /// What happens to encryption.
    pub passage: Passage,
}

/// The answer of the gate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hop<'r> {
    /// Go.
    Same,
    /// The server would refuse the original; say it in its words.
    Refused(Refusal),
    /// The server would decide otherwise than without the hop.
    Different(Difference<'r>),
    /// It depends on a fact that is not known.
    Unknown(Fact),
}

/// Two rules that decide differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Difference<'r> {
    /// The rule for the client's own connection.
    pub original: &'r Rule,
    /// The rule for the hop, if there is one. May be the same rule.
    pub hop: Option<&'r Rule>,
    /// How they differ.
    pub why: Why,
}

/// How two decisions differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Why {
    /// The server would refuse the hop.
    Refused,
    /// The hop would ask for less.
    Weaker,
    /// The hop would ask for more.
    Stricter,
    /// Same method, other options.
    Options,
    /// Other method, neither weaker nor stricter.
    Method,
    /// `ident` is asked about the hop.
    Ident,
    /// PAM is told the hop's address.
    PamAddress,
    /// A client certificate does not get through.
    ClientCertificate,
    /// GSSAPI encryption does not get through.
    GssEncryption,
}

impl fmt::Display for Why {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Refused => "the server would refuse the hop",
            Self::Weaker => "the hop would be asked for less",
            Self::Stricter => "the hop would be asked for more",
            Self::Options => "the options of the method differ",
            Self::Method => "the methods differ",
            Self::Ident => "ident would be asked about the hop",
            Self::PamAddress => "PAM would be told the address of the hop",
            Self::ClientCertificate => "the client's certificate does not reach the server",
            Self::GssEncryption => "encryption by GSSAPI does not reach the server",
        })
    }
}

impl Rules {
    /// Whether an attempt may go through a hop.
    #[must_use]
    pub fn hop(&self, original: &Attempt<'_>, through: &Through, facts: &Facts) -> Hop<'_> {
        match self.judge(&Asked::of(original), original.how, through, facts).judgement {
            Judgement::Same => Hop::Same,
            Judgement::Refused(reason) => Hop::Refused(Refusal::new(reason, original, self.major)),
            Judgement::Different(difference) => Hop::Different(difference),
            Judgement::Unknown(fact) => Hop::Unknown(fact),
        }
    }

    /// As [`Rules::hop`], also with all branches.
    pub(crate) fn judge(&self, asked: &Asked<'_>, original: How, through: &Through, facts: &Facts) -> Judged<'_> {
        let branches = branch(facts, |view: &View<'_>| {
            Ok((self.first(asked, original, view)?, self.first(asked, through.how, view)?))
        });
        let judged = |pair: &Pair| (*pair, self.judge_pair(*pair, original, through));
        let all: Vec<(Pair, Judgement<'_>)> = branches.results.iter().map(judged).collect();
        let judgement = match (branches.unknown.clone(), unanimous(&all)) {
            (Some(fact), _) if branches.cut => Judgement::Unknown(fact),
            (_, Some(judgement)) => judgement,
            // Whom the server would refuse, it refuses in the same branch through the hop: it may be asked.
            (Some(_), None) if branches.results.iter().all(|pair| self.goes(*pair, original, through)) => {
                Judgement::Same
            }
            (Some(fact), None) => Judgement::Unknown(fact),
            (None, None) => Judgement::Refused(Reason::NoEntry),
        };
        Judged { judgement, all, unknown: branches.unknown, cut: branches.cut }
    }

    /// Whether the server, asked through the hop, does what it would do without.
    fn goes(&self, pair: Pair, original: How, through: &Through) -> bool {
        match self.judge_pair(pair, original, through) {
            Judgement::Same => true,
            Judgement::Refused(_) => self.is_refusal(pair.1),
            Judgement::Different(_) | Judgement::Unknown(_) => false,
        }
    }

    /// Whether a connection is certainly refused before authentication.
    pub(crate) fn refuses(&self, asked: &Asked<'_>, how: How, facts: &Facts) -> bool {
        let branches = branch(facts, |view| self.first(asked, how, view));
        !branches.cut && branches.results.into_iter().all(|found| self.is_refusal(found))
    }

    fn is_refusal(&self, found: Option<usize>) -> bool {
        let rule = found.and_then(|index| self.rules.get(index));
        rule.is_none_or(|rule| rule.method == Method::Reject)
    }

    fn judge_pair(&self, pair: Pair, original_how: How, through: &Through) -> Judgement<'_> {
        let rule = |index: Option<usize>| index.and_then(|index| self.rules.get(index));
        let Some(original) = rule(pair.0) else { return Judgement::Refused(Reason::NoEntry) };
        if original.method == Method::Reject {
            return Judgement::Refused(Reason::Rejected);
        }
        let hop = rule(pair.1);
        match difference(original, hop, original_how.canonical(), through) {
            None => Judgement::Same,
            Some(why) => Judgement::Different(Difference { original, hop, why }),
        }
    }
}

/// The one judgement of all branches.
fn unanimous<'r>(all: &[(Pair, Judgement<'r>)]) -> Option<Judgement<'r>> {
    let (_, first) = all.first()?;
    all.iter().all(|(_, judgement)| judgement == first).then(|| first.clone())
}

/// What came out, and how.
pub(crate) struct Judged<'r> {
    pub(crate) judgement: Judgement<'r>,
    /// Each branch.
    pub(crate) all: Vec<(Pair, Judgement<'r>)>,
    /// The first unknown fact, if any was asked for.
    pub(crate) unknown: Option<Fact>,
    /// There were more branches: `all` is not all.
    pub(crate) cut: bool,
}

/// Indices of the rules for the original and for the hop.
pub(crate) type Pair = (Option<usize>, Option<usize>);

/// [`Hop`] without a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Judgement<'r> {
    Same,
    Refused(Reason),
    Different(Difference<'r>),
    Unknown(Fact),
}

fn difference(original: &Rule, hop: Option<&Rule>, original_how: How, through: &Through) -> Option<Why> {
    let Some(hop) = hop.filter(|hop| hop.method != Method::Reject) else { return Some(Why::Refused) };
    if (original.method, &original.options) != (hop.method, &hop.options) {
        return Some(other_rule(original, hop));
    }
    changed_on_the_way(original, original_how, through)
}

/// How two rules differ that differ in method or options.
fn other_rule(original: &Rule, hop: &Rule) -> Why {
    if original.method == hop.method {
        return if is_without_certificate_check(original, hop) { Why::Weaker } else { Why::Options };
    }
    match (original.method, hop.method) {
        (_, Method::Trust)
        | (Method::ScramSha256, Method::Md5 | Method::Password)
        | (Method::Md5, Method::Password) => Why::Weaker,
        (Method::Md5, Method::ScramSha256) => Why::Stricter,
        _ => Why::Method,
    }
}

/// The options are equal but for the client certificate, which the hop's rule checks less.
fn is_without_certificate_check(original: &Rule, hop: &Rule) -> bool {
    let rest = |rule: &Rule| rule.options.without("clientcert").without("clientname");
    let level = |rule: &Rule| match rule.options.get("clientcert") {
        Some(b"verify-full") => 2_u8,
        Some(_) => 1,
        None => 0,
    };
    rest(original) == rest(hop) && level(original) > level(hop)
}

/// What is decided otherwise although the rules are equal.
fn changed_on_the_way(rule: &Rule, original: How, through: &Through) -> Option<Why> {
    let hop = through.how.canonical();
    let terminated = through.passage == Passage::Terminated;
    if rule.needs_client_certificate() && (terminated || encryption(original) != encryption(hop)) {
        return Some(Why::ClientCertificate);
    }
    let any_gss = encryption(original) == Encryption::Gss || encryption(hop) == Encryption::Gss;
    if any_gss && (terminated || encryption(original) != encryption(hop)) {
        return Some(Why::GssEncryption);
    }
    match rule.method {
        Method::Ident => Some(Why::Ident),
        Method::Pam if address(original) != address(hop) => Some(Why::PamAddress),
        // The user id of a hop over TCP is nobody's, but no rule for TCP has this method.
        Method::Peer if original != How::Local || hop != How::Local => Some(Why::Method),
        _ => None,
    }
}

const fn encryption(how: How) -> Encryption {
    match how {
        How::Local => Encryption::None,
        How::Host { encryption, .. } => encryption,
    }
}

const fn address(how: How) -> Option<IpAddr> {
    match how {
        How::Local => None,
        How::Host { address, .. } => Some(address),
    }
}
