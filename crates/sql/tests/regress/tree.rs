//! The tree of a text as libpg_query itself prints it.

#![expect(unsafe_code, reason = "libpg_query's own entry, which the binding does not offer")]

use std::ffi::{CStr, CString, c_char, c_void};

use serde_json::Value;

// So that the library is linked.
use pg_raw_parse as _;

#[repr(C)]
struct ParseResult {
    parse_tree: *mut c_char,
    stderr_buffer: *mut c_char,
    error: *mut c_void,
}

unsafe extern "C" {
    fn pg_query_parse(text: *const c_char) -> ParseResult;
    fn pg_query_free_parse_result(result: ParseResult);
}

/// The tree, where the grammar accepts the text. Only from one thread at a time: it redirects standard error.
pub(crate) fn parse(text: &str) -> Option<Value> {
    let text = CString::new(text).ok()?;
    // SAFETY: the text ends with NUL; the strings of the result are valid until it is freed, which happens once.
    unsafe {
        let result = pg_query_parse(text.as_ptr());
        let tree = (result.error.is_null() && !result.parse_tree.is_null())
            .then(|| CStr::from_ptr(result.parse_tree).to_string_lossy().into_owned());
        pg_query_free_parse_result(result);
        tree.map(|tree| serde_json::from_str(&tree).unwrap())
    }
}
