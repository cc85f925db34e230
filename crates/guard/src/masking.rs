//! The results of one cycle: which description and which rows come next, and what the client sees of them.
//!
//! In front of an Execute whose rows are masked the guard asks for the portal's description and swallows the answer: so
//! types and formats are known whatever the client has asked before. The answers of a cycle come in the order of its
//! messages (chapter 55.2.3), up to the first error.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;

use mask::{CopyRows, Description, Plan, Protection, Rows, Source};
use sql::catalogue::Catalogue;

use crate::judge::Plans;
use crate::message;

/// Cells that were masked, by the rule that did it.
pub type Cells = BTreeMap<Arc<str>, u64>;

/// Longest row that is rewritten whole; in a longer one hidden values are overwritten in their place.
pub(crate) const ROW_BYTES_MAX: u32 = 1 << 20;

/// The protected columns from which values come; `None`: nobody knows.
type Found = Option<Arc<[Source]>>;

/// What is protected in one SQL database, and what the server's numbers stand for.
pub(crate) struct Protected {
    protection: Rc<Protection>,
    catalogue: Rc<Catalogue>,
    /// What was asked before, by the numbers of a relation and of a column that it has: families and rules can be large.
    known: RefCell<HashMap<(u32, i16), Found>>,
}

impl Protected {
    pub(crate) fn new(protection: Rc<Protection>, catalogue: Rc<Catalogue>) -> Self {
        Self { protection, catalogue, known: RefCell::default() }
    }

    /// Those from which the values of a column come.
    fn sources(&self, relation: u32, column: i16) -> Found {
        let place = (relation, column);
        if let Some(known) = self.known.borrow().get(&place) {
            return known.clone();
        }
        let sources = self.protection.sources(&self.catalogue.origin(relation, column)?);
        self.known.borrow_mut().insert(place, sources.clone());
        sources
    }
}

/// One thing that the server will answer.
#[derive(Debug)]
enum Expected {
    /// A description; the guard's own is not the client's.
    Description { own: bool },
    /// The results of one message, each with its plan; `None`: it goes on as it is.
    Results(VecDeque<Option<Arc<Plan>>>),
}

/// Texts of errors and notices that are replaced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Withheld {
    /// Nothing is hidden from whoever asked.
    #[default]
    None,
    /// Those from what the server runs besides: what has been asked for shows nothing, but who knows what that does.
    Inner,
    /// All: something was masked.
    All,
}

/// What a cycle waits for.
#[derive(Debug, Default)]
pub(crate) struct Results {
    expected: VecDeque<Expected>,
    /// The rows of the result that comes, once it is described.
    rows: Option<Rows>,
    /// The rows of the COPY that comes, where they are rewritten.
    copy: Option<CopyRows>,
    /// Texts of errors and notices that may quote what is hidden.
    withholds: Withheld,
    /// What results that have not begun show may be another thing than was judged.
    pub(crate) is_doubted: bool,
    /// A result has begun: what it shows is settled.
    has_begun: bool,
}

impl Results {
    /// A message that the server answers with a description.
    pub(crate) fn expect_description(&mut self, own: bool) {
        self.expected.push_back(Expected::Description { own });
    }

    /// A message that the server answers with results.
    pub(crate) fn expect(&mut self, Plans { results, hides }: &Plans) {
        let withheld = match results.iter().flatten().any(|plan| plan.withholds_texts) {
            true => Withheld::All,
            false if *hides => Withheld::Inner,
            false => Withheld::None,
        };
        self.withholds = self.withholds.max(withheld);
        self.expected.push_back(Expected::Results(results.iter().cloned().collect()));
    }

    /// What another cycle, which this one goes on with, still waits for.
    pub(crate) fn take_over(&mut self, earlier: Self) {
        let later = std::mem::replace(&mut self.expected, earlier.expected);
        self.expected.extend(later);
        (self.rows, self.copy) = (earlier.rows, earlier.copy);
        self.is_doubted |= earlier.is_doubted;
        self.has_begun = earlier.has_begun;
        self.withholds = self.withholds.max(earlier.withholds);
    }

    /// Whether the text of this error or notice is replaced.
    pub(crate) fn withholds(&self, message: &[u8]) -> bool {
        match self.withholds {
            _ if self.is_doubted => true,
            Withheld::None => false,
            Withheld::Inner => is_from_inside(message),
            Withheld::All => true,
        }
    }

    /// A message of the server is there, in answer to a Query or not. Whether it begins a result that may be another one than
    /// was judged.
    pub(crate) fn begins_doubted(&mut self, kind: u8, is_query: bool) -> bool {
        let begins = match kind {
            b'T' => is_query || self.is_own_description(),
            b'D' | b'H' | b'd' | b'W' => true,
            b'C' | b's' | b'I' => {
                self.has_begun = false;
                false
            }
            _ => false,
        };
        begins && !std::mem::replace(&mut self.has_begun, true) && self.is_doubted
    }

    /// Whether the next description is the guard's own.
    pub(crate) fn is_own_description(&self) -> bool {
        matches!(self.expected.front(), Some(Expected::Description { own: true }))
    }

    /// A description has come. `body`: `None` where there is none, or it was too long.
    pub(crate) fn described(&mut self, body: Option<&[u8]>, protected: &Protected) {
        let was_own = self.is_own_description();
        if matches!(self.expected.front(), Some(Expected::Description { .. })) {
            self.expected.pop_front();
            if !was_own {
                return;
            }
        }
        let Some(plan) = self.plan() else { return };
        let description = body.and_then(Description::parse);
        let sources = |relation, column| protected.sources(relation, column);
        self.rows = Some(match description {
            Some(description) => Rows::new(&plan, &description, protected.protection.settings(), sources),
            None => Rows::blind(),
        });
    }

    fn plan(&self) -> Option<Arc<Plan>> {
        match self.expected.front()? {
            Expected::Results(plans) => plans.front().cloned().flatten(),
            Expected::Description { .. } => None,
        }
    }

    /// Whether rows that come now are rewritten. Rows that nobody expects are.
    pub(crate) fn rewrites(&mut self) -> bool {
        let is_clear = match self.expected.front() {
            Some(Expected::Results(plans)) => matches!(plans.front(), Some(None)),
            _ => false,
        };
        if is_clear {
            return false;
        }
        !self.rows.get_or_insert_with(Rows::blind).is_clear()
    }

    /// How the rows that come now are rewritten.
    pub(crate) fn rows(&mut self) -> &mut Rows {
        self.rows.get_or_insert_with(Rows::blind)
    }

    /// Whether a COPY that begins now is rewritten.
    pub(crate) fn copies(&self) -> bool {
        self.plan().is_some_and(|plan| plan.copy.is_some())
    }

    /// It begins, with this CopyOutResponse.
    pub(crate) fn copy_begins(&mut self, response: &[u8]) {
        let Some(plan) = self.plan() else { return };
        self.copy = plan.copy.as_ref().map(|form| CopyRows::new(&plan, form, response));
    }

    /// How the rows of the COPY are rewritten that runs. Of one that nobody has seen begin nothing is shown.
    pub(crate) fn copied_rows(&mut self) -> Option<&mut CopyRows> {
        if self.copies() && self.copy.is_none() {
            self.copy_begins(&[]);
        }
        self.copy.as_mut()
    }

    /// A result has ended.
    pub(crate) fn ended(&mut self, cells: &mut Cells) {
        self.count(cells);
        if let Some(Expected::Results(plans)) = self.expected.front_mut() {
            plans.pop_front();
        }
    }

    /// The answers to one message have ended: an Execute has only one result.
    pub(crate) fn message_ended(&mut self, cells: &mut Cells) {
        self.ended(cells);
        if matches!(self.expected.front(), Some(Expected::Results(plans)) if plans.is_empty()) {
            self.expected.pop_front();
        }
    }

    /// An error: nothing more of the cycle is answered.
    pub(crate) fn failed(&mut self, cells: &mut Cells) {
        self.count(cells);
        self.expected.clear();
    }

    fn count(&mut self, cells: &mut Cells) {
        let (rows, copy) = (self.rows.take(), self.copy.take());
        let counted = rows.iter().flat_map(Rows::cells).chain(copy.iter().flat_map(CopyRows::cells));
        for (rule, count) in counted {
            let known = cells.entry(Arc::clone(rule)).or_default();
            *known = known.saturating_add(*count);
        }
    }
}

/// Whether an error or notice comes from a statement or function that the server runs for another one: a foreign key that
/// changes rows elsewhere, a trigger. Its context names SQL then, in every language. What somebody has written into a RAISE
/// is that function's own word.
fn is_from_inside(message: &[u8]) -> bool {
    let field = |code: u8| {
        let fields = message.get(5..).unwrap_or_default().split(|byte| *byte == 0);
        fields.filter_map(|field| field.split_first()).find(|(known, _)| **known == code).map(|(_, value)| value)
    };
    let names_sql = field(b'W').is_some_and(|context| context.windows(3).any(|window| window == b"SQL"));
    names_sql && field(b'R') != Some(b"exec_stmt_raise")
}

/// An error or notice without detail and context, which quote rows.
pub(crate) fn without_details(message: &[u8], out: &mut Vec<u8>) {
    let kind = message.first().copied().unwrap_or(b'E');
    let body = message.get(5..).unwrap_or_default();
    let start = out.len();
    out.extend_from_slice(&[kind, 0, 0, 0, 0]);
    for field in body.split(|byte| *byte == 0) {
        if field.first().is_some_and(|code| !b"DWq".contains(code)) {
            out.extend_from_slice(field);
            out.push(0);
        }
    }
    out.push(0);
    let length = u32::try_from(out.len().saturating_sub(start).saturating_sub(1)).unwrap_or(u32::MAX);
    if let Some(place) = out.get_mut(start.saturating_add(1)..start.saturating_add(5)) {
        place.copy_from_slice(&length.to_be_bytes());
    }
}

/// An error or notice without its texts: they may quote values. The SQLSTATE and the place in the statement stay.
pub(crate) fn withheld(message: &[u8], out: &mut Vec<u8>) {
    let kind = message.first().copied().unwrap_or(b'E');
    let body = message.get(5..).unwrap_or_default();
    let fields = body.split(|byte| *byte == 0).filter_map(|field| field.split_first());
    let kept: Vec<(u8, &[u8])> =
        fields.filter(|(code, _)| b"SVCPp".contains(*code)).map(|(code, value)| (*code, value)).collect();
    message::report_withheld(kind, &kept, out);
}
