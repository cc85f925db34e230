//! What comes before the opening of its socket is known.

use std::collections::HashMap;
use std::sync::Arc;

use model::id::SocketCookie;
use model::kernel::KernelEvent;
use model::mediation::MediationEvent;
use model::principal::{Actor, Principal};
use model::process::Process;
use model::request::Request;
use model::statement::{Parameter, Statement, Text, Value};
use model::time::BootTime;
use model::wire::WireEvent;

/// An event that waits for its session.
#[derive(Debug)]
pub(crate) enum Event {
    /// Of the kernel.
    Kernel(KernelEvent),
    /// Of the wire, with its time.
    Wire(BootTime, WireEvent),
    /// Of the proxy.
    Mediation(MediationEvent),
    /// Of the proxy's plaintext, with its time.
    MediatedWire(BootTime, WireEvent),
}

/// The events of one socket, in order of arrival, and how many statements left without waiting longer.
#[derive(Debug)]
pub(crate) struct Waiting {
    pub(crate) first: BootTime,
    pub(crate) last: BootTime,
    pub(crate) events: Vec<Event>,
    pub(crate) bytes: usize,
    /// Statements that were recorded without a session.
    pub(crate) recorded: Recorded,
}

/// Statements that were recorded for a socket.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Recorded {
    pub(crate) statements: u64,
    /// Of these: failed.
    pub(crate) errors: u64,
}

/// All sockets that wait for their opening.
#[derive(Debug, Default)]
pub(crate) struct Early {
    sockets: HashMap<SocketCookie, Waiting>,
    bytes: usize,
    /// Requests among the events: they are not on record as long as they wait.
    requests: usize,
}

impl Early {
    /// Requests that wait.
    pub(crate) const fn requests(&self) -> usize {
        self.requests
    }

    /// Lets a socket wait from `at`. If it is new and `max` wait already, the one whose last event is oldest
    /// has to go.
    pub(crate) fn wait(&mut self, cookie: SocketCookie, at: BootTime, max: usize) -> Option<(SocketCookie, Waiting)> {
        let is_full = self.sockets.len() >= max && !self.sockets.contains_key(&cookie);
        let oldest = is_full.then(|| self.sockets.iter().min_by_key(|(_, waiting)| waiting.last)).flatten();
        let oldest = oldest.map(|(&cookie, _)| cookie);
        let evicted = oldest.and_then(|cookie| Some((cookie, self.take(cookie)?)));
        let new = Waiting { first: at, last: at, events: Vec::new(), bytes: 0, recorded: Recorded::default() };
        let waiting = self.sockets.entry(cookie).or_insert(new);
        waiting.last = waiting.last.max(at);
        evicted
    }

    /// Keeps an event, unless that would exceed `bytes_max`.
    pub(crate) fn keep(&mut self, cookie: SocketCookie, event: Event, bytes_max: usize) -> Result<(), Event> {
        let bytes = cost(&event);
        match self.sockets.get_mut(&cookie) {
            Some(waiting) if self.bytes + bytes <= bytes_max => {
                self.requests += usize::from(is_request(&event));
                waiting.events.push(event);
                waiting.bytes += bytes;
                self.bytes += bytes;
                Ok(())
            }
            _ => Err(event),
        }
    }

    pub(crate) fn take(&mut self, cookie: SocketCookie) -> Option<Waiting> {
        let waiting = self.sockets.remove(&cookie)?;
        self.bytes -= waiting.bytes;
        self.requests -= waiting.requests();
        Some(waiting)
    }

    pub(crate) fn get_mut(&mut self, cookie: SocketCookie) -> Option<&mut Waiting> {
        self.sockets.get_mut(&cookie)
    }

    /// The sockets that began to wait before `before` and hold statements or requests.
    pub(crate) fn overdue(&self, before: BootTime) -> Vec<SocketCookie> {
        let is_overdue = |waiting: &Waiting| waiting.first < before && waiting.events.iter().any(is_statement);
        self.sockets.iter().filter(|(_, waiting)| is_overdue(waiting)).map(|(&cookie, _)| cookie).collect()
    }

    /// Takes the statements and requests of one socket, in order.
    pub(crate) fn take_statements(&mut self, cookie: SocketCookie) -> Vec<Event> {
        let Some(waiting) = self.sockets.get_mut(&cookie) else {
            return Vec::new();
        };
        let statements: Vec<_> = waiting.events.extract_if(.., |event| is_statement(event)).collect();
        let bytes: usize = statements.iter().map(cost).sum();
        self.requests -= statements.iter().filter(|event| is_request(event)).count();
        waiting.bytes -= bytes;
        self.bytes -= bytes;
        statements
    }

    /// Forgets the sockets without an event since `before`.
    pub(crate) fn expire(&mut self, before: BootTime) -> Vec<(SocketCookie, Waiting)> {
        let expired: Vec<_> = self.sockets.extract_if(|_, waiting| waiting.last < before).collect();
        self.bytes -= expired.iter().map(|(_, waiting)| waiting.bytes).sum::<usize>();
        self.requests -= expired.iter().map(|(_, waiting)| waiting.requests()).sum::<usize>();
        expired
    }

    /// A client process executed another program while its session waits.
    pub(crate) fn update(&mut self, executed: &Arc<Process>) {
        for event in self.sockets.values_mut().flat_map(|waiting| &mut waiting.events) {
            if let Event::Kernel(KernelEvent::Connected { process, .. }) = event
                && process.key == executed.key
            {
                *process = Arc::clone(executed);
            }
        }
    }

    /// Whether a socket that does not wait yet would have to push out another.
    pub(crate) fn is_full_for(&self, cookie: SocketCookie, max: usize) -> bool {
        self.sockets.len() >= max && !self.sockets.contains_key(&cookie)
    }

    pub(crate) fn has(&self, cookie: SocketCookie) -> bool {
        self.sockets.contains_key(&cookie)
    }

    pub(crate) fn len(&self) -> usize {
        self.sockets.len()
    }
}

fn is_statement(event: &Event) -> bool {
    let is_one = |event: &WireEvent| matches!(event, WireEvent::Statement(_) | WireEvent::Requested(_));
    matches!(event, Event::Wire(_, event) | Event::MediatedWire(_, event) if is_one(event))
}

fn is_request(event: &Event) -> bool {
    matches!(event, Event::Wire(_, WireEvent::Requested(_)) | Event::MediatedWire(_, WireEvent::Requested(_)))
}

impl Waiting {
    fn requests(&self) -> usize {
        self.events.iter().filter(|event| is_request(event)).count()
    }
}

/// Memory that an event holds, estimated from above for what a client can make large.
fn cost(event: &Event) -> usize {
    let content = match event {
        Event::Wire(_, WireEvent::Statement(statement)) | Event::MediatedWire(_, WireEvent::Statement(statement)) => {
            size_of::<Statement>()
                + content_bytes(&statement.text, statement.parameters.as_deref())
                + statement.outcomes.len() * 128
        }
        Event::Wire(_, WireEvent::Requested(request)) | Event::MediatedWire(_, WireEvent::Requested(request)) => {
            size_of::<Request>() + content_bytes(&request.text, request.parameters.as_deref())
        }
        Event::Wire(_, WireEvent::Startup { parameters, .. })
        | Event::MediatedWire(_, WireEvent::Startup { parameters, .. }) => {
            parameters.iter().map(|(name, value)| 48 + name.len() + value.len()).sum()
        }
        Event::Wire(_, WireEvent::ParameterStatus { name, value })
        | Event::MediatedWire(_, WireEvent::ParameterStatus { name, value }) => name.len() + value.len(),
        Event::Mediation(MediationEvent::Refused { message, .. }) => message.len(),
        Event::Mediation(MediationEvent::Identified { principal, .. }) => principal.known().map_or(0, principal_bytes),
        // A process is bounded by its capture.
        Event::Kernel(_) => 1_024,
        Event::Wire(..) | Event::MediatedWire(..) => 256,
        Event::Mediation(_) => 0,
    };
    size_of::<Event>() + content
}

fn principal_bytes(principal: &Arc<Principal>) -> usize {
    let actors = principal.acting_for.iter().chain([&principal.actor]);
    let names = actors.map(|actor| actor.id.len() + actor.issuer.len() + size_of::<Actor>());
    let groups = principal.groups.iter().map(|group| group.len() + 32);
    names.sum::<usize>() + groups.sum::<usize>() + principal.purpose.as_ref().map_or(0, |purpose| purpose.len())
}

fn content_bytes(text: &Text, parameters: Option<&[Parameter]>) -> usize {
    let text = match text {
        Text::Whole(text) | Text::Truncated { beginning: text, .. } => text.len(),
        Text::Unknown(_) => 0,
    };
    let values = parameters.into_iter().flatten().map(|parameter| match &parameter.value {
        Value::Readable(value) => value.len() + 40,
        Value::Null | Value::Opaque { .. } | Value::Redacted => 40,
    });
    text + values.sum::<usize>()
}
