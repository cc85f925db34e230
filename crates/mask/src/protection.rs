//! What is protected, and how it is shown to those who may not read it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use model::facts::Name;
use model::lineage::{Origin, StoredColumn};

use crate::detect::Detector;
use crate::pattern::Pattern;
use crate::token::Key;

/// What stands in the place of a value. Where a type or format does not go with it, NULL does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mask {
    /// NULL.
    Null,
    /// The same text for every value.
    Constant(Arc<str>),
    /// Stars, and so many of the last letters, as long as more than half of the value stays hidden.
    Last(u8),
    /// `***@example.com`: the part behind the last `@`.
    EmailDomain,
    /// Letters become `x`, digits `9`; everything else, and the length, stays.
    Shape,
    /// A keyed token: equal values stay equal, and join; nobody without the key can test a guess.
    Token,
    /// A date or timestamp becomes the first day of its month.
    Month,
    /// A date or timestamp becomes the first day of its year.
    Year,
    /// A number becomes the greatest multiple of this that is not above it.
    Bucket(u32),
}

/// Protects columns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Its name, for records and refusals.
    pub name: Arc<str>,
    /// Columns that it protects.
    pub columns: Vec<Pattern>,
    /// Words for policies: `pii`, `payment`.
    pub tags: BTreeSet<Arc<str>>,
    /// What stands in the place of their values.
    pub mask: Mask,
}

/// Which conditions may be put on protected columns by those who may not read them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Predicates {
    /// Any: values can be narrowed down to the last letter.
    DangerAny,
    /// Equality with constants and parameters, and with columns that are protected as well.
    #[default]
    Equality,
    /// None at all.
    None,
}

/// What becomes of a statement whose lineage is not known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WhenUnknown {
    /// It is refused.
    #[default]
    Refuse,
    /// Columns that are not surely clean are NULL.
    Null,
}

/// What holds for all rules.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Conditions.
    pub predicates: Predicates,
    /// Unknown lineage.
    pub unknown: WhenUnknown,
    /// Functions outside of `pg_catalog` that read nothing but their arguments: schema and name, `*` for any.
    pub trusted_functions: Vec<(String, String)>,
    /// Values that are protected wherever they stand.
    pub detectors: BTreeSet<Detector>,
    /// Makes tokens; without one they are NULL.
    pub key: Option<Key>,
}

/// A protected column from which the values of another one come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// It.
    pub column: StoredColumn,
    /// The rule that protects it.
    pub rule: Arc<str>,
}

/// Everything that is protected in one database. The first rule that names a column holds.
#[derive(Clone, Debug, Default)]
pub struct Protection {
    rules: Vec<Rule>,
    settings: Settings,
}

/// Columns of the server's own that hold samples of every column's values.
const SAMPLES: &[(&str, &str)] = &[
    ("pg_statistic", "stavalues1"),
    ("pg_statistic", "stavalues2"),
    ("pg_statistic", "stavalues3"),
    ("pg_statistic", "stavalues4"),
    ("pg_statistic", "stavalues5"),
    ("pg_statistic_ext_data", "stxdmcv"),
    ("pg_statistic_ext_data", "stxdexpr"),
    ("pg_largeobject", "data"),
];

/// The schema of the standard's views.
const INFORMATION_SCHEMA: &str = "information_schema";

/// Name of the rule for what the server keeps of all columns.
pub const RULE_SAMPLES: &str = "server-samples";

impl Protection {
    /// These rules; samples of values that the server keeps are protected besides.
    #[must_use]
    pub fn new(mut rules: Vec<Rule>, settings: Settings) -> Self {
        if !rules.is_empty() {
            let pattern =
                |(relation, column): &(&str, &str)| Pattern::parse(&format!("pg_catalog.{relation}.{column}"));
            let columns = SAMPLES.iter().filter_map(|sample| pattern(sample).ok()).collect();
            rules.push(Rule { name: RULE_SAMPLES.into(), columns, tags: BTreeSet::new(), mask: Mask::Null });
        }
        Self { rules, settings }
    }

    /// Whether there is nothing to protect.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty() && self.settings.detectors.is_empty()
    }

    /// The rule that protects a column.
    #[must_use]
    pub fn rule(&self, column: &StoredColumn) -> Option<&Rule> {
        self.rules.iter().find(|rule| rule.columns.iter().any(|pattern| pattern.matches(column)))
    }

    /// The protected columns from which values come. `None`: they may come from any.
    #[must_use]
    pub fn sources(&self, origin: &Origin) -> Option<Arc<[Source]>> {
        if matches!(origin, Origin::Unknown(_)) {
            return None;
        }
        let source = |column: &StoredColumn| {
            let rule = Arc::clone(&self.rule(column)?.name);
            Some(Source { column: column.clone(), rule })
        };
        Some(origin.sources().filter_map(source).collect())
    }

    /// All rules, in order.
    #[must_use]
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// What holds for all of them.
    #[must_use]
    pub const fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Whether a function reads nothing but its arguments.
    pub(crate) fn trusts(&self, function: &Name) -> bool {
        let is = |wanted: &str, name: &str| wanted == "*" || wanted == name;
        let Some(schema) = function.schema.known() else { return false };
        // The server's own: they compute, for its views.
        if **schema == *INFORMATION_SCHEMA {
            return true;
        }
        let trusted = &self.settings.trusted_functions;
        trusted.iter().any(|(wanted, name)| is(wanted, schema) && is(name, &function.name))
    }
}

/// Which protected columns one principal may not read: asked once for each column.
pub(crate) struct Sight<'a, F> {
    protection: &'a Protection,
    pub(crate) may_read: F,
    known: BTreeMap<StoredColumn, Option<&'a Rule>>,
    /// Protected columns that the principal may read.
    pub(crate) clear: BTreeSet<StoredColumn>,
}

impl<'a, F: FnMut(&StoredColumn, &Rule) -> bool> Sight<'a, F> {
    pub(crate) const fn new(protection: &'a Protection, may_read: F) -> Self {
        Self { protection, may_read, known: BTreeMap::new(), clear: BTreeSet::new() }
    }

    /// The rule that hides a column.
    pub(crate) fn hidden_by(&mut self, column: &StoredColumn) -> Option<&'a Rule> {
        if let Some(known) = self.known.get(column) {
            return *known;
        }
        let protected = self.protection.rule(column);
        let rule = protected.filter(|rule| !(self.may_read)(column, rule));
        if protected.is_some() && rule.is_none() {
            self.clear.insert(column.clone());
        }
        self.known.insert(column.clone(), rule);
        rule
    }
}
