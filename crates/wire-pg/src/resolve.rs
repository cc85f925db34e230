//! From a name to what it stands for, at the moment that matters.
//!
//! A batch that the server skips has names of its own, which never take effect but say what the client meant.

use std::sync::Arc;

use model::statement::{Statement, Text, UnknownText};

use crate::names::{Names, Portal, Source};
use crate::queue::Bind;

/// The statement of that name: in the batch if it is there, in the session otherwise. `absent`: what is true if the
/// session's names are completely known and it is not among them.
pub(crate) fn source(names: &Names, batch: Option<&Names>, name: &str, absent: UnknownText) -> Source {
    for names in batch.into_iter().chain([names]) {
        if let Some(prepared) = names.statement(name) {
            return Ok(Arc::clone(prepared));
        }
        if let Some(reason) = names.statement_missing(name) {
            return Err(reason);
        }
    }
    Err(absent)
}

/// The text of a statement that may not be known.
pub(crate) fn text_of(source: &Source) -> Text {
    match source {
        Ok(prepared) => prepared.text.clone(),
        Err(reason) => Text::Unknown(*reason),
    }
}

/// Fills in what a portal stands for.
pub(crate) fn describe_portal(statement: &mut Statement, portal: &Portal) {
    statement.text = text_of(&portal.source);
    statement.prepared = Some(Arc::clone(&portal.statement));
    statement.parameters = portal.bound.parameters(portal.source.as_ref().ok().map(|prepared| &**prepared));
    statement.resumed = portal.executed;
}

/// Fills in what a statement's portal stands for.
pub(crate) fn resolve(statement: &mut Statement, names: &Names, batch: Option<&Names>, absent: UnknownText) {
    let Some(name) = &statement.portal else {
        return;
    };
    for names in batch.into_iter().chain([names]) {
        if let Some(portal) = names.portal(name) {
            return describe_portal(statement, portal);
        }
        if let Some(reason) = names.portal_missing() {
            return statement.text = Text::Unknown(reason);
        }
    }
    statement.text = Text::Unknown(absent);
}

/// A portal that a request would make.
pub(crate) fn portal_of(bind: Bind, names: &Names, batch: &Names, absent: UnknownText) -> Option<(Arc<str>, Portal)> {
    let (name, statement) = bind.names?;
    let source = source(names, Some(batch), &statement, absent);
    let portal = Portal { statement, source, bound: bind.bound, executed: false };
    Some((name, portal))
}
