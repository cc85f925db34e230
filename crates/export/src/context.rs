//! What is known about the sessions that records belong to: a statement names only its session, receivers want user,
//! database, address and process beside it.

use std::collections::{HashMap, VecDeque};

use store::form::event::Event;
use store::form::identity::SessionText;
use store::form::principal::PrincipalForm;
use store::form::process::ProcessForm;
use store::form::session::SessionForm;
use store::line::Entry;

/// Sessions that are remembered; the oldest is forgotten first. About 0.5 KiB each, 2 KiB at most.
pub(crate) const SESSIONS_MAX: usize = 8_192;
/// Bytes of a command line that are remembered.
const COMMAND_BYTES_MAX: usize = 512;
/// Actors of a chain that are remembered.
const ACTORS_MAX: usize = 4;

/// What is known about one session. Absent is not known.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Facts {
    pub(crate) entry: String,
    pub(crate) user: Option<String>,
    pub(crate) database: Option<String>,
    pub(crate) application: Option<String>,
    pub(crate) transport: String,
    pub(crate) client_address: Option<String>,
    pub(crate) server_address: Option<String>,
    pub(crate) socket_path: Option<String>,
    pub(crate) encryption: Option<String>,
    pub(crate) protocol: Option<String>,
    pub(crate) authenticated: bool,
    pub(crate) client: Option<ProcessFacts>,
    pub(crate) principal: Option<PrincipalFacts>,
}

/// Who acts.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct PrincipalFacts {
    pub(crate) kind: String,
    pub(crate) id: String,
    pub(crate) issuer: String,
    /// Names of those on whose behalf, nearest first.
    pub(crate) acting_for: Vec<String>,
    pub(crate) purpose: Option<String>,
}

/// What is known about a process.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct ProcessFacts {
    pub(crate) pid: u32,
    pub(crate) parent: Option<u32>,
    pub(crate) name: String,
    pub(crate) executable: Option<String>,
    pub(crate) arguments: Vec<String>,
    pub(crate) uid: u32,
    pub(crate) login_uid: Option<u32>,
}

impl From<&SessionForm<'_>> for Facts {
    fn from(form: &SessionForm<'_>) -> Self {
        let owned = |text: &Option<std::borrow::Cow<'_, str>>| text.as_deref().map(str::to_owned);
        Self {
            entry: form.database_entry.clone().into_owned(),
            user: owned(&form.user),
            database: owned(&form.database),
            application: owned(&form.application_name),
            transport: form.transport.clone().into_owned(),
            client_address: owned(&form.client_address),
            server_address: owned(&form.server_address),
            socket_path: owned(&form.socket_path),
            encryption: owned(&form.encryption),
            protocol: owned(&form.protocol),
            authenticated: form.authenticated,
            client: form.client.as_ref().map(ProcessFacts::from),
            principal: form.principal.as_ref().map(PrincipalFacts::from),
        }
    }
}

impl From<&PrincipalForm<'_>> for PrincipalFacts {
    fn from(form: &PrincipalForm<'_>) -> Self {
        let actors = form.acting_for.iter().take(ACTORS_MAX);
        Self {
            kind: form.actor.kind.clone().into_owned(),
            id: form.actor.id.clone().into_owned(),
            issuer: form.actor.issuer.clone().into_owned(),
            acting_for: actors.map(|actor| actor.id.clone().into_owned()).collect(),
            purpose: form.purpose.as_deref().map(str::to_owned),
        }
    }
}

impl From<&ProcessForm<'_>> for ProcessFacts {
    fn from(form: &ProcessForm<'_>) -> Self {
        let mut room = COMMAND_BYTES_MAX;
        let fits = |argument: &&std::borrow::Cow<'_, str>| {
            room = room.saturating_sub(argument.len() + 1);
            room > 0
        };
        Self {
            pid: form.pid,
            parent: form.ancestors.first().map(|parent| parent.pid),
            name: form.name.clone().into_owned(),
            executable: form.exe.as_deref().map(str::to_owned),
            arguments: form.argv.iter().take_while(fits).map(|argument| argument.clone().into_owned()).collect(),
            uid: form.uid,
            login_uid: form.login_uid,
        }
    }
}

impl ProcessFacts {
    /// The executable's path, or else the process's name.
    pub(crate) fn path_or_name(&self) -> &str {
        self.executable.as_deref().unwrap_or(&self.name)
    }
}

/// The sessions.
#[derive(Debug, Default)]
pub(crate) struct Context {
    sessions: HashMap<SessionText, Facts>,
    order: VecDeque<SessionText>,
}

impl Context {
    /// Learns from a record. Returns what was known about its session before.
    pub(crate) fn learn(&mut self, entry: &Entry) -> Option<Facts> {
        let (session, facts) = match &entry.event {
            Event::SessionOpen(form) | Event::SessionChange(form) => (form.session, Facts::from(&**form)),
            Event::SessionClose(form) => (form.session.session, Facts::from(&form.session)),
            _ => return None,
        };
        let before = self.sessions.insert(session, facts);
        if before.is_none() {
            self.order.push_back(session);
            while self.order.len() > SESSIONS_MAX {
                self.order.pop_front().and_then(|oldest| self.sessions.remove(&oldest));
            }
        }
        before
    }

    /// What is known about the session of a record.
    pub(crate) fn of(&self, entry: &Entry) -> Option<&Facts> {
        self.sessions.get(entry.session.as_ref()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::id::{BootId, HostId, SessionId, SocketCookie};
    use store::time::Timestamp;

    fn entry(cookie: u64, user: &str) -> Entry {
        let session = SessionId { host: HostId(1), boot: BootId(2), cookie: SocketCookie(cookie) }.into();
        let form = SessionForm { session, user: Some(user.to_owned().into()), ..SessionForm::default() };
        Entry { seq: 1, time: Timestamp::default(), session: Some(session), event: Event::SessionOpen(Box::new(form)) }
    }

    #[test]
    fn sessions_are_remembered_within_the_bound() {
        let mut context = Context::default();
        for cookie in 0..SESSIONS_MAX as u64 + 10 {
            assert_eq!(context.learn(&entry(cookie, "a")), None);
        }
        assert_eq!(context.sessions.len(), SESSIONS_MAX);
        assert_eq!(context.of(&entry(9, "")), None);
        let before = context.learn(&entry(10, "b")).unwrap();
        assert_eq!(before.user.as_deref(), Some("a"));
        assert_eq!(context.of(&entry(10, "")).unwrap().user.as_deref(), Some("b"));
        assert_eq!(context.order.len(), SESSIONS_MAX);
    }
}
