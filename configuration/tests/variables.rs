//! Variables as a layer over the files.

use std::{error::Error as StdError, ffi::OsString, fs, path::PathBuf, time::Duration};

use serde_json::json;
use stockscan_configuration::{Configuration, Format, Origin, Place};
use stockscan_engine::{Engine, Options};

type Outcome<T = ()> = Result<T, Box<dyn StdError>>;

fn given(variables: &[(&str, &str)]) -> Vec<(String, OsString)> {
    variables.iter().map(|(name, text)| ((*name).to_owned(), OsString::from(text))).collect()
}

#[test]
fn variables_win_over_files_and_are_typed_by_their_keys() -> Outcome {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("c.json");
    fs::write(&path, r#"{"api": {"port": 1, "host": "a"}, "cli": {"scanners_directory": "mine", "results_directory": "out"}}"#)?;
    let layer = Place { whose: "named", path: path.clone() }.read().map_err(|mistakes| mistakes.join("\n"))?;
    let variables = given(&[
        ("STOCKSCAN_API_PORT", "9000"),
        // A text, though it looks like a number.
        ("STOCKSCAN_API_HOST", "127"),
        ("STOCKSCAN_DEFAULT_MIN_PRICE", "0.5"),
        ("STOCKSCAN_CLI_COLOR_OUTPUT", "False"),
        ("STOCKSCAN_CLI_DEFAULT_FORMAT", "csv"),
        ("STOCKSCAN_CLI_SCANNERS_DIRECTORY", "null"),
        ("STOCKSCAN_CLI_RESULTS_DIRECTORY", "here"),
        ("STOCKSCAN_DATABASE", "none of our business"),
    ]);
    let merged = Configuration::merged(layer.into_iter().collect(), &variables)?;
    assert_eq!((merged.api.port.0, merged.api.host.0.as_str(), merged.default.min_price.0), (9000, "127", 0.5));
    assert!(!merged.cli.color_output && merged.cli.default_format == Format::Csv && merged.cli.scanners_directory.is_none());
    assert_eq!(merged.cli.results_directory.0, PathBuf::from("here"), "relative to where the command runs, not to the file");
    assert_eq!(merged.origin("api", "port"), Some(&Origin::Variable("STOCKSCAN_API_PORT".to_owned())));
    assert_eq!(merged.origin("api", "timeout"), None);
    Ok(())
}

#[test]
fn a_mistake_in_a_variable_names_it() {
    for (name, text, expected) in [
        ("STOCKSCAN_API_PORT", "70000", "STOCKSCAN_API_PORT is 70000; expected a whole number from 1 to 65535"),
        ("STOCKSCAN_API_PORT", "", "STOCKSCAN_API_PORT is \"\"; expected a whole number from 1 to 65535"),
        ("STOCKSCAN_API_PORT", "eighty", "STOCKSCAN_API_PORT is \"eighty\"; expected a whole number from 1 to 65535"),
        ("STOCKSCAN_CLI_COLOR_OUTPUT", "1", "STOCKSCAN_CLI_COLOR_OUTPUT is 1; expected true or false"),
        (
            "STOCKSCAN_CLI_DEFAULT_FORMAT",
            "xml",
            "STOCKSCAN_CLI_DEFAULT_FORMAT is \"xml\"; expected one of table, csv, json, ndjson, parquet, arrow",
        ),
        (
            "STOCKSCAN_API_PROT",
            "1",
            "STOCKSCAN_API_PROT: api has no key 'prot'; did you mean STOCKSCAN_API_PORT? behind STOCKSCAN_API_ it takes HOST, PORT, POSTGRES_PORT, TIMEOUT, \
             MAX_BATCH_SIZE, ENABLE_CORS",
        ),
        ("STOCKSCAN_ALERTS_MORNING", "{}", "STOCKSCAN_ALERTS_MORNING: rules for alerts are written in a file: see 'scanner config --path'"),
        (
            "STOCKSCAN_DEFAULT_MIN_PRICE",
            "3000",
            "STOCKSCAN_DEFAULT_MIN_PRICE: default.min_price (3000) must not exceed default.max_price (2000)",
        ),
    ] {
        let found = Configuration::merged(vec![], &given(&[(name, text)])).map_err(|error| error.to_string());
        assert_eq!(found.err().as_deref(), Some(expected));
    }
    let several = Configuration::merged(vec![], &given(&[("STOCKSCAN_API_PORT", "x"), ("STOCKSCAN_API_HOST", " ")]));
    assert!(several.is_err_and(|error| error.to_string().starts_with("2 mistakes in the configuration:\n")));
}

#[cfg(unix)]
#[test]
fn a_variable_that_is_no_text_is_refused() {
    use std::os::unix::ffi::OsStringExt;
    let variables = [("STOCKSCAN_API_HOST".to_owned(), OsString::from_vec(vec![0xe4]))];
    let found = Configuration::merged(vec![], &variables).map_err(|error| error.to_string());
    assert_eq!(found.err().as_deref(), Some("STOCKSCAN_API_HOST is no text in UTF-8"));
}

#[test]
fn variables_of_scanners_are_resolved_by_the_catalogue_the_longest_name_first() -> Outcome {
    let engine = Engine::open(Options::memory())?;
    // Both names fit the first variable.
    for scanner in ["late", "late_gap"] {
        let sql = format!(
            "CREATE MACRO scan_{scanner}(scan_date, gap_min_price := 1, min_price := 2, symbols := NULL) AS TABLE \
             SELECT scan_date::DATE AS scan_date, 'A' AS symbol, 1.0 AS price, 1 AS volume, 1.0 AS probability_score, 1 AS rank"
        );
        engine.connection().execute_batch(&sql)?;
    }
    let variables = given(&[
        ("STOCKSCAN_LATE_GAP_MIN_PRICE", "7"),
        ("STOCKSCAN_BREAKOUT_SYMBOLS", "A, B"),
        ("STOCKSCAN_BREAKOUT_CUTOFF_TIME", "10:00"),
        ("STOCKSCAN_BREAKOUT_TIMEOUT", "5"),
        ("STOCKSCAN_SOMETHING_ELSE", "x"),
    ]);
    let merged = Configuration::merged(vec![], &variables)?;
    assert_eq!(merged.check_scanners(&engine)?, Vec::<String>::new(), "STOCKSCAN_SOMETHING_ELSE is none of its business");
    let value = |scanner: &str, key: &str| -> Outcome<_> {
        Ok(merged.scanner_settings(&engine, scanner)?.get(key).map(|setting| (setting.value.clone(), setting.origin.to_string())))
    };
    assert_eq!(value("late_gap", "min_price")?, Some((json!(7), "STOCKSCAN_LATE_GAP_MIN_PRICE".to_owned())));
    assert_eq!(value("late", "gap_min_price")?, None);
    assert_eq!(value("breakout", "symbols")?.map(|(value, _)| value), Some(json!(["A", "B"])));
    assert_eq!(value("breakout", "cutoff_time")?.map(|(value, _)| value), Some(json!("10:00")));
    assert_eq!(merged.run_settings("breakout").timeout, Duration::from_secs(5));
    assert_eq!(merged.run_settings("crp").timeout, Duration::from_secs(300));

    for (name, text, expected) in [
        ("STOCKSCAN_BREAKOUT_MIN_PRICE", "-1", "STOCKSCAN_BREAKOUT_MIN_PRICE is -1; expected a number, 0 or more"),
        ("STOCKSCAN_BREAKOUT_TIMEOUT", "0", "STOCKSCAN_BREAKOUT_TIMEOUT is 0; expected a whole number from 1 to 86400"),
        ("STOCKSCAN_GAP_DIRECTION", "up", "STOCKSCAN_GAP_DIRECTION is \"up\"; expected one of long, short, any"),
        (
            "STOCKSCAN_BREAKOUT_MIN_PRISE",
            "1",
            "STOCKSCAN_BREAKOUT_MIN_PRISE: breakout has no key 'min_prise'; did you mean STOCKSCAN_BREAKOUT_MIN_PRICE? behind ",
        ),
    ] {
        let checked = Configuration::merged(vec![], &given(&[(name, text)]))?.check_scanners(&engine).map_err(|error| error.to_string());
        let found = checked.err().ok_or(name)?;
        assert!(found.starts_with(expected), "expected: {expected}\ngot: {found}");
    }
    let told = Configuration::merged(vec![], &given(&[("STOCKSCAN_BRAKEOUT_MIN_PRICE", "1")]))?.check_scanners(&engine)?;
    assert!(told.len() == 1 && told[0].ends_with("did you mean STOCKSCAN_BREAKOUT_MIN_PRICE?"), "{told:?}");
    Ok(())
}
