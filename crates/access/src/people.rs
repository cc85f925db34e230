//! Who is the same person. On the safe side: the name alone counts, whoever vouches for it.

use model::access::Holder;

/// Everybody who stands behind a holder: who acts, and on whose behalf.
fn behind(holder: &Holder) -> impl Iterator<Item = &str> {
    std::iter::once(&holder.actor).chain(&holder.acting_for).map(|actor| &*actor.id)
}

/// Whether somebody stands behind both. Two issuers may write one name differently only in case.
pub(crate) fn share_somebody(one: &Holder, other: &Holder) -> bool {
    behind(one).any(|name| behind(other).any(|also| name.eq_ignore_ascii_case(also)))
}
