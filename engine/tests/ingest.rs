//! Bars taken in: what is stored, in which order, and what is counted. The files are made by SQL, and so is what they must come to.

use std::{
    error::Error,
    path::{Path, PathBuf},
};

use stockscan_engine::{Engine, Format, IngestReport, Layout, Options, Staged};

type Outcome<T = ()> = Result<T, Box<dyn Error>>;

/// So many that whole sessions are compared by their sums: more than 50,000.
const MARKET: &str = "CREATE TABLE market AS FROM demo_bars(symbols := 40, sessions := 6)";

fn number(engine: &Engine, sql: &str) -> Outcome<u64> {
    let number: i64 = engine.connection().query_row(sql, [], |row| row.get(0))?;
    Ok(u64::try_from(number)?)
}

fn ingest(engine: &Engine, file: &Path) -> Outcome<IngestReport> {
    Ok(engine.ingest(&[file.to_path_buf()], &Layout::default(), |_| {})?)
}

fn copy(engine: &Engine, select: &str, file: PathBuf) -> Outcome<PathBuf> {
    engine.connection().execute_batch(&format!("COPY ({select}) TO '{}'", file.display()))?;
    Ok(file)
}

/// How many rows differ between the table and a relation, whichever has them.
fn differences(engine: &Engine, expected: &str) -> Outcome<u64> {
    number(
        engine,
        &format!("SELECT count(*) FROM ((FROM bars EXCEPT ALL FROM {expected}) UNION ALL (FROM {expected} EXCEPT ALL FROM bars))"),
    )
}

#[test]
fn rows_in_any_order_are_stored_by_session_symbol_and_time() -> Outcome {
    let folder = tempfile::tempdir()?;
    let orders = ["ts::DATE, symbol, ts", "symbol, ts", "ts, symbol", "symbol, ts DESC", "ts DESC, symbol", "hash(symbol, ts)"];
    for (index, order) in orders.iter().enumerate() {
        for ending in ["parquet", "csv"] {
            let engine = Engine::open(Options::memory())?;
            engine.connection().execute_batch(MARKET)?;
            let file = copy(&engine, &format!("FROM market ORDER BY {order}"), folder.path().join(format!("{index}.{ending}")))?;
            let report = ingest(&engine, &file)?;
            assert_eq!((report.added, report.repeated), (number(&engine, "SELECT count(*) FROM market")?, 0), "{order} {ending}");
            assert_eq!(differences(&engine, "market")?, 0, "{order} {ending}: the same bars");
            let moved = "SELECT count(*) FROM (SELECT row_number() OVER () AS stored, row_number() OVER (ORDER BY ts::DATE, symbol, ts) AS sorted FROM bars) \
                         WHERE stored <> sorted";
            assert_eq!(number(&engine, moved)?, 0, "{order} {ending}: stored in order");
            let again = ingest(&engine, &file)?;
            assert_eq!((again.added, again.unchanged, again.conflicting), (0, report.added, 0), "{order} {ending}: a second time");
        }
    }
    Ok(())
}

#[test]
fn a_file_that_is_partly_there_is_counted_row_by_row() -> Outcome {
    let folder = tempfile::tempdir()?;
    for ending in ["parquet", "csv"] {
        let engine = Engine::open(Options::memory())?;
        engine.connection().execute_batch(MARKET)?;
        // Stored: three sessions, half of the symbols of the fourth, and of the fifth the morning; seven bars have another close.
        engine.connection().execute_batch(
            "CREATE TABLE sessions_of AS SELECT session, row_number() OVER (ORDER BY session) AS n FROM (SELECT DISTINCT ts::DATE AS session FROM market);
             CREATE TABLE there AS SELECT market.* FROM market JOIN sessions_of ON ts::DATE = session
             WHERE n <= 3 OR n = 4 AND symbol <= 'DEMO0020' OR n = 5 AND ts::TIME < TIME '11:00';
             CREATE TABLE other AS FROM there ORDER BY hash(symbol, ts) LIMIT 7;
             CREATE TABLE bars AS SELECT there.* REPLACE (CASE WHEN other.symbol IS NULL THEN there.close ELSE there.low - 0.05 END AS close)
             FROM there LEFT JOIN other USING (symbol, ts);
             CREATE TABLE before AS FROM bars;
             CREATE TABLE expected AS FROM bars UNION ALL (FROM market WHERE (symbol, ts) NOT IN (SELECT (symbol, ts) FROM bars))",
        )?;
        // In the file: all six, eleven of them once more, and five rows that are no bars.
        let file = copy(
            &engine,
            "FROM (FROM market UNION ALL (FROM market ORDER BY hash(ts, symbol) LIMIT 11) UNION ALL (SELECT * REPLACE (-1 AS low) FROM market LIMIT 5)) \
             ORDER BY hash(symbol, ts, low)",
            folder.path().join(format!("all.{ending}")),
        )?;
        let [market, there] = ["market", "there"].map(|table| number(&engine, &format!("SELECT count(*) FROM {table}")));
        let (market, there) = (market?, there?);
        assert!(market > 50_000, "so that sessions are compared by their sums");
        let report = ingest(&engine, &file)?;
        // A repeated bar of a session that is there is as unchanged as the first: it counts as one or the other, never as both.
        assert_eq!(report.rows_read, market + 16, "{ending}");
        assert_eq!(report.added, market - there, "{ending}");
        assert_eq!(report.conflicting, 7, "{ending}");
        assert_eq!(report.unchanged, there - 7, "{ending}");
        assert_eq!(report.repeated, 11, "{ending}");
        assert_eq!(report.rejected.iter().map(|rejected| rejected.rows).sum::<u64>(), 5, "{ending}");
        assert_eq!(differences(&engine, "expected")?, 0, "{ending}: what was there stays, what was not is there once");
    }
    Ok(())
}

#[test]
fn a_large_csv_file_is_taken_as_a_small_one() -> Outcome {
    let folder = tempfile::tempdir()?;
    let engine = Engine::open(Options::memory())?;
    engine.connection().execute_batch(
        "CREATE TABLE market AS FROM demo_bars(symbols := 100, sessions := 10); CREATE TABLE last AS FROM market ORDER BY ts DESC, symbol DESC LIMIT 1;
         CREATE TABLE clean AS FROM market ORDER BY hash(symbol, ts)",
    )?;
    let rows = number(&engine, "SELECT count(*) FROM market")?;
    // Each has one row that is not new, at its end where a glance does not see it.
    let cases = [
        ("clean", "FROM clean", (rows, 0, 0, 0)),
        ("doubled", "FROM clean UNION ALL FROM last", (rows, 1, 0, 0)),
        ("broken", "FROM clean UNION ALL SELECT * REPLACE (ts + INTERVAL 1 DAY AS ts, -1 AS volume) FROM last", (rows, 0, 1, 0)),
        ("there", "FROM (FROM clean EXCEPT ALL FROM last) UNION ALL FROM last", (rows - 1, 0, 0, 1)),
    ];
    for (name, select, expected) in cases {
        let file = copy(&engine, select, folder.path().join(format!("{name}.csv")))?;
        assert!(file.metadata()?.len() > 16 << 20, "large enough to be stored while it is read");
        engine.connection().execute_batch("DROP TABLE IF EXISTS bars")?;
        if name == "there" {
            engine.connection().execute_batch("CREATE TABLE bars AS FROM last")?;
        }
        let report = ingest(&engine, &file)?;
        let rejected = report.rejected.iter().map(|rejected| rejected.rows).sum::<u64>();
        assert_eq!((report.added, report.repeated, rejected, report.unchanged), expected, "{name}");
        assert_eq!(report.rows_read, expected.0 + expected.1 + expected.2 + expected.3, "{name}");
        assert_eq!(differences(&engine, "market")?, 0, "{name}");
    }
    // A line that cannot be read stops nothing.
    let file = folder.path().join("clean.csv");
    std::fs::write(&file, std::fs::read_to_string(&file)? + "X,2025-01-15 09:15:00,many,1,1,1,1\n")?;
    engine.connection().execute_batch("DROP TABLE bars")?;
    let report = ingest(&engine, &file)?;
    assert_eq!((report.added, report.rows_read, report.rejected.len()), (rows, rows + 1, 1));
    assert_eq!(report.rejected[0].reason, "column open is not of its type");
    Ok(())
}

#[test]
fn a_double_between_sorted_neighbours_is_seen() -> Outcome {
    let folder = tempfile::tempdir()?;
    let engine = Engine::open(Options::memory())?;
    let row = "2025-01-15 09:15:00,10,11,9";
    let lines =
        format!("symbol,ts,open,high,low,close,volume\nA,{row},10,5\nA,{row},10.5,5\nA,2025-01-15 09:16:00,10,11,9,10,5\nB,{row},10,5\n");
    let file = folder.path().join("double.csv");
    std::fs::write(&file, lines)?;
    let report = ingest(&engine, &file)?;
    assert_eq!((report.added, report.repeated), (3, 1));
    assert_eq!(report.newest.as_deref(), Some("2025-01-15 09:16:00"));
    // The last by every column, whichever came first.
    assert_eq!(number(&engine, "SELECT count(*) FROM bars WHERE close = 10.5")?, 1);
    Ok(())
}

#[test]
fn a_table_of_other_types_is_compared_by_value() -> Outcome {
    let folder = tempfile::tempdir()?;
    let engine = Engine::open(Options::memory())?;
    engine.connection().execute_batch(MARKET)?;
    engine.connection().execute_batch(
        "CREATE TABLE bars AS SELECT symbol, ts, open::DECIMAL(18, 2) AS open, high::DECIMAL(18, 2) AS high, low::DECIMAL(18, 2) AS low, \
         close::DECIMAL(18, 2) AS close, volume::INTEGER AS volume, 'mine' AS note FROM market",
    )?;
    let file = copy(&engine, "FROM market", folder.path().join("all.parquet"))?;
    let report = ingest(&engine, &file)?;
    assert_eq!((report.added, report.conflicting), (0, 0));
    assert_eq!(report.unchanged, number(&engine, "SELECT count(*) FROM market")?);
    Ok(())
}

#[test]
fn an_ingest_needs_far_less_memory_than_its_rows() -> Outcome {
    let folder = tempfile::tempdir()?;
    let engine = Engine::open(Options::memory())?;
    let select = "FROM demo_bars(symbols := 100, sessions := 40) ORDER BY hash(symbol, ts)";
    let file = copy(&engine, select, folder.path().join("shuffled.parquet"))?;
    let rows = number(&engine, &format!("SELECT count(*) FROM '{}'", file.display()))?;
    drop(engine);
    // Seven columns of eight bytes and more, that are sorted.
    assert!(rows * 56 > 78 << 20, "{rows}");
    let limited =
        Options { memory_limit: Some("56MB".to_owned()), threads: Some(1), ..Options::file(folder.path().join("limited.duckdb")) };
    let engine = Engine::open(limited)?;
    assert_eq!(ingest(&engine, &file)?.added, rows);
    assert_eq!(ingest(&engine, &file)?.unchanged, rows);
    Ok(())
}

#[test]
fn bars_of_another_database_are_taken_between_two_times() -> Outcome {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("other.duckdb");
    let other = Engine::open(Options::file(&path))?;
    other
        .connection()
        .execute_batch("CREATE TABLE prices AS SELECT * RENAME (ts AS \"timestamp\") FROM demo_bars(symbols := 2, sessions := 2)")?;
    drop(other);
    let engine = Engine::open(Options::memory())?;
    let sessions = engine.sessions_of(&path, "prices", &Layout::default())?;
    assert_eq!(sessions, ["2025-01-14", "2025-01-15"]);
    let report = engine.ingest_between(&path, "prices", &Layout::default(), "2025-01-15 09:15:00", "2025-01-15 09:20:00")?;
    assert!(report.added > 0);
    // The first time is in it, the second is not.
    assert_eq!(number(&engine, "SELECT count(*) FROM bars WHERE ts < '2025-01-15 09:15:00' OR ts >= '2025-01-15 09:20:00'")?, 0);
    assert_eq!(number(&engine, "SELECT count(*) FROM bars WHERE ts = '2025-01-15 09:15:00'")?, 2);
    let missing = engine.ingest_between(&path, "nothing", &Layout::default(), "-infinity", "infinity");
    assert!(matches!(missing, Err(stockscan_engine::Error::MissingSource { .. })), "{missing:?}");
    // It is closed again after a failure, too.
    engine.ingest_between(&path, "prices", &Layout::default(), "-infinity", "infinity")?;
    Ok(())
}

#[test]
fn json_is_told_by_all_of_its_rows() -> Outcome {
    // DuckDB looks at the first 20,480, and would take the last price for 2, and the word for a reason to refuse the file.
    let folder = tempfile::tempdir()?;
    let engine = Engine::open(Options::memory())?;
    let line = |symbol: usize, price: &str| {
        format!(
            "{{\"symbol\":\"S{symbol}\",\"ts\":\"2025-01-15 09:15:00\",\"open\":{price},\"high\":{price},\"low\":1,\"close\":{price},\"volume\":1}}\n"
        )
    };
    let mut lines: String = (0..21_000).map(|symbol| line(symbol, "1")).collect();
    lines += &line(21_000, "1.5");
    lines += &line(21_001, "\"many\"");
    let file = folder.path().join("late.ndjson");
    std::fs::write(&file, lines)?;
    let report = ingest(&engine, &file)?;
    assert_eq!((report.added, report.rejected.len()), (21_001, 1));
    assert_eq!(report.rejected[0].reason, "a price is missing or not a number");
    assert_eq!(number(&engine, "SELECT count(*) FROM bars WHERE close = 1.5")?, 1);
    Ok(())
}

#[test]
fn times_in_json_may_count_from_1970() -> Outcome {
    let folder = tempfile::tempdir()?;
    let layout = Layout { time_zone: Some("Asia/Kolkata".to_owned()), ..Layout::default() };
    for (time, stored) in [
        ("1736912700", "2025-01-15 09:15:00"),
        ("1736912700000", "2025-01-15 09:15:00"),
        ("\"1736912700\"", "2025-01-15 09:15:00"),
        ("20250115", "2025-01-15 00:00:00"),
        ("\"2025-01-15T03:45:00Z\"", "2025-01-15 09:15:00"),
        ("\"2025-01-15T09:15:00\"", "2025-01-15 09:15:00"),
    ] {
        let engine = Engine::open(Options::memory())?;
        let file = folder.path().join("one.json");
        std::fs::write(&file, format!("[{{\"symbol\":\"A\",\"ts\":{time},\"open\":1,\"high\":1,\"low\":1,\"close\":1,\"volume\":1}}]"))?;
        let report = engine.ingest(&[file], &layout, |_| {})?;
        assert_eq!(report.newest.as_deref(), Some(stored), "{time}");
    }
    Ok(())
}

const HEADER: &str = "symbol,ts,open,high,low,close,volume\n";

fn staged(engine: &Engine, folder: &Path, lines: &str) -> Outcome<Staged> {
    let file = folder.join("body");
    std::fs::write(&file, format!("{HEADER}{lines}"))?;
    Ok(engine.stage(&file, Format::Csv, &Layout::default(), 1000)?)
}

#[test]
fn bodies_stored_together_count_as_if_one_came_after_the_other() -> Outcome {
    let folder = tempfile::tempdir()?;
    let market = folder.path().join("market.duckdb");
    let engine = Engine::open(Options::file(&market))?;
    let reader = engine.try_clone()?;
    let at = |symbol: &str, minute: u32, close: f64| format!("{symbol},2025-01-15 09:{minute}:00,10,11,9,{close},5\n");
    let first = staged(&reader, folder.path(), &(at("A", 15, 10.0) + &at("B", 15, 10.0)))?;
    let reports = engine.store_staged(vec![first])?;
    assert_eq!((reports[0].rows_read, reports[0].added), (2, 2));

    let bodies = [
        // There already, there otherwise, new, and no bar.
        at("A", 15, 10.0) + &at("B", 15, 10.5) + &at("C", 15, 10.0) + "D,2025-01-15 09:15:00,10,9,11,10,5\n",
        // The bar that is new in the body before, one that is new in both with other values, and one twice.
        at("C", 15, 10.0) + &at("C", 16, 10.5) + &at("E", 15, 10.0) + &at("E", 15, 9.5),
        at("C", 16, 10.0) + &at("C", 15, 10.5),
        String::new(),
        "A,2025-01-15 09:17:00,10,11,9,10,many\nA,soon,10,11,9,10,5\n".to_owned(),
    ];
    let waiting = bodies.iter().map(|body| staged(&reader, folder.path(), body)).collect::<Outcome<Vec<_>>>()?;
    let reports = engine.store_staged(waiting)?;
    let counts: Vec<_> = reports
        .iter()
        .map(|report| {
            let rejected = report.rejected.iter().map(|rejected| rejected.rows).sum::<u64>();
            (report.rows_read, report.added, report.unchanged, report.conflicting, report.repeated, rejected)
        })
        .collect();
    assert_eq!(counts, [(4, 1, 1, 1, 0, 1), (4, 2, 1, 0, 1, 0), (2, 0, 0, 2, 0, 0), (0, 0, 0, 0, 0, 0), (2, 0, 0, 0, 0, 2)]);
    assert_eq!(reports[0].rejected[0].reason, "high below low");
    assert_eq!(reports[0].rejected[0].example, "row 4: D, 2025-01-15 09:15:00, 10.0, 9.0, 11.0, 10.0, 5.0");
    assert_eq!(reports[1].newest.as_deref(), Some("2025-01-15 09:16:00"));
    assert_eq!(number(&engine, "SELECT count(*) FROM bars")?, 5);
    assert_eq!(number(&engine, "SELECT count(*) FROM (SELECT DISTINCT symbol, ts FROM bars)")?, 5);
    // What came first is what is stored; of a bar that one body has twice, the last by its values.
    for (symbol, minute, close) in [("B", 15, 10.0), ("C", 15, 10.0), ("C", 16, 10.5), ("E", 15, 10.0)] {
        let sql = format!("SELECT count(*) FROM bars WHERE symbol = '{symbol}' AND ts = '2025-01-15 09:{minute}:00' AND close = {close}");
        assert_eq!(number(&engine, &sql)?, 1, "{symbol} {minute}");
    }
    let left = "SELECT count(*) FROM duckdb_tables() WHERE database_name IN ('staged_bars', 'temp')";
    assert_eq!(number(&engine, left)?, 0, "nothing waits any more");
    Ok(())
}

#[test]
fn a_body_that_cannot_be_read_names_no_file() -> Outcome {
    let folder = tempfile::tempdir()?;
    let engine = Engine::open(Options::memory())?;
    let body = folder.path().join("secret-name");
    for (format, text) in [
        (Format::Lines, "{\"symbol\": \"A\" \"ts\": 1}\n"),
        (Format::Json, "nothing of the kind"),
        (Format::Lines, "{\"symbol\": \"A\"}"),
        (Format::Csv, "a,b\n1,2\n"),
        (Format::Csv, "\u{0}\u{1}"),
        (Format::Parquet, "PAR1 and so on"),
        (Format::Parquet, "PAR1\u{0}\u{0}\u{0}\u{7f}PAR1"),
    ] {
        std::fs::write(&body, text)?;
        let outcome = engine.stage(&body, format, &Layout::default(), 1000);
        let Err(stockscan_engine::Error::Invalid(said)) = outcome else { panic!("{text}: {outcome:?}") };
        assert!(!said.contains("secret") && !said.contains(&folder.path().display().to_string()), "{said}");
        assert!(!said.contains("LINE") && !said.contains("Try"), "{said}");
    }
    // One row more than may be.
    std::fs::write(&body, format!("{HEADER}{}", "A,2025-01-15 09:15:00,1,1,1,1,1\n".repeat(1001)))?;
    let outcome = engine.stage(&body, Format::Csv, &Layout::default(), 1000);
    assert!(matches!(&outcome, Err(stockscan_engine::Error::Invalid(said)) if said.contains("more than 1000 rows")), "{outcome:?}");
    assert_eq!(number(&engine, "SELECT count(*) FROM duckdb_tables() WHERE database_name = 'staged_bars'")?, 0);
    Ok(())
}

#[test]
fn bodies_read_together_are_told_apart() -> Outcome {
    let folder = tempfile::tempdir()?;
    let engine = Engine::open(Options::file(folder.path().join("market.duckdb")))?;
    let line = |symbol: &str, ts: &str, close: &str| {
        format!("{{\"symbol\":\"{symbol}\",\"ts\":{ts},\"open\":10,\"high\":11,\"low\":9,\"close\":{close},\"volume\":5}}\n")
    };
    let morning = "\"2025-01-15 09:15:00\"";
    let bodies = [
        (2, line("A", morning, "10") + &line("B", morning, "10")),
        (1, line("A", morning, "9.5")),
        // A price that is none, a bar that is there twice, a time that counts from 1970, and another name for the volume: each by itself.
        (2, line("C", morning, "10") + &line("D", morning, "\"x\"")),
        (2, line("E", morning, "10") + &line("E", morning, "10")),
        (1, line("F", "1736912700", "10")),
        (1, line("G", morning, "10").replace("volume", "vol")),
        (1, line("H", morning, "10")),
    ];
    let file = folder.path().join("bodies");
    std::fs::write(&file, bodies.iter().map(|(_, text)| text.as_str()).collect::<String>())?;
    let rows: Vec<u64> = bodies.iter().map(|(rows, _)| *rows).collect();
    let staged = engine.stage_together(&file, Format::Lines, &Layout::default(), &rows)?;
    assert_eq!(staged.iter().map(Option::is_some).collect::<Vec<_>>(), [true, true, false, false, false, false, true]);

    // Not all of them in one batch; the last one not at all.
    let mut staged: Vec<Staged> = staged.into_iter().flatten().collect();
    let last = staged.pop();
    let second = staged.pop();
    let reports = engine.store_staged(staged)?;
    assert_eq!((reports[0].rows_read, reports[0].added), (2, 2));
    let reports = engine.store_staged(second.into_iter().collect())?;
    assert_eq!((reports[0].added, reports[0].conflicting), (0, 1));
    engine.discard_staged(last.into_iter().collect())?;
    assert_eq!(number(&engine, "SELECT count(*) FROM bars")?, 2, "what is to be read by itself was not stored");
    assert_eq!(number(&engine, "SELECT count(*) FROM duckdb_tables() WHERE database_name = 'staged_bars'")?, 0);

    // Fewer rows than lines: nobody knows whose they are.
    let staged = engine.stage_together(&file, Format::Lines, &Layout::default(), &[2, 1, 2, 2, 1, 1, 1, 1])?;
    assert!(staged.iter().all(Option::is_none));
    assert_eq!(number(&engine, "SELECT count(*) FROM duckdb_tables() WHERE database_name = 'staged_bars'")?, 0);
    Ok(())
}

#[test]
fn the_first_bodies_may_come_at_the_same_time() -> Outcome {
    let folder = tempfile::tempdir()?;
    let body = folder.path().join("body");
    std::fs::write(&body, format!("{HEADER}A,2025-01-15 09:15:00,10,11,9,10,5\n"))?;
    for _ in 0..50 {
        let engine = Engine::open(Options::memory())?;
        let readers = (0..4).map(|_| engine.try_clone()).collect::<Result<Vec<_>, _>>()?;
        let start = std::sync::Barrier::new(readers.len());
        let (start, body) = (&start, &body);
        let failed: Vec<String> = std::thread::scope(|scope| {
            let stage = |reader: Engine| {
                scope.spawn(move || {
                    start.wait();
                    reader.stage(body, Format::Csv, &Layout::default(), 1000).err().map(|error| error.to_string())
                })
            };
            let threads: Vec<_> = readers.into_iter().map(stage).collect();
            threads.into_iter().filter_map(|thread| thread.join().unwrap_or(Some("a panic".to_owned()))).collect()
        });
        assert!(failed.is_empty(), "{failed:?}");
    }
    Ok(())
}
