//! Whether something may happen: policies in [Cedar](https://docs.cedarpolicy.com) against who acts, what a statement
//! does, and where. Text becomes a [`PolicySet`], a [`Question`] becomes a [`Permit`] or a [`Refusal`].
//!
//! A statement that is allowed may still have to wait for somebody's approval ([`Hold`]): where a policy of the set names the
//! action `RunUnattended`, and none permits it.
//!
//! A statement is allowed if each of its effects is, and each part of it that is not understood; a forbid wins over any
//! permit, what nothing permits is refused, and a policy that cannot be evaluated refuses. What is not known is never
//! taken for something else: a relation whose schema is not known must be allowed in every schema that a policy names.
//!
//! Policies are compiled whole and at once: each is parsed, validated against the schema (`policies/schema.cedarschema`),
//! looked through for what it reads, and put aside for the actions that it can be about. Of most of these the text alone
//! tells whether they match what is asked; Cedar evaluates the others, and a request carries only what they read, so that
//! what a decision [`reads`](Permit::reads) is known.
//!
//! Not here: reading SQL (facts come in), files, clocks, the cache of decisions, and what becomes of a refusal.

#![forbid(unsafe_code)]
#![warn(missing_docs)]
#![warn(clippy::indexing_slicing)]

mod annotations;
mod calendar;
mod candidates;
mod case;
mod compile;
pub mod decision;
pub mod granted;
pub mod grants;
mod language;
mod named;
pub mod problem;
pub mod question;
pub mod reads;
mod request;
mod scope;
pub mod session;
pub mod set;
mod slice;
mod source;
mod told;
mod what;

pub use annotations::Terms;
pub use decision::{Decision, Hold, Permit, Refusal};
pub use granted::ActiveGrant;
pub use grants::{GrantQuestion, GrantTerms, Wants};
pub use problem::Problem;
pub use question::{Asked, Protected, Question};
pub use session::{ProcessContext, SessionContext, Transport, UtcOffset};
pub use set::{PolicyEffect, PolicyInfo, PolicySet};
pub use source::PolicyFile;

/// The schema that policies are validated against, as text in Cedar's own form.
pub const SCHEMA: &str = include_str!("../../../policies/schema.cedarschema");

/// What it is followed by for policies about grants.
pub const GRANT_SCHEMA: &str = include_str!("../../../policies/access.cedarschema");

/// What policies call an effect: `CopyOut`, `Server`.
#[must_use]
pub fn action_name(action: model::facts::Action) -> String {
    language::Verb::Effect(action).name()
}
