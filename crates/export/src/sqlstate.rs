//! Classes of SQLSTATE, as metric labels: a server-side `RAISE` can make up any code, so only known classes count.

/// The two-character classes of the manual's "PostgreSQL Error Codes" (appendix A), sorted.
pub(crate) const CLASSES: [&str; 43] = [
    "00", "01", "02", "03", "08", "09", "0A", "0B", "0F", "0L", "0P", "0Z", "20", "21", "22", "23", "24", "25", "26",
    "27", "28", "2B", "2D", "2F", "34", "38", "39", "3B", "3D", "3F", "40", "42", "44", "53", "54", "55", "57", "58",
    "72", "F0", "HV", "P0", "XX",
];

/// Slots for all classes and one for the rest.
pub(crate) const SLOTS: usize = CLASSES.len() + 1;

/// The slot of a code.
pub(crate) fn slot(sqlstate: &str) -> usize {
    let known = sqlstate.get(..2).and_then(|class| CLASSES.binary_search(&class).ok());
    known.filter(|_| sqlstate.len() == 5).unwrap_or(CLASSES.len())
}

/// The label of a slot.
pub(crate) fn label(slot: usize) -> &'static str {
    CLASSES.get(slot).copied().unwrap_or("other")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_known_classes_have_a_label() {
        assert!(CLASSES.is_sorted());
        for (code, class) in [
            ("42P01", "42"),
            ("XX000", "XX"),
            ("00000", "00"),
            ("ZZ999", "other"),
            ("42", "other"),
            ("", "other"),
            ("é2P01", "other"),
        ] {
            assert_eq!(label(slot(code)), class, "{code}");
        }
    }
}
