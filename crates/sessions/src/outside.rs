//! Events of sockets that are no live session: too early, too late, or beyond the limit.

use model::id::SocketCookie;
use model::record::{Record, What};
use model::request::Request;
use model::statement::Statement;
use model::wire::WireEvent;

use crate::Sessions;
use crate::early::{Event, Recorded, Waiting};
use crate::past::Past;
use crate::totals::ResultLabel;

impl Sessions {
    /// An event of a socket that is no live session.
    pub(crate) fn without_session(&mut self, cookie: SocketCookie, event: Event, out: &mut Vec<Record>) {
        if self.past.get_mut(cookie).is_some() {
            return self.late(cookie, event, out);
        }
        if let Some((evicted, waiting)) = self.early.wait(cookie, self.latest, self.limits.early_sessions_max) {
            self.abandon(evicted, waiting, out);
        }
        match self.early.keep(cookie, event, self.limits.early_bytes_max) {
            Ok(()) => {}
            Err(
                Event::Wire(_, WireEvent::Statement(statement))
                | Event::MediatedWire(_, WireEvent::Statement(statement)),
            ) => {
                self.release_statements(cookie, out);
                let mut recorded = self.early.get_mut(cookie).map(|waiting| waiting.recorded).unwrap_or_default();
                self.record_without_session(cookie, statement, &mut recorded, out);
                self.remember_recorded(cookie, recorded);
            }
            Err(
                Event::Wire(_, WireEvent::Requested(request)) | Event::MediatedWire(_, WireEvent::Requested(request)),
            ) => {
                self.release_statements(cookie, out);
                self.request_without_session(cookie, request, out);
            }
            Err(_) => self.drop_early(),
        }
    }

    /// The statements and requests of a socket whose opening does not come leave without it.
    pub(crate) fn release_statements(&mut self, cookie: SocketCookie, out: &mut Vec<Record>) {
        let mut recorded = self.early.get_mut(cookie).map(|waiting| waiting.recorded).unwrap_or_default();
        for event in self.early.take_statements(cookie) {
            match event {
                Event::Wire(_, WireEvent::Statement(statement))
                | Event::MediatedWire(_, WireEvent::Statement(statement)) => {
                    self.record_without_session(cookie, statement, &mut recorded, out);
                }
                Event::Wire(_, WireEvent::Requested(request))
                | Event::MediatedWire(_, WireEvent::Requested(request)) => {
                    self.request_without_session(cookie, request, out);
                }
                _ => {}
            }
        }
        self.remember_recorded(cookie, recorded);
    }

    /// The opening of a socket never came.
    pub(crate) fn abandon(&mut self, cookie: SocketCookie, waiting: Waiting, out: &mut Vec<Record>) {
        let mut recorded = waiting.recorded;
        for event in waiting.events {
            match event {
                Event::Wire(_, WireEvent::Statement(statement))
                | Event::MediatedWire(_, WireEvent::Statement(statement)) => {
                    self.record_without_session(cookie, statement, &mut recorded, out);
                }
                Event::Wire(_, WireEvent::Requested(request))
                | Event::MediatedWire(_, WireEvent::Requested(request)) => {
                    self.request_without_session(cookie, request, out);
                }
                Event::Wire(..) | Event::Kernel(_) | Event::Mediation(_) | Event::MediatedWire(..) => self.drop_early(),
            }
        }
    }

    /// The session has ended, or was beyond the limit. Of an ended session, statements still count, and requests are
    /// recorded in any case.
    fn late(&mut self, cookie: SocketCookie, event: Event, out: &mut Vec<Record>) {
        self.totals.late_events += 1;
        let cookie = match self.past.get_mut(cookie) {
            Some(Past::Joined { session }) => *session,
            _ => cookie,
        };
        let event = match event {
            Event::Wire(_, WireEvent::Requested(request)) | Event::MediatedWire(_, WireEvent::Requested(request)) => {
                return self.request_without_session(cookie, request, out);
            }
            event => event,
        };
        if let (
            Some(Past::Closed { database, statements }),
            Event::Wire(_, WireEvent::Statement(statement)) | Event::MediatedWire(_, WireEvent::Statement(statement)),
        ) = (self.past.get_mut(cookie), event)
        {
            *statements += 1;
            let (database, number) = (*database, *statements);
            self.totals.database(database).statements.add(&statement);
            let time = self.clock.wall(statement.started);
            out.push(Record { time, what: What::Statement { session: self.id(cookie), number, statement } });
        }
    }

    fn record_without_session(
        &mut self,
        cookie: SocketCookie,
        statement: Box<Statement>,
        recorded: &mut Recorded,
        out: &mut Vec<Record>,
    ) {
        recorded.statements += 1;
        if self.totals.statements_without_session.add(&statement) == ResultLabel::Failed {
            recorded.errors += 1;
        }
        let (time, number) = (self.clock.wall(statement.started), recorded.statements);
        out.push(Record { time, what: What::Statement { session: self.id(cookie), number, statement } });
    }

    /// What is waited for before it goes to the server must be on record, whatever is known of its session.
    fn request_without_session(&mut self, cookie: SocketCookie, request: Box<Request>, out: &mut Vec<Record>) {
        let time = self.clock.wall(request.at);
        out.push(Record { time, what: What::Requested { session: self.id(cookie), request } });
    }

    fn remember_recorded(&mut self, cookie: SocketCookie, recorded: Recorded) {
        if let Some(waiting) = self.early.get_mut(cookie) {
            waiting.recorded = recorded;
        }
    }

    pub(crate) fn drop_early(&mut self) {
        self.events_lost += 1;
        self.totals.early_events_dropped += 1;
    }
}
