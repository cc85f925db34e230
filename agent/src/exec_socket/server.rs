//! The agent's end, in the unprivileged core process.

use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::Duration;

use identity::bindings::Purpose;
use identity::secret::Secret;
use nix::sys::socket::{getsockopt, sockopt};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};
use tokio::time::timeout;
use zeroize::Zeroizing;

use super::{Ask, REQUEST_BYTES_MAX};
use crate::control::server::{accept_each, encode, refusal};
use crate::control::shares::Shares;
use crate::control::{PROTOCOL_VERSION, Response};

/// Connections served at once; more wait in the socket's backlog.
const CONNECTIONS_MAX: usize = 64;
/// The same of one user, so that nobody keeps the others out.
const CONNECTIONS_OF_ONE_MAX: usize = CONNECTIONS_MAX / 2;
/// How long a client may take to send its request: it is one write.
const REQUEST_PATIENCE: Duration = Duration::from_secs(2);
/// How long a token and a group may take, keys of an issuer included.
pub(super) const BIND_PATIENCE: Duration = Duration::from_secs(15);

/// Whoever asks, by the kernel's word.
pub(crate) struct Peer {
    /// The process that made the connection (pidfd_open(2)).
    pub(crate) process: OwnedFd,
    /// Its effective user.
    pub(crate) uid: u32,
}

/// Whoever binds tokens.
pub(crate) trait Binder {
    /// Binds a token to the tree that begins with this process. The error is shown to whoever asked.
    fn bind(&self, peer: Peer, token: Secret, purpose: Option<Purpose>) -> impl Future<Output = Result<(), String>>;
}

/// Serves until it is dropped.
pub(crate) async fn serve<B: Binder + 'static>(listener: UnixListener, binder: Rc<B>) {
    let shares = Rc::new(Shares::new(CONNECTIONS_OF_ONE_MAX, CONNECTIONS_MAX));
    let serve = move |stream| {
        let (binder, shares) = (Rc::clone(&binder), Rc::clone(&shares));
        async move { connection(stream, &*binder, &shares).await }
    };
    accept_each(listener, CONNECTIONS_MAX, serve).await;
}

/// One request, one answer.
async fn connection<B: Binder>(mut stream: UnixStream, binder: &B, shares: &Shares) {
    let Ok(peer) = peer(&stream) else {
        let text = "this kernel does not tell which process asks; `warder exec` needs Linux 6.5 or later";
        return answer(&mut stream, &refusal("failed", text)).await;
    };
    let Some(_share) = shares.admit(peer.uid) else {
        let text = format!("your account has {CONNECTIONS_OF_ONE_MAX} connections here already; try again");
        return answer(&mut stream, &refusal("failed", &text)).await;
    };
    let Ok(Ok(lines)) = timeout(REQUEST_PATIENCE, read_lines(&mut stream)).await else { return };
    let bound = match parse(&lines) {
        Ok((token, purpose)) => timeout(BIND_PATIENCE, binder.bind(peer, token, purpose)).await,
        Err(error) => return answer(&mut stream, &refusal("not_a_request", &error)).await,
    };
    let response = match bound {
        Ok(Ok(())) => encode(&Response { v: PROTOCOL_VERSION, ..Response::default() }),
        Ok(Err(why)) => refusal("not_bound", &why),
        Err(_elapsed) => refusal("failed", "the agent could not do it in time; try again"),
    };
    answer(&mut stream, &response).await;
}

fn peer(stream: &UnixStream) -> io::Result<Peer> {
    Ok(Peer { process: getsockopt(stream, sockopt::PeerPidfd)?, uid: stream.peer_cred()?.uid() })
}

/// Two lines.
async fn read_lines(stream: &mut UnixStream) -> io::Result<Zeroizing<Vec<u8>>> {
    // Its whole room at once: a vector that grows leaves copies behind.
    let mut lines = Zeroizing::new(vec![0; REQUEST_BYTES_MAX]);
    let mut length = 0;
    loop {
        let count = stream.read(lines.get_mut(length..).unwrap_or_default()).await?;
        length += count;
        let received = lines.get(..length).unwrap_or_default();
        if count == 0 || received.iter().filter(|byte| **byte == b'\n').count() >= 2 {
            lines.truncate(length);
            return Ok(lines);
        }
    }
}

/// A request; the error is for whoever sent it.
fn parse(lines: &[u8]) -> Result<(Secret, Option<Purpose>), String> {
    let wrong = || "send {\"v\":1} and the token, a line each".to_owned();
    let mut lines = lines.split(|byte| *byte == b'\n');
    let ask: Ask = lines.next().and_then(|line| serde_json::from_slice(line).ok()).ok_or_else(wrong)?;
    if ask.v != PROTOCOL_VERSION {
        return Err("this agent speaks version 1; use a command line of its version".to_owned());
    }
    let token = lines.next().filter(|token| !token.is_empty()).ok_or_else(wrong)?;
    let purpose = ask.purpose.as_deref().map(Purpose::parse).transpose().map_err(|error| error.to_string())?;
    Ok((Secret::new(token.to_vec()), purpose))
}

/// A client that went away is not waited for.
async fn answer(stream: &mut UnixStream, response: &[u8]) {
    let _gone = timeout(REQUEST_PATIENCE, stream.write_all(response)).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_two_lines() {
        let (token, purpose) = parse(b"{\"v\":1,\"purpose\":\"INC-1\"}\na.b.c\n").ok().unwrap();
        assert_eq!((token.expose(), purpose), (&b"a.b.c"[..], Purpose::parse("INC-1").ok()));
        assert!(parse(b"{\"v\":1}\na.b.c\n").is_ok_and(|(_, purpose)| purpose.is_none()));
        let wrong: [&[u8]; 6] =
            [b"", b"{\"v\":1}", b"{\"v\":1}\n", b"{\"v\":1}\n\n", b"a.b.c\n{}\n", b"{\"v\":2}\na\n"];
        for lines in wrong {
            assert!(parse(lines).is_err(), "{}", String::from_utf8_lossy(lines));
        }
        let error = parse(b"{\"v\":1,\"purpose\":\"\"}\na.b.c\n").err().unwrap();
        assert!(error.contains("purpose"), "{error}");
    }
}
