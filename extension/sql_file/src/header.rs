//! The comments at the top of a file: a sentence, prose, and tags.

use crate::{Column, Diagnostics, ParameterDoc, Range};

const TAGS: &str = "@param, @inherit, @column, @tag, @source or @example";

#[derive(Default)]
pub(crate) struct Header {
    pub(crate) prose: String,
    pub(crate) parameter_docs: Vec<ParameterDoc>,
    pub(crate) inherits: Vec<(String, usize)>,
    pub(crate) columns: Vec<Column>,
    pub(crate) tags: Vec<String>,
    pub(crate) sources: Vec<String>,
    pub(crate) examples: Vec<String>,
}

/// A tag with the lines that continue it.
struct Tag {
    name: String,
    text: String,
    line: usize,
}

pub(crate) fn read(text: &str, diagnostics: &mut Diagnostics) -> Header {
    let mut header = Header::default();
    let mut tags: Vec<Tag> = Vec::new();
    let mut last_line = 1;
    for (index, line) in text.lines().enumerate() {
        let Some(comment) = line.strip_prefix("--") else { break };
        last_line = index + 1;
        let comment = comment.trim();
        if let Some(tag) = comment.strip_prefix('@') {
            let (name, rest) = tag.split_once(' ').unwrap_or((tag, ""));
            tags.push(Tag { name: name.to_owned(), text: rest.trim().to_owned(), line: last_line });
        } else if let Some(tag) = tags.last_mut() {
            if !comment.is_empty() {
                tag.text.push(' ');
                tag.text.push_str(comment);
            }
        } else if comment.is_empty() {
            header.prose.push_str("\n\n");
        } else {
            if !header.prose.is_empty() && !header.prose.ends_with('\n') {
                header.prose.push(' ');
            }
            header.prose.push_str(comment);
        }
    }
    header.prose = header.prose.trim().to_owned();

    let first = text.lines().next().unwrap_or_default();
    let title = header.prose.split("\n\n").next().unwrap_or_default();
    if !first.starts_with("-- ") || first.starts_with("-- @") || !title.ends_with('.') {
        diagnostics.add(
            1,
            format!("first line '{first}'"),
            "'-- ' and one sentence that says what a returned row or value means, with its full stop and an empty comment line below",
        );
    }
    for tag in tags {
        take(&mut header, tag, diagnostics);
    }
    if header.examples.is_empty() {
        diagnostics.add(last_line, "a header without an example", "at least one '@example' with a statement to try");
    }
    header
}

fn take(header: &mut Header, tag: Tag, diagnostics: &mut Diagnostics) {
    if tag.text.is_empty() {
        diagnostics.add(tag.line, format!("'@{}' without text", tag.name), "text behind the tag");
        return;
    }
    match tag.name.as_str() {
        "param" => match parameter(&tag.text, tag.line) {
            Ok(doc) if header.parameter_docs.iter().any(|other| other.name == doc.name) => {
                diagnostics.add(tag.line, format!("a second '@param {}'", doc.name), "one for each parameter");
            }
            Ok(doc) => header.parameter_docs.push(doc),
            Err((given, expected)) => diagnostics.add(tag.line, given, expected),
        },
        "inherit" => header.inherits.extend(tag.text.split_whitespace().map(|name| (name.to_owned(), tag.line))),
        "column" => match tag.text.split_once(' ') {
            Some((name, _)) if header.columns.iter().any(|other| other.name == name) => {
                diagnostics.add(tag.line, format!("a second '@column {name}'"), "one for each column");
            }
            Some((name, meaning)) => {
                header.columns.push(Column { name: name.to_owned(), meaning: meaning.to_owned(), line: tag.line });
            }
            None => diagnostics.add(tag.line, format!("'@column {}'", tag.text), "'@column name unit, meaning'"),
        },
        "tag" => header.tags.push(tag.text),
        "source" => header.sources.push(tag.text),
        "example" => header.examples.push(tag.text),
        _ => diagnostics.add(tag.line, format!("unknown tag '@{}'", tag.name), TAGS),
    }
}

/// `NAME TYPE [unit][, range]: meaning`, or `NAME VARCHAR one of a, b, c: meaning`
pub(crate) fn parameter(text: &str, line: usize) -> Result<ParameterDoc, (String, String)> {
    let shape = "'@param name TYPE unit, range: meaning', as in '@param min_price DOUBLE currency, 0 or more: …'";
    let wrong = || (format!("'@param {text}'"), shape.to_owned());
    let (name, rest) = text.split_once(' ').ok_or_else(wrong)?;
    let (head, meaning) = rest.split_once(": ").ok_or_else(wrong)?;
    if let Some(choices) = head.strip_prefix("VARCHAR one of ") {
        return Ok(ParameterDoc {
            name: name.to_owned(),
            text: rest.to_owned(),
            sql_type: "VARCHAR".to_owned(),
            range: None,
            choices: Some(choices.to_owned()),
            line,
        });
    }
    let (sql_type, range) = match head.split_once(", ") {
        Some((type_and_unit, range)) => (type_and_unit, Some(range)),
        None => (head, None),
    };
    let sql_type = sql_type.split(' ').next().unwrap_or_default();
    let is_type = !sql_type.is_empty() && sql_type.chars().all(|c| c.is_ascii_uppercase() || c == '[' || c == ']');
    if !is_type || meaning.trim().is_empty() {
        return Err(wrong());
    }
    let is_number = matches!(sql_type, "INTEGER" | "DOUBLE" | "BIGINT");
    let range = match range {
        Some(range) if is_number => Some(
            numeric_range(range)
                .ok_or_else(|| (format!("range '{range}' of '{name}'"), "'0 or more', '1 to 250' or '0 to 50 step 0.5'".to_owned()))?,
        ),
        _ => None,
    };
    Ok(ParameterDoc { name: name.to_owned(), text: rest.to_owned(), sql_type: sql_type.to_owned(), range, choices: None, line })
}

/// A line of a macro's comment, `@param name [:= default] TYPE [unit][, range]: meaning`.
pub(crate) fn documented_parameter(line: &str) -> Option<ParameterDoc> {
    let (name, rest) = line.trim().strip_prefix("@param ")?.split_once(' ')?;
    let text = match rest.strip_prefix(":= ") {
        // A quoted default may hold spaces; a quote in it is doubled.
        Some(quoted) if quoted.starts_with('\'') => {
            let is_end = |index: usize| quoted[..=index].bytes().filter(|byte| *byte == b'\'').count() % 2 == 0;
            let (end, _) = quoted.match_indices("' ").find(|(index, _)| is_end(*index))?;
            &quoted[end + 2..]
        }
        Some(plain) => plain.split_once(' ')?.1,
        None => rest,
    };
    parameter(&format!("{name} {text}"), 0).ok()
}

fn numeric_range(text: &str) -> Option<Range> {
    let (limits, step) = text.split_once(" step ").map_or((text, None), |(limits, step)| (limits, Some(step)));
    if step.is_some_and(|step| step.parse::<f64>().is_err()) {
        return None;
    }
    if let Some(minimum) = limits.strip_suffix(" or more") {
        return Some(Range { minimum: minimum.parse().ok()?, maximum: None });
    }
    let (minimum, maximum) = limits.split_once(" to ")?;
    Some(Range { minimum: minimum.parse().ok()?, maximum: Some(maximum.parse().ok()?) })
}
