//! The rows of a COPY to the client (chapter 55.2.6): hidden values become NULL. There is no description of them, so no
//! type is known, and no other mask could be sure to make a value of it.
//!
//! The server sends one row in each CopyData (chapter 55.7). A row that is not as wide as planned is NULL as a whole.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::lineage::{CopyForm, CopyText};

use crate::plan::{Cell, Columns, Plan, RULE_UNKNOWN};
use crate::rows::{NULL, RULE_UNEXPECTED, add};

/// What a binary COPY begins with.
const SIGNATURE: &[u8] = b"PGCOPY\n\xff\r\n\0";
/// The number of columns that ends a binary COPY.
const TRAILER: [u8; 2] = [0xff; 2];

/// Rewrites the rows of one COPY.
#[derive(Clone, Debug)]
pub struct CopyRows {
    /// For each column the rule that hides it; `None`: the result is not what was planned.
    columns: Option<Vec<Option<Arc<str>>>>,
    /// Columns that the server says there are.
    width: u16,
    form: CopyForm,
    /// What comes first is behind it.
    has_begun: bool,
    cells: BTreeMap<Arc<str>, u64>,
}

impl CopyRows {
    /// For what a plan says about a COPY, written in this form, and the body of the server's CopyOutResponse.
    #[must_use]
    pub fn new(plan: &Plan, form: &CopyForm, response: &[u8]) -> Self {
        let (is_binary, width) = match response.first_chunk() {
            Some([format, high, low]) => (*format != 0, u16::from_be_bytes([*high, *low])),
            None => (false, 0),
        };
        let rule = |cell: &Option<Cell>| cell.as_ref().map(|cell| Arc::clone(&cell.rule));
        let columns: Vec<Option<Arc<str>>> = match &plan.columns {
            Columns::Each(each) => each.iter().map(rule).collect(),
            Columns::Every(cell) => vec![rule(cell).or_else(|| Some(RULE_UNKNOWN.into())); usize::from(width)],
        };
        let is_planned = columns.len() == usize::from(width) && is_binary == (*form == CopyForm::Binary);
        let columns = is_planned.then_some(columns);
        Self { columns, width, form: form.clone(), has_begun: false, cells: BTreeMap::new() }
    }

    /// Cells that were masked, by rule.
    #[must_use]
    pub const fn cells(&self) -> &BTreeMap<Arc<str>, u64> {
        &self.cells
    }

    /// Appends what the client gets for the body of a CopyData: a whole message.
    pub fn rewrite(&mut self, body: &[u8], out: &mut Vec<u8>) {
        message(out, |out| {
            let is_first = !std::mem::replace(&mut self.has_begun, true);
            let row = match &self.form {
                CopyForm::Text(text) if is_first && text.has_header => return out.extend_from_slice(body),
                CopyForm::Text(_) => Some(body),
                CopyForm::Binary if is_first => header(body, out),
                CopyForm::Binary => Some(body),
            };
            let start = out.len();
            if row.and_then(|row| self.write(row, out)).is_none() {
                out.truncate(start);
                self.write_nulls(out);
            }
        });
    }

    /// Appends a row with nothing in it: for one that is too long to be looked at.
    pub fn blank(&mut self, out: &mut Vec<u8>) {
        message(out, |out| {
            // In the first one there was what a binary COPY begins with.
            if !std::mem::replace(&mut self.has_begun, true) && self.form == CopyForm::Binary {
                out.extend_from_slice(SIGNATURE);
                out.extend_from_slice(&[0; 8]);
            }
            self.write_nulls(out);
        });
    }

    /// `None`: the row is not what was planned.
    fn write(&mut self, row: &[u8], out: &mut Vec<u8>) -> Option<()> {
        let columns = self.columns.as_deref()?;
        match &self.form {
            CopyForm::Text(text) => write_text(columns, text, row, &mut self.cells, out),
            CopyForm::Binary => write_binary(columns, row, &mut self.cells, out),
        }
    }

    fn write_nulls(&mut self, out: &mut Vec<u8>) {
        match &self.form {
            CopyForm::Text(text) => {
                for place in 0..self.width {
                    out.extend((place > 0).then_some(text.delimiter));
                    out.extend_from_slice(text.null.as_bytes());
                }
                out.push(b'\n');
            }
            CopyForm::Binary => {
                out.extend_from_slice(&self.width.to_be_bytes());
                (0..self.width).for_each(|_| out.extend_from_slice(&NULL));
            }
        }
        add(&mut self.cells, &RULE_UNEXPECTED.into(), u64::from(self.width));
    }
}

/// Appends a CopyData with what `write` appends as its body.
fn message(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(b"d\0\0\0\0");
    write(out);
    let length = u32::try_from(out.len().saturating_sub(start).saturating_sub(1)).unwrap_or(u32::MAX);
    if let Some(place) = out.get_mut(start.saturating_add(1)..start.saturating_add(5)) {
        place.copy_from_slice(&length.to_be_bytes());
    }
}

fn write_text(
    columns: &[Option<Arc<str>>],
    text: &CopyText,
    row: &[u8],
    cells: &mut BTreeMap<Arc<str>, u64>,
    out: &mut Vec<u8>,
) -> Option<()> {
    let mut rest = Some(row.strip_suffix(b"\n")?);
    for (place, rule) in columns.iter().enumerate() {
        let (value, behind) = value(rest?, text)?;
        rest = behind;
        out.extend((place > 0).then_some(text.delimiter));
        match rule {
            Some(rule) if value != text.null.as_bytes() => {
                add(cells, rule, 1);
                out.extend_from_slice(text.null.as_bytes());
            }
            _ => out.extend_from_slice(value),
        }
    }
    out.push(b'\n');
    rest.is_none().then_some(())
}

/// The next value as it is written, and what is behind its delimiter; `None` there: it is the last. `None`: this is no
/// line of such a file, or more than one.
fn value<'a>(line: &'a [u8], text: &CopyText) -> Option<(&'a [u8], Option<&'a [u8]>)> {
    let (mut is_quoted, mut is_escaped) = (false, false);
    for (place, byte) in line.iter().enumerate() {
        match *byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if text.quote.is_none() => is_escaped = true,
            byte if Some(byte) == text.quote => is_quoted = !is_quoted,
            _ if is_quoted => {}
            b'\n' => return None,
            byte if byte == text.delimiter => {
                let (value, behind) = line.split_at_checked(place)?;
                return Some((value, behind.get(1..)));
            }
            _ => {}
        }
    }
    (!is_quoted).then_some((line, None))
}

/// What a binary COPY begins with goes to `out`; the rest is its first row.
fn header<'a>(body: &'a [u8], out: &mut Vec<u8>) -> Option<&'a [u8]> {
    let (flags, rest) = body.strip_prefix(SIGNATURE)?.split_first_chunk::<4>()?;
    let (length, rest) = rest.split_first_chunk::<4>()?;
    // A flag may stand for more columns; nobody knows what an extension means.
    if *flags != [0; 4] || *length != [0; 4] {
        return None;
    }
    out.extend_from_slice(SIGNATURE);
    out.extend_from_slice(&[0; 8]);
    Some(rest)
}

fn write_binary(
    columns: &[Option<Arc<str>>],
    row: &[u8],
    cells: &mut BTreeMap<Arc<str>, u64>,
    out: &mut Vec<u8>,
) -> Option<()> {
    let (count, mut rest) = row.split_first_chunk::<2>()?;
    out.extend_from_slice(count);
    if *count == TRAILER {
        return rest.is_empty().then_some(());
    }
    if usize::from(u16::from_be_bytes(*count)) != columns.len() {
        return None;
    }
    for rule in columns {
        let (size, behind) = rest.split_first_chunk::<4>()?;
        let length = if *size == NULL { 0 } else { usize::try_from(u32::from_be_bytes(*size)).ok()? };
        let (value, behind) = behind.split_at_checked(length)?;
        rest = behind;
        match rule {
            Some(rule) if *size != NULL => {
                add(cells, rule, 1);
                out.extend_from_slice(&NULL);
            }
            _ => {
                out.extend_from_slice(size);
                out.extend_from_slice(value);
            }
        }
    }
    rest.is_empty().then_some(())
}
