//! Which class and activity a record is.

use store::form::event::Event;
use store::form::statement::StatementForm;
use store::line::Entry;

use crate::format::outcome::operation;
use crate::source::NewLogin;

/// The classes that are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    Process,
    EventLog,
    Authentication,
    Network,
    Datastore,
}

impl Class {
    pub(super) const fn uid(self) -> u64 {
        match self {
            Self::Process => 1007,
            Self::EventLog => 1008,
            Self::Authentication => 3002,
            Self::Network => 4001,
            Self::Datastore => 6005,
        }
    }

    pub(super) const fn category(self) -> u64 {
        self.uid() / 1000
    }
}

/// What happened, in the words of a class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Activity<'a> {
    pub(super) class: Class,
    pub(super) id: u8,
    pub(super) name: &'a str,
}

/// For what the class has no number; the name says it then.
const OTHER: u8 = 99;

impl<'a> Activity<'a> {
    pub(super) fn of(entry: &'a Entry, type_word: &'a str, login: Option<NewLogin>) -> Self {
        let is = |class, id, name| Self { class, id, name };
        match &entry.event {
            Event::Statement(form) => of_statement(form),
            Event::Request(_) => is(Class::Datastore, OTHER, "Request"),
            Event::Cancel(_) => is(Class::Datastore, OTHER, "Cancel"),
            Event::SessionOpen(_) => is(Class::Network, 1, "Open"),
            Event::SessionChange(form) if form.authenticated && login.is_some() => {
                is(Class::Authentication, 1, "Logon")
            }
            Event::SessionChange(_) => is(Class::Network, OTHER, "Change"),
            Event::SessionClose(_) => is(Class::Network, 2, "Close"),
            Event::Bypass(_) => is(Class::Network, OTHER, "Bypass"),
            Event::BypassRefused(_) => is(Class::Network, 5, "Refuse"),
            // SQLSTATE class 28: invalid authorization specification.
            Event::Refused(form) if form.sqlstate.starts_with("28") => is(Class::Authentication, 1, "Logon"),
            Event::Refused(_) => is(Class::Datastore, 3, "Connect"),
            Event::Process(form) if form.change == "exit" => is(Class::Process, 2, "Terminate"),
            Event::Process(_) => is(Class::Process, 1, "Launch"),
            Event::AgentStart(_) => is(Class::EventLog, 6, "Start"),
            Event::AgentStop => is(Class::EventLog, 7, "Stop"),
            _ => match type_word {
                "segment" => is(Class::EventLog, 5, "Rotate"),
                "segments.removed" => is(Class::EventLog, 2, "Delete"),
                other => is(Class::EventLog, OTHER, other),
            },
        }
    }
}

/// By the server's command tag. A message that runs nothing (`parse`, `bind`, `describe`) is not a query yet.
fn of_statement<'a>(form: &'a StatementForm<'_>) -> Activity<'a> {
    let is = |id, name| Activity { class: Class::Datastore, id, name };
    match (operation(form), &*form.kind) {
        (None, "parse" | "bind" | "describe") => is(OTHER, &form.kind),
        (None | Some("SELECT" | "FETCH" | "SHOW"), _) => is(4, "Query"),
        (Some("INSERT"), _) => is(5, "Write"),
        (Some("UPDATE" | "MERGE"), _) => is(2, "Update"),
        (Some("DELETE" | "TRUNCATE TABLE"), _) => is(7, "Delete"),
        (Some(created), _) if created.starts_with("CREATE ") => is(6, "Create"),
        (Some(other), _) => is(OTHER, other),
    }
}
