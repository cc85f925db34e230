//! What texts would do: a text, and its facts in words.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

mod catalogue;
mod conditions;
mod definitions;
mod evasion;
mod fuzz_body;
mod laws;
mod limits;
mod opinion;
mod render;
mod rows;
mod session;
