//! All rules of a server, in order: the first that matches decides.

use crate::include::{Collector, File, Resolve, within};
use crate::major::Major;
use crate::mistake::{Mistake, Place, Wrong};
use crate::parse;
use crate::rule::Rule;

/// Rules of all files.
pub const RULES_MAX: usize = 10_000;

/// The rules of `pg_hba.conf` and of the files that it names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    pub(crate) rules: Vec<Rule>,
    pub(crate) major: Major,
}

impl Rules {
    /// Reads a file as a server of this version does. `resolve` gives the files that it names.
    ///
    /// # Errors
    /// All mistakes (up to [`MISTAKES_MAX`](crate::include::MISTAKES_MAX)). A server does not start with such a file, and
    /// on reload keeps what it had; so should the caller.
    pub fn parse(main: &File, major: Major, resolve: &mut Resolve<'_>) -> Result<Self, Vec<Mistake>> {
        let mut collector = Collector::new(major, resolve);
        let records = collector.records(main, 0);
        let mut rules = Vec::new();
        for record in records {
            let place = record.place.clone();
            let rule = within(rules.len().saturating_add(1), RULES_MAX, "rules");
            match rule.and_then(|()| parse::rule(record, major)) {
                Ok(rule) => rules.push(rule),
                Err(wrong) => collector.note(Mistake { place, wrong }),
            }
        }
        if rules.is_empty() && collector.mistakes.is_empty() {
            let place = Place { file: main.name.as_str().into(), line: 1 };
            collector.note(Mistake { place, wrong: Wrong::Empty });
        }
        if collector.mistakes.is_empty() { Ok(Self { rules, major }) } else { Err(collector.mistakes) }
    }

    /// The rules in order.
    #[must_use]
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// The version that they were read for.
    #[must_use]
    pub const fn major(&self) -> Major {
        self.major
    }

    /// Rules that are (also) for physical replication: standbys and backups pass through the hop too.
    pub fn for_replication(&self) -> impl Iterator<Item = &Rule> {
        self.rules.iter().filter(|rule| rule.is_for_replication())
    }
}
