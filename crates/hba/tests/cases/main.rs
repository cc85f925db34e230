//! Files and connections, and what has to come out.

mod fuzz;
mod fuzz_body;
mod hop;
mod rules;
mod support;
mod survey;
