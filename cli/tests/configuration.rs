//! `scanner config`, `completions` and `man`, and what `doctor` says of the configuration.

mod common;

use std::{
    collections::BTreeSet,
    fs,
    path::Path,
    process::{Command, Stdio},
    thread,
    time::Instant,
};

use common::{Answer, Outcome, answer, command, count, demo, ok, scanner};
use serde_json::{Value, json};

fn json_of(answer: &Answer) -> Outcome<Value> {
    Ok(serde_json::from_str(&answer.out)?)
}

/// The command in a folder, with variables.
fn with(folder: &Path, variables: &[(&str, &str)], arguments: &[&str]) -> Outcome<Answer> {
    answer(command(folder).args(arguments).envs(variables.iter().copied()))
}

#[test]
fn every_key_is_shown_with_its_value_and_where_that_comes_from() -> Outcome {
    let folder = tempfile::tempdir()?;
    let root = folder.path();
    fs::create_dir_all(root.join("home/stockscan"))?;
    fs::write(root.join("home/stockscan/config.json"), r#"{"api": {"port": 1, "host": "a"}, "cli": {"progress_bars": false}}"#)?;
    fs::write(root.join("scanner_config.json"), r#"{"api": {"port": 2}, "crp": {"max_volume": 5}, "streamlit": {"theme": "dark"}}"#)?;
    let variables = [("STOCKSCAN_API_HOST", "b")];
    let rows = json_of(&with(root, &variables, &["config", "--format", "json"])?)?;
    let row = |key: &str| rows.as_array().into_iter().flatten().find(|row| row["key"] == key).cloned().unwrap_or_default();
    for (key, value, origin) in [
        ("api.port", "2", "scanner_config.json"),
        ("api.host", "b", "STOCKSCAN_API_HOST"),
        ("api.timeout", "300", "built-in"),
        ("cli.scanners_directory", "NULL", "built-in"),
        ("crp.max_volume", "5", "scanner_config.json"),
        ("dashboard.theme", "dark", "scanner_config.json"),
    ] {
        assert_eq!((row(key)["value"].as_str(), row(key)["origin"].as_str()), (Some(value), Some(origin)), "{key}");
    }
    assert!(row("cli.progress_bars")["origin"].as_str().is_some_and(|origin| origin.ends_with("home/stockscan/config.json")));
    assert_eq!((row("dashboard.theme")["acts_in"].as_str(), row("api.port")["acts_in"].as_str()), (Some("dashboard"), Some("")));
    let table = with(root, &variables, &["config"])?;
    let line = table.out.lines().find(|line| line.starts_with("api.host ")).ok_or("a line")?;
    let cells: Vec<&str> = line.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect();
    assert_eq!(cells, ["api.host", "b", "STOCKSCAN_API_HOST", "a text that is not empty"]);
    assert!(table.err.contains("only in the dashboard: streaming.auto_refresh_ui, dashboard.theme"), "{}", table.err);
    let doctor = with(root, &variables, &["doctor"])?;
    assert!(
        doctor.out.contains("scanner_config.json (this folder's) sets api: port; crp: max_volume; dashboard: theme\n"),
        "{}",
        doctor.out
    );
    assert!(doctor.out.contains("STOCKSCAN_API_HOST sets api.host\n"), "{}", doctor.out);
    Ok(())
}

#[test]
fn a_scanners_values_are_its_section_over_default_over_its_own() -> Outcome {
    let folder = tempfile::tempdir()?;
    let root = folder.path();
    fs::write(
        root.join("scanner_config.json"),
        r#"{"default": {"min_price": 10, "max_price": 500, "timeout": 20}, "crp": {"min_price": 20, "cache_ttl": 1}}"#,
    )?;
    let variables = [("STOCKSCAN_CRP_MIN_VOLUME", "7"), ("STOCKSCAN_CRP_TIMEOUT", "9")];
    let rows = json_of(&with(root, &variables, &["config", "-t", "crp", "--format", "json"])?)?;
    let row = |key: &str| rows.as_array().into_iter().flatten().find(|row| row["key"] == key).cloned().unwrap_or_default();
    for (key, value, origin, unit) in [
        ("min_price", "20", "scanner_config.json", "currency"),
        ("max_price", "500", "scanner_config.json", "currency"),
        ("min_volume", "7", "STOCKSCAN_CRP_MIN_VOLUME", "shares"),
        // Its own default, and not the 10 that stands for all in `default`.
        ("min_probability_score", "50", "built-in", "points"),
        ("max_volume", "NULL", "built-in", "shares"),
        ("cutoff_time", "09:50", "built-in", "exchange time"),
        ("timeout", "9", "STOCKSCAN_CRP_TIMEOUT", ""),
        ("cache_ttl", "1", "scanner_config.json", ""),
    ] {
        let found = row(key);
        assert_eq!((found["value"].as_str(), found["origin"].as_str()), (Some(value), Some(origin)), "{key}");
        assert_eq!(found["unit"], unit, "{key}");
    }
    assert!(rows.as_array().is_some_and(|rows| rows.iter().all(|row| row["key"] != "resistance_break_pct")), "crp does not take it");
    assert_eq!(ok(root, &["config", "-t", "scan_crp", "--key", "min_price"])?.out, "20\n");
    assert_eq!(ok(root, &["config", "--key", "crp.min_price"])?.out, "20\n");
    assert_eq!(ok(root, &["config", "--key", "min_price"])?.out, "10\n");
    Ok(())
}

#[test]
fn keys_are_found_by_their_names() -> Outcome {
    let folder = tempfile::tempdir()?;
    for (key, expected) in
        [("min_price", "50\n"), ("timeout", "300\n"), ("port", "8000\n"), ("api.port", "8000\n"), ("streamlit.theme", "auto\n")]
    {
        assert_eq!(ok(folder.path(), &["config", "--key", key])?.out, expected, "{key}");
    }
    for (arguments, expected) in [
        (
            &["--key", "min_prise"][..],
            "scanner: there is no key 'min_prise'; did you mean 'min_price'? 'scanner config' lists them; a scanner's own are set and shown \
             with --scanner-type NAME\n",
        ),
        (
            &["--key", "api.prot"],
            "scanner: api has no key 'prot'; did you mean 'port'? it takes host, port, postgres_port, timeout, max_batch_size, enable_cors\n",
        ),
        (&["--key", "gap.fantasy", "--value", "1"], "scanner: gap has no key 'fantasy'; it takes "),
        (&["--key", "brakeout.min_price"], "scanner: there is no scanner 'brakeout'; did you mean 'breakout'? there are "),
        (&["--key", "alerts.morning"], "scanner: there is no rule 'morning' in alerts; "),
        (&["--key", "port", "--user"], "scanner: --user says which file is changed; expected --value VALUE or --unset with it\n"),
        (&["--key", "port", "--value", "0"], "scanner: api.port is 0; expected a whole number from 1 to 65535\n"),
        (&["--key", "min_price", "--value", "-5"], "scanner: default.min_price is -5; expected a number, 0 or more\n"),
        (
            &["--key", "min_price", "--value", "3000"],
            "scanner: scanner_config.json: default.min_price (3000) must not exceed default.max_price (2000)\n",
        ),
        (&["--key", "port", "--unset"], "scanner: scanner_config.json does not set api.port; 'scanner config' says where it comes from\n"),
    ] {
        let answer = scanner(folder.path(), &[&["config"], arguments].concat())?;
        assert_eq!((answer.code, answer.out.as_str()), (Some(2), ""), "{arguments:?}");
        assert!(answer.err.starts_with(expected), "{arguments:?}\nexpected: {expected}\ngot: {}", answer.err);
    }
    assert!(!folder.path().join("scanner_config.json").exists(), "what is refused leaves no file");
    Ok(())
}

#[test]
fn a_key_is_set_and_taken_out_again() -> Outcome {
    let folder = tempfile::tempdir()?;
    let root = folder.path();
    let file = || -> Outcome<Value> { Ok(serde_json::from_str(&fs::read_to_string(root.join("scanner_config.json"))?)?) };
    let said = |arguments: &[&str]| -> Outcome<String> {
        let answer = ok(root, &[&["config"], arguments].concat())?;
        assert_eq!(answer.out, "", "{arguments:?}");
        Ok(answer.err)
    };
    assert_eq!(said(&["--key", "port", "--value", "9000"])?, "scanner_config.json: api.port = 9000; it was not set there\n");
    assert_eq!(said(&["--key", "port", "--value", "9001"])?, "scanner_config.json: api.port = 9001; it was 9000\n");
    assert_eq!(said(&["--key", "port", "--value", "9001"])?, "scanner_config.json: api.port is 9001 already\n");
    assert_eq!(said(&["-q", "-t", "crp", "--key", "symbols", "--value", "A,B"])?, "");
    assert_eq!(
        said(&["--key", "theme", "--value", "dark"])?,
        "scanner_config.json: dashboard.theme = dark; it was not set there\nit acts only in the dashboard\n"
    );
    assert_eq!(file()?, json!({"api": {"port": 9001}, "crp": {"symbols": ["A", "B"]}, "dashboard": {"theme": "dark"}}));
    assert_eq!(said(&["--key", "api.port", "--unset"])?, "scanner_config.json: api.port is not set any more; it was 9001\n");
    assert_eq!(file()?, json!({"crp": {"symbols": ["A", "B"]}, "dashboard": {"theme": "dark"}}));

    // In the user's own file, which this folder's hides.
    fs::write(root.join("scanner_config.json"), r#"{"api": {"port": 5}}"#)?;
    let told = said(&["--user", "--key", "port", "--value", "6"])?;
    assert!(told.ends_with("api.port = 6; it was not set there\nit has no effect, since scanner_config.json says 5 and wins\n"), "{told}");
    let hidden = with(root, &[("STOCKSCAN_CRP_MIN_PRICE", "1")], &["config", "-t", "crp", "--key", "min_price", "--value", "2"])?;
    assert!(hidden.err.ends_with("it has no effect, since STOCKSCAN_CRP_MIN_PRICE says 1 and wins\n"), "{}", hidden.err);
    assert_eq!(file()?, json!({"api": {"port": 5}, "crp": {"min_price": 2}}));
    let paths = json_of(&ok(root, &["config", "--path", "--format", "json"])?)?;
    assert_eq!(paths[0]["is_there"], "yes");
    assert!(paths[0]["file"].as_str().is_some_and(|path| path.ends_with("home/stockscan/config.json")));

    // A file that is named is made.
    ok(root, &["--config-file", "named.json", "config", "--key", "port", "--value", "7"])?;
    assert_eq!(ok(root, &["--config-file", "named.json", "config", "--key", "port"])?.out, "7\n");
    Ok(())
}

#[test]
fn rules_for_alerts_are_values_too() -> Outcome {
    let folder = tempfile::tempdir()?;
    let root = folder.path();
    let rule = r#"{"scanner_type":"gap","config":{"min_price":5}}"#;
    ok(root, &["config", "--key", "alerts.morning", "--value", rule])?;
    let shown = ok(root, &["config", "--key", "alerts.morning"])?.out;
    let shown: Value = serde_json::from_str(&shown)?;
    assert_eq!((shown["scanner_type"].as_str(), shown["config"]["min_price"].as_i64()), (Some("gap"), Some(5)));
    let refused = scanner(root, &["config", "--key", "alerts.evening", "--value", r#"{"scanner_type":"gap","config":{"min_prise":5}}"#])?;
    assert_eq!(refused.code, Some(2));
    assert!(
        refused.err.starts_with("scanner: scanner_config.json: alerts.evening.config has no key 'min_prise'; did you mean"),
        "{}",
        refused.err
    );
    ok(root, &["config", "--key", "alerts.morning", "--unset"])?;
    assert_eq!(fs::read_to_string(root.join("scanner_config.json"))?, "{}\n");
    Ok(())
}

#[test]
fn validate_says_every_mistake_of_every_layer() -> Outcome {
    let folder = tempfile::tempdir()?;
    let root = folder.path();
    fs::write(root.join("scanner_config.json"), r#"{"api": {"port": 0, "prot": 1}}"#)?;
    fs::write(root.join("named.json"), r#"{"crp": {"close_threshold_pct": 99}}"#)?;
    let variables = [("STOCKSCAN_CLI_COLOR_OUTPUT", "maybe")];
    let all = with(root, &variables, &["--config-file", "named.json", "config", "--validate"])?;
    let expected = "scanner: scanner_config.json: api.port is 0; expected a whole number from 1 to 65535\n\
                    scanner_config.json: api has no key 'prot'; did you mean 'port'? it takes host, port, postgres_port, timeout, max_batch_size, enable_cors\n\
                    STOCKSCAN_CLI_COLOR_OUTPUT is \"maybe\"; expected true or false\n";
    assert_eq!((all.code, all.err.as_str()), (Some(2), expected));
    let catalogue = scanner(root, &["--config-file", "named.json", "config", "--validate"])?;
    assert!(catalogue.err.contains("named.json: crp.close_threshold_pct is 99; expected a number from 0 to 50"), "{}", catalogue.err);
    // A mistake is repaired by the command that says it.
    ok(root, &["config", "--key", "api.port", "--value", "80"])?;
    let refused = scanner(root, &["config", "--key", "cli.color_output", "--value", "false"])?;
    assert_eq!(refused.code, Some(2), "a mistake is left");
    fs::write(root.join("scanner_config.json"), r#"{"api": {"port": 80}}"#)?;
    let right = ok(root, &["config", "--validate"])?;
    assert_eq!(right.out, "scanner_config.json: 1 setting\nno mistakes\n");
    Ok(())
}

#[test]
fn variables_act_on_every_command() -> Outcome {
    let folder = tempfile::tempdir()?;
    let root = folder.path();
    let csv = with(root, &[("STOCKSCAN_CLI_DEFAULT_FORMAT", "csv")], &["sql", "SELECT 1 AS a"])?;
    assert_eq!(csv.out, "a\n1\n");
    let refused = with(root, &[("STOCKSCAN_API_PORT", "x")], &["sql", "SELECT 1"])?;
    assert_eq!(
        (refused.code, refused.err.as_str()),
        (Some(2), "scanner: STOCKSCAN_API_PORT is \"x\"; expected a whole number from 1 to 65535\n")
    );
    // The key for a server is a secret, and none of `api`.
    let secret = with(root, &[("STOCKSCAN_API_KEY", "s3cret")], &["config", "--format", "json"])?;
    assert_eq!((secret.code, secret.out.contains("s3cret") || secret.err.contains("s3cret")), (Some(0), false));
    // What would not run because of the configuration does not include these.
    fs::write(root.join("scanner_config.json"), "{")?;
    for arguments in [&["completions", "bash"][..], &["man"], &["config", "--path"]] {
        ok(root, arguments)?;
    }
    let sql = with(root, &[], &["sql", "SELECT 1"])?;
    assert!(sql.err.starts_with("scanner: scanner_config.json:1:1: EOF"), "{}", sql.err);
    Ok(())
}

#[test]
fn variables_act_on_a_scan() -> Outcome {
    let folder = demo()?;
    let root = folder.path();
    let variables = [
        ("STOCKSCAN_DEFAULT_MIN_PROBABILITY_SCORE", "0"),
        ("STOCKSCAN_BREAKOUT_MAX_RESULTS_PER_DAY", "100"),
        ("STOCKSCAN_BREAKOUT_BREAKOUT_VOLUME_RATIO", "0"),
        ("STOCKSCAN_BREAKOUT_RESISTANCE_BREAK_PCT", "0"),
    ];
    let arguments = ["run", "-t", "breakout", "--date", "2025-01-15", "--format", "ndjson"];
    let expected = count(
        root,
        "SELECT count(*) FROM scan_breakout('2025-01-15', min_probability_score := 0, max_results_per_day := 100, breakout_volume_ratio := 0, resistance_break_pct := 0)",
    )?;
    let usual = count(root, "SELECT count(*) FROM scan_breakout('2025-01-15')")?;
    assert!(expected > usual, "the limits make a difference: {expected}, {usual}");
    assert_eq!(with(root, &variables, &arguments)?.out.lines().count(), usize::try_from(expected)?);
    // A flag wins.
    let flag = with(root, &variables, &[&arguments[..], &["--set", "max_results_per_day=1"]].concat())?;
    assert_eq!(flag.out.lines().count(), 1);
    Ok(())
}

#[test]
fn a_writer_killed_at_any_moment_leaves_the_old_or_the_new_file() -> Outcome {
    let folder = tempfile::tempdir()?;
    let root = folder.path();
    let path = root.join("scanner_config.json");
    // Large enough that writing it takes a while: half of it would be noticed.
    let rules: serde_json::Map<String, Value> =
        (0..1000).map(|number| (format!("rule{number}"), json!({"scanner_type": "gap", "symbols": ["A", "B"]}))).collect();
    let content = |port: i64| json!({"api": {"port": port}, "alerts": rules.clone()});
    fs::write(&path, content(1).to_string())?;
    let mut ports = BTreeSet::from([1]);
    let started = Instant::now();
    ok(root, &["config", "--key", "api.port", "--value", "1"])?;
    let whole = started.elapsed();
    let mut random = 1u64;
    for round in 2..=121 {
        let port = round.to_string();
        let mut child =
            command(root).args(["config", "--key", "api.port", "--value", &port]).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        // Most of the time is spent before the file is written.
        thread::sleep(whole.mul_f64(0.5 + (random >> 40) as f64 / (1u64 << 24) as f64));
        child.kill()?;
        child.wait()?;
        let found: Value = serde_json::from_str(&fs::read_to_string(&path)?)?;
        let port = found["api"]["port"].as_i64().ok_or("a port")?;
        assert!(port == round || ports.last().is_some_and(|last| port == *last), "{port} in round {round}");
        assert_eq!(found, content(port), "whole, in round {round}");
        ports.insert(port);
    }
    assert!((2..121).contains(&ports.len()), "some were written, and some were not: {}", ports.len());
    // Nothing that a killed one has left stands in the way, or is left after the next.
    ok(root, &["config", "--key", "api.port", "--value", "500"])?;
    let names: Vec<_> = fs::read_dir(root)?.map(|entry| Ok(entry?.file_name())).collect::<std::io::Result<_>>()?;
    assert_eq!(names, ["scanner_config.json"]);
    Ok(())
}

#[test]
fn a_full_disk_leaves_the_old_file() -> Outcome {
    let folder = tempfile::tempdir()?;
    let root = folder.path();
    let path = root.join("scanner_config.json");
    let symbols: Vec<String> = (0..400).map(|number| format!("SYMBOL{number}")).collect();
    let content = json!({"api": {"port": 1}, "crp": {"symbols": symbols}}).to_string();
    fs::write(&path, &content)?;
    // A limit of the file's size behaves as a full disk does, and needs no root. The signal is ignored, so that the write fails.
    let script = "trap '' XFSZ; ulimit -f 1; exec \"$0\" config --key api.port --value 2";
    let limited =
        answer(Command::new("bash").args(["-c", script, env!("CARGO_BIN_EXE_scanner")]).current_dir(root).env("XDG_CONFIG_HOME", root))?;
    assert_eq!(limited.code, Some(1), "{}", limited.err);
    assert!(limited.err.starts_with("scanner: scanner_config.json: File too large"), "{}", limited.err);
    assert_eq!(fs::read_to_string(&path)?, content);
    assert_eq!(fs::read_dir(root)?.count(), 1, "nothing half is left");
    Ok(())
}

#[test]
fn a_folder_that_cannot_be_written_to_is_said() -> Outcome {
    let folder = tempfile::tempdir()?;
    // Not even root can make a file here.
    let read_only =
        answer(command(Path::new("/proc/self")).env("XDG_CONFIG_HOME", folder.path()).args(["config", "--key", "port", "--value", "1"]))?;
    assert_eq!(read_only.code, Some(1));
    assert!(read_only.err.starts_with("scanner: scanner_config.json: "), "{}", read_only.err);
    let nowhere = scanner(folder.path(), &["--config-file", "no/such/folder.json", "config", "--key", "port", "--value", "1"])?;
    assert_eq!((nowhere.code, nowhere.err.as_str()), (Some(1), "scanner: no/such/folder.json: No such file or directory (os error 2)\n"));
    Ok(())
}

#[test]
fn without_a_home_folder_there_is_no_file_of_ones_own() -> Outcome {
    let folder = tempfile::tempdir()?;
    let mut homeless = command(folder.path());
    homeless.env_remove("XDG_CONFIG_HOME").env("HOME", "");
    let paths = answer(homeless.args(["config", "--path", "--format", "csv"]))?;
    assert_eq!(paths.code, Some(0), "{}", paths.err);
    assert!(paths.out.contains(",this folder's,no\n"), "{}", paths.out);
    Ok(())
}

#[test]
fn the_page_has_the_keys_of_the_schema() -> Outcome {
    let folder = tempfile::tempdir()?;
    let page = fs::read_to_string(Path::new(&std::env::var("CARGO_MANIFEST_DIR")?).join("../docs/configuration.md"))?;
    let table = |header: &str| -> Vec<&str> {
        page.lines().skip_while(|line| !line.starts_with(header)).skip(2).take_while(|line| line.starts_with('|')).collect()
    };
    let keys = json_of(&ok(folder.path(), &["config", "--format", "json"])?)?;
    let text = |row: &Value, column: &str| row[column].as_str().unwrap_or_default().to_owned();
    let expected: Vec<String> = keys
        .as_array()
        .into_iter()
        .flatten()
        .map(|row| {
            let part = text(row, "acts_in");
            let part = if part.is_empty() { String::new() } else { format!(" Only in the {part}.") };
            format!("| `{}` | {} | `{}` | {}{part} |", text(row, "key"), text(row, "allowed"), text(row, "value"), text(row, "meaning"))
        })
        .collect();
    assert_eq!(table("| key | allowed"), expected);

    let schema = json_of(&ok(folder.path(), &["config", "--schema"])?)?;
    let rule = &schema["properties"]["alerts"]["additionalProperties"];
    let mut expected = Vec::new();
    for (prefix, object) in [("", rule), ("webhook.", &rule["properties"]["webhook"])] {
        for (key, property) in object["properties"].as_object().ok_or("keys")? {
            let is_needed = object["required"].as_array().is_some_and(|needed| needed.contains(&json!(key)));
            let default = if is_needed { "needed".to_owned() } else { format!("`{}`", property["default"]) };
            expected.push(format!("| `{prefix}{key}` | {default} | {} |", text(property, "description")));
        }
    }
    assert_eq!(table("| key of a rule"), expected);
    Ok(())
}

#[test]
fn the_schema_knows_ones_own_scanners() -> Outcome {
    let folder = tempfile::tempdir()?;
    let root = folder.path();
    ok(root, &["new", "morning_rise", "--folder", "mine"])?;
    ok(root, &["--scanners-directory", "mine", "config", "--schema", "--output", "schema.json"])?;
    let schema: Value = serde_json::from_str(&fs::read_to_string(root.join("schema.json"))?)?;
    let section = &schema["properties"]["morning_rise"]["properties"];
    assert_eq!(section["min_price"]["type"], "number");
    let names = &schema["properties"]["alerts"]["additionalProperties"]["properties"]["scanner_type"]["enum"];
    assert!(names.as_array().is_some_and(|names| names.contains(&json!("morning_rise"))));
    Ok(())
}

#[test]
fn bash_completes_commands_options_and_scanners() -> Outcome {
    let folder = tempfile::tempdir()?;
    let root = folder.path();
    ok(root, &["new", "morning_rise", "--folder", "mine"])?;
    fs::write(root.join("scanner.bash"), ok(root, &["--scanners-directory", "mine", "completions", "bash"])?.out)?;
    let complete = |words: &str| -> Outcome<String> {
        // As bash does it: the words typed, the one under the cursor, and the one before it.
        let script = format!(
            "source scanner.bash; COMP_WORDS=({words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); \
             _scanner scanner \"${{COMP_WORDS[COMP_CWORD]}}\" \"${{COMP_WORDS[COMP_CWORD - 1]}}\"; echo \"${{COMPREPLY[@]}}\""
        );
        let answer = answer(Command::new("bash").args(["-c", &script]).current_dir(root))?;
        assert_eq!((answer.code, answer.err.as_str()), (Some(0), ""), "{words}");
        Ok(answer.out.trim().to_owned())
    };
    assert_eq!(complete("scanner compl")?, "completions");
    assert_eq!(complete("scanner config --val")?, "--value --validate");
    assert_eq!(complete("scanner run --scanner-type mo")?, "momentum morning_rise");
    assert_eq!(complete("scanner run -t bre")?, "breakout");
    assert_eq!(complete("scanner list tech")?, "technical");
    for (shell, has_names) in [("zsh", true), ("fish", true), ("powershell", false), ("elvish", false)] {
        let script = ok(root, &["completions", shell])?.out;
        assert!(script.contains("scanner-type") && script.contains("opening_range") == has_names, "{shell}");
    }
    assert_eq!(scanner(root, &["completions", "tcsh"])?.code, Some(2));
    Ok(())
}

#[test]
fn manual_pages_have_every_command_and_its_examples() -> Outcome {
    let folder = tempfile::tempdir()?;
    let root = folder.path();
    ok(root, &["man", "--output", "man1"])?;
    let main = fs::read_to_string(root.join("man1/scanner.1"))?;
    assert_eq!(ok(root, &["man"])?.out, main);
    let help = ok(root, &["--help"])?.out;
    let commands: Vec<&str> = help
        .lines()
        .skip_while(|line| *line != "Commands:")
        .skip(1)
        .take_while(|line| line.starts_with("  "))
        .filter(|line| !line.starts_with("   "))
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| *name != "help")
        .collect();
    assert!(commands.len() >= 13, "{commands:?}");
    let mut expected: Vec<String> = commands.iter().map(|name| format!("scanner-{name}.1")).chain(["scanner.1".to_owned()]).collect();
    expected.sort();
    let mut found: Vec<String> = fs::read_dir(root.join("man1"))?
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect::<std::io::Result<_>>()?;
    found.sort();
    assert_eq!(found, expected);
    for name in &found {
        let page = fs::read_to_string(root.join("man1").join(name))?;
        assert!(page.contains(".SH NAME\n") && page.contains(".SH EXAMPLES AND NOTES\n.nf\n") || name == "scanner-doctor.1", "{name}");
    }
    let config = fs::read_to_string(root.join("man1/scanner-config.1"))?;
    assert!(config.contains("\n  scanner config \\-\\-key api.port \\-\\-value 9000\n"), "an example keeps its line");
    // A formatter's warnings, where there is one.
    if Command::new("groff").arg("--version").output().is_ok() {
        for name in &found {
            let groff = answer(Command::new("groff").args(["-man", "-ww", "-b", "-z", name]).current_dir(root.join("man1")))?;
            assert_eq!((groff.code, groff.err.as_str()), (Some(0), ""), "{name}");
        }
    }
    Ok(())
}
