//! Workload attestation: rules about processes of this host.
//!
//! A rule must hold on to something that the process cannot choose for itself. Not enough are a path (anybody can mount
//! a file there in a namespace of his own), a thread name (`prctl`), and the program alone, hash and all: whoever may
//! run it can make it do anything (`LD_PRELOAD`, `ptrace`). So each rule names a user, a unit, a control group or a
//! container, and may ask for more.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Component, Path};

use model::Known;
use model::principal::{Actor, Principal, Proof};
use model::process::Process;

use crate::config::{AncestorConfig, Kind, ProcessConfig};
use crate::hashes::{FileHash, Unresolved};
use crate::mistake::{ConfigError, Mistake};
use crate::name;
use crate::place::{Container, Group, Unit};
use crate::verified::VerifiedPrincipal;

/// Most rules: each is tried for each new connection.
pub const RULES_MAX: usize = 256;
/// Who says so, in principals.
const ISSUER: &str = "process";

/// A process with what the caller has found out about it.
#[derive(Clone, Debug)]
pub struct Attested<'a> {
    /// As the kernel saw it.
    pub process: &'a Process,
    /// Hash of its executable.
    pub sha256: Known<FileHash, Unresolved>,
    /// Path of its control group from the root of the unified hierarchy, not of a namespace.
    pub cgroup: Known<&'a str, Unresolved>,
    /// The agent's mount namespace (inode number).
    pub agent_mount_namespace: u32,
}

/// Rules about processes, in order.
#[derive(Debug)]
pub struct ProcessRules {
    rules: Vec<Rule>,
}

#[derive(Debug)]
struct Rule {
    principal: VerifiedPrincipal,
    conditions: Vec<Condition>,
}

#[derive(Debug)]
enum Condition {
    Uid(u32),
    Unit(Unit),
    Group(Group),
    Container(Container),
    /// The path, where it means the same to the process and to the agent.
    Path(String),
    /// The path as the process sees it; a hash stands beside it.
    ForeignPath(String),
    Hash(FileHash),
    Ancestor {
        uid: u32,
        name: Option<String>,
    },
}

impl ProcessRules {
    /// Checks `[[identity.process]]`, and that folders of executables without a hash belong to root.
    ///
    /// # Errors
    /// The first mistake, with what to do about it.
    pub fn new(configs: &[ProcessConfig]) -> Result<Self, ConfigError> {
        let mut rules = Vec::with_capacity(configs.len());
        for config in configs {
            let at = |mistake: Mistake| mistake.at(format!("identity.process {:?}", config.id));
            if rules.len() == RULES_MAX {
                return Err(at(Mistake::new("id", format!("there are more than {RULES_MAX} rules"))));
            }
            rules.push(Rule::check(config).map_err(at)?);
        }
        Ok(Self { rules })
    }

    /// Who a process is: the first rule that matches. What is not known about it matches no condition.
    #[must_use]
    pub fn find(&self, attested: &Attested<'_>) -> Option<&VerifiedPrincipal> {
        self.rules.iter().find(|rule| rule.matches(attested)).map(|rule| &rule.principal)
    }

    /// Whether some rule asks for a hash; otherwise the caller need not read files.
    #[must_use]
    pub fn ask_for_hashes(&self) -> bool {
        self.rules.iter().flat_map(|rule| &rule.conditions).any(|condition| matches!(condition, Condition::Hash(_)))
    }
}

impl Rule {
    fn check(config: &ProcessConfig) -> Result<Self, Mistake> {
        let id = name::checked(&config.id);
        let id = id.ok_or_else(|| Mistake::new("id", "a name of at most 256 bytes, without control characters"))?;
        let who = [config.uid.is_some(), config.unit.is_some(), config.cgroup.is_some(), config.container.is_some()];
        if !who.contains(&true) {
            let text = "add `uid`, `unit`, `cgroup` or `container`: whoever may run a program can make it do anything";
            return Err(Mistake::new("id", text));
        }
        let groups = name::groups(&config.groups).ok_or_else(|| Mistake::new("groups", name::MISTAKE))?;
        let principal = Principal {
            actor: Actor { kind: config.kind.unwrap_or(Kind::Service).into(), id, issuer: ISSUER.into() },
            groups,
            acting_for: Vec::new(),
            proof: Proof::Process,
            expires: None,
            purpose: None,
        };
        Ok(Self { principal: VerifiedPrincipal::new(principal, None), conditions: conditions(config)? })
    }

    fn matches(&self, attested: &Attested<'_>) -> bool {
        self.conditions.iter().all(|condition| condition.holds(attested))
    }
}

fn conditions(config: &ProcessConfig) -> Result<Vec<Condition>, Mistake> {
    let mut conditions: Vec<Condition> = config.uid.map(Condition::Uid).into_iter().collect();
    if let Some(unit) = &config.unit {
        conditions.push(Condition::Unit(Unit::parse(unit).map_err(|text| Mistake::new("unit", text))?));
    }
    if let Some(group) = &config.cgroup {
        conditions.push(Condition::Group(Group::parse(group).map_err(|text| Mistake::new("cgroup", text))?));
    }
    if let Some(id) = &config.container {
        conditions.push(Condition::Container(Container::parse(id).map_err(|text| Mistake::new("container", text))?));
    }
    if let Some(path) = &config.executable {
        conditions.push(executable(path, config.sha256.is_some())?);
    }
    if let Some(text) = &config.sha256 {
        let hash =
            hash(text).ok_or_else(|| Mistake::new("sha256", "64 hexadecimal digits, as sha256sum prints them"))?;
        conditions.push(Condition::Hash(hash));
    }
    conditions.extend(config.ancestor.as_ref().map(ancestor).transpose()?);
    Ok(conditions)
}

fn executable(path: &Path, hashed: bool) -> Result<Condition, Mistake> {
    let text = path.to_str().filter(|text| text.starts_with('/') && path.components().all(plain));
    let text =
        text.ok_or_else(|| Mistake::new("executable", "write an absolute path in UTF-8, without `..`"))?.to_owned();
    if hashed {
        return Ok(Condition::ForeignPath(text));
    }
    match path.ancestors().find(|part| !only_root_writes(part)) {
        None => Ok(Condition::Path(text)),
        Some(part) => Err(Mistake::new(
            "executable",
            format!(
                "{} does not belong to root alone, so somebody else could put another program there; add `sha256`",
                part.display()
            ),
        )),
    }
}

fn plain(component: Component<'_>) -> bool {
    matches!(component, Component::RootDir | Component::Normal(_))
}

/// Whether only root can change what is there. What is missing cannot be judged.
fn only_root_writes(path: &Path) -> bool {
    let others_may_write = 0o022;
    path.metadata().is_ok_and(|found| found.uid() == 0 && found.mode() & others_may_write == 0)
}

fn hash(text: &str) -> Option<FileHash> {
    let mut bytes = [0; 32];
    let hexadecimal = text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    for (index, byte) in bytes.iter_mut().enumerate().take_while(|_| hexadecimal) {
        *byte = u8::from_str_radix(text.get(index * 2..index * 2 + 2)?, 16).ok()?;
    }
    hexadecimal.then_some(FileHash(bytes))
}

fn ancestor(config: &AncestorConfig) -> Result<Condition, Mistake> {
    let too_long = |name: &&String| name.is_empty() || name.len() > 15;
    if config.name.as_ref().filter(too_long).is_some() {
        return Err(Mistake::new("ancestor.name", "a thread name has 1 to 15 bytes; write what /proc/PID/comm shows"));
    }
    Ok(Condition::Ancestor { uid: config.uid, name: config.name.clone() })
}

impl Condition {
    fn holds(&self, attested: &Attested<'_>) -> bool {
        let process = attested.process;
        let executable = &process.executable;
        let path_is = |path: &str| !executable.truncated && !executable.memory && executable.path == path;
        let in_group = |holds: &dyn Fn(&str) -> bool| attested.cgroup.known().is_some_and(|path| holds(path));
        match self {
            Self::Uid(uid) => process.uid == *uid,
            Self::Unit(unit) => in_group(&|path| unit.holds(path)),
            Self::Group(group) => in_group(&|path| group.holds(path)),
            Self::Container(container) => in_group(&|path| container.holds(path)),
            Self::Path(path) => {
                !executable.deleted && path_is(path) && process.mount_namespace == attested.agent_mount_namespace
            }
            Self::ForeignPath(path) => path_is(path),
            Self::Hash(hash) => attested.sha256.known() == Some(hash),
            Self::Ancestor { uid, name } => {
                let named = |found: &str| name.as_deref().is_none_or(|name| name == found);
                process.ancestors.iter().any(|ancestor| ancestor.uid == *uid && named(&ancestor.name))
            }
        }
    }
}
