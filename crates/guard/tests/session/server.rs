//! A server as far as the guard can tell: names, the rule that an error skips to the next Sync, transactions, and what
//! reached it. The real one is used by the end-to-end tests.

use std::collections::HashSet;

use crate::wire::{append, messages, text};

#[derive(Default)]
pub(crate) struct Server {
    bytes: Vec<u8>,
    statements: HashSet<String>,
    portals: std::collections::HashMap<String, String>,
    texts: std::collections::HashMap<String, String>,
    skipping: bool,
    copying: bool,
    /// The data are not what the table takes.
    copying_nonsense: bool,
    block: bool,
    failed: bool,
    /// A function has set another search path; it is gone with its transaction.
    moved: bool,
    moved_before: bool,
    moved_at_savepoint: bool,
    /// Names of its temporary objects.
    temporary: Vec<String>,
    temporary_at_savepoint: Vec<String>,
    /// `standard_conforming_strings`.
    strings: Strings,
    /// It takes simple queries only.
    pub(crate) replication: bool,
    /// How often it was asked for its search path.
    pub(crate) asked: usize,
    /// SQL that was executed, in order; what a failed transaction undid is taken out again.
    pub(crate) ran: Vec<String>,
    /// How often anything ran, and how often a DELETE, whatever became of it.
    pub(crate) runs: usize,
    pub(crate) deletes: usize,
    /// Where the open transaction began in it.
    begun: usize,
}

/// A parameter that is reported with ReadyForQuery.
struct Strings {
    now: &'static str,
    /// Without what is local to the transaction.
    lasting: &'static str,
    /// What a rollback makes of it.
    before: &'static str,
    reported: &'static str,
}

impl Default for Strings {
    fn default() -> Self {
        Self { now: "on", lasting: "on", before: "on", reported: "on" }
    }
}

impl Server {
    /// A WAL sender.
    pub(crate) fn of_replication() -> Self {
        Self { replication: true, ..Self::default() }
    }

    /// What a server says when a client has logged in.
    pub(crate) fn greeting() -> Vec<u8> {
        let mut out = Vec::new();
        append(&mut out, b'R', &0_u32.to_be_bytes());
        append(&mut out, b'S', b"client_encoding\0UTF8\0");
        append(&mut out, b'K', &[0, 0, 0, 1, 0, 0, 0, 2]);
        append(&mut out, b'Z', b"I");
        out
    }

    /// Takes what a client sends, and answers.
    pub(crate) fn take(&mut self, bytes: &[u8]) -> Vec<u8> {
        self.bytes.extend_from_slice(bytes);
        let (whole, rest) = messages(&self.bytes);
        self.bytes = rest;
        let mut out = Vec::new();
        for (kind, body) in whole {
            self.message(kind, &body, &mut out);
        }
        out
    }

    fn message(&mut self, kind: u8, body: &[u8], out: &mut Vec<u8>) {
        if self.skipping && kind != b'S' {
            return;
        }
        if self.copying {
            // A Sync means nothing in the middle of COPY data.
            if kind == b'd' && self.copying_nonsense {
                (self.copying, self.skipping) = (false, true);
                self.fail("invalid input", out);
            } else if kind == b'c' {
                self.copying = false;
                append(out, b'C', b"COPY 1\0");
            }
            return;
        }
        match kind {
            b'P' | b'B' | b'E' | b'C' | b'D' if self.replication => {
                self.fail("extended query protocol not supported in a replication connection", out);
                self.skipping = true;
            }
            b'Q' => {
                self.run(&text(body, 0), out);
                self.ready(out);
            }
            b'P' => {
                self.texts.insert(text(body, 0), text(body, 1));
                self.statements.insert(text(body, 0));
                append(out, b'1', &[]);
            }
            b'B' => match self.texts.get(&text(body, 1)).cloned() {
                Some(sql) => {
                    self.portals.insert(text(body, 0), sql);
                    append(out, b'2', &[]);
                }
                None => self.fail(&format!("prepared statement \"{}\" does not exist", text(body, 1)), out),
            },
            b'E' => match self.portals.get(&text(body, 0)).cloned() {
                Some(sql) => self.run(&sql, out),
                None => self.fail("portal does not exist", out),
            },
            b'C' => append(out, b'3', &[]),
            b'D' => append(out, b'n', &[]),
            b'S' => {
                self.skipping = false;
                self.ready(out);
            }
            _ => {}
        }
        self.skipping |= kind != b'Q' && out.ends_with(b"\0\0") && self.failed_now(out);
    }

    fn failed_now(&self, out: &[u8]) -> bool {
        messages(out).0.last().is_some_and(|(kind, _)| *kind == b'E')
    }

    fn run(&mut self, sql: &str, out: &mut Vec<u8>) {
        if sql.contains("current_schemas") {
            self.asked += 1;
            let schema = if self.moved { "vault" } else { "public" };
            let temporary = (!self.temporary.is_empty()).then_some("pg_temp_3");
            let known = [self.strings.now, "UTF8", "true"];
            return rows(known.into_iter().chain(temporary).chain(["pg_catalog", schema]), out);
        }
        if sql.contains("pg_my_temp_schema") {
            return rows([""].into_iter().chain(self.temporary.iter().map(String::as_str)), out);
        }
        if self.failed && !sql.starts_with("rollback") {
            return self.fail("current transaction is aborted", out);
        }
        match sql {
            "begin" => {
                (self.block, self.begun, self.moved_before) = (true, self.ran.len(), self.moved);
                self.strings.before = self.strings.lasting;
            }
            "set standard_conforming_strings = off" | "reset all" | "select app.off()" => {
                (self.strings.now, self.strings.lasting) = ("off", "off");
            }
            "set local standard_conforming_strings = off" => self.strings.now = "off",
            "select app.move()" => {
                self.moved = true;
                self.ran.push(sql.to_owned());
            }
            "rollback" => {
                self.moved = self.moved_before;
                self.strings.lasting = self.strings.before;
                self.strings.now = self.strings.lasting;
                self.ran.truncate(self.begun);
                (self.block, self.failed) = (false, false);
            }
            "commit" => (self.block, self.strings.now) = (false, self.strings.lasting),
            "savepoint s" => {
                self.moved_at_savepoint = self.moved;
                self.temporary_at_savepoint = self.temporary.clone();
            }
            "rollback to s" => {
                (self.failed, self.moved) = (false, self.moved_at_savepoint);
                self.temporary = self.temporary_at_savepoint.clone();
            }
            "discard temporary" => self.temporary.clear(),
            sql if sql.starts_with("copy ") => {
                self.ran.push(sql.to_owned());
                (self.copying, self.copying_nonsense) = (true, sql.contains("nonsense"));
                return append(out, b'G', &[0, 0, 0]);
            }
            sql if sql.contains("fails") => return self.fail("it fails", out),
            sql => {
                self.temporary.extend(sql.split_once("pg_temp.").map(|(_, name)| name[..1].to_owned()));
                if sql == "select app.many()" {
                    self.temporary.extend((0..3000).map(|number| format!("n{number}")));
                }
                self.runs += 1;
                self.deletes += usize::from(sql.contains("delete"));
                self.ran.push(sql.to_owned());
            }
        }
        append(out, b'C', format!("{}\0", sql.to_uppercase()).as_bytes());
    }

    fn fail(&mut self, message: &str, out: &mut Vec<u8>) {
        if self.block {
            self.failed = true;
        } else {
            self.ran.truncate(self.begun);
        }
        append(out, b'E', format!("SERROR\0VERROR\0C26000\0M{message}\0\0").as_bytes());
    }

    fn ready(&mut self, out: &mut Vec<u8>) {
        let status = match (self.block, self.failed) {
            (false, _) => b'I',
            (true, false) => b'T',
            (true, true) => b'E',
        };
        if !self.block {
            self.begun = self.ran.len();
            self.strings.now = self.strings.lasting;
        }
        if self.strings.now != self.strings.reported {
            self.strings.reported = self.strings.now;
            append(out, b'S', format!("standard_conforming_strings\0{}\0", self.strings.now).as_bytes());
        }
        append(out, b'Z', &[status]);
    }
}

/// A result with one column.
fn rows<'a>(values: impl Iterator<Item = &'a str>, out: &mut Vec<u8>) {
    let mut count = 0;
    for value in values {
        let mut row = vec![0, 1];
        row.extend_from_slice(&u32::try_from(value.len()).unwrap().to_be_bytes());
        row.extend_from_slice(value.as_bytes());
        append(out, b'D', &row);
        count += 1;
    }
    append(out, b'C', format!("SELECT {count}\0").as_bytes());
}
