//! `warder doctor`: what this host can and cannot do, what that means, and what to do about it.
//!
//! Every check is a small function over a [`Host`], so that a test can run it on a tree of files with any defect.

mod accounts;
pub mod host;
mod kernel;
mod minting;
mod privileges;
pub mod proxy;
mod servers;
#[cfg(test)]
mod tests;

use serde::Serialize;

use crate::config::Config;
use crate::terminal::{Style, Terminal, escape};
use host::Host;

/// How a finding is to be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// As it should be, or without consequence.
    Ok,
    /// Something will be missing.
    Warn,
    /// Nothing can be observed.
    Fail,
}

/// What one check found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Name of the check; stable, for machines.
    pub check: &'static str,
    /// How to take it.
    pub status: Status,
    /// What is there, and what it means.
    pub meaning: String,
    /// What to do, where there is something to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

impl Finding {
    fn ok(check: &'static str, meaning: impl Into<String>) -> Self {
        Self { check, status: Status::Ok, meaning: meaning.into(), remedy: None }
    }

    fn warn(check: &'static str, meaning: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { check, status: Status::Warn, meaning: meaning.into(), remedy: Some(remedy.into()) }
    }

    fn fail(check: &'static str, meaning: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { check, status: Status::Fail, meaning: meaning.into(), remedy: Some(remedy.into()) }
    }
}

/// Runs every check.
#[must_use]
pub fn examine(host: &Host, config: &Config) -> Vec<Finding> {
    let mut findings = examine_kernel(host);
    findings.extend([
        kernel::check_unprivileged_bpf(host),
        kernel::check_uprobes(host),
        kernel::check_filesystems(host),
        accounts::check_user(host, config),
        accounts::check_group(host, config),
        accounts::check_journal_directory(host, config),
        accounts::check_journal_space(host, config),
        accounts::check_control_directory(host, config),
        accounts::check_agent(config),
        accounts::check_metrics_port(config),
    ]);
    findings.extend(servers::check_servers(host, config));
    findings.extend(proxy::check_proxy(host, config));
    findings
}

/// Runs the checks of what the kernel programs need before they are loaded.
fn examine_kernel(host: &Host) -> Vec<Finding> {
    vec![
        privileges::check_capabilities(host),
        kernel::check_release(host),
        kernel::check_btf(host),
        kernel::check_byte_ledger(host),
        kernel::check_lockdown(host),
        kernel::check_bpf(host),
        kernel::check_cgroup2(host),
    ]
}

/// Before anything is loaded: what is missing is told in the log with its remedy, since the kernel only says that it refused.
///
/// # Errors
/// When the kernel programs cannot be loaded here.
pub fn ensure_kernel(host: &Host) -> anyhow::Result<()> {
    let findings = examine_kernel(host);
    for Finding { check, status, meaning, remedy } in &findings {
        let remedy = remedy.as_deref().unwrap_or_default();
        match status {
            Status::Ok => {}
            Status::Warn => tracing::warn!("{check}: {meaning} -> {remedy}"),
            Status::Fail => tracing::error!("{check}: {meaning} -> {remedy}"),
        }
    }
    let failed: Vec<&str> =
        findings.iter().filter(|finding| finding.status == Status::Fail).map(|finding| finding.check).collect();
    anyhow::ensure!(
        failed.is_empty(),
        "this host cannot be observed ({}): the log says what to do, `warder doctor` checks the rest",
        failed.join(", ")
    );
    Ok(())
}

/// Can anything be observed here?
#[must_use]
pub fn can_observe(findings: &[Finding]) -> bool {
    findings.iter().all(|finding| finding.status != Status::Fail)
}

/// The findings as one JSON object with a newline.
pub fn json(findings: &[Finding]) -> serde_json::Result<String> {
    #[derive(Serialize)]
    struct Report<'a> {
        can_observe: bool,
        findings: &'a [Finding],
    }
    let json = serde_json::to_string(&Report { can_observe: can_observe(findings), findings })?;
    Ok(crate::terminal::escape_json(&json).into_owned() + "\n")
}

/// The findings as text, with a last line that sums them up.
#[must_use]
pub fn text(findings: &[Finding], terminal: Terminal) -> String {
    let mut out = String::new();
    for finding in findings {
        let (style, word) = match finding.status {
            Status::Ok => (Style::Good, "ok  "),
            Status::Warn => (Style::Warning, "warn"),
            Status::Fail => (Style::Bad, "FAIL"),
        };
        out.push_str(&format!("{}  {:<18} {}\n", terminal.paint(style, word), finding.check, escape(&finding.meaning)));
        if let Some(remedy) = &finding.remedy {
            out.push_str(&format!("      {:<18} -> {}\n", "", escape(remedy)));
        }
    }
    let warnings = findings.iter().filter(|finding| finding.status == Status::Warn).count();
    let (style, summary) = match (can_observe(findings), warnings) {
        (false, _) => (Style::Bad, "this host cannot be observed; see FAIL above".to_owned()),
        (true, 0) => (Style::Good, "this host can be observed".to_owned()),
        (true, _) => {
            (Style::Warning, format!("this host can be observed; see {warnings} x warn above for what will be missing"))
        }
    };
    out.push_str(&terminal.paint(style, &summary));
    out.push('\n');
    out
}
