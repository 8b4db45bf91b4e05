//! Pictures as SVG: bars with their spread, percentiles of latency, and courses over time.
//!
//! Each is an element for a page that has the colours as classes `side0`, `side1`, ... Written by hand, for a page that must open without
//! a network and read well as source has no use for a plotting library's output.

use std::fmt::Write;

use super::{super::statistics::Spread, number, page::escape};

/// More sides than that share colours.
const COLOURS: usize = 4;

/// The class that has a side's colour.
pub fn class(side: usize) -> String {
    format!("side{}", side % COLOURS)
}

const BAR_WIDTH: f64 = 300.0;
const BAR_HEIGHT: f64 = 13.0;

/// A bar for each side up to its median, a line from the least value to the greatest, and a dot for each value.
pub fn bars(sides: &[(&str, Option<Spread>, Vec<f64>)]) -> String {
    let greatest = sides.iter().filter_map(|(_, spread, _)| spread.map(|spread| spread.greatest));
    let greatest = greatest.filter(|value| value.is_finite()).fold(0.0, f64::max);
    let x =
        |value: f64| if greatest > 0.0 { value.max(0.0) / greatest * (BAR_WIDTH - 8.0) + 2.0 } else { 2.0 };
    let height = BAR_HEIGHT * sides.len() as f64;
    let mut svg = open(BAR_WIDTH, height, "bars");
    for (number_of_side, (side, spread, values)) in sides.iter().enumerate() {
        let Some(spread) = spread.filter(|spread| spread.greatest.is_finite()) else { continue };
        let (top, middle) = (BAR_HEIGHT * number_of_side as f64, BAR_HEIGHT * (number_of_side as f64 + 0.5));
        let Spread { median, least, greatest, count, .. } = spread;
        let _ = write!(
            svg,
            "<g class=\"{}\"><title>{}: median {}, {} to {}, {count} runs</title>\
             <rect class=\"bar\" x=\"2\" y=\"{:.1}\" width=\"{:.1}\" height=\"{:.1}\"/>\
             <line class=\"whisker\" x1=\"{:.1}\" y1=\"{middle:.1}\" x2=\"{:.1}\" y2=\"{middle:.1}\"/>",
            class(number_of_side),
            escape(side),
            number(median),
            number(least),
            number(greatest),
            top + 2.0,
            x(median) - 2.0,
            BAR_HEIGHT - 4.0,
            x(least),
            x(greatest),
        );
        for value in values {
            let _ = write!(svg, "<circle cx=\"{:.1}\" cy=\"{middle:.1}\" r=\"2\"/>", x(*value));
        }
        svg += "</g>";
    }
    svg + "</svg>"
}

/// A line of a chart.
pub struct Line {
    pub side: usize,
    pub name: String,
    pub points: Vec<(f64, f64)>,
}

const WIDTH: f64 = 620.0;
const HEIGHT: f64 = 260.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 16.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 34.0;

/// Percentiles on logarithmic scales: of 1 in how many operations below, how long it took on the left. The points are of a share such
/// as 0.99, and a time.
pub fn percentiles(lines: &[Line], unit: &str) -> String {
    let place = |share: f64| -(1.0 - share).max(1e-6).log10();
    let transformed: Vec<Line> = lines
        .iter()
        .map(|line| Line {
            side: line.side,
            name: line.name.clone(),
            points: line
                .points
                .iter()
                .filter(|(_, time)| *time > 0.0)
                .map(|(share, time)| (place(*share), time.log10()))
                .collect(),
        })
        .collect();
    let shares = [0.5, 0.9, 0.99, 0.999, 0.9999];
    let (least_x, greatest_x) = range(&transformed, |point| point.0);
    let x_ticks = shares
        .iter()
        .map(|share| (place(*share), format!("{}%", share * 100.0)))
        .filter(|(at, _)| (least_x - 1e-9..=greatest_x + 1e-9).contains(at))
        .collect();
    let (least, greatest) = range(&transformed, |point| point.1);
    let (low, high) = (least.floor(), greatest.ceil().max(least.floor() + 1.0));
    let y_ticks = (low as i32..=high as i32)
        .map(|power| (f64::from(power), format!("{} {unit}", number(10f64.powi(power)))))
        .collect();
    chart(&transformed, (least_x, greatest_x), (low, high), x_ticks, y_ticks)
}

/// A value over seconds, from zero.
pub fn courses(lines: &[Line], unit: &str) -> String {
    let (_, end) = range(lines, |point| point.0);
    let (_, greatest) = range(lines, |point| point.1);
    let (end, high) = (end.max(1e-3), if greatest > 0.0 { greatest } else { 1.0 });
    let ticks = |top: f64, unit: &str| {
        let step = round_step(top / 5.0);
        let count = (top / step).floor() as u32;
        (0..=count)
            .map(|tick| (f64::from(tick) * step, format!("{} {unit}", short(f64::from(tick) * step))))
            .collect()
    };
    chart(lines, (0.0, end), (0.0, high), ticks(end, "s"), ticks(high, unit))
}

/// 1, 2 or 5 times a power of ten, not less than `least`.
fn round_step(least: f64) -> f64 {
    let power = 10f64.powf(least.log10().floor());
    [1.0, 2.0, 5.0, 10.0]
        .into_iter()
        .map(|factor| factor * power)
        .find(|step| *step >= least)
        .unwrap_or(least)
}

fn short(value: f64) -> String {
    let text = format!("{value:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_string()
}

fn range(lines: &[Line], of: impl Fn(&(f64, f64)) -> f64) -> (f64, f64) {
    let values = || lines.iter().flat_map(|line| &line.points).map(&of).filter(|value| value.is_finite());
    let (least, greatest) =
        (values().fold(f64::INFINITY, f64::min), values().fold(f64::NEG_INFINITY, f64::max));
    if least <= greatest { (least, greatest) } else { (0.0, 1.0) }
}

/// Marks on an axis, and what stands beside them.
type Ticks = Vec<(f64, String)>;

fn chart(lines: &[Line], xs: (f64, f64), ys: (f64, f64), x_ticks: Ticks, y_ticks: Ticks) -> String {
    let scale =
        |value: f64, (low, high): (f64, f64)| if high > low { (value - low) / (high - low) } else { 0.5 };
    let x = |value: f64| LEFT + scale(value, xs) * (WIDTH - LEFT - RIGHT);
    let y = |value: f64| HEIGHT - BOTTOM - scale(value, ys) * (HEIGHT - TOP - BOTTOM);
    let mut svg = open(WIDTH, HEIGHT, "chart");
    for (at, text) in &y_ticks {
        let _ = write!(
            svg,
            "<line class=\"grid\" x1=\"{LEFT}\" y1=\"{0:.1}\" x2=\"{1:.1}\" y2=\"{0:.1}\"/>\
             <text class=\"left\" x=\"{2:.1}\" y=\"{3:.1}\">{4}</text>",
            y(*at),
            WIDTH - RIGHT,
            LEFT - 6.0,
            y(*at) + 4.0,
            escape(text)
        );
    }
    for (at, text) in &x_ticks {
        let _ = write!(
            svg,
            "<line class=\"grid\" x1=\"{0:.1}\" y1=\"{TOP}\" x2=\"{0:.1}\" y2=\"{1:.1}\"/>\
             <text class=\"below\" x=\"{0:.1}\" y=\"{2:.1}\">{3}</text>",
            x(*at),
            HEIGHT - BOTTOM,
            HEIGHT - BOTTOM + 18.0,
            escape(text)
        );
    }
    for line in lines {
        let points: Vec<String> = line
            .points
            .iter()
            .filter(|(at, value)| at.is_finite() && value.is_finite())
            .map(|(at, value)| format!("{:.1},{:.1}", x(*at), y(*value)))
            .collect();
        let _ = write!(
            svg,
            "<g class=\"{}\"><title>{}</title><polyline points=\"{}\"/></g>",
            class(line.side),
            escape(&line.name),
            points.join(" ")
        );
    }
    svg + "</svg>"
}

fn open(width: f64, height: f64, class: &str) -> String {
    format!(
        "<svg class=\"{class}\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\" \
         xmlns=\"http://www.w3.org/2000/svg\" role=\"img\">"
    )
}

#[cfg(test)]
mod tests {
    use super::{super::super::statistics::spread, *};

    #[test]
    fn bars_are_in_proportion() {
        let of = |values: &[f64]| (spread(values), values.to_vec());
        let ((a, a_values), (b, b_values)) = (of(&[50.0, 50.0]), of(&[100.0]));
        let svg = bars(&[("A", a, a_values), ("B <", b, b_values), ("C", None, vec![])]);
        assert!(svg.contains("width=\"146.0\"") && svg.contains("width=\"292.0\""), "{svg}");
        assert!(svg.contains("B &lt;: median 100"), "{svg}");
        assert_eq!(svg.matches("<circle").count(), 3);
        // Nothing but zeros has no proportion.
        let (zero, values) = of(&[0.0]);
        assert!(!bars(&[("A", zero, values)]).contains("NaN"));
    }

    #[test]
    fn charts_stay_in_their_frame() {
        let line = |points: &[(f64, f64)]| Line { side: 0, name: "A".into(), points: points.to_vec() };
        let svg = percentiles(&[line(&[(0.5, 100.0), (0.99, 1000.0), (0.999, 0.0)])], "us");
        assert!(svg.contains("points=\"70.0,226.0 604.0,12.0\""), "{svg}");
        assert!(svg.contains(">50%<") && svg.contains(">99%<") && !svg.contains(">99.9%<"), "{svg}");
        let svg = courses(&[line(&[(0.0, 0.0), (10.0, 128.0)])], "MiB");
        assert!(svg.contains("points=\"70.0,226.0 604.0,12.0\""), "{svg}");
        assert!(svg.contains(">100 MiB<") && svg.contains(">10 s<"), "{svg}");
        for empty in [percentiles(&[], "us"), courses(&[line(&[])], "MiB")] {
            assert!(!empty.contains("NaN") && !empty.contains("inf"), "{empty}");
        }
    }

    #[test]
    fn steps_are_round() {
        assert_eq!([0.03, 1.0, 3.0, 7.0, 26.0].map(round_step), [0.05, 1.0, 5.0, 10.0, 50.0]);
        assert_eq!([0.0, 2.5, 100.0].map(short), ["0", "2.5", "100"]);
    }
}
