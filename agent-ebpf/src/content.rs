//! The walk: follows protocol messages through the plaintext of one call and copies only what matters.
//!
//! Client messages are copied whole up to a bound, except passwords and COPY data. Of the server's messages
//! the bodies of rows, row descriptions, COPY data and function results are left out, secrets are cut.
//! PostgreSQL manual, chapter 55.7 (message formats).

use core::mem::MaybeUninit;

use agent_common::content::{CONTENT_BYTES_MAX, Content, SIDE_CLIENT, Skip};
use agent_common::session::{
    CHANNEL_GSS, CHANNEL_PLAIN, CHANNEL_TLS, CHANNEL_UNDECIDED, Direction, PHASE_EITHER, PHASE_GSS_ANSWER, PHASE_LOST,
    PHASE_MESSAGES, PHASE_STARTUP, PHASE_TLS_ANSWER, RESUME_UNKNOWN, Session,
};
use agent_common::settings::counter;
use agent_common::{ABI_VERSION, Header, kind};
use aya_ebpf::helpers::generated::{bpf_ktime_get_boot_ns, bpf_loop, bpf_probe_read_user};
use aya_log_ebpf::debug;

use crate::maps::{EVENTS, content_flags, count, count_loss, settings};
use crate::read::user;

/// Steps of one call: one per header and one per body piece. A call with more messages loses its tail, counted.
const STEPS_MAX: u32 = 8192;
/// Largest message that PostgreSQL accepts (`PQ_LARGE_MESSAGE_LIMIT`, 1 GiB - 1).
const MESSAGE_BYTES_MAX: u32 = 0x3fff_ffff;
/// `MAX_STARTUP_PACKET_LENGTH`, to which the server adds the length word itself: it accepts 10,004 bytes.
const STARTUP_BYTES_MAX: u32 = 10_000 + 4;
/// 80877103, 80877104, 80877102
const SSL_REQUEST: u32 = 0x04d2_162f;
const GSS_REQUEST: u32 = 0x04d2_1630;
const CANCEL_REQUEST: u32 = 0x04d2_162e;
/// First byte of a TLS record: handshake, application data, alert.
const TLS_HANDSHAKE: u8 = 0x16;
const TLS_DATA: u8 = 0x17;
const TLS_ALERT: u8 = 0x15;
/// A run is told before it could outgrow a record.
const RUN_BYTES_MAX: u32 = CONTENT_BYTES_MAX as u32 - 8;

/// One call's plaintext under way.
#[repr(C)]
struct Walk {
    session: *mut Session,
    direction: *mut Direction,
    cookie: u64,
    at: u64,
    /// User address of the plaintext.
    buffer: u64,
    /// Its length.
    length: u32,
    /// Next byte to look at.
    position: u32,
    /// First byte of the run that is to be copied.
    run: u32,
    side: u32,
    /// How much of `window` is filled.
    window_length: u32,
    reserved: u32,
    /// The first bytes of the call: most answers fit, and their headers need no further read of user memory.
    /// Only `window_length` of them are ever written; to clear the rest would cost more than to read it.
    window: MaybeUninit<[u8; WINDOW_BYTES]>,
}

/// Size of [`Walk::window`]: an answer of one short row with its description.
const WINDOW_BYTES: usize = 128;
/// Headers that begin before this are taken from the window.
const WINDOW_HEADERS: u32 = 64 + 32;

impl Walk {
    /// A walk over no bytes yet.
    #[inline(always)]
    const fn new(session: *mut Session, direction: *mut Direction, cookie: u64, side: u8, at: u64) -> Self {
        Self {
            session,
            direction,
            cookie,
            at,
            buffer: 0,
            length: 0,
            position: 0,
            run: 0,
            side: side as u32,
            window_length: 0,
            reserved: 0,
            window: MaybeUninit::uninit(),
        }
    }
}

/// Walks `length` bytes of plaintext at `buffer` in the current task's memory.
#[inline(never)]
pub(crate) fn walk(session: *mut Session, cookie: u64, side: u8, buffer: u64, length: u32) -> u32 {
    // SAFETY: the pointer comes from the session map.
    let direction =
        unsafe { if side == SIDE_CLIENT { &raw mut (*session).client } else { &raw mut (*session).server } };
    // SAFETY: no arguments.
    let at = unsafe { bpf_ktime_get_boot_ns() };
    let mut walk = Walk::new(session, direction, cookie, side, at);
    walk.buffer = buffer;
    walk.length = length;
    fill_window(&mut walk);
    // SAFETY: `step` has the signature that bpf_loop calls; `walk` outlives the call.
    unsafe {
        bpf_loop(STEPS_MAX, step as *mut _, (&raw mut walk).cast(), 0);
        let direction = &mut *walk.direction;
        if walk.run < walk.position {
            tell(&mut walk, 0);
        }
        if walk.position < walk.length {
            // Either the channel changed in mid-call (what follows is ciphertext) or there were too many steps.
            if (*walk.session).channel == CHANNEL_TLS || (*walk.session).channel == CHANNEL_GSS {
                direction.counts.content_bytes += u64::from(walk.position);
                direction.offset += u64::from(walk.position);
                return 0;
            }
            count(counter::DESYNCHRONISED, 1);
            walk.position = walk.length;
            lose(&mut walk);
        }
        direction.counts.content_bytes += u64::from(length);
        direction.offset += u64::from(length);
    }
    0
}

/// The session ends: what was left out since the last record is told, although no bytes follow it.
#[inline(never)]
pub(crate) fn tell_rest(session: *mut Session, cookie: u64, side: u8) -> u32 {
    // SAFETY: the pointer comes from the session map.
    let direction =
        unsafe { if side == SIDE_CLIENT { &raw mut (*session).client } else { &raw mut (*session).server } };
    // SAFETY: as above; the helper has no arguments.
    let (skips, at) = unsafe { ((*direction).skips_used, bpf_ktime_get_boot_ns()) };
    if skips == 0 {
        return 0;
    }
    tell(&mut Walk::new(session, direction, cookie, side, at), 0)
}

/// One step of the walk; returns 1 to stop.
unsafe extern "C" fn step(_index: u32, context: *mut Walk) -> i64 {
    // SAFETY: bpf_loop passes the context of `walk`.
    let walk = unsafe { &mut *context };
    if walk.position >= walk.length {
        return 1;
    }
    // SAFETY: the pointer comes from the session map.
    let direction = unsafe { &mut *walk.direction };
    if direction.remaining > 0 {
        body(walk, direction);
        return i64::from(walk.position >= walk.length);
    }
    if walk.position - walk.run > RUN_BYTES_MAX - 8 {
        tell(walk, 0);
    }
    match direction.phase {
        PHASE_MESSAGES => {
            let stop = message_header(walk, direction);
            if stop == 0 && direction.remaining > 0 && walk.position < walk.length {
                // Most bodies follow their header in the same call: half of the steps.
                body(walk, direction);
            }
            stop | i64::from(walk.position >= walk.length)
        }
        PHASE_STARTUP | PHASE_EITHER => startup_header(walk, direction),
        PHASE_TLS_ANSWER | PHASE_GSS_ANSWER => negotiation_answer(walk, direction),
        _ => resynchronise(walk, direction),
    }
}

#[inline(always)]
fn body(walk: &mut Walk, direction: &mut Direction) {
    let available = (walk.length - walk.position).min(direction.remaining);
    if direction.allowance > 0 {
        let room = CONTENT_BYTES_MAX as u32 - 1 - (walk.position - walk.run).min(RUN_BYTES_MAX);
        let taken = available.min(direction.allowance).min(room);
        walk.position += taken;
        direction.remaining -= taken;
        direction.allowance -= taken;
        if walk.position - walk.run >= RUN_BYTES_MAX {
            tell(walk, 0);
        }
        return;
    }
    if walk.position > walk.run {
        tell(walk, 0);
    }
    walk.position += available;
    direction.remaining -= available;
    skip(walk, direction.message, available, 0);
    // A long statement has ended, and its answer is next: its client may say nothing more for hours.
    if direction.remaining == 0 && walk.side as u8 == SIDE_CLIENT && !is_left_out(SIDE_CLIENT, direction.message) {
        tell(walk, 0);
    }
}

#[inline(always)]
fn fill_window(walk: &mut Walk) {
    let length = walk.length.min(WINDOW_BYTES as u32);
    // SAFETY: `length` is at most the size of the window.
    let result = unsafe { bpf_probe_read_user(walk.window.as_mut_ptr().cast(), length, walk.buffer as *const _) };
    walk.window_length = if result == 0 { length } else { 0 };
}

/// The five bytes of a whole message header at the position.
#[inline(always)]
fn whole_header(walk: &Walk) -> Option<[u8; 5]> {
    if walk.position >= WINDOW_HEADERS || walk.position + 5 > walk.window_length {
        return user(walk.buffer + u64::from(walk.position));
    }
    // The compiler knows the bound and would drop the mask; the verifier needs to see it.
    let at = (core::hint::black_box(walk.position) & (WINDOW_BYTES as u32 - 1)).min(WINDOW_HEADERS) as usize;
    let window = walk.window.as_ptr().cast::<u8>();
    // SAFETY: `at` + 4 is below `window_length`, and that much was written.
    unsafe {
        Some([*window.add(at), *window.add(at + 1), *window.add(at + 2), *window.add(at + 3), *window.add(at + 4)])
    }
}

/// Reads one byte of a header that may be split; returns it.
#[inline(always)]
fn next_byte(walk: &mut Walk, direction: &mut Direction) -> Option<u8> {
    let byte: u8 = user(walk.buffer + u64::from(walk.position))?;
    direction.partial = (direction.partial << 8) | u64::from(byte);
    direction.partial_length += 1;
    walk.position += 1;
    Some(byte)
}

#[inline(always)]
fn message_header(walk: &mut Walk, direction: &mut Direction) -> i64 {
    if direction.partial_length == 0 && walk.length - walk.position >= 5 {
        let Some(header) = whole_header(walk) else { return fault(walk) };
        let length = u32::from_be_bytes([header[1], header[2], header[3], header[4]]);
        if !is_valid(walk.side as u8, header[0], length) {
            return lose_rest(walk);
        }
        if is_left_out(walk.side as u8, header[0]) {
            leave_out(walk, direction, header[0], length);
        } else {
            walk.position += 5;
            expect_body(direction, walk.side as u8, header[0], length);
        }
        return 0;
    }
    let first = direction.partial_length == 0;
    let Some(byte) = next_byte(walk, direction) else { return fault(walk) };
    if first {
        if !is_known(walk.side as u8, byte) {
            return lose_rest(walk);
        }
        direction.message = byte;
        if is_left_out(walk.side as u8, byte) {
            walk.position -= 1;
            if walk.position > walk.run {
                tell(walk, 0);
            }
            walk.position += 1;
            skip(walk, byte, 1, 1);
        }
        return 0;
    }
    if is_left_out(walk.side as u8, direction.message) {
        skip(walk, direction.message, 1, 0);
    }
    if direction.partial_length == 5 {
        let length = direction.partial as u32;
        direction.partial_length = 0;
        if !is_valid(walk.side as u8, direction.message, length) {
            return lose_rest(walk);
        }
        expect_body(direction, walk.side as u8, direction.message, length);
    }
    0
}

/// A whole header is at the position, of a message that is left out: so is as much of its body as this call holds.
#[inline(always)]
fn leave_out(walk: &mut Walk, direction: &mut Direction, message: u8, length: u32) {
    if walk.position > walk.run {
        tell(walk, 0);
    }
    direction.counts.messages += 1;
    let available = (walk.length - walk.position - 5).min(length - 4);
    walk.position += 5 + available;
    direction.partial = 0;
    direction.message = message;
    direction.remaining = length - 4 - available;
    direction.allowance = 0;
    skip(walk, message, 5 + available, 1);
}

#[inline(always)]
fn expect_body(direction: &mut Direction, side: u8, message: u8, length: u32) {
    direction.counts.messages += 1;
    direction.partial = 0;
    direction.message = message;
    direction.remaining = length - 4;
    direction.allowance = allowance(side, message).min(direction.remaining);
}

#[inline(always)]
fn is_valid(side: u8, message: u8, length: u32) -> bool {
    is_known(side, message) && length >= 4 && length <= MESSAGE_BYTES_MAX
}

/// A set of type bytes: letters from `@` (0x40) on.
const fn letters(set: &[u8]) -> u64 {
    let mut bits = 0;
    let mut index = 0;
    while index < set.len() {
        bits |= 1 << (set[index] - 0x40);
        index += 1;
    }
    bits
}

const CLIENT_MESSAGES: u64 = letters(b"BCDEFHPQSXcdfp");
const SERVER_MESSAGES: u64 = letters(b"ACDEGHIKNRSTVWZcdnstv");
const CLIENT_LEFT_OUT: u64 = letters(b"dp");
const SERVER_LEFT_OUT: u64 = letters(b"DTVd");

#[inline(always)]
fn contains(set: u64, message: u8) -> bool {
    (0x40..0x80).contains(&message) && (set >> (message & 0x3f)) & 1 == 1
}

#[inline(always)]
fn is_known(side: u8, message: u8) -> bool {
    if side == SIDE_CLIENT {
        return contains(CLIENT_MESSAGES, message);
    }
    contains(SERVER_MESSAGES, message) || (message >= b'1' && message <= b'3')
}

/// Messages of which not even the header is copied; only their number and size is told.
#[inline(always)]
fn is_left_out(side: u8, message: u8) -> bool {
    contains(if side == SIDE_CLIENT { CLIENT_LEFT_OUT } else { SERVER_LEFT_OUT }, message)
}

/// Body bytes that may be copied.
#[inline(always)]
fn allowance(side: u8, message: u8) -> u32 {
    /// Errors, notices, parameters and the like: more than any client shows.
    const REPORT_BYTES_MAX: u32 = 8192;
    if is_left_out(side, message) {
        return 0;
    }
    if side == SIDE_CLIENT {
        return settings().message_bytes_max;
    }
    match message {
        // Authentication: the method, not the salt or the server's proof. BackendKeyData: the pid, not the secret.
        b'R' | b'K' => 4,
        // Notification: pid and channel (an identifier of at most 63 bytes), not the payload.
        b'A' => 68,
        _ => REPORT_BYTES_MAX,
    }
}

/// Untyped first packet of a client, PostgreSQL manual 55.2.1, 55.2.9 (SSL), 55.2.10 (GSS).
#[inline(always)]
fn startup_header(walk: &mut Walk, direction: &mut Direction) -> i64 {
    let first = direction.partial_length == 0;
    let Some(byte) = next_byte(walk, direction) else { return fault(walk) };
    if first && byte != 0 {
        direction.partial_length = 0;
        walk.position -= 1;
        // SAFETY: the pointer comes from the session map.
        let session = unsafe { &mut *walk.session };
        if session.channel == CHANNEL_UNDECIDED && is_tls(walk, direction.phase, byte) {
            session.channel = CHANNEL_TLS;
            return 1;
        }
        if direction.phase == PHASE_STARTUP || !may_begin(walk) {
            return lose_rest(walk);
        }
        direction.phase = PHASE_MESSAGES;
        return 0;
    }
    if direction.partial_length < 8 {
        return 0;
    }
    let length = (direction.partial >> 32) as u32;
    let code = direction.partial as u32;
    direction.partial = 0;
    direction.partial_length = 0;
    if !(8..=STARTUP_BYTES_MAX).contains(&length) {
        return lose_rest(walk);
    }
    startup_packet(walk, direction, length, code)
}

/// Whether a TLS record begins at the position. Of a session older than the agent any byte may come first, so the header
/// has to be one: the version, and the longest record of TLS 1.2 (RFC 5246 6.2.3).
#[inline(always)]
fn is_tls(walk: &Walk, phase: u8, first: u8) -> bool {
    const RECORD_BYTES_MAX: u16 = (1 << 14) + 2048;
    if first != TLS_HANDSHAKE && first != TLS_DATA && first != TLS_ALERT {
        return false;
    }
    if phase == PHASE_STARTUP {
        return true;
    }
    let Some([_, 3, _, high, low]) = header_at_position(walk) else { return false };
    u16::from_be_bytes([high, low]) <= RECORD_BYTES_MAX
}

/// Whether a message may begin at the position, where nobody knows: in the middle of a text the letter of a message is
/// often followed by what would be the length of one. A header that is split is believed.
#[inline(always)]
fn may_begin(walk: &Walk) -> bool {
    /// Less than any four characters make that can be seen, or a line end.
    const LENGTH_MAX: u32 = 0x08ff_ffff;
    let Some(header) = header_at_position(walk) else { return walk.length - walk.position < 5 };
    let length = u32::from_be_bytes([header[1], header[2], header[3], header[4]]);
    length <= LENGTH_MAX && is_valid(walk.side as u8, header[0], length)
}

#[inline(always)]
fn header_at_position(walk: &Walk) -> Option<[u8; 5]> {
    if walk.length - walk.position < 5 { None } else { user(walk.buffer + u64::from(walk.position)) }
}

#[inline(always)]
fn startup_packet(walk: &mut Walk, direction: &mut Direction, length: u32, code: u32) -> i64 {
    // SAFETY: the pointer comes from the session map.
    let session = unsafe { &mut *walk.session };
    match code {
        SSL_REQUEST => session.server.phase = PHASE_TLS_ANSWER,
        GSS_REQUEST => session.server.phase = PHASE_GSS_ANSWER,
        CANCEL_REQUEST => {
            direction.message = 0;
            direction.remaining = length - 8;
            direction.allowance = 4.min(direction.remaining);
        }
        version if version >> 16 == 3 => {
            if session.channel == CHANNEL_UNDECIDED {
                session.channel = CHANNEL_PLAIN;
            }
            direction.message = 0;
            direction.remaining = length - 8;
            direction.allowance = direction.remaining;
            direction.phase = PHASE_MESSAGES;
        }
        _ => return lose_rest(walk),
    }
    0
}

/// The server's one-byte answer to SSLRequest or GSSENCRequest.
#[inline(always)]
fn negotiation_answer(walk: &mut Walk, direction: &mut Direction) -> i64 {
    let asked = direction.phase;
    let Some(byte) = user::<u8>(walk.buffer + u64::from(walk.position)) else { return fault(walk) };
    direction.phase = PHASE_MESSAGES;
    if byte == b'E' {
        return 0;
    }
    walk.position += 1;
    // SAFETY: the pointer comes from the session map.
    let session = unsafe { &mut *walk.session };
    if asked == PHASE_TLS_ANSWER && byte == b'S' {
        session.channel = CHANNEL_TLS;
        return 1;
    }
    if asked == PHASE_GSS_ANSWER && byte == b'G' {
        session.channel = CHANNEL_GSS;
        return 1;
    }
    0
}

/// ReadyForQuery ends the loss of synchronisation: the server has read all that it was asked, and waits. So the server is
/// understood again from the end of a call that ends with it, and the client from its next call on.
#[inline(always)]
fn resynchronise(walk: &mut Walk, direction: &mut Direction) -> i64 {
    const READY_BYTES: u32 = 6;
    if walk.side as u8 == SIDE_CLIENT {
        // SAFETY: the pointer comes from the session map.
        let server = unsafe { &(*walk.session).server };
        let is_ready = server.phase == PHASE_MESSAGES
            && server.message == b'Z'
            && server.remaining == 0
            && server.partial_length == 0;
        if walk.position == 0 && is_ready && may_begin(walk) {
            direction.phase = PHASE_MESSAGES;
            return 0;
        }
    } else if walk.position == 0
        && walk.length >= READY_BYTES
        && let Some([b'Z', 0, 0, 0, 5, b'I' | b'T' | b'E']) =
            user::<[u8; 6]>(walk.buffer + u64::from(walk.length - READY_BYTES))
    {
        walk.position = walk.length - READY_BYTES;
        walk.run = walk.position;
        direction.told = direction.offset + u64::from(walk.position);
        direction.phase = PHASE_MESSAGES;
        return 0;
    }
    count(counter::DESYNCHRONISED, 1);
    walk.position = walk.length;
    walk.run = walk.length;
    direction.told = direction.offset + u64::from(walk.length);
    1
}

#[inline(always)]
fn fault(walk: &mut Walk) -> i64 {
    count(counter::CONTENT_FAULTS, 1);
    lose_rest(walk)
}

/// What follows in this call is not understood: it is counted, not copied.
#[inline(never)]
fn lose_rest(walk: &mut Walk) -> i64 {
    if walk.run < walk.position {
        tell(walk, 0);
    }
    count(counter::DESYNCHRONISED, 1);
    walk.position = walk.length;
    lose(walk);
    1
}

#[inline(never)]
fn lose(walk: &mut Walk) -> u32 {
    // SAFETY: the pointer comes from the session map.
    let direction = unsafe { &mut *walk.direction };
    direction.phase = PHASE_LOST;
    direction.remaining = 0;
    direction.partial_length = 0;
    walk.run = walk.position;
    tell(walk, 1);
    debug!((), "socket {}: side {} is not understood from byte {}", walk.cookie, walk.side, direction.offset);
    0
}

/// Adds to what is left out since the last record.
#[inline(always)]
fn skip(walk: &mut Walk, message: u8, bytes: u32, messages: u32) {
    // SAFETY: the pointer comes from the session map.
    let direction = unsafe { &mut *walk.direction };
    let [first, second] = &mut direction.skips;
    let last = match direction.skips_used {
        0 => None,
        1 => Some(first),
        _ => Some(second),
    };
    match last {
        Some(last) if last.message == message => {
            last.bytes += u64::from(bytes);
            last.messages += messages;
        }
        _ => new_skip(walk, message, bytes, messages),
    }
    walk.run = walk.position;
}

#[inline(always)]
fn new_skip(walk: &mut Walk, message: u8, bytes: u32, messages: u32) {
    // SAFETY: the pointer comes from the session map.
    let direction = unsafe { &mut *walk.direction };
    let fresh = Skip { bytes: u64::from(bytes), messages, message, reserved: [0; 3] };
    match direction.skips_used {
        0 => {
            direction.skips[0] = fresh;
            direction.skips_used = 1;
        }
        1 => {
            direction.skips[1] = fresh;
            direction.skips_used = 2;
        }
        _ => {
            // Both are in use by other types: tell them, without bytes, and start again.
            walk.position -= bytes;
            walk.run = walk.position;
            tell(walk, 0);
            walk.position += bytes;
            direction.skips[0] = fresh;
            direction.skips_used = 1;
        }
    }
}

/// Room for the bytes of one record, in classes: the ring reserves constant sizes only.
#[repr(C)]
struct Record<const BYTES: usize> {
    content: Content,
    bytes: [u8; BYTES],
}

/// Tells user space about everything up to the position: pending skips, then the run.
#[inline(never)]
fn tell(walk: &mut Walk, desynchronised: u8) -> u32 {
    let bytes = walk.position.wrapping_sub(walk.run);
    if bytes < 64 {
        // Most answers: a tag and the transaction status.
        tell_in_class::<64>(walk, bytes, desynchronised);
    } else if bytes < 256 {
        tell_in_class::<256>(walk, bytes, desynchronised);
    } else if bytes < 1024 {
        tell_in_class::<1024>(walk, bytes, desynchronised);
    } else {
        tell_in_class::<CONTENT_BYTES_MAX>(walk, bytes, desynchronised);
    }
    // SAFETY: the pointer comes from the session map.
    let direction = unsafe { &mut *walk.direction };
    direction.told = direction.offset + u64::from(walk.position);
    direction.told_resume = if direction.partial_length == 0 { direction.remaining } else { RESUME_UNKNOWN };
    if desynchronised == 1 {
        direction.told_resume = 0;
    }
    direction.skips_used = 0;
    direction.skips[0] = Skip { bytes: 0, messages: 0, message: 0, reserved: [0; 3] };
    direction.skips[1] = Skip { bytes: 0, messages: 0, message: 0, reserved: [0; 3] };
    walk.run = walk.position;
    0
}

#[inline(always)]
fn tell_in_class<const BYTES: usize>(walk: &mut Walk, bytes: u32, desynchronised: u8) {
    // SAFETY: the pointers come from the session map.
    let (direction, session) = unsafe { (&mut *walk.direction, &*walk.session) };
    let Some(flags) = content_flags(size_of::<Record<BYTES>>() as u64) else {
        count_loss(kind::CONTENT);
        return;
    };
    let Some(mut entry) = EVENTS.reserve::<Record<BYTES>>(0) else {
        count_loss(kind::CONTENT);
        return;
    };
    let record = entry.as_mut_ptr();
    // `bytes` is below BYTES, a power of two; the mask shows it to the verifier (the compiler would drop it).
    let copied = core::hint::black_box(bytes) & (BYTES as u32 - 1);
    // SAFETY: `record` is reserved; the helper writes less than BYTES bytes into `bytes`.
    unsafe {
        let source = walk.buffer + u64::from(walk.run);
        // At the end of a session there are no bytes, and perhaps no user memory to ask for none of them.
        if copied > 0 && bpf_probe_read_user((&raw mut (*record).bytes).cast(), copied, source as *const _) != 0 {
            count(counter::CONTENT_FAULTS, 1);
            entry.discard(0);
            return;
        }
        (*record).content = Content {
            header: Header { kind: kind::CONTENT, abi: ABI_VERSION, at: walk.at },
            cookie: walk.cookie,
            offset: direction.told,
            skips: direction.skips,
            bytes: copied,
            resume_in: direction.told_resume,
            side: walk.side as u8,
            channel: session.channel as u8,
            desynchronised,
            reserved: [0; 5],
        };
    }
    direction.counts.captured_bytes += u64::from(copied);
    entry.submit(flags);
}
