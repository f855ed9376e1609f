//! The house rules of `sql/` that a machine can check.

use crate::{Diagnostic, Diagnostics, Kind, Literal, SqlFile, statement::Guard, stem};

/// What a scanner may read rows from besides its own steps: blocks in which nothing is later than the cutoff, and functions without bars.
const SAFE: [&str; 7] = ["sessions_as_of", "session_series", "visible_bars", "range", "generate_series", "unnest", "markets"];

/// Parameters that a scanner hands on to the blocks that it reads, if it has them.
const HANDED_ON: [&str; 7] = ["cutoff_time", "end_date", "source", "bar_minutes", "session_start", "session_end", "symbols"];

pub(crate) fn check_alone(file: &SqlFile, name_line: usize, diagnostics: &mut Diagnostics) {
    let expected_name = stem(&file.path).to_owned();
    if file.name != expected_name {
        diagnostics.add(name_line, format!("macro '{}'", file.name), format!("'{expected_name}', the file's stem"));
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
}

/// A documented range, inherited or not, is the range that is enforced: nothing reads the parameter around its guard.
fn check_guards(file: &SqlFile, files: &[SqlFile], mut add: impl FnMut(usize, String, String)) {
    for parameter in &file.parameters {
        let Some(doc) = file.parameter_doc(&parameter.name, files) else { continue };
        let is_own = file.parameter_docs.iter().any(|own| own.name == parameter.name);
        let (expected, is_same): (String, Box<dyn Fn(&Guard) -> bool>) = match (&doc.range, &doc.choices) {
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
        let place = if is_own { format!("line {}", doc.line) } else { "the inherited documentation".to_owned() };
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
        if !is_scanner && !SAFE.contains(&relation.name.as_str()) {
            add(
                relation.line,
                format!("a scanner that reads {}()", relation.name),
                "a building block that applies the cutoff: sessions_as_of() or visible_bars()".to_owned(),
            );
        } else if is_scanner || matches!(relation.name.as_str(), "sessions_as_of" | "session_series" | "visible_bars") {
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

pub(crate) fn check_together(files: &[SqlFile]) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    for (index, file) in files.iter().enumerate() {
        let mut add = |line: usize, given: String, expected: String| {
            found.push(Diagnostic { path: file.path.clone(), line, given, expected });
        };
        if let Some(other) = files[..index].iter().find(|other| other.name == file.name) {
            add(1, format!("a second '{}', after {}", file.name, other.path), "one file for each function".to_owned());
        }
        for (inherited, line) in &file.inherits {
            if !files.iter().any(|other| other.name == *inherited) {
                add(*line, format!("'@inherit {inherited}'"), "the name of another file of sql/".to_owned());
            }
        }
        for parameter in &file.parameters {
            if file.parameter_doc(&parameter.name, files).is_none() {
                add(
                    parameter.line,
                    format!("parameter '{}' without documentation", parameter.name),
                    format!("'@param {} TYPE unit, range: meaning', or '@inherit' of a function that has it", parameter.name),
                );
            }
        }
        check_guards(file, files, &mut add);
        if file.folder == "scanners" {
            check_reading(file, &mut add);
        }
    }
    found
}
