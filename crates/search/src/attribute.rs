//! What is known of a session and can be searched: who, from where, with what.
//!
//! Statements carry only the id of their session, so a statement is found by the attributes of its session. A
//! session has every attribute that any of its records in the journal states, whenever that became known.

use std::borrow::Cow;
use std::net::SocketAddr;

use crate::fields::{PrincipalFields, ProcessFields, SessionFields, Str};

/// Bytes of a value that are compared; the rest of a longer one is ignored on both sides.
pub const VALUE_BYTES_MAX: usize = 512;

/// What an attribute tells. The numbers are in files: never re-used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum AttributeKind {
    /// Database role.
    User = 1,
    /// Entry in the configuration, or name of the database.
    Database = 2,
    /// `application_name`.
    Application = 3,
    /// Address of the client, without port.
    Client = 4,
    /// Path of the client's executable.
    Executable = 5,
    /// Name of the client's process.
    Process = 6,
    /// Process id of the client, of the peer of a Unix socket, or of the backend.
    Pid = 7,
    /// User id of the client's process, or of the peer of a Unix socket.
    Uid = 8,
    /// Login user id of the client's process.
    Login = 9,
    /// `tcp`, `unix`.
    Transport = 10,
    /// `plaintext`, `tls`, `gss`.
    Encryption = 11,
    /// How it came to the server: `bypass`, and in detail: `unix_socket`.
    Class = 12,
    /// Who acts on it.
    Principal = 13,
    /// An agent that acts on it, itself or for somebody else who acts.
    Agent = 14,
    /// On whose behalf somebody acts on it.
    ActingFor = 15,
}

/// The part of a value that is compared.
pub(crate) fn bounded(value: &str) -> &str {
    if value.len() <= VALUE_BYTES_MAX {
        return value;
    }
    value.get(..value.floor_char_boundary(VALUE_BYTES_MAX)).unwrap_or_default()
}

/// The last component of a path.
pub(crate) fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// Calls `state` with every attribute that a session record states.
pub(crate) fn of_session(fields: &SessionFields<'_>, mut state: impl FnMut(AttributeKind, &str)) {
    let texts = [
        (AttributeKind::User, &fields.user),
        (AttributeKind::Database, &fields.database_entry),
        (AttributeKind::Database, &fields.database),
        (AttributeKind::Application, &fields.application_name),
        (AttributeKind::Transport, &fields.transport),
        (AttributeKind::Encryption, &fields.encryption),
        (AttributeKind::Class, &fields.class),
        (AttributeKind::Class, &fields.class_detail),
    ];
    for (kind, text) in texts {
        if let Some(Str(text)) = text {
            text_value(kind, text, &mut state);
        }
    }
    if let Some(address) = fields.client_address.as_ref().and_then(|Str(text)| address(text)) {
        text_value(AttributeKind::Client, &address, &mut state);
    }
    let numbers = [(AttributeKind::Pid, fields.peer_pid), (AttributeKind::Uid, fields.peer_uid)];
    for (kind, number) in numbers {
        number_value(kind, number, &mut state);
    }
    if let Some(client) = &fields.client {
        of_process(client, &mut state);
    }
    if let Some(principal) = &fields.principal {
        of_principal(principal, &mut state);
    }
    number_value(AttributeKind::Pid, fields.server.as_ref().map(|server| server.pid), &mut state);
}

fn of_principal(fields: &PrincipalFields<'_>, state: &mut impl FnMut(AttributeKind, &str)) {
    text_value(AttributeKind::Principal, &fields.id.0, state);
    let own = (&fields.kind, &fields.id);
    let others = fields.acting_for.iter().map(|actor| (&actor.kind, &actor.id));
    for (_, Str(id)) in [own].into_iter().chain(others.clone()).filter(|(Str(kind), _)| kind == "agent") {
        text_value(AttributeKind::Agent, id, state);
    }
    for (_, Str(id)) in others {
        text_value(AttributeKind::ActingFor, id, state);
    }
}

/// Calls `state` with every attribute that a client process gives its session.
pub(crate) fn of_process(fields: &ProcessFields<'_>, state: &mut impl FnMut(AttributeKind, &str)) {
    for (kind, text) in [(AttributeKind::Executable, &fields.exe), (AttributeKind::Process, &fields.name)] {
        if let Some(Str(text)) = text {
            text_value(kind, text, state);
        }
    }
    number_value(AttributeKind::Pid, Some(fields.pid), state);
    number_value(AttributeKind::Uid, fields.uid, state);
    number_value(AttributeKind::Login, fields.login_uid, state);
}

/// An empty value is an unknown one.
fn text_value(kind: AttributeKind, text: &str, state: &mut impl FnMut(AttributeKind, &str)) {
    if !text.is_empty() {
        state(kind, bounded(text));
    }
}

fn number_value(kind: AttributeKind, number: Option<u32>, state: &mut impl FnMut(AttributeKind, &str)) {
    if let Some(number) = number {
        state(kind, &number.to_string());
    }
}

/// The address of `ip:port`, IPv4 in IPv6 as IPv4. What is not of that form stays as it is.
fn address(text: &str) -> Option<Cow<'_, str>> {
    match text.parse::<SocketAddr>() {
        Ok(socket) => Some(socket.ip().to_canonical().to_string().into()),
        Err(_) => (!text.is_empty()).then_some(text.into()),
    }
}
