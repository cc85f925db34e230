//! What people and programs may do about grants, whichever way they ask. Who they are is what their token proves: the
//! account of a process is nobody's approval.

use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::Arc;

use access::{Ask, Case, Proposal, Refusal};
use identity::secret::Secret;
use model::access::{ChangedBy, Grant, GrantId, GrantState, Holder, Scope};
use model::principal::Principal;
use model::verdict::Denial;
use serde_json::json;
use tokio::task::spawn_blocking;

use super::rules::{Rules, Wish};
use super::{Desk, NotWritten, refused};
use crate::clock;
use crate::control::grants::{GrantAsk, GrantVerb, GrantView, digest};
use crate::control::server::Caller;

/// A word for programs, and a text for people.
pub(in super::super) type Answer = Result<Vec<GrantView>, (&'static str, String)>;

/// Instead of a statement.
const NOT_SHOWN: &str = "a statement is shown to whoever wants it, and to those who may decide about it";
/// Nanoseconds of a second.
const SECOND: u64 = 1_000_000_000;

impl Desk {
    /// Does what is asked.
    pub(in super::super) async fn answer(&self, verb: GrantVerb, mut ask: GrantAsk, caller: Caller) -> Answer {
        let who = match ask.token.take() {
            Some(token) => Some(self.principal(token).await?),
            None => None,
        };
        self.is_what_was_seen(&ask)?;
        match (verb, who) {
            (GrantVerb::List, _) => self.list(ask.open).await,
            (GrantVerb::Show, who) => self.show(&ask, who.as_ref()),
            (_, Some(principal)) => self.act(verb, &principal, &ask),
            (GrantVerb::Revoke, None) if caller.may_take_back() => {
                self.revoke(&ask, ChangedBy::Operator { uid: caller.uid })
            }
            (_, None) => Err(("no_token", "say who you are: --token-file (see: warder login)".to_owned())),
        }
    }

    /// What somebody does who has proved who they are.
    fn act(&self, verb: GrantVerb, principal: &Principal, ask: &GrantAsk) -> Answer {
        match verb {
            GrantVerb::Request => self.request(principal, ask),
            GrantVerb::Renew => self.renew(principal, ask),
            GrantVerb::Withdraw => {
                let by = ChangedBy::Holder(Holder::from(principal));
                self.change(ask, |desk, now, id| desk.withdraw(now, id, by, &ask.reason))
            }
            GrantVerb::Approve => {
                self.may_decide(principal, ask)?;
                let by = Holder::from(principal);
                self.change(ask, |desk, now, id| desk.approve(now, id, by, &ask.reason))
            }
            GrantVerb::Deny => {
                self.may_decide(principal, ask)?;
                let by = ChangedBy::Holder(Holder::from(principal));
                self.change(ask, |desk, now, id| desk.deny(now, id, by, &ask.reason))
            }
            GrantVerb::Revoke => {
                let holder = Holder::from(principal);
                // What is one's own can be given back, also what an agent holds for somebody.
                if !self.case(ask)?.grant.holder.answers_to(&holder) {
                    self.may_decide(principal, ask)?;
                }
                self.revoke(ask, ChangedBy::Holder(holder))
            }
            GrantVerb::Review => {
                self.may_decide(principal, ask)?;
                let by = Holder::from(principal);
                self.change(ask, |desk, now, id| desk.review(now, id, by, &ask.reason))
            }
            GrantVerb::List | GrantVerb::Show => Ok(Vec::new()),
        }
    }

    /// There may be thousands: they are put into words on another thread, and sessions do not wait for it.
    async fn list(&self, open: bool) -> Answer {
        let cases: Vec<_> = self.desk.borrow().cases().filter(|case| !open || case.is_open()).cloned().collect();
        let views = spawn_blocking(move || cases.iter().map(|case| GrantView::from(&**case)).collect());
        views.await.map_err(|_stopped| ("failed", "the agent stops; try again".to_owned()))
    }

    /// One grant. Its statement is for those whom it concerns: the text may say more than the policies would let read.
    fn show(&self, ask: &GrantAsk, who: Option<&Principal>) -> Answer {
        let case = self.case(ask)?;
        let statement = self.statements.borrow().get(&case.grant.id).map(Rc::clone);
        let statement = statement.map(|statement| match who {
            Some(who) if !self.concerns(who, &case) => json!({ "unknown": NOT_SHOWN }),
            _ => statement.json(),
        });
        Ok(vec![GrantView { statement, ..GrantView::from(&*case) }])
    }

    /// Whose it is, and who may decide about it.
    fn concerns(&self, who: &Principal, case: &Case) -> bool {
        let decides = || {
            let database = &case.grant.scope.database;
            self.with_rules(database, |rules| rules.may_decide(who, case, clock::wall())).is_ok()
        };
        case.grant.holder.answers_to(&Holder::from(who)) || decides()
    }

    /// A decision is about what was seen, where it says what that was.
    fn is_what_was_seen(&self, ask: &GrantAsk) -> Result<(), (&'static str, String)> {
        match &ask.digest {
            Some(seen) if *seen != digest(&self.case(ask)?.grant) => {
                Err(("digest", "this is not what was asked for: look at it again, and decide then".to_owned()))
            }
            _ => Ok(()),
        }
    }

    async fn principal(&self, token: String) -> Result<Principal, (&'static str, String)> {
        let token = Secret::new(token.into_bytes());
        let verified = self.proofs.verify_token(&token, clock::wall()).await;
        let verified = verified.map_err(|error| ("token", format!("the token proves nothing: {error}")))?;
        Ok(verified.principal().clone())
    }

    fn request(&self, principal: &Principal, ask: &GrantAsk) -> Answer {
        let name = ask.database_entry.as_deref().unwrap_or_default();
        let set = |texts: &[String]| texts.iter().map(|text| Arc::from(text.as_str())).collect::<BTreeSet<Arc<str>>>();
        let scope = Scope {
            database: name.into(),
            sql_database: ask.database.as_deref().map(Arc::from),
            actions: set(&ask.actions),
            relations: set(&ask.relations),
        };
        policy::granted::check(&scope).map_err(|error| ("scope", error.to_string()))?;
        let ask = Ask {
            holder: Holder::from(principal),
            scope,
            purpose: ask.purpose.as_str().into(),
            ticket: ask.ticket.as_deref().map(Arc::from),
            duration: ask.seconds.unwrap_or_default().saturating_mul(SECOND),
            once: None,
            break_glass: ask.break_glass,
            renews: None,
        };
        self.ask(principal, ask)
    }

    fn renew(&self, principal: &Principal, ask: &GrantAsk) -> Answer {
        let case = self.case(ask)?;
        let Grant { id, scope, purpose, ticket, duration, .. } = &*case.grant;
        let renewal = Ask {
            holder: Holder::from(principal),
            scope: scope.clone(),
            purpose: if ask.purpose.is_empty() { Arc::clone(purpose) } else { ask.purpose.as_str().into() },
            ticket: ask.ticket.as_deref().map(Arc::from).or_else(|| ticket.clone()),
            duration: ask.seconds.map_or(*duration, |seconds| seconds.saturating_mul(SECOND)),
            once: None,
            break_glass: false,
            renews: Some(*id),
        };
        self.ask(principal, renewal)
    }

    fn ask(&self, principal: &Principal, ask: Ask) -> Answer {
        let wish = Wish {
            scope: &ask.scope,
            duration: ask.duration,
            purpose: &ask.purpose,
            ticket: ask.ticket.as_deref(),
            once: ask.once.is_some(),
            break_glass: ask.break_glass,
            renewal: ask.renews.is_some(),
        };
        let terms = self.with_rules(&ask.scope.database, |rules| rules.terms(principal, &wish, clock::wall()))?;
        let id = Self::draw().map_err(|why| ("failed", why))?;
        self.propose(|desk, now| desk.request(now, id, ask, terms))
    }

    /// The grant, and those that prolong it: whoever takes access back means all of it, also what is only asked for. It is
    /// the first in the answer.
    fn revoke(&self, ask: &GrantAsk, by: ChangedBy) -> Answer {
        let (id, why) = (number(ask)?, &*ask.reason);
        let mut revoked = self.propose(|desk, now| desk.revoke(now, id, by.clone(), why))?;
        let renewals = self.desk.borrow().renewals(id);
        for Grant { id, .. } in renewals.iter().map(|case| &*case.grant) {
            let by = by.clone();
            let ended = self.propose(|desk, now| match desk.case(*id).map(|case| case.state) {
                Some(GrantState::Requested) => desk.deny(now, *id, by, why),
                _ => desk.revoke(now, *id, by, why),
            });
            match ended {
                // Its time may be over in this moment.
                Err(("state", _)) => {}
                ended => revoked.extend(ended?),
            }
        }
        Ok(revoked)
    }

    fn may_decide(&self, principal: &Principal, ask: &GrantAsk) -> Result<(), (&'static str, String)> {
        let case = self.case(ask)?;
        self.with_rules(&case.grant.scope.database, |rules| rules.may_decide(principal, &case, clock::wall()))
    }

    pub(super) fn with_rules<T>(
        &self,
        database: &str,
        decide: impl FnOnce(&Rules) -> Result<T, Denial>,
    ) -> Result<T, (&'static str, String)> {
        let rules = self.rules.borrow();
        let found = rules.values().find(|rules| &*rules.name == database);
        let found = found.ok_or_else(|| {
            let text = format!("there is no database \"{database}\" with policies in the configuration");
            ("unknown_database", text)
        })?;
        decide(found).map_err(|denial| ("policy", explained(&denial)))
    }

    fn case(&self, ask: &GrantAsk) -> Result<Arc<Case>, (&'static str, String)> {
        let id = number(ask)?;
        self.desk.borrow().case(id).cloned().ok_or_else(|| refused(&Refusal::Unknown(id)))
    }

    fn change<'a>(
        &self,
        ask: &GrantAsk,
        propose: impl FnOnce(&mut access::Desk, access::Moment, GrantId) -> Result<Proposal<'_>, Refusal> + 'a,
    ) -> Answer {
        let id = number(ask)?;
        self.propose(|desk, now| propose(desk, now, id))
    }

    /// One change: written down, in effect, and told to the workers.
    fn propose(
        &self,
        propose: impl FnOnce(&mut access::Desk, access::Moment) -> Result<Proposal<'_>, Refusal>,
    ) -> Answer {
        let now = self.now();
        let case = {
            let mut desk = self.desk.borrow_mut();
            let proposal = propose(&mut desk, now).map_err(|refusal| refused(&refusal))?;
            self.commit(proposal).map_err(|NotWritten| {
                ("failed", "the change cannot be written down, so it has no effect; see the agent's log".to_owned())
            })?
        };
        self.tell(&case);
        Ok(vec![GrantView::from(&*case)])
    }
}

fn number(ask: &GrantAsk) -> Result<GrantId, (&'static str, String)> {
    let text = ask.grant.as_deref().unwrap_or_default();
    GrantId::parse(text).ok_or_else(|| ("no_grant", format!("\"{text}\" is no grant; they look like g-7k3f9q2d")))
}

/// The rule, why, and what to do.
fn explained(denial: &Denial) -> String {
    let Denial { rule, what, reason, remedy, .. } = denial;
    let remedy = if remedy.is_empty() { String::new() } else { format!("; {remedy}") };
    format!("{what} is refused by policy \"{rule}\": {reason}{remedy}")
}
