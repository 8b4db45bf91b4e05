//! Results as one HTML page that needs nothing else: plots are in it, and it opens without a network.
//!
//! It is written as well-formed XML too, so that a test can tell that no element is left open.

use super::{
    super::{
        comparison::{self, Row, Verdict},
        model::{Bench, Results},
        statistics::{median, spread},
    },
    gain, how_to_read, others_percent,
    plot::{self, Line},
    provenance, spread as shown, title,
};

const STYLE: &str = "
:root { color-scheme: light dark; --text: #1c1c1c; --back: #fff; --line: #d0d0d0; --soft: #666; --a: #0b6e99; --b: #b5541c; --c: #4d7c2f; --d: #7a4a9c; }
@media (prefers-color-scheme: dark) { :root { --text: #e4e4e4; --back: #16181a; --line: #3a3d40; --soft: #9a9a9a; --a: #5cb8de; --b: #f0935a; --c: #9acb76; --d: #c79be6; } }
body { font: 15px/1.45 system-ui, sans-serif; color: var(--text); background: var(--back); max-width: 1180px; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; margin: .6rem 0 1rem; }
td, th { padding: .2rem .6rem; border-bottom: 1px solid var(--line); text-align: left; vertical-align: middle; }
td.figure { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
tr.worse td.verdict, .failed { color: var(--b); font-weight: 600; }
tr.better td.verdict { color: var(--c); }
th { color: var(--soft); font-weight: 500; }
.soft { color: var(--soft); }
.side0 { fill: var(--a); stroke: var(--a); color: var(--a); } .side1 { fill: var(--b); stroke: var(--b); color: var(--b); }
.side2 { fill: var(--c); stroke: var(--c); color: var(--c); } .side3 { fill: var(--d); stroke: var(--d); color: var(--d); }
svg .bar { opacity: .35; stroke: none; } svg .whisker { stroke-width: 1.5; } svg circle { opacity: .8; stroke: none; }
svg polyline { fill: none; stroke-width: 1.8; } svg .grid { stroke: var(--line); stroke-width: 1; }
svg text { fill: var(--soft); font-size: 12px; stroke: none; } svg text.left { text-anchor: end; } svg text.below { text-anchor: middle; }
code { overflow-wrap: anywhere; }
";

/// Text as an element's content or an attribute's value.
pub fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped += "&amp;",
            '<' => escaped += "&lt;",
            '>' => escaped += "&gt;",
            '"' => escaped += "&quot;",
            // No part of XML, and of no use in a browser.
            _ if character.is_control() && character != '\n' => escaped.push(' '),
            _ => escaped.push(character),
        }
    }
    escaped
}

pub fn render(results: &Results) -> String {
    let heading = format!("Crema measured, {}", results.provenance.date);
    let mut html = format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"/>\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\
         <title>{0}</title><style>{STYLE}</style></head>\n<body><h1>{0}</h1>\n<table>",
        escape(&heading)
    );
    for (name, meaning) in provenance(results).iter().filter(|(_, meaning)| !meaning.is_empty()) {
        let meaning = escape(meaning);
        let meaning = if name == "command" { format!("<code>{meaning}</code>") } else { meaning };
        html += &format!("<tr><th>{}</th><td>{meaning}</td></tr>\n", escape(name));
    }
    html += &format!("</table>\n<p class=\"soft\">{}</p>\n", escape(&how_to_read(results)));
    for (bench, run, why) in results.failures() {
        html += &format!(
            "<p class=\"failed\">failed: {}, {}, round {}: {}</p>\n",
            escape(&bench.name),
            escape(&run.side),
            run.round + 1,
            escape(why)
        );
    }
    for bench in &results.benches {
        html += &section(bench);
    }
    html + "</body></html>\n"
}

fn section(bench: &Bench) -> String {
    let mut html = format!(
        "<section><h2>{}</h2>\n<p class=\"soft\">{}. Other programs took at most {:.0}% of the host's CPUs.</p>\n<p>",
        escape(&bench.name),
        escape(&bench.machine),
        others_percent(bench)
    );
    for (number, side) in bench.sides.iter().enumerate() {
        html += &format!("<strong class=\"{}\">■ {}</strong> ", plot::class(number), escape(side));
    }
    html += "</p>\n";
    if let Some((own, others)) = bench.sides.split_first() {
        if others.is_empty() {
            html += &table(bench, own, None);
        }
        for other in others {
            html += &table(bench, own, Some(other));
        }
    }
    for (name, unit, lines) in percentiles(bench) {
        let heading = escape(&title(&name));
        html += &format!("<h3>{heading}, percentiles</h3>\n{}\n", plot::percentiles(&lines, &unit));
    }
    for (name, unit, lines) in courses(bench) {
        html += &format!("<h3>{}</h3>\n{}\n", escape(&title(&name)), plot::courses(&lines, &unit));
    }
    for note in &bench.notes {
        html += &format!("<p class=\"soft\">{}</p>\n", escape(note));
    }
    html + "</section>\n"
}

/// Figures of a side, beside those of another.
fn table(bench: &Bench, own: &str, other: Option<&String>) -> String {
    let mut html = format!("<table><tr><th></th><th>unit</th><th></th><th>{}</th>", escape(own));
    if let Some(other) = other {
        html += &format!("<th>{}</th><th>gain</th><th>verdict</th>", escape(other));
    }
    html += "</tr>\n";
    for row in comparison::compare(bench, own, other.map_or(own, String::as_str)) {
        let values = |side: &str| -> Vec<f64> {
            comparison::values(bench, side, &row.name).into_iter().map(|(_, value)| value).collect()
        };
        let bar = |side: &'_ str| (spread(&values(side)), values(side));
        let mut bars = vec![(own, bar(own))];
        bars.extend(other.map(|other| (other.as_str(), bar(other))));
        let bars: Vec<_> = bars.into_iter().map(|(side, (spread, values))| (side, spread, values)).collect();
        html += &format!(
            "<tr class=\"{}\"><td>{}</td><td>{}</td><td>{}</td><td class=\"figure\">{}</td>",
            row_class(&row, other),
            escape(&title(&row.name)),
            escape(&row.unit),
            plot::bars(&bars),
            shown(row.own)
        );
        if other.is_some() {
            html += &format!(
                "<td class=\"figure\">{}</td><td class=\"figure\">{}</td><td class=\"verdict\">{}</td>",
                shown(row.other),
                gain(row.gain),
                row.verdict.text()
            );
        }
        html += "</tr>\n";
    }
    html += "</table>\n";
    for (name, ours, theirs) in other.map_or(vec![], |other| comparison::unequal_work(bench, own, other)) {
        let text = format!("unequal work: {name} {ours} and {theirs}");
        html += &format!("<p class=\"failed\">{}</p>\n", escape(&text));
    }
    html
}

fn row_class(row: &Row, other: Option<&String>) -> &'static str {
    match row.verdict {
        Verdict::Worse | Verdict::UnequalWork => "worse",
        Verdict::Better if other.is_some() => "better",
        _ => "same",
    }
}

/// The lines of one plot, under its name, with its unit.
type Plot = (String, String, Vec<Line>);

/// Figures such as `x_p50` and `x_p99` belong together.
fn percentiles(bench: &Bench) -> Vec<Plot> {
    let mut plots: Vec<Plot> = Vec::new();
    for figure in comparison::figures(bench) {
        let Some((name, share)) = share_of(&figure.name) else { continue };
        let place = plots.iter().position(|(other, ..)| other == name).unwrap_or_else(|| {
            let line = |(side, name): (usize, &String)| Line { side, name: name.clone(), points: vec![] };
            let lines = bench.sides.iter().enumerate().map(line).collect();
            plots.push((name.into(), figure.unit.clone(), lines));
            plots.len() - 1
        });
        for line in &mut plots[place].2 {
            let values: Vec<f64> = comparison::values(bench, &line.name, &figure.name)
                .into_iter()
                .map(|(_, value)| value)
                .collect();
            line.points.extend(median(&values).map(|median| (share, median)));
        }
    }
    // One point is no line.
    plots.retain(|(.., lines)| lines.iter().any(|line| line.points.len() > 1));
    plots
}

/// What `NAME_p99.9` is a percentile of, and which share of all it is.
fn share_of(name: &str) -> Option<(&str, f64)> {
    let (name, percent) = name.rsplit_once("_p")?;
    let percent: f64 = percent.parse().ok()?;
    (0.0..100.0).contains(&percent).then_some((name, percent / 100.0))
}

/// A line for each run.
fn courses(bench: &Bench) -> Vec<Plot> {
    let mut plots: Vec<Plot> = Vec::new();
    for run in &bench.runs {
        let side = bench.sides.iter().position(|side| *side == run.side).unwrap_or(0);
        for course in run.observation().map_or(&[][..], |seen| &seen.courses) {
            let name = format!("{}, round {}", run.side, run.round + 1);
            let line = Line { side, name, points: course.points.clone() };
            match plots.iter_mut().find(|(other, ..)| *other == course.name) {
                Some((.., lines)) => lines.push(line),
                None => plots.push((course.name.clone(), course.unit.clone(), vec![line])),
            }
        }
    }
    plots
}

#[cfg(test)]
mod tests {
    use super::{
        super::super::model::{
            Course, Figure, Outcome,
            tests::{bench, results},
        },
        *,
    };

    /// Checks that each element is closed where it should be, and that attributes are quoted.
    fn check_well_formed(html: &str) {
        let mut open: Vec<&str> = Vec::new();
        let mut rest = html.strip_prefix("<!DOCTYPE html>").expect("no doctype");
        while let Some(at) = rest.find('<') {
            assert!(!rest[..at].contains('>'), "a bare > in {:?}", &rest[..at]);
            let end = rest[at..].find('>').expect("a tag without an end") + at;
            let tag = &rest[at + 1..end];
            assert_eq!(tag.matches('"').count() % 2, 0, "{tag}");
            let name = tag.trim_start_matches('/').split([' ', '/']).next().unwrap();
            if tag.starts_with('/') {
                assert_eq!(open.pop(), Some(name));
            } else if !tag.ends_with('/') {
                open.push(name);
            }
            rest = &rest[end + 1..];
            if name == "style" && !tag.starts_with('/') {
                rest = &rest[rest.find("</style>").expect("no end of the style")..];
            }
        }
        assert_eq!(open, [""; 0]);
    }

    #[test]
    fn the_page_is_well_formed_and_needs_no_other_file() {
        let mut bench = bench("us", &[(1.0, 2.0), (1.5, 2.5), (1.0, 2.0)]);
        for run in &mut bench.runs {
            let Outcome::Measured(seen) = &mut run.outcome else { panic!() };
            for (percent, value) in [("50", 1.0), ("99", 10.0), ("99.9", 100.0)] {
                seen.figure(Figure::new(format!("http_p{percent}"), "us", value));
            }
            seen.figure(Figure::new("a<b> & \"c\"", "MiB", 0.0));
            let points = vec![(0.0, 10.0), (1.0, 20.0)];
            seen.courses.push(Course { name: "memory_of_QEMU".into(), unit: "MiB".into(), points });
        }
        bench.runs[0].outcome = Outcome::Failed("<no> \u{1b}[1m answer".into());
        let html = render(&results(vec![bench]));
        check_well_formed(&html);
        assert!(html.contains("failed: syscall, Crema, round 1: &lt;no&gt;  [1m answer"), "{html}");
        assert!(html.contains("<h3>http, percentiles</h3>") && html.contains("<h3>memory of QEMU</h3>"));
        assert!(html.contains("a&lt;b&gt; &amp; &quot;c&quot;"), "{html}");
        for word in ["src=", "href=", "@import", "url(", "<script"] {
            assert!(!html.contains(word), "{word}");
        }
    }

    #[test]
    fn percentiles_are_found_by_their_names() {
        assert_eq!(share_of("http_requests_p99"), Some(("http_requests", 0.99)));
        assert_eq!(share_of("round_trips"), None);
        assert_eq!(share_of("stream_p1x"), None);
        assert_eq!(share_of("x_p100"), None);
    }

    #[test]
    fn one_percentile_is_no_plot() {
        let mut bench = bench("us", &[(1.0, 2.0)]);
        for run in &mut bench.runs {
            let Outcome::Measured(seen) = &mut run.outcome else { panic!() };
            seen.figure(Figure::new("x_p99", "us", 1.0));
        }
        assert!(percentiles(&bench).is_empty());
    }
}
