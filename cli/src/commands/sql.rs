//! `scanner sql`

use std::io::{self, IsTerminal, Read};

use rustyline::{DefaultEditor, error::ReadlineError};
use stockscan_engine::{Engine, Error, Query, Result};

use super::{Access, open};
use crate::{
    arguments::{Global, Output, Sql},
    output, progress,
    table::Numbers,
};

pub(crate) fn run(global: &Global, sql: &Sql) -> Result<()> {
    // As DuckDB's own shell does: a database that is named is made if it is not there.
    let access = if global.database.is_some() { Access::Write } else { Access::ReadIfThere };
    let engine = open(global, if global.read_only { Access::Read } else { access })?;
    match &sql.query {
        Some(query) => script(&engine, global, query, &sql.output),
        None if io::stdin().is_terminal() => interactive(&engine, global, &sql.output),
        None => {
            let mut text = String::new();
            io::stdin().read_to_string(&mut text)?;
            script(&engine, global, &text, &sql.output)
        }
    }
}

fn script(engine: &Engine, global: &Global, text: &str, output: &Output) -> Result<()> {
    let statements = engine.statements(text)?;
    if statements.is_empty() {
        return Err(Error::Invalid("no statement given; expected SQL, such as 'FROM scanners()'".to_owned()));
    }
    for statement in statements {
        statement_run(engine, global, &statement, output)?;
    }
    Ok(())
}

fn statement_run(engine: &Engine, global: &Global, statement: &str, output: &Output) -> Result<()> {
    progress::shown(engine, global, "running", || output::write(engine, &Query::plain(statement), None, output, Numbers::Exact)).map(|_| ())
}

fn interactive(engine: &Engine, global: &Global, output: &Output) -> Result<()> {
    let unreadable = |error: ReadlineError| Error::Output(io::Error::other(error));
    let mut editor = DefaultEditor::new().map_err(unreadable)?;
    eprintln!("{} — DuckDB with Stockscan in it. End a statement with ';', leave with Ctrl-D. Try: FROM scanners();", engine.name());
    let mut pending = String::new();
    loop {
        match editor.readline(if pending.is_empty() { "scanner> " } else { "    ...> " }) {
            Ok(line) => {
                if pending.is_empty() && matches!(line.trim(), ".quit" | ".exit" | "exit" | "quit") {
                    return Ok(());
                }
                pending.push_str(&line);
                pending.push('\n');
                if !pending.trim_end().ends_with(';') {
                    if pending.trim().is_empty() {
                        pending.clear();
                    }
                    continue;
                }
                let text = std::mem::take(&mut pending);
                // History is a convenience.
                let _ = editor.add_history_entry(text.trim());
                if let Err(error) = script(engine, global, &text, output) {
                    eprintln!("{error}");
                }
            }
            Err(ReadlineError::Interrupted) => pending.clear(),
            Err(ReadlineError::Eof) => return Ok(()),
            Err(error) => return Err(unreadable(error)),
        }
    }
}
