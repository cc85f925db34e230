//! What became of a grant, for people.

use store::form::access::{AccessForm, HolderForm};

use crate::terminal::Style;

/// One line.
pub(super) fn line(form: &AccessForm<'_>) -> (Style, String) {
    let style = match &*form.change {
        "requested" | "activated" | "escalated" => Style::Warning,
        "review_overdue" => Style::Bad,
        "approved" | "reviewed" => Style::Good,
        _ => Style::Quiet,
    };
    let who = |holder: &HolderForm<'_>| {
        let chain = holder.acting_for.iter().map(|actor| format!(" for {}", actor.id)).collect::<String>();
        format!("{} {}{chain}", holder.actor.kind, holder.actor.id)
    };
    let scope = &form.scope;
    let what = format!("{} on {} in {}", scope.actions.join(", "), scope.relations.join(", "), scope.database_entry);
    let glass = if form.break_glass { " (broken glass)" } else { "" };
    let by = match (&form.by_holder, form.uid) {
        (Some(holder), _) => format!(" by {}", who(holder)),
        (None, Some(uid)) => format!(" by operator uid {uid}"),
        (None, None) => String::new(),
    };
    let reason = if form.reason.is_empty() { String::new() } else { format!(": {}", form.reason) };
    let change = form.change.replace('_', " ");
    let text = format!(
        "grant {}{glass} {change}{by}{reason} [{}; {what}; for {}]",
        form.grant,
        who(&form.holder),
        form.purpose
    );
    (style, text)
}
