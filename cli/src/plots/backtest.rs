//! A backtest: equity and drawdown beside those of the benchmark, and how the trades' returns are distributed.

use plotters::prelude::*;
use stockscan_engine::Result;

use super::{Area, BLUE, FONT, GREY, HEADING, INK, Key, LEFT, LIGHT, VERMILION, failed, heading, page, range_of, ticks};
use crate::rows::Rows;

/// The drawing. `daily` are the rows of `backtest_daily()`, `trades` those of `backtest()`.
pub(crate) fn svg(title: &str, lines: &[String], daily: &Rows, trades: &Rows) -> Result<String> {
    let dates: Vec<String> = daily.texts("session_date")?.into_iter().map(Option::unwrap_or_default).collect();
    let amounts = trades.numbers("amount")?;
    let returns: Vec<f64> = trades
        .numbers("net_return_pct")?
        .into_iter()
        .zip(amounts)
        .filter_map(|(gain, amount)| gain.filter(|_| amount.is_some_and(|amount| amount > 0.0)))
        .collect();
    page(title, lines, 1020, |area| {
        let (equity, rest) = area.split_vertically(410);
        let (drawdown, histogram) = rest.split_vertically(240);
        let lines = |own: &str, benchmark: &str| -> Result<[Vec<Option<f64>>; 2]> { Ok([daily.numbers(own)?, daily.numbers(benchmark)?]) };
        over_time(&equity, "Equity", "currency", &dates, &lines("equity", "benchmark_equity")?, None)?;
        over_time(
            &drawdown,
            "Drawdown: how far below the highest so far",
            "%",
            &dates,
            &lines("drawdown_pct", "benchmark_drawdown_pct")?,
            Some(0.0),
        )?;
        distribution(&histogram, &returns)
    })
}

/// Two lines over the sessions; with a level, what lies between it and the first is filled.
fn over_time(area: &Area<'_>, title: &str, unit: &str, dates: &[String], values: &[Vec<Option<f64>>; 2], level: Option<f64>) -> Result<()> {
    let mut range = range_of(values.iter().flatten().flatten().copied().chain(level));
    if let Some(level) = level {
        range.end = range.end.min(level + (level - range.start) * 0.02);
    }
    let last = dates.len().saturating_sub(1).max(1);
    let keys = [("backtest", Key::Line(BLUE)), ("benchmark: every symbol, bought and held", Key::Thin(GREY))];
    heading(area, title, &keys.map(|(label, key)| (label.to_owned(), key)))?;
    let mut chart = ChartBuilder::on(area)
        .margin_left(14)
        .margin_right(30)
        .margin_top(HEADING)
        .x_label_area_size(30)
        .y_label_area_size(LEFT - 14)
        .build_cartesian_2d(0..last, range.clone())
        .map_err(failed)?;
    let ticks = ticks(&range);
    chart
        .configure_mesh()
        .x_labels(8)
        .y_labels(6)
        .x_label_formatter(&|place| dates.get(*place).cloned().unwrap_or_default())
        .y_label_formatter(&ticks)
        .y_desc(unit)
        .label_style((FONT, 12).into_font().color(&GREY))
        .axis_desc_style((FONT, 12).into_font().color(&GREY))
        .axis_style(LIGHT)
        .bold_line_style(LIGHT)
        .light_line_style(TRANSPARENT)
        .draw()
        .map_err(failed)?;
    let points = |values: &[Option<f64>]| -> Vec<(usize, f64)> {
        values.iter().enumerate().filter_map(|(place, value)| value.map(|value| (place, value))).collect()
    };
    chart.draw_series(LineSeries::new(points(&values[1]), GREY.stroke_width(1))).map_err(failed)?;
    if let Some(level) = level {
        chart.draw_series(AreaSeries::new(points(&values[0]), level, BLUE.mix(0.15))).map_err(failed)?;
    }
    chart.draw_series(LineSeries::new(points(&values[0]), BLUE.stroke_width(2))).map_err(failed)?;
    Ok(())
}

/// How many trades came to which return.
fn distribution(area: &Area<'_>, returns: &[f64]) -> Result<()> {
    let bins = Bins::of(returns);
    let range = bins.start()..bins.end();
    let most = bins.counts.iter().copied().max().unwrap_or(0).max(1);
    let mut keys = vec![("losses".to_owned(), Key::Bar(VERMILION)), ("gains".to_owned(), Key::Bar(BLUE))];
    let mean = returns.iter().sum::<f64>() / returns.len().max(1) as f64;
    if !returns.is_empty() {
        keys.push((format!("mean, {mean:.2} %"), Key::Thin(INK)));
    }
    heading(area, &format!("Net returns of the {} trades", returns.len()), &keys)?;
    let mut chart = ChartBuilder::on(area)
        .margin_left(14)
        .margin_right(30)
        .margin_top(HEADING)
        .margin_bottom(8)
        .x_label_area_size(45)
        .y_label_area_size(LEFT - 14)
        .build_cartesian_2d(range.clone(), 0..most + most.div_ceil(12))
        .map_err(failed)?;
    let ticks = ticks(&range);
    chart
        .configure_mesh()
        .x_labels(12)
        .y_labels(5)
        .x_label_formatter(&ticks)
        .x_desc("net return of a trade, %")
        .y_desc("trades")
        .disable_x_mesh()
        .label_style((FONT, 12).into_font().color(&GREY))
        .axis_desc_style((FONT, 12).into_font().color(&GREY))
        .axis_style(LIGHT)
        .bold_line_style(LIGHT)
        .light_line_style(TRANSPARENT)
        .draw()
        .map_err(failed)?;
    for (colour, is_gain) in [(VERMILION, false), (BLUE, true)] {
        let bars = bins.counts.iter().enumerate().filter(|(place, count)| **count > 0 && bins.is_gain(*place) == is_gain);
        let bars = bars.map(|(place, count)| Rectangle::new([(bins.edge(place), 0), (bins.edge(place + 1), *count)], colour.filled()));
        chart.draw_series(bars).map_err(failed)?;
    }
    if !returns.is_empty() {
        let line = PathElement::new([(mean, 0), (mean, most + most.div_ceil(12))], INK.stroke_width(1));
        chart.draw_series([line]).map_err(failed)?;
    }
    Ok(())
}

/// Counts of numbers between edges of equal distance, one of which is zero.
struct Bins {
    width: f64,
    /// The first edge, in widths from zero.
    first: i64,
    counts: Vec<usize>,
}

impl Bins {
    /// As wide as D. Freedman and P. Diaconis, On the histogram as a density estimator, 1981, have them, rounded.
    fn of(numbers: &[f64]) -> Bins {
        let mut sorted = numbers.to_vec();
        sorted.sort_by(f64::total_cmp);
        let (Some(least), Some(most)) = (sorted.first(), sorted.last()) else {
            return Bins { width: 1.0, first: -1, counts: vec![0, 0] };
        };
        let quarter = |part: usize| sorted[(sorted.len() - 1) * part / 4];
        let wanted = 2.0 * (quarter(3) - quarter(1)) / (sorted.len() as f64).cbrt();
        let width = rounded(wanted.max((most - least) / 60.0).max(1e-6));
        let place = |number: f64| (number / width).floor() as i64;
        let first = place(*least);
        let mut counts = vec![0; usize::try_from(place(*most) - first).unwrap_or(0) + 1];
        for number in sorted {
            counts[usize::try_from(place(number) - first).unwrap_or(0)] += 1;
        }
        Bins { width, first, counts }
    }

    fn edge(&self, place: usize) -> f64 {
        (self.first + place as i64) as f64 * self.width
    }

    fn is_gain(&self, place: usize) -> bool {
        self.first + place as i64 >= 0
    }

    fn start(&self) -> f64 {
        self.edge(0).min(0.0) - self.width
    }

    fn end(&self) -> f64 {
        self.edge(self.counts.len()).max(0.0) + self.width
    }
}

/// The next of 1, 2, 5, 10 …
fn rounded(width: f64) -> f64 {
    let power = 10_f64.powf(width.log10().floor());
    [1.0, 2.0, 5.0, 10.0].map(|step| step * power).into_iter().find(|step| *step >= width * 0.999_999).unwrap_or(width)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bins_meet_at_zero_and_hold_every_number_once() {
        let numbers = [-1.2, -0.3, 0.0, 0.1, 0.4, 0.4, 2.6];
        let bins = Bins::of(&numbers);
        // The quarters are 0 - 0.3 and 0.4: 2 · 0.7 / 7^(1/3) = 0.73, next is 1.
        assert!((bins.width - 1.0).abs() < 1e-12);
        assert_eq!((bins.first, bins.counts.as_slice()), (-2, &[1, 1, 4, 0, 1][..]));
        assert_eq!(Bins::of(&[]).counts, [0, 0]);
        assert_eq!(Bins::of(&[0.5, 0.5]).counts, [2]);
    }

    #[test]
    fn widths_are_round() {
        for (given, expected) in [(0.73, 1.0), (0.12, 0.2), (0.03, 0.05), (20.0, 20.0), (0.001, 0.001)] {
            assert!((rounded(given) - expected).abs() < 1e-9, "{given}: {}", rounded(given));
        }
    }
}
