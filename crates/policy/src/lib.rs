//! Whether something may happen: policies in [Cedar](https://docs.cedarpolicy.com) against who acts, what a statement
//! does, and where. Text becomes a [`PolicySet`], a [`Question`] becomes a [`Permit`] or a [`Refusal`].
//!
//! A statement is allowed if each of its effects is, and each part of it that is not understood; a forbid wins over any
//! permit, what nothing permits is refused, and a policy that cannot be evaluated refuses. What is not known is never
//! taken for something else: a relation whose schema is not known must be allowed in every schema that a policy names.
//!
//! Policies are compiled whole and at once: each is parsed, validated against the schema (`policies/schema.cedarschema`),
//! looked through for what it reads, and put aside for the actions that it can be about. A request carries only what the
//! policies of its action read, so that what a decision [`reads`](Permit::reads) is known without looking.
//!
//! Not here: reading SQL (facts come in), files, clocks, the cache of decisions, and what becomes of a refusal.

#![forbid(unsafe_code)]
#![warn(missing_docs)]
#![warn(clippy::indexing_slicing)]

mod annotations;
mod calendar;
mod candidates;
mod compile;
pub mod decision;
mod language;
mod named;
pub mod problem;
pub mod question;
pub mod reads;
mod request;
pub mod session;
pub mod set;
mod source;
mod what;

pub use decision::{Decision, Permit, Refusal};
pub use problem::Problem;
pub use question::{Asked, Protected, Question};
pub use session::{ProcessContext, SessionContext, Transport, UtcOffset};
pub use set::{PolicyEffect, PolicyInfo, PolicySet};
pub use source::PolicyFile;

/// The schema that policies are validated against, as text in Cedar's own form.
pub const SCHEMA: &str = include_str!("../../../policies/schema.cedarschema");
