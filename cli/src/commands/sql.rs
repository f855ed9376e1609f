//! `scanner sql`

use std::io::{self, IsTerminal, Read};

use rustyline::{DefaultEditor, error::ReadlineError};
use stockscan_engine::{Engine, Error, Query, Result};

use super::{Access, database, open};
use crate::{
    arguments::{Global, Output, Sql},
    output, progress,
    table::Numbers,
};

pub(crate) fn run(global: &Global, sql: &Sql) -> Result<()> {
    // As DuckDB's own shell does: a database that is named is made if it is not there.
    let engine = open(global, if global.database.is_some() { Access::Write } else { Access::WriteIfThere })?;
    if !database(global).exists() && !global.quiet {
        say!("there is no {} here: working in memory, so nothing is kept (--database FILE keeps it)", database(global).display());
    }
    asked(&engine, sql, &engine.name(), |statement| {
        progress::shown(&engine, global, "running", || {
            let query = Query::plain(statement);
            if has_rows(statement) {
                output::write(&engine, &query, None, &sql.output, Numbers::Exact).map(|_| ())
            } else {
                engine.collect(&query, None).map(|_| ())
            }
        })
    })
}

/// Runs what is given, or typed, each statement by `run`. `name`: of what a session is opened with.
pub(crate) fn asked(engine: &Engine, sql: &Sql, name: &str, run: impl Fn(&str) -> Result<()>) -> Result<()> {
    match &sql.query {
        Some(query) => script(engine, query, &sql.output, &run),
        None if io::stdin().is_terminal() => interactive(engine, name, &sql.output, &run),
        None => {
            let mut text = String::new();
            io::stdin().read_to_string(&mut text)?;
            script(engine, &text, &sql.output, &run)
        }
    }
}

fn script(engine: &Engine, text: &str, output: &Output, run: &impl Fn(&str) -> Result<()>) -> Result<()> {
    let statements = engine.statements(text)?;
    if statements.is_empty() {
        return Err(Error::Invalid("no statement given; expected SQL, such as 'FROM scanners()'".to_owned()));
    }
    let answering = statements.iter().filter(|statement| has_rows(statement)).count();
    if answering > 1 && output.output.is_some() {
        return Err(Error::Invalid(format!("--output takes the rows of one statement, and {answering} of these have rows")));
    }
    statements.iter().try_for_each(|statement| run(statement))
}

/// Whether a statement answers with rows of its own, rather than with a count of what it did.
fn has_rows(statement: &str) -> bool {
    // What a change returns is rows as well.
    if statement.to_lowercase().split_whitespace().any(|word| word == "returning") {
        return true;
    }
    let words = statement.lines().filter(|line| !line.trim_start().starts_with("--")).flat_map(str::split_whitespace);
    let first = words.map(|word| word.trim_start_matches(['(', ';']).to_lowercase()).find(|word| !word.is_empty()).unwrap_or_default();
    let first: String = first.chars().take_while(|character| character.is_alphanumeric()).collect();
    !matches!(
        first.as_str(),
        "create"
            | "drop"
            | "alter"
            | "insert"
            | "update"
            | "delete"
            | "copy"
            | "set"
            | "reset"
            | "attach"
            | "detach"
            | "begin"
            | "commit"
            | "rollback"
            | "load"
            | "install"
            | "comment"
            | "use"
            | "vacuum"
            | "checkpoint"
            | "export"
            | "import"
            | "prepare"
            | "deallocate"
            | "truncate"
            | "merge"
    )
}

fn interactive(engine: &Engine, name: &str, output: &Output, run: &impl Fn(&str) -> Result<()>) -> Result<()> {
    let unreadable = |error: ReadlineError| Error::Output(io::Error::other(error));
    let mut editor = DefaultEditor::new().map_err(unreadable)?;
    say!("{name} — DuckDB with Stockscan in it. End a statement with ';', leave with Ctrl-D. Try: FROM scanners();");
    let mut pending = String::new();
    loop {
        match editor.readline(if pending.is_empty() { "scanner> " } else { "    ...> " }) {
            Ok(line) => {
                if pending.is_empty() && matches!(line.trim(), ".quit" | ".exit" | "exit" | "quit" | "exit;" | "quit;") {
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
                if let Err(error) = script(engine, &text, output, run) {
                    say!("{error}");
                }
            }
            Err(ReadlineError::Interrupted) => pending.clear(),
            Err(ReadlineError::Eof) => return Ok(()),
            Err(error) => return Err(unreadable(error)),
        }
    }
}
