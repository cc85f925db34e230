//! How much of a text is analysed: everything from outside has a limit.

/// Limits of an [`Analyser`](crate::Analyser). What is over one is opaque, with the reason `too_large`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a text.
    pub text_bytes_max: usize,
    /// Lexical tokens of a text.
    pub tokens_max: usize,
    /// Parentheses, brackets and CASE inside each other; also queries inside each other, however they are written.
    pub nesting_max: usize,
    /// Statements of a text.
    pub statements_max: usize,
    /// Effects of one statement, views and partitions included.
    pub effects_max: usize,
    /// Texts whose facts are kept.
    pub cached_texts_max: usize,
    /// Bytes of the texts whose facts are kept.
    pub cached_bytes_max: usize,
    /// Whether it is followed where values come from. Only masking asks, and it takes as long as everything else.
    pub lineage: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            text_bytes_max: 256 * 1024,
            tokens_max: 192 * 1024,
            nesting_max: 128,
            statements_max: 1024,
            effects_max: 4096,
            cached_texts_max: 2048,
            cached_bytes_max: 2 * 1024 * 1024,
            lineage: false,
        }
    }
}
