//! A client that speaks the protocol itself, in every way in which drivers ask.

use std::io::{Read, Write};

use crate::wire::{append, messages};

/// How a statement is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// One Query.
    Simple,
    /// Parse, Bind, Describe, Execute, Sync.
    Extended,
    /// Without Describe, as drivers do from the second execution on.
    Undescribed,
    /// The same with values in binary.
    Binary,
    /// Parse and Describe in one batch, Bind and Execute in others, with names, a few rows at a time.
    Portal,
    /// DECLARE and FETCH.
    Cursor,
    /// PREPARE and EXECUTE.
    Prepare,
    /// The rows of a COPY.
    Copy,
    /// The same in binary, with the extended protocol.
    CopyBinary,
}

pub(crate) const WAYS: &[Way] = &[
    Way::Simple,
    Way::Extended,
    Way::Undescribed,
    Way::Binary,
    Way::Portal,
    Way::Cursor,
    Way::Prepare,
    Way::Copy,
    Way::CopyBinary,
];

impl Way {
    /// Whether only queries can be sent so.
    pub(crate) const fn is_for_queries(self) -> bool {
        matches!(self, Self::Cursor | Self::Prepare | Self::Copy | Self::CopyBinary)
    }
}

/// What came back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) rows: Vec<Vec<Option<Vec<u8>>>>,
    pub(crate) error: Option<String>,
    /// Every byte.
    pub(crate) raw: Vec<u8>,
}

pub(crate) trait Stream: Read + Write {}
impl<T: Read + Write> Stream for T {}

/// One connection.
pub(crate) struct Client {
    stream: Box<dyn Stream>,
    /// Statements that were sent: a number for names.
    sent: usize,
    /// Between two values of a COPY.
    delimiter: u8,
}

impl Client {
    pub(crate) fn start(stream: impl Stream + 'static) -> Self {
        let mut client = Self { stream: Box::new(stream), sent: 0, delimiter: b'\t' };
        let mut packet = vec![0, 0, 0, 0, 0, 3, 0, 0];
        packet.extend_from_slice(b"user\0postgres\0database\0postgres\0\0");
        let length = u32::try_from(packet.len()).unwrap();
        packet[..4].copy_from_slice(&length.to_be_bytes());
        client.stream.write_all(&packet).unwrap();
        client.until_ready(1);
        client
    }

    /// Runs a statement.
    pub(crate) fn run(&mut self, way: Way, sql: &str) -> Answer {
        let mut out = Vec::new();
        let mut cycles = 1;
        self.sent += 1;
        self.delimiter = if sql.contains("csv") { b',' } else { b'\t' };
        match way {
            Way::Simple => append(&mut out, b'Q', format!("{sql}\0").as_bytes()),
            Way::Extended | Way::Undescribed | Way::Binary => {
                append(&mut out, b'P', format!("\0{sql}\0\0\0").as_bytes());
                let format: &[u8] = if way == Way::Binary { &[0, 0, 0, 0, 0, 0, 0, 1, 0, 1] } else { &[0; 8] };
                append(&mut out, b'B', format);
                if way == Way::Extended {
                    append(&mut out, b'D', b"P\0");
                }
                append(&mut out, b'E', &[0; 5]);
                append(&mut out, b'S', &[]);
            }
            Way::Portal => {
                append(&mut out, b'P', format!("s1\0{sql}\0\0\0").as_bytes());
                append(&mut out, b'D', b"Ss1\0");
                append(&mut out, b'S', &[]);
                append(&mut out, b'B', b"p1\0s1\0\0\0\0\0\0\0");
                append(&mut out, b'E', b"p1\0\0\0\0\x02");
                append(&mut out, b'E', b"p1\0\0\0\0\0");
                append(&mut out, b'S', &[]);
                append(&mut out, b'C', b"Ss1\0");
                append(&mut out, b'S', &[]);
                cycles = 3;
            }
            Way::Cursor => {
                cycles = queries(
                    &mut out,
                    &["begin", &format!("declare c cursor for {sql}"), "fetch all from c", "rollback"],
                );
            }
            Way::Prepare => {
                let name = format!("prepared_{}", self.sent);
                cycles = queries(&mut out, &[&format!("prepare {name} as {sql}"), &format!("execute {name}")]);
            }
            Way::Copy => append(&mut out, b'Q', format!("copy ({sql}) to stdout\0").as_bytes()),
            Way::CopyBinary => return self.run(Way::Undescribed, &format!("copy ({sql}) to stdout (format binary)")),
        }
        self.stream.write_all(&out).unwrap();
        self.until_ready(cycles)
    }

    /// Sends messages that end in so many cycles; what comes back.
    pub(crate) fn send(&mut self, messages: &[u8], cycles: usize) -> Answer {
        self.stream.write_all(messages).unwrap();
        self.until_ready(cycles)
    }

    fn until_ready(&mut self, mut cycles: usize) -> Answer {
        let mut answer = Answer::default();
        let mut left = Vec::new();
        let mut buffer = [0; 65536];
        while cycles > 0 {
            let length = self.stream.read(&mut buffer).unwrap();
            assert!(length > 0, "the connection has ended: {:?}", String::from_utf8_lossy(&answer.raw));
            answer.raw.extend_from_slice(&buffer[..length]);
            left.extend_from_slice(&buffer[..length]);
            let (whole, rest) = messages(&left);
            left = rest;
            for (kind, body) in whole {
                match kind {
                    b'Z' => cycles -= 1,
                    b'D' => answer.rows.push(values(&body)),
                    b'd' => answer.rows.extend(copied(&body, self.delimiter)),
                    b'E' if answer.error.is_none() => answer.error = Some(fields(&body)),
                    _ => {}
                }
            }
        }
        answer
    }
}

fn values(body: &[u8]) -> Vec<Option<Vec<u8>>> {
    let mut rest = &body[2..];
    let mut values = Vec::new();
    while let Some((length, behind)) = rest.split_first_chunk::<4>() {
        let value = usize::try_from(i32::from_be_bytes(*length)).ok().map(|length| behind[..length].to_vec());
        rest = &behind[value.as_ref().map_or(0, Vec::len)..];
        values.push(value);
    }
    values
}

/// One Query for each; how many.
fn queries(out: &mut Vec<u8>, texts: &[&str]) -> usize {
    texts.iter().for_each(|text| append(out, b'Q', format!("{text}\0").as_bytes()));
    texts.len()
}

/// A row of a COPY, also of a binary one.
fn copied(body: &[u8], delimiter: u8) -> Option<Vec<Option<Vec<u8>>>> {
    let begin = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
    let (row, is_first) = body.strip_prefix(begin).map_or((body, false), |row| (row, true));
    if is_first || row.first() == Some(&0) {
        return Some(values(row));
    }
    let line = row.strip_suffix(b"\n")?;
    Some(line.split(|byte| *byte == delimiter).map(|value| Some(value.to_vec())).collect())
}

fn fields(body: &[u8]) -> String {
    String::from_utf8_lossy(body).replace('\0', " | ")
}
