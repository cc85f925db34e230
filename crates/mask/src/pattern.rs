//! Names of columns with wildcards: `public.customers.ssn`, `*.*.email`, `hr.*.salary_*`.

use model::lineage::StoredColumn;

/// A schema, a relation and a column; `*` stands for any letters within one of them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pattern {
    schema: String,
    relation: String,
    column: String,
}

impl Pattern {
    /// Reads `schema.relation.column`. A dot within a part cannot be written: use `*` or `?` (any one letter) there.
    ///
    /// # Errors
    /// When it has not three parts, or one of them is empty.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut parts = text.split('.').map(str::to_owned);
        match (parts.next(), parts.next(), parts.next(), parts.next()) {
            (Some(schema), Some(relation), Some(column), None)
                if ![&schema, &relation, &column].iter().any(|part| part.is_empty()) =>
            {
                Ok(Self { schema, relation, column })
            }
            _ => Err(format!("`{text}` is not schema.relation.column; `*` stands for any letters within one part")),
        }
    }

    /// Whether it stands for a column.
    #[must_use]
    pub fn matches(&self, column: &StoredColumn) -> bool {
        like(&self.schema, &column.schema) && like(&self.relation, &column.relation) && like(&self.column, &column.name)
    }
}

/// `*` any letters, `?` one. Goes back to the last `*` only: time is bounded by the product of both lengths.
fn like(pattern: &str, text: &str) -> bool {
    let (mut pattern, mut text) = (pattern.chars(), text.chars());
    let mut again: Option<(std::str::Chars<'_>, std::str::Chars<'_>)> = None;
    loop {
        let here = text.clone();
        match (pattern.next(), text.next()) {
            (None, None) => return true,
            (Some('*'), _) => {
                text = here;
                again = Some((pattern.clone(), text.clone()));
            }
            (Some('?'), Some(_)) => {}
            (Some(wanted), Some(letter)) if wanted == letter => {}
            _ => {
                let Some((after_star, mut skipped)) = again.take() else { return false };
                if skipped.next().is_none() {
                    return false;
                }
                (pattern, text) = (after_star.clone(), skipped.clone());
                again = Some((after_star, skipped));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_stand_for_any_letters() {
        for (pattern, text, expected) in [
            ("ssn", "ssn", true),
            ("ssn", "ssn2", false),
            ("*", "", true),
            ("*ssn*", "old_ssn_1", true),
            ("a*b*c", "axxbyybzc", true),
            ("a*b*c", "axxbyybz", false),
            ("s?n", "ssn", true),
            ("s?n", "sn", false),
            ("*é", "café", true),
        ] {
            assert_eq!(like(pattern, text), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn a_pattern_has_three_parts() {
        assert!(Pattern::parse("public.customers.ssn").is_ok());
        for text in ["ssn", "customers.ssn", "a.b.c.d", "a..c", ""] {
            assert!(Pattern::parse(text).is_err(), "{text}");
        }
    }
}
