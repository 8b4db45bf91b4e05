//! One side beside another: for each figure the spreads, the ratio pair by pair, and what can be said about it.

use super::{
    model::{Bench, Better, Figure, Observation},
    statistics::{Interval, LEAST_VALUES, Spread, median, median_interval, ratio, spread},
};

/// A figure of the side that is of interest, and of the one that it is compared with.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    pub name: String,
    pub unit: String,
    pub better: Better,
    pub own: Option<Spread>,
    pub other: Option<Spread>,
    /// By how many times the own side is better; `None` if no round has both.
    pub gain: Option<Gain>,
    pub verdict: Verdict,
}

/// More than 1 is better for the own side.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Gain {
    pub median: f64,
    pub interval: Interval,
}

/// What can be said of a difference, in the order in which a reader should see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// The sides did not do the same work, so that the figures cannot be compared.
    UnequalWork,
    Worse,
    NoDifference,
    TooFewRuns,
    Better,
    /// A side has no figure, or none is better than another.
    None,
}

impl Verdict {
    pub fn text(self) -> &'static str {
        match self {
            Self::UnequalWork => "unequal work",
            Self::Worse => "worse",
            Self::NoDifference => "no difference",
            Self::TooFewRuns => "too few runs",
            Self::Better => "better",
            Self::None => "",
        }
    }
}

/// All figures of two sides of a bench: the worst first, and of what is neither better nor worse, what the bench printed first.
pub fn compare(bench: &Bench, own: &str, other: &str) -> Vec<Row> {
    let unequal = !unequal_work(bench, own, other).is_empty();
    let mut rows: Vec<Row> =
        figures(bench).into_iter().map(|figure| row(bench, figure, own, other, unequal)).collect();
    let gain = |row: &Row| match row.verdict {
        Verdict::Worse | Verdict::Better => row.gain.map_or(0.0, |gain| gain.median),
        _ => 0.0,
    };
    rows.sort_by(|a, b| a.verdict.cmp(&b.verdict).then(gain(a).total_cmp(&gain(b))));
    rows
}

/// One of each figure, as they first appear.
pub fn figures(bench: &Bench) -> Vec<&Figure> {
    let mut figures: Vec<&Figure> = Vec::new();
    for figure in bench.runs.iter().filter_map(|run| run.observation()).flat_map(|seen| &seen.figures) {
        if !figures.iter().any(|other| other.name == figure.name) {
            figures.push(figure);
        }
    }
    figures
}

/// What a side has of a figure in all its runs, with their rounds.
pub fn values(bench: &Bench, side: &str, figure: &str) -> Vec<(u32, f64)> {
    observations(bench, side).filter_map(|(round, seen)| Some((round, seen.value(figure)?))).collect()
}

fn observations<'a>(
    bench: &'a Bench,
    side: &'a str,
) -> impl Iterator<Item = (u32, &'a Observation)> + use<'a> {
    let of_side = bench.runs.iter().filter(move |run| run.side == side);
    of_side.filter_map(|run| Some((run.round, run.observation()?)))
}

/// The work of which two sides did different amounts in the same round, with what each did.
pub fn unequal_work(bench: &Bench, own: &str, other: &str) -> Vec<(String, u64, u64)> {
    let mut unequal: Vec<(String, u64, u64)> = Vec::new();
    for (round, seen) in observations(bench, own) {
        for (_, seen_there) in observations(bench, other).filter(|(there, _)| *there == round) {
            for work in &seen.work {
                let same = seen_there.work.iter().find(|there| there.name == work.name);
                if let Some(there) = same
                    && there.amount != work.amount
                    && !unequal.iter().any(|(name, ..)| *name == work.name)
                {
                    unequal.push((work.name.clone(), work.amount, there.amount));
                }
            }
        }
    }
    unequal
}

fn row(bench: &Bench, figure: &Figure, own: &str, other: &str, unequal: bool) -> Row {
    let (own_values, other_values) = (values(bench, own, &figure.name), values(bench, other, &figure.name));
    let gains: Vec<f64> = own_values
        .iter()
        .filter_map(|(round, own)| {
            let (_, other) = other_values.iter().find(|(there, _)| there == round)?;
            gain(figure.better, *own, *other)
        })
        .collect();
    let only_values =
        |values: &[(u32, f64)]| -> Vec<f64> { values.iter().map(|(_, value)| *value).collect() };
    let gain = median(&gains).and_then(|median| Some(Gain { median, interval: median_interval(&gains)? }));
    let verdict = match gain {
        None => Verdict::None,
        Some(_) if unequal => Verdict::UnequalWork,
        Some(_) if gains.len() < LEAST_VALUES => Verdict::TooFewRuns,
        Some(gain) if gain.interval.contains(1.0) => Verdict::NoDifference,
        Some(gain) if gain.median > 1.0 => Verdict::Better,
        Some(_) => Verdict::Worse,
    };
    Row {
        name: figure.name.clone(),
        unit: figure.unit.clone(),
        better: figure.better,
        own: spread(&only_values(&own_values)),
        other: spread(&only_values(&other_values)),
        gain,
        verdict,
    }
}

/// By how many times `own` is better.
pub fn gain(better: Better, own: f64, other: f64) -> Option<f64> {
    match better {
        Better::Higher => Some(ratio(own, other)),
        Better::Lower => Some(ratio(other, own)),
        Better::Neither => None,
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::model::{Outcome, tests::bench},
        *,
    };

    fn only(bench: &Bench) -> Row {
        let mut rows = compare(bench, "Crema", "Linux");
        assert_eq!(rows.len(), 1);
        rows.remove(0)
    }

    #[test]
    fn pairs_are_compared_with_each_other() {
        // Between rounds the host's speed changes by a factor of four; within a round it does not.
        let row = only(&bench("ns", &[(10.0, 20.0), (20.0, 40.0), (40.0, 80.0)]));
        let gain = row.gain.unwrap();
        assert_eq!((gain.median, gain.interval.lower, gain.interval.upper), (2.0, 2.0, 2.0));
        assert_eq!(row.verdict, Verdict::Better);
        assert_eq!(row.own.map(|own| own.median), Some(20.0));
        let row = only(&bench("1/s", &[(10.0, 20.0), (20.0, 40.0), (40.0, 80.0)]));
        assert_eq!((row.verdict, row.gain.map(|gain| gain.median)), (Verdict::Worse, Some(0.5)));
    }

    #[test]
    fn what_the_spread_covers_is_no_difference() {
        let row = only(&bench("ns", &[(10.0, 11.0), (11.0, 10.0), (10.0, 12.0)]));
        assert_eq!(row.verdict, Verdict::NoDifference);
        assert_eq!(only(&bench("ns", &[(1.0, 9.0), (1.0, 9.0)])).verdict, Verdict::TooFewRuns);
    }

    #[test]
    fn a_failed_run_takes_its_pair_along() {
        let mut bench = bench("ns", &[(10.0, 20.0), (10.0, 20.0), (10.0, 20.0), (10.0, 20.0)]);
        bench.runs[3].outcome = Outcome::Failed("no answer".into());
        let row = only(&bench);
        assert_eq!((row.own.unwrap().count, row.other.unwrap().count), (4, 3));
        assert_eq!(row.verdict, Verdict::Better);
        bench.runs.retain(|run| run.side == "Crema");
        let row = only(&bench);
        assert_eq!((row.other, row.gain, row.verdict), (None, None, Verdict::None));
    }

    #[test]
    fn unequal_work_is_no_comparison() {
        let mut bench = bench("ns", &[(1.0, 2.0), (1.0, 2.0), (1.0, 2.0)]);
        let Outcome::Measured(observation) = &mut bench.runs[5].outcome else { panic!() };
        observation.work[0].amount = 999;
        assert_eq!(unequal_work(&bench, "Crema", "Linux"), [("calls".into(), 1000, 999)]);
        assert_eq!(only(&bench).verdict, Verdict::UnequalWork);
    }

    #[test]
    fn the_worst_is_shown_first() {
        let mut all = bench("ns", &[(1.0, 2.0); 3]);
        for (name, value) in [("slow", 3.0), ("slower", 9.0), ("quick", 0.1), ("same", 2.0)] {
            for run in &mut all.runs {
                let Outcome::Measured(seen) = &mut run.outcome else { panic!() };
                let value = if run.side == "Crema" { value } else { 2.0 };
                seen.figure(Figure::new(name, "ns", value));
            }
        }
        let names: Vec<String> = compare(&all, "Crema", "Linux").into_iter().map(|row| row.name).collect();
        assert_eq!(names, ["slower", "slow", "same", "getppid", "quick"]);
    }
}
