//! The written form of every record (`docs/events.md`): what stands beside `v`, `seq`, `time` and `type`.
//!
//! One set of structs is both written (borrowing from `model`) and read back (owning); only statements, the hot
//! record, are written by hand. Words such as `tcp` or `answered` are text on purpose: a reader must survive a newer
//! writer's words.

pub mod access;
pub mod credential;
pub mod event;
pub mod identity;
pub mod judgement;
mod judgement_line;
pub mod mediation;
pub mod principal;
pub mod process;
pub mod session;
pub mod statement;
pub(crate) mod statement_line;

/// For `skip_serializing_if`: false is the default and left out.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes every field by reference")]
pub(crate) const fn is_false(value: &bool) -> bool {
    !*value
}

/// For `skip_serializing_if`: zero is the default and left out.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes every field by reference")]
pub(crate) const fn is_zero(value: &u64) -> bool {
    *value == 0
}
