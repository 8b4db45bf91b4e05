//! Results as Markdown.

use super::{
    super::{
        comparison::{self, Row, Verdict},
        model::{Bench, Results},
        table::Table,
    },
    gain, how_to_read, others_percent, provenance, spread, title,
};

/// The whole report. What is worse comes first, in a table of its own and in each of the others.
pub fn render(results: &Results) -> String {
    let mut text = format!("# Crema measured, {}\n\n", results.provenance.date);
    for (name, meaning) in provenance(results).iter().filter(|(_, meaning)| !meaning.is_empty()) {
        let meaning = if name == "command" { format!("`{meaning}`") } else { meaning.clone() };
        text += &format!("* {name}: {meaning}\n");
    }
    text += &format!("\n{}\n\n", how_to_read(results));
    text += &losses(results);
    text += &failures(results);
    for bench in &results.benches {
        text += &section(bench);
    }
    text
}

fn losses(results: &Results) -> String {
    let mut all: Vec<(&Bench, &String, Row)> = Vec::new();
    let mut judged = false;
    for bench in &results.benches {
        let Some((own, others)) = bench.sides.split_first() else { continue };
        for other in others {
            let rows = comparison::compare(bench, own, other);
            judged |= rows
                .iter()
                .any(|row| matches!(row.verdict, Verdict::Worse | Verdict::NoDifference | Verdict::Better));
            let worse = rows.into_iter().filter(|row| row.verdict == Verdict::Worse);
            all.extend(worse.map(|row| (bench, other, row)));
        }
    }
    if all.is_empty() {
        return if judged {
            "No figure is worse than on another side, as far as there is a verdict.\n\n".into()
        } else {
            String::new()
        };
    }
    all.sort_by(|(.., a), (.., b)| {
        let gain = |row: &Row| row.gain.map_or(1.0, |gain| gain.median);
        gain(a).total_cmp(&gain(b))
    });
    let mut table = Table::new(&["what is worse", "than", "unit", "own", "other", "gain"]);
    for (bench, other, row) in all {
        table.row([
            cell(&format!("{}: {}", bench.name, title(&row.name))),
            cell(other),
            cell(&row.unit),
            spread(row.own),
            spread(row.other),
            gain(row.gain),
        ]);
    }
    table.render() + "\n"
}

fn failures(results: &Results) -> String {
    let mut text = String::new();
    for (bench, run, why) in results.failures() {
        let first = why.lines().next().unwrap_or_default();
        text += &format!("* **failed**: {}, {}, round {}: {first}\n", bench.name, run.side, run.round + 1);
    }
    if text.is_empty() { text } else { text + "\n" }
}

fn section(bench: &Bench) -> String {
    let mut text = format!("## {}\n\n{}.", bench.name, bench.machine);
    text += &format!(" Other programs took at most {:.0}% of the host's CPUs.\n\n", others_percent(bench));
    let Some((own, others)) = bench.sides.split_first() else { return text };
    for other in others {
        let mut table = Table::new(&["", "unit", own, other, "gain", "verdict"]);
        for row in comparison::compare(bench, own, other) {
            table.row([
                cell(&title(&row.name)),
                cell(&row.unit),
                spread(row.own),
                spread(row.other),
                gain(row.gain),
                row.verdict.text().into(),
            ]);
        }
        text += &(table.render() + "\n");
        for (name, ours, theirs) in comparison::unequal_work(bench, own, other) {
            text += &format!("* unequal work: {name} {ours} on {own}, {theirs} on {other}\n");
        }
    }
    if others.is_empty() {
        let mut table = Table::new(&["", "unit", own]);
        for row in comparison::compare(bench, own, own) {
            table.row([cell(&title(&row.name)), cell(&row.unit), spread(row.own)]);
        }
        text += &(table.render() + "\n");
    }
    for note in &bench.notes {
        text += &format!("* {note}\n");
    }
    if text.ends_with("\n\n") { text } else { text + "\n" }
}

/// Text that does not end its cell.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}

#[cfg(test)]
mod tests {
    use super::{
        super::super::model::{
            Figure, Outcome, Run,
            tests::{bench, results},
        },
        *,
    };

    #[test]
    fn losses_come_first_and_failures_are_shown() {
        let mut slow = bench("ns", &[(4.0, 2.0), (4.0, 2.0), (4.0, 2.0)]);
        slow.name = "net".into();
        slow.notes.push("one note".into());
        slow.runs.push(Run {
            round: 3,
            side: "Linux".into(),
            outcome: Outcome::Failed("no answer\nand more".into()),
            others_share: 0.5,
        });
        let text = render(&results(vec![bench("ns", &[(1.0, 2.0), (1.0, 2.0), (1.0, 2.0)]), slow]));
        let lines: Vec<&str> = text.lines().filter(|line| line.starts_with("| ")).collect();
        assert!(lines[0].starts_with("| what is worse"), "{text}");
        assert_eq!(
            lines[2].split('|').map(str::trim).collect::<Vec<_>>()[1..7],
            [
                "net: getppid",
                "Linux",
                "ns",
                "4.00 (4.00 – 4.00)",
                "2.00 (2.00 – 2.00)",
                "0.500 (0.500 – 0.500)"
            ]
        );
        assert!(text.contains("**failed**: net, Linux, round 4: no answer\n"), "{text}");
        assert!(text.contains("at most 50% of"), "{text}");
        assert!(text.contains("\n* one note\n"), "{text}");
        assert!(text.contains("75% for 2 runs") || text.contains("50% for 2 runs"), "{text}");
        assert!(text.contains("* command: `crema bench syscall --load \"<a & b>\"`\n"), "{text}");
    }

    #[test]
    fn a_side_may_be_alone() {
        let mut alone = bench("ns", &[(4.0, 2.0)]);
        alone.sides.pop();
        alone.runs.pop();
        let Outcome::Measured(seen) = &mut alone.runs[0].outcome else { panic!() };
        seen.figure(Figure::new("a|b", "MiB", 7.0));
        let text = render(&results(vec![alone]));
        assert!(!text.contains("gain |") && !text.contains("worse than"), "{text}");
        assert!(text.contains("| a\\|b    |  MiB |  7.00 |"), "{text}");
    }

    #[test]
    fn nothing_worse_is_said_so() {
        let text = render(&results(vec![bench("ns", &[(1.0, 2.0), (1.0, 2.0), (1.0, 2.0)])]));
        assert!(text.contains("No figure is worse than on another side"), "{text}");
        assert!(text.contains(" better |"), "{text}");
    }
}
