//! The socket of `warder exec`: everybody may ask there for one thing, that their own process tree has their token.
//!
//! `{"v":1,"purpose":"INC-1"}`, a line with the token, and one line answers: `{"v":1}`, or an error as on the control
//! socket. The token is in no JSON, so that no copy of it stays anywhere. Who asks is who is bound: the kernel says which
//! process made the connection (`SO_PEERPIDFD`), whatever it says itself.
//!
//! A socket of its own, beside the control socket: that one is for operators and viewers.

pub(crate) mod client;
pub(crate) mod server;

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// Where it is unless the agent's control socket is elsewhere.
pub(crate) const DEFAULT_PATH: &str = "/run/warder/exec.sock";
/// Both lines: a token has 16 KiB at most.
const REQUEST_BYTES_MAX: usize = 20 << 10;

/// The first line of a request.
#[derive(Debug, Serialize, Deserialize)]
struct Ask {
    /// As on the control socket.
    v: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    purpose: Option<String>,
}

/// The socket of the agent with this control socket.
pub(crate) fn beside(control: &Path) -> PathBuf {
    control.with_file_name("exec.sock")
}
