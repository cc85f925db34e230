//! Wire events: login, statements, gaps.

use model::id::{DatabaseId, SessionId, SocketCookie};
use model::process::ProcessKey;
use model::record::{Record, What};
use model::statement::Statement;
use model::time::BootTime;
use model::wire::{Side, WireEvent};

use crate::Sessions;
use crate::early::Event;
use crate::entry::{Due, Entry, Part};
use crate::relay::Source;
use crate::totals::ResultLabel;

impl Sessions {
    /// Gives the event back if there is no such session.
    pub(crate) fn wire_event(
        &mut self,
        cookie: SocketCookie,
        at: BootTime,
        event: WireEvent,
        out: &mut Vec<Record>,
    ) -> Result<(), WireEvent> {
        let Some(entry) = self.live.get(&cookie) else {
            return Err(event);
        };
        match entry.source() {
            Source::Kernel => self.apply_wire(cookie, at, event, out),
            Source::Worker => {
                self.totals.repeated_events += 1;
                Ok(())
            }
            Source::Undecided => match self.hold(cookie, Event::Wire(at, event)) {
                Err(Event::Wire(at, event)) => {
                    self.choose(cookie, Source::Kernel, out);
                    self.apply_wire(cookie, at, event, out)
                }
                Ok(()) | Err(_) => Ok(()),
            },
        }
    }

    /// What a decoder says whose word counts.
    pub(crate) fn apply_wire(
        &mut self,
        cookie: SocketCookie,
        at: BootTime,
        event: WireEvent,
        out: &mut Vec<Record>,
    ) -> Result<(), WireEvent> {
        if let WireEvent::Statement(statement) = event {
            // It looks the session up by itself: one lookup less in the hot path.
            return self.statement(cookie, statement, out).map_err(WireEvent::Statement);
        }
        let Some(entry) = self.live.get_mut(&cookie) else {
            return Err(event);
        };
        match event {
            WireEvent::Requested(request) => {
                let at = request.at;
                self.record(cookie, at, |session| What::Requested { session, request }, out);
            }
            WireEvent::CancelRequested { pid } => self.cancel_requested(cookie, at, pid, out),
            WireEvent::Refused { severity, sqlstate, message } => {
                let logged_in = entry.is_logged_in();
                let what = |session| What::Refused { session, by: "server", logged_in, severity, sqlstate, message };
                self.totals.database(entry.session.database).refused += 1;
                self.record(cookie, at, what, out);
            }
            WireEvent::Gap { side, bytes } => {
                self.totals.database(entry.session.database).gaps += 1;
                self.gap(cookie, at, side, (bytes, "lost"), out);
            }
            WireEvent::Violation { side, what } => {
                self.totals.database(entry.session.database).violations += 1;
                self.gap(cookie, at, side, (None, what), out);
            }
            other => {
                let database = entry.session.database;
                if let Some(pid) = login(entry, at, other) {
                    self.by_backend.insert((database, pid), cookie);
                }
                self.settle(cookie, out);
            }
        }
        Ok(())
    }

    /// The hot path: tens of thousands a second. Gives the statement back if there is no such session.
    fn statement(
        &mut self,
        cookie: SocketCookie,
        statement: Box<Statement>,
        out: &mut Vec<Record>,
    ) -> Result<(), Box<Statement>> {
        let Some(mut entry) = self.live.get_mut(&cookie) else {
            return Err(statement);
        };
        if entry.is_unsettled() {
            self.say(cookie, Due::Now, out);
            match self.live.get_mut(&cookie) {
                Some(again) => entry = again,
                None => return Err(statement),
            }
        }
        let session = &mut entry.session;
        session.statements += 1;
        let result = self.totals.database(session.database).statements.add(&statement);
        session.errors += u64::from(result == ResultLabel::Failed);
        let time = self.clock.wall(statement.started);
        out.push(Record { time, what: What::Statement { session: session.id, number: session.statements, statement } });
        Ok(())
    }

    fn cancel_requested(&mut self, cookie: SocketCookie, at: BootTime, pid: u32, out: &mut Vec<Record>) {
        let Some(entry) = self.live.get(&cookie) else {
            return;
        };
        let database = entry.session.database;
        self.totals.database(database).cancels += 1;
        let target = self.session_of_backend(database, pid).map(|cookie| self.id(cookie));
        self.record(cookie, at, |session| What::CancelRequested { session, pid, target }, out);
    }

    /// The pid that the server told its client; else that of a server process outside of containers.
    fn session_of_backend(&self, database: DatabaseId, pid: u32) -> Option<SocketCookie> {
        let serves = |&(process, cookie): &(ProcessKey, SocketCookie)| {
            self.live.get(&cookie).is_some_and(|entry| {
                entry.session.database == database && entry.backend_pid.is_none() && entry.part(process) == Part::Server
            })
        };
        let told = self.by_backend.get(&(database, pid)).copied();
        told.or_else(|| self.holders.of_pid(pid).find(serves).map(|(_, cookie)| cookie))
    }

    fn gap(
        &mut self,
        cookie: SocketCookie,
        at: BootTime,
        side: Side,
        (bytes, reason): (Option<u64>, &'static str),
        out: &mut Vec<Record>,
    ) {
        let side = match side {
            Side::Client => "client",
            Side::Server => "server",
        };
        self.record(cookie, at, |session| What::SessionGap { session, side, bytes, reason }, out);
        if let Some(entry) = self.live.get_mut(&cookie) {
            entry.session.gaps += 1;
        }
    }

    /// Records something that refers to a session, which therefore must be announced.
    pub(crate) fn record(
        &mut self,
        cookie: SocketCookie,
        at: BootTime,
        what: impl FnOnce(SessionId) -> What,
        out: &mut Vec<Record>,
    ) {
        let id = self.id(cookie);
        self.say(cookie, Due::Now, out);
        out.push(Record { time: self.clock.wall(at), what: what(id) });
    }
}

/// Takes what an event says about the login; returns the backend's pid if it says that.
fn login(entry: &mut Entry, at: BootTime, event: WireEvent) -> Option<u32> {
    match event {
        WireEvent::Encryption(encryption) => entry.encryption_by_wire(encryption, at),
        WireEvent::Startup { protocol, parameters } => entry.startup(protocol, parameters, at),
        WireEvent::Authenticated => entry.authenticated(at),
        WireEvent::BackendPid(pid) => {
            entry.backend_pid = Some(pid);
            return Some(pid);
        }
        // Clients change it as they like: it is state, not worth a record.
        WireEvent::ParameterStatus { name, value } if name == "application_name" => {
            entry.session.login.application = Some(value);
        }
        WireEvent::ParameterStatus { .. }
        | WireEvent::AuthenticationRequested(_)
        | WireEvent::Notification { .. }
        | WireEvent::Terminated
        | WireEvent::CancelRequested { .. }
        | WireEvent::Refused { .. }
        | WireEvent::Requested(_)
        | WireEvent::Statement(_)
        | WireEvent::Gap { .. }
        | WireEvent::Violation { .. } => {}
    }
    None
}
