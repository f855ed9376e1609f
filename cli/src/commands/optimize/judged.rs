//! What the trades of a grid come to: for people, for machines, and as a drawing.

use stockscan_backtests::{Axis, RESULTS, Tested};
use stockscan_engine::{Column, Query, Result, quoted, quoted_text};

use super::Work;
use crate::{
    commands::{
        counted, text,
        trading::{lines, said_value},
        wrapped,
    },
    plots,
    rows::Rows,
    table::{self, Numbers, grouped},
};

/// What the trades come to, fold by fold, for a drawing.
const PERFORMANCES: &str = "stockscan_performances";

/// So many combinations are shown to people.
const SHOWN: u32 = 20;

impl Work<'_> {
    /// The combinations for a machine, each parameter a column of its own where there are no structures.
    pub(super) fn results(&self, is_flat: bool) -> Result<Query> {
        let columns = if is_flat {
            let own = self.grid.axes.iter().zip(self.own_columns()?);
            let own: Vec<String> =
                own.map(|(axis, column)| format!("result.parameters.{} AS {}", quoted(&axis.name), quoted(&column))).collect();
            format!("result.rank, result.combination, {}, result.* EXCLUDE (rank, combination, parameters)", own.join(", "))
        } else {
            "result.*".to_owned()
        };
        let limit = self.optimize.top.map_or(String::new(), |top| format!(" LIMIT {top}"));
        Ok(Query::plain(format!("SELECT {columns} FROM {RESULTS} AS result ORDER BY result.rank{limit}")))
    }

    /// The value of a parameter as SQL, as a person would write it.
    fn shown(axis: &Axis) -> String {
        format!("coalesce(regexp_replace(CAST(found.parameters.{} AS VARCHAR), '\\.0$', ''), 'NULL')", quoted(&axis.name))
    }

    /// All values of a combination as SQL, in one text.
    fn all_shown(&self) -> String {
        let parts: Vec<String> =
            self.grid.axes.iter().map(|axis| format!("{} || {}", quoted_text(&format!("{} = ", axis.name)), Work::shown(axis))).collect();
        format!("CASE WHEN found.combination IS NOT NULL THEN concat_ws(', ', {}) END", parts.join(", "))
    }

    /// Everything a person should read, the verdict first.
    pub(super) fn said(&self, tested: &Tested, width: Option<u16>) -> Result<String> {
        let columns = usize::from(width.unwrap_or(120)).min(140);
        let paragraph = |text: &str| wrapped(text, columns, "");
        let bold = |text: &str| console::style(text.to_owned()).bold().to_string();

        let report = self.of_trades("grid_report")?;
        let report = Query { sql: format!("SELECT found.*, {} AS shown FROM ({}) AS found", self.all_shown(), report.sql), ..report };
        let report = self.rows(&report)?;
        let results = self.best()?;

        let varied: Vec<&str> = self.grid.axes.iter().map(|axis| axis.name.as_str()).collect();
        let done = match tested.combinations {
            done if done == self.grid.combinations => counted(done as u64, "combination"),
            done => format!("{} of {}", grouped(&done.to_string()), counted(self.grid.combinations as u64, "combination")),
        };
        let sessions = report.text("sessions")?.and_then(|sessions| sessions.parse().ok()).unwrap_or_default();
        let title = format!("{} ({}): {done}, the best by {}", self.title(), counted(sessions, "session"), self.grid.objective());
        let mut said = vec![bold(&paragraph(&title))];
        for axis in &self.grid.axes {
            said.push(paragraph(&format!("{} = {}", axis.name, axis.values.iter().map(said_value).collect::<Vec<_>>().join(", "))));
        }
        said.extend(lines(&self.grid.test, &varied).iter().map(|line| paragraph(line)));

        let verdict = report.text("verdict")?.unwrap_or_default();
        let painted = match verdict.as_str() {
            "evidence" => console::style(verdict.clone()).green().bold(),
            "weak evidence" => console::style(verdict.clone()).yellow().bold(),
            _ => console::style(verdict.clone()).red().bold(),
        };
        said.push(format!("\n{} {painted}", bold("Verdict:")));
        said.push(paragraph(&report.text("reason")?.unwrap_or_default()));
        if report.text("combination")?.is_some() {
            said.push(self.side_by_side(&report, &results, columns)?);
        }

        let folds = self.folds()?;
        if folds.len() > 0 {
            said.push(format!("\n{}", bold("Walk-forward")));
            said.push(paragraph(
                "Each fold was traded with what was the best of all folds before: train_objective there, objective in the fold, \
                 where the median combination had median_objective.",
            ));
            said.push(self.table(
                &folds,
                &[
                    "fold",
                    "first_date",
                    "last_date",
                    "train_objective",
                    "objective",
                    "median_objective",
                    "trades",
                    "total_return_pct",
                    "chosen",
                ],
                &["fold", "first_date", "train_objective", "objective", "median_objective", "chosen"],
                width,
            )?);
        }

        said.push(bold("Parameters"));
        said.push(paragraph(
            "The objective over all combinations that have a value: neighbours that fare alike, and a choice that lasts from fold to fold, are \
             stable; a best value that stands alone has been fitted to noise.",
        ));
        let parameters = self.of_trades("grid_parameters")?;
        let parameters = self.rows(&Query {
            sql: format!(
                "SELECT value.* EXCLUDE (value, folds_chosen, folds_tested), \
                 coalesce(regexp_replace(value.value, '\\.0$', ''), 'NULL') AS value, \
                 value.folds_chosen || ' of ' || value.folds_tested AS folds_chosen FROM ({}) AS value",
                parameters.sql
            ),
            ..parameters
        })?;
        let all = [
            "parameter",
            "value",
            "combinations",
            "mean_objective",
            "median_objective",
            "best_objective",
            "out_of_sample_objective",
            "folds_chosen",
        ];
        let few = ["parameter", "value", "mean_objective", "best_objective", "out_of_sample_objective", "folds_chosen"];
        said.push(self.table(&parameters, &all, &few, width)?);

        said.push(bold(&match results.len() {
            count if count == tested.combinations => "All combinations".to_owned(),
            count => format!("The best {count} of {}", counted(tested.combinations as u64, "combination")),
        }));
        let own = self.own_columns()?;
        let has_sharpe = self.grid.objective() != "sharpe";
        let numbers = [
            "objective",
            "trades",
            "hit_rate_pct",
            "mean_return_pct",
            "sharpe",
            "deflated_sharpe_ratio",
            "out_of_sample_objective",
            "max_drawdown_pct",
        ];
        let numbers: Vec<&str> = numbers.into_iter().filter(|name| has_sharpe || *name != "sharpe").collect();
        let wide: Vec<&str> = std::iter::once("rank").chain(own.iter().map(String::as_str)).chain(numbers.iter().copied()).collect();
        let narrow: Vec<&str> = ["rank", "objective", "trades", "deflated_sharpe_ratio", "out_of_sample_objective", "parameters"].to_vec();
        said.push(self.table(&results, &wide, &narrow, width)?);
        Ok(said.join("\n").trim_end().to_owned() + "\n")
    }

    fn title(&self) -> String {
        format!("Grid of {}, {} to {}", self.grid.test.scanner, self.grid.test.start, self.grid.test.end)
    }

    /// A table of some columns, of fewer where there is no room for them.
    fn table(&self, rows: &Rows, wide: &[&str], narrow: &[&str], width: Option<u16>) -> Result<String> {
        let all = rows.only(wide)?.batch;
        let batch = match width {
            Some(width) if !table::fits(&all.schema(), std::slice::from_ref(&all), Numbers::Rounded, width)? => rows.only(narrow)?.batch,
            _ => all,
        };
        table::render(&batch.schema(), &[batch], Numbers::Rounded, width, &[], &[])
    }

    /// The names of the parameters' own columns beside those of the results.
    fn own_columns(&self) -> Result<Vec<String>> {
        let taken = self.engine.columns_of_built_in("grid_results")?;
        let name = |axis: &Axis| match taken.iter().any(|column| column.name == axis.name) {
            true => format!("parameters.{}", axis.name),
            false => axis.name.clone(),
        };
        Ok(self.grid.axes.iter().map(name).collect())
    }

    /// The best combinations, for people.
    fn best(&self) -> Result<Rows> {
        let own = self.grid.axes.iter().zip(self.own_columns()?);
        let own: Vec<String> = own.map(|(axis, column)| format!("{} AS {}", Work::shown(axis), quoted(&column))).collect();
        self.rows(&Query::plain(format!(
            "SELECT found.* EXCLUDE (parameters), {}, {} AS parameters FROM {RESULTS} AS found ORDER BY found.rank LIMIT {}",
            own.join(", "),
            self.all_shown(),
            self.optimize.top.unwrap_or(SHOWN)
        )))
    }

    /// The folds of the walk-forward, for people.
    fn folds(&self) -> Result<Rows> {
        let folds = self.of_trades("grid_walk_forward")?;
        self.rows(&Query {
            sql: format!(
                "SELECT found.*, coalesce({}, 'none: too few trades before') AS chosen FROM ({}) AS found ORDER BY found.fold",
                self.all_shown(),
                folds.sql
            ),
            ..folds
        })
    }

    /// What the best combination looks like, what it was worth to choose it, and how much of that is luck.
    fn side_by_side(&self, report: &Rows, results: &Rows, width: usize) -> Result<String> {
        let number = |rows: &Rows, column: &str, decimals: usize| -> Result<String> {
            Ok(rows.number(column)?.map_or("–".to_owned(), |number| grouped(&format!("{number:.decimals$}"))))
        };
        let documented = |function: &str| self.engine.columns_of_built_in(function);
        let meaning = |columns: &[Column], name: &str| {
            let column = columns.iter().find(|column| column.name == name);
            let unit = column.and_then(|column| column.unit.as_deref()).map_or(String::new(), |unit| format!("{unit}, "));
            format!("{unit}{}", column.map(|column| column.meaning.as_str()).unwrap_or_default())
        };
        let (summary, of_report) = (documented("backtest_summary")?, documented("grid_report")?);

        let mut said = wrapped(
            &format!(
                "The best combination is {}. In sample are its numbers, chosen with all sessions known; out of sample are those of the walk-forward, \
                 which at the start of each fold chose with what was known by then.",
                report.text("shown")?.unwrap_or_default()
            ),
            width,
            "",
        );
        said.insert(0, '\n');
        let mut pairs = vec![Line::new("", ["in sample".to_owned(), "out of sample".to_owned()], String::new())];
        for (name, out_of_sample, decimals) in [
            ("trades", "out_of_sample_trades", 0),
            ("hit_rate_pct", "out_of_sample_hit_rate_pct", 2),
            ("mean_return_pct", "out_of_sample_mean_return_pct", 2),
            ("total_return_pct", "out_of_sample_total_return_pct", 2),
            ("max_drawdown_pct", "out_of_sample_max_drawdown_pct", 2),
            ("sharpe", "out_of_sample_sharpe", 2),
            ("benchmark_return_pct", "benchmark_return_pct", 2),
        ] {
            let numbers = [number(results, name, decimals)?, number(report, out_of_sample, decimals)?];
            pairs.push(Line::new(name, numbers, if name == "trades" { String::new() } else { meaning(&summary, name) }));
        }
        let mut luck = Vec::new();
        for name in ["objective", "expected_maximum_sharpe", "deflated_sharpe_ratio", "probability_of_backtest_overfitting"] {
            if name != "objective" || self.grid.objective() != "sharpe" {
                luck.push(Line::new(name, [number(report, name, 2)?], meaning(&of_report, name)));
            }
        }
        Ok(format!("{said}\n{}\n\n{}", aligned(&pairs, width), aligned(&luck, width)))
    }

    /// The objective over two parameters, and how much of it was left out of sample.
    pub(super) fn svg(&self) -> Result<String> {
        let own = self.grid.axes.iter().enumerate().map(|(place, axis)| {
            let name = quoted(&axis.name);
            format!(
                "{} AS value_{place}, dense_rank() OVER (ORDER BY found.parameters.{name} NULLS LAST) - 1 AS place_{place}",
                Work::shown(axis)
            )
        });
        let own: Vec<String> = own.collect();
        let results =
            self.rows(&Query::plain(format!("SELECT found.objective, found.enough_trades, {} FROM {RESULTS} AS found", own.join(", "))))?;

        let performances = self.grid.of_trades("grid_performance")?;
        self.engine.collect(
            &Query { sql: format!("CREATE OR REPLACE TEMP TABLE {PERFORMANCES} AS {}", performances.sql), ..performances },
            None,
        )?;
        let folds = self.rows(&Query::with_values(
            format!(
                "WITH judged AS (FROM query(objective_query(?, '{PERFORMANCES}', 'optimize'))) \
                 SELECT train.fold, train.objective AS train, test.objective AS test, train.trades >= CAST(? AS BIGINT) AS enough_trades \
                 FROM judged AS train \
                 JOIN judged AS test ON test.combination = train.combination AND test.fold = train.fold AND test.part = 'test' \
                 WHERE train.part = 'train' AND train.objective IS NOT NULL AND test.objective IS NOT NULL ORDER BY train.fold, train.combination"
            ),
            vec![text(self.grid.objective()), text(&self.grid.min_trades()?)],
        ))?;
        let names: Vec<&str> = self.grid.axes.iter().map(|axis| axis.name.as_str()).collect();
        plots::optimize::svg(&self.title(), &lines(&self.grid.test, &names), self.grid.objective(), &names, &results, &folds)
    }
}

/// Numbers with a name and what they mean.
struct Line<const COUNT: usize> {
    name: String,
    numbers: [String; COUNT],
    meaning: String,
}

impl<const COUNT: usize> Line<COUNT> {
    fn new(name: &str, numbers: [String; COUNT], meaning: String) -> Line<COUNT> {
        Line { name: name.to_owned(), numbers, meaning }
    }
}

/// Lines below each other. Without room for a meaning the numbers stand alone.
fn aligned<const COUNT: usize>(lines: &[Line<COUNT>], width: usize) -> String {
    let name_width = lines.iter().map(|line| line.name.len()).max().unwrap_or_default();
    let number_width = lines.iter().flat_map(|line| &line.numbers).map(|number| number.chars().count()).max().unwrap_or_default();
    let shown = lines.iter().map(|line| {
        let numbers: Vec<String> = line.numbers.iter().map(|number| format!("  {number:>number_width$}")).collect();
        let start = format!("  {:<name_width$}{}  ", line.name, numbers.concat());
        let indent = " ".repeat(start.chars().count());
        let meaning = if width < indent.len() + 20 { String::new() } else { wrapped(&line.meaning, width, &indent) };
        format!("{start}{}", meaning.trim_start()).trim_end().to_owned()
    });
    shown.collect::<Vec<_>>().join("\n")
}
