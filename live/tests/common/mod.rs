//! What tests of live scans share: a database that grows bar by bar, with a scanner whose hits can be told by looking at the bars.

use std::{error::Error, path::PathBuf};

use stockscan_engine::{Engine, Location, Options};
use stockscan_live::Reader;

/// What a test returns.
pub type Outcome<T = ()> = Result<T, Box<dyn Error>>;

/// A database in a folder of its own.
pub struct Market {
    pub folder: tempfile::TempDir,
}

impl Market {
    /// Without a bar, but with the scanner `above`: stocks whose last visible close is above 100, the highest first.
    pub fn new() -> Outcome<Market> {
        let market = Market { folder: tempfile::tempdir()? };
        market.sql(
            "CREATE TABLE bars (symbol VARCHAR, ts TIMESTAMP, open DOUBLE, high DOUBLE, low DOUBLE, close DOUBLE, volume BIGINT);
             CREATE MACRO scan_above(scan_date, cutoff_time := '24:00', symbols := NULL) AS TABLE
             SELECT any_value(bar.session_date) AS scan_date, bar.symbol, arg_max(bar.close, bar.ts) AS price, sum(bar.volume)::BIGINT AS volume,
                 50.0::DOUBLE AS probability_score, row_number() OVER (ORDER BY arg_max(bar.close, bar.ts) DESC, bar.symbol) AS rank
             FROM visible_bars(scan_date, cutoff_time, symbols := symbols) AS bar
             GROUP BY bar.symbol HAVING arg_max(bar.close, bar.ts) > 100 ORDER BY rank",
        )?;
        Ok(market)
    }

    pub fn path(&self) -> PathBuf {
        self.folder.path().join("market.duckdb")
    }

    /// As another process would write: opened, and closed again.
    pub fn sql(&self, sql: &str) -> Outcome {
        Ok(Engine::open(Options::file(self.path()))?.connection().execute_batch(sql)?)
    }

    /// Adds the bar of a minute for some stocks, which open and close at a price.
    pub fn bar(&self, ts: &str, closes: &[(&str, f64)]) -> Outcome {
        let rows = closes.iter().map(|(symbol, close)| format!("('{symbol}', TIMESTAMP '{ts}', {close}, {close}, {close}, {close}, 10)"));
        self.sql(&format!("INSERT INTO bars VALUES {}", rows.collect::<Vec<_>>().join(", ")))
    }

    pub fn reader(&self) -> Outcome<Reader> {
        Ok(Reader::new(Options { location: Location::File(self.path()), ..Options::memory() })?)
    }
}
