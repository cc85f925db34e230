//! RowDescription (chapter 55.7, `T`): what the server says about the columns of a result.

/// Columns of one result: PostgreSQL has no more than 1,664 in a target list.
const COLUMNS_MAX: usize = 1664;

/// One column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Column {
    /// `pg_class.oid` of the relation that it is a column of; 0: of none.
    pub relation: u32,
    /// Its number there.
    pub number: i16,
    /// `pg_type.oid`.
    pub type_oid: u32,
    /// Whether values come in the binary format.
    pub is_binary: bool,
}

/// All columns, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Description {
    /// One for each column.
    pub columns: Vec<Column>,
}

impl Description {
    /// Reads the body of a message. `None`: it is not what the manual says.
    #[must_use]
    pub fn parse(body: &[u8]) -> Option<Self> {
        let (count, mut rest) = body.split_first_chunk()?;
        let count = usize::try_from(i16::from_be_bytes(*count)).ok().filter(|count| *count <= COLUMNS_MAX)?;
        let mut columns = Vec::with_capacity(count);
        for _ in 0..count {
            let end = rest.iter().position(|byte| *byte == 0)?;
            let (_, behind) = rest.split_at_checked(end.checked_add(1)?)?;
            let (relation, behind) = behind.split_first_chunk::<4>()?;
            let (number, behind) = behind.split_first_chunk::<2>()?;
            let (type_oid, behind) = behind.split_first_chunk::<4>()?;
            let (_size_and_modifier, behind) = behind.split_first_chunk::<6>()?;
            let (format, behind) = behind.split_first_chunk::<2>()?;
            columns.push(Column {
                relation: u32::from_be_bytes(*relation),
                number: i16::from_be_bytes(*number),
                type_oid: u32::from_be_bytes(*type_oid),
                is_binary: *format != [0, 0],
            });
            rest = behind;
        }
        rest.is_empty().then_some(Self { columns })
    }
}
