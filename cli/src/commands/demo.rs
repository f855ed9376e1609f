//! `scanner demo`

use stockscan_engine::{Engine, Error, Result};

use super::{Access, counted, database, open, single};
use crate::{
    arguments::{Demo, Global, Output, Run, Scan},
    progress,
};

pub(crate) fn run(global: &Global, demo: &Demo) -> Result<()> {
    if let Some(source) = &global.source {
        return Err(Error::Invalid(format!("--source {source}: the demo makes its own bars, in table bars")));
    }
    if global.read_only || global.bar_minutes != 1 {
        return Err(Error::Invalid("the demo writes bars of one minute; leave out --read-only and --bar-minutes".to_owned()));
    }
    let path = database(global);
    let was_there = path.exists();
    let engine = open(global, Access::Write)?;
    let made = make(&engine, global, demo);
    drop(engine);
    if made.is_err() && !was_there {
        // Nothing half made stays.
        let _ = std::fs::remove_file(&path);
    }
    made?;

    if global.quiet {
        return Ok(());
    }
    let file = path.display();
    let option = if global.database.is_some() { format!(" --database {file}") } else { String::new() };
    say!("\n$ scanner run --scanner-type breakout --date 2025-01-15{option}\n");
    super::run::run(global, &scan())?;
    say!(
        "\nWhat to try next:
  scanner list breakout{option}
  scanner run -t breakout --explain{option}
  scanner run -t breakout --date 2025-01-06 --end-date 2025-01-15 --cutoff 10:30{option}
  scanner sql{option}
  scanner serve{option}     (the dashboard, at http://localhost:8000/)
  scanner ingest FILES --database mine.duckdb     (your own bars: CSV, Parquet or JSON)"
    );
    Ok(())
}

fn make(engine: &Engine, global: &Global, demo: &Demo) -> Result<()> {
    let name = engine.name();
    if engine.has_relation("bars") {
        let strangers = single(engine, "SELECT count(*)::VARCHAR FROM (SELECT 1 FROM bars WHERE NOT starts_with(symbol, 'DEMO') LIMIT 1)")?;
        if strangers != "0" {
            return Err(Error::Invalid(format!(
                "{name} holds bars that are not the demo's, and they stay as they are; give the demo a database of its own: scanner demo --database demo.duckdb"
            )));
        }
        if !global.quiet {
            say!("{name} has a demo market already, which stays as it is");
        }
        return Ok(());
    }
    progress::shown(engine, global, "making a market", || {
        engine.connection().execute(
            "CREATE TABLE bars AS FROM demo_bars(symbols := ?, sessions := ?, seed := ?) AS bar ORDER BY CAST(bar.ts AS DATE), bar.symbol, bar.ts",
            [i64::from(demo.symbols), i64::from(demo.sessions), demo.seed],
        )?;
        Ok(())
    })?;
    if global.quiet {
        return Ok(());
    }
    let bars: u64 = single(engine, "SELECT count(*)::VARCHAR FROM bars")?.parse().unwrap_or_default();
    say!(
        "made {name}: {} in table bars, {} in {}, made up by demo_bars() and good for trying things on only",
        counted(bars, "bar"),
        counted(u64::from(demo.symbols), "stock"),
        counted(u64::from(demo.sessions), "session")
    );
    Ok(())
}

/// The first scan of the README.
fn scan() -> Run {
    Run {
        scan: Scan { scanner_type: "breakout".to_owned(), cutoff: None, settings: Vec::new(), symbols: None, market: None, timeout: None },
        date: Some("2025-01-15".to_owned()),
        end_date: None,
        output: Output { format: None, output: None },
        no_cache: true,
        explain: false,
        sql: false,
        stream: false,
        interval: None,
        duration: None,
    }
}
