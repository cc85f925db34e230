//! PostgreSQL's own grammar: text -> parse tree. The only place with `unsafe`, and the only one that calls C.
//!
//! The parser itself does not recurse, and a tree is freed as one region: neither can overflow the stack.

#![expect(unsafe_code, reason = "the border to libpg_query, a C library")]

use std::ffi::{CStr, c_char, c_void};
use std::ptr;

use pg_raw_parse::Node;
use pg_raw_parse::list::{CastNodeList, NodeList};
use pg_raw_parse::nodes::{CreateStmt, RawStmt};
use pg_raw_parse::raw::{self, NodeTag};

/// Major version of the server whose grammar this is.
pub const GRAMMAR_MAJOR: u16 = 18;

/// The grammar does not accept a text.
#[derive(Debug)]
pub(crate) struct Rejected;

/// A parsed text. Its nodes borrow from it.
pub(crate) struct Tree {
    /// The memory that everything below lies in.
    context: *mut c_void,
    /// A list, or null where there is no statement.
    statements: *mut c_void,
}

unsafe extern "C" {
    fn sql_grammar_parse(
        text: *const c_char,
        conforming_strings: bool,
        context: *mut *mut c_void,
        statements: *mut *mut c_void,
    ) -> bool;
    fn sql_grammar_free(context: *mut c_void);
}

impl Tree {
    /// Parses UTF-8 text.
    ///
    /// # Errors
    /// When the grammar does not accept it.
    pub(crate) fn parse(text: &CStr, standard_conforming_strings: bool) -> Result<Self, Rejected> {
        let (mut context, mut statements) = (ptr::null_mut(), ptr::null_mut());
        // SAFETY: `text` ends with NUL and outlives the call; both places are valid for a write. The C side catches
        // every error that the parser throws, so no Rust frame is jumped over; its state is per thread.
        let accepted = unsafe {
            sql_grammar_parse(text.as_ptr(), standard_conforming_strings, &raw mut context, &raw mut statements)
        };
        if accepted { Ok(Self { context, statements }) } else { Err(Rejected) }
    }

    /// The statements in order.
    pub(crate) fn statements(&self) -> impl Iterator<Item = Node<'_>> {
        let list = self.statements.cast::<CastNodeList<RawStmt>>();
        // SAFETY: the raw parser returns a `List` of `RawStmt`, or null for an empty one. It lies in `context`, which
        // lives as long as `self` and is not written any more.
        let list = unsafe { list.as_ref() };
        list.into_iter().flat_map(untyped).map(|node| match node {
            Node::RawStmt(raw) => raw.stmt(),
            other => other,
        })
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        // SAFETY: `context` comes from a successful parse and is freed once; all borrows of its nodes have ended.
        unsafe { sql_grammar_free(self.context) };
    }
}

/// The nodes of a list, whatever they are. The iterator that the binding gives a typed list takes the node types from
/// comments in PostgreSQL's headers and panics where those are wrong (GRANT's objects): it is not used anywhere.
pub(crate) fn untyped<T>(list: &CastNodeList<T>) -> &NodeList {
    // SAFETY: `CastNodeList` is a transparent wrapper of `NodeList`; the type parameter is phantom.
    unsafe { &*ptr::from_ref(list).cast::<NodeList>() }
}

/// CREATE FOREIGN TABLE, of which the binding has the struct, and no node.
pub(crate) struct ForeignTable<'a> {
    /// All of it that it shares with CREATE TABLE.
    pub(crate) table: &'a CreateStmt,
    pub(crate) server: Option<&'a str>,
    /// What the wrapper is told.
    pub(crate) options: Option<&'a NodeList>,
}

/// The statement, where a node is that.
pub(crate) fn foreign_table(node: Node<'_>) -> Option<ForeignTable<'_>> {
    let Node::Invalid(unnamed) = node else { return None };
    if unnamed.type_ != NodeTag::T_CreateForeignTableStmt {
        return None;
    }
    // SAFETY: the tag says which struct begins here; it lies in the tree's memory as long as the node.
    let statement = unsafe { &*ptr::from_ref(unnamed).cast::<raw::CreateForeignTableStmt>() };
    let name = (!statement.servername.is_null()).then_some(statement.servername);
    // SAFETY: the parser's strings end with NUL, and lie in the same memory.
    let server = name.and_then(|name| unsafe { CStr::from_ptr(name) }.to_str().ok());
    // SAFETY: a list or null; `NodeList` is a transparent wrapper of `List`, and the binding casts it in the same way.
    let options = unsafe { statement.options.cast::<NodeList>().as_ref() };
    Some(ForeignTable { table: &statement.base, server, options })
}
