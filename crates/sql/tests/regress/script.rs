//! A psql script -> its statements. Knows as much of psql as the regression tests use.

/// The statements; lines for psql itself and data of COPY are left out.
pub(crate) fn statements(script: &str) -> Vec<String> {
    let mut statements = Vec::new();
    let mut rest = script;
    while !rest.trim_start().is_empty() {
        rest = rest.trim_start();
        if rest.starts_with('\\') {
            rest = rest.split_once('\n').map_or("", |(_, rest)| rest);
            continue;
        }
        let end = end_of_statement(rest);
        let (statement, after) = rest.split_at(end.text);
        rest = &after[end.terminator..];
        let is_copy = statement.to_ascii_lowercase().contains("from stdin");
        if is_copy && rest.trim_start_matches([' ', '\t']).starts_with('\n') {
            rest = rest.split_once("\n\\.").map_or("", |(_, rest)| rest);
        }
        if !statement.trim().is_empty() {
            statements.push(statement.to_owned());
        }
    }
    statements
}

struct End {
    text: usize,
    terminator: usize,
}

fn end_of_statement(text: &str) -> End {
    let bytes = text.as_bytes();
    let mut at = 0;
    let mut depth = 0_usize;
    let mut begins = 0_usize;
    while at < bytes.len() {
        let rest = &text[at..];
        let word = rest.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or("");
        at += match bytes[at] {
            b'\'' | b'"' => quoted(bytes, at),
            b'-' if rest.starts_with("--") => rest.find('\n').unwrap_or(rest.len()),
            b'/' if rest.starts_with("/*") => comment(rest),
            b'$' => dollar(rest),
            b'(' | b'[' => {
                depth += 1;
                1
            }
            b')' | b']' => {
                depth = depth.saturating_sub(1);
                1
            }
            b';' if depth == 0 && begins == 0 => return End { text: at, terminator: 1 },
            b'\\' if rest.starts_with("\\;") => 2,
            // \gset, \gexec and the like end a statement as well.
            b'\\' => return End { text: at, terminator: rest.find('\n').unwrap_or(rest.len()) },
            _ if !word.is_empty() => {
                let opens_case = word.eq_ignore_ascii_case("case") && begins > 0;
                if word.eq_ignore_ascii_case("atomic") || opens_case {
                    begins += 1;
                } else if word.eq_ignore_ascii_case("end") {
                    begins = begins.saturating_sub(1);
                }
                word.len()
            }
            _ => rest.chars().next().map_or(1, char::len_utf8),
        };
        at = at.min(bytes.len());
    }
    End { text: bytes.len(), terminator: 0 }
}

fn quoted(bytes: &[u8], start: usize) -> usize {
    let quote = bytes[start];
    let escapes = quote == b'\'' && start > 0 && matches!(bytes[start - 1], b'e' | b'E');
    let mut at = start + 1;
    while at < bytes.len() {
        if escapes && bytes[at] == b'\\' {
            at += 2;
        } else if bytes[at] == quote {
            return at + 1 - start;
        } else {
            at += 1;
        }
    }
    bytes.len() - start
}

fn comment(text: &str) -> usize {
    let bytes = text.as_bytes();
    let (mut at, mut depth) = (0, 0);
    while at + 1 < bytes.len() {
        match &bytes[at..at + 2] {
            b"/*" => depth += 1,
            b"*/" => depth -= 1,
            _ => {
                at += 1;
                continue;
            }
        }
        at += 2;
        if depth == 0 {
            return at;
        }
    }
    text.len()
}

fn dollar(text: &str) -> usize {
    let Some(end) = text[1..].find('$') else { return 1 };
    let tag = &text[..end + 2];
    let is_tag =
        tag[1..=end].chars().all(|c| c.is_alphanumeric() || c == '_') && !tag[1..].starts_with(char::is_numeric);
    if !is_tag {
        return 1;
    }
    text[tag.len()..].find(tag).map_or(text.len(), |body| tag.len() + body + tag.len())
}
