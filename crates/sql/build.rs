//! Compiles the door to PostgreSQL's grammar, `src/grammar/door.c`.

fn main() {
    println!("cargo:rerun-if-changed=src/grammar/door.c");
    cc::Build::new().file("src/grammar/door.c").compile("sql_grammar");
}
