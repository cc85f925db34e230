//! Types of columns, by their numbers (`pg_type.dat` of the server's source), as far as masks tell them apart.

/// What a value is to a mask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Type {
    /// The same bytes in text and in binary format.
    Text,
    /// `json`, `jsonb`: text, with one byte before it in the binary format of the second.
    Json,
    /// So many bytes in the binary format.
    Integer(u8),
    /// `numeric`, `real`, `double precision`.
    Number,
    /// Days since 2000-01-01 in the binary format.
    Date,
    /// Microseconds since 2000-01-01 in the binary format.
    Timestamp,
    /// The same, of UTC: `timestamp with time zone`, in text as the session's time zone has it.
    Instant,
    Uuid,
    /// Anything else: arrays, composite types, types of users.
    Other,
}

impl Type {
    pub(crate) const fn of(oid: u32) -> Self {
        match oid {
            // text, varchar, bpchar, name, unknown, xml
            25 | 1043 | 1042 | 19 | 705 | 142 => Self::Text,
            114 | 3802 => Self::Json,
            21 => Self::Integer(2),
            23 => Self::Integer(4),
            20 => Self::Integer(8),
            700 | 701 | 1700 => Self::Number,
            1082 => Self::Date,
            1114 => Self::Timestamp,
            1184 => Self::Instant,
            2950 => Self::Uuid,
            _ => Self::Other,
        }
    }
}

/// How values of a column travel (chapter 55.2.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Text,
    Binary,
}
