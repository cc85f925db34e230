//! A request that tests and benchmarks make.

use std::collections::BTreeSet;

use access::Ask;
use model::access::{Holder, Scope};

/// DELETE in one table, for so many nanoseconds.
pub(crate) fn ask(holder: Holder, duration: u64) -> Ask {
    let scope = Scope {
        database: "shop".into(),
        sql_database: None,
        actions: BTreeSet::from(["Delete".into()]),
        relations: BTreeSet::from(["public.orders".into()]),
    };
    Ask { holder, scope, purpose: "work".into(), ticket: None, duration, once: None, break_glass: false, renews: None }
}
