//! From a request to a decision: facts of its text, then the policies. What was decided about the same facts in the same
//! circumstances is remembered for as long as it holds.

use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};
use std::rc::Rc;
use std::sync::Arc;

use crate::board::{Board, Glance};
use crate::hold::{self, Denied};
use crate::masking::Protected;
use crate::names::Names;
use crate::neighbours::{Neighbours, Place};
use crate::rate::Rates;
use mask::{Plan, Planned, Protection, Rule};
use model::Known;
use model::access::{GrantId, Holder};
use model::facts::{Facts, OpaqueReason, StatementFacts};
use model::lineage::StoredColumn;
use model::principal::{Principal, UnknownPrincipal};
use model::request::Request;
use model::statement::{StatementKind, Text};
use model::time::{BootTime, WallTime};
use model::verdict::{Denial, Judgement, Masked, Mode, Obligations, PolicyEpoch, Verdict};
use policy::{ActiveGrant, Asked, Decision, Hold, Permit, PolicySet, Question, SessionContext};
use recorder::EncodedJudgement;
use sql::Analyser;
use sql::catalogue::Catalogue;
use sql::state::State;

/// Decisions that one session remembers.
const DECISIONS_MAX: usize = 256;

/// What all sessions of one database have in common: its policies and what is known of its objects.
pub struct Judge {
    analyser: RefCell<Analyser>,
    protection: RefCell<Rc<Protection>>,
    /// The same with each of the catalogues.
    protected: RefCell<HashMap<Arc<str>, Rc<Protected>>>,
    rates: Rc<Rates>,
    policies: RefCell<Rc<PolicySet>>,
    board: Rc<Board>,
    /// By the name of the SQL database.
    catalogues: RefCell<HashMap<Arc<str>, Snapshot>>,
    /// Where there is no snapshot.
    none: Rc<Catalogue>,
    neighbours: Option<Rc<Neighbours>>,
}

impl Judge {
    /// With these policies, grants from this board, and no snapshot of any catalogue.
    #[must_use]
    pub fn new(policies: PolicySet, board: Rc<Board>) -> Self {
        let analyser = RefCell::new(Analyser::new(sql::Limits::default()));
        let policies = RefCell::new(Rc::new(policies));
        let none = Rc::new(Catalogue::none());
        Self {
            analyser,
            protection: RefCell::default(),
            protected: RefCell::default(),
            rates: Rc::default(),
            policies,
            board,
            catalogues: RefCell::default(),
            none,
            neighbours: None,
        }
    }

    /// The same, with sessions that hear what those of all workers change in the catalogues, and rates that all of them share.
    #[must_use]
    pub fn among(self, neighbours: Rc<Neighbours>, rates: Rc<Rates>) -> Self {
        Self { neighbours: Some(neighbours), rates, ..self }
    }

    /// From the next message on this is protected. What was decided before is decided again with the next policies:
    /// [`Judge::replace`] comes behind it.
    pub fn protect(&self, protection: Protection) {
        let lineage = !protection.is_empty();
        *self.analyser.borrow_mut() = Analyser::new(sql::Limits { lineage, ..sql::Limits::default() });
        *self.protection.borrow_mut() = Rc::new(protection);
        for (database, snapshot) in &*self.catalogues.borrow() {
            self.protect_with(Arc::clone(database), &snapshot.catalogue);
        }
    }

    fn protect_with(&self, database: Arc<str>, catalogue: &Rc<Catalogue>) {
        let protected = Protected::new(self.protection(), Rc::clone(catalogue));
        self.protected.borrow_mut().insert(database, Rc::new(protected));
    }

    fn protects(&self) -> bool {
        !self.protection.borrow().is_empty()
    }

    pub(crate) fn protection(&self) -> Rc<Protection> {
        Rc::clone(&self.protection.borrow())
    }

    /// What is protected in an SQL database, where anything is.
    fn protected(&self, database: &str) -> Option<Rc<Protected>> {
        let known = self.protected.borrow().get(database).cloned();
        let without = || Rc::new(Protected::new(self.protection(), Rc::clone(&self.none)));
        self.protects().then(|| known.unwrap_or_else(without))
    }

    /// From the next message on other policies hold, for live sessions too.
    pub fn replace(&self, policies: PolicySet) {
        *self.policies.borrow_mut() = Rc::new(policies);
    }

    /// From the next message on this is what is known of the objects of an SQL database.
    pub fn know(&self, database: Arc<str>, snapshot: Snapshot) {
        self.protect_with(Arc::clone(&database), &snapshot.catalogue);
        self.catalogues.borrow_mut().insert(database, snapshot);
    }

    /// A reading that began then has found what is known.
    pub fn confirm(&self, database: &str, read_at: BootTime) {
        if let Some(snapshot) = self.catalogues.borrow_mut().get_mut(database) {
            snapshot.read_at = snapshot.read_at.max(read_at);
        }
    }

    /// When the last reading of an SQL database began whose outcome is known here.
    pub(crate) fn read_at(&self, database: &str) -> Option<BootTime> {
        self.catalogues.borrow().get(database).map(|snapshot| snapshot.read_at)
    }

    fn policies(&self) -> Rc<PolicySet> {
        Rc::clone(&self.policies.borrow())
    }

    pub(crate) fn catalogue(&self, database: &str) -> Rc<Catalogue> {
        let catalogues = self.catalogues.borrow();
        Rc::clone(catalogues.get(database).map_or(&self.none, |snapshot| &snapshot.catalogue))
    }
}

/// What an SQL database has.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Its objects.
    pub catalogue: Rc<Catalogue>,
    /// When the reading of it began: what was committed before is in it.
    pub read_at: BootTime,
}

impl Snapshot {
    /// Of a reading that began then.
    #[must_use]
    pub fn new(catalogue: Catalogue, read_at: BootTime) -> Self {
        Self { catalogue: Rc::new(catalogue), read_at }
    }
}

/// Who asks, and from where.
pub(crate) struct Circumstances {
    pub(crate) principal: Known<Principal, UnknownPrincipal>,
    pub(crate) session: SessionContext,
}

/// One session's view of the judge.
pub(crate) struct Bench {
    judge: Rc<Judge>,
    remembered: HashMap<Remembered, Rc<Judged>>,
    /// Whose grants count; `None`: nobody knows who acts.
    holder: Option<Holder>,
    glance: Glance,
    /// Of the set that the remembered decisions are of.
    epoch: PolicyEpoch,
    /// What SQL's names stand for.
    pub(crate) names: Names,
}

#[derive(PartialEq, Eq, Hash)]
struct Remembered {
    facts: Arc<Facts>,
    in_transaction: bool,
}

/// A decision about one message.
pub(crate) struct Judged {
    pub(crate) facts: Arc<Facts>,
    pub(crate) verdict: Verdict,
    pub(crate) encoded: EncodedJudgement,
    /// Whether it may run.
    pub(crate) ruling: Ruling,
    pub(crate) plans: Plans,
    /// How many of its statements are counted, each by itself.
    counted: u64,
    /// Until then the same may be said again without asking; `Some(None)`: for as long as the policies hold.
    holds: Option<Option<WallTime>>,
}

/// What the answers to a text look like.
#[derive(Clone, Default)]
pub(crate) struct Plans {
    /// Its results, one for each statement; `None`: as they are.
    pub(crate) results: Vec<Option<Arc<Plan>>>,
    /// There is something that the principal may not read, wherever: what the server runs besides may quote it.
    pub(crate) hides: bool,
}

/// Whether something may run.
#[derive(Clone)]
pub(crate) enum Ruling {
    /// It may: one permit for each statement of the text.
    Run(Vec<Permit>),
    /// Once somebody has approved it: these for some of its statements, and those for the others.
    Wait(Vec<Permit>, Vec<Hold>),
    /// It may not.
    Refused,
}

impl Ruling {
    /// Both: what all statements of a text come to.
    fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Refused, _) | (_, Self::Refused) => Self::Refused,
            (Self::Run(one), Self::Run(other)) => Self::Run([one, other].concat()),
            (Self::Run(one), Self::Wait(other, holds)) => Self::Wait([one, other].concat(), holds),
            (Self::Wait(one, holds), Self::Run(other)) => Self::Wait([one, other].concat(), holds),
            (Self::Wait(one, first), Self::Wait(other, second)) => {
                Self::Wait([one, other].concat(), [first, second].concat())
            }
        }
    }
}

impl Bench {
    pub(crate) fn new(judge: Rc<Judge>, principal: &Known<Principal, UnknownPrincipal>) -> Self {
        let epoch = judge.policies().epoch();
        let (remembered, glance, names) = (HashMap::new(), Glance::default(), Names::default());
        Self { judge, remembered, holder: holder(principal), glance, epoch, names }
    }

    /// Before a decision: what has been granted may have changed, or its time may be over.
    pub(crate) fn look_at_grants(&mut self, now: BootTime) {
        if self.glance.renew(&self.judge.board, self.holder.as_ref(), now) {
            self.remembered.clear();
        }
    }

    /// The place of a session among those of all workers.
    pub(crate) fn place(&self, session: &SessionContext) -> Place {
        Place::new(self.judge.neighbours.clone(), &session.database_name, &session.database)
    }

    /// What is known of an SQL database.
    pub(crate) fn catalogue(&self, database: &str) -> Rc<Catalogue> {
        self.judge.catalogue(database)
    }

    /// What a request would do. `altered`: which changes of others the state has, 0 where it has none.
    pub(crate) fn facts(&mut self, request: &Request, state: &State, altered: u64, database: &str) -> Arc<Facts> {
        let catalogue = self.judge.catalogue(database);
        let read = |text: &str| {
            // The decoder replaces what is no UTF-8; here such a text must not be read as something else.
            if text.contains(char::REPLACEMENT_CHARACTER) {
                return opaque(OpaqueReason::Encoding);
            }
            self.judge.analyser.borrow_mut().facts(text.as_bytes(), state, &catalogue)
        };
        self.names.renew((catalogue.epoch(), altered), read);
        let text = match (&request.text, request.kind) {
            (_, StatementKind::FunctionCall { .. }) => return opaque(OpaqueReason::FunctionCall),
            (Text::Whole(_) | Text::Truncated { .. }, _) if request.doubtful => {
                return opaque(OpaqueReason::UnknownName);
            }
            (Text::Truncated { .. }, _) => return opaque(OpaqueReason::TooLarge),
            (Text::Whole(text), _) => text,
            (Text::Unknown(_), _) => {
                return self.names.of_request(request).unwrap_or_else(|| opaque(OpaqueReason::UnknownName));
            }
        };
        self.names.resolve(read(text))
    }

    /// When the last reading of an SQL database began whose outcome is known here.
    pub(crate) fn read_at(&self, database: &str) -> Option<BootTime> {
        self.judge.read_at(database)
    }

    /// Whether anything is protected.
    pub(crate) fn masks(&self) -> bool {
        self.judge.protects()
    }

    /// What is protected here, where anything is.
    pub(crate) fn protected(&self, database: &str) -> Option<Rc<Protected>> {
        self.judge.protected(database)
    }

    /// Decides about a request.
    pub(crate) fn judge(&mut self, facts: Arc<Facts>, around: &Circumstances, now: WallTime) -> Rc<Judged> {
        let cursors = &self.names.cursors;
        let bounds = match facts.opaque {
            Some(OpaqueReason::UnknownName) => cursors.bounds_of_unknown(),
            _ => cursors.bounds(&facts),
        };
        let judged = self.judge_alone(facts, around, now).within(bounds);
        self.names.cursors.note(judged.verdict.obligations);
        judged
    }

    /// The same without regard to the cursors that run with it.
    fn judge_alone(&mut self, facts: Arc<Facts>, around: &Circumstances, now: WallTime) -> Rc<Judged> {
        let policies = self.judge.policies();
        if policies.epoch() != self.epoch {
            self.epoch = policies.epoch();
            self.remembered.clear();
        }
        let key = Remembered { facts: Arc::clone(&facts), in_transaction: around.session.in_transaction };
        if let Some(known) = self.remembered.get(&key)
            && known.holds.is_some_and(|end| end.is_none_or(|end| now < end))
        {
            return Rc::clone(known);
        }
        let mut judged = ask(&policies, &asked_by(&facts), &facts, (around, self.glance.grants()), now);
        let protection = self.judge.protection();
        if !protection.is_empty() {
            judged.plan(&protection, &policies, around, now);
        }
        let judged = Rc::new(judged);
        if judged.holds.is_some() {
            if self.remembered.len() >= DECISIONS_MAX {
                self.remembered.clear();
            }
            self.remembered.insert(key, Rc::clone(&judged));
        }
        judged
    }

    /// The same about something that runs: it counts.
    pub(crate) fn judge_run(&mut self, facts: Arc<Facts>, around: &Circumstances, now: WallTime) -> Rc<Judged> {
        let judged = self.judge(facts, around, now);
        let Some(max) = judged.verdict.obligations.rate_per_minute else { return judged };
        let who = around.principal.known().map(|principal| &principal.actor);
        let database = &around.session.database_name;
        if matches!(judged.ruling, Ruling::Refused) || self.judge.rates.allows(database, who, judged.counted, max, now)
        {
            return judged;
        }
        Rc::new(judged.beyond_rate(max, around.session.mode))
    }

    /// May the session be opened?
    pub(crate) fn judge_opening(
        &self,
        replication: bool,
        facts: Facts,
        around: &Circumstances,
        now: WallTime,
    ) -> Judged {
        let policies = self.judge.policies();
        let facts = Arc::new(facts);
        let mut asked = vec![if replication { Asked::Replication } else { Asked::Connect }];
        asked.extend(asked_by(&facts));
        ask(&policies, &asked, &facts, (around, self.glance.grants()), now)
    }

    /// Somebody else acts, and everything depends on that.
    pub(crate) fn identify(&mut self, principal: &Known<Principal, UnknownPrincipal>) {
        self.holder = holder(principal);
        self.glance.forget();
        self.remembered.clear();
    }
}

impl Judged {
    /// With these bounds besides its own.
    fn within(self: Rc<Self>, bounds: Obligations) -> Rc<Self> {
        let obligations = self.verdict.obligations.tighter(bounds);
        if obligations == self.verdict.obligations {
            return self;
        }
        let verdict = Verdict { obligations, ..self.verdict.clone() };
        let facts = Arc::clone(&self.facts);
        let encoded = EncodedJudgement::of(&Judgement { verdict: verdict.clone(), facts: Arc::clone(&facts) });
        let (ruling, plans, counted) = (self.ruling.clone(), self.plans.clone(), self.counted);
        Rc::new(Self { facts, verdict, encoded, ruling, plans, counted, holds: None })
    }

    /// It would be allowed, were it not one too many.
    fn beyond_rate(&self, max: u64, mode: Mode) -> Self {
        let denial = Denial {
            rule: self.verdict.allowed_by.first().cloned().unwrap_or_else(|| "rate".into()),
            what: format!("what would be more than {max} statements in a minute").into(),
            reason: format!("the policy allows {max} statements in a minute").into(),
            remedy: "wait for the next minute, or ask for less at once".into(),
            sqlstate: "53400",
        };
        let verdict = Verdict { denial: Some(denial), ..self.verdict.clone() };
        let ruling = if mode == Mode::Enforce { Ruling::Refused } else { self.ruling.clone() };
        let facts = Arc::clone(&self.facts);
        let encoded = EncodedJudgement::of(&Judgement { verdict: verdict.clone(), facts: Arc::clone(&facts) });
        Self { facts, verdict, encoded, ruling, plans: self.plans.clone(), counted: self.counted, holds: None }
    }

    /// Plans what the results look like; what cannot be masked is refused.
    fn plan(&mut self, protection: &Protection, policies: &PolicySet, around: &Circumstances, now: WallTime) {
        let Circumstances { principal, session } = around;
        let mut holds = self.holds;
        let mut may_read = |column: &StoredColumn, rule: &Rule| {
            let protected = policy::Protected { column, tags: &rule.tags };
            let facts = Asked::ReadClear(&protected);
            let decision = policies.decide(&Question { principal, facts, session, grants: &[], now });
            holds = holds.filter(|_| decision.is_cacheable()).map(|end| earlier(end, decision.not_after()));
            matches!(decision, Decision::Permit(_))
        };
        let mut refused = None;
        let lineages = self.facts.statements.iter().map(StatementFacts::traced);
        for lineage in lineages.chain(self.facts.opaque.map(Err)) {
            match mask::plan(protection, lineage, &mut may_read) {
                Planned::Clear => self.plans.results.push(None),
                Planned::Masked(plan) => self.plans.results.push(Some(plan)),
                Planned::Refused(refusal) => refused = refused.or(Some(refusal)),
            }
        }
        self.plans.hides = !mask::sees_everything(protection, &mut may_read);
        self.holds = holds;
        if let Some(refusal) = refused.filter(|_| self.verdict.denial.is_none()) {
            self.verdict.denial = Some(Denial {
                rule: refusal.rule,
                what: refusal.what.into(),
                reason: refusal.reason.into(),
                remedy: refusal.remedy.into(),
                sqlstate: if self.facts.opaque == Some(OpaqueReason::Syntax) { "42601" } else { "42501" },
            });
            // What does not run waits for nobody.
            self.verdict.hold = None;
            if session.mode == Mode::Enforce {
                self.ruling = Ruling::Refused;
            }
        }
        self.verdict.masked = if self.verdict.denial.is_none() { masked(&self.plans.results) } else { Arc::default() };
        self.encoded =
            EncodedJudgement::of(&Judgement { verdict: self.verdict.clone(), facts: Arc::clone(&self.facts) });
    }

    /// Somebody who may has approved it, under that number. What does not wait stays as it is.
    pub(crate) fn released(&self, grant: GrantId) -> Self {
        let ruling = match self.ruling.clone() {
            Ruling::Wait(mut permits, holds) => {
                permits.extend(holds.into_iter().map(|hold| hold.released(grant)));
                Ruling::Run(permits)
            }
            ruling => ruling,
        };
        self.having_waited(Some(grant), self.verdict.denial.clone(), ruling)
    }

    /// It is refused after it has waited, or because it cannot.
    pub(crate) fn denied(&self, grant: Option<GrantId>, denial: Denial) -> Self {
        self.having_waited(grant, Some(denial), Ruling::Refused)
    }

    /// It has to wait, but nobody can be asked about it.
    pub(crate) fn unshowable(&self, why: &str) -> Self {
        let hold = self.verdict.hold.clone();
        let why = Denied::Unavailable(format!("it needs an approval, and nobody can be asked: {why}").into());
        self.denied(None, hold.map_or_else(unexplained, |hold| hold::denial(&hold, &why)))
    }

    fn having_waited(&self, grant: Option<GrantId>, denial: Option<Denial>, ruling: Ruling) -> Self {
        let hold = self.verdict.hold.clone().map(|hold| model::verdict::Hold { grant, ..hold });
        let verdict = Verdict { hold, denial, ..self.verdict.clone() };
        let facts = Arc::clone(&self.facts);
        let encoded = EncodedJudgement::of(&Judgement { verdict: verdict.clone(), facts: Arc::clone(&facts) });
        Self { facts, verdict, encoded, ruling, plans: self.plans.clone(), counted: self.counted, holds: None }
    }
}

fn holder(principal: &Known<Principal, UnknownPrincipal>) -> Option<Holder> {
    principal.known().map(Holder::from)
}

fn opaque(reason: OpaqueReason) -> Arc<Facts> {
    Arc::new(Facts { statements: Vec::new(), opaque: Some(reason) })
}

/// What the plans of all statements of a text mask, each column once.
fn masked(plans: &[Option<Arc<Plan>>]) -> Arc<[Masked]> {
    let columns = plans.iter().flatten().flat_map(|plan| &plan.masked);
    let masked =
        |column: &mask::plan::Masked| Masked { rule: Arc::clone(&column.rule), column: column.column.as_str().into() };
    columns.map(masked).collect::<BTreeSet<_>>().into_iter().collect()
}

/// What is to be decided about a text. One without statements does nothing.
fn asked_by(facts: &Facts) -> Vec<Asked<'_>> {
    let opaque = facts.opaque.map(Asked::Opaque);
    opaque.into_iter().chain(facts.statements.iter().map(Asked::Statement)).collect()
}

/// All of it must be allowed.
fn ask(
    policies: &PolicySet,
    asked: &[Asked<'_>],
    facts: &Arc<Facts>,
    (around, grants): (&Circumstances, &[ActiveGrant]),
    now: WallTime,
) -> Judged {
    let Circumstances { principal, session } = around;
    let mut verdict = Verdict {
        epoch: policies.epoch(),
        mode: session.mode,
        denial: None,
        hold: None,
        allowed_by: Arc::from([]),
        obligations: Obligations::default(),
        masked: Arc::default(),
    };
    let mut ruling = Ruling::Run(Vec::new());
    let mut holds = Some(None);
    let mut allowed_by: Vec<Arc<str>> = Vec::new();
    let mut counted = 0_u64;
    for facts in asked {
        let decision = policies.decide(&Question { principal, facts: *facts, session, grants, now });
        let part = decision.verdict();
        allowed_by.extend(part.allowed_by.iter().cloned());
        verdict.obligations = verdict.obligations.tighter(part.obligations);
        counted = counted.saturating_add(u64::from(part.obligations.rate_per_minute.is_some()));
        verdict.denial = verdict.denial.or_else(|| part.denial.clone());
        verdict.hold = verdict.hold.or_else(|| part.hold.clone());
        holds = holds.filter(|_| decision.is_cacheable()).map(|end| earlier(end, decision.not_after()));
        ruling = ruling.and(rule(decision, session.mode));
    }
    // What does not run waits for nobody.
    verdict.hold = verdict.hold.filter(|_| verdict.denial.is_none());
    allowed_by.sort_unstable();
    allowed_by.dedup();
    verdict.allowed_by = allowed_by.into();
    let encoded = EncodedJudgement::of(&Judgement { verdict: verdict.clone(), facts: Arc::clone(facts) });
    Judged { facts: Arc::clone(facts), verdict, encoded, ruling, plans: Plans::default(), counted, holds }
}

/// What a decision comes to in this mode.
fn rule(decision: Decision, mode: Mode) -> Ruling {
    match decision {
        Decision::Permit(permit) => Ruling::Run(vec![permit]),
        Decision::Hold(hold) => match hold.clone().tolerated(mode) {
            Some(permit) => Ruling::Run(vec![permit]),
            None => Ruling::Wait(Vec::new(), vec![hold]),
        },
        Decision::Refusal(refusal) => match refusal.tolerated(mode) {
            Some(permit) => Ruling::Run(vec![permit]),
            None => Ruling::Refused,
        },
    }
}

fn earlier(one: Option<WallTime>, other: Option<WallTime>) -> Option<WallTime> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

/// A refusal always has a denial; should it not, it is one all the same.
pub(crate) fn unexplained() -> Denial {
    Denial {
        rule: "error".into(),
        what: "the statement".into(),
        reason: "the decision came without a reason".into(),
        remedy: "".into(),
        sqlstate: "42501",
    }
}
