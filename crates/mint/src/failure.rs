//! What an error of the server means for whoever takes a role away.

/// What to do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Somebody else changed the same row of the catalogue, or holds a lock: do it again.
    Again,
    /// Something is the role's own: give it away first.
    Owns,
    /// There is no such role (any more).
    Gone,
    /// Nothing that doing it again would change.
    Other,
}

impl Failure {
    /// By SQLSTATE (manual, appendix A) and message. Two who change one row of a catalogue get no SQLSTATE of their own:
    /// "tuple concurrently updated" and "tuple concurrently deleted" are internal errors (`heapam.c`).
    #[must_use]
    pub fn of(sqlstate: &str, message: &str) -> Self {
        match sqlstate {
            "2BP01" => Self::Owns,
            "42704" => Self::Gone,
            // serialization_failure, deadlock_detected, lock_not_available, object_in_use
            "40001" | "40P01" | "55P03" | "55006" => Self::Again,
            "XX000" if message.starts_with("tuple concurrently") => Self::Again,
            _ => Self::Other,
        }
    }
}
