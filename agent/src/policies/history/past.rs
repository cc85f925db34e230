//! A session as the journal tells it: who was on it, from where, and what its statements have changed.

use std::net::SocketAddr;
use std::sync::Arc;

use model::Known;
use model::facts::{Effect, Facts, Name, Object};
use model::principal::{Actor, Principal, Proof, UnknownPrincipal};
use model::time::WallTime;
use model::verdict::Mode;
use policy::{ProcessContext, SessionContext, Transport, UtcOffset};
use sql::session::Session as Tracker;
use sql::state::State;
use store::form::judgement::EffectForm;
use store::form::principal::{ActorForm, PrincipalForm};
use store::form::process::ProcessForm;
use store::form::session::SessionForm;
use store::form::statement::StatementForm;

use super::kind;
use super::tally::Undecidable;

/// What policies call the place of a database.
#[derive(Clone, Debug, Default)]
pub struct Place {
    /// Its environment.
    pub environment: Arc<str>,
    /// The time zone of its policies.
    pub utc_offset: UtcOffset,
}

/// A session of the journal.
pub(super) struct Past {
    pub(super) opened: WallTime,
    pub(super) opening_is_decided: bool,
    pub(super) database_entry: Arc<str>,
    /// `mediated`, `bypass`, ...; empty: not known.
    pub(super) class: Arc<str>,
    pub(super) principal: Known<Principal, UnknownPrincipal>,
    pub(super) session: SessionContext,
    pub(super) has_login: bool,
    pub(super) replication: bool,
    tracker: Tracker,
}

impl Past {
    /// A session of which this is the first record.
    pub(super) fn new(form: &SessionForm<'_>, opened: WallTime, place: Place) -> Self {
        let session = SessionContext {
            database_name: Arc::from(&*form.database_entry),
            environment: place.environment,
            // What a refusal would have led to is another question.
            mode: Mode::Enforce,
            database: Arc::default(),
            user: Arc::default(),
            application: Arc::default(),
            transport: if form.transport == "unix" { Transport::Unix } else { Transport::Tcp },
            encrypted: false,
            client_address: None,
            process: None,
            in_transaction: false,
            utc_offset: place.utc_offset,
        };
        let mut past = Self {
            opened,
            opening_is_decided: false,
            database_entry: Arc::from(&*form.database_entry),
            class: Arc::default(),
            principal: Known::Unknown(UnknownPrincipal::NotAsked),
            session,
            has_login: false,
            replication: false,
            tracker: Tracker::new(State::new(Arc::default())),
        };
        past.learn(form);
        past
    }

    /// A later record says more, or something else.
    pub(super) fn learn(&mut self, form: &SessionForm<'_>) {
        let text = |text: &Option<std::borrow::Cow<'_, str>>| text.as_deref().map(Arc::from);
        self.class = text(&form.class).unwrap_or_default();
        self.principal = principal(form);
        self.replication |=
            form.replication.as_deref().is_some_and(|value| !matches!(value, "" | "false" | "off" | "no" | "0"));
        let session = &mut self.session;
        session.encrypted = matches!(form.encryption.as_deref(), Some("tls" | "gss"));
        let address = form.client_address.as_deref().and_then(|address| address.parse::<SocketAddr>().ok());
        session.client_address = address.map(|address| address.ip().to_canonical());
        session.process = form.client.as_ref().map(process);
        session.application = text(&form.application_name).unwrap_or_default();
        if let Some(user) = text(&form.user) {
            session.database = text(&form.database).unwrap_or_else(|| Arc::clone(&user));
            if !self.has_login {
                self.tracker = Tracker::new(State::new(Arc::clone(&user)));
                self.has_login = true;
            }
            session.user = user;
        }
    }

    pub(super) const fn state(&self) -> &State {
        self.tracker.state()
    }

    /// Follows what a statement has changed.
    pub(super) fn follow(&mut self, form: &StatementForm<'_>, facts: Option<&Facts>) {
        let is_open = |state: &Option<std::borrow::Cow<'_, str>>| matches!(state.as_deref(), Some("open" | "failed"));
        if is_open(&form.transaction_before) {
            self.tracker.begin();
        }
        let has_failed = form.outcomes.iter().any(|outcome| outcome.sqlstate.is_some());
        if form.ending == "answered" && !has_failed {
            let changes = facts.into_iter().flat_map(|facts| &facts.statements).flat_map(|facts| &facts.changes);
            changes.for_each(|change| self.tracker.apply(change));
        }
        if !is_open(&form.transaction_after) {
            let rolled_back =
                has_failed || form.outcomes.iter().any(|outcome| outcome.tag.as_deref() == Some("ROLLBACK"));
            if rolled_back { self.tracker.rollback() } else { self.tracker.commit() }
        }
    }
}

/// The whole text of a statement, if the journal has it as it was said.
pub(super) fn text<'a>(form: &'a StatementForm<'_>) -> Result<&'a str, Undecidable> {
    match &form.text {
        Some(_) if form.redacted => Err(Undecidable::Redacted),
        Some(_) if form.text_bytes.is_some() => Err(Undecidable::Truncated),
        Some(text) => Ok(text),
        None => Err(Undecidable::TextLost),
    }
}

/// The facts with the schemas that were known when it was decided about: the catalogue of that day is not here.
pub(super) fn with_recorded_names(facts: Arc<Facts>, recorded: &[EffectForm<'_>]) -> Arc<Facts> {
    if recorded.is_empty() {
        return facts;
    }
    let mut facts = Facts::clone(&facts);
    for effect in facts.statements.iter_mut().flat_map(|statement| &mut statement.effects) {
        if let Some((kind, name)) = named(effect)
            && name.schema.known().is_none()
            && let Some(schema) = recorded_schema(recorded, kind, &name.name)
        {
            name.schema = Known::Known(schema);
        }
    }
    Arc::new(facts)
}

fn named(effect: &mut Effect) -> Option<(&'static str, &mut Name)> {
    match &mut effect.object {
        Object::Relation(name) => Some(("relation", name)),
        Object::Function(name) => Some(("function", name)),
        _ => None,
    }
}

/// The one schema in which a name was found; `None`: in none, or in several.
fn recorded_schema(recorded: &[EffectForm<'_>], kind: &str, name: &str) -> Option<Arc<str>> {
    let same = recorded.iter().filter(|effect| effect.object == kind && effect.name.as_deref() == Some(name));
    let mut schemas = same.map(|effect| effect.schema.as_deref());
    let first = schemas.next()??;
    schemas.all(|schema| schema == Some(first)).then(|| Arc::from(first))
}

fn principal(form: &SessionForm<'_>) -> Known<Principal, UnknownPrincipal> {
    let unknown = || {
        let word = form.principal_unknown.as_deref();
        UnknownPrincipal::ALL.iter().copied().find(|reason| Some(reason.word()) == word)
    };
    match form.principal.as_ref().and_then(known_principal) {
        Some(principal) => Known::Known(principal),
        None => Known::Unknown(unknown().unwrap_or(UnknownPrincipal::NotAsked)),
    }
}

fn known_principal(form: &PrincipalForm<'_>) -> Option<Principal> {
    let proof = Proof::ALL.iter().copied().find(|proof| proof.word() == form.proof)?;
    Some(Principal {
        actor: actor(&form.actor)?,
        groups: form.groups.iter().map(|group| Arc::from(&**group)).collect(),
        acting_for: form.acting_for.iter().map(actor).collect::<Option<_>>()?,
        proof,
        expires: form.expires.map(|expires| expires.0),
        purpose: form.purpose.as_deref().map(Arc::from),
    })
}

fn actor(form: &ActorForm<'_>) -> Option<Actor> {
    Some(Actor { kind: kind(&form.kind)?, id: Arc::from(&*form.id), issuer: Arc::from(&*form.issuer) })
}

/// The process as policies see it; the journal has neither the hash of its executable nor the path of its cgroup.
fn process(form: &ProcessForm<'_>) -> ProcessContext {
    let path = form.exe.as_deref().unwrap_or_default();
    // A path that leads to another file, or to none, is no identity.
    let exe = if form.exe_flags.is_empty() { path.to_owned() } else { format!("?{path}") };
    ProcessContext {
        exe: exe.into(),
        exe_sha256: None,
        uid: form.uid,
        login_uid: form.login_uid,
        cgroup: None,
        unit: None,
        ancestors: form.ancestors.iter().map(|ancestor| Arc::from(&*ancestor.name)).collect(),
        tty: form.tty.is_some(),
    }
}
