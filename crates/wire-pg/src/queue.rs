//! Requests that wait for their answers, in the order of their messages.

use std::collections::VecDeque;
use std::sync::Arc;

use model::statement::Statement;
use model::time::BootTime;

use crate::bound::Bound;
use crate::names::Prepared;
use crate::text;

/// What a name in Describe or Close means.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Target {
    Statement,
    Portal,
}

/// Parse.
pub(crate) struct Parse {
    pub(crate) at: BootTime,
    /// `None`: the message was cut inside the name.
    pub(crate) name: Option<Arc<str>>,
    pub(crate) prepared: Arc<Prepared>,
}

/// Bind.
pub(crate) struct Bind {
    pub(crate) at: BootTime,
    /// Portal and statement; `None`: the message was cut inside the names.
    pub(crate) names: Option<(Arc<str>, Arc<str>)>,
    pub(crate) bound: Arc<Bound>,
}

/// Describe or Close.
pub(crate) struct Named {
    pub(crate) at: BootTime,
    /// `None`: not a statement's or portal's name, or cut.
    pub(crate) target: Option<(Target, Arc<str>)>,
}

/// A client message that the server answers, or that changes what an answer means.
pub(crate) enum Request {
    /// StartupMessage, answered by the first ReadyForQuery.
    Startup,
    Query(Box<Statement>),
    FunctionCall(Box<Statement>),
    Parse(Box<Parse>),
    Bind(Box<Bind>),
    Describe(Box<Named>),
    Close(Box<Named>),
    /// Text and values are filled in when it is answered. No portal: the message was cut inside its name.
    Execute(Box<Statement>),
    Sync,
    /// CopyDone or CopyFail: no answer of its own.
    CopyEnd,
    /// Client messages were lost here.
    Gap,
}

impl Request {
    /// Heap bytes that it holds.
    fn retained_bytes(&self) -> usize {
        match self {
            Self::Startup | Self::Sync | Self::CopyEnd | Self::Gap => 0,
            Self::Query(statement) | Self::FunctionCall(statement) | Self::Execute(statement) => {
                let name = statement.portal.as_ref().map_or(0, |name| name.len());
                size_of::<Statement>().saturating_add(text::retained(&statement.text)).saturating_add(name)
            }
            Self::Parse(parse) => size_of::<Parse>()
                .saturating_add(parse.prepared.retained_bytes())
                .saturating_add(parse.name.as_ref().map_or(0, |name| name.len())),
            Self::Bind(bind) => size_of::<Bind>()
                .saturating_add(bind.bound.retained_bytes())
                .saturating_add(bind.names.as_ref().map_or(0, |(a, b)| a.len().saturating_add(b.len()))),
            Self::Describe(named) | Self::Close(named) => {
                size_of::<Named>().saturating_add(named.target.as_ref().map_or(0, |(_, name)| name.len()))
            }
        }
    }
}

/// First in, first answered.
#[derive(Default)]
pub(crate) struct Queue {
    requests: VecDeque<(u32, Request)>,
    bytes: usize,
}

/// Slots that an idle session keeps.
const IDLE_SLOTS: usize = 8;

impl Queue {
    pub(crate) fn len(&self) -> usize {
        self.requests.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.requests.is_empty()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn push(&mut self, request: Request) {
        let bytes = request.retained_bytes();
        self.bytes = self.bytes.saturating_add(bytes);
        self.requests.push_back((u32::try_from(bytes).unwrap_or(u32::MAX), request));
    }

    pub(crate) fn front(&self) -> Option<&Request> {
        self.requests.front().map(|(_, request)| request)
    }

    pub(crate) fn front_mut(&mut self) -> Option<&mut Request> {
        self.requests.front_mut().map(|(_, request)| request)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Request> {
        self.requests.iter().map(|(_, request)| request)
    }

    pub(crate) fn pop(&mut self) -> Option<Request> {
        let (bytes, request) = self.requests.pop_front()?;
        self.bytes = self.bytes.saturating_sub(usize::try_from(bytes).unwrap_or(usize::MAX));
        if self.requests.is_empty() && self.requests.capacity() > IDLE_SLOTS {
            self.requests.shrink_to(IDLE_SLOTS);
        }
        Some(request)
    }

    /// What comes after the oldest request can not be paired with its answers.
    pub(crate) fn insert_gap_behind_front(&mut self) {
        self.requests.insert(self.requests.len().min(1), (0, Request::Gap));
    }

    /// Removes the `count` requests after the oldest: they have no answer.
    pub(crate) fn remove_behind_front(&mut self, count: usize) {
        let end = count.saturating_add(1).min(self.requests.len());
        for (bytes, _) in self.requests.drain(end.min(1)..end) {
            self.bytes = self.bytes.saturating_sub(usize::try_from(bytes).unwrap_or(usize::MAX));
        }
    }

    pub(crate) fn retained_bytes(&self) -> usize {
        self.bytes.saturating_add(self.requests.capacity().saturating_mul(size_of::<(u32, Request)>()))
    }
}
