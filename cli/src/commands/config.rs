//! `scanner config`

use std::{
    collections::BTreeMap,
    fs,
    io::Write,
    path::{Path, PathBuf},
    sync::Arc,
};

use arrow::{
    array::{ArrayRef, RecordBatch, StringArray},
    error::ArrowError,
};
use serde_json::Value;
use stockscan_configuration::{
    Change, Configuration, Entry, OLD_DASHBOARD, Origin, Place, SECTIONS, Sources, keys, parameters, places, schema, value_from_text,
};
use stockscan_engine::{Engine, Error, Options, Result, nearest};

use super::{Access, counted, options, own_scanners, say};
use crate::{
    arguments::{Config, Format, Global},
    output,
    rows::Rows,
    table::Numbers,
};

/// What a value comes from that nothing is configured for.
const BUILT_IN: &str = "built-in";

pub(crate) fn run(global: &mut Global, config: &Config) -> Result<()> {
    let loaded = Configuration::load(global.config_file.as_deref(), &global.variables);
    if loaded.is_err() {
        // What can be read of it, to check and to repair the rest.
        global.configuration = sources(global).load_with(None).unwrap_or_default();
    }
    if config.schema {
        let text = serde_json::to_string_pretty(&schema(&catalogue(global)?)?).map_err(|error| Error::Invalid(error.to_string()))?;
        return output::write_text(&format!("{text}\n"), &config.output);
    }
    if config.path {
        return show_places(global, config);
    }
    if config.validate {
        return validate(global);
    }
    let Some(key) = &config.key else {
        loaded?;
        return show(global, config);
    };
    if config.value.is_some() || config.unset {
        return change(global, config, key);
    }
    if config.user {
        return Err(Error::Invalid("--user says which file is changed; expected --value VALUE or --unset with it".to_owned()));
    }
    loaded?;
    let row = found(global, config.scanner_type.as_deref(), key)?;
    output::write_text(&format!("{}\n", shown(&row.value)), &config.output)
}

/// Where a value comes from, in a word.
fn origin(entry: &Entry) -> String {
    entry.origin.as_ref().map_or(BUILT_IN.to_owned(), Origin::to_string)
}

/// The database with the user's own scanners, else what is built in.
fn catalogue(global: &Global) -> Result<Engine> {
    let own = own_scanners(global)?;
    let engine =
        options(global, Access::ReadIfThere).and_then(|options| Engine::open(Options { scanners_directory: own.clone(), ..options }));
    match engine {
        Err(error @ Error::Locked { .. }) => {
            if !global.quiet {
                say!("without the scanners that are in the database: {error}");
            }
            Engine::open(Options { scanners_directory: own, ..Options::memory() })
        }
        other => other,
    }
}

/// A scanner's effective values.
fn of_scanner(global: &Global, given: &str) -> Result<Vec<Entry>> {
    let engine = catalogue(global)?;
    let configuration = &global.configuration;
    for stranger in configuration.check_scanners(&engine)? {
        if !global.quiet {
            say!("{stranger}");
        }
    }
    let scanner = short_name(&engine, given)?;
    configuration.scanner_entries(&engine, &scanner, parameters(&engine, &scanner)?)
}

fn short_name(engine: &Engine, given: &str) -> Result<String> {
    let function = engine.scanner_function(given)?;
    Ok(function.strip_prefix("scan_").unwrap_or(&function).to_owned())
}

fn show(global: &Global, config: &Config) -> Result<()> {
    let (rows, of_one) = match &config.scanner_type {
        Some(scanner) => (of_scanner(global, scanner)?, true),
        None => (global.configuration.entries()?, false),
    };
    let is_table = output::format(&config.output)? == Format::Table;
    let column = |text: fn(&Entry) -> String| rows.iter().map(text).collect::<Vec<_>>();
    let keys = rows.iter().map(|row| if of_one { row.key.clone() } else { format!("{}.{}", row.section, row.key) }).collect();
    let mut columns = vec![("key", keys), ("value", column(|row| shown(&row.value))), ("origin", column(origin))];
    if of_one {
        columns.push(("unit", column(|row| row.unit.clone().unwrap_or_default())));
    }
    if is_table {
        let briefly =
            |text: String| if text.chars().count() > 60 { format!("{}…", text.chars().take(57).collect::<String>()) } else { text };
        columns.push(("allowed", column(|row| row.allowed.clone())));
        columns = columns.into_iter().map(|(name, texts)| (name, texts.into_iter().map(briefly).collect())).collect();
    } else {
        columns.extend([("allowed", column(|row| row.allowed.clone())), ("meaning", column(|row| row.meaning.clone()))]);
        if !of_one {
            columns.push(("acts_in", column(|row| row.acts_in.clone().unwrap_or_default())));
        }
    }
    output::write_kept(&table(columns)?, &config.output, Numbers::Exact, &["key", "value", "origin"], &[])?;
    if is_table && !of_one && !global.quiet {
        let mut later: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for (part, row) in rows.iter().filter_map(|row| Some((row.acts_in.as_deref()?, row))) {
            later.entry(part).or_default().push(format!("{}.{}", row.section, row.key));
        }
        say!("");
        for (part, keys) in later {
            say(&format!("only in the {part}: {}", keys.join(", ")));
        }
        say("'scanner config --scanner-type NAME' shows a scanner's values, '--key KEY --value VALUE' sets one");
    }
    Ok(())
}

/// The key that is meant.
fn found(global: &Global, scanner: Option<&str>, key: &str) -> Result<Entry> {
    if let Some((scanner, key)) = in_scanner(scanner, key) {
        let rows = of_scanner(global, scanner)?;
        let known: Vec<String> = rows.iter().map(|row| row.key.clone()).collect();
        let scanner = scanner.strip_prefix("scan_").unwrap_or(scanner);
        let row = rows.into_iter().find(|row| row.key == key);
        return row.ok_or_else(|| no_key(&format!("{scanner} has no key '{key}'"), key, &known));
    }
    let rows = global.configuration.entries()?;
    let (section, name) = place_of(key, &rows)?;
    let row = rows.into_iter().find(|row| row.section == section && row.key == name);
    row.ok_or_else(|| Error::Invalid(format!("there is no rule '{name}' in alerts; 'scanner config' shows those that there are")))
}

/// Scanner and parameter, if the key is a scanner's: with `--scanner-type`, or as `breakout.min_price`.
fn in_scanner<'a>(scanner: Option<&'a str>, key: &'a str) -> Option<(&'a str, &'a str)> {
    let named = || key.split_once('.').filter(|(section, _)| !SECTIONS.contains(section) && *section != OLD_DASHBOARD);
    scanner.map(|scanner| (scanner, key)).or_else(named)
}

/// Section and name of a key that is none of a scanner's.
fn place_of(key: &str, rows: &[Entry]) -> Result<(String, String)> {
    let of_all: Vec<&Entry> = rows.iter().filter(|row| SECTIONS.contains(&row.section.as_str())).collect();
    if let Some((section, name)) = key.split_once('.') {
        let section = if section == OLD_DASHBOARD { "dashboard" } else { section };
        let known: Vec<String> = of_all.iter().filter(|row| row.section == section).map(|row| row.key.clone()).collect();
        if section == "alerts" || known.iter().any(|known| known == name) {
            return Ok((section.to_owned(), name.to_owned()));
        }
        return Err(no_key(&format!("{section} has no key '{name}'"), name, &known));
    }
    let sections: Vec<&str> = of_all.iter().filter(|row| row.key == key).map(|row| row.section.as_str()).collect();
    match sections.as_slice() {
        [] => {
            let known: Vec<String> = of_all.iter().map(|row| row.key.clone()).collect();
            let meant = nearest(key, known.iter().map(String::as_str)).map_or(";".to_owned(), |name| format!("; did you mean '{name}'?"));
            Err(Error::Invalid(format!(
                "there is no key '{key}'{meant} 'scanner config' lists them; a scanner's own are set and shown with --scanner-type NAME"
            )))
        }
        sections if sections.contains(&"default") => Ok(("default".to_owned(), key.to_owned())),
        [section] => Ok(((*section).to_owned(), key.to_owned())),
        several => {
            let names: Vec<String> = several.iter().map(|section| format!("{section}.{key}")).collect();
            Err(Error::Invalid(format!("--key {key} is one of several; expected one of {}", names.join(", "))))
        }
    }
}

fn no_key(what: &str, given: &str, known: &[String]) -> Error {
    let meant = nearest(given, known.iter().map(String::as_str)).map_or(";".to_owned(), |name| format!("; did you mean '{name}'?"));
    Error::Invalid(format!("{what}{meant} it takes {}", known.join(", ")))
}

/// Sets a key, or takes it out of its file.
fn change(global: &Global, config: &Config, key: &str) -> Result<()> {
    let of_scanner = in_scanner(config.scanner_type.as_deref(), key);
    let engine = if of_scanner.is_some() || key.starts_with("alerts.") { Some(catalogue(global)?) } else { None };
    let (section, name) = match (&engine, of_scanner) {
        (Some(engine), Some((scanner, name))) => (short_name(engine, scanner)?, name.to_owned()),
        _ => place_of(key, &Configuration::default().entries()?)?,
    };
    let value = match &config.value {
        Some(text) => Some(value_from_text(engine.as_ref(), &section, &name, text)?),
        None => None,
    };
    let path = target(global, config)?;
    let Change { old, configuration: effective } = sources(global).change(&path, &section, &name, value.as_ref(), engine.as_ref())?;
    let shown_path = path.display();
    if value.is_none() && old.is_none() {
        return Err(Error::Invalid(format!("{shown_path} does not set {section}.{name}; 'scanner config' says where it comes from")));
    }
    if global.quiet {
        return Ok(());
    }
    let before = old.as_ref().map_or("it was not set there".to_owned(), |old| format!("it was {}", shown(old)));
    match &value {
        Some(value) if Some(value) == old.as_ref() => say!("{shown_path}: {section}.{name} is {} already", shown(value)),
        Some(value) => say!("{shown_path}: {section}.{name} = {}; {before}", shown(value)),
        None => say!("{shown_path}: {section}.{name} is not set any more; {before}"),
    }
    if let Some(configuration) = effective {
        let now = match &engine {
            Some(engine) if of_scanner.is_some() => {
                configuration.scanner_settings(engine, &section)?.get(&name).map(|setting| (setting.origin.clone(), shown(&setting.value)))
            }
            _ => configuration.origin(&section, &name).map(|origin| {
                let rows = configuration.entries().unwrap_or_default();
                let row = rows.into_iter().find(|row| row.section == section && row.key == name);
                (origin.clone(), row.map_or(String::new(), |row| shown(&row.value)))
            }),
        };
        if let (Some((origin, now)), Some(_)) = (now, &value)
            && origin != Origin::File(path.clone())
        {
            say!("it has no effect, since {origin} says {now} and wins");
        }
    }
    if let Some(key) = keys().iter().find(|key| key.section == section && key.name == name)
        && let Some(part) = &key.acts_in
    {
        say!("it acts only in the {part}");
    }
    Ok(())
}

/// The file to change.
fn target(global: &Global, config: &Config) -> Result<PathBuf> {
    if config.user {
        let yours = places(global.config_file.as_deref()).into_iter().find(|place| place.whose == "yours");
        let path = yours.map(|place| place.path).ok_or_else(|| {
            Error::Invalid(
                "--user: there is no home folder; expected the variable HOME or XDG_CONFIG_HOME, or --config-file FILE".to_owned(),
            )
        })?;
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(|source| Error::File { path: folder.to_path_buf(), source })?;
        }
        return Ok(path);
    }
    Ok(sources(global).target())
}

/// Where the configuration comes from.
fn sources(global: &Global) -> Sources {
    Sources { named: global.config_file.clone(), variables: global.variables.clone() }
}

fn show_places(global: &Global, config: &Config) -> Result<()> {
    let places = places(global.config_file.as_deref());
    let here = std::env::current_dir().unwrap_or_default();
    let column = |text: fn(&Place, &Path) -> String| places.iter().map(|place| text(place, &here)).collect::<Vec<_>>();
    let columns = vec![
        ("file", column(|place, here| here.join(&place.path).display().to_string())),
        ("whose", column(|place, _| place.whose.to_owned())),
        ("is_there", column(|place, _| if place.path.exists() { "yes" } else { "no" }.to_owned())),
    ];
    output::write_rows(&table(columns)?, &config.output, Numbers::Exact)?;
    if !global.quiet && output::format(&config.output)? == Format::Table {
        say!("\nthe last one wins, key by key; variables win over all files");
    }
    Ok(())
}

/// Checks everything, and goes on where something is wrong.
fn validate(global: &Global) -> Result<()> {
    let mut out = std::io::stdout().lock();
    let (mut layers, mut mistakes) = (Vec::new(), Vec::new());
    for place in places(global.config_file.as_deref()) {
        match place.read() {
            Ok(None) => {}
            Ok(Some(layer)) => {
                writeln!(out, "{}: {}", place.path.display(), counted(layer.settings.len() as u64, "setting"))?;
                layers.push(layer);
            }
            Err(found) => mistakes.extend(found),
        }
    }
    match Configuration::merged(layers, &global.variables) {
        Err(error) => mistakes.push(error.to_string()),
        Ok(configuration) => match catalogue(global).and_then(|engine| configuration.check_scanners(&engine)) {
            Ok(strangers) => strangers.iter().try_for_each(|stranger| writeln!(out, "{stranger}"))?,
            Err(error) if error.is_usage() || !mistakes.is_empty() => mistakes.push(error.to_string()),
            Err(error) => return Err(error),
        },
    }
    if mistakes.is_empty() {
        writeln!(out, "no mistakes")?;
        return Ok(());
    }
    Err(Error::Invalid(mistakes.join("\n")))
}

/// A value as `--value` takes it.
fn shown(value: &Value) -> String {
    match value {
        Value::Null => "NULL".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(items) if !items.is_empty() && items.iter().all(|item| item.as_str().is_some_and(|text| !text.contains(','))) => {
            items.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(",")
        }
        Value::Number(number) => match number.as_f64() {
            Some(number) if number.fract() == 0.0 && number.abs() < 9e15 => format!("{number}"),
            _ => number.to_string(),
        },
        other => other.to_string(),
    }
}

fn table(columns: Vec<(&str, Vec<String>)>) -> Result<Rows> {
    let columns = columns.into_iter().map(|(name, texts)| {
        let column: ArrayRef = Arc::new(StringArray::from_iter_values(texts));
        (name, column, false)
    });
    let batch = RecordBatch::try_from_iter_with_nullable(columns);
    Ok(Rows { batch: batch.map_err(|error: ArrowError| Error::Database(error.to_string()))? })
}
