//! SELECT, VALUES, WITH, set operations: the row that comes out.

use std::sync::Arc;

use model::lineage::{Origin, Sources, UnknownLineage};
use pg_raw_parse::Node;
use pg_raw_parse::list::NodeList;
use pg_raw_parse::nodes::{CommonTableExpr, SelectStmt, SetOperation, WithClause};

use crate::grammar::untyped;
use crate::lineage::Trace;
use crate::lineage::condition::is_stored;
use crate::lineage::figure;
use crate::lineage::row::{Field, Row};
use crate::lineage::scope::Scope;
use crate::walk::text;

/// Rounds after which a recursive query must have stopped to find new sources.
const ROUNDS_MAX: usize = 16;

impl<'a> Trace<'a> {
    /// A statement that may stand in WITH, COPY, EXPLAIN, PREPARE, DECLARE.
    pub(super) fn query(&mut self, node: Node<'a>) -> Row {
        self.queries += 1;
        let row = self.deeper(|trace| match node {
            Node::SelectStmt(select) => trace.select(select),
            Node::InsertStmt(insert) => trace.insert(insert),
            Node::UpdateStmt(update) => trace.update(update),
            Node::DeleteStmt(delete) => trace.delete(delete),
            Node::MergeStmt(merge) => trace.merge(merge),
            _ => Row::Every(trace.unknown(UnknownLineage::Construct)),
        });
        row.unwrap_or(Row::unknown(UnknownLineage::TooLarge))
    }

    pub(super) fn select(&mut self, select: &'a SelectStmt) -> Row {
        let outer = self.ctes.len();
        self.with(select.with_clause());
        let row =
            if select.op == SetOperation::SETOP_NONE { self.simple_select(select) } else { self.set_operation(select) };
        self.ctes.truncate(outer);
        // Rows that are locked show, in the next snapshot and to others, that this has run.
        self.effects += select.locking_clause().iter().count();
        row
    }

    /// A chain to the left, of any length, so without recursion.
    fn set_operation(&mut self, select: &'a SelectStmt) -> Row {
        let mut levels = Vec::new();
        let mut first = select;
        while first.op != SetOperation::SETOP_NONE && (std::ptr::eq(first, select) || first.with_clause().is_none()) {
            levels.push(first);
            let Some(left) = first.larg() else { break };
            first = left;
        }
        let mut row = self.query(Node::SelectStmt(first));
        for level in levels.into_iter().rev() {
            let Some(arm) = level.rarg() else { continue };
            let next = self.query(Node::SelectStmt(arm));
            if !self.spend(row.width()) {
                return Row::unknown(UnknownLineage::TooLarge);
            }
            if is_distinct(level) {
                self.note_arms(&row, &next);
            }
            self.note_mixed(&row, &next);
            row = row.or(next);
            self.behind_set_operation(level, &row);
        }
        if leftmost(select).into_clause().is_some() {
            self.store_row(&row);
        }
        row
    }

    /// Rows of both are compared, with each other and among themselves.
    fn note_arms(&mut self, one: &Row, other: &Row) {
        self.note_distinct(one);
        self.note_distinct(other);
        self.note_met(one, other);
    }

    /// Values of two columns stand in one: their order, and which are equal, would tell about one beside the other.
    fn note_mixed(&mut self, one: &Row, other: &Row) {
        let (Row::Columns(one), Row::Columns(other)) = (one, other) else { return };
        for (one, other) in one.iter().zip(other) {
            let [one, other] =
                [&one.origin, &other.origin].map(|origin| origin.sources().cloned().collect::<Sources>());
            if one != other && !one.is_empty() && !other.is_empty() {
                self.mixed.insert((one, other));
            }
        }
    }

    /// A value is compared with others of its column: where it is one of two columns, those are joined.
    pub(super) fn note_ordered(&mut self, origin: &Origin) {
        let all: Sources = origin.sources().cloned().collect();
        let are_here = |(one, other): &&(Sources, Sources)| one.is_subset(&all) && other.is_subset(&all);
        self.lineage.joined.extend(self.mixed.iter().filter(are_here).cloned());
    }

    /// How many rows there are tells which values are equal: of a column by itself that is what grouping tells.
    fn note_distinct(&mut self, row: &Row) {
        let fields = match row {
            Row::Columns(fields) => fields.iter().map(|field| field.origin.clone()).collect(),
            Row::Every(origin) => vec![origin.clone()],
        };
        fields.iter().for_each(|origin| self.note_ordered(origin));
        fields.iter().filter(|origin| !is_stored(origin)).for_each(|origin| self.note_compared(origin));
    }

    /// Values of one row are tested for equality with those of another, column by column.
    fn note_met(&mut self, one: &Row, other: &Row) {
        match (one, other) {
            (Row::Columns(one), Row::Columns(other)) => {
                let pairs = one.iter().zip(other).map(|(one, other)| (&one.origin, &other.origin));
                // NULL beside a column says which values of it are NULL.
                pairs
                    .filter(|(one, other)| !one.is_null() && !other.is_null())
                    .for_each(|(one, other)| self.note_joined(one, other));
            }
            _ => self.note_compared(&one.whole().or(other.whole())),
        }
    }

    /// LIMIT of a set operation, and its ORDER BY, which names output columns only.
    fn behind_set_operation(&mut self, select: &'a SelectStmt, row: &Row) {
        self.within(Scope::default(), |trace| {
            untyped(select.sort_clause()).iter().for_each(|node| trace.grouping(node, row));
        });
        self.window_of_rows(select);
    }

    /// LIMIT and OFFSET: numbers of rows tell what they are made of.
    fn window_of_rows(&mut self, select: &'a SelectStmt) {
        let origin = self.expression(select.limit_count()).or(self.expression(select.limit_offset()));
        self.note_compared(&origin);
    }

    fn simple_select(&mut self, select: &'a SelectStmt) -> Row {
        let from = self.sources(select.from_clause());
        let (row, _) = self.within(from, |trace| {
            let window = trace.window_clause(select.window_clause());
            trace.windows.push(window);
            trace.condition(select.where_clause());
            let row = if select.values_lists().is_empty() {
                trace.outputs(untyped(select.target_list()))
            } else {
                trace.values(select.values_lists())
            };
            let grouped = select.group_clause().iter().chain(select.distinct_clause());
            grouped.chain(untyped(select.sort_clause())).for_each(|node| trace.grouping(node, &row));
            trace.condition(select.having_clause());
            trace.window_of_rows(select);
            if !select.distinct_clause().is_empty() {
                trace.note_distinct(&row);
            }
            trace.windows.pop();
            row
        });
        if select.into_clause().is_some() {
            self.store_row(&row);
        }
        row
    }

    /// A list of outputs.
    pub(super) fn outputs(&mut self, targets: &'a NodeList) -> Row {
        let mut row = Row::empty();
        for node in targets {
            let Node::ResTarget(target) = node else {
                return Row::Every(self.unknown(UnknownLineage::Construct));
            };
            let next = match self.several(target.val()) {
                Some(row) => row,
                None => {
                    let origin = self.expression(target.val());
                    let name = target.name().or_else(|| figure::name(target.val()));
                    Row::Columns(vec![Field { name: name.map(Arc::from), origin }])
                }
            };
            row = row.and(next);
        }
        row
    }

    fn values(&mut self, lists: &'a NodeList) -> Row {
        let mut all: Option<Row> = None;
        for list in lists {
            let Some(list) = list.as_node_list() else { continue };
            let mut fields = Vec::new();
            for (place, node) in list.iter().enumerate() {
                let origin = self.expression(node).derived();
                fields.push(Field::named(&format!("column{}", place + 1), origin));
            }
            let row = Row::Columns(fields);
            all = Some(match all {
                Some(known) => known.or(row),
                None => row,
            });
        }
        all.unwrap_or_else(Row::empty)
    }

    /// The queries of a WITH, in sight from here on.
    pub(super) fn with(&mut self, with: Option<&'a WithClause>) {
        let Some(with) = with else { return };
        let queries: Vec<&CommonTableExpr> = untyped(with.ctes())
            .iter()
            .filter_map(|node| match node {
                Node::CommonTableExpr(query) => Some(query),
                _ => None,
            })
            .collect();
        if with.recursive {
            // One that is named before it stands: which is which is not followed.
            for query in &queries {
                self.ctes.push((name(query), Row::unknown(UnknownLineage::Construct)));
            }
        }
        for query in queries {
            let row = if with.recursive { self.recursive(query) } else { self.query(query.ctequery()) };
            let row = self.searched(query, row.renamed(&text::strings(query.aliascolnames())));
            self.ctes.push((name(query), row));
        }
    }

    /// A query that may read itself: what its first arm gives, and what the second one makes of that, until nothing new
    /// comes.
    fn recursive(&mut self, query: &'a CommonTableExpr) -> Row {
        let Node::SelectStmt(select) = query.ctequery() else { return self.query(query.ctequery()) };
        let (SetOperation::SETOP_UNION, Some(first), Some(again)) = (select.op, select.larg(), select.rarg()) else {
            return self.query(query.ctequery());
        };
        let names = text::strings(query.aliascolnames());
        let outer = self.ctes.len();
        self.with(select.with_clause());
        // CYCLE ends where a row comes again.
        let is_distinct = is_distinct(select) || query.cycle_clause().is_some();
        let mut row = self.query(Node::SelectStmt(first)).renamed(&names);
        for _ in 0..ROUNDS_MAX {
            let seen = self.searched(query, row.clone());
            self.ctes.push((name(query), seen));
            let next = self.query(Node::SelectStmt(again));
            self.ctes.pop();
            if is_distinct {
                self.note_arms(&row, &next);
            }
            self.note_mixed(&row, &next);
            let wider = row.clone().or(next);
            if same(&wider, &row) {
                self.behind_set_operation(select, &row);
                self.ctes.truncate(outer);
                return row;
            }
            row = wider;
        }
        self.ctes.truncate(outer);
        Row::Every(self.unknown(UnknownLineage::TooLarge))
    }

    /// With the columns that SEARCH and CYCLE add: they are made of the rows that were met.
    fn searched(&mut self, query: &'a CommonTableExpr, row: Row) -> Row {
        let search = query.search_clause().and_then(|clause| clause.search_seq_column());
        let cycle = query.cycle_clause().map(|clause| [clause.cycle_mark_column(), clause.cycle_path_column()]);
        let names = search.into_iter().chain(cycle.into_iter().flatten().flatten());
        let whole = row.whole();
        row.and(Row::Columns(names.map(|name| Field::named(name, whole.clone())).collect()))
    }

    /// Every column goes somewhere that is new.
    pub(super) fn store_row(&mut self, row: &Row) {
        match row {
            Row::Columns(fields) => fields.iter().for_each(|field| self.store(None, field.origin.clone())),
            Row::Every(origin) => self.store(None, origin.clone()),
        }
    }

    /// RETURNING and its scope.
    pub(super) fn returning(&mut self, scope: Scope, exprs: &'a NodeList) -> Row {
        self.within(scope, |trace| trace.outputs(exprs)).0
    }
}

fn name(query: &CommonTableExpr) -> Arc<str> {
    Arc::from(query.ctename().unwrap_or_default())
}

/// Whether a set operation compares rows.
fn is_distinct(select: &SelectStmt) -> bool {
    select.op != SetOperation::SETOP_UNION || !select.all
}

/// The first arm of all: INTO stands there, for the whole.
fn leftmost(select: &SelectStmt) -> &SelectStmt {
    let mut first = select;
    while let Some(left) = first.larg() {
        first = left;
    }
    first
}

/// Whether two rows have the same origins.
fn same(one: &Row, other: &Row) -> bool {
    let of = |row: &Row| -> Vec<Origin> {
        match row {
            Row::Columns(fields) => fields.iter().map(|field| field.origin.clone()).collect(),
            Row::Every(origin) => vec![origin.clone()],
        }
    };
    of(one) == of(other)
}
