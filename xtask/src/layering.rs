//! The layers of the workspace: an arrow between crates only points to a strictly lower layer.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use warder_tests::process;

use crate::shell::cargo;

/// Layer of each crate (`ARCHITECTURE.md` says what the layers are).
const LAYERS: &[(&str, u8)] = &[
    ("model", 0),
    ("agent-common", 0),
    ("access", 1),
    ("journal", 1),
    ("wire-pg", 1),
    ("redact", 1),
    ("hba", 1),
    ("mask", 1),
    ("policy", 1),
    ("sql", 1),
    ("sessions", 1),
    ("capture", 2),
    ("identity", 2),
    ("mint", 2),
    ("recorder", 2),
    ("steering", 2),
    ("store", 2),
    ("web", 2),
    ("export", 3),
    ("guard", 3),
    ("search", 3),
    ("proxy", 4),
    ("agent", 5),
];

/// Crates outside the layers and the crates of the workspace that they may use.
const OUTSIDE: &[(&str, &[&str])] =
    &[("agent-ebpf", &["agent-common"]), ("warder-tests", &["model", "sql"]), ("xtask", &["warder-tests"])];

/// A crate of the workspace with the crates of the workspace that it uses.
type Edges = BTreeMap<String, Vec<String>>;

/// Checks the workspace.
///
/// # Errors
/// When an arrow points sideways or upwards, or a crate has no layer.
pub(crate) fn check() -> Result<()> {
    let output = process::run(cargo().args(["metadata", "--format-version=1", "--no-deps", "--offline"]))?;
    let violations = violations(&edges(&serde_json::from_slice(&output.stdout)?)?);
    ensure!(violations.is_empty(), "{}", violations.join("\n"));
    Ok(())
}

fn edges(metadata: &Value) -> Result<Edges> {
    let list = |value: &Value, key: &str| value.get(key).and_then(Value::as_array).cloned().unwrap_or_default();
    let name = |value: &Value| value.get("name").and_then(Value::as_str).map(str::to_owned);
    let mut found = Edges::new();
    for package in list(metadata, "packages") {
        // A dependency with a path is a crate of this workspace. Those of its tests count as well.
        let inner = list(&package, "dependencies").into_iter().filter(|dependency| dependency.get("path").is_some());
        found.insert(name(&package).context("a package without a name")?, inner.filter_map(|d| name(&d)).collect());
    }
    Ok(found)
}

fn violations(edges: &Edges) -> Vec<String> {
    let arrows = edges.iter().flat_map(|(from, targets)| targets.iter().map(move |to| (from, to)));
    let known = |name: &String| layer(name).is_some() || OUTSIDE.iter().any(|(outside, _)| outside == name);
    let unknown = edges.keys().filter(|name| !known(name));
    let unknown = unknown.map(|name| format!("{name} has no layer: add it to LAYERS in xtask/src/layering.rs"));
    let upward = arrows.filter(|(from, to)| !allowed(from, to));
    let upward = upward.map(|(from, to)| format!("{from} must not depend on {to}: not in a strictly lower layer"));
    unknown.chain(upward).collect()
}

fn layer(name: &str) -> Option<u8> {
    LAYERS.iter().find(|(layered, _)| *layered == name).map(|(_, layer)| *layer)
}

fn allowed(from: &str, to: &str) -> bool {
    if let Some((_, targets)) = OUTSIDE.iter().find(|(outside, _)| *outside == from) {
        return targets.contains(&to);
    }
    matches!((layer(from), layer(to)), (Some(from), Some(to)) if to < from)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(arrows: &[(&str, &[&str])], expected: &[&str]) {
        let own = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let edges = arrows.iter().map(|(from, to)| ((*from).to_owned(), own(to))).collect();
        assert_eq!(violations(&edges), expected);
    }

    #[test]
    fn arrows_point_down() {
        check(&[("agent", &["export", "model"]), ("export", &["store"]), ("xtask", &["warder-tests"])], &[]);
    }

    #[test]
    fn an_arrow_up_or_sideways_or_out_is_refused() {
        let text = |from: &str, to: &str| format!("{from} must not depend on {to}: not in a strictly lower layer");
        check(&[("model", &["agent"])], &[&text("model", "agent")]);
        check(&[("wire-pg", &["redact"])], &[&text("wire-pg", "redact")]);
        check(&[("agent", &["warder-tests"])], &[&text("agent", "warder-tests")]);
    }

    #[test]
    fn a_crate_without_a_layer_is_refused() {
        check(&[("newcomer", &[])], &["newcomer has no layer: add it to LAYERS in xtask/src/layering.rs"]);
    }
}
