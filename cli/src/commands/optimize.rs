//! `scanner optimize`

mod judged;

use std::{
    io::{self, Write},
    time::{Duration, Instant},
};

use stockscan_engine::{Argument, Call, Engine, Error, Query, Result, Value, nearest, quoted};

use super::{
    Access, counted, open, say, text,
    trading::{Test, note, seconds},
};
use crate::{
    arguments::{Format, Global, Optimize},
    grid::{self, Axis, Part},
    output, plots, progress,
    rows::Rows,
    table::{Numbers, grouped},
};

/// The trades of the combinations that are done.
const TRADES: &str = "stockscan_grid_trades";
/// A bar for each symbol and session, which is all that is asked of the bars once there are trades.
const BARS: &str = "stockscan_session_bars";
/// What they come to, over the whole range.
const RESULTS: &str = "stockscan_grid_results";

pub(crate) fn run(global: &Global, optimize: &Optimize) -> Result<()> {
    let engine = open(global, Access::Read)?;
    let mut test = Test::new(&engine, global, &optimize.trading, "optimize")?;
    let scanner_parameters = engine.scanner_parameters(&test.scanner)?;
    let axes = grid::read(&optimize.grid, &engine.signature(&test.function)?, &scanner_parameters)?;
    if let Some((name, option)) = axes.iter().find_map(|axis| test.typed(&axis.name).map(|option| (&axis.name, option))) {
        return Err(Error::Invalid(format!("{name} is given with {option} and with --grid; expected one of them")));
    }
    axes.iter().for_each(|axis| test.vary(&axis.name));
    let combinations = match optimize.samples {
        Some(samples) => grid::combinations(&axes).unwrap_or(usize::MAX).min(samples as usize),
        None => grid::combinations(&axes)?,
    };
    let work = Work { definition: definition(&engine, &test)?, engine: &engine, global, optimize, test: &test, axes: &axes, combinations };
    if optimize.sql {
        return Ok(writeln!(io::stdout(), "{}", Test::sql(work.whole()?))?);
    }
    // Before the work, not after it.
    let drawing = optimize.plot.as_deref().map(plots::Drawing::create).transpose()?;
    let format = output::format(&optimize.output)?;
    let started = Instant::now();
    test.announce(global);
    let stopped = work.trades(format == Format::Table, started)?;
    let tested = started.elapsed().as_secs_f64();
    let results = work.of_trades("grid_results")?;
    let results = Query { sql: format!("CREATE OR REPLACE TEMP TABLE {RESULTS} AS {}", results.sql), ..results };
    progress::shown(&engine, global, "judging", || engine.collect(&results, None))?;
    if format == Format::Table {
        let said = progress::shown(&engine, global, "judging", || work.said(&stopped, output::width(&optimize.output)))?;
        output::write_text(&said, &optimize.output)?;
    } else {
        output::write(&engine, &work.results(format == Format::Csv)?, None, &optimize.output, Numbers::Exact)?;
    }
    if !global.quiet {
        let judged = started.elapsed().as_secs_f64() - tested;
        say(&format!("{} in {tested:.2} s, judged in {judged:.2} s", counted(stopped.combinations as u64, "combination")));
    }
    if test.is_free() {
        note(
            global,
            "nothing was charged for trading: --cost-bps and --slippage-bps are 0, and the best combination may be the one that trades most",
        );
    }
    if let Some(drawing) = drawing {
        let svg = progress::shown(&engine, global, "drawing", || work.svg())?;
        let path = drawing.finish(&svg)?;
        if !global.quiet {
            say!("drew {path}");
        }
    }
    stopped.outcome
}

/// What was done of the work, and the error to end with if it was not all.
struct Stopped {
    combinations: usize,
    outcome: Result<()>,
}

struct Work<'a> {
    engine: &'a Engine,
    global: &'a Global,
    optimize: &'a Optimize,
    test: &'a Test,
    axes: &'a [Axis],
    /// The `CREATE MACRO` of a scanner that is not built in.
    definition: Option<String>,
    /// How many are to be tried.
    combinations: usize,
}

/// The definition of a scanner that is not built in, if it can be taken apart.
fn definition(engine: &Engine, test: &Test) -> Result<Option<String>> {
    let Some(definition) = engine.create_macro(&test.function)? else { return Ok(None) };
    let query = Query::with_values("SELECT is_threshold(?, 'none', ?)", vec![text(&test.function), text(&definition)]);
    Ok(engine.collect(&query, None).is_ok().then_some(definition))
}

impl Work<'_> {
    /// All in one statement.
    fn whole(&self) -> Result<Call> {
        self.test.call(self.engine, "optimize", &[self.of_grid(&Part::whole(self.axes)), self.judging()].concat())
    }

    /// What says which combinations are tried.
    fn of_grid(&self, part: &Part) -> Vec<(&'static str, Argument)> {
        let mut arguments = vec![("grid", Argument::Value(part.grid(self.axes)))];
        let definition = self.definition.as_deref().map(text);
        arguments.extend(definition.map(|definition| ("definition", Argument::Value(definition))));
        let samples = self.optimize.samples.map(|samples| Value::BigInt(i64::from(samples)));
        arguments.extend(samples.map(|samples| ("samples", Argument::Value(samples))));
        for (name, given) in [("sampling", &self.optimize.sampling), ("seed", &self.optimize.seed)] {
            arguments.extend(given.iter().map(|given| (name, Argument::Text(given.clone()))));
        }
        arguments
    }

    /// What says which of them is best.
    fn judging(&self) -> Vec<(&'static str, Argument)> {
        let objective = self.optimize.objective.iter().map(|objective| ("objective", Argument::Value(text(objective))));
        let others = [("folds", &self.optimize.folds), ("min_trades", &self.optimize.min_trades)];
        let others = others.into_iter().filter_map(|(name, given)| Some((name, Argument::Text(given.clone()?))));
        objective.chain(others).collect()
    }

    /// What a parameter is if it is not given.
    fn usual(&self, name: &str) -> Result<String> {
        let found = self.engine.signature("grid_results")?.parameters.into_iter().find(|(parameter, _)| parameter == name);
        Ok(found.and_then(|(_, default)| default).unwrap_or_default())
    }

    fn objective(&self) -> &str {
        self.optimize.objective.as_deref().unwrap_or("sharpe")
    }

    /// A query of what the trades come to.
    fn of_trades(&self, function: &str) -> Result<Query> {
        let mut arguments = self.judging();
        if self.optimize.folds.is_none() {
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

    fn rows(&self, query: &Query) -> Result<Rows> {
        Rows::of(self.engine, query, None)
    }

    /// Finds the trades of all combinations, as far as there is time.
    fn trades(&self, is_for_people: bool, started: Instant) -> Result<Stopped> {
        let thresholds = self.thresholds()?;
        let parts = match self.optimize.samples {
            Some(_) => vec![Part::whole(self.axes)],
            None => grid::parts(self.axes, |name| thresholds.iter().any(|threshold| threshold == name)),
        };
        let deadline = seconds(self.optimize.timeout);
        let left = || -> Result<Option<Duration>> {
            let Some(deadline) = deadline else { return Ok(None) };
            let left = deadline.checked_sub(started.elapsed()).filter(|left| !left.is_zero());
            left.map(Some).ok_or(Error::Timeout(deadline))
        };
        progress::shown(self.engine, self.global, "reading", || self.prepare(&parts[0], left()?, is_for_people))?;

        let mut done = 0;
        let (parts_done, error) = progress::shown_in_parts(self.engine, self.global, "testing part", parts.len(), |place| {
            let part = &parts[place];
            let started = Instant::now();
            self.engine.collect(&self.trades_of(part, "INSERT INTO", "")?, left()?)?;
            done += part.len().min(self.combinations);
            if self.global.verbose {
                say!(
                    "part {} of {}: {} of {} in {:.2} s",
                    place + 1,
                    parts.len(),
                    grouped(&done.to_string()),
                    counted(self.combinations as u64, "combination"),
                    started.elapsed().as_secs_f64()
                );
            }
            Ok(())
        })?;
        let why = match (error, deadline) {
            (None, _) => return Ok(Stopped { combinations: done, outcome: Ok(()) }),
            (Some(Error::Interrupted), _) => "stopped".to_owned(),
            (Some(Error::Timeout(_)), Some(deadline)) => format!("stopped after {deadline:?}, the time allowed,"),
            (Some(error), _) => return Err(error),
        };
        if parts_done == 0 {
            return Err(Error::Stopped(format!(
                "{why} in the first of {}: there is nothing to report",
                counted(parts.len() as u64, "part")
            )));
        }
        let said = format!(
            "{why} after {parts_done} of {}, {} of {}",
            counted(parts.len() as u64, "part"),
            grouped(&done.to_string()),
            counted(self.combinations as u64, "combination")
        );
        Ok(Stopped { combinations: done, outcome: Err(Error::Stopped(said)) })
    }

    /// The parameters that the scanner only compares with what it has found.
    fn thresholds(&self) -> Result<Vec<String>> {
        let mut thresholds = Vec::new();
        for axis in self.axes {
            let query = Query::with_values(
                "SELECT is_threshold(?, ?, ?) AS is_threshold",
                vec![text(&self.test.function), text(&axis.name), self.definition.as_deref().map_or(Value::Null, text)],
            );
            if self.rows(&query)?.text("is_threshold")?.as_deref() == Some("true") {
                thresholds.push(axis.name.clone());
            }
        }
        Ok(thresholds)
    }

    /// Makes the tables, and refuses what would be refused in the end.
    fn prepare(&self, part: &Part, deadline: Option<Duration>, is_for_people: bool) -> Result<()> {
        // As far as a trade can last.
        let after = "SELECT CAST(CAST(? AS DATE) + 520 AS VARCHAR) AS day";
        let after = self.rows(&Query::with_values(after, vec![text(&self.test.end)]))?.text("day")?.unwrap_or_default();
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
        self.engine.collect(&self.trades_of(part, "CREATE OR REPLACE TEMP TABLE", " LIMIT 0")?, deadline)?;

        let function = if is_for_people { "grid_walk_forward" } else { "grid_results" };
        let judged = self.of_trades(function)?;
        let judged = Query { sql: format!("SELECT * FROM ({}) AS judged LIMIT 0", judged.sql), ..judged };
        match self.engine.collect(&judged, deadline) {
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
        Some(Error::Invalid(format!(
            "--objective '{}': the summary has no column '{column}';{near} it has {}",
            self.objective(),
            known.join(", ")
        )))
    }

    /// The statement that keeps the trades of a part.
    fn trades_of(&self, part: &Part, verb: &str, end: &str) -> Result<Query> {
        let trades = self.test.call(self.engine, "grid_trades", &self.of_grid(part))?.query();
        let number =
            if self.optimize.samples.is_some() { "trade.combination".to_owned() } else { part.number(self.axes, "trade.combination") };
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
