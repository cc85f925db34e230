//! What it costs to find out who a token is about. Printed, not asserted: machines are noisy.
#![allow(
    clippy::allow_attributes,
    clippy::panic,
    clippy::unwrap_used,
    dead_code,
    unreachable_pub,
    reason = "helpers of tests"
)]

#[path = "../../../tests/src/issuer.rs"]
mod issuer;
#[path = "../tests/tokens/scene.rs"]
mod scene;

use std::time::Instant;

use issuer::SigningKey;
use scene::{ED25519, P256, P384, RSA, Scene, claims};

const BATCHES: u32 = 100;
const TOKENS: u32 = 20;

/// The quickest of many batches: whoever else uses the machine only makes them slower.
#[expect(clippy::disallowed_methods, reason = "measures elapsed time")]
fn measure(scene: &Scene, key: &SigningKey, algorithm: &str) {
    let token = key.token(algorithm, &claims()).unwrap();
    let batch = |_| {
        let begin = Instant::now();
        for _ in 0..TOKENS {
            scene.verify(&token).unwrap();
        }
        begin.elapsed() / TOKENS
    };
    let each = (0..BATCHES).map(batch).min().unwrap();
    println!("{algorithm}, keys in a file: {:.1} us a token", each.as_secs_f64() * 1e6);
}

fn main() {
    let scene = Scene::new();
    for (key, algorithm) in [(&RSA, "RS256"), (&RSA, "PS256"), (&P256, "ES256"), (&P384, "ES384"), (&ED25519, "EdDSA")]
    {
        measure(&scene, key, algorithm);
    }
}
