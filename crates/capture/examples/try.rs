fn main() {
    let o = capture::object::LoadOptions{ring_bytes: 8<<20, sessions_max: 16384, message_bytes_max: 1<<20, capture_arguments: true};
    match capture::object::load(&o) {
        Ok(_) => println!("loaded"),
        Err(e) => { let mut s: &dyn std::error::Error = &e; loop { println!("{s}"); match s.source() { Some(n) => s = n, None => break } } }
    }
}
