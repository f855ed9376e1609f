//! The house rules of `sql/` that a machine can check.

use crate::{Diagnostic, Diagnostics, Kind, Literal, SqlFile, statement::Guard, stem};

/// Blocks that show more of a session than was known at its cutoff, and the ways to read a relation by name.
const UNFILTERED: [&str; 4] = ["query_table", "query", "session_bars", "folded_sessions"];

pub(crate) fn check_alone(
    file: &SqlFile,
    name_line: usize,
    guards: &[Guard],
    bare_uses: &[(String, usize)],
    diagnostics: &mut Diagnostics,
) {
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
    check_guards(file, guards, bare_uses, diagnostics);
}

/// A documented range is the range that is enforced, and nothing reads the parameter around its guard.
fn check_guards(file: &SqlFile, guards: &[Guard], bare_uses: &[(String, usize)], diagnostics: &mut Diagnostics) {
    for doc in &file.parameter_docs {
        let Some(range) = doc.range else { continue };
        let or_null = file.parameters.iter().any(|parameter| parameter.name == doc.name && parameter.default == Some(Literal::Null));
        let function =
            format!("{}_in_range{}", if doc.sql_type == "DOUBLE" { "number" } else { "integer" }, if or_null { "_or_null" } else { "" });
        let maximum = range.maximum.map_or("NULL".to_owned(), |maximum| maximum.to_string());
        let expected = format!("{function}({}, {}, {maximum}, …)", doc.name, range.minimum);
        let mut guarded = false;
        for guard in guards.iter().filter(|guard| guard.parameter == doc.name) {
            guarded = true;
            let same = guard.function == function
                && number(guard.minimum.as_ref()) == Some(range.minimum)
                && number(guard.maximum.as_ref()) == range.maximum;
            if !same {
                let given = format!(
                    "guard {}({}, {}, {}, …), where line {} documents another range",
                    guard.function,
                    guard.parameter,
                    guard.minimum.as_ref().map_or("…".to_owned(), ToString::to_string),
                    guard.maximum.as_ref().map_or("…".to_owned(), ToString::to_string),
                    doc.line
                );
                diagnostics.add(guard.line, given, expected.clone());
            }
        }
        if !guarded {
            diagnostics.add(doc.line, format!("range of '{}' that nothing checks", doc.name), format!("{expected} where it is used"));
        }
        for (_, line) in bare_uses.iter().filter(|(name, _)| guarded && *name == doc.name) {
            // `x IS NULL` of an optional parameter is the one thing to ask without its guard.
            if !or_null {
                diagnostics.add(*line, format!("'{}' read without its guard", doc.name), expected.clone());
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
        for inherited in &file.inherits {
            if !files.iter().any(|other| other.name == *inherited) {
                add(1, format!("'@inherit {inherited}'"), "the name of another file of sql/".to_owned());
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
        if file.folder == "scanners" {
            for (call, line) in file.calls.iter().filter(|(call, _)| UNFILTERED.contains(&call.as_str())) {
                add(
                    *line,
                    format!("a scanner that reads {call}()"),
                    "a building block that applies the cutoff, such as sessions_as_of() or visible_bars()".to_owned(),
                );
            }
        }
    }
    found
}
