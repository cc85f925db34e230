//! The dashboard and the alert rules of `monitoring/` speak of metrics and labels that exist.
//!
//! What exists is what `docs/metrics.md` says: a test of this crate keeps that equal to what is registered. Whether
//! Prometheus understands the expressions is checked end to end (`tests/tests/monitoring.rs`).
#![allow(clippy::unwrap_used, clippy::allow_attributes, reason = "helpers of tests")]

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

const METRICS: &str = include_str!("../../../docs/metrics.md");
const ALERTS: &str = include_str!("../../../monitoring/alerts.yml");
const DASHBOARD: &str = include_str!("../../../monitoring/grafana-dashboard.json");

/// Labels that Prometheus adds when it scrapes.
const OF_THE_SCRAPE: [&str; 2] = ["instance", "job"];

/// Words of PromQL before a list of labels.
const LISTS: [&str; 6] = ["by", "without", "on", "ignoring", "group_left", "group_right"];

/// A documented metric family.
struct Family {
    histogram: bool,
    labels: BTreeSet<&'static str>,
}

type Families = BTreeMap<&'static str, Family>;

fn documented() -> Families {
    let rows = METRICS.lines().filter(|line| line.starts_with("| `warder_"));
    let family = |row: &'static str| {
        let mut cells = row.split('|').skip(1).map(str::trim);
        let name = cells.next().unwrap().trim_matches('`');
        let histogram = cells.next().unwrap() == "histogram";
        let labels = cells.next().unwrap().split(", ").map(|label| label.trim_matches('`'));
        (name, Family { histogram, labels: labels.filter(|label| !label.is_empty()).collect() })
    };
    rows.map(family).collect()
}

/// What an expression uses, and what of it does not exist.
#[derive(Debug, Default, PartialEq, Eq)]
struct Used<'a> {
    metrics: BTreeSet<&'a str>,
    labels: BTreeSet<&'a str>,
    problems: Vec<String>,
}

/// Reads an expression word by word: metrics with their matchers, and lists of labels.
fn used<'a>(expression: &'a str, families: &Families) -> Used<'a> {
    let mut used = Used { labels: OF_THE_SCRAPE.into(), ..Used::default() };
    let mut lists = Vec::new();
    let mut rest = expression;
    while let Some(next) = rest.chars().next() {
        if next == '"' {
            rest = rest[1..].split_once('"').expect("a quote that ends").1;
            continue;
        }
        let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end.max(next.len_utf8()));
        let after_space = after.trim_start();
        if LISTS.contains(&word) && after_space.starts_with('(') {
            let (list, after) = after_space[1..].split_once(')').expect("a list that ends");
            lists.extend(list.split(',').map(str::trim).filter(|label| !label.is_empty()));
            rest = after;
            continue;
        }
        rest = after;
        if word.starts_with("warder_") {
            let Some(labels) = labels_of(word, families) else {
                used.problems.push(format!("no metric {word}"));
                continue;
            };
            let matchers = after.strip_prefix('{').and_then(|rest| rest.split_once('}')).map_or("", |(inner, _)| inner);
            let unknown = matched(matchers).into_iter().filter(|label| !labels.contains(label));
            used.problems.extend(unknown.map(|label| format!("{word} has no label {label}")));
            used.metrics.insert(word);
            used.labels.extend(labels);
        }
    }
    let foreign = lists.into_iter().filter(|label| !used.labels.contains(label));
    used.problems.extend(foreign.map(|label| format!("no metric here has the label {label}")));
    used
}

/// Labels of a series, by its whole name; `None`: there is no such series.
fn labels_of(series: &str, families: &Families) -> Option<BTreeSet<&'static str>> {
    let (family, bucket) = match families.get(series) {
        Some(family) if !family.histogram => (family, false),
        Some(_) => return None,
        None => {
            let (name, part) = series.rsplit_once('_')?;
            let family = families.get(name).filter(|family| family.histogram)?;
            ["bucket", "sum", "count"].contains(&part).then_some((family, part == "bucket"))?
        }
    };
    Some(family.labels.iter().copied().chain(OF_THE_SCRAPE).chain(bucket.then_some("le")).collect())
}

/// Labels that a list of matchers names. The values of ours contain no comma.
fn matched(matchers: &str) -> Vec<&str> {
    let names = matchers.split(',').filter_map(|matcher| matcher.split(['=', '!']).next());
    names.map(str::trim).filter(|name| !name.is_empty()).collect()
}

/// Names between `{{` and `}}` after `prefix`.
fn placeholders<'a>(text: &'a str, prefix: &str) -> BTreeSet<&'a str> {
    let inner = text.split("{{").skip(1).filter_map(|part| part.split("}}").next());
    let names = inner.filter_map(|part| part.trim().strip_prefix(prefix));
    names.filter_map(|name| name.split([' ', '|']).next()).collect()
}

#[test]
fn what_does_not_exist_is_found() {
    let check = |expression: &str, expected: &[&str]| {
        assert_eq!(used(expression, &documented()).problems, expected, "{expression}");
    };
    check("sum by (database) (rate(warder_statements_total{kind=\"simple\"}[5m])) > 0", &[]);
    check("histogram_quantile(0.9, sum by (le) (rate(warder_statement_duration_seconds_bucket[5m])))", &[]);
    check("up{job=\"warder\", instance=\"warder_nothing\"} == 0", &[]);
    check("warder_statement_total", &["no metric warder_statement_total"]);
    check("warder_statement_duration_seconds", &["no metric warder_statement_duration_seconds"]);
    check("warder_scans_total_count", &["no metric warder_scans_total_count"]);
    check("warder_scans_total{database=~\"a\"}", &["warder_scans_total has no label database"]);
    check("sum by(le) (warder_scans_total)", &["no metric here has the label le"]);
    check("a * on (job, mapp) warder_map_entries", &["no metric here has the label mapp"]);
}

/// One alert of the file: what is between its name and the next.
struct Rule<'a> {
    name: &'a str,
    text: &'a str,
}

impl Rule<'_> {
    fn expression(&self) -> &str {
        let (_, expression) = self.text.split_once("expr:").expect(self.name);
        let end = ["\n        for:", "\n        labels:"].iter().filter_map(|key| expression.find(key)).min();
        &expression[..end.expect(self.name)]
    }
}

fn rules() -> Vec<Rule<'static>> {
    let rule = |text: &'static str| Rule { name: text.lines().next().unwrap(), text };
    ALERTS.split("- alert: ").skip(1).map(rule).collect()
}

#[test]
fn alerts_use_what_exists_and_say_what_to_do() {
    let families = documented();
    assert!(!rules().is_empty());
    for rule in rules() {
        let used = used(rule.expression(), &families);
        assert_eq!(used.problems, Vec::<String>::new(), "{}", rule.name);
        let unknown: Vec<_> = placeholders(rule.text, "$labels.").difference(&used.labels).copied().collect();
        assert!(unknown.is_empty(), "{}: the text names labels that it does not have: {unknown:?}", rule.name);
        for key in ["severity:", "summary:", "remedy:"] {
            assert!(rule.text.contains(key), "{} has no {key}", rule.name);
        }
    }
}

/// A number that shows that something was missed, and that nobody is woken by, would be a promise not kept.
#[test]
fn every_metric_of_completeness_has_an_alert() {
    let families = documented();
    let (_, chapter) = METRICS.split_once("## Is the observation complete?").unwrap();
    let chapter = chapter.split("\n## ").next().unwrap();
    let rules = rules();
    let watched: BTreeSet<&str> = rules.iter().flat_map(|rule| used(rule.expression(), &families).metrics).collect();
    for name in families.keys().filter(|name| chapter.contains(&format!("| `{name}` |"))) {
        assert!(watched.contains(name), "no alert on {name}");
    }
}

#[test]
fn the_dashboard_uses_what_exists() {
    let families = documented();
    let dashboard: Value = serde_json::from_str(DASHBOARD).unwrap();
    for panel in panels(&dashboard) {
        for target in panel["targets"].as_array().into_iter().flatten() {
            let expression = target["expr"].as_str().unwrap();
            let used = used(expression, &families);
            assert_eq!(used.problems, Vec::<String>::new(), "{}: {expression}", panel["title"]);
            let legend = placeholders(target["legendFormat"].as_str().unwrap(), "");
            let unknown: Vec<_> = legend.difference(&used.labels).collect();
            assert!(unknown.is_empty(), "{}: its legend names {unknown:?}", panel["title"]);
        }
    }
    for variable in dashboard["templating"]["list"].as_array().unwrap() {
        if let Some(query) = variable["definition"].as_str() {
            assert_eq!(used(query, &families).problems, Vec::<String>::new(), "{query}");
        }
    }
}

/// What Grafana would accept and then show wrongly: panels over each other, unknown variables, foreign data sources.
#[test]
fn the_dashboard_is_whole() {
    let dashboard: Value = serde_json::from_str(DASHBOARD).unwrap();
    assert_eq!(dashboard["id"], Value::Null, "an id of the Grafana that it was exported from");
    let panels = panels(&dashboard);
    let ids: BTreeSet<u64> = panels.iter().map(|panel| panel["id"].as_u64().unwrap()).collect();
    assert_eq!(ids.len(), panels.len(), "ids of panels are distinct");
    let mut taken = BTreeSet::new();
    for panel in &panels {
        let at = |key: &str| panel["gridPos"][key].as_u64().unwrap();
        assert!(at("x") + at("w") <= 24, "{} is beyond the 24 columns", panel["title"]);
        for cell in (at("x")..at("x") + at("w")).flat_map(|x| (at("y")..at("y") + at("h")).map(move |y| (x, y))) {
            assert!(taken.insert(cell), "{} is over another panel", panel["title"]);
        }
        assert_eq!(panel["type"] == "row", panel["targets"].is_null(), "{}", panel["title"]);
    }
    let variables: BTreeSet<&str> = dashboard["templating"]["list"]
        .as_array()
        .unwrap()
        .iter()
        .map(|variable| variable["name"].as_str().unwrap())
        .chain(["__rate_interval"])
        .collect();
    for part in DASHBOARD.split('$').skip(1).filter(|part| !part.starts_with("__all")) {
        let part = part.trim_start_matches('{');
        let name = part.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).next().unwrap();
        assert!(variables.contains(name), "${name} is not defined");
    }
    let sources = panels.iter().map(|panel| panel.get("datasource")).filter(Option::is_some);
    let chosen: Value = serde_json::json!({ "type": "prometheus", "uid": "${datasource}" });
    assert!(sources.flatten().all(|source| *source == chosen), "every panel asks the data source that is chosen");
}

fn panels(dashboard: &Value) -> Vec<&Value> {
    dashboard["panels"].as_array().unwrap().iter().collect()
}
