//! The session object.

use std::borrow::Cow;

use model::Known;
use model::session::{Encryption, Origin, Session, Transport};
use serde::{Deserialize, Serialize};

use super::identity::SessionText;
use super::is_false;
use super::mediation::MediationForm;
use super::principal::{PrincipalForm, principal_or_reason};
use super::process::{ProcessForm, unknown_word};

/// A session as it is written.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SessionForm<'a> {
    /// Session id.
    pub session: SessionText,
    /// Name of the database entry in the configuration.
    pub database_entry: Cow<'a, str>,
    /// `tcp` or `unix`.
    pub transport: Cow<'a, str>,
    /// `ip:port` of the client as the server sees it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_address: Option<Cow<'a, str>>,
    /// `ip:port` of the server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server_address: Option<Cow<'a, str>>,
    /// Network namespace of the server's socket.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network_namespace: Option<u32>,
    /// Path of the server's Unix socket.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub socket_path: Option<Cow<'a, str>>,
    /// `opened`, `found_at_start`, `missed_open`.
    pub origin: Cow<'a, str>,
    /// `plaintext`, `tls`, `gss`; absent while undecided.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encryption: Option<Cow<'a, str>>,
    /// Client process.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client: Option<ProcessForm<'a>>,
    /// Why there is no client process.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_unknown: Option<Cow<'a, str>>,
    /// Who acts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub principal: Option<PrincipalForm<'a>>,
    /// Why nobody knows who acts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub principal_unknown: Option<Cow<'a, str>>,
    /// Server process.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server: Option<ProcessForm<'a>>,
    /// Why there is no server process.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server_unknown: Option<Cow<'a, str>>,
    /// Peer process id of a Unix socket.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peer_pid: Option<u32>,
    /// Peer user id of a Unix socket.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peer_uid: Option<u32>,
    /// Protocol version, for example `3.0`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol: Option<Cow<'a, str>>,
    /// Database user.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<Cow<'a, str>>,
    /// Database name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub database: Option<Cow<'a, str>>,
    /// `application_name` as last reported.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub application_name: Option<Cow<'a, str>>,
    /// `replication` start-up parameter.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replication: Option<Cow<'a, str>>,
    /// User and database come from the process title.
    #[serde(skip_serializing_if = "is_false")]
    pub inferred: bool,
    /// The server has accepted the client.
    pub authenticated: bool,
    /// Statements so far.
    pub statements: u64,
    /// Failed statements among them.
    pub errors: u64,
    /// Gaps in the observed stream.
    pub gaps: u64,
    /// Socket bytes that the server received.
    pub received_bytes: u64,
    /// Socket bytes that the server sent.
    pub sent_bytes: u64,
    /// Received plaintext that passed the content probes.
    pub content_received_bytes: u64,
    /// Sent plaintext that passed the content probes.
    pub content_sent_bytes: u64,
    /// Content copied out of the kernel, both directions.
    pub captured_bytes: u64,
    /// Observed share of the session's bytes, 0 to 1; absent before the first byte.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub coverage: Option<f64>,
    /// `mediated`, `allowed_direct`, `bypass`, `unknown`; absent: the database is not guarded, or not known yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub class: Option<Cow<'a, str>>,
    /// Name of the rule, or the reason of a bypass.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub class_detail: Option<Cow<'a, str>>,
    /// The proxy's part.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mediation: Option<MediationForm<'a>>,
}

/// The words of a transport: name, client and server address, namespace, path.
struct TransportWords<'a> {
    transport: &'static str,
    client_address: Option<Cow<'a, str>>,
    server_address: Option<Cow<'a, str>>,
    network_namespace: Option<u32>,
    socket_path: Option<Cow<'a, str>>,
}

impl<'a> From<&'a Transport> for TransportWords<'a> {
    fn from(transport: &'a Transport) -> Self {
        match transport {
            Transport::Tcp { client, server, network_namespace } => Self {
                transport: "tcp",
                client_address: Some(client.to_string().into()),
                server_address: Some(server.to_string().into()),
                network_namespace: Some(*network_namespace),
                socket_path: None,
            },
            Transport::Unix { path } => Self {
                transport: "unix",
                client_address: None,
                server_address: None,
                network_namespace: None,
                socket_path: (!path.is_empty()).then(|| (&**path).into()),
            },
        }
    }
}

impl<'a> From<&'a Session> for SessionForm<'a> {
    fn from(session: &'a Session) -> Self {
        let words = TransportWords::from(&session.transport);
        let login = &session.login;
        let ledger = &session.ledger;
        let (client, client_unknown) = process_or_reason(&session.client);
        let (server, server_unknown) = process_or_reason(&session.server);
        let (principal, principal_unknown) = principal_or_reason(&session.principal);
        Self {
            session: session.id.into(),
            database_entry: (&*session.database_name).into(),
            transport: words.transport.into(),
            client_address: words.client_address,
            server_address: words.server_address,
            network_namespace: words.network_namespace,
            socket_path: words.socket_path,
            origin: origin_word(session.origin).into(),
            encryption: encryption_word(session.encryption).map(Cow::from),
            client,
            client_unknown,
            principal,
            principal_unknown,
            server,
            server_unknown,
            peer_pid: session.peer_credentials.map(|(pid, _)| pid),
            peer_uid: session.peer_credentials.map(|(_, uid)| uid),
            protocol: login.protocol.map(|(major, minor)| format!("{major}.{minor}").into()),
            user: login.user.as_deref().map(Cow::from),
            database: login.database.as_deref().map(Cow::from),
            application_name: login.application.as_deref().map(Cow::from),
            replication: login.replication.as_deref().map(Cow::from),
            inferred: login.inferred,
            authenticated: login.authenticated,
            statements: session.statements,
            errors: session.errors,
            gaps: session.gaps,
            received_bytes: ledger.socket_received,
            sent_bytes: ledger.socket_sent,
            content_received_bytes: ledger.content_received,
            content_sent_bytes: ledger.content_sent,
            captured_bytes: ledger.captured,
            coverage: session.coverage_ppm().map(|ppm| f64::from(ppm) / 1e6),
            class: session.class.as_ref().map(|class| class.word().into()),
            class_detail: session.class.as_ref().and_then(|class| class.detail()).map(Cow::from),
            mediation: session.mediation.as_deref().map(|mediation| MediationForm::new(mediation, ledger)),
        }
    }
}

type ProcessOrReason<'a> = (Option<ProcessForm<'a>>, Option<Cow<'a, str>>);

fn process_or_reason(
    known: &Known<std::sync::Arc<model::process::Process>, model::process::UnknownProcess>,
) -> ProcessOrReason<'_> {
    match known {
        Known::Known(process) => (Some(ProcessForm::from(&**process)), None),
        Known::Unknown(why) => (None, Some(unknown_word(*why).into())),
    }
}

const fn origin_word(origin: Origin) -> &'static str {
    match origin {
        Origin::Opened => "opened",
        Origin::FoundAtStart => "found_at_start",
        Origin::MissedOpen => "missed_open",
    }
}

pub(crate) const fn encryption_word(encryption: Encryption) -> Option<&'static str> {
    match encryption {
        Encryption::Undecided => None,
        Encryption::Plaintext => Some("plaintext"),
        Encryption::Tls => Some("tls"),
        Encryption::Gss => Some("gss"),
    }
}
