//! `scanner doctor`

use std::{
    fs,
    io::{self, Write},
    path::Path,
};

use serde_json::Value;
use stockscan_configuration::{Configuration, Origin, places};
use stockscan_engine::{Engine, Error, Location, Options, Result};

use super::{bar_length, counted, database, own_scanners, patiently, remote, say_error, single};
use crate::{arguments::Global, table::labelled};

/// Looks at everything, and goes on where something is wrong.
pub(crate) fn run(global: &mut Global) -> Result<()> {
    let width = console::Term::stdout().size_checked().filter(|_| console::Term::stdout().is_term()).map(|(_, width)| width);
    let line = |what: &str, text: &str| io::stdout().write_all(labelled(what, 13, text, width).as_bytes());
    let mut failures: Vec<Error> = Vec::new();

    let memory = Engine::open(Options::memory())?;
    line("scanner", env!("CARGO_PKG_VERSION"))?;
    line("DuckDB", &single(&memory, "SELECT version()")?)?;
    line("scanners", &single(&memory, "SELECT string_agg(scanner, ', ') FROM scanners()")?)?;
    drop(memory);

    let mut layers = Vec::new();
    for place in places(global.config_file.as_deref()) {
        let shown = format!("{} ({})", place.path.display(), place.whose);
        match place.read() {
            Ok(None) => line("configuration", &format!("{shown} not there, which is fine"))?,
            Ok(Some(layer)) => {
                line("configuration", &format!("{shown} sets {}", said(&layer.settings)))?;
                for (section, key, value) in layer.settings.iter().filter(|_| global.verbose) {
                    line("", &format!("{section}.{key} = {value}"))?;
                }
                layers.push(layer);
            }
            Err(mistakes) => {
                line("configuration", &format!("{shown} cannot be used: {}", counted(mistakes.len() as u64, "mistake")))?;
                failures.push(Error::Invalid(mistakes.join("\n")));
            }
        }
    }
    match Configuration::merged(layers, &global.variables) {
        Ok(configuration) => {
            let of_variables = configuration.origins.iter().filter_map(|((section, key), origin)| match origin {
                Origin::Variable(name) => Some(format!("{name} sets {section}.{key}")),
                Origin::File(_) => None,
            });
            let others = configuration.variables.iter().map(|variable| format!("{} counts if it names a scanner and a key", variable.name));
            for told in of_variables.chain(others) {
                line("configuration", &told)?;
            }
            global.configuration = configuration;
        }
        Err(error) => failures.push(error),
    }

    let mut folder = None;
    match own_scanners(global) {
        Ok(None) => line("your folder", "none is named; 'scanner new NAME' makes one")?,
        Ok(Some(path)) => match Engine::open(Options { scanners_directory: Some(path.clone()), ..Options::memory() }) {
            Ok(engine) => {
                let count = counted(engine.loaded_scanners().count() as u64, "scanner");
                line("your folder", &format!("{} {count}{}", path.display(), not_read(&path)))?;
                folder = Some(path);
            }
            Err(error) => {
                line("your folder", &format!("{} cannot be used", path.display()))?;
                failures.push(error);
            }
        },
        Err(error) => {
            line("your folder", "cannot be used")?;
            failures.push(error);
        }
    }

    let path = database(global);
    line("database", &path.display().to_string())?;
    if let Some((_, told)) = remote::beside(global, &path) {
        line("server", &told)?;
    }
    if path.exists() {
        let options = Options {
            location: Location::File(path.clone()),
            read_only: true,
            threads: global.threads,
            memory_limit: global.memory_limit.clone(),
            source: global.source.clone(),
            scanners_directory: folder,
        };
        // A server lets go of it in a moment.
        let engine = patiently(global, || Engine::open(options.clone()));
        match engine.and_then(|engine| examine(&engine, global)) {
            Ok((lines, failed)) => {
                for (what, text) in lines {
                    line(what, &text)?;
                }
                failures.extend(failed);
            }
            Err(error) => failures.push(error),
        }
    } else {
        failures.push(Error::NoDatabase(path));
    }

    match failures.pop() {
        Some(last) => {
            failures.iter().for_each(say_error);
            Err(last)
        }
        None => {
            writeln!(io::stdout(), "nothing needs doing")?;
            Ok(())
        }
    }
}

/// What a file sets, section by section.
fn said(settings: &[(String, String, Value)]) -> String {
    let mut sections: Vec<(&str, Vec<&str>)> = Vec::new();
    for (section, key, _) in settings {
        match sections.iter_mut().find(|(name, _)| name == section) {
            Some((_, keys)) => keys.push(key),
            None => sections.push((section, vec![key])),
        }
    }
    let sections: Vec<String> = sections.into_iter().map(|(section, keys)| format!("{section}: {}", keys.join(", "))).collect();
    if sections.is_empty() { "nothing".to_owned() } else { sections.join("; ") }
}

/// What of a folder is left alone though it might be meant.
fn not_read(folder: &Path) -> String {
    let Ok(entries) = fs::read_dir(folder) else { return String::new() };
    let mut names: Vec<String> = entries
        .filter_map(|entry| entry.ok())
        .filter(|entry| entry.path().is_dir())
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|name| !name.starts_with('.'))
        .collect();
    names.sort();
    if names.is_empty() { String::new() } else { format!("; sub-folders are not read: {}", names.join(", ")) }
}

/// What a line is about, and what it says.
type Line = (&'static str, String);

/// What is in the database, and the problem with it, if there is one.
fn examine(engine: &Engine, global: &Global) -> Result<(Vec<Line>, Option<Error>)> {
    let mut lines = vec![
        ("size", single(engine, "SELECT database_size FROM pragma_database_size() LIMIT 1")?),
        ("your scanners", single(engine, "SELECT coalesce(string_agg(scanner, ', '), 'none') FROM scanners() WHERE NOT is_built_in")?),
    ];
    let hidden = single(
        engine,
        "SELECT coalesce(string_agg(DISTINCT entry.function_name, ', '), '') FROM duckdb_functions() AS entry \
         WHERE entry.function_type = 'table_macro' AND starts_with(entry.function_name, 'scan_') AND NOT entry.internal \
             AND entry.database_name <> 'temp' \
             AND EXISTS (FROM scanners() AS scanner WHERE scanner.function_name = entry.function_name AND scanner.database_name = 'temp')",
    )?;
    if !hidden.is_empty() {
        lines.push(("", format!("hidden in {} by your folder: {hidden}", engine.name())));
    }
    lines.extend(global.configuration.check_scanners(engine)?.into_iter().map(|stranger| ("configuration", stranger)));
    let failed = match engine.session_range(&bar_length(global)) {
        Ok(Some(range)) => {
            lines.push(("bars", format!("{} from {} to {}", counted(range.count, "session"), range.first, range.last)));
            None
        }
        Ok(None) => Some(Error::Invalid(engine.no_usable_bars())),
        Err(error) => Some(error),
    };
    Ok((lines, failed))
}
