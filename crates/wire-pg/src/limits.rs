//! Every bound of the decoder, with its reason.

/// How the observer met the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// The first byte of either side is the first byte of the connection.
    FirstByte,
    /// The session is older than the observer. Its inputs begin at message boundaries, its state is not known;
    /// most such sessions are idle, and then everything is exact from the first request on.
    MidStream,
}

/// Bounds of one connection's memory. What is beyond a bound is left out and said to be left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Body bytes kept of one message, per side. Longer texts become `Text::Truncated`.
    pub message_bytes_max: u32,
    /// Named prepared statements kept, and named portals kept. Beyond: `UnknownText::TooManyNames`.
    pub names_max: u32,
    /// Bytes kept for all names of the session: texts, types, bound values. Beyond: `UnknownText::TooManyNames`.
    pub name_bytes_max: u32,
    /// Requests that wait for an answer. Beyond: a gap, because answers can no longer be told apart.
    pub pending_max: u32,
    /// Bytes kept for all waiting requests. Beyond: only the beginning of each further text is kept.
    pub pending_bytes_max: u32,
    /// Outcomes kept of one statement. Beyond: `Statement::outcomes_dropped`.
    pub outcomes_max: u32,
    /// Parameters kept of one Bind. Beyond: the last ones are opaque, with length 0 (not known).
    pub parameters_max: u32,
    /// Bytes kept of all parameters of one Bind. Beyond: opaque.
    pub parameter_bytes_max: u32,
    /// Bytes kept of one parameter. A longer one is opaque: a part of a value could be mistaken for the value.
    pub value_bytes_max: u32,
    /// Parameters kept of a StartupMessage.
    pub startup_parameters_max: u32,
}

impl Limits {
    /// A message of 1 MiB is 128 reads of the server's 8 KiB buffer; generated statements seldom exceed it.
    pub const MESSAGE_BYTES_MAX: u32 = 1 << 20;
    /// Several times what pooled drivers cache (pgjdbc 256, asyncpg 100, npgsql 100 per connection).
    pub const NAMES_MAX: u32 = 4096;
    /// 4096 names of 2 KiB each.
    pub const NAME_BYTES_MAX: u32 = 8 << 20;
    /// libpq's pipeline mode recommends some hundreds; pgbench pipelines up to a few thousand.
    pub const PENDING_MAX: u32 = 16_384;
    /// Sixteen statements of the greatest kept length.
    pub const PENDING_BYTES_MAX: u32 = 16 << 20;
    /// Scripts of more statements in one message exist (dumps, migrations); their tail is counted.
    pub const OUTCOMES_MAX: u32 = 64;
    /// The protocol's own maximum (16-bit count).
    pub const PARAMETERS_MAX: u32 = 65_535;
    /// Bulk inserts bind some hundreds of short values.
    pub const PARAMETER_BYTES_MAX: u32 = 64 << 10;
    /// Longer values are documents or files, which a record should not repeat.
    pub const VALUE_BYTES_MAX: u32 = 4 << 10;
    /// Drivers send fewer than ten.
    pub const STARTUP_PARAMETERS_MAX: u32 = 64;
}

impl Limits {
    /// What one connection holds on the heap at most, approximately: both sides in mid-message, the queue and all
    /// names full, and as much again for a batch that the server skips, and for names that wait for an answer.
    #[must_use]
    pub const fn retained_bytes_max(&self) -> u64 {
        // One request or name beyond a bound: lossy UTF-8 has at most three times the bytes of its source; 65,535
        // types or lengths of four bytes each.
        const FIXED: u64 = 1 << 20;
        const SLOT_BYTES: u64 = 256;
        let message = (self.message_bytes_max as u64).saturating_mul(4).saturating_add(FIXED);
        let values = (self.parameter_bytes_max as u64).saturating_mul(2);
        let slots = (self.pending_max as u64)
            .saturating_add((self.names_max as u64).saturating_mul(2))
            .saturating_mul(SLOT_BYTES);
        message
            .saturating_add(values)
            .saturating_mul(4)
            .saturating_add((self.pending_bytes_max as u64).saturating_mul(3))
            .saturating_add((self.name_bytes_max as u64).saturating_mul(3))
            .saturating_add(slots)
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            message_bytes_max: Self::MESSAGE_BYTES_MAX,
            names_max: Self::NAMES_MAX,
            name_bytes_max: Self::NAME_BYTES_MAX,
            pending_max: Self::PENDING_MAX,
            pending_bytes_max: Self::PENDING_BYTES_MAX,
            outcomes_max: Self::OUTCOMES_MAX,
            parameters_max: Self::PARAMETERS_MAX,
            parameter_bytes_max: Self::PARAMETER_BYTES_MAX,
            value_bytes_max: Self::VALUE_BYTES_MAX,
            startup_parameters_max: Self::STARTUP_PARAMETERS_MAX,
        }
    }
}
