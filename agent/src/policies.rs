//! Work with policies before they take effect: `warder policy`. Needs files only: no agent, no database, and no clock
//! but for the default of a moment.
//!
//! A folder is a set: all its `*.cedar` files together, with the cases of the `*.test.toml` files beside them.

pub mod case;
pub mod check;
pub mod diff;
pub mod explain;
pub mod granted;
pub mod history;
pub mod load;
pub mod masked;
pub mod trial;
pub mod try_cases;
pub mod who;
