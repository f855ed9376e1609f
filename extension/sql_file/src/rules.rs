//! The house rules of `sql/` that a machine can check.

use crate::{BuiltIn, Diagnostic, Diagnostics, Kind, Literal, MacroMistakes, SqlFile, statement::Guard, stem};

/// The blocks that a scanner may read: nothing in them is later than the cutoff.
pub const BLOCKS: [&str; 3] = ["sessions_as_of", "session_series", "visible_bars"];

/// Functions without bars, which it may read as well.
const WITHOUT_BARS: [&str; 4] = ["range", "generate_series", "unnest", "markets"];

/// Parameters that a scanner hands on to the blocks that it reads, if it has them.
const HANDED_ON: [&str; 7] = ["cutoff_time", "end_date", "source", "bar_minutes", "session_start", "session_end", "symbols"];

/// The columns that every scanner's result starts and ends with.
const FIRST_COLUMNS: [&str; 3] = ["scan_date", "symbol", "price"];
const LAST_COLUMNS: [&str; 3] = ["volume", "probability_score", "rank"];

fn is_scanner(file: &SqlFile) -> bool {
    file.folder == "scanners" || file.name.starts_with("scan_")
}

pub(crate) fn check_alone(file: &SqlFile, diagnostics: &mut Diagnostics) {
    let expected_name = stem(&file.path).to_owned();
    if file.name != expected_name {
        diagnostics.add(file.name_line, format!("macro '{}'", file.name), format!("'{expected_name}', the file's stem"));
    }
    for doc in &file.parameter_docs {
        if !file.parameters.iter().any(|parameter| parameter.name == doc.name) {
            let names: Vec<_> = file.parameters.iter().map(|parameter| parameter.name.as_str()).collect();
            diagnostics.add(
                doc.line,
                format!("'@param {}' which the signature does not have", doc.name),
                format!("one of {}", names.join(", ")),
            );
        }
    }
    let documented: Vec<_> = file.parameter_docs.iter().map(|doc| doc.name.as_str()).collect();
    let in_signature: Vec<_> =
        file.parameters.iter().map(|parameter| parameter.name.as_str()).filter(|name| documented.contains(name)).collect();
    if let Some((doc, expected)) = file.parameter_docs.iter().zip(&in_signature).find(|(doc, expected)| doc.name != **expected)
        && in_signature.len() == documented.len()
    {
        diagnostics.add(doc.line, format!("'@param {}'", doc.name), format!("'@param {expected}', the signature's order"));
    }
    if file.kind == Kind::Table && file.columns.is_empty() {
        diagnostics.add(1, "a table macro without columns in its header", "'@column name unit, meaning' for each column");
    }
    if is_scanner(file) {
        check_shape(file, diagnostics);
    }
}

/// A scanner is a table macro of a session, whose columns are where everyone looks for them.
fn check_shape(file: &SqlFile, diagnostics: &mut Diagnostics) {
    if file.kind == Kind::Scalar {
        diagnostics.add(file.name_line, "a scanner that is no table macro", "CREATE MACRO name(…) AS TABLE SELECT …");
        return;
    }
    if !file.parameters.iter().any(|parameter| parameter.name == "scan_date" && parameter.default.is_none()) {
        diagnostics.add(file.name_line, "a scanner without parameter 'scan_date'", "'scan_date' without a default, as its first parameter");
    }
    let names: Vec<&str> = file.columns.iter().map(|column| column.name.as_str()).collect();
    let Some(first) = file.columns.first() else { return };
    if !names.starts_with(&FIRST_COLUMNS) {
        let given = names[..names.len().min(3)].join(", ");
        diagnostics.add(first.line, format!("columns that start with {given}"), FIRST_COLUMNS.join(", "));
    }
    if !names.ends_with(&LAST_COLUMNS) {
        let given = names[names.len().saturating_sub(3)..].join(", ");
        let line = file.columns.last().map_or(first.line, |column| column.line);
        diagnostics.add(line, format!("columns that end with {given}"), LAST_COLUMNS.join(", "));
    }
}

/// Whether a guard is the one that the documentation asks for.
type IsSame<'a> = Box<dyn Fn(&Guard) -> bool + 'a>;

/// A documented range, inherited or not, is the range that is enforced: nothing reads the parameter around its guard.
fn check_guards(file: &SqlFile, files: &[SqlFile], built_in: &[BuiltIn], mut add: impl FnMut(usize, String, String)) {
    for parameter in &file.parameters {
        let Some(doc) = file.parameter_doc(&parameter.name, files, built_in) else { continue };
        let is_own = file.parameter_docs.iter().any(|own| own.name == parameter.name);
        let (expected, is_same): (String, IsSame<'_>) = match (&doc.range, &doc.choices) {
            (Some(range), _) => {
                let function = format!(
                    "{}_in_range{}",
                    if doc.sql_type == "DOUBLE" { "number" } else { "integer" },
                    if parameter.default == Some(Literal::Null) { "_or_null" } else { "" }
                );
                let maximum = range.maximum.map_or("NULL".to_owned(), |maximum| maximum.to_string());
                let expected = format!("{function}({}, {}, {maximum}, …)", doc.name, range.minimum);
                let is_same = move |guard: &Guard| {
                    guard.function == function
                        && number(guard.minimum.as_ref()) == Some(range.minimum)
                        && number(guard.maximum.as_ref()) == range.maximum
                };
                (expected, Box::new(is_same))
            }
            (None, Some(choices)) => {
                let expected = format!("one_of({}, '{choices}', …)", doc.name);
                let allowed = Some(Literal::Text(choices.clone()));
                (expected, Box::new(move |guard: &Guard| guard.function == "one_of" && guard.minimum == allowed))
            }
            (None, None) => continue,
        };
        let place = match (is_own, doc.line) {
            (true, 0) => "the comment".to_owned(),
            (true, line) => format!("line {line}"),
            (false, _) => "the inherited documentation".to_owned(),
        };
        let mut guarded = false;
        for guard in file.uses.guards.iter().filter(|guard| guard.parameter == doc.name) {
            guarded = true;
            if !is_same(guard) {
                let shown = |limit: &Option<Literal>| limit.as_ref().map_or("…".to_owned(), ToString::to_string);
                let given = format!(
                    "guard {}({}, {}, {}, …), where {place} has another range",
                    guard.function,
                    guard.parameter,
                    shown(&guard.minimum),
                    shown(&guard.maximum)
                );
                add(guard.line, given, expected.clone());
            }
        }
        let mut bare_uses = file.uses.bare_uses.iter().filter(|(name, _)| *name == doc.name).peekable();
        // What a block documents, and is only handed on to it, is guarded there.
        if !guarded && (is_own || bare_uses.peek().is_some()) {
            let line = if is_own { doc.line } else { parameter.line };
            add(line, format!("range of '{}' that nothing checks", doc.name), format!("{expected} where it is used"));
        } else {
            for (_, line) in bare_uses {
                add(*line, format!("'{}' read without its guard", doc.name), expected.clone());
            }
        }
    }
}

/// A scanner sees bars only through blocks that apply the cutoff, and tells them the cutoff.
fn check_reading(file: &SqlFile, mut add: impl FnMut(usize, String, String)) {
    for relation in &file.uses.relations {
        let is_scanner = relation.name.starts_with("scan_");
        let Some(handed_on) = &relation.handed_on else {
            if !file.uses.steps.contains(&relation.name) {
                add(relation.line, format!("a scanner that reads '{}'", relation.name), "a building block or a step of its own".to_owned());
            }
            continue;
        };
        let is_block = BLOCKS.contains(&relation.name.as_str());
        if !is_scanner && !is_block && !WITHOUT_BARS.contains(&relation.name.as_str()) {
            add(
                relation.line,
                format!("a scanner that reads {}()", relation.name),
                "a building block that applies the cutoff: sessions_as_of(), session_series() or visible_bars()".to_owned(),
            );
        } else if is_scanner || is_block {
            let has = |name: &&str| file.parameters.iter().any(|parameter| parameter.name == **name);
            for missing in HANDED_ON.iter().filter(|name| has(name) && !handed_on.iter().any(|handed| handed == *name)) {
                add(
                    relation.line,
                    format!("{}() without '{missing} := {missing}'", relation.name),
                    "the scanner's own to be handed on".to_owned(),
                );
            }
        }
    }
}

fn number(literal: Option<&Literal>) -> Option<f64> {
    match literal {
        Some(Literal::Integer(value)) => Some(*value as f64),
        Some(Literal::Double(value)) => Some(*value),
        _ => None,
    }
}

/// The rules that need nothing but what the body uses.
pub(crate) fn check_use(file: &SqlFile, built_in: &[BuiltIn]) -> MacroMistakes {
    let found = |line, given, expected| Diagnostic { path: file.path.clone(), line, given, expected };
    let mut mistakes = MacroMistakes::default();
    check_reading(file, |line, given, expected| mistakes.reading.push(found(line, given, expected)));
    check_guards(file, &[], built_in, |line, given, expected| mistakes.others.push(found(line, given, expected)));
    mistakes
}

pub(crate) fn check_together(files: &[SqlFile], built_in: &[BuiltIn]) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    let is_known = |name: &str| files.iter().any(|file| file.name == name) || built_in.iter().any(|function| function.name == name);
    for (index, file) in files.iter().enumerate() {
        let mut add = |line: usize, given: String, expected: String| {
            found.push(Diagnostic { path: file.path.clone(), line, given, expected });
        };
        if let Some(other) = files[..index].iter().find(|other| other.name == file.name) {
            add(file.name_line, format!("a second '{}', after {}", file.name, other.path), "one file for each function".to_owned());
        }
        if built_in.iter().any(|function| function.name == file.name) {
            add(file.name_line, format!("'{}', which is built in", file.name), "a name of its own".to_owned());
        }
        for (inherited, line) in &file.inherits {
            if !is_known(inherited) {
                add(*line, format!("'@inherit {inherited}'"), "the name of another file, or of a function that is built in".to_owned());
            }
        }
        for parameter in &file.parameters {
            if file.parameter_doc(&parameter.name, files, built_in).is_none() {
                add(
                    parameter.line,
                    format!("parameter '{}' without documentation", parameter.name),
                    format!("'@param {} TYPE unit, range: meaning', or '@inherit' of a function that has it", parameter.name),
                );
            }
        }
        check_guards(file, files, built_in, &mut add);
        if is_scanner(file) {
            check_reading(file, &mut add);
            for relation in file.uses.relations.iter().filter(|relation| relation.name.starts_with("scan_") && relation.handed_on.is_some())
            {
                if !is_known(&relation.name) {
                    add(
                        relation.line,
                        format!("a scanner that reads {}()", relation.name),
                        "a scanner of another file, or one that is built in".to_owned(),
                    );
                }
            }
        }
    }
    found
}
