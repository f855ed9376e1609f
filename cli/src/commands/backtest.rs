//! `scanner backtest`

use std::{
    io::{self, Write},
    time::Instant,
};

use stockscan_backtests::Test;
use stockscan_engine::{Argument, Call, Column, Engine, Error, Query, Result};

use super::{
    Access, counted, open, say, text,
    trading::{self, announce, is_free, lines, note, seconds},
    wrapped,
};
use crate::{
    arguments::{Backtest, Format, Global},
    output, plots, progress,
    rows::Rows,
    table::{Numbers, grouped},
};

/// The summary, in the order in which a person reads it.
const GROUPS: [(&str, &[&str]); 6] = [
    (
        "Hits and trades",
        &[
            "sessions",
            "signals",
            "not_filled",
            "not_taken",
            "trades",
            "winners",
            "hit_rate_pct",
            "hit_rate_lower_pct",
            "hit_rate_upper_pct",
        ],
    ),
    (
        "A trade",
        &[
            "mean_return_pct",
            "median_return_pct",
            "mean_win_pct",
            "mean_loss_pct",
            "profit_factor",
            "expectancy",
            "mean_mfe_pct",
            "mean_mae_pct",
            "mean_minutes_held",
        ],
    ),
    ("Portfolio", &["total_profit", "final_equity", "total_return_pct", "annual_return_pct", "exposure_pct", "turnover"]),
    ("Risk", &["annual_volatility_pct", "sharpe", "sortino", "max_drawdown_pct", "longest_drawdown_sessions", "skewness", "kurtosis"]),
    ("Benchmark", &["benchmark_return_pct", "benchmark_sharpe", "benchmark_max_drawdown_pct"]),
    (
        "Best and worst",
        &[
            "best_session",
            "best_session_return_pct",
            "worst_session",
            "worst_session_return_pct",
            "best_symbol",
            "best_symbol_profit",
            "worst_symbol",
            "worst_symbol_profit",
        ],
    ),
];
/// In the title, or too long for a line.
const ELSEWHERE: [&str; 3] = ["first_date", "last_date", "session_returns"];

pub(crate) fn run(global: &Global, backtest: &Backtest) -> Result<()> {
    let engine = open(global, Access::Read)?;
    let test = trading::test(&engine, global, &backtest.trading, "backtest")?;
    let call = Kind::of(backtest).call(&engine, backtest, &test)?;
    if backtest.sql {
        return Ok(writeln!(io::stdout(), "{}", Test::sql(call))?);
    }
    report(&engine, global, backtest, &test, Instant::now(), |call| Ok(call.query()))
}

/// Writes what is asked for. `found`: the query of what a call of a function comes to.
pub(crate) fn report(
    engine: &Engine,
    global: &Global,
    backtest: &Backtest,
    test: &Test,
    started: Instant,
    found: impl Fn(&Call) -> Result<Query>,
) -> Result<()> {
    let rows = Kind::of(backtest);
    let call = rows.call(engine, backtest, test)?;
    // Before the work, not after it.
    let drawing = backtest.plot.as_deref().map(plots::Drawing::create).transpose()?;
    let is_for_people = output::format(&backtest.output)? == Format::Table;
    let deadline = seconds(backtest.timeout);
    announce(global, test);
    if rows.function == "backtest_summary" {
        let summary = progress::shown(engine, global, "testing", || Rows::of(engine, &found(&call)?, deadline))?;
        if is_for_people {
            let columns = engine.columns_of_built_in("backtest_summary")?;
            output::write_text(&said(test, &summary, &columns, output::width(&backtest.output))?, &backtest.output)?;
        } else {
            output::write_rows(&summary, &backtest.output, Numbers::Exact)?;
        }
        if !global.quiet {
            say!("{} in {:.2} s", counted(count(&summary, "signals")?, "hit"), started.elapsed().as_secs_f64());
            notes(global, test, &summary)?;
        }
    } else {
        if is_for_people && !global.quiet {
            say(&title(test));
            for line in lines(test, &[]) {
                say(&line);
            }
        }
        let count = progress::shown(engine, global, "testing", || {
            output::write_narrowed(engine, &found(&call)?, deadline, &backtest.output, Numbers::Rounded, rows.narrow)
        })?;
        if !global.quiet {
            say!("{} in {:.2} s", counted(count, rows.noun), started.elapsed().as_secs_f64());
            if count == 0 {
                say(&nothing_found(test));
            }
        }
    }
    if is_free(test) {
        note(global, "nothing was charged for trading: --cost-bps and --slippage-bps are 0");
    }
    if let Some(drawing) = drawing {
        draw(engine, global, backtest, test, drawing, found)?;
    }
    Ok(())
}

/// Which rows are asked for.
struct Kind {
    function: &'static str,
    /// What one of them is.
    noun: &'static str,
    /// The columns for a terminal that is too narrow for all.
    narrow: &'static [&'static str],
}

impl Kind {
    /// The call of its function.
    fn call(&self, engine: &Engine, backtest: &Backtest, test: &Test) -> Result<Call> {
        let bucket = backtest.by.iter().map(|bucket| ("bucket", Argument::Value(text(bucket))));
        let folds = backtest.folds.iter().map(|folds| ("folds", Argument::Text(folds.clone())));
        test.call(engine, self.function, &bucket.chain(folds).collect::<Vec<_>>())
    }

    fn of(backtest: &Backtest) -> Kind {
        if backtest.by.is_some() {
            Kind {
                function: "backtest_by",
                noun: "bucket",
                narrow: &[
                    "bucket",
                    "trades",
                    "hit_rate_pct",
                    "hit_rate_lower_pct",
                    "hit_rate_upper_pct",
                    "mean_return_pct",
                    "profit_factor",
                    "total_profit",
                ],
            }
        } else if backtest.trades {
            Kind {
                function: "backtest",
                noun: "hit",
                narrow: &["scan_date", "symbol", "entry_price", "exit_price", "exit_reason", "net_return_pct", "mae_pct", "profit"],
            }
        } else if backtest.daily {
            Kind {
                function: "backtest_daily",
                noun: "session",
                narrow: &[
                    "session_date",
                    "entered",
                    "profit",
                    "equity",
                    "return_pct",
                    "drawdown_pct",
                    "benchmark_return_pct",
                    "benchmark_drawdown_pct",
                ],
            }
        } else if backtest.calibrate {
            Kind {
                function: "calibrate",
                noun: "bucket",
                narrow: &[
                    "score_from",
                    "trades",
                    "hit_rate_pct",
                    "hit_rate_lower_pct",
                    "hit_rate_upper_pct",
                    "calibrated_hit_rate_pct",
                    "predicted_hit_rate_pct",
                    "out_of_sample_hit_rate_pct",
                ],
            }
        } else {
            Kind { function: "backtest_summary", noun: "", narrow: &[] }
        }
    }
}

fn title(test: &Test) -> String {
    format!("Backtest of {}, {} to {}", test.scanner, test.start, test.end)
}

fn count(summary: &Rows, column: &str) -> Result<u64> {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count")]
    Ok(summary.number(column)?.unwrap_or_default() as u64)
}

/// The summary as a text: what was tested, and a line for each number.
fn said(test: &Test, summary: &Rows, columns: &[Column], width: Option<u16>) -> Result<String> {
    let width = width.map_or(120, |width| usize::from(width).min(140));
    let bold = |text: &str| console::style(text.to_owned()).bold().to_string();
    let title = format!("{} ({})", title(test), counted(count(summary, "sessions")?, "session"));
    let mut said = format!("{}\n", bold(&wrapped(&title, width, "")));
    for line in lines(test, &[]) {
        said.push_str(&wrapped(&line, width, ""));
        said.push('\n');
    }

    let names = summary.names();
    let is_grouped = |name: &str| GROUPS.iter().any(|(_, group)| group.contains(&name));
    let others: Vec<&str> = names.iter().map(String::as_str).filter(|name| !is_grouped(name) && !ELSEWHERE.contains(name)).collect();
    let groups = GROUPS.iter().copied().chain([("Others", others.as_slice())]).filter(|(_, group)| !group.is_empty());
    let mut lines: Vec<Line<'_>> = Vec::new();
    for (heading, group) in groups {
        for (place, name) in group.iter().filter(|name| names.iter().any(|known| known == *name)).enumerate() {
            let column = columns.iter().find(|column| column.name == *name);
            let meaning = column.map(|column| column.meaning.as_str()).unwrap_or_default();
            let (unit, meaning) = match column.and_then(|column| column.unit.as_deref()) {
                Some("%") => ("%", meaning.to_owned()),
                Some(unit) => ("", format!("{unit}, {meaning}")),
                None => ("", meaning.to_owned()),
            };
            lines.push(Line { heading: (place == 0).then_some(heading), name, value: value(summary, name)?, unit, meaning });
        }
    }
    let name_width = lines.iter().map(|line| line.name.len()).max().unwrap_or_default();
    let value_width = lines.iter().map(|line| line.value.chars().count()).max().unwrap_or_default();
    for Line { heading, name, value, unit, meaning } in &lines {
        if let Some(heading) = heading {
            said.push_str(&format!("\n{}\n", bold(heading)));
        }
        let start = format!("  {name:<name_width$}  {value:>value_width$} {unit:<1}  ");
        let indent = " ".repeat(start.chars().count());
        let meaning = wrapped(meaning, width.max(indent.len() + 20), &indent);
        said.push_str(format!("{start}{}", meaning.trim_start()).trim_end());
        said.push('\n');
    }
    Ok(said)
}

/// One number of the summary.
struct Line<'a> {
    /// What the numbers from here on are about.
    heading: Option<&'a str>,
    name: &'a str,
    value: String,
    unit: &'a str,
    meaning: String,
}

/// A value of the first row, for reading.
fn value(rows: &Rows, column: &str) -> Result<String> {
    if rows.is_fractional(column) {
        return Ok(rows.number(column)?.map_or("–".to_owned(), |number| grouped(&format!("{number:.2}"))));
    }
    let text = rows.text(column)?.unwrap_or_else(|| "–".to_owned());
    Ok(if text.parse::<i64>().is_ok() { grouped(&text) } else { text })
}

fn nothing_found(test: &Test) -> String {
    format!("{} found nothing to trade; 'scanner run --explain' shows what its conditions leave, and --set changes them", test.scanner)
}

/// Where the numbers mean little.
fn notes(global: &Global, test: &Test, summary: &Rows) -> Result<()> {
    let [sessions, signals, not_filled, not_taken, trades] =
        ["sessions", "signals", "not_filled", "not_taken", "trades"].map(|column| count(summary, column));
    let (sessions, signals, not_filled, not_taken, trades) = (sessions?, signals?, not_filled?, not_taken?, trades?);
    if signals == 0 {
        note(global, &nothing_found(test));
    } else if trades > 0 && trades < 30 {
        let [lower, upper] = ["hit_rate_lower_pct", "hit_rate_upper_pct"].map(|column| value(summary, column));
        note(
            global,
            &format!("{} say little: the true hit rate may be anything from {} to {} %", counted(trades, "trade"), lower?, upper?),
        );
    }
    if not_taken * 5 > signals {
        note(
            global,
            &format!(
                "{} of {} found no place in the portfolio: see --max-positions, and --set max_results_per_day",
                grouped(&not_taken.to_string()),
                counted(signals, "hit")
            ),
        );
    }
    if not_filled * 5 > signals {
        note(global, &format!("{} of {} had no bar to enter or to leave by", grouped(&not_filled.to_string()), counted(signals, "hit")));
    }
    if trades > 0 && sessions < 63 {
        note(global, &format!("what is said of a year is made of {}", counted(sessions, "session")));
    }
    Ok(())
}

fn draw(
    engine: &Engine,
    global: &Global,
    backtest: &Backtest,
    test: &Test,
    drawing: plots::Drawing,
    found: impl Fn(&Call) -> Result<Query>,
) -> Result<()> {
    let rows = |function: &str| Rows::of(engine, &found(&test.call(engine, function, &[])?)?, seconds(backtest.timeout));
    let (daily, trades) = progress::shown(engine, global, "drawing", || Ok((rows("backtest_daily")?, rows("backtest")?)))?;
    if daily.len() == 0 {
        return Err(Error::Invalid("there is no session to draw".to_owned()));
    }
    let path = drawing.finish(&plots::backtest::svg(&title(test), &lines(test, &[]), &daily, &trades)?)?;
    if !global.quiet {
        say!("drew {path}");
    }
    Ok(())
}
