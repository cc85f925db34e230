//! Who is the same person. On the safe side: the name alone counts, whoever vouches for it.

use model::access::Holder;

/// Everybody who stands behind a holder: who acts, and on whose behalf.
fn behind(holder: &Holder) -> impl Iterator<Item = &str> {
    std::iter::once(&holder.actor).chain(&holder.acting_for).map(|actor| &*actor.id)
}

/// Whether somebody stands behind both.
pub(crate) fn share_somebody(one: &Holder, other: &Holder) -> bool {
    behind(one).any(|name| behind(other).any(|also| is_same(name, also)))
}

/// Two issuers may write one name differently only in case, in every script. Letters that are one letter in upper case are
/// the same here, too.
fn is_same(one: &str, other: &str) -> bool {
    let folded = |name: &str| name.to_uppercase().to_lowercase();
    one == other || folded(one) == folded(other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_the_same_in_every_case_of_every_script() {
        for (one, other) in
            [("alice", "Alice"), ("jörg@example.com", "JÖRG@example.com"), ("ольга", "Ольга"), ("weiß", "WEISS")]
        {
            assert!(is_same(one, other) && is_same(other, one), "{one} {other}");
        }
        assert!(!is_same("alice", "alicia") && !is_same("jorg", "jörg"));
    }
}
