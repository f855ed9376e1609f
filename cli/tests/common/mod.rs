//! What tests of the command share: running it in a folder of its own.

use std::{
    error::Error,
    path::Path,
    process::{Command, Stdio},
};

/// What a test returns.
pub type Outcome<T = ()> = Result<T, Box<dyn Error>>;

/// What the command printed, and how it ended.
pub struct Answer {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

/// The command in a folder, out of reach of the variables and configuration of whoever runs the tests.
pub fn command(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_scanner"));
    command.current_dir(folder).env("XDG_CONFIG_HOME", folder.join("home"));
    for (variable, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("STOCKSCAN_")) {
        command.env_remove(variable);
    }
    command
}

/// Runs the command in a folder, without a terminal.
pub fn scanner(folder: &Path, arguments: &[&str]) -> Outcome<Answer> {
    answer(command(folder).args(arguments))
}

/// Runs it, without a terminal.
pub fn answer(command: &mut Command) -> Outcome<Answer> {
    let output = command.stdin(Stdio::null()).output()?;
    Ok(Answer { code: output.status.code(), out: String::from_utf8(output.stdout)?, err: String::from_utf8(output.stderr)? })
}

/// Runs it; it must succeed.
pub fn ok(folder: &Path, arguments: &[&str]) -> Outcome<Answer> {
    let answer = scanner(folder, arguments)?;
    assert_eq!(answer.code, Some(0), "{arguments:?}\n{}{}", answer.out, answer.err);
    Ok(answer)
}

/// A folder with a small demo market in `market.duckdb`.
pub fn demo() -> Outcome<tempfile::TempDir> {
    let folder = tempfile::tempdir()?;
    ok(folder.path(), &["-q", "demo", "--symbols", "40", "--sessions", "20"])?;
    Ok(folder)
}

/// The number that a statement gives.
pub fn count(folder: &Path, sql: &str) -> Outcome<i64> {
    let answer = ok(folder, &["sql", sql, "--format", "csv"])?;
    Ok(answer.out.lines().nth(1).ok_or("one row")?.parse()?)
}
