//! Finding a boundary when nobody says where it is.
//!
//! The kernel side nearly always knows; this is for when it does not. A boundary is accepted only where bytes
//! agree with the protocol to their very end, and what follows is provisional (see `recovery`): a wrong guess costs
//! more lost statements, never an invented one.

use model::wire::Side;

use crate::catalogue::{MESSAGE_BYTES_MAX, is_message};
use crate::reader::Reader;

/// ReadyForQuery is the last message before the server waits, so it ends what the server sends at once.
pub(crate) fn ends_with_ready(bytes: &[u8]) -> bool {
    matches!(bytes.last_chunk::<6>(), Some([b'Z', 0, 0, 0, 5, b'I' | b'T' | b'E']))
}

/// The bytes are whole messages of that side.
pub(crate) fn is_whole_messages(side: Side, bytes: &[u8]) -> bool {
    let mut bytes = Reader::new(bytes);
    while let Some(kind) = bytes.u8() {
        let length = bytes.u32().filter(|length| (4..=MESSAGE_BYTES_MAX).contains(length));
        let Some(body) = length.and_then(|length| usize::try_from(length.saturating_sub(4)).ok()) else {
            return false;
        };
        if !is_message(side, kind) || bytes.take(body).is_none() {
            return false;
        }
    }
    true
}
