//! `scanner check`

use stockscan_engine::{Argument, Result};

use super::{Access, bar_length, counted, market, open, text};
use crate::{
    arguments::{Check, Format, Global},
    output, progress,
    table::Numbers,
};

pub(crate) fn run(global: &Global, check: &Check) -> Result<()> {
    let engine = open(global, Access::Read)?;
    let mut arguments = bar_length(global);
    if let Some(code) = &check.market {
        let hours = market(&engine, code)?;
        arguments.push(("session_start".to_owned(), Argument::Value(text(&hours.session_start))));
        arguments.push(("session_end".to_owned(), Argument::Value(text(&hours.session_end))));
    }
    let mut query = engine.call("check_bars", &arguments)?.query();
    // A person wants what was found; a machine gets every row.
    let for_people = check.output.output.is_none() && check.output.format.is_none_or(|format| format == Format::Table);
    if for_people {
        query.sql = format!(
            "SELECT found.severity, found.defect, found.bars, found.symbols, found.ignored_by_scanners AS ignored, found.details, found.meaning \
             FROM ({}) AS found WHERE found.bars > 0",
            query.sql
        );
    }
    let found = progress::shown(&engine, global, "checking", || output::write(&engine, &query, None, &check.output, Numbers::Rounded))?;
    if for_people && !global.quiet {
        match found {
            0 => say!("no defects found"),
            _ => say!("{} of defect found; scans leave out the bars of those marked as ignored", counted(found, "kind")),
        }
    }
    if !global.quiet {
        let findings = engine.scanner_findings()?;
        for finding in &findings {
            say!("{finding}");
        }
        if !findings.is_empty() {
            say!(
                "{} about the scanners in {}; 'scanner run' refuses those that lack columns, and no others",
                counted(findings.len() as u64, "finding"),
                engine.name()
            );
        }
    }
    Ok(())
}
