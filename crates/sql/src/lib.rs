//! Reads SQL: the text of a Query or Parse message -> [`Facts`], before the statement runs.
//!
//! PostgreSQL's own grammar is the authority ([`GRAMMAR_MAJOR`]). The tree is walked here, node by node; a node that is
//! not known makes its statement opaque ([`OpaqueReason::Construct`]), it is never skipped. What a name means comes
//! from the session ([`state::State`]) and from a snapshot of the catalogue ([`catalogue::Catalogue`]).
//!
//! # What facts do not see
//!
//! - Code: what functions do. Making one in SQL has the effects of its body, in another language it is `code`. A
//!   call of a function that is not known to be harmless is an effect in itself, triggers are calls of their
//!   functions, a table with a rule for the change is opaque (`code`). Checks of domains and casts of users are
//!   calls where a type is named in the text, or rows with it are made; casts of users also where a column of such a type is
//!   read; `row.function` is one where the row has no such column. All of that only where the snapshot has it. Functions
//!   of types of parameters and of JSON, of casts of what functions return, of defaults, checks of tables, indexes and row
//!   security are not named, but for a table that takes them over (LIKE): it calls an unknown one.
//! - Without a snapshot, functions and operators of another schema that have a name of the server's own and fit better:
//!   the name is taken for the server's, unless the search path puts another schema before `pg_catalog`, or this
//!   session made functions.
//! - Effects of constraints: rows that a foreign key deletes elsewhere.
//! - Numbers such as `0x10` or `1_000`, which servers before 16 read as a number and a name.
//!
//! A column without the name of its relation belongs to every relation in sight that may have it: facts name too much
//! rather than too little.
//!
//! What is not here: the wire, decisions, masking.

#![deny(unsafe_code)]
#![warn(missing_docs)]

mod cache;
mod called;
pub mod catalogue;
pub mod changed;
mod effects;
mod function;
mod grammar;
mod limits;
mod lineage;
mod name;
pub mod opinion;
mod scan;
pub mod session;
pub mod state;
mod tree;
mod walk;

use std::borrow::Cow;
use std::ffi::CString;
use std::sync::Arc;

use model::Known;
use model::facts::{Facts, OpaqueReason, StatementFacts, UnknownSchema};

use crate::cache::Cache;
use crate::catalogue::Catalogue;
pub use crate::grammar::GRAMMAR_MAJOR;
use crate::grammar::Tree;
pub use crate::limits::Limits;
use crate::name::Names;
use crate::state::{Encoding, State};
use crate::walk::Standing;

/// Stack that a thread needs to call an [`Analyser`], with a margin: measured in `tests/facts/limits.rs` with the default
/// limits, also without optimisation. It grows with [`Limits::nesting_max`] and with nothing else.
pub const STACK_BYTES: usize = 2 * 1024 * 1024;

/// Turns texts into facts, and remembers them. One for each thread.
#[derive(Debug)]
pub struct Analyser {
    limits: Limits,
    cache: Cache,
}

impl Analyser {
    /// One that keeps to these limits.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self { limits, cache: Cache::new(limits.cached_texts_max, limits.cached_bytes_max) }
    }

    /// What a text would do in a session in this state.
    ///
    /// `text` is what stands on the wire, without the NUL at its end. Never panics; time and memory are bounded by the
    /// limits whatever the bytes are.
    pub fn facts(&mut self, text: &[u8], state: &State, catalogue: &Catalogue) -> Arc<Facts> {
        if text.len() > self.limits.text_bytes_max {
            return Arc::new(opaque(OpaqueReason::TooLarge));
        }
        if let Some(facts) = self.cache.get(text, state, catalogue.epoch()) {
            return facts;
        }
        let facts = Arc::new(analyse(text, state, catalogue, &self.limits).unwrap_or_else(opaque));
        self.cache.insert(text, state, catalogue.epoch(), &facts);
        facts
    }
}

fn opaque(reason: OpaqueReason) -> Facts {
    Facts { statements: Vec::new(), opaque: Some(reason) }
}

fn analyse(text: &[u8], state: &State, catalogue: &Catalogue, limits: &Limits) -> Result<Facts, OpaqueReason> {
    if state.undetermined {
        return Err(OpaqueReason::SessionState);
    }
    let text = decode(text, state.encoding)?;
    let statements = statements(&text, &mut state.clone(), catalogue, limits, Standing::Sent)?;
    let facts = Facts { statements, opaque: None };
    if opinion::disagrees(&text, &facts) { Err(OpaqueReason::Disagreement) } else { Ok(facts) }
}

/// The statements of a text in order, which the state follows.
fn statements(
    text: &str,
    state: &mut State,
    catalogue: &Catalogue,
    limits: &Limits,
    standing: Standing,
) -> Result<Vec<StatementFacts>, OpaqueReason> {
    scan::check(text, state.standard_conforming_strings, state.server_encoding, limits)?;
    let terminated = CString::new(text.as_bytes()).map_err(|_nul| OpaqueReason::Encoding)?;
    let tree = Tree::parse(&terminated, state.standard_conforming_strings).map_err(|_rejected| OpaqueReason::Syntax)?;
    let mut statements = Vec::new();
    for node in tree.statements() {
        if statements.len() >= limits.statements_max {
            return Err(OpaqueReason::TooLarge);
        }
        let facts = walk::statement(node, Names { state, catalogue }, limits, standing);
        facts.changes.iter().for_each(|change| state.apply(change));
        if facts.runs_code() {
            state.search_path = Known::Unknown(UnknownSchema::SearchPath);
        }
        statements.push(facts);
    }
    Ok(statements)
}

/// The text as PostgreSQL's lexer sees it.
fn decode(text: &[u8], encoding: Encoding) -> Result<Cow<'_, str>, OpaqueReason> {
    match encoding {
        Encoding::Utf8 => std::str::from_utf8(text).map(Cow::Borrowed).map_err(|_invalid| OpaqueReason::Encoding),
        Encoding::Latin1 if !text.is_ascii() => Ok(text.iter().copied().map(char::from).collect::<String>().into()),
        // Every encoding that a client may have contains ASCII as it is.
        Encoding::Latin1 | Encoding::SqlAscii | Encoding::Other if text.is_ascii() => {
            std::str::from_utf8(text).map(Cow::Borrowed).map_err(|_invalid| OpaqueReason::Encoding)
        }
        Encoding::Latin1 | Encoding::SqlAscii | Encoding::Other => Err(OpaqueReason::Encoding),
    }
}
