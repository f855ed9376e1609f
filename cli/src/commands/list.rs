//! `scanner list`

use std::io::{self, Write};

use stockscan_engine::{Query, Result};

use super::{Access, fitted, open, text, wrapped};
use crate::{
    arguments::{Format, Global, List},
    output,
    table::Numbers,
};

pub(crate) fn run(global: &Global, list: &List) -> Result<()> {
    let engine = open(global, Access::ReadIfThere)?;
    let machine = list.output.format.is_some_and(|format| format != Format::Table) || list.output.output.is_some();
    let Some(name) = &list.scanner else {
        let query = if machine {
            Query::plain(
                "SELECT scanner, function_name, database_name, is_built_in, title, documentation, parameters, examples FROM scanners()",
            )
        } else {
            Query::plain("SELECT scanner, title FROM scanners()")
        };
        output::write(&engine, &query, None, &list.output, Numbers::Exact)?;
        if !machine && !global.quiet {
            say!("\n'scanner list NAME' shows a scanner's parameters, 'scanner run --scanner-type NAME' runs it");
        }
        return Ok(());
    };
    let function = engine.scanner_function(name)?;
    let scanner = function.strip_prefix("scan_").unwrap_or(&function);
    if machine {
        let query = Query::with_values("FROM scanner_parameters() WHERE scanner = ?", vec![text(scanner)]);
        output::write(&engine, &query, None, &list.output, Numbers::Exact)?;
        return Ok(());
    }
    let documentation: Option<String> = engine.connection().query_row(
        "SELECT regexp_replace(coalesce(documentation, ''), '(?s)\\n\\n?@.*$', '') FROM scanners() WHERE function_name = ? ORDER BY is_built_in LIMIT 1",
        [&function],
        |row| row.get(0),
    )?;
    let width = console::Term::stdout().size_checked().map_or(100, |(_, width)| usize::from(width).clamp(40, 120));
    let mut out = io::stdout().lock();
    let bold = |text: &str| console::style(text.to_owned()).bold();
    writeln!(out, "{}\n", bold(&function))?;
    for paragraph in documentation.unwrap_or_default().split("\n\n").filter(|paragraph| !paragraph.is_empty()) {
        writeln!(out, "{}\n", wrapped(paragraph, width, ""))?;
    }
    writeln!(out, "{}", bold("Parameters"))?;
    for parameter in engine.scanner_parameters(scanner)? {
        let default = parameter.default.map_or("required".to_owned(), |default| format!("default {default}"));
        let range = match (parameter.minimum, parameter.maximum) {
            (Some(minimum), Some(maximum)) => format!(", {minimum} to {maximum}"),
            (Some(minimum), None) => format!(", {minimum} or more"),
            _ => String::new(),
        };
        let unit = parameter.unit.map_or(String::new(), |unit| format!(", in {unit}"));
        let sql_type = parameter.sql_type.map_or(String::new(), |sql_type| format!("{sql_type}, "));
        let line = format!("  {}  {sql_type}{default}{range}{unit}", bold(&parameter.name));
        writeln!(out, "{}", fitted(&line, width))?;
        if let Some(doc) = parameter.doc {
            writeln!(out, "{}", wrapped(&doc, width, "      "))?;
        }
        if let Some(choices) = parameter.choices {
            writeln!(out, "{}", wrapped(&format!("one of {choices}"), width, "      "))?;
        }
    }
    Ok(())
}
