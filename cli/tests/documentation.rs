//! Runs the blocks of the documentation as a reader would: `sh` blocks of a page one after the other in an empty folder, each `sql` block as a
//! script, and the examples in the command's help. (`python` blocks run in the Python client tests.)

use std::{
    error::Error,
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

type Outcome<T = ()> = Result<T, Box<dyn Error>>;

const SCANNER: &str = env!("CARGO_BIN_EXE_scanner");

fn root() -> PathBuf {
    PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default()).join("..")
}

fn pages() -> Outcome<Vec<PathBuf>> {
    let mut pages = vec![root().join("README.md")];
    for entry in fs::read_dir(root().join("docs"))? {
        let path = entry?.path();
        if path.extension().is_some_and(|ending| ending == "md") {
            pages.push(path);
        }
    }
    Ok(pages)
}

/// The contents of a page's blocks in one language.
fn blocks(page: &str, language: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        if line.trim() == format!("```{language}") {
            let block: Vec<&str> = lines.by_ref().take_while(|line| line.trim() != "```").collect();
            found.push(block.join("\n"));
        }
    }
    found
}

fn shell(script: &str, folder: &Path) -> Outcome<Output> {
    let bin = Path::new(SCANNER).parent().ok_or("the binary stands in a folder")?;
    let path = format!("{}:{}", bin.display(), std::env::var("PATH")?);
    let mut command = Command::new("sh");
    command.args(["-e", "-c", script]).current_dir(folder).env("PATH", path).env("XDG_CONFIG_HOME", folder.join("home"));
    for (variable, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("STOCKSCAN_")) {
        command.env_remove(variable);
    }
    Ok(command.output()?)
}

fn assert_success(output: &Output, what: &str) {
    assert!(output.status.success(), "{what}\n{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
}

#[test]
fn shell_blocks_run_in_order_in_an_empty_folder() -> Outcome {
    let mut count = 0;
    for page in pages()? {
        let folder = tempfile::tempdir()?;
        for block in blocks(&fs::read_to_string(&page)?, "sh") {
            assert_success(&shell(&block, folder.path())?, &format!("{}:\n{block}", page.display()));
            count += 1;
        }
    }
    assert!(count > 0, "there are shell blocks");
    Ok(())
}

#[test]
fn sql_blocks_run_as_scripts_in_order_in_an_empty_database() -> Outcome {
    let mut count = 0;
    for page in pages()? {
        let folder = tempfile::tempdir()?;
        for block in blocks(&fs::read_to_string(&page)?, "sql") {
            let script = folder.path().join("block.sql");
            fs::write(&script, &block)?;
            let output = shell("scanner sql --database page.duckdb < block.sql", folder.path())?;
            assert_success(&output, &format!("{}:\n{block}", page.display()));
            count += 1;
        }
    }
    assert!(count > 0, "there are SQL blocks");
    Ok(())
}

/// An example of `scanner serve` as a script that starts it, at free ports in place of the usual one or those it names, and ends it once it serves.
fn served(example: &str) -> String {
    let example = example.replace("--postgres-port 5433", "--postgres-port 0");
    let words: Vec<&str> = example.split(' ').collect();
    let port = words.iter().position(|word| *word == "--port");
    let kept: Vec<&str> =
        words.iter().enumerate().filter(|(at, _)| port.is_none_or(|port| *at != port && *at != port + 1)).map(|(_, word)| *word).collect();
    format!(
        ": >served.log
        {} --port 0 >>served.log 2>&1 & server=$!
        until grep -q ' at http://' served.log; do kill -0 $server || {{ cat served.log; exit 1; }}; sleep 0.1; done
        kill $server
        wait $server",
        kept.join(" ")
    )
}

/// The commands that the help lists.
fn commands(help: &str) -> Vec<String> {
    let listed = help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    let first_words = listed.filter(|line| !line.starts_with("   ")).filter_map(|line| line.split_whitespace().next());
    first_words.filter(|command| *command != "help").map(str::to_owned).collect()
}

#[test]
fn examples_in_the_help_run() -> Outcome {
    let folder = tempfile::tempdir()?;
    // What the examples assume to be there.
    let prepare = "scanner -q demo
        scanner sql \"COPY (FROM demo_bars(symbols := 2, sessions := 3)) TO 'bars.parquet'\"
        scanner sql \"COPY (SELECT symbol AS ticker, ts AS timestamp, open, high, low, close, volume FROM demo_bars(symbols := 2, sessions := 3)) TO 'day1.csv'\"
        cp day1.csv day2.csv
        scanner sql \"COPY (SELECT ts::DATE AS date, ts::TIME AS time, open, high, low, close, volume FROM demo_bars(symbols := 1, sessions := 3)) TO 'INFY.csv'\"
        scanner sql \"COPY (SELECT symbol, (epoch_us(ts) / 1000)::BIGINT AS ts, open, high, low, close, volume FROM demo_bars(symbols := 1, sessions := 3)) TO 'polygon.csv'\"
        echo \"FROM scanners();\" > script.sql
        scanner sql \"COPY (FROM demo_bars(symbols := 1, sessions := 1)) TO 'live.csv'\"
        mkdir drops && cp bars.parquet drops
        scanner sql \"CREATE TABLE raw_prices AS SELECT symbol, ts AS timestamp, open, high, low, close, volume FROM bars LIMIT 1000;
            CREATE TABLE daily AS SELECT symbol, date, 1.0 AS open, 1.0 AS high, 1.0 AS low, 1.0 AS close, 1 AS volume
            FROM (SELECT DISTINCT symbol, CAST(ts AS DATE) AS date FROM bars)\"
        scanner -q key add reader >reader.key
        echo '{\"alerts\": {\"morning\": {\"scanner_type\": \"breakout\"}}}' > scanner_config.json";
    assert_success(&shell(prepare, folder.path())?, "preparing");
    let mut count = 0;
    let mut commands = commands(&String::from_utf8(shell("scanner --help", folder.path())?.stdout)?);
    commands.push("alerts watch".to_owned());
    for command in commands {
        let help = shell(&format!("scanner {command} --help"), folder.path())?;
        assert_success(&help, &command);
        let text = String::from_utf8(help.stdout)?;
        let examples: Vec<&str> = text.lines().map(str::trim).filter(|line| line.starts_with("scanner ")).collect();
        assert!(!examples.is_empty(), "scanner {command} --help has an example");
        for example in examples {
            let script = if command == "serve" { served(example) } else { example.to_owned() };
            assert_success(&shell(&script, folder.path())?, example);
            count += 1;
        }
    }
    assert!(count >= 20, "{count}");
    Ok(())
}
