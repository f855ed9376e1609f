//! `scanner list`

use std::io::{self, Write};

use stockscan_engine::{Engine, Parameter, Query, Result};

use super::{Access, fitted, open, text, wrapped};
use crate::{
    arguments::{Format, Global, List},
    output,
    table::Numbers,
};

pub(crate) fn run(global: &Global, list: &List) -> Result<()> {
    let engine = open(global, Access::ReadIfThere)?;
    let Some(name) = &list.scanner else {
        let query = if is_for_machines(list) {
            Query::plain(format!("{ALL} FROM scanners()"))
        } else {
            Query::plain(format!("{FEW} FROM scanners()"))
        };
        return scanners(&engine, global, list, &query);
    };
    let function = engine.scanner_function(name)?;
    let scanner = function.strip_prefix("scan_").unwrap_or(&function);
    if is_for_machines(list) {
        let query = Query::with_values("FROM scanner_parameters() WHERE scanner = ?", vec![text(scanner)]);
        output::write(&engine, &query, None, &list.output, Numbers::Exact)?;
        return Ok(());
    }
    let documentation: Option<String> = engine.connection().query_row(
        "SELECT documentation FROM scanners() WHERE function_name = ? ORDER BY is_built_in LIMIT 1",
        [&function],
        |row| row.get(0),
    )?;
    describe(&function, &documentation.unwrap_or_default(), &engine.scanner_parameters(scanner)?)
}

/// What a machine gets of each scanner.
pub(crate) const ALL: &str = "SELECT scanner, function_name, database_name, is_built_in, title, documentation, parameters, examples";
/// What a person does.
pub(crate) const FEW: &str = "SELECT scanner, title";

pub(crate) fn is_for_machines(list: &List) -> bool {
    list.output.format.is_some_and(|format| format != Format::Table) || list.output.output.is_some()
}

/// A row for each scanner.
pub(crate) fn scanners(engine: &Engine, global: &Global, list: &List, query: &Query) -> Result<()> {
    output::write(engine, query, None, &list.output, Numbers::Exact)?;
    if !is_for_machines(list) && !global.quiet {
        say!("\n'scanner list NAME' shows a scanner's parameters, 'scanner run --scanner-type NAME' runs it");
    }
    Ok(())
}

/// A scanner for people: what it is for, and its parameters.
pub(crate) fn describe(function: &str, documentation: &str, parameters: &[Parameter]) -> Result<()> {
    // Behind the prose, what it says of parameters and columns comes in lines that start with an @.
    let prose = documentation.find("\n@").map_or(documentation, |end| documentation[..end].trim_end_matches('\n'));
    let width = console::Term::stdout().size_checked().map_or(100, |(_, width)| usize::from(width).clamp(40, 120));
    let mut out = io::stdout().lock();
    let bold = |text: &str| console::style(text.to_owned()).bold();
    writeln!(out, "{}\n", bold(function))?;
    for paragraph in prose.split("\n\n").filter(|paragraph| !paragraph.is_empty()) {
        writeln!(out, "{}\n", wrapped(paragraph, width, ""))?;
    }
    writeln!(out, "{}", bold("Parameters"))?;
    for parameter in parameters {
        let default = parameter.default.as_ref().map_or("required".to_owned(), |default| format!("default {default}"));
        let range = match (parameter.minimum, parameter.maximum) {
            (Some(minimum), Some(maximum)) => format!(", {minimum} to {maximum}"),
            (Some(minimum), None) => format!(", {minimum} or more"),
            _ => String::new(),
        };
        let unit = parameter.unit.as_ref().map_or(String::new(), |unit| format!(", in {unit}"));
        let sql_type = parameter.sql_type.as_ref().map_or(String::new(), |sql_type| format!("{sql_type}, "));
        let line = format!("  {}  {sql_type}{default}{range}{unit}", bold(&parameter.name));
        writeln!(out, "{}", fitted(&line, width))?;
        if let Some(doc) = &parameter.doc {
            writeln!(out, "{}", wrapped(doc, width, "      "))?;
        }
        if let Some(choices) = &parameter.choices {
            writeln!(out, "{}", wrapped(&format!("one of {choices}"), width, "      "))?;
        }
    }
    Ok(())
}
