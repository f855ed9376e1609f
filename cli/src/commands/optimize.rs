//! `scanner optimize`

mod judged;

use std::{
    io::{self, Write},
    time::Instant,
};

use stockscan_backtests::{Optimization, Search, Test, Tested};
use stockscan_engine::{Argument, Engine, Query, Result};

use super::{
    Access, counted, open, say,
    trading::{announce, is_free, note, seconds, test},
};
use crate::{
    arguments::{Format, Global, Optimize},
    grid, output, plots, progress,
    rows::Rows,
    table::{Numbers, grouped},
};

pub(crate) fn run(global: &Global, optimize: &Optimize) -> Result<()> {
    let engine = open(global, Access::Read)?;
    let test = test(&engine, global, &optimize.trading, "optimize")?;
    let grid = Optimization::new(&engine, test, search(optimize)?)?;
    let mut work = Work { grid, engine: &engine, global, optimize, found: None };
    if optimize.sql {
        return Ok(writeln!(io::stdout(), "{}", Test::sql(work.grid.whole()?))?);
    }
    // Before the work, not after it.
    let drawing = optimize.plot.as_deref().map(plots::Drawing::create).transpose()?;
    let format = output::format(&optimize.output)?;
    let started = Instant::now();
    announce(global, &work.grid.test);
    let tested = work.trades(format == Format::Table, started)?;
    let tested_in = started.elapsed().as_secs_f64();
    progress::shown(&engine, global, "judging", || work.grid.judge())?;
    work.write(&tested, format)?;
    if !global.quiet {
        let judged_in = started.elapsed().as_secs_f64() - tested_in;
        say(&format!("{} in {tested_in:.2} s, judged in {judged_in:.2} s", counted(tested.combinations as u64, "combination")));
    }
    work.warn();
    if let Some(drawing) = drawing {
        let svg = progress::shown(&engine, global, "drawing", || work.svg())?;
        let path = drawing.finish(&svg)?;
        if !global.quiet {
            say!("drew {path}");
        }
    }
    tested.outcome
}

/// What is searched, and how.
pub(crate) fn search(optimize: &Optimize) -> Result<Search> {
    let text = |given: &Option<String>| given.clone().map(Argument::Text);
    Ok(Search {
        grid: grid::read(&optimize.grid)?,
        objective: optimize.objective.clone(),
        folds: text(&optimize.folds),
        min_trades: text(&optimize.min_trades),
        samples: optimize.samples,
        sampling: text(&optimize.sampling),
        seed: text(&optimize.seed),
    })
}

/// What says what a function of the trades came to elsewhere; its query here tells the columns.
type Found<'a> = &'a dyn Fn(&str, &Query) -> Result<Query>;

/// Reports what was found elsewhere, with its results in the table of the results.
pub(crate) fn report(
    engine: &Engine,
    global: &Global,
    optimize: &Optimize,
    grid: Optimization<'_>,
    tested: Tested,
    found: Found<'_>,
) -> Result<()> {
    let work = Work { grid, engine, global, optimize, found: Some(found) };
    work.write(&tested, output::format(&optimize.output)?)?;
    work.warn();
    tested.outcome
}

struct Work<'a> {
    engine: &'a Engine,
    global: &'a Global,
    optimize: &'a Optimize,
    grid: Optimization<'a>,
    /// `None`: all of it is here.
    found: Option<Found<'a>>,
}

impl Work<'_> {
    /// A query of what the trades came to.
    fn of_trades(&self, function: &str) -> Result<Query> {
        let here = self.grid.of_trades(function)?;
        self.found.map_or(Ok(here.clone()), |found| found(function, &here))
    }

    fn write(&self, tested: &Tested, format: Format) -> Result<()> {
        if format == Format::Table {
            let width = output::width(&self.optimize.output);
            let said = progress::shown(self.engine, self.global, "judging", || self.said(tested, width))?;
            output::write_text(&said, &self.optimize.output)
        } else {
            output::write(self.engine, &self.results(format == Format::Csv)?, None, &self.optimize.output, Numbers::Exact).map(|_| ())
        }
    }

    fn warn(&self) {
        if is_free(&self.grid.test) {
            note(
                self.global,
                "nothing was charged for trading: --cost-bps and --slippage-bps are 0, and the best combination may be the one that trades most",
            );
        }
    }

    fn rows(&self, query: &Query) -> Result<Rows> {
        Rows::of(self.engine, query, None)
    }

    /// Finds the trades of all combinations, as far as there is time.
    fn trades(&mut self, is_for_people: bool, started: Instant) -> Result<Tested> {
        let function = if is_for_people { "grid_walk_forward" } else { "grid_results" };
        let deadline = seconds(self.optimize.timeout);
        let (engine, global) = (self.engine, self.global);
        progress::shown(engine, global, "reading", || self.grid.prepare(&[function], deadline))?;
        self.grid.trades(started, deadline, |parts, work| {
            progress::shown_in_parts(engine, global, "testing part", parts, |place| {
                let started = Instant::now();
                let done = work(place)?;
                if global.verbose {
                    say!(
                        "part {} of {parts}: {} of {} in {:.2} s",
                        place + 1,
                        grouped(&done.to_string()),
                        counted(self.grid.combinations as u64, "combination"),
                        started.elapsed().as_secs_f64()
                    );
                }
                Ok(())
            })
        })
    }
}
