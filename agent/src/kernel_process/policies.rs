//! The policies of one database: read from files that root trusts, watched, and told to the workers once they compile.
//! A set that does not replaces nothing.

use std::os::fd::AsFd as _;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use tracing::{info, warn};

use super::access::State;
use super::guards::Guarded;
use super::workers::Workers;
use crate::clock;
use crate::link::{Link, PolicyPlace, ProxyEvent, ToCore};
use crate::policy_files;
use crate::worker_link::{PolicyTexts, ToWorker, in_memory};

const NANOS_PER_MILLI: u64 = 1_000_000;

/// What a look at the files found: changed files have another state.
type Seen = Vec<(PathBuf, Option<State>)>;

/// The policies that hold, and what they were read from.
pub(super) struct Policies {
    database: u16,
    paths: Vec<PathBuf>,
    texts: PolicyTexts,
    count: usize,
    seen: Seen,
    /// Not recorded yet.
    is_new: bool,
    /// The core does not know them yet.
    is_untold: bool,
}

impl Policies {
    /// Reads them for the first time: without good policies there is nothing to go on with. `None`: none are configured.
    pub(super) fn load(database: u16, paths: &[PathBuf]) -> Result<Option<Self>> {
        if paths.is_empty() {
            return Ok(None);
        }
        let seen = look(paths);
        let (texts, count) = read(paths).context("these policies cannot be used")?;
        Ok(Some(Self { database, paths: paths.to_vec(), texts, count, seen, is_new: true, is_untold: true }))
    }

    /// Looks whether files have changed, and tells the workers about a new set that is good.
    pub(super) fn turn(&mut self, workers: &Workers, events: &mut Vec<ProxyEvent>) {
        let seen = look(&self.paths);
        if seen != self.seen {
            self.seen = seen;
            match read(&self.paths) {
                Ok((texts, _)) if (&texts.files, &texts.keys) == (&self.texts.files, &self.texts.keys) => {}
                Ok((texts, count)) => {
                    (self.texts, self.count, self.is_new) = (texts, count, true);
                    self.is_untold = true;
                    for number in workers.ready() {
                        self.tell(workers, number);
                    }
                }
                Err(problem) => {
                    let why = format!("{problem:#}");
                    warn!("changed policies cannot be used, those before them go on: {why}");
                    events.push(ProxyEvent::PoliciesRefused { database: self.database, why });
                }
            }
        }
        if std::mem::take(&mut self.is_new) {
            let (epoch, policies) = (self.texts.epoch, self.count);
            info!(epoch, policies, "policies decide from now on");
            events.push(ProxyEvent::PoliciesLoaded { database: self.database, epoch, policies });
        }
    }

    /// Another core is there.
    pub(super) const fn forget_told(&mut self) {
        self.is_untold = true;
    }

    /// Tells the core, if there is something to tell: it decides by them who may ask for access.
    pub(super) fn tell_core(&mut self, guards: &[Guarded], link: &Link) -> Result<()> {
        let guarded = guards.iter().find(|guarded| guarded.database.id == self.database);
        let Some(guarded) = guarded.filter(|_| std::mem::take(&mut self.is_untold)) else { return Ok(()) };
        let place = PolicyPlace {
            database: self.database,
            name: guarded.database.name.clone(),
            environment: guarded.database.guard.environment.clone(),
            utc_offset: guarded.database.guard.utc_offset,
            mode: guarded.database.guard.mode,
        };
        let texts = in_memory(&serde_json::to_vec(&self.texts).context("no JSON")?)?;
        link.send(&ToCore::Policies(place), &[], &[texts.as_fd()])
    }

    /// Tells one worker.
    pub(super) fn tell(&self, workers: &Workers, number: u32) {
        let texts = serde_json::to_vec(&self.texts).context("no JSON").and_then(|texts| in_memory(&texts));
        match texts {
            Ok(texts) => {
                let message = ToWorker::Policies { database: self.database };
                workers.tell(number, &message, &[], &[texts.as_fd()]);
            }
            Err(problem) => warn!(worker = number, "a worker could not be told the policies: {problem:#}"),
        }
    }
}

fn look(paths: &[PathBuf]) -> Seen {
    // Files that cannot be listed are as good as changed: reading them says why.
    let files = policy_files::files(paths).unwrap_or_else(|_| paths.to_vec());
    files.into_iter().map(|path| (path.clone(), State::of(&path))).collect()
}

/// Reads and compiles; also returns the number of policies.
fn read(paths: &[PathBuf]) -> Result<(PolicyTexts, usize)> {
    // Greater than that of every set before, after a restart as well.
    policy_files::load(paths, clock::wall().0 / NANOS_PER_MILLI)
}
