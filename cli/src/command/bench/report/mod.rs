//! Showing results: as Markdown for a terminal and a repository, and as a page with plots for a browser.
//!
//! Responsible for words and pictures; what is said about a figure is decided in `comparison`.

pub mod markdown;
pub mod page;
mod plot;

use super::{
    comparison::Gain,
    model::{Bench, Length, Results},
    statistics::{self, Spread},
};

/// As many digits as say something.
pub fn number(value: f64) -> String {
    let size = value.abs();
    match value {
        _ if value.is_nan() => String::new(),
        _ if value.is_infinite() => "∞".into(),
        _ if size >= 100.0 => format!("{value:.0}"),
        _ if size >= 10.0 => format!("{value:.1}"),
        _ if size >= 1.0 || value == 0.0 => format!("{value:.2}"),
        _ if size >= 0.001 => format!("{value:.3}"),
        _ => format!("{value:.1e}"),
    }
}

pub fn spread(spread: Option<Spread>) -> String {
    match spread {
        None => String::new(),
        Some(Spread { median, count: 1, .. }) => number(median),
        Some(Spread { median, lower_quartile, upper_quartile, .. }) => {
            format!("{} ({} – {})", number(median), number(lower_quartile), number(upper_quartile))
        }
    }
}

fn gain(gain: Option<Gain>) -> String {
    match gain {
        None => String::new(),
        Some(Gain { median, interval }) if interval.coverage == 0.0 => number(median),
        Some(Gain { median, interval }) => {
            format!("{} ({} – {})", number(median), number(interval.lower), number(interval.upper))
        }
    }
}

/// What the figures came from, as pairs of a word and its meaning.
fn provenance(results: &Results) -> Vec<(String, String)> {
    let origin = &results.provenance;
    let length = match origin.length {
        Length::Full => "",
        Length::Quick => ", the quick form of each measurement",
    };
    let pair = |name: &str, text: String| (name.to_string(), text);
    let mut all = vec![
        pair("command", origin.command.clone()),
        pair("date", origin.date.clone()),
        pair("commit", origin.commit.clone()),
        pair(
            "host",
            format!(
                "{}, {} CPUs, {} MiB, Linux {}",
                origin.cpu, origin.host_cpus, origin.host_memory_mib, origin.host_kernel
            ),
        ),
        pair("accelerator", origin.accelerator.clone()),
        pair("QEMU", origin.qemu.clone()),
        pair("JDK", origin.jdk.clone()),
        pair("runs", format!("{} of each side, in turn{length}", origin.runs)),
    ];
    all.extend(origin.sides.iter().cloned());
    all
}

/// What the words of a verdict mean, for this number of runs.
fn how_to_read(results: &Results) -> String {
    let runs = results.provenance.runs;
    let values = vec![1.0; runs as usize];
    let coverage = statistics::median_interval(&values).map_or(0.0, |interval| interval.coverage);
    format!(
        "Figures are medians of all runs, with quartiles. A gain is by how many times the first side is better than the second: above 1 \
         it is better, below 1 it is worse. Gains are formed within a round, in which the sides ran one after the other; the median of \
         them is given with an interval from their order alone (the sign test turned round), which covers the true median with a \
         probability of {:.0}% for {runs} runs. Where the interval has 1 in it, the verdict is \"no difference\".",
        coverage * 100.0
    )
}

/// How much of the host others took, at most, in any run of a bench, in percent.
fn others_percent(bench: &Bench) -> f64 {
    bench.runs.iter().map(|run| run.others_share).fold(0.0, f64::max) * 100.0
}

/// A figure's name as people read it.
pub fn title(name: &str) -> String {
    name.replace('_', " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_the_digits_that_count() {
        let shown =
            [1234.5, 123.45, 12.345, 1.2345, 0.12345, 0.0, 1e-5, -42.0, f64::INFINITY, f64::NAN].map(number);
        assert_eq!(shown, ["1234", "123", "12.3", "1.23", "0.123", "0.00", "1.0e-5", "-42.0", "∞", ""]);
    }
}
