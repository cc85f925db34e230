//! One live session, and which of its states have been recorded.

use std::sync::Arc;

use model::Known;
use model::process::{Process, ProcessKey, UnknownProcess};
use model::record::{Record, What};
use model::session::{Encryption, Login, Session};
use model::time::{BootTime, ClockOffset};

/// Whether a record may wait for more to become known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    /// It may.
    WhenComplete,
    /// It may not: something that refers to the session follows, or it has waited long enough.
    Now,
}

/// Which state of the session was recorded last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Recorded {
    /// None.
    Nothing,
    /// The current one.
    Current,
    /// One before this change.
    Before(BootTime),
}

/// What part a process plays in a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// It opened the session's client end.
    Client,
    /// It serves the session.
    Server,
    /// It was forked by the client or by another heir, and may hold the client end too.
    Heir,
}

/// A live session.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) session: Session,
    pub(crate) backend_pid: Option<u32>,
    pub(crate) heirs: Vec<ProcessKey>,
    /// It is in the queue of sessions that `on_tick` looks at.
    pub(crate) is_queued: bool,
    recorded: Recorded,
    /// The kernel has decided the encryption; what the wire makes of it does not count any more.
    kernel_decided: bool,
}

impl Entry {
    pub(crate) fn new(session: Session) -> Self {
        Self {
            session,
            backend_pid: None,
            heirs: Vec::new(),
            is_queued: false,
            recorded: Recorded::Nothing,
            kernel_decided: false,
        }
    }

    /// Notes a change that is worth a record.
    pub(crate) fn changed(&mut self, at: BootTime) {
        if self.recorded != Recorded::Nothing {
            self.recorded = Recorded::Before(at);
        }
    }

    /// Whether a state of the session waits to be recorded.
    pub(crate) fn is_unsettled(&self) -> bool {
        self.recorded != Recorded::Current
    }

    /// Whether its announcement may still wait at `now`.
    pub(crate) fn may_wait(&self, now: BootTime, announce_nanos: u64) -> bool {
        self.recorded == Recorded::Nothing && now.nanos_since(self.session.opened) < announce_nanos
    }

    /// The record that is due, if one is.
    pub(crate) fn record(&mut self, due: Due, clock: ClockOffset) -> Option<Record> {
        if self.recorded == Recorded::Current || due == Due::WhenComplete && !self.is_complete() {
            return None;
        }
        let session = || Arc::new(self.session.clone());
        let (time, what) = match self.recorded {
            Recorded::Nothing => (self.session.opened, What::SessionOpened(session())),
            Recorded::Before(at) => (at, What::SessionChanged(session())),
            Recorded::Current => return None,
        };
        self.recorded = Recorded::Current;
        Some(Record { time: clock.wall(time), what })
    }

    /// Before the end: only the announcement is still owed, the final state carries every change.
    pub(crate) fn announcement(&mut self, clock: ClockOffset) -> Option<Record> {
        if self.recorded == Recorded::Nothing { self.record(Due::Now, clock) } else { None }
    }

    /// Everything that the beginning of a session tells is known.
    fn is_complete(&self) -> bool {
        let session = &self.session;
        let login = &session.login;
        let is_logged_in = login.authenticated || login.inferred;
        is_logged_in
            && login.user.is_some()
            && session.encryption != Encryption::Undecided
            && session.server.known().is_some()
            && session.client != Known::Unknown(UnknownProcess::NotSeen)
    }

    /// The part of a process that is known to hold the session.
    pub(crate) fn part(&self, process: ProcessKey) -> Part {
        let is = |end: &Known<Arc<Process>, UnknownProcess>| end.known().is_some_and(|known| known.key == process);
        if is(&self.session.client) {
            Part::Client
        } else if is(&self.session.server) {
            Part::Server
        } else {
            Part::Heir
        }
    }

    /// The kernel's word on encryption.
    pub(crate) fn encryption_by_kernel(&mut self, encryption: Encryption, at: BootTime) {
        if encryption != Encryption::Undecided {
            self.kernel_decided = true;
            self.set_encryption(encryption, at);
        }
    }

    /// The decoder's word on encryption: it reads plaintext from the content probes either way and sees less of
    /// the negotiation, so it only counts as long as the kernel has said nothing.
    pub(crate) fn encryption_by_wire(&mut self, encryption: Encryption, at: BootTime) {
        if encryption != Encryption::Undecided && !self.kernel_decided {
            self.set_encryption(encryption, at);
        }
    }

    fn set_encryption(&mut self, encryption: Encryption, at: BootTime) {
        if self.session.encryption != encryption {
            self.session.encryption = encryption;
            self.changed(at);
        }
    }

    /// The StartupMessage.
    pub(crate) fn startup(&mut self, protocol: (u16, u16), parameters: Vec<(String, String)>, at: BootTime) {
        let mut login =
            Login { protocol: Some(protocol), authenticated: self.session.login.authenticated, ..Login::default() };
        for (name, mut value) in parameters {
            value.shrink_to_fit();
            match name.as_str() {
                "user" => login.user = Some(value),
                "database" => login.database = Some(value),
                "application_name" => login.application = Some(value),
                "replication" => login.replication = Some(value),
                _ => {}
            }
        }
        // The server's default, too.
        login.database = login.database.or_else(|| login.user.clone());
        self.session.login = login;
        self.changed(at);
    }

    /// User and database from the process title, unless the wire has told.
    pub(crate) fn title(&mut self, user: String, database: String, at: BootTime) {
        let login = &mut self.session.login;
        if login.protocol.is_none() {
            login.user = Some(user);
            login.database = Some(database);
            login.inferred = true;
            self.changed(at);
        }
    }

    pub(crate) fn authenticated(&mut self, at: BootTime) {
        if !std::mem::replace(&mut self.session.login.authenticated, true) {
            self.changed(at);
        }
    }
}
