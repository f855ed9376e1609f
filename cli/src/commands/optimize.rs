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
    let text = |given: &Option<String>| given.clone().map(Argument::Text);
    let search = Search {
        grid: grid::read(&optimize.grid)?,
        objective: optimize.objective.clone(),
        folds: text(&optimize.folds),
        min_trades: text(&optimize.min_trades),
        samples: optimize.samples,
        sampling: text(&optimize.sampling),
        seed: text(&optimize.seed),
    };
    let mut work = Work { grid: Optimization::new(&engine, test, search)?, engine: &engine, global, optimize };
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
    if format == Format::Table {
        let said = progress::shown(&engine, global, "judging", || work.said(&tested, output::width(&optimize.output)))?;
        output::write_text(&said, &optimize.output)?;
    } else {
        output::write(&engine, &work.results(format == Format::Csv)?, None, &optimize.output, Numbers::Exact)?;
    }
    if !global.quiet {
        let judged_in = started.elapsed().as_secs_f64() - tested_in;
        say(&format!("{} in {tested_in:.2} s, judged in {judged_in:.2} s", counted(tested.combinations as u64, "combination")));
    }
    if is_free(&work.grid.test) {
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
    tested.outcome
}

struct Work<'a> {
    engine: &'a Engine,
    global: &'a Global,
    optimize: &'a Optimize,
    grid: Optimization<'a>,
}

impl Work<'_> {
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
