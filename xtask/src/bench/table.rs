//! A Markdown table.

/// Renders a header and rows; columns are padded so that it reads as plain text, too.
pub(super) fn markdown(header: &[&str], rows: &[Vec<String>]) -> String {
    let cell = |row: &[String], column: usize| row.get(column).cloned().unwrap_or_default();
    let widths: Vec<usize> = (0..header.len())
        .map(|column| {
            let longest = rows.iter().map(|row| cell(row, column).chars().count()).max().unwrap_or(0);
            longest.max(header.get(column).map_or(0, |text| text.chars().count())).max(3)
        })
        .collect();
    let line = |cells: Vec<String>| {
        let padded = cells.iter().zip(&widths).map(|(text, width)| format!(" {text:<width$} ", width = *width));
        format!("|{}|\n", padded.collect::<Vec<_>>().join("|"))
    };
    let mut text = line(header.iter().map(|text| (*text).to_owned()).collect());
    text.push_str(&line(widths.iter().map(|width| "-".repeat(*width)).collect()));
    for row in rows {
        text.push_str(&line((0..header.len()).map(|column| cell(row, column)).collect()));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let table = markdown(&["a", "value"], &[vec!["long cell".into(), "1".into()]]);
        assert_eq!(table, "| a         | value |\n| --------- | ----- |\n| long cell | 1     |\n");
    }
}
