//! What a text would do, as bytes. What finds no room makes the facts opaque: they never look complete when they are not.

use std::sync::Arc;

use model::Known;
use model::facts::{
    Action, Columns, Condition, Effect, Facts, Name, Object, OpaqueReason, StateChange, StatementFacts, UnknownSchema,
};

use crate::codec::{List, Reader, Writer};

/// Statements inside of statements (PREPARE); PostgreSQL's grammar has one.
const DEPTH_MAX: u8 = 2;
/// What comes behind the items of a list: its end, and other lists' ends.
const TAIL_BYTES: usize = 64;

impl Writer<'_> {
    /// Writes at most up to byte `until` of the record.
    pub(crate) fn facts(&mut self, facts: &Facts, until: usize) {
        let Facts { statements, opaque } = facts;
        self.option(*opaque, |out, reason| out.word(OpaqueReason::ALL, reason));
        let until = until.saturating_sub(TAIL_BYTES);
        self.list(until, statements.iter(), |out, statement| out.statement(statement, until, DEPTH_MAX));
    }

    fn statement(&mut self, facts: &StatementFacts, until: usize, depth: u8) {
        let StatementFacts { command, effects, limit, changes, opaque, lineage: _ } = facts;
        let until = until.saturating_sub(TAIL_BYTES);
        self.text(command);
        self.option(*limit, Self::number);
        self.list(until, effects.iter(), Self::effect);
        match depth.checked_sub(1) {
            Some(depth) => self.list(until, changes.iter(), |out, change| out.change(change, until, depth)),
            None => self.list(0, changes.iter(), |_, _| {}),
        }
        self.list(until + TAIL_BYTES / 2, opaque.iter(), |out, reason| out.word(OpaqueReason::ALL, *reason));
    }

    fn effect(&mut self, effect: &Effect) {
        let Effect { action, object, columns, condition } = effect;
        self.word(Action::ALL, *action);
        self.object(object);
        self.columns(columns);
        self.word(Condition::ALL, *condition);
    }

    fn object(&mut self, object: &Object) {
        match object {
            Object::Relation(name) => self.tagged(0, |out| out.name(name)),
            Object::Function(name) => self.tagged(1, |out| out.name(name)),
            Object::Schema(name) => self.tagged(2, |out| out.text(name)),
            Object::Role(name) => self.tagged(3, |out| out.optional_text(name)),
            Object::Parameter(name) => self.tagged(4, |out| out.optional_text(name)),
            Object::Session(name) => self.tagged(5, |out| out.optional_text(name)),
            Object::Other { kind, name } => self.tagged(6, |out| {
                out.text(kind);
                out.option(name.as_ref(), Self::name);
            }),
            Object::Server => self.byte(7),
        }
    }

    fn name(&mut self, name: &Name) {
        match &name.schema {
            Known::Known(schema) => self.tagged(0, |out| out.text(schema)),
            Known::Unknown(reason) => self.tagged(1, |out| out.word(UnknownSchema::ALL, *reason)),
        }
        self.text(&name.name);
    }

    fn columns(&mut self, columns: &Columns) {
        match columns {
            Columns::None => self.byte(0),
            Columns::All => self.byte(1),
            Columns::Named(names) => {
                self.tagged(2, |out| out.list(usize::MAX, names.iter(), |out, name| out.text(name)))
            }
            Columns::Unknown => self.byte(3),
        }
    }

    fn change(&mut self, change: &StateChange, until: usize, depth: u8) {
        match change {
            StateChange::Parameter { name, value, local } => self.tagged(0, |out| {
                out.text(name);
                out.optional_text(value);
                out.byte(u8::from(*local));
            }),
            StateChange::ResetAll => self.byte(1),
            StateChange::DiscardAll => self.byte(2),
            StateChange::Role => self.byte(3),
            StateChange::Prepared { name, facts } => self.tagged(4, |out| {
                out.text(name);
                out.statement(facts, until, depth);
            }),
            StateChange::Executes { name } => self.tagged(5, |out| out.text(name)),
            StateChange::Deallocated { name } => self.tagged(6, |out| out.optional_text(name)),
            StateChange::Begin => self.byte(7),
            StateChange::End => self.byte(8),
            StateChange::RolledBackTo => self.byte(9),
            StateChange::Catalogue => self.byte(10),
            StateChange::Temporary { name } => self.tagged(11, |out| out.optional_text(name)),
            StateChange::Functions => self.byte(12),
            StateChange::Relation { name, made_in } => self.tagged(13, |out| {
                out.text(name);
                out.optional_text(made_in);
            }),
        }
    }

    fn tagged(&mut self, tag: u8, write: impl FnOnce(&mut Self)) {
        self.byte(tag);
        write(self);
    }

    fn optional_text(&mut self, text: &Option<Arc<str>>) {
        self.option(text.as_deref(), Self::text);
    }
}

impl Reader<'_> {
    pub(crate) fn facts(&mut self) -> Option<Facts> {
        let opaque = self.option(|input| input.word(OpaqueReason::ALL))?;
        let List { items: mut statements, dropped } = self.list(|input| input.statement(DEPTH_MAX))?;
        let mut facts = Facts { opaque, statements: Vec::new() };
        if dropped > 0 {
            match statements.last_mut() {
                Some(last) => mark_too_large(&mut last.opaque),
                None => facts.opaque = Some(OpaqueReason::TooLarge),
            }
        }
        facts.statements = statements;
        Some(facts)
    }

    fn statement(&mut self, depth: u8) -> Option<StatementFacts> {
        let command = self.text()?;
        let limit = self.option(Self::number)?;
        let effects = self.list(Self::effect)?;
        let changes = self.list(|input| input.change(depth.checked_sub(1)?))?;
        let List { items: mut opaque, dropped } = self.list(|input| input.word(OpaqueReason::ALL))?;
        if effects.dropped > 0 || changes.dropped > 0 || dropped > 0 {
            mark_too_large(&mut opaque);
        }
        Some(StatementFacts { command, effects: effects.items, limit, changes: changes.items, opaque, lineage: None })
    }

    fn effect(&mut self) -> Option<Effect> {
        Some(Effect {
            action: self.word(Action::ALL)?,
            object: self.object()?,
            columns: self.columns()?,
            condition: self.word(Condition::ALL)?,
        })
    }

    fn object(&mut self) -> Option<Object> {
        Some(match self.byte()? {
            0 => Object::Relation(self.name()?),
            1 => Object::Function(self.name()?),
            2 => Object::Schema(self.text()?),
            3 => Object::Role(self.option(Self::text)?),
            4 => Object::Parameter(self.option(Self::text)?),
            5 => Object::Session(self.option(Self::text)?),
            6 => Object::Other { kind: self.text()?, name: self.option(Self::name)? },
            7 => Object::Server,
            _ => return None,
        })
    }

    fn name(&mut self) -> Option<Name> {
        let schema = match self.byte()? {
            0 => Known::Known(self.text()?),
            1 => Known::Unknown(self.word(UnknownSchema::ALL)?),
            _ => return None,
        };
        Some(Name { schema, name: self.text()? })
    }

    fn columns(&mut self) -> Option<Columns> {
        Some(match self.byte()? {
            0 => Columns::None,
            1 => Columns::All,
            2 => Columns::Named(self.list(Self::text)?.items),
            3 => Columns::Unknown,
            _ => return None,
        })
    }

    fn change(&mut self, depth: u8) -> Option<StateChange> {
        Some(match self.byte()? {
            0 => StateChange::Parameter { name: self.text()?, value: self.option(Self::text)?, local: self.flag()? },
            1 => StateChange::ResetAll,
            2 => StateChange::DiscardAll,
            3 => StateChange::Role,
            4 => StateChange::Prepared { name: self.text()?, facts: Arc::new(self.statement(depth)?) },
            5 => StateChange::Executes { name: self.text()? },
            6 => StateChange::Deallocated { name: self.option(Self::text)? },
            7 => StateChange::Begin,
            8 => StateChange::End,
            9 => StateChange::RolledBackTo,
            10 => StateChange::Catalogue,
            11 => StateChange::Temporary { name: self.option(Self::text)? },
            12 => StateChange::Functions,
            13 => StateChange::Relation { name: self.text()?, made_in: self.option(Self::text)? },
            _ => return None,
        })
    }
}

fn mark_too_large(opaque: &mut Vec<OpaqueReason>) {
    if !opaque.contains(&OpaqueReason::TooLarge) {
        opaque.push(OpaqueReason::TooLarge);
    }
}
