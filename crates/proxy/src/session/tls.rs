//! TLS with both ends.

use std::future::poll_fn;
use std::io;
use std::task::ready;

use model::mediation::{End, Refusal};
use model::session::Encryption;
use tokio_rustls::rustls;

use super::Opening;
use crate::certificates::{Certificates, PROTOCOL};
use crate::client::{HandshakeError, stopped};
use crate::hop::Hops;
use crate::settings::TlsMode;
use crate::stats::{Leg, TlsFailure};
use crate::stop::Stop;
use crate::transport::tls_error;

const UPSTREAM_TLS_TEXT: &str = "the proxy could not establish TLS with the database server";
/// What is read of the server's answer to SSLRequest: one byte, or an error message.
const ANSWER_BYTES_MAX: usize = 2048;

impl<H: Hops> Opening<H> {
    /// What is done with TLS, with the newest certificate.
    pub(super) fn tls(&self) -> TlsMode {
        let newest = self.common.certificates.borrow().get(&self.spec.database).cloned();
        match (&self.spec.tls, newest) {
            (TlsMode::ServerCertificate(_), Some(newest)) => TlsMode::ServerCertificate(newest),
            (TlsMode::OwnCertificate(_), Some(newest)) => TlsMode::OwnCertificate(newest),
            (mode, _) => mode.clone(),
        }
    }

    /// Sends SSLRequest to the server and takes its answer.
    pub(super) async fn ask_upstream(&mut self) -> Result<Answer, Stop> {
        self.hop().await?;
        let Some(upstream) = &mut self.upstream else { return Err(Stop::ended(End::UpstreamBroken)) };
        let entry = &self.entry;
        let mut answer = vec![0; ANSWER_BYTES_MAX];
        let mut asked = false;
        let result = poll_fn(|cx| {
            entry.poll_until(cx, |cx| {
                if !asked {
                    upstream.request_tls(cx)?;
                    asked = true;
                }
                ready!(upstream.poll_flush(cx))?;
                upstream.poll_read(cx, &mut answer)
            })
        })
        .await;
        let length = result.map_err(stopped)?.map_err(|_broken| Stop::ended(End::UpstreamBroken))?;
        answer.truncate(length);
        match answer.as_slice() {
            [] => Err(Stop::ended(End::Upstream)),
            b"S" => Ok(Answer::Accepted),
            b"N" => Ok(Answer::Declined),
            // Somebody put plaintext behind the answer (CVE-2021-23222).
            [b'S' | b'N', ..] => Err(Stop::refused_silently(Refusal::PlaintextInjected)),
            _ => Ok(Answer::Other(answer)),
        }
    }

    /// TLS with the server, which must show the certificate that we hold.
    pub(super) async fn upstream_tls(&mut self, certificates: &Certificates) -> Result<(), Stop> {
        let own = self.own_certificate();
        let Some(upstream) = &mut self.upstream else { return Err(Stop::ended(End::UpstreamBroken)) };
        let entry = &self.entry;
        let result = match certificates.connect(own.as_ref()) {
            Err(error) => Ok(Err(io::Error::other(error))),
            Ok(connection) => {
                upstream.start_tls(connection);
                poll_fn(|cx| entry.poll_until(cx, |cx| upstream.poll_handshake(cx))).await
            }
        };
        let failure = match &result {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(error)) => kind_of_failure(error),
            Err(_order) => TlsFailure::Timeout,
        };
        self.common.stats.tls_failed(Leg::Upstream, failure);
        match result {
            Err(order) => Err(stopped(order)),
            // The client waits for one byte: an error message is what the server would send in its place.
            _ => Err(Stop::refused(Refusal::UpstreamTls, "08006", UPSTREAM_TLS_TEXT)),
        }
    }

    pub(super) async fn client_tls(&mut self, certificates: &Certificates, alpn: Alpn) -> Result<(), Stop> {
        let result = match certificates.accept() {
            Err(error) => Err(HandshakeError::Failed(io::Error::other(error))),
            Ok(connection) => self.client.handshake(connection).await,
        };
        let failure = match &result {
            Ok(()) => None,
            Err(HandshakeError::Failed(error)) => Some(kind_of_failure(error)),
            Err(HandshakeError::Stopped) => Some(TlsFailure::Timeout),
        };
        if let Some(failure) = failure {
            self.common.stats.tls_failed(Leg::Client, failure);
            let reason = if failure == TlsFailure::Timeout { Refusal::StartupTimeout } else { Refusal::ClientTls };
            return Err(Stop::refused_silently(reason));
        }
        if matches!(alpn, Alpn::Needed) && self.client.transport.application_protocol() != Some(PROTOCOL) {
            return Err(Stop::refused_silently(Refusal::Alpn));
        }
        self.note_encrypted(Encryption::Tls, false);
        self.expect = self.expect.inside_tls();
        Ok(())
    }
}

/// Where the name of the protocol must be agreed on.
#[derive(Clone, Copy)]
pub(super) enum Alpn {
    /// After SSLRequest: the request has named the protocol.
    IfAny,
    /// In direct TLS: another protocol's client could be led here (ALPACA).
    Needed,
}

/// The server's answer to SSLRequest.
pub(super) enum Answer {
    Accepted,
    Declined,
    Other(Vec<u8>),
}

fn kind_of_failure(error: &io::Error) -> TlsFailure {
    if error.kind() == io::ErrorKind::UnexpectedEof || error.kind() == io::ErrorKind::ConnectionReset {
        return TlsFailure::Closed;
    }
    match tls_error(error) {
        Some(rustls::Error::AlertReceived(_)) => TlsFailure::Alert,
        Some(rustls::Error::PeerIncompatible(_)) => TlsFailure::Incompatible,
        Some(
            rustls::Error::PeerMisbehaved(_)
            | rustls::Error::InvalidMessage(_)
            | rustls::Error::InappropriateMessage { .. }
            | rustls::Error::InappropriateHandshakeMessage { .. }
            | rustls::Error::DecryptError,
        ) => TlsFailure::Protocol,
        Some(rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented) => TlsFailure::Certificate,
        _ => TlsFailure::Other,
    }
}
