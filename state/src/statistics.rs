//! How scans went: counted from the history, for the command and the server alike.

use duckdb::{Row, params_from_iter};
use stockscan_engine::{Engine, Query, Result};

use crate::{Filter, SCHEMA, State};

/// How some scans went.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Tally {
    /// How many there were.
    pub scans: u64,
    /// Those that did not fail.
    pub done: u64,
    /// Those that failed.
    pub failed: u64,
    /// Those of `done` that repeated an earlier answer.
    pub cached: u64,
    /// Hits of all that were done.
    pub hits: u64,
    /// Hits of one, on average; `None`: none was done.
    pub hits_per_scan: Option<f64>,
    /// Share of those done that had a hit, in percent; `None`: none was done.
    pub with_hits_pct: Option<f64>,
    /// Hits that are kept with what became of them by the end of their session.
    pub known_outcomes: u64,
    /// Those of them that went their way.
    pub successful: u64,
    /// Their share, in percent; `None`: of no hit it is known.
    pub hit_rate_pct: Option<f64>,
    /// The time within which half of those ended that were done and not repeated, in milliseconds; `None`: there was none.
    pub p50_ms: Option<f64>,
    /// The same of 95 in 100.
    pub p95_ms: Option<f64>,
    /// The same of 99 in 100.
    pub p99_ms: Option<f64>,
    /// The longest.
    pub max_ms: Option<f64>,
    /// How many failed with each kind of error.
    pub errors: serde_json::Map<String, serde_json::Value>,
}

/// How scans went.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Statistics {
    /// All of them.
    pub total: Tally,
    /// Those of each scanner, by name.
    pub scanners: Vec<(String, Tally)>,
    /// Those of each day in UTC, in order.
    pub days: Vec<(String, Tally)>,
}

/// The query of the statistics, to be run within [`State::with`]: a row for all scans (`level` is `total`), one for each scanner (`scanner`) and
/// one for each day (`day`), with the columns of [`Tally`].
#[must_use]
pub fn statistics(filter: &Filter) -> Query {
    let (condition, values) = filter.condition();
    let done = "FILTER (WHERE scan.status = 'done')";
    // What was repeated took no time of a scan.
    let scanned = "FILTER (WHERE scan.status = 'done' AND NOT scan.is_cached)";
    let sql = format!(
        "WITH scans AS ( \
             SELECT scan.scanner, CAST(scan.started_at AS DATE) AS \"day\", scan.status, scan.cached_from IS NOT NULL AS is_cached, scan.hits, \
                 scan.seconds * 1000 AS ms, scan.error_kind, \
                 list_filter(json_extract_string(scan.results, '$[*].breakout_successful'), lambda outcome: outcome IN ('true', 'false')) AS outcomes \
             FROM {SCHEMA}.scans AS scan WHERE {condition}), \
         tallies AS ( \
             SELECT CASE WHEN grouping(scan.scanner) = 0 THEN 'scanner' WHEN grouping(scan.\"day\") = 0 THEN 'day' ELSE 'total' END AS level, \
                 scan.scanner, scan.\"day\", count(*) AS scans, count(*) {done} AS done, count(*) FILTER (WHERE scan.status = 'failed') AS failed, \
                 count(*) FILTER (WHERE scan.is_cached) AS cached, CAST(coalesce(sum(scan.hits) {done}, 0) AS BIGINT) AS hits, \
                 count(*) FILTER (WHERE scan.hits > 0 AND scan.status = 'done') AS with_hits, \
                 CAST(coalesce(sum(len(scan.outcomes)), 0) AS BIGINT) AS known_outcomes, \
                 CAST(coalesce(sum(len(list_filter(scan.outcomes, lambda outcome: outcome = 'true'))), 0) AS BIGINT) AS successful, \
                 CAST(quantile_cont(scan.ms, 0.5) {scanned} AS DOUBLE) AS p50_ms, CAST(quantile_cont(scan.ms, 0.95) {scanned} AS DOUBLE) AS p95_ms, \
                 CAST(quantile_cont(scan.ms, 0.99) {scanned} AS DOUBLE) AS p99_ms, CAST(max(scan.ms) {scanned} AS DOUBLE) AS max_ms, \
                 histogram(scan.error_kind) FILTER (WHERE scan.status = 'failed') AS errors \
             FROM scans AS scan GROUP BY GROUPING SETS ((), (scan.scanner), (scan.\"day\"))) \
         SELECT tally.level, tally.scanner, tally.\"day\", tally.scans, tally.done, tally.failed, tally.cached, tally.hits, \
             tally.hits / nullif(tally.done, 0) AS hits_per_scan, 100.0 * tally.with_hits / nullif(tally.done, 0) AS with_hits_pct, \
             tally.known_outcomes, tally.successful, 100.0 * tally.successful / nullif(tally.known_outcomes, 0) AS hit_rate_pct, \
             tally.p50_ms, tally.p95_ms, tally.p99_ms, tally.max_ms, tally.errors \
         FROM tallies AS tally ORDER BY tally.level DESC, tally.scanner, tally.\"day\""
    );
    Query::with_values(sql, values)
}

impl State {
    /// How scans of a kind went.
    ///
    /// # Errors
    /// As [`State::with`].
    pub fn statistics(&self, engine: &Engine, filter: &Filter) -> Result<Statistics> {
        let Query { sql, values, .. } = statistics(filter);
        let sql = format!(
            "SELECT tally.* REPLACE (CAST(tally.\"day\" AS VARCHAR) AS \"day\", CAST(to_json(tally.errors) AS VARCHAR) AS errors) FROM ({sql}) AS tally"
        );
        let found = self.reading(engine, "scans", || {
            let mut statement = engine.connection().prepare(&sql)?;
            let mut statistics = Statistics::default();
            let mut rows = statement.query(params_from_iter(values.iter()))?;
            while let Some(row) = rows.next()? {
                match row.get::<_, String>(0)?.as_str() {
                    "scanner" => statistics.scanners.push((row.get(1)?, tally(row)?)),
                    "day" => statistics.days.push((row.get(2)?, tally(row)?)),
                    _ => statistics.total = tally(row)?,
                }
            }
            Ok(statistics)
        })?;
        Ok(found.unwrap_or_default())
    }
}

fn tally(row: &Row<'_>) -> duckdb::Result<Tally> {
    let errors: Option<String> = row.get(17)?;
    Ok(Tally {
        scans: row.get(3)?,
        done: row.get(4)?,
        failed: row.get(5)?,
        cached: row.get(6)?,
        hits: row.get(7)?,
        hits_per_scan: row.get(8)?,
        with_hits_pct: row.get(9)?,
        known_outcomes: row.get(10)?,
        successful: row.get(11)?,
        hit_rate_pct: row.get(12)?,
        p50_ms: row.get(13)?,
        p95_ms: row.get(14)?,
        p99_ms: row.get(15)?,
        max_ms: row.get(16)?,
        errors: errors.and_then(|errors| serde_json::from_str(&errors).ok()).unwrap_or_default(),
    })
}
