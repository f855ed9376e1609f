//! A grid worked off in parts: the trades of all combinations in a table, and the queries of what they come to.

use std::time::{Duration, Instant};

use stockscan_engine::{Argument, Call, Engine, Error, Query, Result, Value, counted, grouped, nearest, quoted};

use crate::{
    Axis, Candidates, Given, Test,
    grid::{self, Part},
    test::{text, without_rows},
};

/// The temporary table of what the combinations come to over the whole range, as `grid_results()` has it.
pub const RESULTS: &str = "stockscan_grid_results";
/// The trades of the combinations that are done.
const TRADES: &str = "stockscan_grid_trades";
/// A bar for each symbol and session, which is all that is asked of the bars once there are trades.
const BARS: &str = "stockscan_session_bars";

/// Which combinations are tried, and which of them is best.
#[derive(Debug, Clone)]
pub struct Search {
    /// The values to try.
    pub grid: Vec<Candidates>,
    /// A column of the summary, or an expression of them; `None`: `sharpe`.
    pub objective: Option<String>,
    /// Into how many parts the sessions are divided.
    pub folds: Option<Argument>,
    /// A combination with fewer trades is not chosen.
    pub min_trades: Option<Argument>,
    /// So many of the combinations; `None`: all.
    pub samples: Option<u32>,
    /// How these are chosen.
    pub sampling: Option<Argument>,
    /// The same seed chooses the same ones.
    pub seed: Option<Argument>,
}

/// What was done of the work.
#[derive(Debug)]
pub struct Tested {
    /// How many combinations.
    pub combinations: usize,
    /// [`Error::Stopped`] if these are not all.
    pub outcome: Result<()>,
}

/// A grid of tests on an engine, which keeps its tables.
#[derive(Debug)]
pub struct Optimization<'a> {
    /// What all combinations have in common.
    pub test: Test,
    /// What is varied.
    pub axes: Vec<Axis>,
    /// How many combinations are to be tried.
    pub combinations: usize,
    engine: &'a Engine,
    search: Search,
    /// The `CREATE MACRO` of a scanner that is not built in.
    definition: Option<String>,
    /// In which they are tried.
    parts: Vec<Part>,
}

impl<'a> Optimization<'a> {
    /// Checks a grid.
    ///
    /// # Errors
    /// [`Error::UnknownParameter`], [`Error::Invalid`] for values that are none, parameters that are given as a value, too, or too many
    /// combinations.
    pub fn new(engine: &'a Engine, mut test: Test, search: Search) -> Result<Optimization<'a>> {
        let axes = grid::axes(&search.grid, &engine.signature(&test.function)?, &engine.scanner_parameters(&test.scanner)?)?;
        for axis in &axes {
            test.vary(&axis.name)?;
        }
        let all = grid::combinations(&axes, test.given);
        let combinations = match search.samples {
            Some(samples) => all.unwrap_or(usize::MAX).min(samples as usize),
            None => all?,
        };
        let definition = definition(engine, &test)?;
        Ok(Optimization { test, axes, combinations, engine, search, definition, parts: Vec::new() })
    }

    /// All in one statement.
    ///
    /// # Errors
    /// As [`Engine::call`].
    pub fn whole(&self) -> Result<Call> {
        self.test.call(self.engine, "optimize", &[self.of_grid(&Part::whole(&self.axes)), self.judging()].concat())
    }

    /// Refuses what the functions would refuse in the end, before anything is done: every value of every parameter, but not all of them with all
    /// others, which takes its time.
    ///
    /// # Errors
    /// What the functions' guards say, [`Error::Invalid`] for an objective that is none, or what DuckDB says.
    pub fn check(&self) -> Result<()> {
        grid::samples(&self.axes).iter().try_for_each(|part| {
            let call = self.test.call(self.engine, "optimize", &[self.of_grid(part), self.judging()].concat())?;
            self.try_out(call.query(), None)
        })
    }

    /// What is best is highest in this.
    #[must_use]
    pub fn objective(&self) -> &str {
        self.search.objective.as_deref().unwrap_or("sharpe")
    }

    /// With fewer trades a combination is not chosen: as a person would write it.
    ///
    /// # Errors
    /// What DuckDB says.
    pub fn min_trades(&self) -> Result<String> {
        match &self.search.min_trades {
            Some(Argument::Text(given) | Argument::Value(Value::Text(given))) => Ok(given.clone()),
            Some(Argument::Value(given)) => Ok(stockscan_engine::literal(given)),
            None => self.usual("min_trades"),
        }
    }

    /// A query of what the trades come to: `grid_report`, `grid_walk_forward`, `grid_parameters`, `grid_performance`.
    ///
    /// # Errors
    /// As [`Engine::call`].
    pub fn of_trades(&self, function: &str) -> Result<Query> {
        let mut arguments = self.judging();
        if self.search.folds.is_none() {
            // One of the functions looks at the whole alone, unless it is told otherwise.
            arguments.push(("folds", Argument::Text(self.usual("folds")?)));
        }
        arguments.push(("trades", Argument::Value(text(TRADES))));
        arguments.push(("source", Argument::Value(text(BARS))));
        arguments.push(("bar_minutes", Argument::Value(Value::BigInt(1440))));
        // The session's bars are made of what these let through.
        arguments.extend(["session_start", "session_end", "symbols"].map(|name| (name, Argument::Value(Value::Null))));
        Ok(self.test.call(self.engine, function, &arguments)?.query())
    }

    /// Makes the parts and the tables, and refuses what `functions` would refuse in the end. None of the combinations is tried.
    ///
    /// # Errors
    /// What the functions' guards say, [`Error::Invalid`] for an objective that is none, [`Error::Timeout`], or what DuckDB says.
    pub fn prepare(&mut self, functions: &[&str], deadline: Option<Duration>) -> Result<()> {
        let thresholds = self.thresholds()?;
        self.parts = match self.search.samples {
            Some(_) => vec![Part::whole(&self.axes)],
            None => grid::parts(&self.axes, |name| thresholds.iter().any(|threshold| threshold == name)),
        };
        // As far as a trade can last.
        let after = Query::with_values("SELECT CAST(CAST(? AS DATE) + 520 AS VARCHAR)", vec![text(&self.test.end)]);
        let after = self.engine.text(after)?.unwrap_or_default();
        let days = [("first_date", &self.test.start), ("last_date", &after)].map(|(name, day)| (name, Argument::Value(text(day))));
        let closes = self.test.call(self.engine, "session_closes", &days)?.query();
        let bars = Query {
            sql: format!(
                "CREATE OR REPLACE TEMP TABLE {BARS} AS SELECT price.symbol, CAST(price.session_date AS TIMESTAMP) AS ts, price.open, \
                 greatest(price.open, price.close) AS high, least(price.open, price.close) AS low, price.close, 1 AS volume FROM ({}) AS price",
                closes.sql
            ),
            ..closes
        };
        self.engine.collect(&bars, deadline)?;
        if let Some(part) = self.parts.first() {
            self.engine.collect(&self.trades_of(part, "CREATE OR REPLACE TEMP TABLE", " LIMIT 0")?, deadline)?;
        }
        functions.iter().try_for_each(|function| self.try_out(self.of_trades(function)?, deadline))
    }

    /// Finds the trades of all combinations, once they are prepared, as far as there is time. `work_off` gets the number of parts, and what does one of them and says
    /// how many combinations are done by then; it does one after the other and says how many it did, and the error that stopped it.
    ///
    /// # Errors
    /// What stopped it, unless that was a deadline or an interruption; these, too, if nothing was done by then.
    pub fn trades(
        &self,
        started: Instant,
        deadline: Option<Duration>,
        work_off: impl FnOnce(usize, &mut dyn FnMut(usize) -> Result<usize>) -> Result<(usize, Option<Error>)>,
    ) -> Result<Tested> {
        let mut done = 0;
        let (parts_done, error) = work_off(self.parts.len(), &mut |place| {
            let part = &self.parts[place];
            self.engine.collect(&self.trades_of(part, "INSERT INTO", "")?, left(started, deadline)?)?;
            done += part.len().min(self.combinations);
            Ok(done)
        })?;
        let why = match (error, deadline) {
            (None, _) => return Ok(Tested { combinations: done, outcome: Ok(()) }),
            (Some(Error::Interrupted), _) => "stopped".to_owned(),
            (Some(Error::Timeout(_)), Some(deadline)) => format!("stopped after {deadline:?}, the time allowed,"),
            (Some(error), _) => return Err(error),
        };
        let parts = counted(self.parts.len() as u64, "part");
        if parts_done == 0 {
            return Err(Error::Stopped(format!("{why} in the first of {parts}: there is nothing to report")));
        }
        let said = format!(
            "{why} after {parts_done} of {parts}, {} of {}",
            grouped(&done.to_string()),
            counted(self.combinations as u64, "combination")
        );
        Ok(Tested { combinations: done, outcome: Err(Error::Stopped(said)) })
    }

    /// Makes the table of the results: [`RESULTS`].
    ///
    /// # Errors
    /// What DuckDB says.
    pub fn judge(&self) -> Result<()> {
        let results = self.of_trades("grid_results")?;
        let results = Query { sql: format!("CREATE OR REPLACE TEMP TABLE {RESULTS} AS {}", results.sql), ..results };
        self.engine.collect(&results, None).map(|_| ())
    }

    /// What says which combinations are tried.
    fn of_grid(&self, part: &Part) -> Vec<(&'static str, Argument)> {
        let mut arguments = vec![("grid", Argument::Value(part.grid(&self.axes)))];
        let definition = self.definition.as_deref().map(text);
        arguments.extend(definition.map(|definition| ("definition", Argument::Value(definition))));
        let samples = self.search.samples.map(|samples| Value::BigInt(i64::from(samples)));
        arguments.extend(samples.map(|samples| ("samples", Argument::Value(samples))));
        for (name, given) in [("sampling", &self.search.sampling), ("seed", &self.search.seed)] {
            arguments.extend(given.iter().map(|given| (name, given.clone())));
        }
        arguments
    }

    /// What says which of them is best.
    fn judging(&self) -> Vec<(&'static str, Argument)> {
        let objective = self.search.objective.iter().map(|objective| ("objective", Argument::Value(text(objective))));
        let others = [("folds", &self.search.folds), ("min_trades", &self.search.min_trades)];
        let others = others.into_iter().filter_map(|(name, given)| Some((name, given.clone()?)));
        objective.chain(others).collect()
    }

    /// What a parameter is if it is not given.
    fn usual(&self, name: &str) -> Result<String> {
        let found = self.engine.signature("grid_results")?.parameters.into_iter().find(|(parameter, _)| parameter == name);
        Ok(found.and_then(|(_, default)| default).unwrap_or_default())
    }

    /// The parameters that the scanner only compares with what it has found.
    fn thresholds(&self) -> Result<Vec<String>> {
        let mut thresholds = Vec::new();
        for axis in &self.axes {
            let query = Query::with_values(
                "SELECT CAST(is_threshold(?, ?, ?) AS VARCHAR)",
                vec![text(&self.test.function), text(&axis.name), self.definition.as_deref().map_or(Value::Null, text)],
            );
            if self.engine.text(query)?.as_deref() == Some("true") {
                thresholds.push(axis.name.clone());
            }
        }
        Ok(thresholds)
    }

    fn try_out(&self, query: Query, deadline: Option<Duration>) -> Result<()> {
        match self.engine.collect(&without_rows(query), deadline) {
            Err(Error::Database(message)) => Err(self.unknown_column(&message).unwrap_or(Error::Database(message))),
            other => other.map(|_| ()),
        }
    }

    /// What DuckDB says of a column that is not there, in words.
    fn unknown_column(&self, message: &str) -> Option<Error> {
        let (_, rest) = message.split_once("Referenced column \"")?;
        let (column, _) = rest.split_once('"')?;
        let columns = self.engine.columns_of_built_in("backtest_summary").ok()?;
        let near = nearest(column, columns.iter().map(|column| column.name.as_str()))
            .map_or(String::new(), |near| format!(" did you mean '{near}'?"));
        let known: Vec<&str> = columns.iter().map(|column| column.name.as_str()).collect();
        let place = if self.test.given == Given::Options { "--objective" } else { "objective" };
        Some(Error::Invalid(format!(
            "{place} '{}': the summary has no column '{column}';{near} it has {}",
            self.objective(),
            known.join(", ")
        )))
    }

    /// The statement that keeps the trades of a part.
    fn trades_of(&self, part: &Part, verb: &str, end: &str) -> Result<Query> {
        let trades = self.test.call(self.engine, "grid_trades", &self.of_grid(part))?.query();
        let number =
            if self.search.samples.is_some() { "trade.combination".to_owned() } else { part.number(&self.axes, "trade.combination") };
        let fields: Vec<String> = self.axes.iter().map(|axis| format!("{} {}", quoted(&axis.name), axis.sql_type)).collect();
        let as_table = if verb == "INSERT INTO" { "" } else { "AS " };
        Ok(Query {
            sql: format!(
                "{verb} {TRADES} {as_table}SELECT CAST({number} AS BIGINT) AS combination, CAST(trade.parameters AS STRUCT({})) AS parameters, \
                 trade.* EXCLUDE (combination, parameters) FROM ({}) AS trade{end}",
                fields.join(", "),
                trades.sql
            ),
            ..trades
        })
    }
}

/// What is left of the time.
fn left(started: Instant, deadline: Option<Duration>) -> Result<Option<Duration>> {
    let Some(deadline) = deadline else { return Ok(None) };
    let left = deadline.checked_sub(started.elapsed()).filter(|left| !left.is_zero());
    left.map(Some).ok_or(Error::Timeout(deadline))
}

/// The definition of a scanner that is not built in, if it can be taken apart.
fn definition(engine: &Engine, test: &Test) -> Result<Option<String>> {
    let Some(definition) = engine.create_macro(&test.function)? else { return Ok(None) };
    let query = Query::with_values("SELECT is_threshold(?, 'none', ?)", vec![text(&test.function), text(&definition)]);
    Ok(engine.collect(&query, None).is_ok().then_some(definition))
}
