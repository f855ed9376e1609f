//! `scanner doctor`

use std::{
    io::{self, Write},
    path::{Path, PathBuf},
};

use stockscan_engine::{Engine, Error, Location, Options, Result};

use super::{bar_length, counted, database, no_usable_bars, single};
use crate::arguments::Global;

pub(crate) fn run(global: &Global) -> Result<()> {
    let line = |what: &str, text: &str| writeln!(io::stdout(), "{:<14} {text}", console::style(what).bold());
    let memory = Engine::open(Options::memory())?;
    line("scanner", env!("CARGO_PKG_VERSION"))?;
    line("DuckDB", &single(&memory, "SELECT version()")?)?;
    line("scanners", &single(&memory, "SELECT string_agg(scanner, ', ') FROM scanners()")?)?;
    let path = database(global);
    line("database", &path.display().to_string())?;

    let failed = if path.exists() {
        let engine = Engine::open(Options {
            location: Location::File(path.clone()),
            read_only: true,
            threads: global.threads,
            memory_limit: global.memory_limit.clone(),
            source: global.source.clone(),
        });
        match engine.and_then(|engine| examine(&engine, global)) {
            Ok((lines, failed)) => {
                for (what, text) in lines {
                    line(what, &text)?;
                }
                failed
            }
            Err(error) => Some(error),
        }
    } else {
        Some(Error::NoDatabase(path))
    };
    for (place, file) in configuration_files() {
        line("configuration", &format!("{} ({place})", state(&file)))?;
    }
    match failed {
        Some(error) => Err(error),
        None => {
            writeln!(io::stdout(), "nothing needs doing")?;
            Ok(())
        }
    }
}

/// What a line is about, and what it says.
type Line = (&'static str, String);

/// What is in the database, and the problem with it, if there is one.
fn examine(engine: &Engine, global: &Global) -> Result<(Vec<Line>, Option<Error>)> {
    let mut lines = vec![
        ("size", single(engine, "SELECT database_size FROM pragma_database_size() LIMIT 1")?),
        ("your scanners", single(engine, "SELECT coalesce(string_agg(scanner, ', '), 'none') FROM scanners() WHERE NOT is_built_in")?),
    ];
    let failed = match engine.session_range(&bar_length(global)) {
        Ok(Some(range)) => {
            lines.push(("bars", format!("{} from {} to {}", counted(range.count, "session"), range.first, range.last)));
            None
        }
        Ok(None) => Some(Error::Invalid(no_usable_bars(engine))),
        Err(error) => Some(error),
    };
    Ok((lines, failed))
}

fn configuration_files() -> Vec<(&'static str, PathBuf)> {
    let home = std::env::var_os("XDG_CONFIG_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".config")));
    let mut files = Vec::new();
    if let Some(home) = home {
        files.push(("yours", home.join("stockscan/config.json")));
    }
    files.push(("this folder's", PathBuf::from("scanner_config.json")));
    files
}

fn state(file: &Path) -> String {
    format!("{} {}", file.display(), if file.is_file() { "found; this version does not read it yet" } else { "not there, which is fine" })
}
