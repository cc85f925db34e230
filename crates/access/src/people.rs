//! Who is the same person. On the safe side: the name alone counts, whoever vouches for it.

use model::access::Holder;
use unicode_normalization::UnicodeNormalization as _;

/// Everybody who stands behind a holder: who acts, and on whose behalf.
fn behind(holder: &Holder) -> impl Iterator<Item = &str> {
    std::iter::once(&holder.actor).chain(&holder.acting_for).map(|actor| &*actor.id)
}

/// Whether somebody stands behind both.
pub(crate) fn share_somebody(one: &Holder, other: &Holder) -> bool {
    behind(one).any(|name| behind(other).any(|also| is_same(name, also)))
}

/// Two issuers may write one name differently only in case, in every script, in how letters are put together, or by what
/// nobody sees. Letters that are one letter in upper case are the same here, too.
fn is_same(one: &str, other: &str) -> bool {
    let folded = |name: &str| {
        let seen: String = name.chars().filter(|letter| !is_invisible(*letter)).nfkc().collect();
        seen.to_uppercase().to_lowercase().nfkc().collect::<String>()
    };
    one == other || folded(one) == folded(other)
}

/// `Default_Ignorable_Code_Point` of Unicode: shown as nothing.
const fn is_invisible(letter: char) -> bool {
    matches!(letter, '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}'
        | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}'
        | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fff8}' | '\u{1bca0}'..='\u{1bca3}'
        | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_the_same_however_it_is_written() {
        for (one, other) in
            [("alice", "Alice"), ("jörg@example.com", "JÖRG@example.com"), ("ольга", "Ольга"), ("weiß", "WEISS")]
        {
            assert!(is_same(one, other) && is_same(other, one), "{one} {other}");
        }
        for (one, other) in
            [("jos\u{e9}", "jose\u{301}"), ("bob", "b\u{200b}ob"), ("bob", "\u{ff22}OB"), ("bob", "bob\u{e0041}")]
        {
            assert!(is_same(one, other) && is_same(other, one), "{one} {other}");
        }
        assert!(!is_same("alice", "alicia") && !is_same("jorg", "jörg"));
    }
}
