//! Published results as tables of an attached database: what stands there, what of it is to be done again, and doing it.
//!
//! `scans` has a row for each session of each scanner that was scanned; `NAME_hits` a scanner's hits with what became of them; the views
//! `NAME_latest`, `hits` and `latest` are made of those.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use stockscan_engine::{Argument, Call, Column, Engine, Error, Query, Result, Value, quoted, quoted_text};

use super::{
    super::{same_bars, text},
    Publication,
};

/// The name under which the database with the results is attached.
pub(super) const SCHEMA: &str = "stockscan_publication";

/// With this the comments on everything that is ours end.
const MARK: &str = "Written by scanner publish.";

/// The columns of `scans`, with what they mean.
const SCANS: [(&str, &str, &str); 10] = [
    ("scanner", "VARCHAR", "name of the scanner"),
    ("scan_date", "DATE", "date of the session that was scanned"),
    ("cutoff_time", "VARCHAR", "exchange time up to which bars were seen"),
    ("hits", "BIGINT", "how many hits it has; 0: it was scanned, and nothing was found"),
    ("open_outcomes", "BIGINT", "how many of them have an outcome that is not known yet"),
    ("parameters", "VARCHAR", "JSON, the scanner's parameters, and how trades were made for outcomes"),
    ("data_version", "VARCHAR", "another one after every change of the session's bars"),
    ("data_until", "TIMESTAMP", "start of the newest bar that was there, exchange time"),
    ("version", "VARCHAR", "version of Stockscan, and of the SQL that was run"),
    ("published_at", "TIMESTAMP", "when it was scanned, UTC"),
];

/// Columns of a hit that every scanner has, which the views over all have.
const COMMON: [&str; 6] = ["scan_date", "symbol", "price", "volume", "probability_score", "rank"];

/// What stands before the names of columns that were not known at the cutoff.
const OUTCOME: &str = "outcome_";

/// The columns of `outcomes()` that are published.
pub(super) fn outcome_columns(engine: &Engine) -> Result<Vec<Column>> {
    let columns = engine.documented_columns("outcomes")?;
    Ok(columns.into_iter().filter(|column| !["scan_date", "symbol", "direction"].contains(&column.name.as_str())).collect())
}

/// How a scanner's results stand.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Standing {
    /// The first and the last session; `None`: it has not been published.
    pub(super) range: Option<(String, String)>,
    /// Why all of it is to be done again, if so.
    pub(super) reason: Option<String>,
}

/// Runs a statement that gives no rows.
fn execute(engine: &Engine, sql: &str, values: &[Value]) -> Result<()> {
    engine.collect(&Query::with_values(sql, values.to_vec()), None).map(drop)
}

/// The texts of a row; `None`: there is none.
fn row<const N: usize>(engine: &Engine, sql: &str, values: &[Value]) -> Result<Option<[Option<String>; N]>> {
    let mut statement = engine.connection().prepare(sql)?;
    let mut rows = statement.query(stockscan_engine::params_from_iter(values.iter()))?;
    let Some(row) = rows.next()? else { return Ok(None) };
    let mut texts = [const { None }; N];
    for (place, text) in texts.iter_mut().enumerate() {
        *text = row.get(place)?;
    }
    Ok(Some(texts))
}

/// The first column of all rows.
fn texts(engine: &Engine, sql: &str, values: &[Value]) -> Result<Vec<String>> {
    let mut statement = engine.connection().prepare(sql)?;
    let found = statement.query_map(stockscan_engine::params_from_iter(values.iter()), |row| row.get(0))?;
    Ok(found.collect::<std::result::Result<_, _>>()?)
}

/// The tables and views of the database, each with whether it is ours.
fn relations(engine: &Engine) -> Result<Vec<(String, bool)>> {
    let sql = "SELECT entry.name, coalesce(ends_with(entry.comment, ?), false) FROM ( \
                   SELECT database_name, schema_name, table_name AS name, comment FROM duckdb_tables() \
                   UNION ALL SELECT database_name, schema_name, view_name, comment FROM duckdb_views() WHERE NOT internal \
               ) AS entry WHERE entry.database_name = ? ORDER BY entry.name";
    let mut statement = engine.connection().prepare(sql)?;
    let found = statement.query_map([MARK, SCHEMA], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(found.collect::<std::result::Result<_, _>>()?)
}

/// The tables in which work is prepared.
pub(super) fn prepare(engine: &Engine) -> Result<()> {
    let script = "CREATE TEMP TABLE stockscan_sessions (session_date DATE, last_ts TIMESTAMP, data_version VARCHAR); \
                  CREATE TEMP TABLE stockscan_done (scanner VARCHAR, added BIGINT, redone BIGINT)";
    Ok(engine.connection().execute_batch(script)?)
}

/// Makes `scans`, if nothing is there; refuses a database that holds something else, or would have something of somebody else's overwritten.
pub(super) fn begin(engine: &Engine, place: &str, is_new: bool, published: &[Publication]) -> Result<()> {
    if is_new {
        let columns: Vec<String> = SCANS.iter().map(|(name, kind, _)| format!("{name} {kind}")).collect();
        execute(engine, &format!("CREATE TABLE {SCHEMA}.scans ({})", columns.join(", ")), &[])?;
        return comment(engine, "TABLE", "scans", "A session that was scanned by a scanner.", SCANS.map(|(name, _, doc)| (name, doc)));
    }
    let there = relations(engine)?;
    if !there.iter().any(|(name, is_ours)| name == "scans" && *is_ours) {
        let names: Vec<&str> = there.iter().map(|(name, _)| name.as_str()).take(3).collect();
        let names = if names.is_empty() { "it has no table".to_owned() } else { names.join(", ") };
        return Err(Error::Invalid(format!(
            "{place} holds something else than published results: {names}; nothing was changed in it. Name a file that is not there yet"
        )));
    }
    let ours = published.iter().flat_map(|one| [one.hits(), one.latest()]).chain(["hits", "latest"].map(str::to_owned));
    for name in ours {
        if there.iter().any(|(other, is_ours)| *other == name && !is_ours) {
            return Err(Error::Invalid(format!(
                "{place} has a relation '{name}' that 'scanner publish' has not made; rename it, or name another file"
            )));
        }
    }
    let columns = texts(
        engine,
        "SELECT column_name || ' ' || data_type FROM duckdb_columns() WHERE database_name = ? AND table_name = 'scans' ORDER BY column_index",
        &[text(SCHEMA)],
    )?;
    if columns != SCANS.map(|(name, kind, _)| format!("{name} {kind}")) {
        return Err(Error::Invalid(format!("{place} was published by another version of Stockscan; remove it, and publish again")));
    }
    Ok(())
}

/// Reads what was published to a folder, and refuses one that holds something else.
pub(super) fn begin_from_folder(engine: &Engine, place: &str, folder: Option<&Path>, published: &[Publication]) -> Result<()> {
    let files = match folder {
        Some(folder) => files(folder, Path::new("")).map_err(|source| Error::File { path: folder.to_path_buf(), source })?,
        None => Vec::new(),
    };
    let stranger = files.iter().find(|file| !is_ours(file));
    let has_scans = files.iter().any(|file| file == Path::new("scans.parquet"));
    if let Some(file) = stranger.or_else(|| files.first().filter(|_| !has_scans)) {
        return Err(Error::Invalid(format!(
            "{place} holds something else than published results: {}; nothing was changed in it. Name a folder that is not there yet, or is empty",
            file.display()
        )));
    }
    if let Some(folder) = folder.filter(|_| has_scans) {
        let read = |relation: &str, files: &Path| {
            let sql = format!("CREATE TABLE {SCHEMA}.{} AS FROM read_parquet(?, hive_partitioning := false)", quoted(relation));
            execute(engine, &sql, &[text(&files.to_string_lossy())])
        };
        read("scans", &folder.join("scans.parquet"))?;
        comment(engine, "TABLE", "scans", "", [])?;
        for scanner in texts(engine, &format!("SELECT DISTINCT scanner FROM {SCHEMA}.scans ORDER BY ALL"), &[])? {
            let name = format!("{scanner}_hits");
            read(&name, &folder.join(format!("hits/scanner={scanner}/*/hits.parquet")))?;
            comment(engine, "TABLE", &name, "", [])?;
        }
    }
    begin(engine, place, !has_scans, published)
}

/// How a scanner's results stand, against how they would be made now.
pub(super) fn standing(engine: &Engine, one: &Publication) -> Result<Standing> {
    let sql = format!(
        "SELECT CAST(min(scan_date) AS VARCHAR), CAST(max(scan_date) AS VARCHAR), any_value(cutoff_time), any_value(parameters), any_value(version), \
         CAST(count(DISTINCT (cutoff_time, parameters, version)) AS VARCHAR) FROM {SCHEMA}.scans WHERE scanner = ? HAVING count(*) > 0"
    );
    let Some([Some(first), Some(last), cutoff, parameters, version, ways]) = row::<6>(engine, &sql, &[text(&one.scanner)])? else {
        return Ok(Standing::default());
    };
    let (cutoff, parameters, version) = (cutoff.unwrap_or_default(), parameters.unwrap_or_default(), version.unwrap_or_default());
    let release = |version: &str| version.split(' ').next().unwrap_or_default().to_owned();
    let reason = if ways.as_deref() != Some("1") {
        Some("its sessions were not all scanned alike".to_owned())
    } else if cutoff != one.cutoff {
        Some(format!("its cutoff was {cutoff} and is {}", one.cutoff))
    } else if parameters != one.parameters {
        Some(difference(&parameters, &one.parameters))
    } else if release(&version) != release(&one.version) {
        Some(format!("it was scanned by Stockscan {}, and this is {}", release(&version), release(&one.version)))
    } else if version != one.version {
        Some("its SQL has changed".to_owned())
    } else {
        shape(engine, one)?;
        (columns(engine, SCHEMA, &one.hits())? != columns(engine, "temp", "stockscan_rows")?).then(|| "its columns have changed".to_owned())
    };
    Ok(Standing { range: Some((first, last)), reason })
}

fn columns(engine: &Engine, database: &str, table: &str) -> Result<Vec<String>> {
    let sql =
        "SELECT column_name || ' ' || data_type FROM duckdb_columns() WHERE database_name = ? AND table_name = ? ORDER BY column_index";
    texts(engine, sql, &[text(database), text(table)])
}

/// What two sets of parameters differ in.
fn difference(before: &str, now: &str) -> String {
    let read = |text: &str| serde_json::from_str::<serde_json::Map<_, _>>(text).unwrap_or_default();
    let (before, now) = (read(before), read(now));
    let names: BTreeSet<&String> = before.keys().chain(now.keys()).collect();
    let said = |value: Option<&serde_json::Value>| value.map_or("none".to_owned(), ToString::to_string);
    let changes = names.into_iter().filter(|name| before.get(*name) != now.get(*name));
    let changes: Vec<String> =
        changes.map(|name| format!("{name} was {} and is {}", said(before.get(name)), said(now.get(name)))).collect();
    changes.join(", ")
}

/// The sessions of the source from a day on, as a temporary table: what tells one state of their bars from another, and how far they go.
pub(super) fn read_sessions(engine: &Engine, bars: &[(String, Argument)], first: &str) -> Result<()> {
    let days = [("first_date", first), ("last_date", "2261-12-31")].map(|(name, day)| (name.to_owned(), Argument::Value(text(day))));
    let bars = engine.call("session_bars", &[&days, bars].concat())?.query();
    let sql = format!(
        "INSERT INTO stockscan_sessions SELECT bar.session_date, max(bar.ts) AS last_ts, \
         format('{{:016x}}', hash(count(*), sum(hash(bar.symbol, bar.ts, bar.open, bar.high, bar.low, bar.close, bar.volume)))) AS data_version \
         FROM ({}) AS bar GROUP BY bar.session_date ORDER BY bar.session_date",
        bars.sql
    );
    execute(engine, &sql, &bars.values)
}

/// The newest session that has not come to the scanner's cutoff yet, if it is one of those asked for.
pub(super) fn unripe(engine: &Engine, one: &Publication) -> Result<Option<String>> {
    let sql = format!("SELECT CAST(session_date AS VARCHAR) FROM stockscan_sessions WHERE {IN_RANGE} AND NOT ({RIPE}) LIMIT 1");
    engine.text(Query::with_values(sql, [one.range().as_slice(), &one.visible()].concat()))
}

/// Within the days that are asked for.
const IN_RANGE: &str = "session_date BETWEEN CAST(? AS DATE) AND CAST(? AS DATE)";

/// Whether a session has come to the cutoff: one has, if there is a later one.
const RIPE: &str = "session_date < (SELECT max(session_date) FROM stockscan_sessions) \
                    OR last_ts >= session_date + latest_visible_start(?, ?, 'publish', 'cutoff_time')";

/// What is to be done of a scanner: from which day on, up to which session, if there is one.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Work {
    from: String,
    to: Option<String>,
}

/// What is to be done of a scanner; `None`: nothing.
pub(super) fn work(engine: &Engine, one: &Publication, again: bool) -> Result<Option<Work>> {
    let ripe = format!("SELECT * FROM stockscan_sessions WHERE {IN_RANGE} AND ({RIPE})");
    let ripe_values = [one.range().as_slice(), &one.visible()].concat();
    let from = if again {
        let first = format!("SELECT CAST(min(session_date) AS VARCHAR) FROM ({ripe}) AS ripe");
        Some(engine.text(Query::with_values(first, ripe_values.clone()))?.unwrap_or_else(|| one.start.clone()))
    } else {
        // A session may have changed, gone, or come. What stands there from that day on may know of its bars, and an earlier hit if its trade
        // goes on until then, or has not ended.
        let hits = quoted(&one.hits());
        let sql = format!(
            "WITH ripe AS ({ripe}), \
             scanned AS (SELECT * FROM {SCHEMA}.scans WHERE scanner = ? AND scan_date BETWEEN CAST(? AS DATE) AND CAST(? AS DATE)), \
             first_change AS ( \
                 SELECT min(coalesce(ripe.session_date, scanned.scan_date)) AS day \
                 FROM ripe FULL JOIN scanned ON scanned.scan_date = ripe.session_date \
                 WHERE ripe.data_version IS DISTINCT FROM scanned.data_version \
             ), \
             open_scans AS ( \
                 SELECT min(scan_date) AS day FROM scanned \
                 WHERE open_outcomes > 0 AND data_until IS DISTINCT FROM (SELECT max(last_ts) FROM stockscan_sessions) \
             ), \
             held AS ( \
                 SELECT min(scan_date) AS day FROM {SCHEMA}.{hits}, first_change \
                 WHERE scan_date BETWEEN CAST(? AS DATE) AND CAST(? AS DATE) AND scan_date < first_change.day \
                     AND (outcome_exit_ts >= first_change.day OR (outcome_exit_reason = 'not_filled' AND scan_date + 10 >= first_change.day)) \
             ) \
             SELECT CAST(least(first_change.day, open_scans.day, held.day) AS VARCHAR) FROM first_change, open_scans, held"
        );
        let values = [ripe_values.as_slice(), &[text(&one.scanner)], &one.range(), &one.range()].concat();
        engine.text(Query::with_values(sql, values))?
    };
    let Some(from) = from else { return Ok(None) };
    let last = format!("SELECT CAST(max(session_date) AS VARCHAR) FROM ({ripe}) AS ripe WHERE session_date >= CAST(? AS DATE)");
    let to = engine.text(Query::with_values(last, [ripe_values, vec![text(&from)]].concat()))?;
    Ok(Some(Work { from, to }))
}

/// An empty temporary table `stockscan_rows` with the columns that a scanner's hits have.
fn shape(engine: &Engine, one: &Publication) -> Result<()> {
    find(engine, one, &one.calls(engine, "2000-01-03", "2000-01-03")?, true)
}

/// A scanner's hits with what became of them, as a temporary table `stockscan_rows`. An outcome that later bars may change is left open.
fn find(engine: &Engine, one: &Publication, (scan, outcomes): &(Call, Call), is_empty: bool) -> Result<()> {
    let nothing = if is_empty { "LIMIT 0" } else { "" };
    let scan = scan.query();
    let found = format!("CREATE OR REPLACE TEMP TABLE stockscan_found AS SELECT * FROM ({}) AS found {nothing}", scan.sql);
    execute(engine, &found, &scan.values)?;
    one.check_columns(&texts(engine, "SELECT name FROM pragma_table_info('stockscan_found')", &[])?)?;
    let outcomes = outcomes.query();
    let columns = one.outcome_columns.iter().map(|column| {
        let name = quoted(&column.name);
        format!("CASE WHEN outcome.is_known THEN outcome.{name} END AS {}", quoted(&format!("{OUTCOME}{}", column.name)))
    });
    let columns: Vec<String> = columns.collect();
    let rows = format!(
        "CREATE OR REPLACE TEMP TABLE stockscan_rows AS \
         WITH outcomes AS ( \
             SELECT outcome.*, CASE \
                 WHEN outcome.entry_ts IS NULL THEN CAST(newest.ts AS DATE) > outcome.scan_date + 10 \
                 ELSE newest.ts >= CAST(outcome.entry_ts AS DATE) + latest_visible_start(?, ?, 'publish', 'exit_time') \
             END AS is_known \
             FROM ({}) AS outcome, (SELECT max(last_ts) AS ts FROM stockscan_sessions) AS newest \
         ) \
         SELECT hit.*, {} FROM stockscan_found AS hit \
         LEFT JOIN outcomes AS outcome ON outcome.scan_date = hit.scan_date AND outcome.symbol = hit.symbol \
         ORDER BY hit.scan_date, hit.rank, hit.symbol {nothing}",
        outcomes.sql,
        columns.join(", ")
    );
    execute(engine, &rows, &[vec![text(&one.exit), one.bar_minutes()], outcomes.values].concat())
}

/// Does what is to be done of a scanner; `None`: nothing.
pub(super) fn publish(engine: &Engine, one: &Publication, work: Option<&Work>, is_new_table: bool) -> Result<()> {
    let scanner = text(&one.scanner);
    let Some(Work { from, to }) = work else {
        return execute(engine, "INSERT INTO stockscan_done VALUES (?, 0, 0)", &[scanner]);
    };
    let table = format!("{SCHEMA}.{}", quoted(&one.hits()));
    let until = to.as_deref().unwrap_or("0001-01-01");
    if to.is_some() {
        find(engine, one, &one.calls(engine, from, until)?, false)?;
    } else {
        shape(engine, one)?;
    }
    let days = [text(from), text(until)];
    execute(
        engine,
        &format!(
            "INSERT INTO stockscan_done \
             SELECT ?, count(*) FILTER (scan.scan_date IS NULL), count(scan.scan_date) FROM stockscan_sessions AS session \
             LEFT JOIN {SCHEMA}.scans AS scan ON scan.scanner = ? AND scan.scan_date = session.session_date \
             WHERE session.session_date BETWEEN CAST(? AS DATE) AND CAST(? AS DATE)"
        ),
        &[&[scanner.clone(), scanner.clone()], days.as_slice()].concat(),
    )?;
    if is_new_table {
        execute(engine, &format!("DROP TABLE IF EXISTS {table}"), &[])?;
        execute(engine, &format!("CREATE TABLE {table} AS FROM stockscan_rows LIMIT 0"), &[])?;
        execute(engine, &format!("DELETE FROM {SCHEMA}.scans WHERE scanner = ?"), std::slice::from_ref(&scanner))?;
    } else {
        let gone = [text(from), text(&one.end)];
        let days = "scan_date BETWEEN CAST(? AS DATE) AND CAST(? AS DATE)";
        execute(engine, &format!("DELETE FROM {table} WHERE {days}"), &gone)?;
        let values = [gone.as_slice(), std::slice::from_ref(&scanner)].concat();
        execute(engine, &format!("DELETE FROM {SCHEMA}.scans WHERE {days} AND scanner = ?"), &values)?;
    }
    // A scanner of the user's might return more than it was asked for.
    let rows = format!("INSERT INTO {table} FROM stockscan_rows WHERE scan_date BETWEEN CAST(? AS DATE) AND CAST(? AS DATE)");
    execute(engine, &rows, &days)?;
    let scans = format!(
        "INSERT INTO {SCHEMA}.scans \
         SELECT ?, session.session_date, ?, count(hit.symbol), count(hit.symbol) FILTER (hit.outcome_exit_reason IS NULL), ?, \
             any_value(session.data_version), (SELECT max(last_ts) FROM stockscan_sessions), ?, CAST(? AS TIMESTAMP) \
         FROM stockscan_sessions AS session LEFT JOIN {table} AS hit ON hit.scan_date = session.session_date \
         WHERE session.session_date BETWEEN CAST(? AS DATE) AND CAST(? AS DATE) \
         GROUP BY session.session_date ORDER BY session.session_date"
    );
    let said = [scanner, text(&one.cutoff), text(&one.parameters), text(&one.version), text(&one.now)];
    execute(engine, &scans, &[said.as_slice(), &days].concat())?;
    describe(engine, one)
}

/// Comments of a scanner's table, and its view.
fn describe(engine: &Engine, one: &Publication) -> Result<()> {
    let (hits, latest) = (one.hits(), one.latest());
    let outcomes = one.outcome_columns.iter().map(|column| {
        let doc = format!("{}. Not known at the cutoff", said(column));
        (format!("{OUTCOME}{}", column.name), doc)
    });
    let docs: Vec<(String, String)> = one.columns.iter().map(|column| (column.name.clone(), said(column))).chain(outcomes).collect();
    let there = texts(
        engine,
        "SELECT column_name FROM duckdb_columns() WHERE database_name = ? AND table_name = ? ORDER BY column_index",
        &[text(SCHEMA), text(&hits)],
    )?;
    let docs: Vec<(&str, &str)> =
        docs.iter().filter(|(name, _)| there.contains(name)).map(|(name, doc)| (name.as_str(), doc.as_str())).collect();
    comment(engine, "TABLE", &hits, &one.title, docs.iter().copied())?;
    let view = format!(
        "CREATE OR REPLACE VIEW {SCHEMA}.{} AS SELECT * FROM {SCHEMA}.{} WHERE scan_date = (SELECT max(scan_date) FROM {SCHEMA}.scans WHERE scanner = {})",
        quoted(&latest),
        quoted(&hits),
        quoted_text(&one.scanner)
    );
    execute(engine, &view, &[])?;
    let title = format!("The same in the newest session that was scanned; no row: it has no hit. {}", one.title);
    comment(engine, "VIEW", &latest, &title, docs)
}

/// What a column means, with its unit.
fn said(column: &Column) -> String {
    match &column.unit {
        Some(unit) => format!("{unit}, {}", column.meaning),
        None => column.meaning.clone(),
    }
}

/// The views over all scanners that were ever published here.
pub(super) fn views(engine: &Engine, outcome_columns: &[Column]) -> Result<()> {
    let scanners = texts(engine, &format!("SELECT DISTINCT scanner FROM {SCHEMA}.scans ORDER BY ALL"), &[])?;
    let outcomes = outcome_columns.iter().map(|column| format!("{OUTCOME}{}", column.name));
    let columns: Vec<String> = COMMON.iter().map(|name| (*name).to_owned()).chain(outcomes).map(|name| quoted(&name)).collect();
    for (view, of, title) in [
        ("hits", "hits", "Hits of all scanners, with the columns that all have."),
        ("latest", "latest", "Hits of all scanners in the newest session that each was run on."),
    ] {
        let parts = scanners.iter().map(|scanner| {
            let relation = quoted(&format!("{scanner}_{of}"));
            format!("SELECT {} AS scanner, {} FROM {SCHEMA}.{relation}", quoted_text(scanner), columns.join(", "))
        });
        let parts: Vec<String> = parts.collect();
        if !parts.is_empty() {
            execute(engine, &format!("CREATE OR REPLACE VIEW {SCHEMA}.{view} AS {}", parts.join(" UNION ALL ")), &[])?;
            comment(engine, "VIEW", view, title, [("scanner", "name of the scanner")])?;
        }
    }
    Ok(())
}

fn comment<'a>(
    engine: &Engine,
    kind: &str,
    relation: &str,
    title: &str,
    columns: impl IntoIterator<Item = (&'a str, &'a str)>,
) -> Result<()> {
    let name = format!("{SCHEMA}.{}", quoted(relation));
    let mut script = format!("COMMENT ON {kind} {name} IS {};", quoted_text(format!("{title} {MARK}").trim_start()));
    for (column, doc) in columns {
        script.push_str(&format!("COMMENT ON COLUMN {name}.{} IS {};", quoted(column), quoted_text(doc)));
    }
    Ok(engine.connection().execute_batch(&script)?)
}

/// What was done, and what there is now, for those scanners that were asked for.
pub(super) fn summary() -> Query {
    Query::plain(format!(
        "SELECT scan.scanner, any_value(done.added) AS added, any_value(done.redone) AS redone, count(*) AS sessions, \
             min(scan.scan_date) AS first_session, max(scan.scan_date) AS last_session, \
             CAST(sum(scan.hits) AS BIGINT) AS hits, CAST(sum(scan.open_outcomes) AS BIGINT) AS open_outcomes \
         FROM {SCHEMA}.scans AS scan JOIN stockscan_done AS done ON done.scanner = scan.scanner GROUP BY scan.scanner ORDER BY scan.scanner"
    ))
}

/// Writes all of it as Parquet files.
pub(super) fn write_folder(engine: &Engine, folder: &Path) -> Result<()> {
    let write = |sql: &str, path: PathBuf| {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(|source| Error::File { path: folder.to_path_buf(), source })?;
        }
        execute(engine, &format!("COPY ({sql}) TO {} (FORMAT parquet)", quoted_text(&path.to_string_lossy())), &[])
    };
    write(&format!("FROM {SCHEMA}.scans ORDER BY scanner, scan_date"), folder.join("scans.parquet"))?;
    let parts = texts(engine, &format!("SELECT DISTINCT scanner || '/' || year(scan_date) FROM {SCHEMA}.scans ORDER BY ALL"), &[])?;
    let mut latest = None;
    for (scanner, year) in parts.iter().filter_map(|part| part.split_once('/')) {
        let table = |of: &str| format!("{SCHEMA}.{}", quoted(&format!("{scanner}_{of}")));
        let path = folder.join(format!("hits/scanner={scanner}/year={year}/hits.parquet"));
        write(&format!("FROM {} WHERE year(scan_date) = {year} ORDER BY scan_date, rank, symbol", table("hits")), path)?;
        if latest.replace(scanner) != Some(scanner) {
            let newest = format!("(SELECT max(scan_date) FROM {SCHEMA}.scans WHERE scanner = {})", quoted_text(scanner));
            let path = folder.join(format!("latest/scanner={scanner}/latest.parquet"));
            write(&format!("FROM {} WHERE scan_date = {newest} ORDER BY rank, symbol", table("hits")), path)?;
        }
    }
    Ok(())
}

/// The files of a folder, and its empty folders, by their paths in it.
fn files(folder: &Path, within: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder.join(within))? {
        let entry = entry?;
        let path = within.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            let inside = files(folder, &path)?;
            if inside.is_empty() { found.push(path) } else { found.extend(inside) }
        } else {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// Whether a file of a folder is one of those that are published.
fn is_ours(file: &Path) -> bool {
    let parts: Vec<String> = file.iter().map(|part| part.to_string_lossy().into_owned()).collect();
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    let is_scanner = |part: &str| part.strip_prefix("scanner=").is_some_and(stockscan_engine::is_scanner_name);
    let is_year = |part: &str| part.strip_prefix("year=").is_some_and(|year| year.parse::<u16>().is_ok());
    match parts.as_slice() {
        ["scans.parquet"] => true,
        ["hits", scanner, year, "hits.parquet"] => is_scanner(scanner) && is_year(year),
        ["latest", scanner, "latest.parquet"] => is_scanner(scanner),
        _ => false,
    }
}

/// The arguments of `outcomes()` that say which bars a scan reads, as far as it takes them.
pub(super) fn bars_of_outcomes(scan: &Call) -> Vec<(String, Argument)> {
    same_bars(scan).into_iter().filter(|(name, _)| name != "symbols").collect()
}
