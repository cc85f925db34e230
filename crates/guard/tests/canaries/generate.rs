//! Random SELECTs over the schema of the tests: a number is a query, always the same one.

/// A small generator of numbers (Marsaglia, *Xorshift RNGs*).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 11).unwrap() % end
    }

    fn one_of<'a>(&mut self, words: &[&'a str]) -> &'a str {
        words[self.below(words.len())]
    }
}

/// The query with this number.
pub(crate) fn query(seed: u64) -> String {
    let mut numbers = Numbers(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    for _ in 0..4 {
        numbers.below(2);
    }
    select(&mut numbers, 3)
}

/// A SELECT with two text columns `a` and `b`, and a number `i`.
fn select(numbers: &mut Numbers, depth: usize) -> String {
    let (source, text, number) = source(numbers, depth);
    let columns = |numbers: &mut Numbers| expression(numbers, &text, depth);
    let (a, b) = (columns(numbers), columns(numbers));
    match numbers.below(8) {
        0 => format!("select distinct {a} as a, {b} as b, {number} as i from {source}"),
        1 => format!("select max({a}) as a, min({b}) as b, {number} as i from {source} group by {number}"),
        2 if depth > 0 => {
            let other = select(numbers, depth - 1);
            let word = numbers.one_of(&["union", "union all", "except", "intersect"]);
            format!("select {a} as a, {b} as b, {number} as i from {source} {word} ({other})")
        }
        3 if depth > 0 => {
            let inner = select(numbers, depth - 1);
            let columns =
                numbers.one_of(&["b as a, a as b, i", "*", "x.*", "(x).a as a, x.b, x.i", "a, a || b as b, i"]);
            format!("with x as ({inner}) select {columns} from x")
        }
        4 => format!("select {a} as a, lag({b}) over (order by {number}) as b, {number} as i from {source}"),
        5 => format!("select {a} as a, {b} as b, {number} as i from {source} where {number} > 2 order by 3 limit 4"),
        6 => format!("select {a} as a, (select {b} limit 1) as b, {number} as i from {source}"),
        _ => format!("select {a} as a, {b} as b, {number} as i from {source}"),
    }
}

/// The same with few rows: joins multiply them.
fn few(numbers: &mut Numbers, depth: usize) -> String {
    format!("select * from ({}) few limit 9", select(numbers, depth))
}

/// FROM, a list of text columns in it, and a column that is a number.
fn source(numbers: &mut Numbers, depth: usize) -> (String, Vec<&'static str>, &'static str) {
    let people = ["t.ssn", "t.name", "t.email", "t.token", "t.shout", "t.doc::text", "t.words[1]"];
    match numbers.below(if depth > 0 { 9 } else { 5 }) {
        0 => ("people t".to_owned(), people.to_vec(), "t.id"),
        1 => ("contacts t".to_owned(), vec!["t.who", "t.mail", "t.folded"], "t.id"),
        2 => ("orders t".to_owned(), vec!["t.what", "t.amount::text"], "t.person"),
        3 => ("events t".to_owned(), vec!["t.ssn", "t.at::text"], "t.person"),
        4 => ("orders u join people t on u.person = t.id".to_owned(), people.to_vec(), "u.id"),
        5 => (format!("({}) t", few(numbers, depth - 1)), vec!["t.a", "t.b"], "t.i"),
        6 => {
            let inner = few(numbers, depth - 1);
            (format!("orders o cross join lateral ({inner}) as t(b, a, i)"), vec!["t.a", "t.b", "o.what"], "t.i")
        }
        7 => (
            "people u natural join (select id, what from orders) t".to_owned(),
            vec!["u.ssn", "t.what", "u.email"],
            "u.id",
        ),
        _ => {
            let inner = few(numbers, depth - 1);
            (format!("({inner}) t left join people p on p.id = t.i"), vec!["t.a", "p.ssn", "p.name", "t.b"], "t.i")
        }
    }
}

fn expression(numbers: &mut Numbers, columns: &[&str], depth: usize) -> String {
    let column = numbers.one_of(columns);
    if depth == 0 {
        return column.to_owned();
    }
    let mut inner = || expression(numbers, columns, depth - 1);
    let (one, other) = (inner(), inner());
    match numbers.below(16) {
        0 => format!("upper({one})"),
        1 => format!("({one} || '/' || {other})"),
        2 => format!("coalesce({one}, {other})"),
        3 => format!("case when 1 = 1 then {one} else {other} end"),
        4 => format!("substr({one}, 2, 9)"),
        5 => format!("(array[{one}, {other}])[1]"),
        6 => format!("to_jsonb({one})::text"),
        7 => format!("nullif({one}, {other})"),
        8 => format!("encode(convert_to({one}, 'UTF8'), 'hex')"),
        9 => format!("md5({one})"),
        10 => format!("{one}::varchar(5)::text"),
        11 => format!("twice({one}, 2)"),
        12 => format!("shout({one} || {other})"),
        _ => column.to_owned(),
    }
}
