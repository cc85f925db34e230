//! How processes, transports, sizes and times are said to people. Everything returned is safe to print.

use std::time::Duration;

use store::form::access::HolderForm;
use store::form::principal::ActorForm;
use store::form::process::ProcessForm;
use store::form::session::SessionForm;
use store::time::Timestamp;

use crate::terminal::escape;

/// Name of the program that a process executes: the last part of its path, else its thread name.
#[must_use]
pub fn program(process: &ProcessForm<'_>) -> String {
    let path = process.exe.as_deref().unwrap_or_default();
    let name = path.rsplit('/').next().filter(|name| !name.is_empty()).unwrap_or(&process.name);
    escape(name).into_owned()
}

/// A process with its ancestors: `psql[1234] uid 1000 <- bash <- sshd`.
#[must_use]
pub fn lineage(process: &ProcessForm<'_>) -> String {
    let mut out = format!("{}[{}] uid {}", program(process), process.pid, process.uid);
    if let Some(login) = process.login_uid.filter(|login| *login != process.uid) {
        out.push_str(&format!(" (login uid {login})"));
    }
    for ancestor in &process.ancestors {
        out.push_str(" <- ");
        out.push_str(&escape(&ancestor.name));
    }
    out
}

/// Why a process is not known, in a few words.
#[must_use]
pub fn unknown_process(why: Option<&str>) -> String {
    match why {
        Some("remote") => "(on another host)".into(),
        Some("gone") => "(already gone)".into(),
        Some("not_seen") | None => "(not seen)".into(),
        Some(other) => format!("({})", escape(other)),
    }
}

/// Who acts, on whose behalf, and what for: `agent nightly-report for person alice@example.com ("INC-1")`; empty where
/// nobody asked.
#[must_use]
pub fn principal(session: &SessionForm<'_>) -> String {
    let actor = |actor: &ActorForm<'_>| format!("{} {}", escape(&actor.kind), escape(&actor.id));
    let Some(principal) = &session.principal else {
        return match session.principal_unknown.as_deref() {
            None | Some("not_asked") => String::new(),
            Some(why) => format!("nobody known ({})", escape(&why.replace('_', " "))),
        };
    };
    let all = std::iter::once(&principal.actor).chain(&principal.acting_for);
    let purpose =
        principal.purpose.as_deref().map_or_else(String::new, |purpose| format!(" (\"{}\")", escape(purpose)));
    all.map(actor).collect::<Vec<_>>().join(" for ") + &purpose
}

/// Whose a grant is: `helper for alice`.
#[must_use]
pub fn holder(form: &HolderForm<'_>) -> String {
    let chain = form.acting_for.iter().map(|actor| format!(" for {}", actor.id)).collect::<String>();
    format!("{}{chain}", form.actor.id)
}

/// `tcp`, `tls` or `gss` and the client's address; `unix` and the path.
#[must_use]
pub fn transport(session: &SessionForm<'_>) -> String {
    let protection = match session.encryption.as_deref() {
        Some("tls") => "tls",
        Some("gss") => "gss",
        _ => &session.transport,
    };
    let place = session.client_address.as_deref().or(session.socket_path.as_deref()).unwrap_or("-");
    format!("{} {}", escape(protection), escape(place))
}

/// A size in at most six characters: `999`, `1.5K`, `23.4M`.
#[must_use]
pub fn bytes(count: u64) -> String {
    const UNITS: [&str; 6] = ["K", "M", "G", "T", "P", "E"];
    if count < 1024 {
        return count.to_string();
    }
    let mut scaled = count as f64 / 1024.0;
    let mut unit = 0;
    while scaled >= 1023.95 && unit + 1 < UNITS.len() {
        scaled /= 1024.0;
        unit += 1;
    }
    format!("{scaled:.1}{}", UNITS[unit])
}

/// A share of one as a percentage. Only what is complete is called 100 %.
#[must_use]
pub fn percent(share: f64) -> String {
    if share >= 1.0 { "100%".into() } else { format!("{:.2}%", (share * 1e4).floor().min(9999.0) / 100.0) }
}

/// `2026-11-22 09:30:00`
#[must_use]
pub fn second(time: Timestamp) -> String {
    let text = time.to_string();
    format!("{} {}", &text[..10], &text[11..19])
}

/// A duration in the unit that fits: `250 us`, `1.20 ms`, `3.456 s`, `2 h 03 min`.
#[must_use]
pub fn duration(micros: u64) -> String {
    let seconds = Duration::from_micros(micros).as_secs_f64();
    match micros {
        0..1_000 => format!("{micros} us"),
        1_000..1_000_000 => format!("{:.2} ms", seconds * 1e3),
        1_000_000..60_000_000 => format!("{seconds:.3} s"),
        60_000_000..3_600_000_000 => format!("{} min {:02} s", micros / 60_000_000, micros / 1_000_000 % 60),
        _ => format!("{} h {:02} min", micros / 3_600_000_000, micros / 60_000_000 % 60),
    }
}

/// `1 row`, `2 rows`.
#[must_use]
pub fn count(number: u64, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_durations_read_well() {
        let sizes = [0, 1023, 1024, 1536, 1_048_575, 1 << 20, u64::MAX].map(bytes);
        assert_eq!(sizes, ["0", "1023", "1.0K", "1.5K", "1.0M", "1.0M", "16.0E"]);
        let spans = [7, 1_200, 3_456_000, 65_000_000, 7_380_000_000].map(duration);
        assert_eq!(spans, ["7 us", "1.20 ms", "3.456 s", "1 min 05 s", "2 h 03 min"]);
        assert_eq!([1.0, 0.999_999, 0.5, 0.0].map(percent), ["100%", "99.99%", "50.00%", "0.00%"]);
    }
}
