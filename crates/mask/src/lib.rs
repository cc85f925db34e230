//! Masking: a protected value never reaches a client that may not read it in clear.
//!
//! [`Protection`] says which columns are protected and how. [`plan`] holds a statement's lineage against it: the statement
//! goes on as it is, or with a [`Plan`], or is refused. [`Rows`] is a plan that has met the server's description of the
//! result: it rewrites rows, one by one, and may only find more to mask than the plan did. [`CopyRows`] does so for COPY.
//!
//! Pure. Not here: reading SQL (lineage comes in), who may read what (a question to whoever calls), the stream.

#![forbid(unsafe_code)]
#![warn(missing_docs)]
#![warn(clippy::indexing_slicing)]
#![warn(clippy::arithmetic_side_effects)]

mod calendar;
pub mod classify;
pub mod copy;
pub mod description;
pub mod detect;
mod fill;
mod pattern;
pub mod plan;
pub mod protection;
pub mod rows;
mod token;
mod types;
mod value;

pub use copy::CopyRows;
pub use description::Description;
pub use detect::Detector;
pub use pattern::Pattern;
pub use plan::{Plan, Planned, Refusal, plan, sees_everything};
pub use protection::{Mask, Predicates, Protection, Rule, Settings, Source, WhenUnknown};
pub use rows::Rows;
pub use token::Key;
