//! When the next message's turn is: a decision is never about a meaning that only may be right, so what it depends on is
//! answered before, and what cannot be followed is asked of the server.

use std::hash::{BuildHasher as _, RandomState};

use model::time::BootTime;

use super::{Guard, Passed};
use crate::cycle::Cycle;
use crate::following::Question;
use crate::message;

/// How texts are read, whether [`TEMPORARY`] can be asked, and schemas in the order in which names are looked up in them.
const NAMES: &str = "select pg_catalog.unnest(pg_catalog.array_cat(array[\
    pg_catalog.current_setting('standard_conforming_strings'), pg_catalog.current_setting('client_encoding'), \
    (pg_catalog.has_table_privilege('pg_catalog.pg_class', 'select') \
    and pg_catalog.has_table_privilege('pg_catalog.pg_type', 'select') \
    and pg_catalog.has_table_privilege('pg_catalog.pg_depend', 'select'))::pg_catalog.text], \
    pg_catalog.current_schemas(true)::pg_catalog.text[]))";

/// Names of temporary relations and types: of all temporary objects only these are found without their schema (manual,
/// 20.11.1, `search_path`). By what depends on the schema, for which there is an index; and types that come with others.
/// The empty name says that it is an answer.
const TEMPORARY: &str = "with held as (select classid, objid from pg_catalog.pg_depend \
    where refclassid operator(pg_catalog.=) 'pg_catalog.pg_namespace'::pg_catalog.regclass \
    and refobjid operator(pg_catalog.=) (select pg_catalog.pg_my_temp_schema())), \
    relations as (select relname, reltype from pg_catalog.pg_class where oid operator(pg_catalog.=) any (array(\
    select objid from held where classid operator(pg_catalog.=) 'pg_catalog.pg_class'::pg_catalog.regclass))), \
    types as (select typname, typarray from pg_catalog.pg_type where oid operator(pg_catalog.=) any (array(\
    select reltype from relations union all \
    select objid from held where classid operator(pg_catalog.=) 'pg_catalog.pg_type'::pg_catalog.regclass))) \
    select ''::pg_catalog.text union all select relname::pg_catalog.text from relations union all \
    select typname::pg_catalog.text from types union all \
    select typname::pg_catalog.text from pg_catalog.pg_type where oid operator(pg_catalog.=) any (array(\
    select typarray from types)) limit 4096";

impl Guard {
    /// Whether the next message can be judged now. If the server must be asked something before, it is.
    pub(super) fn may_take(&mut self, kind: u8, passed: &mut Passed) -> bool {
        if !self.desk.logged_in {
            return kind == b'p' || kind == b'X';
        }
        if !matches!(kind, b'Q' | b'F' | b'P' | b'B' | b'E' | b'D' | b'C' | b'S') {
            return true;
        }
        if !self.connection.has_room() {
            self.flush(passed);
            return false;
        }
        if self.desk.dropping || kind == b'S' {
            return true;
        }
        if self.desk.cycles.is_open() {
            return self.may_take_inside(kind, passed);
        }
        // A cancel request reaches whatever runs when it arrives, so nothing runs behind what it is meant for.
        if self.desk.cycles.are_bounded() || self.desk.cancel.is_under_way {
            return false;
        }
        // A Query can change names: what a batch behind it means is known once it is answered.
        let uses_names = matches!(kind, b'P' | b'B' | b'E' | b'D' | b'C');
        if self.desk.cycles.is_full()
            || self.desk.cycles.are_unsettling(uses_names)
            || (kind == b'E' && self.desk.cycles.has_waiting())
        {
            return false;
        }
        self.desk.following.reading_is_known();
        let Some(question) = self.desk.following.question() else {
            self.take_snapshot();
            return true;
        };
        if !self.may_ask() {
            return true;
        }
        if self.desk.cycles.is_quiet() {
            self.ask(question, passed);
            message::sync(&mut passed.bytes);
            self.desk.cycles.push(Cycle { own: true, unsettling: true, ..Cycle::default() });
        }
        false
    }

    /// What the session has changed may be in what is known of the catalogue by now.
    fn take_snapshot(&mut self) {
        if !self.desk.cycles.has_waiting()
            && let Some(read_at) = self.bench.read_at(&self.around.session.database)
        {
            self.desk.following.snapshot_taken(read_at);
        }
    }

    /// Whether something that this session has changed is not in what is known of the catalogue, and will be in a moment.
    pub(super) fn is_behind(&mut self, at: BootTime) -> bool {
        self.take_snapshot();
        !self.desk.cycles.is_open()
            && !self.desk.cycles.has_waiting()
            && self.bench.read_at(&self.around.session.database).is_some()
            && self.desk.following.is_behind(at)
    }

    /// A message waits for a newer snapshot of the catalogue: [`Guard::client`] is to be called now and then.
    #[must_use]
    pub const fn awaits_catalogue(&self) -> bool {
        self.postponed.is_some()
    }

    /// Whether the server can be asked something without a trace: behind the first statement of a transaction, and before
    /// it has failed.
    const fn may_ask(&self) -> bool {
        let is_traceless =
            !self.around.session.in_transaction || (self.desk.following.has_run_code && !self.desk.has_failed);
        is_traceless && !self.replication
    }

    /// The same inside of a batch, which has no Sync yet. The server answers when it is told to, so that it can be known
    /// what a statement of the batch did. A Query must know whether the batch has failed: then the server skips it.
    fn may_take_inside(&mut self, kind: u8, passed: &mut Passed) -> bool {
        if self.desk.asks_inside {
            return false;
        }
        let is_planned = self.desk.cycles.is_open_planned() && matches!(kind, b'P' | b'B' | b'Q' | b'F');
        let question = |guard: &Self| {
            let following = &guard.desk.following;
            following.question().filter(|_| following.has_run_code && guard.may_ask())
        };
        let waits = is_planned
            || question(self).is_some()
            || self.desk.cycles.is_open_unsettling()
            || matches!(kind, b'Q' | b'F');
        if waits && !self.connection.is_answered() {
            self.flush(passed);
            return false;
        }
        if is_planned {
            self.desk.following.code_may_have_run();
            self.desk.cycles.settle_plans();
        }
        if let Some(question) = question(self) {
            self.ask(question, passed);
            message::flush(&mut passed.bytes);
            self.desk.asks_inside = true;
            return false;
        }
        self.flushed = false;
        self.desk.cycles.settle_open();
        true
    }

    /// The question; what ends it has to follow.
    fn ask(&mut self, question: Question, passed: &mut Passed) {
        let name = self.name("asks");
        let text = match question {
            Question::Names => NAMES,
            Question::Temporary => TEMPORARY,
        };
        message::question(&name, text, &mut passed.bytes);
        passed.messages += 5;
        self.desk.asks(question);
    }

    /// Has the server answer what it has of the open batch, once.
    pub(super) fn flush(&mut self, passed: &mut Passed) {
        if self.desk.cycles.is_open() && !std::mem::replace(&mut self.flushed, true) {
            message::flush(&mut passed.bytes);
            passed.messages += 1;
        }
    }

    /// A name that no client uses: nobody can guess it, and so prepare something under it.
    pub(super) fn name(&mut self, what: &str) -> String {
        self.names += 1;
        format!("warder_{what}_{}_{:016x}", self.names, RandomState::new().hash_one(self.names))
    }
}
