//! The section `alerts`: what a rule may say, and what is said of one that may not.

use std::{
    collections::BTreeMap,
    error::Error as StdError,
    fs,
    path::{Path, PathBuf},
};

use serde_json::json;
use stockscan_configuration::{AlertRule, Configuration, File, Place, Text, Webhook, Whole};
use stockscan_engine::{Engine, Options};

type Outcome<T = ()> = Result<T, Box<dyn StdError>>;

fn read(path: &Path, content: &str) -> Outcome<Result<Configuration, Vec<String>>> {
    fs::write(path, content)?;
    Ok(match (Place { whose: "named", path: path.to_path_buf() }).read() {
        Ok(layer) => Ok(Configuration::merged(layer.into_iter().collect(), &[])?),
        Err(mistakes) => Err(mistakes),
    })
}

#[test]
fn a_rule_is_read_with_every_key() -> Outcome {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("c.json");
    let content = r#"{"alerts": {
        "morning": {"scanner_type": "breakout", "config": {"min_price": 100}, "cutoff_time": "09:50", "interval_seconds": 30, "symbols": ["A"],
                    "enabled": false, "webhook": {"url": "https://example.org/hook", "secret_file": "secret.txt"}},
        "short": {"scanner_type": "gap", "cutoff_time": null, "webhook": null}}}"#;
    let alerts = read(&path, content)?.map_err(|mistakes| mistakes.join("\n"))?.alerts;
    let morning = AlertRule {
        enabled: false,
        scanner_type: Text("breakout".to_owned()),
        config: BTreeMap::from([("min_price".to_owned(), json!(100))]),
        cutoff_time: Some(Text("09:50".to_owned())),
        interval_seconds: Some(Whole(30)),
        symbols: vec![Text("A".to_owned())],
        webhook: Some(Webhook {
            url: Text("https://example.org/hook".to_owned()),
            secret_file: Some(File(folder.path().join("secret.txt"))),
            secret_env: None,
        }),
    };
    // Without a key a rule is in force, for all symbols, and only the terminal tells.
    let short = AlertRule { scanner_type: Text("gap".to_owned()), ..AlertRule::default() };
    assert!(short.enabled && short.symbols.is_empty() && short.webhook.is_none());
    assert_eq!(alerts, BTreeMap::from([("morning".to_owned(), morning), ("short".to_owned(), short)]));
    Ok(())
}

#[test]
fn a_rule_of_a_later_file_replaces_the_earlier_one_whole() -> Outcome {
    let folder = tempfile::tempdir()?;
    let layer = |name: &str, content: &str| -> Outcome<_> {
        let path = folder.path().join(name);
        fs::write(&path, content)?;
        Ok(Place { whose: "named", path }.read().map_err(|mistakes| mistakes.join("\n"))?.ok_or("it is there")?)
    };
    let first = layer(
        "1.json",
        r#"{"alerts": {"a": {"scanner_type": "gap", "symbols": ["X"], "webhook": {"url": "http://x"}}, "b": {"scanner_type": "gap"}}}"#,
    )?;
    let second = layer("2.json", r#"{"alerts": {"a": {"scanner_type": "crp", "webhook": {"url": "http://y", "secret_file": "/s"}}}}"#)?;
    let merged = Configuration::merged(vec![first, second], &[])?;
    assert_eq!(merged.alerts.keys().collect::<Vec<_>>(), ["a", "b"]);
    let rule = &merged.alerts["a"];
    assert!(rule.symbols.is_empty(), "nothing of the earlier rule is left: {rule:?}");
    assert_eq!(rule.webhook.as_ref().and_then(|webhook| webhook.secret_file.clone()), Some(File(PathBuf::from("/s"))));
    Ok(())
}

#[test]
fn a_mistake_in_a_rule_names_its_place_and_what_is_allowed() -> Outcome {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("c.json");
    for (rule, expected) in [
        (r#"{}"#, "alerts.r has no 'scanner_type'; expected the name of a scanner, as in \"scanner_type\": \"breakout\""),
        (r#"5"#, "alerts.r is 5; expected an object, as in {\"scanner_type\": \"breakout\"}"),
        (
            r#"{"scanner_type": "gap", "cut_off": 1}"#,
            "alerts.r has no key 'cut_off'; did you mean 'cutoff_time'? it takes enabled, scanner_type, config, cutoff_time, \
             interval_seconds, symbols, webhook",
        ),
        (r#"{"scanner_type": ""}"#, "alerts.r.scanner_type is \"\"; expected a text that is not empty"),
        (
            r#"{"scanner_type": "gap", "cutoff_time": "25:00"}"#,
            "alerts.r.cutoff_time is \"25:00\"; expected a time of day such as \"09:50\"",
        ),
        (
            r#"{"scanner_type": "gap", "interval_seconds": 0}"#,
            "alerts.r.interval_seconds is 0; expected a whole number from 1 to 86400 or null",
        ),
        (r#"{"scanner_type": "gap", "symbols": "A"}"#, "alerts.r.symbols is \"A\"; expected a list of texts"),
        (r#"{"scanner_type": "gap", "config": 5}"#, "alerts.r.config is 5; expected an object, as in {\"min_price\": 100}"),
        (r#"{"scanner_type": "gap", "config": {"min_price": -1}}"#, "alerts.r.config.min_price is -1; expected a number, 0 or more"),
        (
            r#"{"scanner_type": "gap", "config": {"symbols": ["A"]}}"#,
            "alerts.r.config has 'symbols', which is a key of the rule itself: write it beside 'config'",
        ),
        (
            r#"{"scanner_type": "gap", "webhook": "http://x"}"#,
            "alerts.r.webhook is \"http://x\"; expected an object, as in {\"url\": \"https://…\"}",
        ),
        (r#"{"scanner_type": "gap", "webhook": {}}"#, "alerts.r.webhook has no 'url'; expected the address to which alerts are posted"),
        (
            r#"{"scanner_type": "gap", "webhook": {"url": "ftp://x"}}"#,
            "alerts.r.webhook.url is \"ftp://x\"; expected an address that starts with https:// or http://, without name and password",
        ),
        (
            r#"{"scanner_type": "gap", "webhook": {"url": "https://me:secret@x"}}"#,
            "alerts.r.webhook.url is \"https://me:secret@x\"; expected an address that starts with https:// or http://, without name and password",
        ),
        (
            r#"{"scanner_type": "gap", "webhook": {"url": "http://x", "secret": "s"}}"#,
            "alerts.r.webhook has no key 'secret'; did you mean 'secret_env'? it takes url, secret_file, secret_env",
        ),
        (
            r#"{"scanner_type": "gap", "webhook": {"url": "http://x", "secret_file": "s", "secret_env": "S"}}"#,
            "alerts.r.webhook has 'secret_file' and 'secret_env'; expected one of them",
        ),
    ] {
        let found = read(&path, &format!(r#"{{"alerts": {{"r": {rule}}}}}"#))?.err().ok_or(rule)?;
        assert_eq!(found, [format!("{}: {expected}", path.display())], "{rule}");
    }
    Ok(())
}

#[test]
fn rules_are_held_to_the_catalogue() -> Outcome {
    let engine = Engine::open(Options::memory())?;
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("c.json");
    let check = |rule: &str| -> Outcome<Result<Vec<String>, String>> {
        let read = read(&path, &format!(r#"{{"alerts": {{"r": {rule}}}}}"#))?.map_err(|mistakes| mistakes.join("\n"))?;
        let shorter = |text: String| text.replace(&format!("{}: ", path.display()), "");
        Ok(read.check_scanners(&engine).map(|told| told.into_iter().map(shorter).collect()).map_err(|error| shorter(error.to_string())))
    };
    assert_eq!(check(r#"{"scanner_type": "crp", "config": {"close_threshold_pct": 2.5}}"#)?, Ok(vec![]));
    for (rule, expected) in [
        (
            r#"{"scanner_type": "crp", "config": {"close_threshold_pct": 51}}"#,
            "alerts.r.config.close_threshold_pct is 51; expected a number from 0 to 50",
        ),
        (
            r#"{"scanner_type": "crp", "config": {"min_prise": 5}}"#,
            "alerts.r.config has no key 'min_prise'; did you mean 'min_price'? it takes end_date, source, ",
        ),
        (r#"{"scanner_type": "crp", "config": {"timeout": 5}}"#, "alerts.r.config has no key 'timeout'; "),
    ] {
        let found = check(rule)?.err().ok_or(rule)?;
        assert!(found.starts_with(expected), "{rule}\nexpected: {expected}\ngot: {found}");
    }
    // Another database may have this scanner.
    let told = check(r#"{"scanner_type": "brakeout"}"#)?.map_err(|error| format!("no mistake: {error}"))?;
    let expected = "alerts.r.scanner_type is \"brakeout\", and the database in memory has no such scanner; did you mean 'breakout'?";
    assert!(told.len() == 1 && told[0].starts_with(expected), "{told:?}");
    Ok(())
}
