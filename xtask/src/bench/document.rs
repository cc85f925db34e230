//! `docs/benchmarks.md`: chapters are replaced one by one, so that one subject can be measured again alone.

use anyhow::{Context, Result};

use crate::progress::note;
use crate::shell::workspace;

/// Puts `chapter` (a heading of the second level and what is below it) in the place of the one with the same heading,
/// or at the end.
pub(super) fn replace_chapter(chapter: &str) -> Result<()> {
    let path = workspace().join("docs").join("benchmarks.md");
    let before = std::fs::read_to_string(&path).with_context(|| format!("{} could not be read", path.display()))?;
    std::fs::write(&path, replaced(&before, chapter))
        .with_context(|| format!("{} could not be written", path.display()))?;
    note(&format!("written to {}", path.display()));
    Ok(())
}

fn replaced(document: &str, chapter: &str) -> String {
    let heading = chapter.lines().next().unwrap_or_default();
    let (before, rest) = match document.find(&format!("\n{heading}\n")) {
        Some(start) => document.split_at(start),
        None => (document.trim_end(), ""),
    };
    let after = rest.get(1..).and_then(|rest| rest.find("\n## ").and_then(|end| rest.get(end..)));
    format!("{}\n\n{}\n{}", before.trim_end(), chapter.trim_end(), after.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::replaced;

    #[test]
    fn one_chapter_changes_and_the_others_stay() {
        let check = |document: &str, expected: &str| assert_eq!(replaced(document, "## B\n\nnew\n"), expected);
        check("# T\n\n## A\n\na\n\n## B\n\nold\n\n## C\n\nc\n", "# T\n\n## A\n\na\n\n## B\n\nnew\n\n## C\n\nc\n");
        check("# T\n\n## A\n\na\n\n## B\n\nold\n", "# T\n\n## A\n\na\n\n## B\n\nnew\n");
        check("# T\n\n## A\n\na\n", "# T\n\n## A\n\na\n\n## B\n\nnew\n");
        check("# T\n\n## Big\n\na\n", "# T\n\n## Big\n\na\n\n## B\n\nnew\n");
    }
}
