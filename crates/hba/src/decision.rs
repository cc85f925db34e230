//! Which rule decides about a connection.

use crate::address::Address;
use crate::attempt::{Attempt, Encryption, How, Replication, cut};
use crate::facts::{Fact, Facts, View, branch};
use crate::name::{self, Word};
use crate::rule::{Connection, Rule};
use crate::rules::Rules;

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision<'r> {
    /// This rule, which may be a `reject`.
    Rule(&'r Rule),
    /// No rule: the server refuses.
    NoEntry,
    /// It depends.
    Undecided {
        /// A fact that would have to be known.
        why: Fact,
    },
}

impl Rules {
    /// Which rule decides. Rules are looked at in order, the first that matches wins, there is no second try.
    #[must_use]
    pub fn decide(&self, attempt: &Attempt<'_>, facts: &Facts) -> Decision<'_> {
        let asked = Asked::of(attempt);
        let mut branches = branch(facts, |view| self.first(&asked, attempt.how, view));
        match (branches.results.pop(), branches.unknown) {
            (Some(found), _) if branches.results.is_empty() && !branches.cut => self.decision(found),
            (_, Some(why)) => Decision::Undecided { why },
            // Without an unknown fact there is one branch.
            (found, None) => self.decision(found.flatten()),
        }
    }

    fn decision(&self, found: Option<usize>) -> Decision<'_> {
        found.and_then(|index| self.rules.get(index)).map_or(Decision::NoEntry, Decision::Rule)
    }

    /// Index of the first rule that matches, under what the view assumes.
    pub(crate) fn first(&self, asked: &Asked<'_>, how: How, view: &View<'_>) -> Result<Option<usize>, Fact> {
        let how = how.canonical();
        for (index, rule) in self.rules.iter().enumerate() {
            if matches(rule, asked, how, view)? {
                return Ok(Some(index));
            }
        }
        Ok(None)
    }
}

/// A name of a start-up packet, or one that stands for all names that are in no rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Name<'a> {
    pub(crate) text: &'a [u8],
    /// It stands for many: whether a pattern matches depends on which.
    pub(crate) stands_for_many: bool,
}

/// What a start-up packet asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Asked<'a> {
    pub(crate) user: Name<'a>,
    pub(crate) database: Name<'a>,
    pub(crate) replication: Replication,
}

impl<'a> Asked<'a> {
    /// An ordinary session of a name that is in no rule, for an example.
    pub(crate) const fn of_nobody() -> Self {
        let nobody = Name { text: b"", stands_for_many: true };
        Self { user: nobody, database: nobody, replication: Replication::No }
    }

    pub(crate) fn of(attempt: &Attempt<'a>) -> Self {
        let name = |text| Name { text: cut(text), stands_for_many: false };
        Self { user: name(attempt.user), database: name(attempt.database), replication: attempt.replication }
    }
}

/// A rule matches when all columns do. A column that does not, settles it without asking for unknown facts.
fn matches(rule: &Rule, asked: &Asked<'_>, how: How, view: &View<'_>) -> Result<bool, Fact> {
    if !connection(rule.connection, how) {
        return Ok(false);
    }
    let columns = [
        address(rule, how, view),
        any(rule.databases.iter().map(|word| database(word, asked, view))),
        any(rule.users.iter().map(|word| user(word, asked, view))),
    ];
    if columns.contains(&Ok(false)) {
        return Ok(false);
    }
    columns.into_iter().try_for_each(|column| column.map(drop))?;
    Ok(true)
}

/// A list matches when one word does; only then are unknown facts asked for.
fn any(words: impl Iterator<Item = Result<bool, Fact>>) -> Result<bool, Fact> {
    let mut unknown = None;
    for word in words {
        match word {
            Ok(true) => return Ok(true),
            Ok(false) => {}
            Err(fact) => unknown = unknown.or(Some(fact)),
        }
    }
    unknown.map_or(Ok(false), Err)
}

fn connection(connection: Connection, how: How) -> bool {
    let encryption = match how {
        How::Local => return connection == Connection::Local,
        How::Host { encryption, .. } => encryption,
    };
    match connection {
        Connection::Local => false,
        Connection::Host => true,
        Connection::HostTls => encryption == Encryption::Tls,
        Connection::HostNoTls => encryption != Encryption::Tls,
        Connection::HostGss => encryption == Encryption::Gss,
        Connection::HostNoGss => encryption != Encryption::Gss,
    }
}

fn address(rule: &Rule, how: How, view: &View<'_>) -> Result<bool, Fact> {
    let How::Host { address, .. } = how else { return Ok(true) };
    match &rule.address {
        Address::All => Ok(true),
        Address::Network(network) => Ok(network.contains(address)),
        Address::SameHost => view.holds(Fact::SameHost(address)),
        Address::SameNet => view.holds(Fact::SameNet(address)),
        Address::Name(name) => view.holds(Fact::HostName { address, name: name.clone() }),
    }
}

fn database(word: &Word, asked: &Asked<'_>, view: &View<'_>) -> Result<bool, Fact> {
    if asked.replication == Replication::Physical {
        return Ok(*word == Word::Replication);
    }
    match word {
        Word::All => Ok(true),
        Word::SameUser => Ok(asked.database.text == asked.user.text),
        Word::SameRole => member(asked.user.text, asked.database.text, view),
        // A `+` means nothing in this column: `name::database` makes no `Member`.
        Word::Replication | Word::Member(_) => Ok(false),
        Word::Pattern(pattern) => matches_pattern(pattern, asked.database, view),
        Word::Name(name) => Ok(name == asked.database.text),
    }
}

fn user(word: &Word, asked: &Asked<'_>, view: &View<'_>) -> Result<bool, Fact> {
    match word {
        Word::All => Ok(true),
        Word::Member(role) => member(asked.user.text, role, view),
        Word::Pattern(pattern) => matches_pattern(pattern, asked.user, view),
        Word::Name(name) => Ok(name == asked.user.text),
        // Keywords of the other column are names here: `name::user` makes none of these.
        Word::SameUser | Word::SameRole | Word::Replication => Ok(false),
    }
}

/// A role is a member of itself. (If it does not exist it is not, but then it cannot log in either.)
fn member(user: &[u8], role: &[u8], view: &View<'_>) -> Result<bool, Fact> {
    if user == role {
        return Ok(true);
    }
    view.holds(Fact::Member { user: user.to_vec(), role: role.to_vec() })
}

fn matches_pattern(pattern: &[u8], name: Name<'_>, view: &View<'_>) -> Result<bool, Fact> {
    let known = if name.stands_for_many { None } else { name::matches(pattern, name.text) };
    let fact = || Fact::Pattern { name: name.text.to_vec(), pattern: pattern.to_vec() };
    known.map_or_else(|| view.holds(fact()), Ok)
}
