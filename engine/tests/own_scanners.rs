//! The user's own scanners: files of a folder, and macros in the database.

use std::{error::Error as StdError, fs, path::Path, time::Instant};

use stockscan_engine::{Argument, Engine, Error, Options, Query};

type Outcome<T = ()> = Result<T, Box<dyn StdError>>;

/// A scanner that works.
const BUSY: &str = "\
-- A stock that has traded in enough minutes.
--
-- @inherit session_bars sessions_as_of
-- @param at_least INTEGER bars, 1 to 1000: least number of bars so far.
-- @column scan_date date of the session.
-- @column symbol name of the stock.
-- @column price currency, close of the latest bar.
-- @column bars bars so far.
-- @column volume shares traded so far.
-- @column probability_score points from 0 to 100.
-- @column rank place within the session.
-- @example FROM scan_busy('2025-01-15')
CREATE MACRO scan_busy(scan_date, cutoff_time := '09:50', at_least := 5) AS TABLE
SELECT
    session.session_date AS scan_date,
    session.symbol,
    session.price,
    session.bars,
    session.volume,
    100.0 AS probability_score,
    row_number() OVER (PARTITION BY session.session_date ORDER BY session.symbol) AS rank
FROM sessions_as_of(scan_date, cutoff_time := cutoff_time, called_by := 'scan_busy') AS session
WHERE
    session.session_date = session_date(scan_date, 'scan_busy', 'scan_date')
    AND session.bars >= integer_in_range(at_least, 1, 1000, 'scan_busy', 'at_least')
ORDER BY session.symbol;
";

/// The lines of the file above that later tests name.
const SIGNATURE: usize = 13;
const FROM: usize = 22;

fn options(folder: &Path) -> Options {
    Options { scanners_directory: Some(folder.to_path_buf()), ..Options::memory() }
}

/// A folder with these files.
fn folder(files: &[(&str, &str)]) -> Outcome<tempfile::TempDir> {
    let folder = tempfile::tempdir()?;
    for (name, text) in files {
        fs::write(folder.path().join(name), text)?;
    }
    Ok(folder)
}

/// What is said of a folder, without the folder's own path.
fn mistakes(files: &[(&str, &str)]) -> Outcome<Vec<String>> {
    let folder = folder(files)?;
    match Engine::open(options(folder.path())) {
        Ok(_) => Ok(Vec::new()),
        Err(error @ Error::OwnScanners(_)) => {
            assert!(error.is_usage());
            let prefix = format!("{}/", folder.path().display());
            Ok(error.to_string().lines().skip(1).map(|line| line.replace(&prefix, "")).collect())
        }
        Err(other) => Err(other.into()),
    }
}

fn rows(engine: &Engine, sql: &str) -> Outcome<usize> {
    let (_, batches) = engine.collect(&Query::plain(sql), None)?;
    Ok(batches.iter().map(|batch| batch.num_rows()).sum())
}

fn text(engine: &Engine, sql: &str) -> Outcome<String> {
    Ok(engine.connection().query_row(sql, [], |row| row.get(0))?)
}

#[test]
fn a_file_is_a_scanner_like_those_built_in() -> Outcome {
    let folder = folder(&[("scan_busy.sql", BUSY), ("notes.md", "not SQL"), (".scan_draft.sql", "nor this")])?;
    fs::create_dir(folder.path().join("old"))?;
    fs::write(folder.path().join("old/scan_old.sql"), "left alone")?;
    let database = folder.path().join("market.duckdb");
    Engine::open(Options::file(&database))?
        .connection()
        .execute_batch("CREATE TABLE bars AS FROM demo_bars(symbols := 5, sessions := 8)")?;
    for read_only in [true, false] {
        let engine =
            Engine::open(Options { read_only, scanners_directory: Some(folder.path().to_path_buf()), ..Options::file(&database) })?;
        assert_eq!(engine.loaded_scanners().map(|(function, _)| function).collect::<Vec<_>>(), ["scan_busy"]);
        let call = engine.call(&engine.scanner_function("busy")?, &[("scan_date".to_owned(), Argument::Text("2025-01-15".to_owned()))])?;
        assert_eq!(engine.collect(&call.query(), None)?.1.iter().map(|batch| batch.num_rows()).sum::<usize>(), 5);
        assert_eq!(rows(&engine, "FROM scan_busy('2025-01-15')")?, 5);
        // On another connection, too.
        let other = engine.try_clone()?;
        assert_eq!(rows(&other, "FROM scan_busy('2025-01-15')")?, 5);
        assert_eq!(other.loaded_scanners().count(), 1);
        // With its documentation, to which the parameters' defaults belong.
        let listed = engine.scanners()?.into_iter().find(|scanner| scanner.name == "busy").ok_or("it is listed")?;
        assert_eq!((listed.title.as_str(), listed.is_built_in), ("A stock that has traded in enough minutes.", false));
        let parameters = engine.scanner_parameters("busy")?;
        let at_least = parameters.iter().find(|parameter| parameter.name == "at_least").ok_or("its own parameter")?;
        assert_eq!((at_least.default.as_deref(), at_least.minimum, at_least.maximum), (Some("5"), Some(1.0), Some(1000.0)));
        let cutoff = parameters.iter().find(|parameter| parameter.name == "cutoff_time").ok_or("an inherited parameter")?;
        assert_eq!((cutoff.default.as_deref(), cutoff.doc.is_some()), (Some("'09:50'"), true));
        assert_eq!(text(&engine, "SELECT examples[1] FROM scanners() WHERE scanner = 'busy'")?, "FROM scan_busy('2025-01-15')");
        // Guards and the funnel work as for any other.
        let wrong = engine.collect(&Query::plain("FROM scan_busy('2025-01-15', at_least := 0)"), None).expect_err("its guard refuses it");
        assert_eq!(wrong.to_string(), "scan_busy: at_least must be between 1 and 1000, got 0");
        assert_eq!(engine.funnel(&call, None)?.steps.last().map(|step| step.survivors), Some(5));
        assert_eq!(engine.unchecked_reading("scan_busy")?, []);
        assert_eq!(engine.scanner_findings()?, []);
    }
    // Nothing was written to the user's file.
    let plain = Engine::open(Options::file(&database))?;
    assert!(plain.scanner_function("busy").is_err());
    assert_eq!(text(&plain, "SELECT string_agg(table_name) FROM duckdb_tables()")?, "bars");
    Ok(())
}

#[test]
fn what_files_are_checked_with_does_not_stay() -> Outcome {
    let folder = folder(&[("scan_busy.sql", BUSY)])?;
    let engine = Engine::open(options(folder.path()))?;
    for engine in [&engine, &engine.try_clone()?] {
        assert_eq!(text(engine, "SELECT count(*)::VARCHAR FROM duckdb_tables()")?, "0");
        assert_eq!(text(engine, "SELECT string_agg(function_name) FROM duckdb_functions() WHERE database_name = 'temp'")?, "scan_busy");
        let error = engine.collect(&Query::plain("FROM scan_busy('2025-01-15')"), None).expect_err("there are no bars");
        assert!(matches!(error, Error::MissingSource { .. }), "{error}");
        // The optimizer is on again: a condition that is never true leaves nothing of the plan.
        let plan: String = engine.connection().query_row("EXPLAIN SELECT * FROM range(7) WHERE false", [], |row| row.get(1))?;
        assert!(plan.contains("Empty Result"), "{plan}");
    }
    Ok(())
}

#[test]
fn every_mistake_of_every_file_is_told_at_once() -> Outcome {
    let named = |name: &str| BUSY.replace("scan_busy", &format!("scan_{name}"));
    let column = named("column").replace("session.price,", "session.prize,");
    let function = named("function").replace("row_number()", "row_nummer()");
    let argument = named("argument").replace("called_by", "caled_by");
    let default = named("default").replace("at_least := 5", "at_least := 0");
    let header = named("header").replace("@column bars", "@column minutes");
    let guard = named("guard").replace("1, 1000,", "1, 500,").replace("FROM sessions_as_of(", "FROM session_bars(");
    let syntax = named("syntax").replace("WHERE", "WHERE WHERE");
    let found = mistakes(&[
        ("scan_argument.sql", &argument),
        ("scan_column.sql", &column),
        ("scan_default.sql", &default),
        ("scan_empty.sql", "\u{feff}\n"),
        ("scan_fine.sql", &named("fine")),
        ("scan_function.sql", &function),
        ("scan_guard.sql", &guard),
        ("scan_header.sql", &header),
        ("scan_syntax.sql", &syntax),
    ])?;
    let expected = [
        "scan_argument.sql:22: arguments that sessions_as_of() does not take; expected some of scan_date, cutoff_time, ",
        "scan_column.sql:17: Binder Error: \"session\" does not have a column named \"prize\"; expected SQL that DuckDB takes",
        "scan_default.sql:13: scan_default: at_least must be between 1 and 1000, got 0; expected defaults that the guards let pass",
        "scan_empty.sql:1: an empty file; expected a header of comments, and one CREATE MACRO",
        "scan_function.sql:21: Catalog Error: ",
        "scan_guard.sql:22: a scanner that reads session_bars(); expected a building block that applies the cutoff",
        "scan_guard.sql:25: guard integer_in_range(at_least, 1, 500, …), where line 4 has another range",
        "scan_header.sql:8: '@column minutes'; expected '@column bars', which the query has there",
        "scan_syntax.sql:24: Expected",
    ];
    assert_eq!(found.len(), expected.len(), "{found:#?}");
    for (found, expected) in found.iter().zip(expected) {
        assert!(found.starts_with(expected), "expected: {expected}\ngot: {found}");
    }
    Ok(())
}

#[test]
fn names_belong_to_one_scanner() -> Outcome {
    let breakout = BUSY.replace("scan_busy", "scan_breakout");
    let helper = BUSY.replace("scan_busy", "busy");
    let capital = BUSY.replace("scan_busy", "scan_Busy");
    assert_eq!(
        mistakes(&[
            ("busy.sql", &helper),
            ("scan_Busy.sql", &capital),
            ("scan_breakout.sql", &breakout),
            ("scan_busy.sql", BUSY),
            ("scan_busy_too.sql", BUSY)
        ])?,
        [
            format!("busy.sql:{SIGNATURE}: macro 'busy'; expected a scanner: scan_ and small letters, digits and _"),
            format!("scan_Busy.sql:{SIGNATURE}: macro 'scan_Busy'; expected a scanner: scan_ and small letters, digits and _"),
            format!("scan_breakout.sql:{SIGNATURE}: 'scan_breakout', which is built in; expected a name of its own"),
            format!("scan_busy_too.sql:{SIGNATURE}: a second 'scan_busy', after scan_busy.sql; expected one file for each function"),
            format!("scan_busy_too.sql:{SIGNATURE}: macro 'scan_busy'; expected 'scan_busy_too', the file's stem"),
        ]
    );
    Ok(())
}

#[test]
fn scanners_may_read_each_other_but_not_in_a_circle() -> Outcome {
    let reading = |name: &str, other: &str| {
        let block = format!("FROM sessions_as_of(scan_date, cutoff_time := cutoff_time, called_by := 'scan_{name}') AS session");
        let scanner = format!(
            "FROM (SELECT hit.scan_date AS session_date, hit.* FROM scan_{other}(scan_date, cutoff_time := cutoff_time) AS hit) AS session"
        );
        BUSY.replace("scan_busy", &format!("scan_{name}")).replace(&block, &scanner)
    };
    // a comes before b, and needs it.
    let folder = folder(&[("scan_a.sql", &reading("a", "b")), ("scan_b.sql", &BUSY.replace("scan_busy", "scan_b"))])?;
    let engine = Engine::open(options(folder.path()))?;
    engine.connection().execute_batch("CREATE TABLE bars AS FROM demo_bars(symbols := 3, sessions := 8)")?;
    assert_eq!(rows(&engine, "FROM scan_a('2025-01-15')")?, 3);

    let circle = |other: &str| {
        format!(
            "a scanner that reads scan_{other}(), of a circle of scanners that read each other; expected scanners that can come one after the other"
        )
    };
    let found = mistakes(&[("scan_a.sql", &reading("a", "b")), ("scan_b.sql", &reading("b", "a"))])?;
    assert_eq!(found, [format!("scan_a.sql:{FROM}: {}", circle("b")), format!("scan_b.sql:{FROM}: {}", circle("a"))]);
    let broken = BUSY.replace("scan_busy", "scan_b").replace("WHERE", "WHERE WHERE");
    assert_eq!(mistakes(&[("scan_a.sql", &reading("a", "b")), ("scan_b.sql", &broken)])?.len(), 1, "only what is wrong is told");
    let column = BUSY.replace("scan_busy", "scan_b").replace("session.bars,", "session.barz,");
    assert_eq!(mistakes(&[("scan_a.sql", &reading("a", "b")), ("scan_b.sql", &column)])?.len(), 1, "only what is wrong is told");
    let stranger = mistakes(&[("scan_a.sql", &reading("a", "nowhere"))])?;
    assert_eq!(
        stranger,
        [format!("scan_a.sql:{FROM}: a scanner that reads scan_nowhere(); expected a scanner of another file, or one that is built in")]
    );
    Ok(())
}

#[test]
fn files_of_any_kind_are_read_or_refused() -> Outcome {
    let windows = format!("\u{feff}{}", BUSY.replace("scan_busy", "scan_windows").replace('\n', "\r\n"));
    let folder = folder(&[("scan_windows.sql", &windows), ("busy.txt", BUSY)])?;
    #[cfg(unix)]
    std::os::unix::fs::symlink("busy.txt", folder.path().join("scan_busy.sql"))?;
    let engine = Engine::open(options(folder.path()))?;
    let loaded: Vec<&str> = engine.loaded_scanners().map(|(function, _)| function).collect();
    assert_eq!(loaded, if cfg!(unix) { vec!["scan_busy", "scan_windows"] } else { vec!["scan_windows"] });
    // A mistake behind a byte order mark and line ends of Windows has its line, too.
    let found = mistakes(&[("scan_windows.sql", &windows.replace("session.price,", "session.prize,"))])?;
    assert!(found[0].starts_with("scan_windows.sql:17: Binder Error"), "{found:?}");

    fs::create_dir(folder.path().join("scan_folder.sql"))?;
    fs::write(folder.path().join("scan_latin.sql"), b"-- A stock.\n-- \xe4\n")?;
    #[cfg(unix)]
    std::os::unix::fs::symlink("nowhere", folder.path().join("scan_link.sql"))?;
    let error = Engine::open(options(folder.path())).expect_err("these cannot be read").to_string();
    assert!(error.contains("scan_folder.sql:1: no regular file; expected a file of SQL that can be read"), "{error}");
    assert!(error.contains("scan_latin.sql:2: a byte that is no UTF-8; expected"), "{error}");
    assert!(cfg!(not(unix)) || error.contains("scan_link.sql:1: No such file"), "{error}");

    let missing = Engine::open(options(&folder.path().join("none"))).expect_err("there is no such folder");
    assert!(missing.is_usage() && missing.to_string().contains("none: "), "{missing}");
    assert_eq!(mistakes(&[])?, Vec::<String>::new(), "a folder without files is one");
    Ok(())
}

#[test]
fn twenty_files_do_not_hold_up_the_start() -> Outcome {
    let texts: Vec<(String, String)> =
        (0..20).map(|number| (format!("scan_busy{number}.sql"), BUSY.replace("scan_busy", &format!("scan_busy{number}")))).collect();
    let files: Vec<(&str, &str)> = texts.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    let folder = folder(&files)?;
    let started = Instant::now();
    let engine = Engine::open(options(folder.path()))?;
    let taken = started.elapsed();
    assert_eq!(engine.loaded_scanners().count(), 20);
    println!("{taken:?} for 20 files, opening included");
    // Far more than it takes on a busy machine, and far less than binding against the real blocks would.
    assert!(taken.as_millis() < 2000, "{taken:?}");
    Ok(())
}

#[test]
fn a_macro_in_the_database_is_told_what_it_lacks() -> Outcome {
    let engine = Engine::open(Options::memory())?;
    engine.connection().execute_batch(
        "CREATE TABLE bars AS FROM demo_bars(symbols := 3, sessions := 8);
         CREATE MACRO scan_short(scan_date) AS TABLE SELECT session.symbol, session.price FROM sessions_as_of(scan_date) AS session;
         CREATE MACRO scan_peek(scan_date, needed, min_price := 7) AS TABLE SELECT 1 AS rank FROM bars AS bar WHERE bar.close > min_price;",
    )?;
    let date = [("scan_date".to_owned(), Argument::Text("2025-01-15".to_owned()))];
    let call = engine.call("scan_short", &date)?;
    let error = engine.collect(&call.query(), None).expect_err("columns are missing");
    assert_eq!(
        error.to_string(),
        "scan_short has no column scan_date, volume, probability_score, rank; a scanner's columns start with scan_date, symbol, price and end \
         with volume, probability_score, rank"
    );
    assert!(error.is_usage());
    let typo = engine.call("scan_short", &[&date[..], &[("cutoff".to_owned(), Argument::Text("1".to_owned()))]].concat());
    assert_eq!(typo.expect_err("no such parameter").to_string(), "scan_short has no parameter 'cutoff'; it takes scan_date");

    assert_eq!(engine.unchecked_reading("scan_short")?, []);
    assert_eq!(engine.unchecked_reading("scan_breakout")?, []);
    let reading = "scan_peek: a scanner that reads 'bars'; expected a building block or a step of its own";
    assert_eq!(engine.unchecked_reading("scan_peek")?.iter().map(ToString::to_string).collect::<Vec<_>>(), [reading]);

    let found: Vec<String> = engine.scanner_findings()?.iter().map(ToString::to_string).collect();
    assert_eq!(
        found,
        [
            reading,
            "scan_peek: range of 'min_price' that nothing checks; expected number_in_range(min_price, 0, NULL, …) where it is used",
            "scan_short: no column scan_date, volume, probability_score, rank; expected scan_date, symbol, price, volume, probability_score, rank",
        ]
    );
    Ok(())
}

#[test]
fn a_finding_is_no_false_alarm() -> Outcome {
    // The macro of docs/adding-a-scanner.md, and every scanner that is built in, as macros of a database.
    let engine = Engine::open(Options::memory())?;
    engine.connection().execute_batch("CREATE TABLE bars AS FROM demo_bars(symbols := 3, sessions := 8)")?;
    let root = Path::new(&std::env::var("CARGO_MANIFEST_DIR")?).join("..");
    let page = fs::read_to_string(root.join("docs/adding-a-scanner.md"))?;
    let block = page.split("```sql\n").nth(1).and_then(|rest| rest.split("```").next()).ok_or("the page has a block of SQL")?;
    let own: Vec<String> =
        engine.statements(block)?.into_iter().filter(|sql| sql.starts_with("CREATE MACRO") || sql.starts_with("COMMENT")).collect();
    assert_eq!(own.len(), 2);
    for sql in own {
        engine.connection().execute_batch(&sql)?;
    }
    let mut count = 0;
    for entry in fs::read_dir(root.join("sql/scanners"))? {
        engine.connection().execute_batch(
            &fs::read_to_string(entry?.path())?.replace("scan_", "scan_copy_of_").replace("scan_copy_of_date", "scan_date"),
        )?;
        count += 1;
    }
    assert!(count >= 3);
    let found: Vec<String> = engine.scanner_findings()?.iter().map(ToString::to_string).collect();
    assert_eq!(found, Vec::<String>::new());
    Ok(())
}

#[test]
fn a_file_hides_a_macro_of_the_database() -> Outcome {
    let folder = folder(&[("scan_busy.sql", BUSY)])?;
    let database = folder.path().join("market.duckdb");
    Engine::open(Options::file(&database))?.connection().execute_batch(
        "CREATE TABLE bars AS FROM demo_bars(symbols := 3, sessions := 8);
         CREATE MACRO scan_busy(scan_date, other := 1) AS TABLE SELECT 'old' AS symbol;
         CREATE MACRO scan_crp(scan_date) AS TABLE SELECT 'mine' AS symbol",
    )?;
    let engine = Engine::open(Options { scanners_directory: Some(folder.path().to_path_buf()), ..Options::file(&database) })?;
    assert_eq!(rows(&engine, "FROM scan_busy('2025-01-15') WHERE symbol LIKE 'DEMO%'")?, 3);
    assert_eq!(engine.signature("scan_busy")?.parameters.len(), 3);
    let date = [("scan_date".to_owned(), Argument::Text("2025-01-15".to_owned()))];
    assert_eq!(engine.funnel(&engine.call("scan_busy", &date)?, None)?.steps.len(), 2, "its own conditions are counted");
    let found: Vec<String> = engine.scanner_findings()?.iter().map(ToString::to_string).collect();
    assert!(
        found.contains(&"scan_crp: it hides the scanner of that name that is built in; expected a name of its own".to_owned()),
        "{found:?}"
    );
    assert!(found.iter().all(|finding| finding.starts_with("scan_crp")), "{found:?}");
    Ok(())
}

#[test]
fn the_definition_of_an_own_scanner_says_which_parameters_are_thresholds() -> Outcome {
    // Copies of the built-in scanners under names of their own, as DuckDB writes their definitions down.
    let engine = Engine::open(Options::memory())?;
    assert_eq!(engine.create_macro("scan_breakout")?, None, "what is built in is known");
    let mut thresholds = 0;
    for scanner in engine.scanners()? {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../sql/scanners/{}.sql", scanner.function_name));
        let own = format!("scan_own_{}", scanner.name);
        let sql = fs::read_to_string(path)?.replace(&format!("CREATE MACRO {}(", scanner.function_name), &format!("CREATE MACRO {own}("));
        engine.connection().execute_batch(&sql)?;
        let definition = engine.create_macro(&own)?.ok_or("it is not built in")?;
        for (parameter, _) in engine.signature(&own)?.parameters {
            let is_threshold = |function: &str, definition: Option<&str>| -> Outcome<bool> {
                let mut statement = engine.connection().prepare("SELECT is_threshold(?, ?, ?)")?;
                Ok(statement.query_row((function, parameter.as_str(), definition), |row| row.get(0))?)
            };
            let expected = is_threshold(&scanner.function_name, None)?;
            assert_eq!(is_threshold(&own, Some(&definition))?, expected, "{own}: {parameter}");
            thresholds += usize::from(expected);
        }
    }
    assert!(thresholds > 20, "{thresholds}");
    assert!(!engine.hides_built_in("scan_breakout")? && !engine.hides_built_in("scan_own_breakout")?);
    engine.connection().execute_batch("CREATE MACRO scan_breakout(scan_date) AS TABLE SELECT 1 AS x")?;
    assert!(engine.hides_built_in("scan_breakout")?);
    Ok(())
}
