//! What the server said about a statement, in the few words that other formats have for it.

use store::form::statement::StatementForm;

/// How a statement ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status<'a> {
    Succeeded,
    Failed {
        sqlstate: &'a str,
        message: Option<&'a str>,
    },
    /// The answer was not seen, or there was none.
    Unknown,
}

impl<'a> Status<'a> {
    pub(crate) fn of(statement: &'a StatementForm<'_>) -> Self {
        let failed =
            statement.outcomes.iter().find_map(|outcome| Some((outcome.sqlstate.as_deref()?, &outcome.message)));
        match failed {
            Some((sqlstate, message)) => Self::Failed { sqlstate, message: message.as_deref() },
            None if statement.ending == "answered" => Self::Succeeded,
            None => Self::Unknown,
        }
    }
}

/// The operation, from the server's command tag: `SELECT` of `SELECT 5`, `CREATE TABLE`. Several outcomes with different
/// tags have no one operation. The text is not looked at: it can say anything.
pub(crate) fn operation<'a>(statement: &'a StatementForm<'_>) -> Option<&'a str> {
    let mut operations = statement.outcomes.iter().filter_map(|outcome| Some(without_counts(outcome.tag.as_deref()?)));
    let first = operations.next()?;
    operations.all(|operation| operation == first).then_some(first)
}

fn without_counts(tag: &str) -> &str {
    tag.trim_end_matches(|c: char| c.is_ascii_digit() || c == ' ')
}

#[cfg(test)]
mod tests {
    use super::*;
    use store::form::statement::OutcomeForm;

    #[test]
    fn operations_come_from_tags() {
        for (tags, expected) in [
            (&[][..], None),
            (&["SELECT 5"], Some("SELECT")),
            (&["INSERT 0 1"], Some("INSERT")),
            (&["CREATE TABLE"], Some("CREATE TABLE")),
            (&["BEGIN", "COMMIT"], None),
            (&["UPDATE 1", "UPDATE 22"], Some("UPDATE")),
        ] {
            let outcomes = tags.iter().map(|tag| OutcomeForm { tag: Some((*tag).into()), ..OutcomeForm::default() });
            let statement = StatementForm { outcomes: outcomes.collect(), ..StatementForm::default() };
            assert_eq!(operation(&statement), expected, "{tags:?}");
        }
    }
}
