//! The desk of this host: who has access to what, for how long. Each change is a record and a line of the file before
//! it takes effect, and then the workers learn it.

mod boards;
mod file;
mod holds;
mod kept;
mod rules;
mod verbs;

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fs::File;
use std::io::Read as _;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;

use access::{Case, Limits, Moment, Proposal, Refusal};
use anyhow::{Context as _, Result};
use identity::proof::Proofs;
use model::access::{AccessChange, AccessEvent, GrantId, GrantState};
use model::id::BootId;
use model::record::{Record, What};
use model::verdict::Mode;
use policy::UtcOffset;
use tokio::sync::Notify;
use tokio::sync::mpsc::Sender;
use tracing::{error, warn};

use self::boards::Boards;
use self::file::GrantFile;
pub(super) use self::holds::Asked;
use self::rules::Rules;
pub(super) use self::verbs::Answer;
use super::holds::HeldView;
use super::pipeline::Pipeline;
use crate::clock;
use crate::link::{Hello, PolicyPlace};
use crate::policy_files;
use crate::worker_link::PolicyTexts;

/// Name of the file, beside the journal's key.
const FILE_NAME: &str = "grants.jsonl";

/// The desk with everything that it needs.
pub(super) struct Desk {
    desk: RefCell<access::Desk>,
    file: RefCell<GrantFile>,
    pipeline: Rc<RefCell<Pipeline>>,
    proofs: Rc<Proofs>,
    /// By database.
    rules: RefCell<HashMap<u16, Rules>>,
    boards: Boards,
    boot_id: BootId,
    /// Statements that wait, by their requests.
    statements: RefCell<BTreeMap<GrantId, Rc<HeldView>>>,
    /// What became of such requests, and nobody has heard yet.
    changes: RefCell<VecDeque<AccessEvent>>,
    changed: Notify,
    /// Grants that have ended, for whoever ends sessions.
    ended: Sender<AccessEvent>,
}

/// It could not be written down.
#[derive(Debug)]
struct NotWritten;

impl Desk {
    /// With what was kept. Must be called when the pipeline stands: what has ended meanwhile is recorded.
    pub(super) fn open(
        hello: &Hello,
        pipeline: Rc<RefCell<Pipeline>>,
        proofs: Rc<Proofs>,
        ended: Sender<AccessEvent>,
    ) -> Result<Self> {
        let path = hello.journal.key_file.with_file_name(FILE_NAME);
        let boot_id = BootId(hello.boot);
        let seen = pipeline.borrow().seen;
        let desk = access::Desk::restore(Limits::default(), GrantFile::read(&path)?, seen, now(boot_id));
        let file = GrantFile::begin(path, &desk)?;
        let this = Self {
            desk: RefCell::new(desk),
            file: RefCell::new(file),
            pipeline,
            proofs,
            rules: RefCell::default(),
            boards: Boards::default(),
            boot_id,
            statements: RefCell::default(),
            changes: RefCell::default(),
            changed: Notify::new(),
            ended,
        };
        this.turn();
        Ok(this)
    }

    /// The policies of a database: they decide who may ask, and who decides.
    pub(super) fn policies(&self, place: PolicyPlace, texts: Vec<OwnedFd>) -> Result<()> {
        let texts = texts.into_iter().next().context("policies came without their descriptor")?;
        let mut text = Vec::new();
        File::from(texts).read_to_end(&mut text).context("policies came incomplete")?;
        let texts: PolicyTexts = serde_json::from_slice(&text).context("policies came incomplete")?;
        let set = policy_files::compile(&texts)?;
        let utc_offset = UtcOffset::new(place.utc_offset).unwrap_or_default();
        let (name, environment, mode) = (place.name.into(), place.environment.into(), policy_files::mode(place.mode));
        let rules = Rules { name, environment, utc_offset, mode, set };
        self.rules.borrow_mut().insert(place.database, rules);
        // The workers were told of the databases that were known then.
        self.boards.fall_behind();
        self.boards.catch_up(|| self.whole());
        Ok(())
    }

    /// Looks after everything that happens by itself. To be called several times a second.
    pub(super) fn turn(&self) {
        let now = self.now();
        let mut desk = self.desk.borrow_mut();
        let mut changed = Vec::new();
        while let Some(proposal) = desk.next_due(now) {
            match self.commit(proposal) {
                Ok(case) => changed.push(case),
                // Tried again with the next turn; what is over by the clock permits nothing meanwhile.
                Err(NotWritten) => break,
            }
        }
        self.file.borrow_mut().tidy(&desk);
        drop(desk);
        for case in changed {
            self.tell(&case);
        }
        self.boards.catch_up(|| self.whole());
    }

    fn now(&self) -> Moment {
        now(self.boot_id)
    }

    /// Writes a change down, then lets it take effect. What takes access away takes effect in any case.
    fn commit(&self, proposal: Proposal<'_>) -> Result<Arc<Case>, NotWritten> {
        let takes_away = proposal.takes_away();
        proposal.commit(|case, events| match self.write(case, events) {
            Err(NotWritten) if !takes_away => Err(NotWritten),
            _ => {
                self.note_changes(events);
                self.note_ends(events);
                Ok(())
            }
        })
    }

    /// Nothing runs for long under a grant for one statement: its end cuts nothing.
    fn note_ends(&self, events: &[AccessEvent]) {
        let is_end = |event: &&AccessEvent| {
            matches!(event.change, AccessChange::Expired | AccessChange::Revoked) && event.grant.once.is_none()
        };
        for event in events.iter().filter(is_end) {
            if self.ended.try_send(event.clone()).is_err() {
                error!(grant = %event.grant.id, "sessions do not end with this grant: too many have ended at once");
            }
        }
    }

    /// Whether its holder has it on: another one that renews it is active.
    pub(super) fn is_renewed(&self, id: GrantId) -> bool {
        let renews = |case: &Arc<Case>| case.grant.renews == Some(id) && case.state == GrantState::Active;
        self.desk.borrow().cases().any(renews)
    }

    /// Whether what the policies say about a database is done there; where nothing is known of it, it is.
    pub(super) fn enforces(&self, database: &str) -> bool {
        let rules = self.rules.borrow();
        rules.values().find(|rules| &*rules.name == database).is_none_or(|rules| rules.mode == Mode::Enforce)
    }

    fn write(&self, case: &Case, events: &[AccessEvent]) -> Result<(), NotWritten> {
        let mut pipeline = self.pipeline.borrow_mut();
        let time = clock::wall();
        for event in events {
            let what = What::Access(Box::new(event.clone()));
            if !pipeline.write_down(Record { time, what }) {
                error!(grant = %case.grant.id, "a change of access cannot be recorded");
                return Err(NotWritten);
            }
        }
        self.file.borrow_mut().keep(case).map_err(|problem| {
            error!(grant = %case.grant.id, "a change of access cannot be kept: {problem}");
            NotWritten
        })
    }

    /// The workers learn what a holder has now.
    fn tell(&self, case: &Case) {
        let Some(database) = self.number(&case.grant.scope.database) else { return };
        self.boards.tell(database, &[self.of(&case.grant.holder, &case.grant.scope.database)]);
    }

    /// Number of a database of the configuration that has policies.
    fn number(&self, name: &str) -> Option<u16> {
        self.rules.borrow().iter().find(|(_, rules)| &*rules.name == name).map(|(id, _)| *id)
    }

    /// A number for a new grant.
    fn draw() -> Result<GrantId, String> {
        let mut bytes = [0; 8];
        let drawn = File::open("/dev/urandom").and_then(|mut random| random.read_exact(&mut bytes));
        drawn.map_err(|error| {
            warn!("there are no random numbers: {error}");
            "there are no random numbers; see the agent's log".to_owned()
        })?;
        Ok(GrantId::new(u64::from_le_bytes(bytes)))
    }
}

fn now(boot_id: BootId) -> Moment {
    Moment { wall: clock::wall(), boot: clock::boot(), boot_id }
}

/// What somebody who asked is told: a word for programs, and a text.
pub(super) fn refused(refusal: &Refusal) -> (&'static str, String) {
    (refusal.word(), refusal.to_string())
}
