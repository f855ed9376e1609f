//! Changes of files.

use std::{error::Error as StdError, fs, path::Path, sync::Arc, thread};

use serde_json::{Value, json};
use stockscan_configuration::{edit, value_from_text};
use stockscan_engine::{Engine, Options, Result as Answer};

type Outcome<T = ()> = Result<T, Box<dyn StdError>>;

fn set(path: &Path, section: &str, key: &str, value: &Value) -> Answer<Option<Value>> {
    edit(path, section, key, Some(value), |_| Ok(()))
}

#[test]
fn a_key_is_set_and_all_else_stays_in_its_order() -> Outcome {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("c.json");
    fs::write(
        &path,
        r#"{"$schema": "s.json", "streamlit": {"theme": "dark"}, "crp": {"max_volume": 18014398509481985}, "api": {"timeout": 5, "port": 1}}"#,
    )?;
    assert_eq!(set(&path, "api", "port", &json!(2))?, Some(json!(1)));
    assert_eq!(set(&path, "api", "host", &json!("x"))?, None);
    assert_eq!(set(&path, "cli", "color_output", &json!(false))?, None);
    // The file has the section by its old name.
    assert_eq!(set(&path, "dashboard", "theme", &json!("auto"))?, Some(json!("dark")));
    let expected = r#"{
  "$schema": "s.json",
  "streamlit": {
    "theme": "auto"
  },
  "crp": {
    "max_volume": 18014398509481985
  },
  "api": {
    "timeout": 5,
    "port": 2,
    "host": "x"
  },
  "cli": {
    "color_output": false
  }
}
"#;
    assert_eq!(fs::read_to_string(&path)?, expected);
    assert_eq!(edit(&path, "cli", "color_output", None, |_| Ok(()))?, Some(json!(false)));
    assert_eq!(edit(&path, "cli", "color_output", None, |_| Ok(()))?, None);
    assert!(!fs::read_to_string(&path)?.contains("cli"), "a section without keys is taken out");
    assert_eq!(fs::read_dir(folder.path())?.count(), 1, "nothing is left beside it");
    Ok(())
}

#[test]
fn a_file_with_mistakes_is_left_alone_unless_one_is_repaired() -> Outcome {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("c.json");
    let content = r#"{"api": {"prot": 1, "port": 0}}"#;
    fs::write(&path, content)?;
    for refused in [set(&path, "cli", "color_output", &json!(true)), set(&path, "api", "timeout", &json!(0))] {
        assert!(refused.is_err_and(|error| error.to_string().contains("api has no key 'prot'")));
        assert_eq!(fs::read_to_string(&path)?, content);
    }
    edit(&path, "api", "prot", None, |_| Ok(()))?;
    set(&path, "api", "port", &json!(8000))?;
    assert_eq!(serde_json::from_str::<Value>(&fs::read_to_string(&path)?)?, json!({"api": {"port": 8000}}));
    fs::write(&path, "{\"api\": ")?;
    assert!(set(&path, "api", "port", &json!(1)).is_err_and(|error| error.to_string().contains("expected JSON")));
    assert_eq!(fs::read_to_string(&path)?, "{\"api\": ");
    // What the caller finds wrong is not written either.
    fs::write(&path, "{}")?;
    let refuse = |_| Err(stockscan_engine::Error::Invalid("no".to_owned()));
    assert!(edit(&path, "api", "port", Some(&json!(1)), refuse).is_err());
    assert_eq!(fs::read_to_string(&path)?, "{}");
    Ok(())
}

#[cfg(unix)]
#[test]
fn links_stay_links_and_permissions_are_kept() -> Outcome {
    use std::os::unix::fs::{PermissionsExt, symlink};
    let folder = tempfile::tempdir()?;
    let (file, link) = (folder.path().join("elsewhere.json"), folder.path().join("c.json"));
    fs::write(&file, "{}")?;
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640))?;
    symlink(&file, &link)?;
    set(&link, "api", "port", &json!(1))?;
    assert!(link.is_symlink() && fs::read_to_string(&file)?.contains("port"));
    assert_eq!(fs::metadata(&file)?.permissions().mode() & 0o777, 0o640);
    fs::remove_file(&file)?;
    assert!(set(&link, "api", "port", &json!(1)).is_err(), "a link that leads nowhere is not replaced");
    assert!(link.is_symlink());
    Ok(())
}

#[test]
fn writers_at_the_same_time_lose_nothing() -> Outcome {
    let folder = tempfile::tempdir()?;
    let path = Arc::new(folder.path().join("c.json"));
    let writers: Vec<_> = (0..8)
        .map(|writer| {
            let path = path.clone();
            // A rule each time, since there are not so many keys.
            thread::spawn(move || -> Answer<()> {
                for number in 0..20 {
                    set(&path, "alerts", &format!("rule{writer}_{number}"), &json!({"scanner_type": "gap"}))?;
                }
                Ok(())
            })
        })
        .collect();
    for writer in writers {
        writer.join().map_err(|_| "a writer panicked")??;
    }
    let content: Value = serde_json::from_str(&fs::read_to_string(&*path)?)?;
    assert_eq!(content["alerts"].as_object().map(serde_json::Map::len), Some(160));
    Ok(())
}

#[test]
fn texts_are_read_as_their_keys_have_it() -> Outcome {
    let engine = Engine::open(Options::memory())?;
    for (section, key, text, expected) in [
        ("api", "port", "9000", json!(9000)),
        ("api", "host", "9000", json!("9000")),
        ("cli", "color_output", "TRUE", json!(true)),
        ("cli", "scanners_directory", "NULL", json!(null)),
        ("default", "min_price", "0.1", json!(0.1)),
        ("crp", "max_volume", "null", json!(null)),
        ("crp", "symbols", "A,B", json!(["A", "B"])),
        ("crp", "symbols", "A", json!(["A"])),
        ("crp", "symbols", r#"["A,B"]"#, json!(["A,B"])),
        ("crp", "cutoff_time", "9:50", json!("9:50")),
        ("crp", "timeout", "5", json!(5)),
        ("gap", "direction", "any", json!("any")),
        ("alerts", "r", r#"{"scanner_type": "gap"}"#, json!({"scanner_type": "gap"})),
    ] {
        assert_eq!(value_from_text(Some(&engine), section, key, text)?, expected, "{section}.{key}");
    }
    for (section, key, text, expected) in [
        ("api", "port", "-1", "api.port is -1; expected a whole number from 1 to 65535"),
        ("crp", "cutoff_time", "25:00", "crp.cutoff_time is \"25:00\"; expected a time of day such as \"09:50\""),
        ("crp", "max_volume", "many", "crp.max_volume is \"many\"; expected a whole number, 0 or more, or null"),
        ("gap", "direction", "up", "gap.direction is \"up\"; expected one of long, short, any"),
        ("alerts", "r", "{}", "alerts.r has no 'scanner_type'; expected the name of a scanner, as in \"scanner_type\": \"breakout\""),
    ] {
        let found = value_from_text(Some(&engine), section, key, text).map_err(|error| error.to_string());
        assert_eq!(found, Err(expected.to_owned()));
    }
    Ok(())
}
