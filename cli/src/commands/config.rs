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
    Configuration, Key, Layer, OLD_DASHBOARD, Origin, Place, RUN_KEYS, SECTIONS, allowed_of, default_of, edit, keys, parameters, places,
    schema, value_from_text,
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
        global.configuration = with(global, None).unwrap_or_default();
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
    output::write_text(&format!("{}\n", row.value), &config.output)
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

/// A key with its value.
struct Row {
    section: String,
    key: String,
    value: String,
    origin: String,
    unit: String,
    allowed: String,
    meaning: String,
    acts_in: String,
}

/// Every key, and what is configured of scanners and alerts.
fn everything(configuration: &Configuration) -> Result<Vec<Row>> {
    let values = serde_json::to_value(configuration).map_err(|error| Error::Invalid(error.to_string()))?;
    let origin = |section: &str, key: &str| configuration.origin(section, key).map_or(BUILT_IN.to_owned(), Origin::to_string);
    let mut rows: Vec<Row> = Vec::new();
    for Key { section, name, allowed, meaning, acts_in, .. } in keys() {
        rows.push(Row {
            value: shown(&values[&section][&name]),
            origin: origin(&section, &name),
            unit: String::new(),
            allowed,
            meaning,
            acts_in: acts_in.unwrap_or_default(),
            section,
            key: name,
        });
    }
    let of_scanners = configuration.scanners.iter().flat_map(|(scanner, settings)| {
        settings.iter().map(move |(key, setting)| (scanner.clone(), key.clone(), shown(&setting.value), setting.origin.to_string()))
    });
    let of_alerts = configuration.alerts.keys().map(|name| {
        let rule = &values["alerts"][name];
        ("alerts".to_owned(), name.clone(), shown(rule), origin("alerts", name))
    });
    rows.extend(of_scanners.chain(of_alerts).map(|(section, key, value, origin)| Row {
        section,
        key,
        value,
        origin,
        unit: String::new(),
        allowed: String::new(),
        meaning: String::new(),
        acts_in: String::new(),
    }));
    Ok(rows)
}

/// A scanner's effective values.
fn of_scanner(global: &Global, given: &str) -> Result<Vec<Row>> {
    let engine = catalogue(global)?;
    let configuration = &global.configuration;
    for stranger in configuration.check_scanners(&engine)? {
        if !global.quiet {
            say!("{stranger}");
        }
    }
    let scanner = short_name(&engine, given)?;
    let settings = configuration.scanner_settings(&engine, &scanner)?;
    let mut rows = Vec::new();
    for parameter in parameters(&engine, &scanner)? {
        let setting = settings.get(&parameter.name);
        let built_in = default_of(&parameter).map(|value| shown(&value)).or(parameter.default.clone()).unwrap_or_default();
        rows.push(Row {
            section: scanner.clone(),
            value: setting.map_or(built_in, |setting| shown(&setting.value)),
            origin: setting.map_or(BUILT_IN.to_owned(), |setting| setting.origin.to_string()),
            allowed: allowed_of(&parameter),
            unit: parameter.unit.unwrap_or_default(),
            meaning: parameter.doc.unwrap_or_default(),
            key: parameter.name,
            acts_in: String::new(),
        });
    }
    for row in everything(configuration)?.into_iter().filter(|row| row.section == "default" && RUN_KEYS.contains(&row.key.as_str())) {
        let setting = settings.get(&row.key);
        let value = setting.map_or(row.value, |setting| shown(&setting.value));
        let origin = setting.map_or(row.origin, |setting| setting.origin.to_string());
        rows.push(Row { section: scanner.clone(), value, origin, ..row });
    }
    Ok(rows)
}

fn short_name(engine: &Engine, given: &str) -> Result<String> {
    let function = engine.scanner_function(given)?;
    Ok(function.strip_prefix("scan_").unwrap_or(&function).to_owned())
}

fn show(global: &Global, config: &Config) -> Result<()> {
    let (rows, of_one) = match &config.scanner_type {
        Some(scanner) => (of_scanner(global, scanner)?, true),
        None => (everything(&global.configuration)?, false),
    };
    let is_table = output::format(&config.output)? == Format::Table;
    let column = |text: fn(&Row) -> &String| rows.iter().map(|row| text(row).clone()).collect::<Vec<_>>();
    let keys = rows.iter().map(|row| if of_one { row.key.clone() } else { format!("{}.{}", row.section, row.key) }).collect();
    let mut columns = vec![("key", keys), ("value", column(|row| &row.value)), ("origin", column(|row| &row.origin))];
    if of_one {
        columns.push(("unit", column(|row| &row.unit)));
    }
    if is_table {
        let briefly =
            |text: String| if text.chars().count() > 60 { format!("{}…", text.chars().take(57).collect::<String>()) } else { text };
        columns.push(("allowed", column(|row| &row.allowed)));
        columns = columns.into_iter().map(|(name, texts)| (name, texts.into_iter().map(briefly).collect())).collect();
    } else {
        columns.extend([("allowed", column(|row| &row.allowed)), ("meaning", column(|row| &row.meaning))]);
        if !of_one {
            columns.push(("acts_in", column(|row| &row.acts_in)));
        }
    }
    output::write_kept(&table(columns)?, &config.output, Numbers::Exact, &["key", "value", "origin"], &[])?;
    if is_table && !of_one && !global.quiet {
        let mut later: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for row in rows.iter().filter(|row| !row.acts_in.is_empty()) {
            later.entry(&row.acts_in).or_default().push(format!("{}.{}", row.section, row.key));
        }
        say!("");
        for (part, keys) in later {
            say(&format!("only in the {part}, which is not there yet: {}", keys.join(", ")));
        }
        say("'scanner config --scanner-type NAME' shows a scanner's values, '--key KEY --value VALUE' sets one");
    }
    Ok(())
}

/// The key that is meant.
fn found(global: &Global, scanner: Option<&str>, key: &str) -> Result<Row> {
    if let Some((scanner, key)) = in_scanner(scanner, key) {
        let rows = of_scanner(global, scanner)?;
        let known: Vec<String> = rows.iter().map(|row| row.key.clone()).collect();
        let scanner = scanner.strip_prefix("scan_").unwrap_or(scanner);
        let row = rows.into_iter().find(|row| row.key == key);
        return row.ok_or_else(|| no_key(&format!("{scanner} has no key '{key}'"), key, &known));
    }
    let rows = everything(&global.configuration)?;
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
fn place_of(key: &str, rows: &[Row]) -> Result<(String, String)> {
    let of_all: Vec<&Row> = rows.iter().filter(|row| SECTIONS.contains(&row.section.as_str())).collect();
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
        _ => place_of(key, &everything(&Configuration::default())?)?,
    };
    let value = match &config.value {
        Some(text) => Some(value_from_text(engine.as_ref(), &section, &name, text)?),
        None => None,
    };
    let path = target(global, config)?;
    let mut effective = None;
    let old = edit(&path, &section, &name, value.as_ref(), |layer| {
        let configuration = with(global, Some(layer))?;
        if let Some(engine) = &engine {
            configuration.check_scanners(engine)?;
        }
        effective = Some(configuration);
        Ok(())
    })?;
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
                let row =
                    everything(&configuration).ok().and_then(|rows| rows.into_iter().find(|row| row.section == section && row.key == name));
                (origin.clone(), row.map_or(String::new(), |row| row.value))
            }),
        };
        if let (Some((origin, now)), Some(_)) = (now, &value)
            && origin != Origin::File(path.clone())
        {
            say!("it has no effect, since {origin} says {now} and wins");
        }
    }
    if let Some(key) = keys().into_iter().find(|key| key.section == section && key.name == name)
        && let Some(part) = key.acts_in
    {
        say!("it acts only in the {part}, which is not there yet");
    }
    Ok(())
}

/// The file to change.
fn target(global: &Global, config: &Config) -> Result<PathBuf> {
    let places = places(global.config_file.as_deref());
    if config.user {
        let yours = places.into_iter().find(|place| place.whose == "yours");
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
    places.into_iter().last().map(|place| place.path).ok_or_else(|| Error::Invalid("there is no place for a file".to_owned()))
}

/// The configuration, maybe with one of its files as it will be. Files with mistakes are left out.
fn with(global: &Global, new: Option<Layer>) -> Result<Configuration> {
    let mut layers = Vec::new();
    for place in places(global.config_file.as_deref()) {
        match &new {
            Some(new) if new.origin == Origin::File(place.path.clone()) => layers.push(new.clone()),
            _ => layers.extend(place.read().unwrap_or_default()),
        }
    }
    Configuration::merged(layers, &global.variables)
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
