//! Records as lines for people, grouped by session.

use std::collections::HashMap;

use journal::record::{Handover, Recovered, Removed};
use store::form::credential::CredentialForm;
use store::form::event::{
    AgentStartForm, CancelForm, Event, GapForm, LossForm, OperatorForm, ProcessChangeForm, ProxyForm, RefusedForm,
    SessionCloseForm, SessionGapForm,
};
use store::form::identity::SessionText;
use store::form::mediation::{BypassForm, BypassRefusedForm, CoverageForm, IntegrityForm, MediationForm};
use store::form::session::SessionForm;
use store::line::Entry;

use super::{access, statement};
use crate::terminal::{Style, Terminal, escape, shorten};
use crate::words;

/// Sessions whose heading is remembered; beyond it the memory starts anew (headings then lack their details).
const SESSIONS_MAX: usize = 100_000;

/// Turns records into lines. Remembers who the sessions are, and where the output stands.
pub(crate) struct Renderer {
    terminal: Terminal,
    /// Only this session is shown; records of no session only while it is open.
    only: Option<SessionText>,
    only_is_open: bool,
    /// Heading of every open session.
    sessions: HashMap<SessionText, String>,
    /// The session whose heading was printed last.
    group: Option<SessionText>,
    /// The day that was printed last.
    day: String,
}

impl Renderer {
    pub(crate) fn new(terminal: Terminal) -> Self {
        Self { terminal, only: None, only_is_open: false, sessions: HashMap::new(), group: None, day: String::new() }
    }

    /// Shows one session, with what concerns the whole host while it is open.
    pub(crate) fn only(self, session: SessionText) -> Self {
        Self { only: Some(session), ..self }
    }

    /// Remembers who a session is, from a record that is not shown itself.
    pub(crate) fn introduce(&mut self, entry: &Entry) {
        let (Some(session), form) = (entry.session, &entry.event) else { return };
        match form {
            Event::SessionOpen(form) | Event::SessionChange(form) => self.remember(session, form),
            Event::SessionClose(form) => self.remember(session, &form.session),
            _ => false,
        };
    }

    /// Says of a session that the journal does not state who it is.
    pub(crate) fn not_recorded(&mut self, session: SessionText) {
        if self.sessions.len() < SESSIONS_MAX {
            self.sessions.insert(
                session,
                "(the journal does not say who it is: its beginning was removed, or never seen)".into(),
            );
        }
    }

    /// The lines of a record, each with its newline; often one, sometimes none.
    pub(crate) fn entry(&mut self, entry: &Entry) -> String {
        let mut out = String::new();
        let Some(session) = entry.session else {
            if self.only.is_none() || self.only_is_open {
                self.host_entry(entry, &mut out);
            }
            return out;
        };
        self.only_is_open = !matches!(entry.event, Event::SessionClose(_));
        match &entry.event {
            Event::SessionOpen(form) => {
                self.remember(session, form);
                let line = format!("opened  {}", opening(form));
                self.session_line(entry, session, Style::Good, &line, &mut out);
            }
            Event::SessionChange(form) => {
                // The new heading says what changed.
                if self.remember(session, form) {
                    self.group = None;
                    self.day_and_heading(entry, session, &mut out);
                }
            }
            Event::SessionClose(form) => {
                self.remember(session, &form.session);
                let (style, line) = closing(form);
                self.session_line(entry, session, style, &line, &mut out);
                self.sessions.remove(&session);
                self.group = None;
            }
            Event::Statement(form) => {
                self.day_and_heading(entry, session, &mut out);
                out.push_str(&statement::lines(form, clock(entry), self.terminal));
            }
            event => {
                if let Some((style, line)) = incident(event) {
                    self.session_line(entry, session, style, &line, &mut out);
                }
            }
        }
        out
    }

    /// A record that belongs to no session.
    fn host_entry(&mut self, entry: &Entry, out: &mut String) {
        let (style, line) = match &entry.event {
            Event::AgentStart(AgentStartForm { version, level, kernel, .. }) => {
                (Style::Good, format!("agent {version} started, capability level {level}, kernel {kernel}"))
            }
            Event::AgentStop => (Style::Warning, "agent stopped".to_owned()),
            Event::Gap(GapForm { from, to, reason }) => {
                let span = words::duration(to.0.0.saturating_sub(from.0.0) / 1000);
                let (from, to) = (words::second(*from), words::second(*to));
                (Style::Bad, format!("!! NOT OBSERVED from {from} to {to} ({span}): {reason}"))
            }
            Event::Loss(LossForm { kind, stage, count }) => {
                let what = words::count(*count, "event", "events");
                (Style::Bad, format!("!! LOST {what} of kind {kind} at stage {stage}"))
            }
            // The journal's own book-keeping.
            Event::Segment | Event::Checkpoint => return,
            Event::KeyHandover(Handover { from, to, .. }) => {
                (Style::Warning, format!("the journal's key changed from {from} to {to}"))
            }
            Event::SegmentsRemoved(Removed { through, .. }) => {
                (Style::Warning, format!("records up to number {through} are removed by retention"))
            }
            Event::Recovered(Recovered { torn_bytes, .. }) => {
                let bytes = words::count(*torn_bytes, "byte", "bytes");
                (Style::Bad, format!("!! REPAIRED: {bytes} after the last whole record were removed"))
            }
            // Nobody asked for a proxy.
            Event::Coverage(form) if form.classes.iter().all(|class| class.class == "not_guarded") => return,
            Event::Coverage(form) => coverage(form),
            Event::Credential(form) => credential(form),
            Event::BypassRefused(form) => bypass_refused(form),
            Event::Operator(OperatorForm { verb, uid }) if verb == "exec" => {
                (Style::Quiet, format!("uid {uid} began a process tree with a token (warder exec)"))
            }
            Event::Operator(OperatorForm { verb, uid }) => (Style::Quiet, format!("operator uid {uid} used: {verb}")),
            Event::Access(form) => access::line(form),
            Event::Proxy(form) => proxy(form),
            Event::Other(word) => (Style::Quiet, format!("{word} (a record type of a newer version)")),
            // Belongs to a session, but does not say to which.
            _ => (Style::Warning, "a record without its session".to_owned()),
        };
        self.day(entry, out);
        self.group = None;
        let line = format!("{}  {}", clock(entry), escape(&line));
        out.push_str(&self.terminal.paint(style, &line));
        out.push('\n');
    }

    /// A line under the heading of its session.
    fn session_line(&mut self, entry: &Entry, session: SessionText, style: Style, line: &str, out: &mut String) {
        self.day_and_heading(entry, session, out);
        let line = format!("  {}  {line}", clock(entry));
        out.push_str(&self.terminal.paint(style, &line));
        out.push('\n');
    }

    fn day_and_heading(&mut self, entry: &Entry, session: SessionText, out: &mut String) {
        self.day(entry, out);
        if self.group == Some(session) {
            return;
        }
        self.group = Some(session);
        let who = self.sessions.get(&session).map_or("(who it is was recorded earlier)", |who| who);
        let heading = format!("session {}  {who}", escape(session.cookie()));
        let heading = self.terminal.width.map_or(heading.as_str().into(), |width| shorten(&heading, width));
        out.push_str(&self.terminal.paint(Style::Heading, &heading));
        out.push('\n');
    }

    fn day(&mut self, entry: &Entry, out: &mut String) {
        let day = entry.time.to_string()[..10].to_owned();
        if day != self.day {
            out.push_str(&self.terminal.paint(Style::Quiet, &format!("--- {day} (UTC) ---")));
            out.push('\n');
            self.day = day;
            self.group = None;
        }
    }

    /// Remembers who a session is; true if that is news.
    fn remember(&mut self, session: SessionText, form: &SessionForm<'_>) -> bool {
        if self.sessions.len() >= SESSIONS_MAX {
            self.sessions.clear();
        }
        let who = who(form);
        if self.sessions.get(&session) == Some(&who) {
            return false;
        }
        self.sessions.insert(session, who);
        true
    }
}

/// `09:30:00.000250`
fn clock(entry: &Entry) -> String {
    entry.time.to_string()[11..26].to_owned()
}

/// Who a session is: `alice@shop (main)  agent report for person bob  psql[1234] uid 1000 <- bash  tls 10.0.0.7:51000`.
fn who(form: &SessionForm<'_>) -> String {
    let known = |value: &Option<std::borrow::Cow<'_, str>>| {
        value.as_deref().map_or("?".into(), |value| escape(value).into_owned())
    };
    let mut out = format!("{}@{} ({})", known(&form.user), known(&form.database), escape(&form.database_entry));
    if form.inferred {
        out.push_str(" (inferred)");
    }
    if let Some(replication) = &form.replication {
        out.push_str(&format!(" replication={}", escape(replication)));
    }
    let principal = words::principal(form);
    if !principal.is_empty() {
        out.push_str("  ");
        out.push_str(&principal);
    }
    out.push_str("  ");
    out.push_str(&match &form.client {
        Some(client) => words::lineage(client),
        None => format!("client {}", words::unknown_process(form.client_unknown.as_deref())),
    });
    out.push_str("  ");
    out.push_str(&words::transport(form));
    if let Some(name) = form.application_name.as_deref().filter(|name| !name.is_empty()) {
        out.push_str(&format!("  app \"{}\"", escape(name)));
    }
    out
}

fn opening(form: &SessionForm<'_>) -> String {
    let how = match &*form.origin {
        "opened" => "",
        "found_at_start" => "older than the agent, found at its start; ",
        "missed_open" => "its opening was missed, found by a scan; ",
        other => other,
    };
    let server = form
        .server
        .as_ref()
        .map_or(String::new(), |server| format!(", server process {}[{}]", words::program(server), server.pid));
    let address = form.server_address.as_deref().or(form.socket_path.as_deref()).unwrap_or("(address not known)");
    let way = form.mediation.as_ref().map_or_else(String::new, mediation);
    format!("{}to {}{server}{way}", escape(how), escape(address))
}

/// The proxy's part in a few words.
fn mediation(form: &MediationForm<'_>) -> String {
    let listener = match form.listener.as_deref() {
        Some("steered") => ", steered",
        Some("unix_socket") => ", Unix socket taken over",
        _ => "",
    };
    let hop = match (&form.hop, form.upstream) {
        (Some(hop), _) => format!(" by {}", escape(hop)),
        (None, Some(_)) => ", its hop was not seen".to_owned(),
        (None, None) => ", ended before it had a hop".to_owned(),
    };
    let relayed = if form.relayed { ", ciphertext relayed" } else { "" };
    format!(" through the proxy{hop}{listener}{relayed}")
}

/// A bypass in plain words.
fn bypass(form: &BypassForm<'_>) -> (Style, String) {
    let why = match &*form.reason {
        "before_steering" => "it is older than the steering",
        "unix_socket" => "it uses the server's Unix socket",
        "tcp_direct" => "it was not steered",
        "fail_open" => "no worker was alive, and the fail mode let it pass",
        "unsteered_address" => "it asked for an address that is not steered",
        other => other,
    };
    let style = if form.reason == "before_steering" { Style::Warning } else { Style::Bad };
    (style, format!("!! BYPASS: this session does not go through the proxy: {}", escape(why)))
}

/// A process that was refused.
fn bypass_refused(form: &BypassRefusedForm<'_>) -> (Style, String) {
    let (database, server) = (&form.database_entry, &form.server_address);
    let text = format!(
        "{} wanted to go past the proxy of {database}, to {server}, and was refused",
        words::lineage(&form.client)
    );
    (Style::Warning, text)
}

/// One interval of the coverage ledger.
fn coverage(form: &CoverageForm<'_>) -> (Style, String) {
    let class = |class: &store::form::mediation::ClassForm<'_>| {
        let detail = class.detail.as_deref().map_or_else(String::new, |detail| format!(" ({detail})"));
        let sessions = words::count(class.count.open, "session", "sessions");
        format!(
            "{}{detail} {sessions} open, {} new, {}",
            class.class,
            class.count.sessions,
            words::bytes(class.count.bytes)
        )
    };
    let classes: Vec<String> = form.classes.iter().map(class).collect();
    let is_bad = form.lost_events > 0 || form.classes.iter().any(|class| matches!(&*class.class, "bypass" | "unknown"));
    let style = if is_bad { Style::Warning } else { Style::Quiet };
    (style, format!("coverage of {}: {}", form.database_entry, classes.join("; ")))
}

fn closing(form: &SessionCloseForm<'_>) -> (Style, String) {
    let session = &form.session;
    let mut out = format!(
        "closed after {}: {}, {} failed, {} in, {} out",
        words::duration(form.duration_us),
        words::count(session.statements, "statement", "statements"),
        session.errors,
        words::bytes(session.received_bytes),
        words::bytes(session.sent_bytes),
    );
    out.push_str(&match session.coverage {
        Some(share) => format!(", coverage {}", words::percent(share)),
        None => ", no byte seen".into(),
    });
    if session.gaps > 0 {
        out.push_str(&format!(", {}", words::count(session.gaps, "gap", "gaps")));
    }
    if form.missed {
        out.push_str(" (its end was missed, noticed by a scan)");
    }
    let complete = session.gaps == 0 && !form.missed && session.coverage.is_none_or(|share| share >= 1.0);
    (if complete { Style::Quiet } else { Style::Warning }, out)
}

/// An error that is no statement's, not yet escaped.
fn refused(RefusedForm { by, logged_in, severity, sqlstate, message, .. }: &RefusedForm<'_>) -> String {
    let what = match (*logged_in, &**severity) {
        (false, _) => "refused",
        // Of a commit at the end of a batch, for example.
        (true, "ERROR") => "told of an error outside of a statement",
        (true, _) => "ended",
    };
    let by = if by.is_empty() { String::new() } else { format!(" by the {by}") };
    format!("{what}{by}: {severity} {sqlstate}: {message}")
}

/// Lines of the rarer records of a session.
fn incident(event: &Event) -> Option<(Style, String)> {
    Some(match event {
        Event::Cancel(CancelForm { pid, target, .. }) => {
            let target = target.map_or_else(
                || "a session that is not known".into(),
                |target| format!("session {}", escape(target.cookie())),
            );
            (Style::Warning, format!("cancel request for backend {pid}, {target}"))
        }
        Event::Request(form) => (Style::Quiet, statement::asked(form)?),
        Event::Refused(form) => (Style::Bad, escape(&refused(form)).into_owned()),
        Event::SessionGap(SessionGapForm { side, gap_bytes, reason, .. }) => {
            let bytes = gap_bytes
                .map_or_else(|| "an unknown number of bytes".into(), |bytes| words::count(bytes, "byte", "bytes"));
            (Style::Bad, escape(&format!("!! GAP: {bytes} from the {side} were not observed: {reason}")).into_owned())
        }
        Event::Bypass(form) => bypass(form),
        Event::Integrity(IntegrityForm { figure, proxy, kernel, .. }) => {
            let what = match &**figure {
                "bytes_to_server" => "bytes to the server",
                "bytes_from_server" => "bytes from the server",
                "messages_to_server" => "messages to the server",
                "messages_from_server" => "messages from the server",
                other => other,
            };
            let text = format!("!! THE WITNESSES DISAGREE on {what}: the proxy says {proxy}, the kernel {kernel}");
            (Style::Bad, escape(&text).into_owned())
        }
        Event::Credential(form) => {
            let (style, text) = credential(form);
            (style, escape(&text).into_owned())
        }
        Event::Process(form) => (Style::Quiet, process_change(form)),
        Event::Other(word) => (Style::Quiet, format!("{} (a record type of a newer version)", escape(word))),
        _ => return None,
    })
}

/// What became of an access: of a role that was made for one session, or of a session without one. Not escaped yet.
fn credential(form: &CredentialForm<'_>) -> (Style, String) {
    let group = form.group.as_deref().unwrap_or_default();
    let because = form.end.as_ref().map(|end| format!(": {}", end.replace('_', " "))).unwrap_or_default();
    let detail = form.detail.as_ref().map(|detail| format!(" ({detail})")).unwrap_or_default();
    let taken = form.latency_us.map(|micros| format!(" after {:.1} ms", micros as f64 / 1e3)).unwrap_or_default();
    let confirmed = match form.confirmation.as_deref() {
        Some("kernel" | "iterator") => format!("; the kernel saw its session end{taken}"),
        Some("unseen") => "; NOBODY SAW ITS SESSION END".to_owned(),
        _ => String::new(),
    };
    let Some(role) = &form.role else {
        let who = form.principal.as_ref().map_or("somebody", |principal| &principal.actor.id);
        return match &*form.step {
            "ending" => (Style::Warning, format!("access of {who} ends{because}{detail}")),
            "ended" => (Style::Quiet, format!("access of {who} has ended{because}{confirmed}{detail}")),
            step => (Style::Quiet, format!("access of {who}: {step}{detail}")),
        };
    };
    match &*form.step {
        "minting" => (Style::Quiet, format!("role {role} is made, with the rights of {group}")),
        "failed" => (Style::Warning, format!("role {role} could not be made{detail}")),
        "ending" => (Style::Warning, format!("access through role {role} ends{because}{detail}")),
        "ended" => (Style::Quiet, format!("role {role} is gone{because}{confirmed}{detail}")),
        "stuck" => (Style::Bad, format!("!! ROLE {role} COULD NOT BE TAKEN AWAY{detail}")),
        "orphan" => (Style::Bad, format!("!! ORPHAN: role {role} was needed by nobody{detail}")),
        step => (Style::Quiet, format!("role {role}: {step}{detail}")),
    }
}

fn process_change(form: &ProcessChangeForm<'_>) -> String {
    let process = form.process.as_ref().map_or_else(|| format!("[{}]", form.pid), words::lineage);
    match &*form.change {
        "exec" => format!("process {} now executes {process}", form.pid),
        "fork" => format!("process {} forked: {process} may hold this session too", form.pid),
        "exit" => format!("process {} ended", form.pid),
        other => format!("process {}: {}", form.pid, escape(other)),
    }
}

/// What happened to the proxy itself.
fn proxy(form: &ProxyForm<'_>) -> (Style, String) {
    let database = form.database_entry.as_deref().unwrap_or("a database");
    let (style, text) = match &*form.event {
        "worker_ended" => {
            let number = form.worker.map_or(String::new(), |number| format!(" {number}"));
            (Style::Warning, format!("proxy worker{number} ended and is started again"))
        }
        "steered" => (Style::Quiet, format!("connections to {database} are steered to the proxy")),
        "not_steered" => (Style::Quiet, format!("connections to {database} are not steered any more")),
        "steering_lost" => {
            (Style::Warning, format!("connections to {database} are not steered although they should be"))
        }
        "socket_taken" => (Style::Quiet, format!("the Unix socket of {database} is taken over")),
        "socket_given_back" => (Style::Quiet, format!("the Unix socket of {database} is the server's again")),
        "socket_retaken" => {
            (Style::Warning, format!("the Unix socket of {database} was made anew and is taken over again"))
        }
        other => (Style::Quiet, format!("proxy: {other}")),
    };
    let detail = form.detail.as_deref().map_or(String::new(), |detail| format!(": {detail}"));
    (style, text + &detail)
}
