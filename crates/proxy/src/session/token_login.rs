//! The start-up of a client that shows a token: the proxy asks for it, has it verified, and logs in at the server as the
//! service account, or with a role of the session's own. The client sees the server's AuthenticationOk and everything behind it.
//!
//! What is recorded is what the client sees: its own StartupMessage, the request for a password, the password left out,
//! AuthenticationOk. The role that the client names is recorded and has no other meaning.

use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use identity::secret::Secret;
use identity::token_error::TokenError;
use model::Known;
use model::mediation::{End, Refusal};
use model::principal::Proof;
use model::wire::Input;

use super::{Next, Opening, Recording, recording};
use crate::access;
use crate::client::stopped;
use crate::clock;
use crate::governor::{Governor, Identified};
use crate::hop::Hops;
use crate::login::password::REQUEST;
use crate::login::service::{Attempt, Hearing, LoginError, Step};
use crate::login::{ServiceAccount, UpstreamLogin, startup};
use crate::stop::Stop;
use crate::upstream::Upstream;

/// What is read of the server at once: its part of a login is short.
const CHUNK_BYTES: usize = 1024;

impl<H: Hops> Opening<H> {
    /// From the client's StartupMessage to the server's AuthenticationOk.
    pub(super) async fn token_startup(&mut self, packet: &[u8]) -> Result<Next, Stop> {
        let (governor, login) = self.needs()?;
        self.refuse_where_others_hear()?;
        let _earlier = self.record_opening(&[Input::Bytes(packet)])?;
        let (token, recorded) = self.token().await?;
        let identified = self.identify(&governor, packet, Some(token)).await?;
        believe(&identified)?;
        self.hop().await?;
        let role = role(&login, &identified)?;
        let packet = startup::as_role(&self.parsed(packet)?, &role);
        self.judge_role(&packet)?;
        let clearance = self.admit(&governor, &packet, identified)?;
        let account = self.account(login, role).await?;
        let permission = self.await_permission(recorded).await?;
        self.send_upstream(&packet, permission, clearance).await?;
        Ok(Next::Messages(self.log_in(&account).await?))
    }

    fn needs(&self) -> Result<(Rc<Governor>, UpstreamLogin), Stop> {
        let database = &self.spec.database;
        let governor = self.common.governors.borrow().get(database).cloned();
        let login = self.common.logins.borrow().get(database).cloned();
        governor.zip(login).ok_or_else(|| {
            let text = "the proxy has no login for this database yet; its operator finds the reason in the log";
            Stop::refused(Refusal::Identity, "28000", text)
        })
    }

    /// With what the proxy logs in at the server, now that the policies have let the client in.
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
        Ok(Rc::new(ServiceAccount { user, password: Some(password) }))
    }

    /// Whoever hears a token can use it.
    fn refuse_where_others_hear(&self) -> Result<(), Stop> {
        if hearing(self.client_end()) == Hearing::Nobody {
            return Ok(());
        }
        let text = "this database asks for a token, which may only be sent over TLS; connect with sslmode=require";
        Err(Stop::refused(Refusal::Identity, "28000", text))
    }

    /// Asks for the token and takes it; also what its record, without it, is waited for with.
    async fn token(&mut self) -> Result<(Secret, Recording), Stop> {
        if !self.client.has_nothing_more() {
            return Err(Stop::refused(Refusal::Protocol, "08P01", "expected nothing before the request for a token"));
        }
        let (book, stats) = (&self.common.book, &self.common.stats);
        let _counted = self.reading.server(book, stats, clock::now(), &REQUEST);
        self.client.answer(&REQUEST).await?;
        let (message, token) = self.client.password().await?;
        let (judgement, _) = self.reading.client(book, stats, clock::now(), message.bytes());
        Ok((token, recording(judgement)?))
    }

    /// Asks `pg_hba.conf` about the proxy's own login: the hop is its own connection, and stands for nobody else's.
    fn judge_role(&self, packet: &[u8]) -> Result<(), Stop> {
        let Some((gate, _client, hop)) = self.ends() else { return Ok(()) };
        gate.judge(&self.parsed(packet)?, hop, hop)
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

/// Who hears what goes over a connection with this end.
fn hearing(end: access::End) -> Hearing {
    let is_local = end.address.is_none_or(|address| address.to_canonical().is_loopback());
    if is_local || end.encrypted == access::Encrypted::Yes { Hearing::Nobody } else { Hearing::Anybody }
}

/// Only a token that proves somebody opens a session.
fn believe(identified: &Identified) -> Result<(), Stop> {
    let text = match (&identified.principal, identified.refusal) {
        (Known::Known(principal), None) if principal.proof == Proof::Token => return Ok(()),
        (_, Some(error @ (TokenError::KeysUnavailable | TokenError::KeysStale))) => {
            return Err(Stop::refused(Refusal::Identity, "28000", format!("the token was not accepted: {error}")));
        }
        (_, Some(error)) => format!("the token was not accepted: {error}"),
        (_, None) => {
            let text = "the token could not be verified: whoever does it does not answer; try again";
            return Err(Stop::refused(Refusal::Identity, "28000", text));
        }
    };
    Err(Stop::refused(Refusal::Identity, "28P01", text))
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
