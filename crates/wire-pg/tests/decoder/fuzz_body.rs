//! What must hold for any bytes: no panic, bounded memory. Shared with the fuzz target of the same name.

use model::time::BootTime;
use model::wire::{Input, Side, WireEvent};
use wire_pg::{Connection, Limits, Start};

/// Reads the data as a list of inputs and feeds them.
pub(crate) fn run(data: &[u8]) {
    let Some((&[start, limits, ..], mut data)) = data.split_at_checked(2) else {
        return;
    };
    let start = if start % 2 == 0 { Start::FirstByte } else { Start::MidStream };
    let announces = limits / 2 % 2 == 0;
    let limits = if limits % 2 == 0 { Limits::default() } else { small() };
    let mut connection = Connection::new(start, limits);
    if announces {
        connection.announce();
    }
    let mut statements = 0_u64;
    let mut sink = |event: WireEvent| statements += u64::from(matches!(event, WireEvent::Statement(_)));
    let mut at = 0;
    while let Some((&[operation, size, kind, more], rest)) = data.split_at_checked(4) {
        at += 1;
        let side = if operation % 2 == 0 { Side::Client } else { Side::Server };
        let (bytes, resume) = (u64::from(size), u64::from(more));
        let input = match operation / 2 % 16 {
            0 => Input::Skipped { kind, bytes, messages: resume % 4 },
            1 => Input::Lost { bytes: Some(bytes), resume_in: Some(resume) },
            2 => Input::Lost { bytes: None, resume_in: (more % 2 == 0).then_some(resume) },
            _ => Input::Bytes(rest.get(..usize::from(size)).unwrap_or(rest)),
        };
        data = match input {
            Input::Bytes(bytes) => &rest[bytes.len()..],
            _ => rest,
        };
        connection.feed(side, BootTime(at), input, &mut sink);
        let _ = connection.in_progress();
        let retained = connection.retained_bytes() as u64;
        assert!(retained <= limits.retained_bytes_max(), "{retained} bytes retained");
    }
    connection.close(BootTime(at + 1), &mut sink);
    assert!(connection.retained_bytes() < 1024, "{} bytes after the end", connection.retained_bytes());
}

/// Limits that short inputs reach.
fn small() -> Limits {
    Limits {
        message_bytes_max: 64,
        names_max: 2,
        name_bytes_max: 1024,
        pending_max: 4,
        pending_bytes_max: 2048,
        outcomes_max: 2,
        parameters_max: 2,
        parameter_bytes_max: 16,
        value_bytes_max: 8,
        startup_parameters_max: 1,
    }
}
