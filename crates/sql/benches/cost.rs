//! What facts cost: `cargo bench -p sql --bench cost`. Prints, asserts nothing about time.

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sql::catalogue::Catalogue;
use sql::state::State;
use sql::{Analyser, Limits};

const ROUNDS: u32 = 100_000;

const TEXTS: &[(&str, &str)] = &[
    ("point select", "SELECT id, name, city FROM customers WHERE id = $1"),
    ("update", "UPDATE customers SET city = $1 WHERE id = $2"),
    ("for update", "SELECT id FROM customers WHERE id = $1 FOR UPDATE"),
    (
        "CTE and window",
        "WITH recent AS (SELECT customer_id, sum(amount) AS total FROM orders WHERE created_at > $1 GROUP BY customer_id) \
         SELECT c.name, r.total, rank() OVER (PARTITION BY c.city ORDER BY r.total DESC) FROM customers c \
         JOIN recent r ON r.customer_id = c.id WHERE c.city = $2 ORDER BY 2 DESC LIMIT 10",
    ),
];

/// Median time of one call, of seven rounds.
fn time(mut call: impl FnMut()) -> Duration {
    let mut rounds: Vec<Duration> = (0..7)
        .map(|_| {
            #[expect(clippy::disallowed_methods, reason = "a measurement needs a clock")]
            let start = Instant::now();
            (0..ROUNDS / 7).for_each(|_| call());
            start.elapsed() / (ROUNDS / 7)
        })
        .collect();
    rounds.sort();
    rounds[3]
}

fn main() {
    let state = State::new(Arc::from("alice"));
    let catalogue = Catalogue::none();
    for (name, text) in TEXTS {
        let mut uncached = Analyser::new(Limits { cached_texts_max: 0, ..Limits::default() });
        let new = time(|| drop(black_box(uncached.facts(black_box(text.as_bytes()), &state, &catalogue))));
        let mut cached = Analyser::new(Limits::default());
        let again = time(|| drop(black_box(cached.facts(black_box(text.as_bytes()), &state, &catalogue))));
        println!("{name}: new {new:?}, cached {again:?}");
    }
    let mut analyser = Analyser::new(Limits { cached_texts_max: 0, ..Limits::default() });
    for piece in ["+a", "||a", ",b", " AND a = (SELECT b FROM t)", " JOIN t ON a = b", ",(1)", "/***"] {
        let text = format!("SELECT a{}", piece.repeat(32_000 / piece.len()));
        #[expect(clippy::disallowed_methods, reason = "a measurement needs a clock")]
        let start = Instant::now();
        drop(black_box(analyser.facts(text.as_bytes(), &state, &catalogue)));
        println!("{} bytes of {piece:?}: {:?}", text.len(), start.elapsed());
    }
}
