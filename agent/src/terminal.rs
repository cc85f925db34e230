//! Text for people: width, colour, and nothing that a database client could smuggle into a terminal.

use std::borrow::Cow;
use std::io::{IsTerminal as _, Write};

/// What the output can show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terminal {
    /// Columns; `None` where the output is not a terminal: then nothing is shortened.
    pub width: Option<usize>,
    /// May colours be used?
    pub colour: Colour,
}

/// Whether colours are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Colour {
    /// A terminal, and nobody objects.
    On,
    /// A pipe, `NO_COLOR`, or a dumb terminal.
    Off,
}

/// What a piece of text is, not how it looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// Headings.
    Heading,
    /// Context of lesser interest.
    Quiet,
    /// All is well.
    Good,
    /// Needs a look.
    Warning,
    /// Failed, or lost.
    Bad,
}

impl Terminal {
    /// Standard output of this process.
    #[must_use]
    pub fn stdout() -> Self {
        let stdout = std::io::stdout();
        if !stdout.is_terminal() {
            return Self::PIPE;
        }
        let width = terminal_size::terminal_size_of(&stdout).map_or(80, |(width, _)| usize::from(width.0).max(40));
        let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
        let colour = if set("NO_COLOR") || dumb { Colour::Off } else { Colour::On };
        Self { width: Some(width), colour }
    }

    /// A pipe or file: no colours, nothing shortened.
    pub const PIPE: Self = Self { width: None, colour: Colour::Off };

    /// `text` in a style. Escape untrusted text first.
    #[must_use]
    pub fn paint<'t>(&self, style: Style, text: &'t str) -> Cow<'t, str> {
        if self.colour == Colour::Off {
            return text.into();
        }
        let code = match style {
            Style::Heading => "1",
            Style::Quiet => "2",
            Style::Good => "32",
            Style::Warning => "33",
            Style::Bad => "1;31",
        };
        format!("\x1b[{code}m{text}\x1b[0m").into()
    }
}

/// Characters that a terminal may obey, or that hide or reorder what is shown: controls (C0, DEL, C1), line and
/// paragraph separators, zero-width characters, and the directional overrides.
const fn is_dangerous(char: char) -> bool {
    char.is_ascii_control()
        || matches!(char, '\u{80}'..='\u{9f}' | '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// `text` with dangerous characters written out: `\n`, `\t`, `\u{1b}`.
#[must_use]
pub fn escape(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_dangerous) {
        return text.into();
    }
    let mut out = String::with_capacity(text.len() + 16);
    for char in text.chars() {
        if is_dangerous(char) {
            out.extend(char.escape_default());
        } else {
            out.push(char);
        }
    }
    out.into()
}

/// A line of JSON with dangerous characters escaped (`\u` and four digits): the same JSON, safe to show.
#[must_use]
pub fn escape_json(json: &str) -> Cow<'_, str> {
    if !json.chars().any(is_dangerous) {
        return json.into();
    }
    let mut out = String::with_capacity(json.len() + 16);
    for char in json.chars() {
        if is_dangerous(char) {
            let mut units = [0; 2];
            for unit in char.encode_utf16(&mut units) {
                out.push_str(&format!("\\u{unit:04x}"));
            }
        } else {
            out.push(char);
        }
    }
    out.into()
}

/// Columns that `text` takes, after [`escape`]: wide (East Asian, emoji) characters count two.
#[must_use]
pub fn columns(text: &str) -> usize {
    text.chars().map(char_columns).sum()
}

const fn char_columns(char: char) -> usize {
    match char {
        '\u{1100}'..='\u{115f}'
        | '\u{2e80}'..='\u{a4cf}'
        | '\u{ac00}'..='\u{d7a3}'
        | '\u{f900}'..='\u{faff}'
        | '\u{fe30}'..='\u{fe6f}'
        | '\u{ff00}'..='\u{ff60}'
        | '\u{ffe0}'..='\u{ffe6}'
        | '\u{1f300}'..='\u{1faff}'
        | '\u{20000}'..='\u{3fffd}' => 2,
        '\u{300}'..='\u{36f}' => 0,
        _ => 1,
    }
}

/// `text` in at most `width` columns; what is cut is marked with `...`.
#[must_use]
pub fn shorten(text: &str, width: usize) -> Cow<'_, str> {
    // A long text is not measured to its end.
    if text.len() <= width || columns(text) <= width {
        return text.into();
    }
    let mut out = String::new();
    let mut used = 0;
    for char in text.chars() {
        used += char_columns(char);
        if used + 3 > width {
            break;
        }
        out.push(char);
    }
    out.push_str("...");
    out.into()
}

/// Writes text to standard output. A closed pipe (`warder ... | head`) is the ordinary end, reported as such.
pub fn print(text: &str) -> std::io::Result<()> {
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_reaches_the_terminal_as_a_command() {
        for (text, shown) in [
            ("plain ü 漢", "plain ü 漢"),
            ("a\nb\tc\r", "a\\nb\\tc\\r"),
            ("\x1b]0;title\x07", "\\u{1b}]0;title\\u{7}"),
            ("\u{9b}31m", "\\u{9b}31m"),
            ("\u{202e}drop\u{2066}", "\\u{202e}drop\\u{2066}"),
            ("nul\0del\x7f", "nul\\u{0}del\\u{7f}"),
        ] {
            assert_eq!(escape(text), shown);
        }
    }

    #[test]
    fn escaped_json_is_the_same_json() {
        let value = "\x1b[31m \u{9b} \u{202e} \u{e0041} ü \n";
        let json = serde_json::to_string(value).expect("text");
        let safe = escape_json(&json);
        assert!(!safe.chars().any(is_dangerous));
        assert_eq!(serde_json::from_str::<String>(&safe).expect("JSON"), value);
    }

    #[test]
    fn shortened_text_fits() {
        assert_eq!(shorten("select 1", 8), "select 1");
        assert_eq!(shorten("select 12", 8), "selec...");
        assert_eq!(shorten("漢字漢字漢字", 8), "漢字...");
    }
}
