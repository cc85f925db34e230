//! The command line's end.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use identity::secret::Secret;

use super::Ask;
use super::server::BIND_PATIENCE;
use crate::control::{PROTOCOL_VERSION, Response};

/// Longest answer.
const ANSWER_BYTES_MAX: u64 = 64 << 10;
/// A little more than the agent takes.
const PATIENCE: Duration = Duration::from_secs(BIND_PATIENCE.as_secs() + 5);

/// Asks the agent to bind a token to this process and all that it starts from now on.
pub(crate) fn bind(socket: &Path, token: &Secret, purpose: Option<&str>) -> Result<()> {
    let mut stream = UnixStream::connect(socket).with_context(|| {
        format!(
            "no agent answers on {}: start it (warder run), or name its socket with --socket; it is beside the agent's \
             control_socket",
            socket.display()
        )
    })?;
    let response = exchange(&mut stream, token, purpose).context("the agent did not answer; see its log")?;
    match response.error {
        None => Ok(()),
        Some(refusal) => bail!("the token was not bound, and the command was not started: {}", refusal.message),
    }
}

fn exchange(stream: &mut UnixStream, token: &Secret, purpose: Option<&str>) -> Result<Response<'static>> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut line = serde_json::to_vec(&Ask { v: PROTOCOL_VERSION, purpose: purpose.map(str::to_owned) })?;
    line.push(b'\n');
    for part in [&line, token.expose(), b"\n"] {
        stream.write_all(part)?;
    }
    let mut answer = Vec::new();
    if BufReader::new(stream).take(ANSWER_BYTES_MAX).read_until(b'\n', &mut answer)? == 0 {
        return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
    }
    Ok(serde_json::from_slice(&answer)?)
}
