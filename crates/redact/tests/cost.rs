//! What a plain statement costs. Prints; run with `--release -- --ignored --nocapture`.

use std::hint::black_box;
use std::time::Instant;

use redact::{Judgement, sql};

#[test]
#[ignore = "a measurement"]
fn a_plain_text_costs_little() {
    let text =
        "SELECT c.id, c.name, sum(o.amount) FROM customers c JOIN orders o ON o.customer_id = c.id WHERE c.id = $1";
    let rounds = 1_000_000_u32;
    #[expect(clippy::disallowed_methods, reason = "a measurement needs a clock")]
    let start = Instant::now();
    for _ in 0..rounds {
        assert_eq!(sql(black_box(text)), Judgement::Plain);
    }
    println!("{} bytes: {:?} per text", text.len(), start.elapsed() / rounds);
}
