//! Drawings as SVG, on white, so that they can be read wherever they are put.

pub(crate) mod backtest;
pub(crate) mod optimize;

use std::{
    io::{BufWriter, Write},
    path::Path,
};

use plotters::{
    coord::Shift,
    prelude::*,
    style::text_anchor::{HPos, Pos, VPos},
};
use stockscan_engine::{Error, Result};

use crate::{
    output::{Named, NewFile},
    table::grouped,
};

/// Colours that can be told apart by the colour-blind: M. Okabe and K. Ito, Color Universal Design, 2008.
const BLUE: RGBColor = RGBColor(0, 114, 178);
const VERMILION: RGBColor = RGBColor(213, 94, 0);
const GREY: RGBColor = RGBColor(110, 110, 110);
const LIGHT: RGBColor = RGBColor(225, 225, 225);
const INK: RGBColor = RGBColor(30, 30, 30);

const FONT: &str = "sans-serif";
const WIDTH: u32 = 1000;
/// Longest line of text that has room.
const LETTERS: usize = 140;

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// The file of a drawing, there before the work that it is to show.
#[derive(Debug)]
pub(crate) struct Drawing {
    file: NewFile,
    target: BufWriter<Named>,
    shown: String,
}

impl Drawing {
    /// Refuses a file that cannot be written, or is named as if it were something else.
    pub(crate) fn create(path: &Path) -> Result<Drawing> {
        if !path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("svg")) {
            return Err(Error::Invalid(format!("--plot {}: expected a file that ends in .svg, which is what is drawn", path.display())));
        }
        let (file, target) = NewFile::create(path)?;
        Ok(Drawing { file, target: BufWriter::new(target), shown: path.display().to_string() })
    }

    /// Writes it; returns what it is called.
    pub(crate) fn finish(mut self, svg: &str) -> Result<String> {
        self.target.write_all(svg.as_bytes())?;
        self.target.flush()?;
        self.file.finish()?;
        Ok(self.shown)
    }
}

/// Draws on white, below a title and some lines about what is shown.
fn page(title: &str, lines: &[String], height: u32, draw: impl FnOnce(&Area<'_>) -> Result<()>) -> Result<String> {
    let mut svg = String::new();
    {
        let root = SVGBackend::with_string(&mut svg, (WIDTH, height)).into_drawing_area();
        root.fill(&WHITE).map_err(failed)?;
        text(&root, title, (20, 28), 20, &INK, HPos::Left)?;
        let mut line_y = 50;
        for line in lines {
            let line = if line.chars().count() > LETTERS { line.chars().take(LETTERS).chain(['…']).collect() } else { line.clone() };
            text(&root, &line, (20, line_y), 13, &GREY, HPos::Left)?;
            line_y += 18;
        }
        let (_, below) = root.split_vertically(line_y);
        draw(&below)?;
        root.present().map_err(failed)?;
    }
    // What screen readers read.
    let name = title.replace('&', "&amp;").replace('<', "&lt;");
    let Some((head, rest)) = svg.split_once('>') else { return Ok(svg) };
    Ok(format!("{head} role=\"img\">\n<title>{name}</title>{rest}"))
}

fn text(area: &Area<'_>, text: &str, place: (i32, i32), size: i32, colour: &RGBColor, side: HPos) -> Result<()> {
    let style = TextStyle::from((FONT, size)).color(colour).pos(Pos::new(side, VPos::Center));
    area.draw_text(text, &style, place).map_err(failed)
}

/// How something looks in a chart.
#[derive(Debug, Clone, Copy)]
enum Key {
    Line(RGBColor),
    Thin(RGBColor),
    Bar(RGBColor),
    Dot(RGBColor),
}

/// Where charts begin, right of their axis.
const LEFT: i32 = 104;
/// What a chart's title takes, with the line that says what is what.
const HEADING: i32 = 48;

/// A chart's title, and what is what in it, above the chart so that nothing is covered.
fn heading(area: &Area<'_>, title: &str, keys: &[(String, Key)]) -> Result<()> {
    text(area, title, (LEFT, 14), 15, &INK, HPos::Left)?;
    let mut x = LEFT;
    for (label, key) in keys {
        let (y, end) = (36, x + 22);
        match key {
            Key::Line(colour) => area.draw(&PathElement::new([(x, y), (end, y)], colour.stroke_width(2))),
            Key::Thin(colour) => area.draw(&PathElement::new([(x, y), (end, y)], colour.stroke_width(1))),
            Key::Bar(colour) => area.draw(&Rectangle::new([(x, y - 5), (end, y + 5)], colour.filled())),
            Key::Dot(colour) => area.draw(&Circle::new((x + 11, y), 4, colour.filled())),
        }
        .map_err(failed)?;
        text(area, label, (end + 6, y), 12, &INK, HPos::Left)?;
        // Fonts are the viewer's; this is wide for most.
        x = end + 24 + 7 * label.chars().count() as i32;
    }
    Ok(())
}

/// Numbers of an axis, with as many decimals as its range needs.
fn ticks(range: &std::ops::Range<f64>) -> impl Fn(&f64) -> String + use<> {
    let step = (range.end - range.start).abs() / 8.0;
    let decimals = if step > 0.0 { (-step.log10()).ceil().clamp(0.0, 6.0) as usize } else { 2 };
    move |value| {
        let text = format!("{value:.decimals$}");
        // No minus zero.
        let is_zero = text.bytes().all(|byte| matches!(byte, b'-' | b'0' | b'.'));
        grouped(if is_zero { text.trim_start_matches('-') } else { &text })
    }
}

/// From the least to the most, and a little more on both sides.
fn range_of(numbers: impl Iterator<Item = f64>) -> std::ops::Range<f64> {
    let (least, most) = numbers.fold((f64::INFINITY, f64::NEG_INFINITY), |(least, most), number| (least.min(number), most.max(number)));
    if least > most {
        return 0.0..1.0;
    }
    let room = if most > least { (most - least) * 0.05 } else { most.abs().max(1.0) * 0.05 };
    least - room..most + room
}

fn failed<E: std::error::Error + Send + Sync>(error: DrawingAreaErrorKind<E>) -> Error {
    Error::Output(std::io::Error::other(format!("the drawing failed: {error}")))
}
