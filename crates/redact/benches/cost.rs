//! What redaction costs: `cargo bench -p redact --bench cost`. Prints, asserts nothing about time.

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use model::statement::Text;
use redact::fingerprint::{KEY_BYTES, Key};
use redact::policy::Mode;
use redact::{Judgement, sql, text_in_mode};

const ROUNDS: u32 = 1_000_000;

/// Time of one call.
fn time(mut call: impl FnMut()) -> Duration {
    #[expect(clippy::disallowed_methods, reason = "a measurement needs a clock")]
    let start = Instant::now();
    (0..ROUNDS).for_each(|_| call());
    start.elapsed() / ROUNDS
}

fn main() {
    plain_text();
    literals();
}

fn plain_text() {
    let text =
        "SELECT c.id, c.name, sum(o.amount) FROM customers c JOIN orders o ON o.customer_id = c.id WHERE c.id = $1";
    let cost = time(|| assert_eq!(sql(black_box(text)), Judgement::Plain));
    println!("{} bytes: {cost:?} per text", text.len());
}

fn literals() {
    let key = Key::new(&[7; KEY_BYTES]);
    let columns = "SELECT c.id, c.name, sum(o.amount) FROM customers c JOIN orders o ON o.customer_id = c.id ";
    for condition in [
        "WHERE c.id = $1 AND o.created_at > $2 AND o.state = $3 AND c.country = $4 GROUP BY c.id, c.name, c.country",
        "WHERE c.id = 42 AND o.created_at > $1 AND o.state = $2 AND c.country = $3 GROUP BY c.id, c.name, c.country",
        "WHERE c.id = 42 AND o.created_at > '2024-01-01' AND o.state = 'open' AND c.country = 'CH' ORDER BY c.id",
    ] {
        let text = Text::Whole(Arc::from(format!("{columns}{condition}")));
        let [none, literals] = [Mode::None, Mode::Literals].map(|mode| {
            time(|| {
                black_box(text_in_mode(black_box(&text), mode, &key));
            })
        });
        println!("{condition}: none {none:?}, literals {literals:?} ({:?} more)", literals.saturating_sub(none));
    }
    let fingerprint = time(|| {
        black_box(key.fingerprint(black_box("2024-01-01")));
    });
    println!("one fingerprint: {fingerprint:?}");
}
