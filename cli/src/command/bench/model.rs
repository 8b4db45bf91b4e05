//! What a run of `crema bench` has found, as it is kept in `results.json`.
//!
//! Only what was observed is kept, run by run; medians, ratios and verdicts are computed from it by whoever shows them
//! (`comparison`), so that a later version can judge an old file by its own rules.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::failure::{Failure, Result};

/// Raised when the file changes in a way that an older tool would misread.
const FORMAT: u32 = 1;

/// Everything that one call of the tool has measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Results {
    format: u32,
    pub provenance: Provenance,
    pub benches: Vec<Bench>,
}

/// What a reader must know to judge figures: how they were made, when, on what, and with which versions.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Provenance {
    pub command: String,
    /// UTC, as RFC 3339 has it.
    pub date: String,
    /// Of the project, with a `+` if files differ from it.
    pub commit: String,
    pub cpu: String,
    pub host_cpus: usize,
    pub host_memory_mib: u64,
    pub host_kernel: String,
    pub qemu: String,
    pub jdk: String,
    pub accelerator: String,
    /// How often each side ran.
    pub runs: u32,
    pub length: Length,
    /// Name and kernel of each side.
    pub sides: Vec<(String, String)>,
}

/// How much is measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Length {
    #[default]
    Full,
    Quick,
}

impl Length {
    /// One of two values.
    pub fn pick<T>(self, full: T, quick: T) -> T {
        match self {
            Self::Full => full,
            Self::Quick => quick,
        }
    }
}

/// One measurement's runs on one kind of machine.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Bench {
    /// Such as `boot`, or `memory 512M`.
    pub name: String,
    /// What the machine was like.
    pub machine: String,
    /// The first is compared with each of the others.
    pub sides: Vec<String>,
    /// In the order in which they were made.
    pub runs: Vec<Run>,
    /// What a reader of the figures should know besides.
    pub notes: Vec<String>,
}

/// One run of one side.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// Runs of the same round are compared with each other.
    pub round: u32,
    pub side: String,
    pub outcome: Outcome,
    /// What share of the host's CPUs other programs took meanwhile, from 0 to 1.
    pub others_share: f64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    Measured(Observation),
    /// And why.
    Failed(String),
}

impl Run {
    pub fn observation(&self) -> Option<&Observation> {
        match &self.outcome {
            Outcome::Measured(observation) => Some(observation),
            Outcome::Failed(_) => None,
        }
    }
}

/// What one run has shown.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Observation {
    pub figures: Vec<Figure>,
    /// How much was done: it must be the same on all sides.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub work: Vec<Work>,
    /// What changed in the course of the run.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub courses: Vec<Course>,
}

/// One figure of one run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Figure {
    pub name: String,
    pub unit: String,
    pub better: Better,
    pub value: f64,
}

/// Which figures are better than others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Better {
    Higher,
    Lower,
    /// It only helps to understand the others.
    Neither,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Work {
    pub name: String,
    pub amount: u64,
}

/// A figure at several times.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Course {
    pub name: String,
    pub unit: String,
    /// Seconds since the start, and the value.
    pub points: Vec<(f64, f64)>,
}

impl Figure {
    /// By its unit: rates are better when they are higher, and all else (times, sizes, counts) when it is lower.
    pub fn new(name: impl Into<String>, unit: impl Into<String>, value: f64) -> Self {
        let unit = unit.into();
        let better = if unit.ends_with("/s") { Better::Higher } else { Better::Lower };
        Self { name: name.into(), unit, better, value }
    }

    pub fn with(self, better: Better) -> Self {
        Self { better, ..self }
    }
}

impl Observation {
    pub fn figure(&mut self, figure: Figure) {
        self.figures.push(figure);
    }

    pub fn work(&mut self, name: impl Into<String>, amount: u64) {
        self.work.push(Work { name: name.into(), amount });
    }

    /// Takes in what another part of the same run has shown.
    pub fn append(&mut self, other: Self) {
        self.figures.extend(other.figures);
        self.work.extend(other.work);
        self.courses.extend(other.courses);
    }

    pub fn value(&self, name: &str) -> Option<f64> {
        self.figures.iter().find(|figure| figure.name == name).map(|figure| figure.value)
    }
}

impl Results {
    pub fn new(provenance: Provenance) -> Self {
        Self { format: FORMAT, provenance, benches: vec![] }
    }

    pub fn to_json(&self) -> Result<String> {
        let json = serde_json::to_string_pretty(self);
        json.map(|json| json + "\n")
            .map_err(|error| Failure::new(format!("cannot write the results: {error}")))
    }

    pub fn of_json(text: &str, path: &Path) -> Result<Self> {
        let results: Self = serde_json::from_str(text).map_err(|error| {
            Failure::new(format!("{} holds no results of crema bench: {error}", path.display()))
        })?;
        if results.format != FORMAT {
            return Err(Failure::new(format!(
                "{} was written by another version of crema: its format is {}, and not {FORMAT}",
                path.display(),
                results.format
            )));
        }
        Ok(results)
    }

    /// Runs that failed, with their bench.
    pub fn failures(&self) -> impl Iterator<Item = (&Bench, &Run, &str)> {
        self.benches.iter().flat_map(|bench| {
            bench.runs.iter().filter_map(move |run| match &run.outcome {
                Outcome::Failed(why) => Some((bench, run, why.as_str())),
                Outcome::Measured(_) => None,
            })
        })
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// A bench of two sides with one figure, and a value of each side for each round.
    pub fn bench(unit: &str, values: &[(f64, f64)]) -> Bench {
        let run = |round: usize, side: &str, value: f64| {
            let mut observation = Observation::default();
            observation.figure(Figure::new("getppid", unit, value));
            observation.work("calls", 1000);
            Run {
                round: round as u32,
                side: side.into(),
                outcome: Outcome::Measured(observation),
                others_share: 0.125,
            }
        };
        let pair = |(round, (crema, linux)): (usize, &(f64, f64))| {
            [run(round, "Crema", *crema), run(round, "Linux", *linux)]
        };
        Bench {
            name: "syscall".into(),
            machine: "TCG, q35, 1 CPU, 512 MiB".into(),
            sides: vec!["Crema".into(), "Linux".into()],
            runs: values.iter().enumerate().flat_map(pair).collect(),
            notes: vec![],
        }
    }

    pub fn results(benches: Vec<Bench>) -> Results {
        let provenance = Provenance {
            command: "crema bench syscall --load \"<a & b>\"".into(),
            date: "2026-11-20T20:00:00Z".into(),
            commit: "abc".into(),
            cpu: "A processor".into(),
            host_cpus: 2,
            runs: 2,
            sides: vec![("Crema".into(), "crema-kernel".into()), ("Linux".into(), "6.1".into())],
            ..Provenance::default()
        };
        Results { benches, ..Results::new(provenance) }
    }

    #[test]
    fn what_is_written_is_read() {
        let mut results = results(vec![bench("ns", &[(0.1, 1.0 / 3.0), (1e-9, 1e300)])]);
        results.benches[0].runs.push(Run {
            round: 2,
            side: "Crema".into(),
            outcome: Outcome::Failed("it \"ended\"\n".into()),
            others_share: 0.0,
        });
        let course = Course { name: "resident".into(), unit: "MiB".into(), points: vec![(0.5, 17.25)] };
        let Outcome::Measured(observation) = &mut results.benches[0].runs[0].outcome else { panic!() };
        observation.courses.push(course);
        let json = results.to_json().unwrap();
        assert_eq!(Results::of_json(&json, Path::new("x")), Ok(results.clone()));
        assert_eq!(results.failures().map(|(_, run, _)| run.round).collect::<Vec<_>>(), [2]);
    }

    #[test]
    fn other_files_are_refused() {
        let refused = |text: &str| Results::of_json(text, Path::new("x.json")).unwrap_err().to_string();
        assert!(refused("{}").contains("x.json holds no results"));
        let json = results(vec![]).to_json().unwrap();
        assert!(refused(&json.replace("\"format\": 1", "\"format\": 9")).contains("another version"));
    }

    #[test]
    fn the_unit_says_which_is_better() {
        assert_eq!(Figure::new("a", "MB/s", 1.0).better, Better::Higher);
        assert_eq!(Figure::new("a", "us", 1.0).better, Better::Lower);
        assert_eq!(Figure::new("a", "%", 1.0).with(Better::Neither).better, Better::Neither);
    }
}
