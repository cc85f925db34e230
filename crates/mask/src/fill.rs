//! Rows that are too long to be collected: lengths stay as they are, hidden values are overwritten where they stand. What
//! such a value looks like is the client's to bear: its length shows, and of most types it is no value any more.

use crate::types::Type;

/// Where in a row's body the next byte is.
#[derive(Clone, Debug)]
pub(crate) struct Fill {
    /// Whether each column is hidden, and its type.
    columns: Vec<(bool, Type)>,
    /// Columns that began.
    begun: usize,
    /// A number that is not there whole.
    number: Vec<u8>,
    /// Its bytes: 2 for the number of columns, 4 for a length.
    wanted: usize,
    value: u32,
    at: u32,
}

impl Fill {
    pub(crate) const fn new(columns: Vec<(bool, Type)>) -> Self {
        Self { columns, begun: 0, number: Vec::new(), wanted: 2, value: 0, at: 0 }
    }

    /// Overwrites what is hidden in the next bytes.
    pub(crate) fn take(&mut self, chunk: &mut [u8]) {
        for byte in chunk {
            if self.at < self.value {
                *byte = self.letter(*byte);
                self.at = self.at.saturating_add(1);
                continue;
            }
            self.number.push(*byte);
            if self.number.len() == self.wanted {
                self.number();
            }
        }
    }

    fn number(&mut self) {
        if let Ok(length) = <[u8; 4]>::try_from(&self.number[..]) {
            // NULL has no bytes.
            self.value = u32::try_from(i32::from_be_bytes(length)).unwrap_or_default();
            self.at = 0;
            self.begun = self.begun.saturating_add(1);
        }
        self.wanted = 4;
        self.number.clear();
    }

    fn letter(&self, byte: u8) -> u8 {
        let column = self.begun.checked_sub(1).and_then(|place| self.columns.get(place));
        // A column that nobody has described is hidden.
        let (is_hidden, kind) = column.copied().unwrap_or((true, Type::Other));
        match (is_hidden, kind) {
            (false, _) => byte,
            (true, Type::Json) if self.at == 0 || self.at.saturating_add(1) == self.value => b'"',
            (true, Type::Text | Type::Json) => b'*',
            (true, _) => b'0',
        }
    }
}
