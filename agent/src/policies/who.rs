//! Actors and processes as they are typed: `agent:helper,group=data-readers,for=person:alice@example.com`.

use std::sync::Arc;

use model::Known;
use model::principal::{Actor, Principal, PrincipalKind, Proof, UnknownPrincipal};
use policy::ProcessContext;

/// How an actor is written.
pub const WHO: &str = "KIND:ID[,group=NAME][,for=KIND:ID][,issuer=URL][,proof=WORD][,purpose=TEXT], KIND one of person, \
service, agent; or unknown:REASON";

/// How a process is written.
pub const PROCESS: &str = "exe=PATH[,uid=N][,login_uid=N][,unit=NAME][,cgroup=PATH][,sha256=HEX][,ancestor=PATH][,tty]";

/// The issuer of an actor of whom none is said.
const ISSUER: &str = "https://login.example.com";

/// Reads who acts.
///
/// # Errors
/// What is wrong, and how it is written.
pub fn principal(text: &str) -> Result<Known<Principal, UnknownPrincipal>, String> {
    let mut parts = text.split(',');
    let who = parts.next().unwrap_or_default();
    if let Some(reason) = who.strip_prefix("unknown:") {
        let reason = UnknownPrincipal::ALL.iter().find(|known| known.word() == reason);
        let words = UnknownPrincipal::ALL.iter().map(|known| known.word()).collect::<Vec<_>>().join(", ");
        return reason.map(|reason| Known::Unknown(*reason)).ok_or_else(|| format!("unknown: must be one of {words}"));
    }
    let mut principal = Principal {
        actor: actor(who, ISSUER)?,
        groups: Arc::default(),
        acting_for: Vec::new(),
        proof: Proof::Token,
        expires: None,
        purpose: None,
    };
    let mut groups = Vec::new();
    for part in parts {
        match part.split_once('=') {
            Some(("group", name)) => groups.push(Arc::from(name)),
            Some(("for", who)) => principal.acting_for.push(actor(who, ISSUER)?),
            Some(("issuer", issuer)) => principal.actor.issuer = issuer.into(),
            Some(("proof", word)) => principal.proof = proof(word)?,
            Some(("purpose", text)) => principal.purpose = Some(text.into()),
            _ => return Err(format!("{part:?} is not understood: {WHO}")),
        }
    }
    groups.sort();
    groups.dedup();
    principal.groups = groups.into();
    Ok(Known::Known(principal))
}

fn actor(text: &str, issuer: &str) -> Result<Actor, String> {
    let (kind, id) = text.split_once(':').ok_or_else(|| format!("{text:?} is no actor: {WHO}"))?;
    let kind = PrincipalKind::ALL.iter().find(|known| known.word() == kind);
    match kind {
        Some(kind) if !id.is_empty() => Ok(Actor { kind: *kind, id: id.into(), issuer: issuer.into() }),
        _ => Err(format!("{text:?} is no actor: {WHO}")),
    }
}

fn proof(word: &str) -> Result<Proof, String> {
    let proof = Proof::ALL.iter().find(|known| known.word() == word).copied();
    let words = || Proof::ALL.iter().map(|known| known.word()).collect::<Vec<_>>().join(", ");
    proof.ok_or_else(|| format!("proof= must be one of {}", words()))
}

/// Reads a process.
///
/// # Errors
/// What is wrong, and how it is written.
pub fn process(text: &str) -> Result<ProcessContext, String> {
    let mut process = ProcessContext {
        exe: Arc::default(),
        exe_sha256: None,
        uid: 0,
        login_uid: None,
        cgroup: None,
        unit: None,
        ancestors: Vec::new(),
        tty: false,
    };
    for part in text.split(',') {
        match part.split_once('=') {
            Some(("exe", path)) => process.exe = path.into(),
            Some(("uid", uid)) => process.uid = number(uid)?,
            Some(("login_uid", uid)) => process.login_uid = Some(number(uid)?),
            Some(("unit", name)) => process.unit = Some(name.into()),
            Some(("cgroup", path)) => process.cgroup = Some(path.into()),
            Some(("sha256", hash)) => process.exe_sha256 = Some(sha256(hash)?),
            Some(("ancestor", path)) => process.ancestors.push(path.into()),
            None if part == "tty" => process.tty = true,
            _ => return Err(format!("{part:?} is not understood: {PROCESS}")),
        }
    }
    if process.exe.is_empty() {
        return Err(format!("a process has an executable: {PROCESS}"));
    }
    Ok(process)
}

fn number(text: &str) -> Result<u32, String> {
    text.parse().map_err(|_not_a_number| format!("{text:?} is no user id"))
}

fn sha256(text: &str) -> Result<[u8; 32], String> {
    let digit = |at: usize| text.get(at..at.saturating_add(2)).and_then(|pair| u8::from_str_radix(pair, 16).ok());
    let bytes: Option<Vec<u8>> = (0..text.len()).step_by(2).map(digit).collect();
    bytes.and_then(|bytes| bytes.try_into().ok()).ok_or_else(|| format!("{text:?} is no SHA-256 in hexadecimal"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn actors_are_read_as_they_are_written() {
        let read =
            principal("agent:helper,group=b,group=a,group=b,for=person:alice@example.com,purpose=INC-1").unwrap();
        let principal = read.known().unwrap();
        assert_eq!((principal.actor.kind, &*principal.actor.id), (PrincipalKind::Agent, "helper"));
        assert_eq!(principal.groups.iter().map(|group| &**group).collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(&*principal.acting_for[0].id, "alice@example.com");
        assert_eq!(principal.purpose.as_deref(), Some("INC-1"));
    }

    #[test]
    fn mistakes_are_told() {
        for text in ["", "alice", "person:", "robot:r2", "unknown:what", "person:a,groups=x", "person:a,proof=word"] {
            assert!(principal(text).is_err(), "{text}");
        }
        for text in ["", "tty", "exe=", "exe=/a,uid=-1", "exe=/a,sha256=abc", "exe=/a,pid=1"] {
            assert!(process(text).is_err(), "{text}");
        }
    }
}
