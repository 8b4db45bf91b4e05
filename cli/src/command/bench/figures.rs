//! What the programs print that measure: lines that are figures, and lines that say how much was done.
//!
//! `NAME UNIT VALUE` is a figure, and so is `NAME UNIT MEDIAN P25 P75 MIN SAMPLES`, of which the median counts. The unit `work` stands for an
//! amount that must be the same on all sides. All other lines are not for us.

use super::model::{Figure, Observation};

const WORK: &str = "work";

pub fn parse(text: &str) -> Observation {
    let mut observation = Observation::default();
    for line in text.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let ([name, unit, value] | [name, unit, value, _, _, _, _]) = words[..] else { continue };
        if unit == WORK {
            if let Ok(amount) = value.parse() {
                observation.work(name, amount);
            }
        } else if let Ok(value) = value.parse::<f64>()
            && value.is_finite()
        {
            observation.figure(Figure::new(name, unit, value));
        }
    }
    observation
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As benchmarks/syscall, benchmarks/net and benchmarks/disk print them.
    const RECORDED: &str = "getppid ns 357.9 355.0 371.2 349.9 31\nnote: no second CPU\npipe_throughput_same MB/s 719.3 700.1 725.0 650.2 31\n\
        round_trips 1/s 5321.1\nround_trips_p99.9 us 812.4\nhttp_answers work 51234\nready\nbad ns x 1 2 3 4\nworse ns NaN\nsyncs work -1\n";

    #[test]
    fn figures_and_work_are_told_from_other_lines() {
        let observation = parse(RECORDED);
        let figures: Vec<(&str, &str, f64)> =
            observation.figures.iter().map(|figure| (&*figure.name, &*figure.unit, figure.value)).collect();
        assert_eq!(
            figures,
            [
                ("getppid", "ns", 357.9),
                ("pipe_throughput_same", "MB/s", 719.3),
                ("round_trips", "1/s", 5321.1),
                ("round_trips_p99.9", "us", 812.4),
            ]
        );
        assert_eq!(observation.work.len(), 1);
        assert_eq!((observation.work[0].name.as_str(), observation.work[0].amount), ("http_answers", 51234));
    }
}
