//! What is wrong about facts, by the tree.

use std::collections::BTreeSet;

use model::facts::{Action, Condition, Effect, Facts, Object, StateChange, StatementFacts};
use serde_json::{Map, Value};

/// Nodes whose content does not run with the statement.
const STORED: &[&str] = &["RuleStmt", "sql_body", "lockedRels", "typevar", "table_list", "ConstraintsSetStmt"];

const HARMLESS: &str = include_str!("../../src/function/harmless.txt");

/// Everything that is wrong, in words.
pub(crate) fn compare(tree: &Value, facts: &Facts) -> Vec<String> {
    let mut found = Found::default();
    found.search(tree);
    let mut effects = Vec::new();
    facts.statements.iter().for_each(|statement| collect(statement, &mut effects));
    let mut wrong = Vec::new();
    let named: BTreeSet<&str> = effects.iter().filter_map(|effect| object_name(&effect.object)).collect();
    for relation in &found.relations {
        if !named.contains(relation.as_str()) && !found.queries.contains(relation) {
            wrong.push(format!("relation {relation} is missing"));
        }
    }
    for (action, relation, bounded) in &found.changes {
        let of = |effect: &&Effect| effect.action == *action && object_name(&effect.object) == Some(relation);
        match effects.iter().find(of) {
            None => wrong.push(format!("{} of {relation} is missing", action.word())),
            Some(effect) if !bounded && effect.condition == Condition::Some => {
                wrong.push(format!("{} of {relation} is not bounded", action.word()));
            }
            Some(_) => {}
        }
    }
    let harmless: BTreeSet<&str> = HARMLESS.lines().collect();
    for function in &found.functions {
        let is_called =
            |effect: &Effect| effect.action == Action::Call && object_name(&effect.object) == Some(function);
        // `set_config` with the parameter's name is a SET.
        let is_set = |effect: &Effect| {
            matches!(effect.action, Action::SetParameter | Action::SetRole) && function == "set_config"
        };
        let is_told = |effect: &Effect| is_called(effect) || is_set(effect);
        if !harmless.contains(function.as_str()) && !effects.iter().any(is_told) {
            wrong.push(format!("call of {function} is missing"));
        }
    }
    // Names in strings are folded when they are read.
    let text = tree.to_string();
    let folded = text.to_lowercase();
    for effect in &effects {
        if let Object::Relation(name) = &effect.object
            && ![&text, &folded]
                .iter()
                .any(|text| text.contains(Value::from(&*name.name).to_string().trim_matches('"')))
        {
            wrong.push(format!("relation {} is invented", name.name));
        }
    }
    wrong
}

fn collect(statement: &StatementFacts, effects: &mut Vec<Effect>) {
    effects.extend(statement.effects.iter().cloned());
    for change in &statement.changes {
        if let StateChange::Prepared { facts, .. } = change {
            collect(facts, effects);
        }
    }
}

fn object_name(object: &Object) -> Option<&str> {
    match object {
        Object::Relation(name) | Object::Function(name) | Object::Other { name: Some(name), .. } => Some(&name.name),
        Object::Schema(name) => Some(name),
        _ => None,
    }
}

#[derive(Default)]
struct Found {
    relations: BTreeSet<String>,
    /// Names of WITH queries.
    queries: BTreeSet<String>,
    functions: BTreeSet<String>,
    /// Action, relation, and whether there is a condition.
    changes: Vec<(Action, String, bool)>,
}

impl Found {
    fn search(&mut self, node: &Value) {
        match node {
            Value::Array(items) => items.iter().for_each(|item| self.search(item)),
            Value::Object(fields) => self.fields(fields),
            _ => {}
        }
    }

    fn fields(&mut self, fields: &Map<String, Value>) {
        if let Some(name) = fields.get("relname").and_then(Value::as_str) {
            self.relations.insert(name.to_owned());
        }
        if let Some(name) = fields.get("ctename").and_then(Value::as_str) {
            self.queries.insert(name.to_owned());
        }
        for (key, value) in fields {
            if STORED.contains(&key.as_str()) || (key == "ExplainStmt" && !is_analyze(value)) {
                continue;
            }
            self.node(key, value);
            self.search(value);
        }
    }

    fn node(&mut self, kind: &str, node: &Value) {
        let action = match kind {
            "InsertStmt" => Action::Insert,
            "UpdateStmt" => Action::Update,
            "DeleteStmt" => Action::Delete,
            "MergeStmt" => Action::Merge,
            "FuncCall" => {
                let names = node.get("funcname").and_then(Value::as_array);
                let name = names.and_then(|names| names.last()?.pointer("/String/sval")?.as_str());
                self.functions.extend(name.map(str::to_owned));
                return;
            }
            _ => return,
        };
        let relation = node.pointer("/relation/relname").and_then(Value::as_str).unwrap_or_default();
        let bounded = action == Action::Insert || action == Action::Merge || node.get("whereClause").is_some();
        self.changes.push((action, relation.to_owned(), bounded));
    }
}

fn is_analyze(explain: &Value) -> bool {
    explain.to_string().contains("\"analyze\"")
}
