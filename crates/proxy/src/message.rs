//! The one message that the proxy ever makes itself: an ErrorResponse that ends the session (55.7, 55.8).

/// ErrorResponse of severity FATAL. Without NUL in `text`, which is ours.
pub(crate) fn fatal(sqlstate: &str, text: &str) -> Vec<u8> {
    let fields: [(u8, &str); 4] = [(b'S', "FATAL"), (b'V', "FATAL"), (b'C', sqlstate), (b'M', text)];
    let mut message = vec![b'E', 0, 0, 0, 0];
    for (field, value) in fields {
        message.push(field);
        message.extend(value.bytes().filter(|byte| *byte != 0));
        message.push(0);
    }
    message.push(0);
    let length = u32::try_from(message.len().saturating_sub(1)).unwrap_or(u32::MAX).to_be_bytes();
    for (slot, byte) in message.iter_mut().skip(1).zip(length) {
        *slot = byte;
    }
    message
}
