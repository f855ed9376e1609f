//! What configuration files may say, and what is said of those that may not.

use std::{
    error::Error as StdError,
    fs,
    path::{Path, PathBuf},
};

use stockscan_configuration::{Configuration, Defaults, Format, Origin, Place, RUN_KEYS, Theme};
use stockscan_engine::{Engine, Options};

type Outcome<T = ()> = Result<T, Box<dyn StdError>>;

/// A file as the users of the program's predecessor have it.
const OLD: &str = r#"{
  "default": {
    "consolidation_period": 5, "breakout_volume_ratio": 1.5, "resistance_break_pct": 0.5, "min_price": 50, "max_price": 2000,
    "max_results_per_day": 3, "min_volume": 10000, "min_probability_score": 10.0, "timeout": 300, "retry_attempts": 3,
    "enable_caching": true, "cache_ttl": 300
  },
  "breakout": { "consolidation_period": 7, "breakout_volume_ratio": 1.2 },
  "streaming": {
    "enabled": true, "interval_seconds": 30, "max_concurrent_scans": 3, "websocket_enabled": true, "auto_refresh_ui": true,
    "real_time_alerts": true
  },
  "api": { "host": "localhost", "port": 8000, "timeout": 300, "max_batch_size": 10, "enable_cors": true },
  "cli": {
    "verbose_logging": false, "progress_bars": true, "color_output": true, "default_format": "table", "auto_save_results": true,
    "results_directory": "scanner_results"
  },
  "streamlit": {
    "theme": "dark", "auto_refresh_interval": 30, "max_chart_points": 1000, "enable_export": true, "default_scanner": "breakout",
    "dashboard_layout": "wide"
  }
}"#;

fn place(folder: &Path, name: &str, content: &[u8]) -> Outcome<Place> {
    let path = folder.join(name);
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    fs::write(&path, content)?;
    Ok(Place { whose: "named", path })
}

/// The settings of one file, or what is wrong with it, without its folder.
fn read(content: &[u8]) -> Outcome<Result<Configuration, Vec<String>>> {
    let folder = tempfile::tempdir()?;
    let place = place(folder.path(), "c.json", content)?;
    let shorter = |text: &str| text.replace(&format!("{}/", folder.path().display()), "");
    Ok(match place.read() {
        Ok(layer) => Configuration::merged(layer.into_iter().collect(), &[]).map_err(|error| vec![shorter(&error.to_string())]),
        Err(mistakes) => Err(mistakes.iter().map(|mistake| shorter(mistake)).collect()),
    })
}

#[test]
fn a_file_of_the_old_shape_is_read() -> Outcome {
    for content in [OLD.to_owned(), format!("\u{feff}{}", OLD.replace('\n', "\r\n"))] {
        let read = read(content.as_bytes())?.map_err(|mistakes| mistakes.join("\n"))?;
        assert_eq!(read.default, Defaults::default());
        assert!(read.cli.auto_save_results && read.cli.default_format == Format::Table);
        assert_eq!(read.dashboard.theme, Theme::Dark, "streamlit is the old name of dashboard");
        assert_eq!(read.scanners["breakout"]["consolidation_period"].value, 7);
        assert_eq!(read.check_scanners(&Engine::open(Options::memory())?)?, Vec::<String>::new());
    }
    assert_eq!(read(b"{}")?.map_err(|mistakes| mistakes.join("\n"))?, Configuration::default());
    Ok(())
}

#[test]
fn a_mistake_names_file_key_value_and_what_is_allowed() -> Outcome {
    let cases: [(&str, &[&str]); 26] = [
        (r#"{"api": {"port": 70000}}"#, &["c.json: api.port is 70000; expected a whole number from 1 to 65535"]),
        (r#"{"api": {"port": "8000"}}"#, &["c.json: api.port is \"8000\"; expected a whole number from 1 to 65535"]),
        (r#"{"api": {"port": 8000.5}}"#, &["c.json: api.port is 8000.5; expected a whole number from 1 to 65535"]),
        (r#"{"api": {"port": null}}"#, &["c.json: api.port is null; expected a whole number from 1 to 65535"]),
        (r#"{"api": {"host": ""}}"#, &["c.json: api.host is \"\"; expected a text that is not empty"]),
        (
            r#"{"api": {"prot": 1, "port": 0}}"#,
            &[
                "c.json: api has no key 'prot'; did you mean 'port'? it takes host, port, postgres_port, timeout, max_batch_size, enable_cors",
                "c.json: api.port is 0; expected a whole number from 1 to 65535",
            ],
        ),
        (r#"{"default": {"min_volume": -1}}"#, &["c.json: default.min_volume is -1; expected a whole number, 0 or more"]),
        (r#"{"default": {"min_price": -0.5}}"#, &["c.json: default.min_price is -0.5; expected a number, 0 or more"]),
        (
            r#"{"default": {"min_probability_score": 101}}"#,
            &["c.json: default.min_probability_score is 101; expected a number from 0 to 100"],
        ),
        (r#"{"default": {"enable_caching": "yes"}}"#, &["c.json: default.enable_caching is \"yes\"; expected true or false"]),
        (r#"{"default": {"min_price": 60, "max_price": 50}}"#, &["c.json: default.min_price (60) must not exceed default.max_price (50)"]),
        (
            r#"{"cli": {"default_format": "xml"}}"#,
            &["c.json: cli.default_format is \"xml\"; expected one of table, csv, json, ndjson, parquet, arrow"],
        ),
        (r#"{"dashboard": {"theme": 3}}"#, &["c.json: dashboard.theme is 3; expected "]),
        (r#"{"cli": {"scanners_directory": 5}}"#, &["c.json: cli.scanners_directory is 5; expected the path of a folder"]),
        (r#"{"cli": {"scanners_directory": " "}}"#, &["c.json: cli.scanners_directory is \" \"; expected the path of a folder"]),
        (
            r#"{"cli": {"scanner_directory": "x"}}"#,
            &["c.json: cli has no key 'scanner_directory'; did you mean 'scanners_directory'? it takes "],
        ),
        (r#"{"streamlit": {"colour": 1}}"#, &["c.json: streamlit has no key 'colour'; it takes "]),
        (r#"{"streamlit": {}, "dashboard": {}}"#, &["c.json: sections 'dashboard' and 'streamlit', its old name; expected one of them"]),
        (r#"{"api": 5}"#, &["c.json: api is 5; expected an object, as in {\"api\": {…}}"]),
        (r#"{"breakout": {"min_price": -1}}"#, &["c.json: breakout.min_price is -1; expected a number, 0 or more"]),
        (r#"{"breakout": {"extra": {}}}"#, &["c.json: breakout.extra is {}; expected a number, a text, true, false, null or a list"]),
        (r#"[1, 2]"#, &["c.json: [1,2]; expected an object with sections such as default, streaming, api, cli, dashboard, alerts"]),
        ("{\"api\": {\"port\": 1,\n \"port\": 2}}", &["c.json:2:7: a second 'port'; expected JSON"]),
        ("{\n  \"api\": {},\n}", &["c.json:3:1: trailing comma; expected JSON"]),
        ("", &["c.json:1:0: EOF while parsing a value; expected JSON"]),
        ("{\"api\": {\"host\": \"\u{fffd}\"}} // a comment", &["c.json:1:"]),
    ];
    for (content, expected) in cases {
        let found = read(content.as_bytes())?.err().ok_or(content)?;
        assert_eq!(found.len(), expected.len(), "{content}: {found:#?}");
        for (found, expected) in found.iter().zip(expected) {
            assert!(found.starts_with(expected), "{content}\nexpected: {expected}\ngot: {found}");
        }
    }
    let latin = read(b"{\"api\": {\"host\": \"\xe4\"}}")?.err().ok_or("no UTF-8")?;
    assert!(latin[0].starts_with("c.json:1:"), "{latin:?}");
    let long = format!("{{\"api\": {{\"port\": \"{}\"}}}}", "x".repeat(500));
    assert!(read(long.as_bytes())?.err().ok_or("a text")?[0].len() < 200);
    Ok(())
}

#[test]
fn later_files_win_key_by_key_and_paths_are_relative_to_their_file() -> Outcome {
    let folder = tempfile::tempdir()?;
    let root = folder.path();
    let first = place(
        root,
        "home/config.json",
        br#"{"api": {"port": 1, "host": "a"}, "cli": {"scanners_directory": "mine"}, "crp": {"min_price": 1, "max_volume": 2}}"#,
    )?;
    let second =
        place(root, "here/scanner_config.json", br#"{"api": {"port": 2}, "cli": {"results_directory": "/out"}, "crp": {"min_price": 3}}"#)?;
    let layers = |places: &[&Place]| -> Outcome<Configuration> {
        let layers: Vec<_> = places.iter().filter_map(|place| place.read().unwrap_or_default()).collect();
        Ok(Configuration::merged(layers, &[])?)
    };
    let merged = layers(&[&first, &second])?;
    assert_eq!((merged.api.port.0, merged.api.host.0.as_str()), (2, "a"));
    assert_eq!(merged.cli.scanners_directory.as_ref().map(|folder| folder.0.clone()), Some(root.join("home/mine")));
    assert_eq!(merged.cli.results_directory.0, PathBuf::from("/out"));
    assert_eq!(merged.origin("api", "port"), Some(&Origin::File(second.path.clone())));
    assert_eq!(merged.origin("cli", "scanners_directory"), Some(&Origin::File(first.path.clone())));
    assert_eq!(merged.origin("cli", "default_format"), None);
    let crp: Vec<(&str, i64)> =
        merged.scanners["crp"].iter().map(|(key, setting)| (key.as_str(), setting.value.as_i64().unwrap_or_default())).collect();
    assert_eq!(crp, [("max_volume", 2), ("min_price", 3)]);
    // null takes back what an earlier file names.
    let third = place(root, "third.json", br#"{"cli": {"scanners_directory": null}}"#)?;
    assert_eq!(layers(&[&first, &third])?.cli.scanners_directory, None);
    let home = place(root, "tilde.json", br#"{"cli": {"scanners_directory": "~/mine"}}"#)?;
    let expected = std::env::home_dir().map(|home| home.join("mine"));
    assert_eq!(layers(&[&home])?.cli.scanners_directory.map(|folder| folder.0), expected);
    Ok(())
}

#[test]
fn a_file_that_is_named_must_be_there() {
    let missing = |whose| Place { whose, path: PathBuf::from("/nowhere/config.json") }.read();
    assert_eq!(missing("yours"), Ok(None));
    let error = missing("named").expect_err("it was asked for");
    assert!(error[0].starts_with("/nowhere/config.json: No such file"), "{error:?}");
    // A folder in a file's place is not taken for a missing file.
    assert!(Place { whose: "yours", path: std::env::temp_dir() }.read().is_err());
}

#[test]
fn scanners_sections_are_held_to_the_catalogue() -> Outcome {
    let engine = Engine::open(Options::memory())?;
    let check = |content: &str| -> Outcome<Result<Vec<String>, String>> {
        let read = read(content.as_bytes())?.map_err(|mistakes| mistakes.join("\n"))?;
        // Without the folder.
        let shorter = |text: &str| text[text.find("c.json").unwrap_or_default()..].to_owned();
        let checked = read.check_scanners(&engine);
        Ok(checked.map(|told| told.iter().map(|one| shorter(one)).collect()).map_err(|error| shorter(&error.to_string())))
    };
    assert_eq!(
        check(r#"{"crp": {"max_volume": null, "close_threshold_pct": 2.5, "timeout": 60, "symbols": ["A"], "cutoff_time": "10:00"}}"#)?,
        Ok(vec![])
    );
    for (content, expected) in [
        (r#"{"crp": {"close_threshold_pct": 51}}"#, "c.json: crp.close_threshold_pct is 51; expected a number from 0 to 50"),
        (r#"{"crp": {"close_threshold_pct": null}}"#, "c.json: crp.close_threshold_pct is null; expected a number from 0 to 50"),
        (r#"{"crp": {"max_volume": 1.5}}"#, "c.json: crp.max_volume is 1.5; expected a whole number, 0 or more"),
        (r#"{"crp": {"symbols": "A"}}"#, "c.json: crp.symbols is \"A\"; expected a list of texts"),
        (r#"{"crp": {"cutoff_time": 10}}"#, "c.json: crp.cutoff_time is 10; expected a time of day such as \"09:50\""),
        (r#"{"crp": {"min_prise": 10}}"#, "c.json: crp has no key 'min_prise'; did you mean 'min_price'? it takes cutoff_time, end_date, "),
        // A key of `default` that this scanner has no use for.
        (r#"{"crp": {"resistance_break_pct": 1}}"#, "c.json: crp has no key 'resistance_break_pct'; it takes "),
        (r#"{"crp": {"scan_date": "2025-01-15"}}"#, "c.json: crp has no key 'scan_date'; "),
        (r#"{"scan_crp": {"min_price": 1}}"#, "c.json: unknown section 'scan_crp'; did you mean 'crp'?"),
        (r#"{"defaults": {"min_price": 1}}"#, "c.json: unknown section 'defaults'; did you mean 'default'? there are default, "),
    ] {
        let found = check(content)?.err().ok_or(content)?;
        assert!(found.starts_with(expected), "{content}\nexpected: {expected}\ngot: {found}");
    }
    // Another database may have this scanner.
    let stranger = "c.json: section 'mine' is of no use here, since the database in memory has no such scanner";
    assert_eq!(check(r#"{"mine": {"min_price": 1}}"#)?, Ok(vec![stranger.to_owned()]));
    Ok(())
}

#[test]
fn defaults_and_their_ranges_are_the_scanners_own() -> Outcome {
    let engine = Engine::open(Options::memory())?;
    let parameters = engine.scanner_parameters("breakout")?;
    let defaults = serde_json::to_value(Defaults::default())?;
    let mut checked = 0;
    for (key, value) in defaults.as_object().ok_or("a section is an object")?.iter().filter(|(key, _)| !RUN_KEYS.contains(&key.as_str())) {
        let parameter = parameters.iter().find(|parameter| parameter.name == *key).ok_or_else(|| format!("{key} is no parameter"))?;
        let default = parameter.default.as_deref().ok_or("it has a default")?.parse::<f64>()?;
        assert_eq!(value.as_f64(), Some(default), "{key}");
        let accepts = |value: f64| -> Outcome<bool> {
            // The other price is far away.
            let other = if key == "min_price" {
                r#", "max_price": 1e15"#
            } else if key == "max_price" {
                r#", "min_price": 0"#
            } else {
                ""
            };
            Ok(read(format!("{{\"default\": {{\"{key}\": {value}{other}}}}}").as_bytes())?.is_ok())
        };
        let least = parameter.minimum.ok_or("it has a least value")?;
        assert!(accepts(least)? && !accepts(least - 1.0)?, "{key}");
        match parameter.maximum {
            Some(most) => assert!(accepts(most)? && !accepts(most + 1.0)?, "{key}"),
            None => assert!(accepts(1e12)?, "{key}"),
        }
        checked += 1;
    }
    assert_eq!(checked, 8);
    Ok(())
}
