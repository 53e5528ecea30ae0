//! What a query of PostgREST may contain. PostgREST itself has no bounds: a short address can cost seconds of
//! processor (hundreds of conditions) or gigabytes of memory (one column a thousand times), and a cast that fails
//! writes what it was given into the database's log.
//!
//! The grammar is PostgREST's (12), read so that nothing it would take is overlooked: parameters end at `&` and at `;`,
//! `+` is a blank, and what follows a tree's last parenthesis is ignored.

use super::denial::Denial;

/// Longest query as it is sent. A hundred ids take 3.7 KB; Thai letters take nine bytes each.
pub const MAX_QUERY_BYTES: usize = 4 * 1024;
/// Filters, terms of `and` and `or`, at any depth, and embedded resources together: each is work for every row.
pub const MAX_CONDITIONS: usize = 20;
/// Columns of all levels; the widest table has 24.
pub const MAX_SELECTED: usize = 50;
/// Columns that rows are put in order by.
pub const MAX_ORDERED: usize = 10;

const TOO_LONG: Denial = Denial::new(400, "query_too_long", "A query may have 4 KiB");
const NOT_UTF8: Denial = Denial::new(400, "query_not_utf8", "The query must be UTF-8");
const CAST: Denial = Denial::new(
    400,
    "cast_not_allowed",
    "Casts (::) are not offered: values may hold them, names and select may not",
);
const TOO_MANY_CONDITIONS: Denial = Denial::new(
    400,
    "too_many_conditions",
    "A query may have 20 conditions; terms of and, or and embedded resources count",
);
const TOO_MUCH_SELECTED: Denial = Denial::new(
    400,
    "too_many_columns",
    "A query may name 50 columns in select and 10 in order",
);
const REPEATED: Denial = Denial::new(
    400,
    "repeated_column",
    "select may be given once, and name each column once",
);

/// PostgREST's operators. Each condition of a tree has one between a dot and a dot or parenthesis.
const OPERATORS: &[&str] = &[
    "eq",
    "neq",
    "gt",
    "gte",
    "lt",
    "lte",
    "like",
    "ilike",
    "match",
    "imatch",
    "in",
    "is",
    "isdistinct",
    "fts",
    "plfts",
    "phfts",
    "wfts",
    "cs",
    "cd",
    "ov",
    "sl",
    "sr",
    "nxr",
    "nxl",
    "adj",
];

/// What a parameter is, by the last word of its name.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Select,
    Order,
    Tree,
    /// Bounds of the answer, and names of columns to write.
    Other,
    /// A condition of its own, or an argument of a function.
    Filter,
}

const KINDS: &[(&str, Kind)] = &[
    ("order", Kind::Order),
    ("and", Kind::Tree),
    ("or", Kind::Tree),
    ("limit", Kind::Other),
    ("offset", Kind::Other),
];

fn kind(name: &str) -> Kind {
    match name {
        "select" => Kind::Select,
        "columns" | "on_conflict" => Kind::Other,
        _ => {
            let last = name.rsplit('.').next().unwrap_or_default();
            let listed = KINDS.iter().find(|(word, _)| *word == last);
            listed.map_or(Kind::Filter, |(_, kind)| *kind)
        }
    }
}

/// Checks a query, given as it is sent.
pub fn check(query: &str) -> Result<(), Denial> {
    if query.len() > MAX_QUERY_BYTES {
        return Err(TOO_LONG);
    }
    let (mut conditions, mut ordered, mut selects) = (0, 0, 0);
    // A second question mark belongs to no name.
    for part in query.trim_start_matches('?').split(['&', ';']) {
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        let (name, value) = (decode(name)?, decode(value)?);
        let kind = kind(&name);
        let cast = name.contains("::")
            || match kind {
                Kind::Filter => false,
                Kind::Tree => has_cast_left(&value),
                Kind::Select | Kind::Order | Kind::Other => value.contains("::"),
            };
        if cast {
            return Err(CAST);
        }
        match kind {
            Kind::Select => {
                selects += 1;
                conditions += check_select(&value)?;
            }
            Kind::Order => ordered += value.split(',').count(),
            Kind::Tree => conditions += count_operators(&value).max(1),
            Kind::Filter if !name.is_empty() => conditions += 1,
            Kind::Filter | Kind::Other => {}
        }
    }
    if conditions > MAX_CONDITIONS {
        return Err(TOO_MANY_CONDITIONS);
    }
    if ordered > MAX_ORDERED {
        return Err(TOO_MUCH_SELECTED);
    }
    if selects > 1 { Err(REPEATED) } else { Ok(()) }
}

/// A parameter's text. A percent sign before anything but two hexadecimal digits stands for itself.
fn decode(text: &str) -> Result<String, Denial> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let escaped = (*first == b'%')
            .then(|| tail.get(..2).and_then(hex_byte))
            .flatten();
        match escaped {
            Some(byte) => {
                bytes.push(byte);
                rest = &tail[2..];
            }
            None => {
                bytes.push(if *first == b'+' { b' ' } else { *first });
                rest = tail;
            }
        }
    }
    String::from_utf8(bytes).map_err(|_| NOT_UTF8)
}

fn hex_byte(digits: &[u8]) -> Option<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let (high, low) = (digit(digits[0])?, digit(digits[1])?);
    u8::try_from(high * 16 + low).ok()
}

/// How often an operator stands in a tree: never less than it has conditions, and more only if a value has the form of one.
fn count_operators(tree: &str) -> usize {
    let after_dots = tree.match_indices('.').map(|(at, _)| &tree[at + 1..]);
    let operators = after_dots.filter(|rest| {
        rest.find(['.', '('])
            .is_some_and(|end| OPERATORS.contains(&&rest[..end]))
    });
    operators.count()
}

/// Whether a name in a tree of conditions holds a cast; one that cannot be read counts as it stands.
fn has_cast_left(tree: &str) -> bool {
    let mut names = Vec::new();
    match Tree(tree).group(&mut names) {
        Some(()) => names.iter().any(|name| name.contains("::")),
        None => tree.contains("::"),
    }
}

/// What is still to be read of a tree of conditions.
struct Tree<'a>(&'a str);

impl<'a> Tree<'a> {
    fn skip_blanks(&mut self) {
        self.0 = self.0.trim_start_matches([' ', '\t']);
    }

    /// Takes a word or sign, with blanks before it.
    fn take(&mut self, word: &str) -> Option<()> {
        self.skip_blanks();
        self.0 = self.0.strip_prefix(word)?;
        Some(())
    }

    fn take_while(&mut self, belongs: impl Fn(char) -> bool) -> &'a str {
        let end = self.0.find(|sign| !belongs(sign)).unwrap_or(self.0.len());
        let (taken, rest) = self.0.split_at(end);
        self.0 = rest;
        taken
    }

    /// Terms between parentheses; the names on the left of their operators are noted.
    fn group(&mut self, names: &mut Vec<&'a str>) -> Option<()> {
        self.take("(")?;
        loop {
            self.term(names)?;
            if self.take(",").is_none() {
                return self.take(")");
            }
        }
    }

    fn term(&mut self, names: &mut Vec<&'a str>) -> Option<()> {
        self.skip_blanks();
        for word in ["not.and", "not.or", "and", "or"] {
            let mut inner = Tree(self.0.strip_prefix(word).unwrap_or_default());
            inner.skip_blanks();
            if inner.0.starts_with('(') {
                inner.group(names)?;
                self.0 = inner.0;
                return Some(());
            }
        }
        let begun = self.0;
        while !self.0.starts_with('.') {
            match self.0.chars().next()? {
                '"' => self.quoted()?,
                ',' | '(' | ')' => return None,
                sign => self.0 = &self.0[sign.len_utf8()..],
            }
        }
        names.push(&begun[..begun.len() - self.0.len()]);
        self.condition()
    }

    /// An operator and its value, the dot before it included.
    fn condition(&mut self) -> Option<()> {
        self.0 = self.0.strip_prefix('.')?;
        self.0 = self.0.strip_prefix("not.").unwrap_or(self.0);
        let operator = self.take_while(|sign| sign.is_ascii_lowercase());
        if self.0.starts_with('(') {
            // The language of a search, or "any" and "all".
            self.take_while(|sign| sign != ')');
            self.take(")")?;
        }
        self.0 = self.0.strip_prefix('.')?;
        if operator != "in" {
            return self.value();
        }
        self.take("(")?;
        loop {
            self.value()?;
            if !self.0.starts_with(',') {
                return self.take(")");
            }
            self.0 = &self.0[1..];
        }
    }

    /// A value: quoted, an array in braces, or all up to the next comma or parenthesis.
    fn value(&mut self) -> Option<()> {
        let ends = |rest: &str| rest.is_empty() || rest.starts_with([',', ')']);
        let mut quoted = Tree(self.0);
        if quoted.0.starts_with('"') && quoted.quoted().is_some() && ends(quoted.0) {
            self.0 = quoted.0;
            return Some(());
        }
        if let Some(array) = self.0.strip_prefix('{')
            && let Some(end) = array.find(['{', '}'])
            && array[end..].starts_with('}')
        {
            self.0 = &array[end + 1..];
            return Some(());
        }
        self.take_while(|sign| !matches!(sign, ',' | ')'));
        Some(())
    }

    fn quoted(&mut self) -> Option<()> {
        let mut signs = self.0.char_indices().skip(1);
        while let Some((at, sign)) = signs.next() {
            match sign {
                '\\' => drop(signs.next()?),
                '"' => {
                    self.0 = &self.0[at + 1..];
                    return Some(());
                }
                _ => {}
            }
        }
        None
    }
}

/// Checks what is selected and answers how many resources are embedded. Each level may name a column once: named twice
/// it would be sent twice, for every row.
fn check_select(select: &str) -> Result<usize, Denial> {
    let mut levels: Vec<Vec<String>> = vec![Vec::new()];
    let (mut item, mut selected, mut embedded) = (String::new(), 0, 0);
    let mut signs = select.chars();
    while let Some(sign) = signs.next() {
        match sign {
            '"' => quoted_name(&mut signs, &mut item),
            // What stands before a colon is the name that the answer uses.
            ':' => item.clear(),
            ',' | '(' | ')' => {
                note(&mut levels, &mut item)?;
                selected += usize::from(sign != ')');
                match sign {
                    '(' => {
                        embedded += 1;
                        levels.push(Vec::new());
                    }
                    ')' => drop(levels.pop()),
                    _ => {}
                }
            }
            sign => item.push(sign),
        }
    }
    note(&mut levels, &mut item)?;
    if selected >= MAX_SELECTED {
        return Err(TOO_MUCH_SELECTED);
    }
    Ok(embedded)
}

/// The inside of a quoted name, without the backslashes that are not part of it.
fn quoted_name(signs: &mut std::str::Chars, item: &mut String) {
    while let Some(sign) = signs.next() {
        match sign {
            '"' => return,
            '\\' => item.extend(signs.next()),
            sign => item.push(sign),
        }
    }
}

fn note(levels: &mut [Vec<String>], item: &mut String) -> Result<(), Denial> {
    let name = std::mem::take(item).trim().to_owned();
    let Some(level) = levels.last_mut() else {
        return Ok(());
    };
    if !name.is_empty() && level.contains(&name) {
        return Err(REPEATED);
    }
    level.push(name);
    Ok(())
}

#[cfg(test)]
#[path = "query_tests.rs"]
mod tests;
