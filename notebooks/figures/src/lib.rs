//! The pictures of the notebooks: lines, bars, a heat map, and the interval from 0 to 1.
//!
//! A picture is SVG on a transparent background, in colours that can be read on a light and on a dark page. The last
//! expression of a notebook's cell shows itself if it is a [`Picture`].

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

/// Text and axes: the same contrast on white and on black.
const INK: RGBColor = RGBColor(0x76, 0x76, 0x76);
/// The first colour is that of bars and heat maps.
const COLOURS: [RGBColor; 6] = [
    RGBColor(0x2f, 0x7f, 0xc1),
    RGBColor(0xd9, 0x76, 0x1f),
    RGBColor(0x3a, 0x9a, 0x5b),
    RGBColor(0xb3, 0x4d, 0x98),
    RGBColor(0x8a, 0x6f, 0xd1),
    RGBColor(0xc2, 0x4b, 0x4b),
];
const WIDTH: u32 = 720;

/// A picture that Jupyter shows.
pub struct Picture(String);

impl Picture {
    /// Jupyter calls this for the last expression of a cell.
    pub fn evcxr_display(&self) {
        println!("EVCXR_BEGIN_CONTENT image/svg+xml\n{}\nEVCXR_END_CONTENT", self.0);
    }
}

type Canvas<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;

fn draw(height: u32, what: impl FnOnce(&Canvas<'_>)) -> Picture {
    let mut svg = String::new();
    {
        let canvas = SVGBackend::with_string(&mut svg, (WIDTH, height)).into_drawing_area();
        what(&canvas);
        canvas.present().expect("a picture in memory");
    }
    Picture(svg)
}

fn ink(size: u32) -> TextStyle<'static> {
    ("sans-serif", size).into_text_style(&(WIDTH, WIDTH)).color(&INK)
}

fn write(canvas: &Canvas<'_>, text: &str, style: &TextStyle<'_>, h: HPos, at: (i32, i32)) {
    canvas.draw_text(text, &style.pos(Pos::new(h, VPos::Center)), at).expect("text");
}

/// One line of a plot.
pub struct Line {
    name: String,
    points: Vec<(f64, f64)>,
    band: Vec<(f64, f64, f64)>,
}

/// A line through points (x, y).
pub fn line(name: &str, points: impl IntoIterator<Item = (f64, f64)>) -> Line {
    Line { name: name.into(), points: points.into_iter().collect(), band: vec![] }
}

impl Line {
    /// Shades the area between two bounds: (x, lower, upper).
    pub fn band(mut self, bounds: impl IntoIterator<Item = (f64, f64, f64)>) -> Self {
        self.band = bounds.into_iter().collect();
        self
    }
}

/// Lines over a common x axis. The y axis includes 0 if all values have one sign.
pub fn lines(title: &str, x_label: &str, y_label: &str, lines: &[Line]) -> Picture {
    let xs = lines.iter().flat_map(|line| line.points.iter().map(|p| p.0));
    let points = lines.iter().flat_map(|line| line.points.iter().map(|p| p.1));
    let bands = lines.iter().flat_map(|line| line.band.iter().flat_map(|b| [b.1, b.2]));
    let range = |values: &mut dyn Iterator<Item = f64>, low: f64, high: f64| {
        values.fold((low, high), |(low, high), v| (low.min(v), high.max(v)))
    };
    let (left, right) = range(&mut { xs }, f64::INFINITY, f64::NEG_INFINITY);
    let (low, high) = range(&mut points.chain(bands), 0.0, 0.0);
    let room = 0.06 * (high - low);
    draw(380, |canvas| {
        write(canvas, title, &ink(17), HPos::Center, (WIDTH as i32 / 2, 20));
        let mut chart = ChartBuilder::on(canvas)
            .margin(12)
            .margin_top(if lines.len() > 1 { 56 } else { 36 })
            .x_label_area_size(44)
            .y_label_area_size(64)
            .build_cartesian_2d(left..right, low - if low < 0.0 { room } else { 0.0 }..high + room)
            .expect("axes");
        chart
            .configure_mesh()
            .disable_x_mesh()
            .light_line_style(TRANSPARENT)
            .bold_line_style(INK.mix(0.25))
            .axis_style(INK)
            .label_style(ink(13))
            .x_label_formatter(&tick)
            .y_label_formatter(&tick)
            .axis_desc_style(ink(14))
            .x_desc(x_label)
            .y_desc(y_label)
            .draw()
            .expect("axes");
        let mut x = 80; // of the next name
        for (line, colour) in lines.iter().zip(COLOURS.iter().cycle()) {
            let lower = line.band.iter().map(|b| (b.0, b.1));
            let upper = line.band.iter().rev().map(|b| (b.0, b.2));
            let area: Vec<_> = lower.chain(upper).collect();
            chart
                .draw_series((!area.is_empty()).then(|| Polygon::new(area, colour.mix(0.2))))
                .expect("a band");
            let points = line.points.iter().copied();
            chart.draw_series(LineSeries::new(points, colour.stroke_width(2))).expect("a line");
            if lines.len() > 1 {
                canvas
                    .draw(&PathElement::new([(x, 42), (x + 18, 42)], colour.stroke_width(3)))
                    .expect("a name");
                write(canvas, &line.name, &ink(13), HPos::Left, (x + 24, 42));
                x += 48 + 8 * line.name.chars().count() as i32;
            }
        }
    })
}

/// A number beside an axis.
fn tick(value: &f64) -> String {
    let digits = format!("{value:.4}");
    let digits = digits.trim_end_matches('0').trim_end_matches('.');
    if digits == "-0" { "0".into() } else { digits.into() }
}

/// Horizontal bars, one per row, each with its value. Negative values go to the left.
pub fn bars(title: &str, rows: &[(String, f64)]) -> Picture {
    let (low, high) = rows.iter().fold((0f64, 0f64), |(low, high), row| (low.min(row.1), high.max(row.1)));
    let name_width = 12 + 8 * rows.iter().map(|row| row.0.chars().count()).max().unwrap_or(0) as i32;
    let left = name_width + if low < 0.0 { 80 } else { 8 };
    let room = (WIDTH as i32 - left - 80) as f64;
    let x = |value: f64| left + ((value - low) / (high - low) * room) as i32;
    draw(50 + 22 * rows.len() as u32, |canvas| {
        write(canvas, title, &ink(17), HPos::Center, (WIDTH as i32 / 2, 20));
        for ((name, value), y) in rows.iter().zip((52..).step_by(22)) {
            let ends = [(x(value.min(0.0)), y - 8), (x(value.max(0.0)), y + 8)];
            canvas.draw(&Rectangle::new(ends, COLOURS[0].filled())).expect("a bar");
            write(canvas, name, &ink(14), HPos::Right, (name_width, y));
            let (side, at) = if *value < 0.0 { (HPos::Right, -6) } else { (HPos::Left, 6) };
            write(canvas, &format!("{value:.3}"), &ink(13), side, (x(*value) + at, y));
        }
    })
}

/// A table of values from 0 to 1 as shades: `rows` down, `columns` across. Each cell shows its value in percent.
pub fn heat(title: &str, rows: &[String], columns: &[String], values: &[Vec<f64>]) -> Picture {
    const CELL: i32 = 34;
    let name_width = 24 + 8 * rows.iter().map(|name| name.chars().count()).max().unwrap_or(0) as i32;
    let left = name_width + (WIDTH as i32 - name_width - CELL * columns.len() as i32).max(0) / 2;
    draw(80 + (CELL * rows.len() as i32) as u32, |canvas| {
        write(canvas, title, &ink(17), HPos::Center, (WIDTH as i32 / 2, 20));
        for (column, x) in columns.iter().zip((left..).step_by(CELL as usize)) {
            write(canvas, column, &ink(12), HPos::Center, (x + CELL / 2, 58));
        }
        for ((name, row), y) in rows.iter().zip(values).zip((70..).step_by(CELL as usize)) {
            write(canvas, name, &ink(13), HPos::Right, (left - 8, y + CELL / 2));
            for (value, x) in row.iter().zip((left..).step_by(CELL as usize)) {
                let cell = [(x + 1, y + 1), (x + CELL - 1, y + CELL - 1)];
                canvas.draw(&Rectangle::new(cell, COLOURS[0].mix(*value).filled())).expect("a cell");
                canvas.draw(&Rectangle::new(cell, INK.mix(0.25))).expect("a border");
                if *value >= 0.005 {
                    let style = if *value < 0.55 { ink(11) } else { ink(11).color(&WHITE) };
                    write(
                        canvas,
                        &format!("{:.0}", 100.0 * value),
                        &style,
                        HPos::Center,
                        (x + CELL / 2, y + CELL / 2),
                    );
                }
            }
        }
    })
}

/// The interval from 0 to 1, divided into `parts` by their lengths in order, with a mark at `u`.
pub fn interval(title: &str, parts: &[(String, f64)], u: f64) -> Picture {
    let x = |value: f64| 20 + (value * (WIDTH - 40) as f64) as i32;
    draw(130, |canvas| {
        write(canvas, title, &ink(17), HPos::Center, (WIDTH as i32 / 2, 20));
        let mut start = 0.0;
        for ((name, length), colour) in parts.iter().zip(COLOURS.iter().cycle()) {
            let ends = [(x(start), 46), (x(start + length), 78)];
            canvas.draw(&Rectangle::new(ends, colour.mix(0.45).filled())).expect("a part");
            if 8 * (name.chars().count() as i32) < x(*length) - 20 {
                write(canvas, name, &ink(13), HPos::Center, (x(start + length / 2.0), 62));
            }
            start += length;
        }
        canvas.draw(&PathElement::new([(x(u), 40), (x(u), 88)], INK.stroke_width(2))).expect("a mark");
        write(
            canvas,
            &format!("u = {u:.4}"),
            &ink(13),
            HPos::Center,
            (x(u).clamp(50, WIDTH as i32 - 50), 100),
        );
        write(canvas, "0", &ink(13), HPos::Center, (20, 116));
        write(canvas, "1", &ink(13), HPos::Center, (WIDTH as i32 - 20, 116));
    })
}

/// Horizontal bars in columns side by side, with one scale: the same names under several conditions. A value of 0 has no bar.
pub fn bars_beside(title: &str, columns: &[&str], rows: &[(String, Vec<f64>)]) -> Picture {
    let high = rows.iter().flat_map(|row| &row.1).fold(f64::MIN_POSITIVE, |high, value| high.max(*value));
    let left = 20 + 8 * rows.iter().map(|row| row.0.chars().count()).max().unwrap_or(0) as i32;
    let width = (WIDTH as i32 - left) / columns.len().max(1) as i32;
    draw(74 + 22 * rows.len() as u32, |canvas| {
        write(canvas, title, &ink(17), HPos::Center, (WIDTH as i32 / 2, 20));
        for (column, x) in columns.iter().zip((left..).step_by(width as usize)) {
            write(canvas, column, &ink(14), HPos::Left, (x, 50));
        }
        for ((name, values), y) in rows.iter().zip((76..).step_by(22)) {
            write(canvas, name, &ink(14), HPos::Right, (left - 8, y));
            for (value, x) in
                values.iter().zip((left..).step_by(width as usize)).filter(|(value, _)| **value > 0.0)
            {
                let end = x + 1 + (value / high * (width - 62) as f64) as i32;
                canvas.draw(&Rectangle::new([(x, y - 8), (end, y + 8)], COLOURS[0].filled())).expect("a bar");
                write(canvas, &format!("{value:.3}"), &ink(13), HPos::Left, (end + 5, y));
            }
        }
    })
}
