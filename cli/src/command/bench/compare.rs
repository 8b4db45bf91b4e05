//! `crema bench compare`: what changed from one measurement to another.
//!
//! The two were made at different times, perhaps on different hosts, so that no run of one belongs to a run of the other. A figure counts as
//! changed if the intervals of the two medians (see `statistics`) do not overlap, which is more careful than a test of the difference. Where
//! both have another side beside Crema, what Crema was to it is shown too: that depends less on the host.

use std::{fs, path::Path};

use super::{
    comparison::{self, gain},
    model::{Bench, Better, Figure, Results},
    report,
    statistics::{LEAST_VALUES, Spread, median, median_interval, spread},
    table::Table,
};
use crate::failure::{Failure, Result};

pub fn compare(old: &Path, new: &Path) -> Result<()> {
    print!("{}", render(&read(old)?, &read(new)?));
    Ok(())
}

fn read(path: &Path) -> Result<Results> {
    let text = fs::read_to_string(path).map_err(Failure::io("read", path))?;
    Results::of_json(&text, path)
}

/// How a figure changed, in the order in which a reader should see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Change {
    Worse,
    Better,
    TooFewRuns,
    None,
}

struct Row {
    bench: String,
    side: String,
    name: String,
    unit: String,
    old: Spread,
    new: Spread,
    /// By how many times the new one is better.
    gain: Option<f64>,
    change: Change,
    /// What the side was to the first other one, then and now.
    beside: [Option<f64>; 2],
}

/// The changes as Markdown, the worst first.
fn render(old: &Results, new: &Results) -> String {
    let mut text = format!(
        "# From {} ({}) to {} ({})\n\n",
        old.provenance.date, old.provenance.commit, new.provenance.date, new.provenance.commit
    );
    for (what, old, new) in [
        ("CPU", &old.provenance.cpu, &new.provenance.cpu),
        ("accelerator", &old.provenance.accelerator, &new.provenance.accelerator),
        ("QEMU", &old.provenance.qemu, &new.provenance.qemu),
        ("JDK", &old.provenance.jdk, &new.provenance.jdk),
    ] {
        if old != new {
            text += &format!("* another {what}: {old} and {new}\n");
        }
    }
    for bench in &new.benches {
        match old.benches.iter().find(|other| other.name == bench.name) {
            None => text += &format!("* only in the new one: {}\n", bench.name),
            Some(other) if other.machine != bench.machine => {
                text += &format!(
                    "* another machine for {}: {} and {}\n",
                    bench.name, other.machine, bench.machine
                );
            }
            Some(_) => {}
        }
    }
    for bench in old.benches.iter().filter(|bench| !new.benches.iter().any(|new| new.name == bench.name)) {
        text += &format!("* only in the old one: {}\n", bench.name);
    }
    for (results, which) in [(old, "old"), (new, "new")] {
        let failed = results.failures().count();
        if failed > 0 {
            text += &format!("* runs that failed in the {which} one: {failed}\n");
        }
    }
    let mut rows = rows(old, new);
    rows.sort_by(|a, b| {
        let size = |row: &Row| row.gain.map_or(0.0, |gain| gain.max(1.0 / gain));
        a.change.cmp(&b.change).then(size(b).total_cmp(&size(a)))
    });
    let mut table = Table::new(&[
        "",
        "side",
        "unit",
        "old",
        "new",
        "gain",
        "change",
        "beside the other side, old and new",
    ]);
    for row in &rows {
        let beside = match row.beside {
            [Some(old), Some(new)] => format!("{}, {}", report::number(old), report::number(new)),
            _ => String::new(),
        };
        table.row([
            format!("{}: {}", row.bench, report::title(&row.name)),
            row.side.clone(),
            row.unit.clone(),
            report::spread(Some(row.old)),
            report::spread(Some(row.new)),
            row.gain.map_or(String::new(), report::number),
            match row.change {
                Change::Worse => "worse",
                Change::Better => "better",
                Change::TooFewRuns => "too few runs",
                Change::None => "",
            }
            .into(),
            beside,
        ]);
    }
    text + "\n" + &table.render()
}

fn rows(old: &Results, new: &Results) -> Vec<Row> {
    let mut rows = Vec::new();
    for bench in &new.benches {
        let Some(before) = old.benches.iter().find(|other| other.name == bench.name) else { continue };
        for side in bench.sides.iter().filter(|side| before.sides.contains(side)) {
            for figure in comparison::figures(bench) {
                rows.extend(row(before, bench, side, figure));
            }
        }
    }
    rows
}

fn row(old: &Bench, new: &Bench, side: &str, figure: &Figure) -> Option<Row> {
    let values = |bench: &Bench, side: &str| -> Vec<f64> {
        comparison::values(bench, side, &figure.name).into_iter().map(|(_, value)| value).collect()
    };
    let (old_values, new_values) = (values(old, side), values(new, side));
    let (old_spread, new_spread) = (spread(&old_values)?, spread(&new_values)?);
    let gain_of_new = gain(figure.better, new_spread.median, old_spread.median);
    let (before, now) = (median_interval(&old_values)?, median_interval(&new_values)?);
    let apart = before.upper < now.lower || now.upper < before.lower;
    let change = match gain_of_new {
        None => Change::None,
        Some(_) if !apart || figure.better == Better::Neither => Change::None,
        Some(_) if old_values.len().min(new_values.len()) < LEAST_VALUES => Change::TooFewRuns,
        Some(gain) if gain > 1.0 => Change::Better,
        Some(_) => Change::Worse,
    };
    let beside = [old, new].map(|bench| {
        let other = bench.sides.iter().find(|other| *other != side)?;
        let (own, other) = (median(&values(bench, side))?, median(&values(bench, other))?);
        gain(figure.better, own, other)
    });
    Some(Row {
        bench: new.name.clone(),
        side: side.into(),
        name: figure.name.clone(),
        unit: figure.unit.clone(),
        old: old_spread,
        new: new_spread,
        gain: gain_of_new,
        change,
        beside,
    })
}

#[cfg(test)]
mod tests {
    use super::{
        super::model::tests::{bench, results},
        *,
    };

    #[test]
    fn changes_come_first() {
        let old = results(vec![bench("ns", &[(10.0, 20.0), (11.0, 20.0), (12.0, 21.0)])]);
        let new = results(vec![bench("ns", &[(15.0, 20.0), (14.0, 21.0), (16.0, 20.0)])]);
        let text = render(&old, &new);
        let rows: Vec<Vec<&str>> = text
            .lines()
            .filter(|line| line.starts_with("| sys"))
            .map(|line| line.split('|').map(str::trim).collect())
            .collect();
        assert_eq!(rows[0][2], "Crema");
        assert_eq!(rows[0][6..9], ["0.733", "worse", "1.82, 1.33"]);
        assert_eq!((rows[1][2], rows[1][7]), ("Linux", ""));
        assert!(render(&new, &old).contains("| better |"));
    }

    #[test]
    fn what_cannot_be_compared_is_said() {
        let mut old = results(vec![bench("ns", &[(10.0, 20.0)])]);
        let mut new = results(vec![bench("ns", &[(15.0, 20.0)])]);
        old.provenance.cpu = "Another".into();
        new.benches[0].name = "boot".into();
        let text = render(&old, &new);
        assert!(text.contains("* another CPU: Another and A processor\n"), "{text}");
        assert!(text.contains("* only in the new one: boot\n* only in the old one: syscall\n"), "{text}");
        new.benches[0].name = "syscall".into();
        assert!(render(&old, &new).contains("| too few runs |"));
    }
}
