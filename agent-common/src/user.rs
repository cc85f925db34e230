//! Plain-data marks for aya's typed maps.
#![expect(unsafe_code, reason = "aya::Pod is an unsafe marker trait")]

use crate::listener::{TcpListener, UnixListener};
use crate::refusal::{Group, Lease, RefusedDestination};
use crate::session::Session;
use crate::settings::ProbeCounts;
use crate::steering::{Counters, Destination, Rule, Source, Tuple};
use crate::turns::Turns;

// SAFETY: `repr(C)`, fixed-width integer fields, no padding (size assertions), every bit pattern is valid.
unsafe impl aya::Pod for TcpListener {}
// SAFETY: as above.
unsafe impl aya::Pod for UnixListener {}
// SAFETY: as above.
unsafe impl aya::Pod for Turns {}
// SAFETY: as above.
unsafe impl aya::Pod for Session {}
// SAFETY: as above.
unsafe impl aya::Pod for ProbeCounts {}
// SAFETY: as above.
unsafe impl aya::Pod for Destination {}
// SAFETY: as above.
unsafe impl aya::Pod for Rule {}
// SAFETY: as above.
unsafe impl aya::Pod for Tuple {}
// SAFETY: as above.
unsafe impl aya::Pod for Source {}
// SAFETY: as above.
unsafe impl aya::Pod for Counters {}
// SAFETY: as above.
unsafe impl aya::Pod for RefusedDestination {}
// SAFETY: as above.
unsafe impl aya::Pod for Lease {}
// SAFETY: as above.
unsafe impl aya::Pod for Group {}
