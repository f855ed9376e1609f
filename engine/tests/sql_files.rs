//! Runs every `tests/sql/*.test` through the engine. The Python client tests run the same files through the loadable extension, and the
//! dialect is described there, in `tests/clients/duckdb/sqllogic.py`.

use std::{
    error::Error,
    fs,
    path::{Path, PathBuf},
};

use parquet::arrow::ArrowWriter;
use stockscan_engine::{Engine, Options, Query};

type Outcome<T = ()> = Result<T, Box<dyn Error>>;

struct Record {
    line: usize,
    head: String,
    sql: String,
    expected: Option<Vec<String>>,
}

#[test]
fn every_sql_file_gives_the_rows_that_its_test_says() -> Outcome {
    let folder = Path::new(&std::env::var("CARGO_MANIFEST_DIR")?).join("../tests/sql");
    let mut paths: Vec<PathBuf> = fs::read_dir(&folder)?.map(|entry| entry.map(|entry| entry.path())).collect::<Result<_, _>>()?;
    paths.retain(|path| path.extension().is_some_and(|ending| ending == "test"));
    paths.sort();
    assert!(!paths.is_empty(), "no tests in {}", folder.display());
    let mut failures = Vec::new();
    let mut count = 0;
    for path in &paths {
        let scratch = tempfile::tempdir()?;
        let engine = Engine::open(Options::memory())?;
        for record in records(path, &scratch.path().display().to_string())? {
            count += 1;
            if let Err(message) = run(&engine, &record) {
                failures.push(format!("{}:{}: {}\n{}\n{message}", path.display(), record.line, record.head, record.sql));
            }
        }
    }
    println!("{count} records of {} files", paths.len());
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
    Ok(())
}

fn records(path: &Path, folder: &str) -> Outcome<Vec<Record>> {
    let text = fs::read_to_string(path)?.replace("__TEST_DIR__", folder);
    let lines: Vec<(usize, String)> =
        text.lines().enumerate().filter(|(_, line)| !line.starts_with('#')).map(|(index, line)| (index + 1, line.to_owned())).collect();
    let mut expanded = expand(&lines)?;
    expanded.push((0, String::new()));
    let mut records = Vec::new();
    let mut block: Vec<(usize, String)> = Vec::new();
    for (number, line) in expanded {
        if !line.trim().is_empty() {
            block.push((number, line));
        } else if !block.is_empty() {
            let mut texts = std::mem::take(&mut block);
            // What stands here is for the version in this program.
            let condition = texts.iter().take_while(|(_, text)| text.starts_with("skipif") || text.starts_with("onlyif")).count();
            if texts.drain(..condition).any(|(_, text)| text.starts_with("onlyif")) {
                continue;
            }
            let (line, head) = texts.remove(0);
            let texts: Vec<String> = texts.into_iter().map(|(_, text)| text).collect();
            let divider = texts.iter().position(|text| text == "----");
            records.push(Record {
                line,
                head: head.trim().to_owned(),
                sql: texts[..divider.unwrap_or(texts.len())].join("\n"),
                expected: divider.map(|divider| texts[divider + 1..].to_vec()),
            });
        }
    }
    Ok(records)
}

/// Writes loops out; they may be nested.
fn expand(lines: &[(usize, String)]) -> Outcome<Vec<(usize, String)>> {
    let mut result = Vec::new();
    let mut position = 0;
    while let Some((number, line)) = lines.get(position) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let values: Vec<String> = match words.as_slice() {
            ["loop", _, first, end] => (first.parse::<i64>()?..end.parse()?).map(|value| value.to_string()).collect(),
            ["foreach", _, values @ ..] => values.iter().map(|value| (*value).to_owned()).collect(),
            _ => {
                result.push((*number, line.clone()));
                position += 1;
                continue;
            }
        };
        let mut depth = 1;
        let mut end = position;
        while depth > 0 {
            end += 1;
            let (_, inner) = lines.get(end).ok_or_else(|| format!("line {number}: no endloop for '{line}'"))?;
            match inner.split_whitespace().next() {
                Some("loop" | "foreach") => depth += 1,
                Some("endloop") => depth -= 1,
                _ => {}
            }
        }
        let name = format!("${{{}}}", words[1]);
        for value in values {
            let body: Vec<_> = lines[position + 1..end].iter().map(|(number, text)| (*number, text.replace(&name, &value))).collect();
            result.push((*number, String::new()));
            result.extend(expand(&body)?);
        }
        result.push((*number, String::new()));
        position = end + 1;
    }
    Ok(result)
}

fn run(engine: &Engine, record: &Record) -> Result<(), String> {
    let connection = engine.connection();
    let words: Vec<&str> = record.head.split_whitespace().collect();
    match (words.as_slice(), &record.expected) {
        (["require", "stockscan"], _) => Ok(()),
        (["statement", "ok"], None) => connection.execute_batch(&record.sql).map_err(|error| format!("expected success, got: {error}")),
        (["statement", "error"], Some(expected)) => {
            let expected = expected.join("\n");
            let Err(error) = connection.execute_batch(&record.sql) else { return Err(format!("expected an error with: {expected}")) };
            let message = error.to_string();
            let found = match expected.strip_prefix("<REGEX>:") {
                Some(pattern) => matches(engine, &message, pattern)?,
                None => message.contains(&expected),
            };
            if found { Ok(()) } else { Err(format!("expected an error with: {expected}\ngot: {message}")) }
        }
        (["query", types, order @ ..], Some(expected)) if matches!(order, [] | ["rowsort"] | ["nosort"]) => {
            let mut actual = rows(engine, &record.sql)?;
            let mut expected: Vec<Vec<String>> = expected.iter().map(|line| line.split('\t').map(str::to_owned).collect()).collect();
            if *order == ["rowsort"] {
                actual.sort();
                expected.sort();
            }
            let equal = actual.len() == expected.len()
                && actual.iter().zip(&expected).all(|(actual, expected)| {
                    actual.len() == expected.len()
                        && actual.len() == types.len()
                        && types.chars().zip(expected).zip(actual).all(|((kind, expected), actual)| same(kind, expected, actual))
                });
            let show = |rows: &[Vec<String>]| rows.iter().map(|row| row.join("\t")).collect::<Vec<_>>().join("\n");
            if equal { Ok(()) } else { Err(format!("expected:\n{}\ngot:\n{}", show(&expected), show(&actual))) }
        }
        _ => Err("is no record of the dialect".to_owned()),
    }
}

/// The rows as DuckDB's own texts. What cannot stand in a subquery takes the way over a Parquet file.
fn rows(engine: &Engine, sql: &str) -> Result<Vec<Vec<String>>, String> {
    let scratch = tempfile::NamedTempFile::new().map_err(|error| error.to_string())?;
    let sql = if sql.trim_start().starts_with("EXECUTE") {
        let (schema, batches) = engine.collect(&Query::plain(sql), None).map_err(|error| format!("expected rows, got: {error}"))?;
        let mut writer = ArrowWriter::try_new(scratch.as_file(), schema, None).map_err(|error| error.to_string())?;
        for batch in &batches {
            writer.write(batch).map_err(|error| error.to_string())?;
        }
        writer.close().map_err(|error| error.to_string())?;
        format!("SELECT CAST(COLUMNS(*) AS VARCHAR) FROM read_parquet('{}')", scratch.path().display())
    } else {
        format!("SELECT CAST(COLUMNS(*) AS VARCHAR) FROM (\n{sql}\n)")
    };
    let mut statement = engine.connection().prepare(&sql).map_err(|error| format!("expected rows, got: {error}"))?;
    let mut rows = statement.query([]).map_err(|error| format!("expected rows, got: {error}"))?;
    let mut texts = Vec::new();
    while let Some(row) = rows.next().map_err(|error| format!("expected rows, got: {error}"))? {
        let columns = row.as_ref().column_count();
        let values = (0..columns).map(|index| row.get::<_, Option<String>>(index).map_err(|error| error.to_string()));
        texts.push(values.map(|value| value.map(|value| show(value.as_deref()))).collect::<Result<_, _>>()?);
    }
    Ok(texts)
}

fn show(value: Option<&str>) -> String {
    match value {
        None => "NULL".to_owned(),
        Some("") => "(empty)".to_owned(),
        Some(text) => text.to_owned(),
    }
}

fn same(kind: char, expected: &str, actual: &str) -> bool {
    match (kind, expected.parse::<f64>(), actual.parse::<f64>()) {
        ('R', Ok(expected), Ok(actual)) => {
            (expected - actual).abs() <= (1e-9 * expected.abs().max(actual.abs())).max(1e-12) || expected == actual
        }
        _ => expected == actual,
    }
}

fn matches(engine: &Engine, text: &str, pattern: &str) -> Result<bool, String> {
    let answer = engine.connection().query_row("SELECT regexp_matches(?, ?, 's')", [text, pattern], |row| row.get(0));
    answer.map_err(|error| error.to_string())
}
