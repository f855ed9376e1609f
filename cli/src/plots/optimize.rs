//! A grid: the objective over its two largest parameters, and out of sample against in sample.

use plotters::{prelude::*, style::text_anchor::HPos};
use stockscan_engine::Result;

use super::{Area, BLUE, FONT, GREY, HEADING, INK, Key, LEFT, LIGHT, failed, heading, page, range_of, text, ticks};
use crate::rows::Rows;

/// So many dots are drawn; of more, every second, or third.
const MOST_DOTS: usize = 20_000;

/// The drawing. `results` has objective and enough_trades, and for each parameter `value_N`, its value as a text, and `place_N`, the place of
/// this among its values. `folds` has fold, train, test and enough_trades: the objective of a
/// combination before a fold and in it, and whether it had enough trades to be chosen.
pub(crate) fn svg(title: &str, lines: &[String], objective: &str, names: &[&str], results: &Rows, folds: &Rows) -> Result<String> {
    let axes = names.iter().enumerate().map(|(place, name)| Axis::read(name, place, results)).collect::<Result<Vec<_>>>()?;
    let objectives = results.numbers("objective")?;
    let is_enough: Vec<bool> = results.texts("enough_trades")?.iter().map(|text| text.as_deref() == Some("true")).collect();
    // Two lucky trades are no mountain, as long as there is anything else.
    let is_counted = |row: usize| is_enough[row] || !is_enough.contains(&true);
    let counted: Vec<Option<f64>> = objectives.iter().enumerate().map(|(row, value)| value.filter(|_| is_counted(row))).collect();
    let few = if is_enough.contains(&true) && is_enough.contains(&false) { ", without combinations of too few trades" } else { "" };

    let mut largest: Vec<&Axis> = axes.iter().filter(|axis| axis.values.len() > 1).collect();
    largest.sort_by_key(|axis| std::cmp::Reverse(axis.values.len()));
    let others = if axes.len() > largest.len().min(2) && largest.len() > 2 { ", the best over the other parameters" } else { "" };
    page(title, lines, 1080, |area| {
        let (upper, lower) = area.split_vertically(520);
        match largest.as_slice() {
            [across, up, ..] => {
                let title = format!("{objective} over {} and {}{others}{few}", across.name, up.name);
                heat_map(&upper, &title, objective, across, up, &counted)?;
            }
            [one] => line(&upper, &format!("{objective} over {}{few}", one.name), objective, one, &counted)?,
            [] => text(&upper, "There is but one combination", (500, 250), 15, &GREY, HPos::Center)?,
        }
        scatter(&lower, objective, folds)
    })
}

/// A parameter with its values from the lowest to the highest, NULL last.
struct Axis {
    name: String,
    values: Vec<String>,
    /// The place of each combination's value.
    places: Vec<usize>,
}

impl Axis {
    fn read(name: &str, number: usize, results: &Rows) -> Result<Axis> {
        let places: Vec<usize> =
            results.numbers(&format!("place_{number}"))?.into_iter().map(|place| place.unwrap_or_default() as usize).collect();
        let mut values = vec![String::new(); places.iter().max().map_or(0, |most| most + 1)];
        for (place, value) in places.iter().zip(results.texts(&format!("value_{number}"))?) {
            values[*place] = value.unwrap_or_default();
        }
        Ok(Axis { name: name.to_owned(), values, places })
    }
}

/// The highest of each cell.
fn highest(across: &Axis, up: &Axis, objectives: &[Option<f64>]) -> Vec<Vec<Option<f64>>> {
    let mut cells = vec![vec![None; up.values.len()]; across.values.len()];
    for ((x, y), value) in across.places.iter().zip(&up.places).zip(objectives) {
        let cell: &mut Option<f64> = &mut cells[*x][*y];
        *cell = match (*cell, *value) {
            (Some(one), Some(other)) => Some(one.max(other)),
            (one, other) => one.or(other),
        };
    }
    cells
}

/// A field of cells with its colour bar.
fn heat_map(area: &Area<'_>, title: &str, objective: &str, across: &Axis, up: &Axis, objectives: &[Option<f64>]) -> Result<()> {
    const TOP: i32 = HEADING;
    const RIGHT: i32 = 850;
    const BOTTOM: i32 = 450;
    let cells = highest(across, up, objectives);
    let found: Vec<f64> = cells.iter().flatten().flatten().copied().collect();
    let least = found.iter().copied().fold(f64::INFINITY, f64::min);
    let most = found.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let part = |value: f64| if most > least { (value - least) / (most - least) } else { 1.0 };
    let keys = if cells.iter().flatten().any(Option::is_none) { vec![("no value".to_owned(), Key::Bar(LIGHT))] } else { Vec::new() };
    heading(area, title, &keys)?;

    let place = |from: i32, to: i32, index: usize, count: usize| from + ((to - from) as f64 * index as f64 / count as f64).round() as i32;
    let x = |index: usize| place(LEFT, RIGHT, index, across.values.len());
    // The lowest value is the lowest row.
    let y = |index: usize| place(BOTTOM, TOP, index, up.values.len());
    let (cell_width, cell_height) = (x(1) - x(0), y(0) - y(1));
    let widest = found.iter().map(|value| format!("{value:.2}").len()).max().unwrap_or(0) as i32;
    let has_numbers = cell_height >= 16 && cell_width >= widest * 7 + 4;
    for (column, cells) in cells.iter().enumerate() {
        for (row, cell) in cells.iter().enumerate() {
            let corners = [(x(column), y(row + 1)), (x(column + 1), y(row))];
            let colour = cell.map_or(LIGHT, |value| viridis(part(value)));
            area.draw(&Rectangle::new(corners, colour.filled())).map_err(failed)?;
            if has_numbers {
                let middle = ((corners[0].0 + corners[1].0) / 2, (corners[0].1 + corners[1].1) / 2);
                let shown = cell.map_or("–".to_owned(), |value| format!("{value:.2}"));
                text(area, &shown, middle, 12, if is_dark(colour) { &WHITE } else { &INK }, HPos::Center)?;
            }
        }
    }
    let letters = |axis: &Axis| axis.values.iter().map(|value| value.chars().count()).max().unwrap_or(1) as i32;
    let every = |room: i32, needed: i32| usize::try_from((needed + room - 1) / room.max(1)).unwrap_or(1).max(1);
    for (index, value) in across.values.iter().enumerate().step_by(every(cell_width, letters(across) * 8 + 6)) {
        text(area, value, ((x(index) + x(index + 1)) / 2, BOTTOM + 14), 12, &GREY, HPos::Center)?;
    }
    for (index, value) in up.values.iter().enumerate().step_by(every(cell_height, 14)) {
        text(area, value, (LEFT - 8, (y(index) + y(index + 1)) / 2), 12, &GREY, HPos::Right)?;
    }
    text(area, &across.name, ((LEFT + RIGHT) / 2, BOTTOM + 38), 13, &INK, HPos::Center)?;
    let sideways = TextStyle::from((FONT, 13)).transform(FontTransform::Rotate270).color(&INK).pos(centred());
    area.draw_text(&up.name, &sideways, (24, (TOP + BOTTOM) / 2)).map_err(failed)?;
    if found.is_empty() {
        return text(area, "no combination has a value", ((LEFT + RIGHT) / 2, (TOP + BOTTOM) / 2), 14, &INK, HPos::Center);
    }

    for step in 0..100 {
        let corners = [(RIGHT + 30, place(BOTTOM, TOP, step + 1, 100)), (RIGHT + 50, place(BOTTOM, TOP, step, 100))];
        area.draw(&Rectangle::new(corners, viridis((step as f64 + 0.5) / 100.0).filled())).map_err(failed)?;
    }
    let shown = ticks(&(least..(least + (most - least) / 4.0)));
    for (value, height) in [(most, TOP), ((least + most) / 2.0, (TOP + BOTTOM) / 2), (least, BOTTOM)] {
        text(area, &shown(&value), (RIGHT + 56, height), 12, &GREY, HPos::Left)?;
    }
    text(area, &short(objective), (RIGHT + 40, BOTTOM + 20), 12, &GREY, HPos::Center)
}

/// One parameter.
fn line(area: &Area<'_>, title: &str, objective: &str, axis: &Axis, objectives: &[Option<f64>]) -> Result<()> {
    let points: Vec<(f64, f64)> = {
        let mut points: Vec<(usize, f64)> =
            axis.places.iter().zip(objectives).filter_map(|(place, value)| value.map(|value| (*place, value))).collect();
        points.sort_by_key(|(place, _)| *place);
        points.into_iter().map(|(place, value)| (place as f64, value)).collect()
    };
    let range = range_of(points.iter().map(|(_, value)| *value));
    heading(area, title, &[])?;
    let mut chart = ChartBuilder::on(area)
        .margin_left(14)
        .margin_right(30)
        .margin_top(HEADING)
        .margin_bottom(20)
        .x_label_area_size(50)
        .y_label_area_size(LEFT - 14)
        .build_cartesian_2d(-0.5..axis.values.len() as f64 - 0.5, range.clone())
        .map_err(failed)?;
    let ticks = ticks(&range);
    let value_at = |place: &f64| {
        let is_whole = (place - place.round()).abs() < 1e-6 && *place > -0.5;
        if is_whole { axis.values.get(place.round() as usize).cloned().unwrap_or_default() } else { String::new() }
    };
    chart
        .configure_mesh()
        .x_labels(axis.values.len().min(20))
        .y_labels(8)
        .x_label_formatter(&value_at)
        .y_label_formatter(&ticks)
        .x_desc(axis.name.as_str())
        .y_desc(short(objective))
        .disable_x_mesh()
        .label_style((FONT, 12).into_font().color(&GREY))
        .axis_desc_style((FONT, 13).into_font().color(&INK))
        .axis_style(LIGHT)
        .bold_line_style(LIGHT)
        .light_line_style(TRANSPARENT)
        .draw()
        .map_err(failed)?;
    chart.draw_series(LineSeries::new(points.clone(), BLUE.stroke_width(2))).map_err(failed)?;
    chart.draw_series(points.into_iter().map(|point| Circle::new(point, 4, BLUE.filled()))).map_err(failed)?;
    Ok(())
}

/// A dot for each combination and fold.
fn scatter(area: &Area<'_>, objective: &str, folds: &Rows) -> Result<()> {
    let numbers = |column: &str| -> Result<Vec<f64>> { Ok(folds.numbers(column)?.into_iter().map(Option::unwrap_or_default).collect()) };
    let is_enough: Vec<bool> = folds.texts("enough_trades")?.iter().map(|text| text.as_deref() == Some("true")).collect();
    let (fold, train, test) = (numbers("fold")?, numbers("train")?, numbers("test")?);
    // What could not have been chosen says nothing about choosing.
    let rows: Vec<usize> = (0..fold.len()).filter(|row| is_enough[*row] || !is_enough.contains(&true)).collect();
    let every = rows.len().div_ceil(MOST_DOTS).max(1);
    let mut title = "Out of sample against in sample: a dot is a combination in a fold".to_owned();
    if rows.len() < fold.len() {
        title.push_str(", without those of too few trades before");
    }
    if every > 1 {
        title.push_str(&format!("; one of {every} is shown"));
    }
    if rows.is_empty() {
        heading(area, &title, &[])?;
        return text(area, "no combination has a value both before a fold and in it", (500, 240), 14, &GREY, HPos::Center);
    }
    let mut numbers: Vec<f64> = rows.iter().map(|row| fold[*row]).collect();
    numbers.sort_by(f64::total_cmp);
    numbers.dedup();
    let colour = |place: usize| viridis(if numbers.len() > 1 { place as f64 / (numbers.len() - 1) as f64 * 0.85 } else { 0.3 });
    // Of many folds the ends say how the colours go.
    let is_named = |place: usize| numbers.len() <= 7 || place == 0 || place == numbers.len() - 1;
    let named = numbers.iter().enumerate().filter(|(place, _)| is_named(*place));
    let mut keys: Vec<(String, Key)> = named.map(|(place, number)| (format!("fold {number}"), Key::Dot(colour(place)))).collect();
    keys.push(("as good as before".to_owned(), Key::Thin(INK)));
    heading(area, &title, &keys)?;

    let (across, up) = (range_of(rows.iter().map(|row| train[*row])), range_of(rows.iter().map(|row| test[*row])));
    let mut chart = ChartBuilder::on(area)
        .margin_left(14)
        .margin_right(30)
        .margin_top(HEADING)
        .margin_bottom(10)
        .x_label_area_size(45)
        .y_label_area_size(LEFT - 14)
        .build_cartesian_2d(across.clone(), up.clone())
        .map_err(failed)?;
    let (x_ticks, y_ticks) = (ticks(&across), ticks(&up));
    chart
        .configure_mesh()
        .x_labels(10)
        .y_labels(8)
        .x_label_formatter(&x_ticks)
        .y_label_formatter(&y_ticks)
        .x_desc(format!("{} in the folds before (train)", short(objective)))
        .y_desc(format!("{} in the fold (test)", short(objective)))
        .label_style((FONT, 12).into_font().color(&GREY))
        .axis_desc_style((FONT, 13).into_font().color(&INK))
        .axis_style(LIGHT)
        .bold_line_style(LIGHT)
        .light_line_style(TRANSPARENT)
        .draw()
        .map_err(failed)?;
    for (place, number) in numbers.iter().enumerate() {
        let dots = rows.iter().copied().step_by(every).filter(|row| fold[*row].total_cmp(number).is_eq());
        let dots = dots.map(|row| Circle::new((train[row], test[row]), 3, colour(place).mix(0.6).filled()));
        chart.draw_series(dots).map_err(failed)?;
    }
    // Where a combination is worth as much out of sample as it was in sample.
    let (start, end) = (across.start.max(up.start), across.end.min(up.end));
    if start < end {
        chart.draw_series([PathElement::new([(start, start), (end, end)], INK.stroke_width(1))]).map_err(failed)?;
    }
    Ok(())
}

fn centred() -> plotters::style::text_anchor::Pos {
    plotters::style::text_anchor::Pos::new(HPos::Center, plotters::style::text_anchor::VPos::Center)
}

/// An objective may be a long expression.
fn short(objective: &str) -> String {
    if objective.chars().count() > 40 { "objective".to_owned() } else { objective.to_owned() }
}

/// Dark to light, even to the eye and to the colour-blind: S. van der Walt and N. Smith, viridis, 2015.
fn viridis(part: f64) -> RGBColor {
    const STOPS: [(u8, u8, u8); 10] = [
        (68, 1, 84),
        (72, 40, 120),
        (62, 74, 137),
        (49, 104, 142),
        (38, 130, 142),
        (31, 158, 137),
        (53, 183, 121),
        (109, 205, 89),
        (180, 222, 44),
        (253, 231, 37),
    ];
    let place = part.clamp(0.0, 1.0) * (STOPS.len() - 1) as f64;
    let below = (place.floor() as usize).min(STOPS.len() - 2);
    let rest = place - below as f64;
    let mix = |one: u8, other: u8| (f64::from(one) + (f64::from(other) - f64::from(one)) * rest).round() as u8;
    let (one, other) = (STOPS[below], STOPS[below + 1]);
    RGBColor(mix(one.0, other.0), mix(one.1, other.1), mix(one.2, other.2))
}

fn is_dark(colour: RGBColor) -> bool {
    0.299 * f64::from(colour.0) + 0.587 * f64::from(colour.1) + 0.114 * f64::from(colour.2) < 130.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_has_the_highest_of_its_combinations() {
        let axis = |places: &[usize]| Axis { name: "x".to_owned(), values: vec![String::new(); 2], places: places.to_vec() };
        let cells = highest(&axis(&[0, 0, 1, 1]), &axis(&[0, 0, 0, 1]), &[Some(-2.0), Some(-1.0), None, Some(3.0)]);
        assert_eq!(cells, [[Some(-1.0), None], [None, Some(3.0)]]);
    }

    #[test]
    fn colours_go_from_dark_to_light() {
        assert_eq!((viridis(0.0), viridis(1.0), viridis(7.0)), (RGBColor(68, 1, 84), RGBColor(253, 231, 37), RGBColor(253, 231, 37)));
        assert!(is_dark(viridis(0.1)) && !is_dark(viridis(0.9)));
    }
}
