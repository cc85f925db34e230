//! The start-up of a client that proves who it is to the proxy: by its certificate, or by a token that it is asked for.
//! The proxy then logs in at the server as the service account, or with a role of the session's own. The client sees the
//! server's AuthenticationOk and everything behind it.
//!
//! What is recorded is what the client sees: its own StartupMessage, requests for a token, its answers left out,
//! AuthenticationOk. The role that the client names is recorded and has no other meaning.

use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use identity::oauthbearer::InitialResponse;
use identity::proof::{ClientProof, ProofError};
use identity::token_error::TokenError;
use model::Known;
use model::mediation::{End, Refusal};
use model::principal::Proof;
use model::wire::Input;

use super::record::{Recording, recording};
use super::tls::Answer;
use super::{Next, Opening};
use crate::access;
use crate::certificates::OwnCertificate;
use crate::client::stopped;
use crate::clock;
use crate::governor::{Governor, Identified};
use crate::hop::Hops;
use crate::login::response::Response;
use crate::login::service::{Attempt, Hearing, LoginError, Step};
use crate::login::{Credential, Demand, Discovery, LoginMode, ServiceAccount, UpstreamLogin, oauth, password, startup};
use crate::settings::TlsMode;
use crate::stop::Stop;
use crate::upstream::Upstream;

/// What is read of the server at once: its part of a login is short.
const CHUNK_BYTES: usize = 1024;

impl<H: Hops> Opening<H> {
    /// From the client's StartupMessage to the server's AuthenticationOk.
    pub(super) async fn service_startup(&mut self, packet: &[u8], demand: &Demand) -> Result<Next, Stop> {
        let governor = self.governor().ok_or_else(not_ready)?;
        let login = self.login().ok_or_else(not_ready)?;
        let (identified, recorded) = self.proved(&governor, packet, demand).await?;
        self.hop().await?;
        self.show_certificate_in_tls(&login).await?;
        let role = role(&login, &identified)?;
        let packet = startup::as_role(&self.parsed(packet)?, &role);
        self.judge_role(&packet)?;
        let clearance = self.admit(&governor, &packet, identified)?;
        let account = self.account(login, role).await?;
        let permission = self.await_permission(recorded).await?;
        self.send_upstream(&packet, permission, clearance).await?;
        Ok(Next::Messages(self.log_in(&account).await?))
    }

    /// As whom the proxy logs in at this database: the only place that chooses. `None`: nobody, yet.
    fn login(&self) -> Option<UpstreamLogin> {
        self.common.logins.borrow().get(&self.spec.database).cloned()
    }

    /// What proves it, now that the policies have let the client in.
    async fn account(&self, login: UpstreamLogin, user: String) -> Result<Rc<ServiceAccount>, Stop> {
        let mint = match login {
            UpstreamLogin::Account(account) => return Ok(account),
            UpstreamLogin::Minted(mint) => mint,
        };
        let mut minting = mint.mint(self.entry.cookie);
        let entry = &self.entry;
        let password = poll_fn(|cx| entry.poll_until(cx, |cx| minting.as_mut().poll(cx))).await.map_err(stopped)?;
        let password = password.ok_or_else(|| {
            let text = "the proxy could not make a role for this session; its operator finds the reason in the log";
            Stop::refused(Refusal::Upstream, "08006", text)
        })?;
        Ok(Rc::new(ServiceAccount { user, credential: Credential::Password(password) }))
    }

    /// The certificate that the server gets if it asks for one while TLS begins.
    pub(super) fn own_certificate(&self) -> Option<OwnCertificate> {
        match &self.spec.login {
            LoginMode::Service(_) => self.login()?.certificate().cloned(),
            LoginMode::PassThrough => None,
        }
    }

    /// Who the client is, by the proof that it has shown or is asked for; and the last record of it.
    async fn proved(
        &mut self,
        governor: &Governor,
        packet: &[u8],
        demand: &Demand,
    ) -> Result<(Identified, Recording), Stop> {
        let asked = self.record_opening(&[Input::Bytes(packet)])?;
        if let Some(certificate) = self.client_certificate() {
            return Ok((self.believed(governor, packet, certificate).await?, asked));
        }
        if let Some(identified) = self.bound(governor, packet).await? {
            return Ok((identified, asked));
        }
        if *demand == Demand::Certificate {
            let text = "this database asks for a client certificate; connect with sslmode=require, sslcert and sslkey";
            return Err(Stop::refused(Refusal::Identity, "28000", text));
        }
        self.refuse_where_others_hear()?;
        if !self.client.has_nothing_more() {
            return Err(Stop::refused(Refusal::Protocol, "08P01", "expected nothing before the request for a token"));
        }
        match demand {
            Demand::OauthBearer(discovery) => self.oauth_bearer(governor, packet, discovery).await,
            Demand::Token | Demand::Certificate => {
                let (response, recorded) = self.ask(&password::REQUEST).await?;
                let proof = ClientProof::Token(password::token(response.body())?);
                Ok((self.believed(governor, packet, proof).await?, recorded))
            }
        }
    }

    /// Whoever the client's process tree is bound to: then its token was shown before, and none is asked for.
    async fn bound(&self, governor: &Governor, packet: &[u8]) -> Result<Option<Identified>, Stop> {
        if !is_local(self.client_end()) {
            return Ok(None);
        }
        let identified = self.identify(governor, packet, None).await?;
        let is_bound = identified.principal.known().is_some_and(|principal| principal.proof == Proof::BoundProcess);
        Ok(is_bound.then_some(identified))
    }

    /// Asks for a token by SASL. A client without a good one is told where to get one, and then refused (RFC 7628, section
    /// 3.2).
    async fn oauth_bearer(
        &mut self,
        governor: &Governor,
        packet: &[u8],
        discovery: &Discovery,
    ) -> Result<(Identified, Recording), Stop> {
        let (response, recorded) = self.ask(&oauth::REQUEST).await?;
        let refusal = match oauth::initial(response.body())? {
            InitialResponse::Discovery => {
                let text = "this database asks for a token: get one, for example with `warder login`";
                Stop::refused(Refusal::Identity, "28000", text)
            }
            InitialResponse::Token(token) => {
                let identified = self.identify(governor, packet, Some(ClientProof::OauthBearer(token))).await?;
                match believe(&identified) {
                    Ok(()) => return Ok((identified, recorded)),
                    Err(refusal) => refusal,
                }
            }
        };
        let (response, _recorded) = self.ask(&oauth::challenge(discovery)).await?;
        oauth::aborted(response.body())?;
        Err(refusal)
    }

    async fn believed(&self, governor: &Governor, packet: &[u8], proof: ClientProof) -> Result<Identified, Stop> {
        let identified = self.identify(governor, packet, Some(proof)).await?;
        believe(&identified)?;
        Ok(identified)
    }

    /// Whoever hears a token can use it.
    fn refuse_where_others_hear(&self) -> Result<(), Stop> {
        if hearing(self.client_end()) == Hearing::Nobody {
            return Ok(());
        }
        let text = "this database asks for a token, which may only be sent over TLS; connect with sslmode=require";
        Err(Stop::refused(Refusal::Identity, "28000", text))
    }

    /// Sends an authentication request and takes the answer; also what its record, without what is in it, is waited for
    /// with.
    async fn ask(&mut self, request: &[u8]) -> Result<(Response, Recording), Stop> {
        let (book, stats) = (&self.common.book, &self.common.stats);
        let _counted = self.reading.server(book, stats, clock::now(), request);
        self.client.answer(request).await?;
        let response = self.client.response().await?;
        let (judgement, _) = self.reading.client(book, stats, clock::now(), response.bytes());
        Ok((response, recording(judgement)?))
    }

    /// Asks `pg_hba.conf` about the proxy's own login.
    fn judge_role(&self, packet: &[u8]) -> Result<(), Stop> {
        let Some((gate, _client, hop)) = self.ends() else { return Ok(()) };
        gate.judge_own(&self.parsed(packet)?, hop)
    }

    /// A certificate is shown in TLS, also where the client's own connection has none.
    async fn show_certificate_in_tls(&mut self, login: &UpstreamLogin) -> Result<(), Stop> {
        let is_encrypted = self.upstream.as_ref().is_some_and(|hop| hop.end().encrypted == access::Encrypted::Yes);
        if is_encrypted || login.certificate().is_none() {
            return Ok(());
        }
        let refused = |text| Err(Stop::refused(Refusal::UpstreamTls, "08006", text));
        let TlsMode::ServerCertificate(certificates) = self.tls() else {
            return refused("the proxy has a certificate for the database server, and no TLS with it");
        };
        match self.ask_upstream().await? {
            Answer::Accepted => self.upstream_tls(&certificates).await,
            Answer::Declined | Answer::Other(_) => refused("the database server has no TLS on this way"),
        }
    }

    /// Logs in; returns what the client gets of it.
    async fn log_in(&mut self, account: &ServiceAccount) -> Result<Vec<u8>, Stop> {
        let Some(upstream) = &mut self.upstream else { return Err(Stop::ended(End::UpstreamBroken)) };
        let mut attempt = Attempt::new(account, hearing(upstream.end()));
        let entry = &self.entry;
        let result = poll_fn(|cx| entry.poll_until(cx, |cx| poll_login(upstream, &mut attempt, cx))).await;
        self.logged_in = attempt.counts;
        result.map_err(stopped)?.map_err(|error| {
            tracing::warn!(role = account.user, "the proxy cannot log in at the server: {error}");
            let text = "the proxy could not log in at the server for you; its operator finds the reason in the log";
            Stop::refused(Refusal::Upstream, "08006", text)
        })
    }
}

fn not_ready() -> Stop {
    let text = "the proxy has no login for this database yet; its operator finds the reason in the log";
    Stop::refused(Refusal::Identity, "28000", text)
}

/// The role that the server is going to see.
fn role(login: &UpstreamLogin, identified: &Identified) -> Result<String, Stop> {
    match login {
        UpstreamLogin::Account(account) => Ok(account.user.clone()),
        UpstreamLogin::Minted(_) => identified.role.clone().ok_or_else(|| {
            let text = "no role is made for you at this database: you are in none of the groups that have one there";
            Stop::refused(Refusal::Identity, "28000", text)
        }),
    }
}

fn poll_login(
    upstream: &mut Upstream,
    attempt: &mut Attempt<'_>,
    cx: &mut Context<'_>,
) -> Poll<Result<Vec<u8>, LoginError>> {
    loop {
        ready!(upstream.poll_flush(cx))?;
        match attempt.step()? {
            Step::Done(passed) => return Poll::Ready(Ok(passed)),
            Step::Answer(answer) => upstream.log_in(cx, &answer)?,
            Step::Wait => {
                let mut chunk = [0; CHUNK_BYTES];
                match ready!(upstream.poll_read(cx, &mut chunk))? {
                    0 => return Poll::Ready(Err(LoginError::Closed)),
                    length => attempt.receive(chunk.get(..length).unwrap_or_default()),
                }
            }
        }
    }
}

/// Who hears what goes over a connection with this end.
fn hearing(end: access::End) -> Hearing {
    if is_local(end) || end.encrypted == access::Encrypted::Yes { Hearing::Nobody } else { Hearing::Anybody }
}

/// Whether it is on this host for certain.
fn is_local(end: access::End) -> bool {
    end.address.is_none_or(|address| address.to_canonical().is_loopback())
}

/// Only a proof of the client's own opens a session.
fn believe(identified: &Identified) -> Result<(), Stop> {
    let is_own = |proof| matches!(proof, Proof::Token | Proof::OauthBearer | Proof::Certificate);
    let (sqlstate, text) = match (&identified.principal, identified.refusal) {
        (Known::Known(principal), None) if is_own(principal.proof) => return Ok(()),
        (_, Some(error @ ProofError::Token(TokenError::KeysUnavailable | TokenError::KeysStale))) => {
            ("28000", error.to_string())
        }
        (_, Some(error)) => ("28P01", error.to_string()),
        (_, None) => {
            ("28000", "the proof could not be verified: whoever does it does not answer; try again".to_owned())
        }
    };
    Err(Stop::refused(Refusal::Identity, sqlstate, text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::Encrypted;

    #[test]
    fn secrets_go_where_nobody_else_hears() {
        let heard = |address: Option<&str>, encrypted| {
            let address = address.map(|text| text.parse().expect("an address"));
            hearing(access::End { address, encrypted }) == Hearing::Anybody
        };
        for local in [None, Some("127.0.0.1"), Some("127.86.0.1"), Some("::1"), Some("::ffff:127.0.0.1")] {
            assert!(!heard(local, Encrypted::No), "{local:?}");
        }
        for remote in ["10.0.0.7", "fd00::1", "::ffff:10.0.0.7"] {
            assert!(heard(Some(remote), Encrypted::No) && !heard(Some(remote), Encrypted::Yes), "{remote}");
        }
    }
}
