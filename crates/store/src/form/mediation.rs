//! The proxy's part of a session, and the coverage ledger.

use std::borrow::Cow;

use model::coverage::{Class, ClassCount, Coverage};
use model::mediation::{Listener, Mediation};
use model::session::{Ledger, Transport};
use serde::{Deserialize, Serialize};

use super::identity::SessionText;
use super::process::ProcessForm;
use super::session::{SessionForm, encryption_word};
use super::{is_false, is_zero};
use crate::time::Timestamp;

/// The proxy's part of a session. Sizes are those that the proxy counted, except `front_…` and `kernel_…`, which the kernel
/// counted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct MediationForm<'a> {
    /// Cookie of the socket that the proxy accepted.
    pub accepted: u64,
    /// `steered`, `plain`, `unix_socket`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listener: Option<Cow<'a, str>>,
    /// Cookie of the proxy's socket to the server; absent: it had none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upstream: Option<u64>,
    /// `ip:port` of the proxy as the server sees it, or the path of the server's socket; absent: not seen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hop: Option<Cow<'a, str>>,
    /// What protects the hop.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hop_encryption: Option<Cow<'a, str>>,
    /// Ciphertext is relayed unread.
    #[serde(skip_serializing_if = "is_false")]
    pub relayed: bool,
    /// Received from the client.
    pub from_client_bytes: u64,
    /// Sent to the client.
    pub to_client_bytes: u64,
    /// Sent to the server.
    pub to_server_bytes: u64,
    /// Received from the server.
    pub from_server_bytes: u64,
    /// Messages forwarded to the server.
    pub messages_to_server: u64,
    /// Messages forwarded to the client.
    pub messages_to_client: u64,
    /// Values that the client got masked.
    #[serde(skip_serializing_if = "is_zero")]
    pub masked_cells: u64,
    /// Bytes that the kernel saw the proxy receive from the client.
    pub front_received_bytes: u64,
    /// Bytes that the kernel saw the proxy send to the client.
    pub front_sent_bytes: u64,
    /// Messages that the kernel saw the server receive.
    #[serde(skip_serializing_if = "is_zero")]
    pub kernel_messages_to_server: u64,
    /// Messages that the kernel saw the server send.
    #[serde(skip_serializing_if = "is_zero")]
    pub kernel_messages_from_server: u64,
    /// Sent to the server, which did not receive it.
    #[serde(skip_serializing_if = "is_zero")]
    pub undelivered_bytes: u64,
    /// Why the proxy refused the connection.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refused: Option<Cow<'a, str>>,
    /// Which end ended it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended_by: Option<Cow<'a, str>>,
}

impl<'a> MediationForm<'a> {
    /// What the proxy counted, beside what the kernel counted of the server's socket.
    pub(crate) fn new(mediation: &'a Mediation, server: &Ledger) -> Self {
        let hop = mediation.hop.as_ref().map(|hop| match hop {
            Transport::Tcp { client, .. } => client.to_string().into(),
            Transport::Unix { path } => path.as_str().into(),
        });
        Self {
            accepted: mediation.accepted.0,
            listener: mediation.listener.map(|listener| listener_word(listener).into()),
            upstream: mediation.upstream.map(|cookie| cookie.0),
            hop,
            hop_encryption: encryption_word(mediation.hop_encryption).map(Cow::from),
            relayed: mediation.relayed,
            from_client_bytes: mediation.counts.from_client,
            to_client_bytes: mediation.counts.to_client,
            to_server_bytes: mediation.counts.to_upstream,
            from_server_bytes: mediation.counts.from_upstream,
            messages_to_server: mediation.counts.messages_to_upstream,
            messages_to_client: mediation.counts.messages_to_client,
            masked_cells: mediation.counts.masked_cells,
            front_received_bytes: mediation.front_received,
            front_sent_bytes: mediation.front_sent,
            kernel_messages_to_server: server.messages_received,
            kernel_messages_from_server: server.messages_sent,
            undelivered_bytes: mediation.undelivered,
            refused: mediation.refused.map(Cow::from),
            ended_by: mediation.ended_by.map(Cow::from),
        }
    }
}

const fn listener_word(listener: Listener) -> &'static str {
    match listener {
        Listener::Steered => "steered",
        Listener::Plain => "plain",
        Listener::UnixSocket => "unix_socket",
    }
}

/// `bypass`: a session got around the proxy of a guarded database.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct BypassForm<'a> {
    /// The session as far as it is known.
    #[serde(flatten)]
    pub session: SessionForm<'a>,
    /// `before_steering`, `unix_socket`, `tcp_direct`, `fail_open`, `unsteered_address`.
    pub reason: Cow<'a, str>,
}

/// `bypass.refused`: a local process wanted to get around the proxy of a guarded database.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct BypassRefusedForm<'a> {
    /// Name of the database entry in the configuration.
    pub database_entry: Cow<'a, str>,
    /// `ip:port` that it wanted to connect to.
    pub server_address: Cow<'a, str>,
    /// The process.
    pub client: ProcessForm<'a>,
}

/// `integrity`: the two witnesses disagree.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct IntegrityForm<'a> {
    /// Which session.
    pub session: SessionText,
    /// `bytes_to_server`, `bytes_from_server`, `messages_to_server`, `messages_from_server`.
    pub figure: Cow<'a, str>,
    /// What the proxy says.
    pub proxy: u64,
    /// What the kernel says.
    pub kernel: u64,
    /// `quiet`, `end`.
    pub when: Cow<'a, str>,
}

/// `coverage`: the ledger of one database for one interval.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CoverageForm<'a> {
    /// Name of the database entry in the configuration.
    pub database_entry: Cow<'a, str>,
    /// Begin.
    pub from: Timestamp,
    /// End.
    pub to: Timestamp,
    /// Everything that was observed: the sum of the classes.
    pub observed: CountForm,
    /// The classes that occurred.
    pub classes: Vec<ClassForm<'a>>,
    /// Events lost on the host in this interval.
    #[serde(skip_serializing_if = "is_zero")]
    pub lost_events: u64,
}

/// Sessions and bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CountForm {
    /// Counted for the first time.
    pub sessions: u64,
    /// Still open at the end.
    pub open: u64,
    /// On the sockets, both directions.
    pub bytes: u64,
}

/// One class of a coverage ledger.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ClassForm<'a> {
    /// `mediated`, `allowed_direct`, `bypass`, `unknown`, `not_guarded`.
    pub class: Cow<'a, str>,
    /// The rule's name, or the reason of a bypass.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<Cow<'a, str>>,
    /// How much.
    #[serde(flatten)]
    pub count: CountForm,
}

impl From<ClassCount> for CountForm {
    fn from(count: ClassCount) -> Self {
        Self { sessions: count.sessions, open: count.open, bytes: count.bytes }
    }
}

impl<'a> From<&'a Coverage> for CoverageForm<'a> {
    fn from(coverage: &'a Coverage) -> Self {
        let class = |(class, count): &'a (Class, ClassCount)| ClassForm {
            class: class.word().into(),
            detail: class.detail().map(Cow::from),
            count: (*count).into(),
        };
        Self {
            database_entry: (&*coverage.database_name).into(),
            from: Timestamp(coverage.from),
            to: Timestamp(coverage.to),
            observed: coverage.observed().into(),
            classes: coverage.classes.iter().map(class).collect(),
            lost_events: coverage.lost_events,
        }
    }
}
