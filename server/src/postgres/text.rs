//! What clients of PostgreSQL write, taken apart into words, and put into DuckDB's dialect where the two differ.
//!
//! This decides nothing: DuckDB takes apart what comes out of here for itself, and that is what is checked.

use std::collections::HashMap;

use duckdb::types::Value;
use sqlparser::{
    dialect::PostgreSqlDialect,
    tokenizer::{Token, Tokenizer},
};

use super::types::{TEXTS, array_of, cast_of, from_array_text, is_array, named};

/// The views of the schema `information_schema` that have PostgreSQL's names for types.
const INFORMATION: [&str; 9] = [
    "character_sets",
    "columns",
    "key_column_usage",
    "referential_constraints",
    "routines",
    "schemata",
    "table_constraints",
    "tables",
    "views",
];
/// Types that are numbers of things, for which PostgreSQL also takes their names.
const NAMED: [&str; 3] = ["regclass", "regtype", "regnamespace"];

/// Functions that DuckDB has under another name, and that take as many values as are given.
const RENAMED: [(&str, &str); 5] = [
    ("json_build_array", "json_array"),
    ("json_build_object", "json_object"),
    ("jsonb_build_object", "json_object"),
    ("json_agg", "json_group_array"),
    ("jsonb_agg", "json_group_array"),
];

/// Functions whose last value is a format, which the two write in different ways.
const FORMATTED: [(&str, &str); 3] = [("to_char", "pg_text_of"), ("to_date", "pg_day_of"), ("to_timestamp", "pg_moment_of")];
/// The parts of a format, each before those that it begins with.
const FORMATS: [(&str, &str); 18] = [
    ("YYYY", "%Y"),
    ("YY", "%y"),
    ("Month", "%B"),
    ("Mon", "%b"),
    ("MM", "%m"),
    ("MI", "%M"),
    ("MS", "%g"),
    ("DDD", "%j"),
    ("DD", "%d"),
    ("Day", "%A"),
    ("Dy", "%a"),
    ("HH24", "%H"),
    ("HH12", "%I"),
    ("HH", "%I"),
    ("SS", "%S"),
    ("US", "%f"),
    ("AM", "%p"),
    ("PM", "%p"),
];

/// A word, a sign or a text of a statement.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Piece {
    pub(crate) token: Token,
    pub(crate) start: usize,
    pub(crate) end: usize,
}

impl Piece {
    /// The word in capitals, unless it is quoted.
    pub(crate) fn word(&self) -> String {
        match &self.token {
            Token::Word(word) if word.quote_style.is_none() => word.value.to_ascii_uppercase(),
            _ => String::new(),
        }
    }

    /// What it names: a word as it is, an unquoted one in small letters, the inside of a text.
    pub(crate) fn name(&self) -> Option<String> {
        match &self.token {
            Token::Word(word) if word.quote_style.is_none() => Some(word.value.to_ascii_lowercase()),
            Token::Word(word) => Some(word.value.clone()),
            Token::SingleQuotedString(text) => Some(text.clone()),
            Token::Number(digits, _) => Some(digits.clone()),
            _ => None,
        }
    }

    fn is(&self, token: &Token) -> bool {
        self.token == *token
    }
}

/// The pieces of a text; `None` for one that does not end, which DuckDB says better.
pub(crate) fn pieces(sql: &str) -> Option<Vec<Piece>> {
    let tokens = Tokenizer::new(&PostgreSqlDialect {}, sql).tokenize_with_location().ok()?;
    let mut letters = sql.char_indices();
    let (mut line, mut column, mut offset) = (1, 1, 0);
    // Places come as lines and columns, in order.
    let mut at = |place: sqlparser::tokenizer::Location| {
        while (line, column) < (place.line, place.column) {
            let Some((start, letter)) = letters.next() else { break };
            offset = start + letter.len_utf8();
            (line, column) = if letter == '\n' { (line + 1, 1) } else { (line, column + 1) };
        }
        offset
    };
    let placed = tokens.into_iter().map(|token| {
        let start = at(token.span.start);
        Piece { start, end: at(token.span.end), token: token.token }
    });
    Some(placed.filter(|piece| !matches!(piece.token, Token::Whitespace(_) | Token::EOF)).collect())
}

/// The statements of a text, without the semicolons between them.
pub(crate) fn statements(sql: &str) -> Vec<&str> {
    let Some(pieces) = pieces(sql) else { return vec![sql] };
    let mut statements = Vec::new();
    let mut first = None;
    for piece in &pieces {
        if piece.is(&Token::SemiColon) {
            statements.extend(first.take().map(|start| &sql[start..piece.start]));
        } else {
            first.get_or_insert(piece.start);
        }
    }
    statements.extend(first.map(|start| &sql[start..]));
    statements
}

/// How many parameters a statement has: the largest number after a `$`.
pub(crate) fn parameters(pieces: &[Piece]) -> usize {
    pieces.iter().filter_map(number).max().unwrap_or_default()
}

/// The types of a statement's parameters. One that the client leaves open is what the statement says of it: `$1::date`, `= ANY($1)`.
pub(crate) fn types(pieces: &[Piece], given: &[u32]) -> Vec<u32> {
    let mut types = given.to_vec();
    types.resize(parameters(pieces).max(given.len()), 0);
    for (index, piece) in pieces.iter().enumerate() {
        let Some(kind) = number(piece).and_then(|number| types.get_mut(number.checked_sub(1)?)) else { continue };
        let is = |at: usize, token: &Token| pieces.get(at).is_some_and(|piece| piece.is(token));
        let is_any = index > 1
            && ["ANY", "ALL", "SOME"].contains(&pieces[index - 2].word().as_str())
            && is(index - 1, &Token::LParen)
            && is(index + 1, &Token::RParen);
        if *kind == 0 {
            *kind = cast_to(&pieces[index..]).or(is_any.then_some(TEXTS)).unwrap_or_default();
        }
    }
    types
}

/// The type in `x::type`, `x::type[]`.
fn cast_to(pieces: &[Piece]) -> Option<u32> {
    let is = |at: usize, token: &Token| pieces.get(at).is_some_and(|piece| piece.is(token));
    let name = |at: usize| pieces.get(at).and_then(Piece::name);
    let at = if name(2).as_deref() == Some("pg_catalog") { 4 } else { 2 };
    if !is(1, &Token::DoubleColon) {
        return None;
    }
    let one = named(&name(at)?)?;
    // Of several words, the first tells: double precision, timestamp without time zone. The other zone does not.
    let mut next = at + 1;
    while pieces.get(next).is_some_and(|piece| ["PRECISION", "WITH", "WITHOUT", "TIME", "ZONE"].contains(&piece.word().as_str())) {
        if pieces[next].word() == "WITH" {
            return None;
        }
        next += 1;
    }
    if is(next, &Token::LBracket) && is(next + 1, &Token::RBracket) { array_of(one) } else { Some(one) }
}

fn number(piece: &Piece) -> Option<usize> {
    match &piece.token {
        // Larger ones are none of the protocol's.
        Token::Placeholder(name) => name.strip_prefix('$')?.parse::<u16>().ok().map(usize::from),
        _ => None,
    }
}

/// The statement in DuckDB's dialect. `types`: those that the client gave its parameters.
pub(crate) fn translated(sql: &str, types: &[u32]) -> String {
    let Some(pieces) = pieces(sql) else { return sql.to_owned() };
    let formats = formats(&pieces);
    let mut text = String::with_capacity(sql.len());
    let mut copied = 0;
    let mut index = 0;
    while index < pieces.len() {
        let format = formats.get(&index).map(|format| (1, format.clone()));
        if let Some((count, replacement)) = format.or_else(|| replaced(sql, &pieces[index..], types)) {
            text.push_str(&sql[copied..pieces[index].start]);
            text.push_str(&replacement);
            index += count;
            copied = pieces[index - 1].end;
        } else {
            index += 1;
        }
    }
    text.push_str(&sql[copied..]);
    text
}

/// What stands in the place of functions with a format, and of the format, by the number of the piece.
fn formats(pieces: &[Piece]) -> HashMap<usize, String> {
    let mut formats = HashMap::new();
    for (index, piece) in pieces.iter().enumerate() {
        let Some((_, ours)) = FORMATTED.iter().find(|(theirs, _)| piece.name().as_deref() == Some(*theirs)) else { continue };
        let mut depth = 0;
        let end = pieces[index + 1..].iter().position(|piece| {
            depth += i32::from(piece.is(&Token::LParen)) - i32::from(piece.is(&Token::RParen));
            depth <= 0
        });
        let Some(end) = end.map(|end| index + 1 + end).filter(|end| *end > index + 4) else { continue };
        if let (Token::Comma, Token::SingleQuotedString(format)) = (&pieces[end - 2].token, &pieces[end - 1].token) {
            formats.insert(index, (*ours).to_owned());
            formats.insert(end - 1, format!("'{}'", in_our_format(format).replace('\'', "''")));
        }
    }
    formats
}

fn in_our_format(mut format: &str) -> String {
    let mut ours = String::new();
    while let Some(letter) = format.chars().next() {
        if let Some((theirs, part)) = FORMATS.iter().find(|(theirs, _)| format.starts_with(theirs)) {
            ours.push_str(part);
            format = &format[theirs.len()..];
        } else {
            ours.push_str(if letter == '%' { "%%" } else { &format[..letter.len_utf8()] });
            format = &format[letter.len_utf8()..];
        }
    }
    ours
}

/// How many pieces are replaced, and by what.
fn replaced(sql: &str, pieces: &[Piece], types: &[u32]) -> Option<(usize, String)> {
    let word = |index: usize| pieces.get(index).map(Piece::word).unwrap_or_default();
    let name = |index: usize| pieces.get(index).and_then(Piece::name).unwrap_or_default();
    let is = |index: usize, token: &Token| pieces.get(index).is_some_and(|piece| piece.is(token));
    let is_qualified = |index: usize| name(index) == "pg_catalog" && is(index + 1, &Token::Period);
    // A text that is the name of something, 'bars'::regclass or CAST($1 AS regclass).
    let is_given =
        |index: usize| pieces.get(index).is_some_and(|piece| matches!(piece.token, Token::SingleQuotedString(_) | Token::Placeholder(_)));
    let as_number = |given: usize, before: usize| {
        let at = if is_qualified(before) { before + 2 } else { before };
        let found = NAMED.contains(&name(at).as_str()).then(|| &pieces[given]);
        found.map(|piece| (at + 1, format!("{}_of({})", name(at), &sql[piece.start..piece.end])))
    };
    if is_given(0) && is(1, &Token::DoubleColon) && as_number(0, 2).is_some() {
        return as_number(0, 2);
    }
    if word(0) == "CAST" && is(1, &Token::LParen) && is_given(2) && word(3) == "AS" && as_number(2, 4).is_some() {
        return as_number(2, 4).map(|(count, replacement)| (count + 1, replacement));
    }
    if let Token::SingleQuotedString(given) = &pieces[0].token
        && cast_to(pieces).is_some_and(is_array)
        && let Some(Value::List(items)) = from_array_text(given)
    {
        let written = items.iter().map(|item| match item {
            Value::Text(text) => format!("'{}'", text.replace('\'', "''")),
            _ => "NULL".to_owned(),
        });
        return Some((1, format!("[{}]", written.collect::<Vec<_>>().join(", "))));
    }
    if let Some(number) = number(&pieces[0]) {
        let kind = types.get(number.checked_sub(1)?).and_then(|oid| cast_of(*oid))?;
        return Some((1, format!("CAST(${number} AS {kind})")));
    }
    match word(0).as_str() {
        "COLLATE" if is_qualified(1) => Some((4, String::new())),
        "COLLATE" if ["default", "C"].contains(&name(1).as_str()) => Some((2, String::new())),
        "OPERATOR" if is(1, &Token::LParen) && is_qualified(2) && is(5, &Token::RParen) => {
            Some((6, sql[pieces[4].start..pieces[4].end].to_owned()))
        }
        _ if is_qualified(0) && pieces.len() > 2 => {
            // What follows may be replaced as well.
            let (count, replacement) =
                replaced(sql, &pieces[2..], types).unwrap_or_else(|| (1, sql[pieces[2].start..pieces[2].end].to_owned()));
            Some((count + 2, replacement))
        }
        _ if name(0) == "information_schema" && is(1, &Token::Period) => {
            let view = name(2);
            (INFORMATION.contains(&view.as_str()) || view == "_pg_expandarray").then(|| (3, format!("information_schema_{view}")))
        }
        "FORMAT" if is(1, &Token::LParen) => match &pieces.get(2)?.token {
            // DuckDB's has braces.
            Token::SingleQuotedString(form) if form.contains('%') && !form.contains('{') => {
                let form = form.replace("%I", "%s").replace("%L", "%s").replace('\'', "''");
                Some((3, format!("printf('{form}'")))
            }
            _ => None,
        },
        // Words that are functions of the catalogue.
        "CURRENT_TIMESTAMP" | "LOCALTIMESTAMP" if !is(1, &Token::LParen) => Some((1, "now()".to_owned())),
        "CURRENT_DATE" => Some((1, "now()::DATE".to_owned())),
        // A word that is a function in DuckDB.
        "CURRENT_CATALOG" => Some((1, "current_database()".to_owned())),
        // Among values it is a row for each in PostgreSQL, and a list in DuckDB. psqlODBC asks so for the keys of tables.
        "GENERATE_SERIES" if name(2) == "array_lower" && name(4) == "conkey" => Some((1, "pg_rows_of_series".to_owned())),
        _ if is(1, &Token::LParen) => RENAMED.iter().find(|(theirs, _)| *theirs == name(0)).map(|(_, ours)| (1, (*ours).to_owned())),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_end_at_semicolons_that_are_none_of_a_text() {
        assert_eq!(
            statements("SELECT ';' ; -- a ; b\n SELECT $$;$$ /* ; /* ; */ */; ; SELECT E'\\';'"),
            ["SELECT ';' ", "SELECT $$;$$ /* ; /* ; */ */", "SELECT E'\\';'"]
        );
        assert_eq!(statements(" ; -- nothing\n"), Vec::<&str>::new());
        assert_eq!(statements("SELECT 'é'; SELECT 2"), ["SELECT 'é'", "SELECT 2"], "places are bytes, not letters");
        assert_eq!(statements("SELECT 'no end; SELECT 2"), ["SELECT 'no end; SELECT 2"], "DuckDB says what is wrong");
    }

    #[test]
    fn a_parameter_is_what_the_statement_says_of_it() {
        let types_of = |sql: &str, given: &[u32]| types(&pieces(sql).unwrap(), given);
        assert_eq!(types_of("x = ANY($1) AND y = $2 AND z = ANY($3::pg_catalog.text[])", &[]), [TEXTS, 0, TEXTS]);
        assert_eq!(types_of("x = ANY($1)", &[1007]), [1007], "what the client says counts");
        assert_eq!(
            types_of("$1::date, $2::double precision, $3::timestamp with time zone, $4::int[], $5 :: mood", &[]),
            [1082, 701, 0, 1007, 0]
        );
    }

    #[test]
    fn only_what_differs_is_put_into_the_other_dialect() {
        for (given, expected) in [
            ("FROM bars SELECT x -> x + 1, 'pg_catalog.x'", "FROM bars SELECT x -> x + 1, 'pg_catalog.x'"),
            ("SELECT pg_catalog.version()", "SELECT version()"),
            ("SELECT 1 FROM \"pg_catalog\".pg_class c", "SELECT 1 FROM pg_class c"),
            ("c.relname OPERATOR(pg_catalog.~) '^(é)$' COLLATE pg_catalog.default AND 1", "c.relname ~ '^(é)$'  AND 1"),
            ("c.oid = '\"main\".\"bars\"'::pg_catalog.regclass", "c.oid = regclass_of('\"main\".\"bars\"')"),
            ("c.oid = CAST($2 AS REGCLASS)", "c.oid = regclass_of($2)"),
            ("c.oid = c.x::regclass", "c.oid = c.x::regclass"),
            ("SELECT json_build_object('a', 1), json_agg", "SELECT json_object('a', 1), json_agg"),
            ("FROM information_schema.tables, information_schema.x", "FROM information_schema_tables, information_schema.x"),
            (
                "ts < TO_TIMESTAMP(concat('2025', ','), 'YYYY-MM-DD HH24:MI:SS.US') AND to_char(ts, f)",
                "ts < pg_moment_of(concat('2025', ','), '%Y-%m-%d %H:%M:%S.%f') AND to_char(ts, f)",
            ),
            ("to_char(x, '100% Month') = to_timestamp(5)", "pg_text_of(x, '100%% %B') = to_timestamp(5)"),
            ("SELECT $1, $2", "SELECT CAST($1 AS INTEGER), $2"),
            ("SELECT format('%I.%s', a, b), format('{}', c)", "SELECT printf('%s.%s', a, b), format('{}', c)"),
            ("SELECT '{\"a\": 1}'::json", "SELECT '{\"a\": 1}'::json"),
            ("x = ANY('{a,\"it''s\",NULL}'::text[])", "x = ANY(['a', 'it''s', NULL]::text[])"),
        ] {
            assert_eq!(translated(given, &[23, 25]), expected);
        }
    }
}
