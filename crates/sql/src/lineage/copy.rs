//! COPY: which columns it has, and how its rows are written.

use std::sync::Arc;

use model::lineage::{CopyForm, CopyText, Origin, Output, UnknownLineage};
use pg_raw_parse::Node;
use pg_raw_parse::list::{CastNodeList, NodeList};
use pg_raw_parse::nodes::{CopyStmt, DefElem, SelectStmt};

use crate::grammar::untyped;
use crate::lineage::Trace;
use crate::lineage::expression::stands_for_several;
use crate::lineage::row::{Field, Row};
use crate::state::Encoding;
use crate::walk::text;

impl<'a> Trace<'a> {
    pub(super) fn copy(&mut self, copy: &'a CopyStmt) -> Output {
        if copy.is_from {
            self.checked(copy.where_clause());
            return Output::Nothing;
        }
        let row = match copy.relation() {
            Some(relation) if copy.attlist().is_empty() => self.copied(relation),
            Some(relation) => chosen(self.table(relation), &text::strings(copy.attlist())),
            None => self.query(copy.query()),
        };
        self.lineage.reads.extend(row.whole().sources().cloned());
        if copy.filename().is_some() || copy.is_program {
            self.store_row(&row);
            return Output::Nothing;
        }
        // Elsewhere the byte of a delimiter may be a part of a letter.
        let is_ascii_plain = self.names.state.encoding != Encoding::Other;
        let is_followed = is_ascii_plain && names_its_columns(copy);
        Output::Copy(row.into_rows(), form(copy.options()).filter(|_| is_followed))
    }
}

/// The server says of a COPY how many columns it has, and not which: where they are not named, a snapshot that is older
/// than a change of the table would tell them apart by their places.
fn names_its_columns(copy: &CopyStmt) -> bool {
    if copy.relation().is_some() {
        return !copy.attlist().is_empty();
    }
    let returning = match copy.query() {
        Node::SelectStmt(select) => return selects_named(select),
        Node::InsertStmt(insert) => insert.returning_clause(),
        Node::UpdateStmt(update) => update.returning_clause(),
        Node::DeleteStmt(delete) => delete.returning_clause(),
        _ => return false,
    };
    returning.is_none_or(|returning| are_named(returning.exprs()))
}

fn selects_named(select: &SelectStmt) -> bool {
    let mut waiting = vec![select];
    while let Some(select) = waiting.pop() {
        if !are_named(untyped(select.target_list())) {
            return false;
        }
        waiting.extend(select.larg().into_iter().chain(select.rarg()));
    }
    true
}

fn are_named(outputs: &NodeList) -> bool {
    outputs.iter().all(|output| !matches!(output, Node::ResTarget(target) if stands_for_several(target.val())))
}

/// The columns that a COPY names.
fn chosen(row: Row, names: &[&str]) -> Row {
    let Row::Columns(fields) = row else { return row };
    let with = |name: &&str| {
        let field = fields.iter().find(|field| field.name.as_deref() == Some(*name));
        field.cloned().unwrap_or(Field { name: None, origin: Origin::Unknown(UnknownLineage::Column) })
    };
    Row::Columns(names.iter().map(with).collect())
}

/// Options of COPY TO, as far as they say how rows are written.
#[derive(Default)]
struct Options {
    format: Option<String>,
    delimiter: Option<u8>,
    null: Option<String>,
    quote: Option<u8>,
    escape: Option<u8>,
    has_header: bool,
}

/// How rows are written. `None`: there is an option that is not followed.
fn form(options: &CastNodeList<DefElem>) -> Option<CopyForm> {
    let mut known = Options::default();
    for option in options {
        known.take(option)?;
    }
    let Options { format, delimiter, null, quote, escape, has_header } = known;
    let (delimiter_of_format, null_of_format, quote) = match format.as_deref() {
        None | Some("text") => (b'\t', "\\N", None),
        Some("csv") => (b',', "", Some(quote.unwrap_or(b'"'))),
        Some("binary") => return Some(CopyForm::Binary),
        Some(_) => return None,
    };
    // Such a quote within a value would have to be read in another way.
    if escape.is_some() && escape != quote {
        return None;
    }
    let delimiter = delimiter.unwrap_or(delimiter_of_format);
    let null = null.map_or_else(|| Arc::from(null_of_format), Arc::from);
    Some(CopyForm::Text(CopyText { delimiter, null, quote, has_header }))
}

impl Options {
    fn take(&mut self, option: &DefElem) -> Option<()> {
        let value = text::constant(option.arg());
        match option.defname()? {
            "format" => self.format = Some(value?),
            "delimiter" => self.delimiter = Some(byte(&value?)?),
            "null" => self.null = Some(value.filter(|null| null.is_ascii())?),
            "quote" => self.quote = Some(byte(&value?)?),
            "escape" => self.escape = Some(byte(&value?)?),
            "header" => {
                self.has_header = match (option.arg(), value.map(|word| word.to_ascii_lowercase()).as_deref()) {
                    (Node::None, _) | (_, Some("true" | "on" | "1")) => true,
                    (_, Some("false" | "off" | "0")) => false,
                    _ => return None,
                }
            }
            "force_quote" => {}
            _ => return None,
        }
        Some(())
    }
}

fn byte(text: &str) -> Option<u8> {
    match text.as_bytes() {
        [byte] if byte.is_ascii() => Some(*byte),
        _ => None,
    }
}
