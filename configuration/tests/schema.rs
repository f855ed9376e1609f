//! The schema against what is accepted when a file is read.

use std::{collections::HashSet, error::Error as StdError, fs};

use serde_json::{Value, json};
use stockscan_configuration::{Configuration, Place, keys, schema};
use stockscan_engine::{Engine, Options};

type Outcome<T = ()> = Result<T, Box<dyn StdError>>;

/// Whether a file that sets this is accepted.
fn accepts(engine: &Engine, section: &str, key: &str, value: &Value) -> Outcome<bool> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("c.json");
    let mut content = json!({section: {key: value}});
    // The other price is far away.
    match key {
        "min_price" if section == "default" => content[section]["max_price"] = json!(1e15),
        "max_price" if section == "default" => content[section]["min_price"] = json!(0),
        _ => {}
    }
    fs::write(&path, content.to_string())?;
    let Ok(layer) = (Place { whose: "named", path }).read() else { return Ok(false) };
    let merged = Configuration::merged(layer.into_iter().collect(), &[])?;
    Ok(merged.scanners.is_empty() || merged.check_scanners(engine).is_ok())
}

#[test]
fn what_the_schema_allows_is_what_is_accepted() -> Outcome {
    let engine = Engine::open(Options::memory())?;
    let schema = schema(&engine)?;
    let mut checked = HashSet::new();
    for (section, content) in schema["properties"].as_object().ok_or("sections")? {
        assert!(section == "$schema" || section == "alerts" || content["additionalProperties"] == json!(false), "{section}");
        for (key, property) in content["properties"].as_object().into_iter().flatten() {
            // Most parameters are those of other scanners, too.
            if !checked.insert((key.clone(), property.to_string())) {
                continue;
            }
            let place = format!("{section}.{key}: {property}");
            assert!(property["description"].as_str().is_some_and(|text| text.len() > 5), "{place}");
            let expect = |value: &Value, is_allowed: bool| -> Outcome {
                assert_eq!(accepts(&engine, section, key, value)?, is_allowed, "{value} as {place}");
                Ok(())
            };
            let kinds = property["type"].as_array().cloned().unwrap_or_else(|| vec![property["type"].clone()]);
            expect(&Value::Null, kinds.contains(&json!("null")))?;
            if let Some(default) = property.get("default") {
                expect(default, true)?;
            }
            for (limit, beyond) in [("minimum", -1.0), ("maximum", 1.0)] {
                if let Some(limit) = property[limit].as_f64() {
                    expect(&property[if beyond < 0.0 { "minimum" } else { "maximum" }], true)?;
                    expect(&json!(limit + beyond), false)?;
                }
            }
            let is = |kind: &str| kinds.contains(&json!(kind));
            expect(&json!(true), is("boolean"))?;
            expect(&json!({}), false)?;
            expect(&json!(["A"]), is("array"))?;
            expect(
                &json!("no such choice"),
                is("string") && property.get("enum").is_none() && property["title"] != "a time of day such as \"09:50\"",
            )?;
            if is("integer") {
                expect(&json!(1.5), false)?;
            }
        }
        if section != "$schema" && section != "alerts" {
            assert!(!accepts(&engine, section, "no_such_key", &json!(1))?, "{section}");
        }
    }
    assert!(checked.len() > 80, "{}", checked.len());
    Ok(())
}

#[test]
fn keys_of_the_server_and_the_dashboard_are_known_as_such() {
    let of = |part: &str| -> Vec<String> {
        let keys = keys().iter().filter(|key| key.acts_in.as_deref() == Some(part));
        keys.map(|key| format!("{}.{}", key.section, key.name)).collect()
    };
    assert_eq!(of("server"), ["streaming.websocket_enabled", "api.postgres_port", "api.max_batch_size", "api.enable_cors"]);
    assert_eq!(of("dashboard").len(), 7);
    assert_eq!(keys().len(), 37);
}
