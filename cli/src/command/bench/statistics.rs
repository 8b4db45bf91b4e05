//! The arithmetic of a comparison: medians, spreads, and intervals that need no assumption about how noise is distributed.
//!
//! Two sides are measured in turn, so a round has a pair of values, and what the host did meanwhile fell on both. The ratio of each pair is
//! formed, and the median of the ratios gets a confidence interval from their order alone, which is the sign test turned round
//! (Conover, Practical Nonparametric Statistics, 3.2): of `n` values, the one that is `k`th from below and the one that is `k`th from above
//! enclose the median of what they were drawn from with probability `1 - 2 P(B < k)`, where `B` is binomial with `n` and 1/2. `k` is the
//! largest that gives 95%. With fewer than six values no `k` does; then it is the range of all of them, and what it covers is said.

/// What an interval is to cover.
const WANTED_COVERAGE: f64 = 0.95;

/// With fewer values nothing is said about a difference.
pub const LEAST_VALUES: usize = 3;

/// How values lie.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    pub median: f64,
    pub lower_quartile: f64,
    pub upper_quartile: f64,
    pub least: f64,
    pub greatest: f64,
    pub count: usize,
}

/// `None` of no values.
pub fn spread(values: &[f64]) -> Option<Spread> {
    let sorted = sorted(values);
    Some(Spread {
        median: quantile(&sorted, 0.5)?,
        lower_quartile: quantile(&sorted, 0.25)?,
        upper_quartile: quantile(&sorted, 0.75)?,
        least: *sorted.first()?,
        greatest: *sorted.last()?,
        count: sorted.len(),
    })
}

pub fn median(values: &[f64]) -> Option<f64> {
    quantile(&sorted(values), 0.5)
}

fn sorted(values: &[f64]) -> Vec<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted
}

/// By linear interpolation between the two nearest: definition 7 of Hyndman and Fan, Sample Quantiles in Statistical Packages (1996).
fn quantile(sorted: &[f64], share: f64) -> Option<f64> {
    let place = share * sorted.len().checked_sub(1)? as f64;
    let (below, above) = (sorted[place.floor() as usize], sorted[place.ceil() as usize]);
    // An infinite value must not make a NaN of its finite neighbour.
    Some(if below == above { below } else { below + (above - below) * place.fract() })
}

/// Where the median of what values were drawn from lies, and with which probability.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Interval {
    pub lower: f64,
    pub upper: f64,
    pub coverage: f64,
}

impl Interval {
    pub fn contains(&self, value: f64) -> bool {
        (self.lower..=self.upper).contains(&value)
    }
}

pub fn median_interval(values: &[f64]) -> Option<Interval> {
    let sorted = sorted(values);
    let count = sorted.len();
    if count == 0 {
        return None;
    }
    // P(B = 0), then by P(B = i + 1) = P(B = i) (n - i) / (i + 1).
    let mut probability = 0.5f64.powi(count as i32);
    let mut tail = probability;
    let mut interval = Interval { lower: sorted[0], upper: sorted[count - 1], coverage: 1.0 - 2.0 * tail };
    for below in 1..count / 2 {
        probability *= (count + 1 - below) as f64 / below as f64;
        tail += probability;
        let coverage = 1.0 - 2.0 * tail;
        if coverage < WANTED_COVERAGE {
            break;
        }
        interval = Interval { lower: sorted[below], upper: sorted[count - 1 - below], coverage };
    }
    interval.coverage = interval.coverage.max(0.0);
    Some(interval)
}

/// What one value is to another; two zeros are equal.
pub fn ratio(value: f64, to: f64) -> f64 {
    if value == to { 1.0 } else { value / to }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quartiles_are_interpolated() {
        let values = spread(&[5.0, 4.0, 3.0, 2.0, 1.0]).unwrap();
        assert_eq!((values.lower_quartile, values.median, values.upper_quartile), (2.0, 3.0, 4.0));
        assert_eq!((values.least, values.greatest, values.count), (1.0, 5.0, 5));
        let values = spread(&[4.0, 3.0, 1.0, 2.0]).unwrap();
        assert_eq!((values.lower_quartile, values.median, values.upper_quartile), (1.75, 2.5, 3.25));
        assert_eq!(spread(&[7.0]).map(|values| (values.least, values.median)), Some((7.0, 7.0)));
        assert_eq!(spread(&[]), None);
        assert_eq!(median(&[1.0, f64::INFINITY, 2.0]), Some(2.0));
    }

    #[test]
    fn intervals_are_those_of_the_sign_test() {
        let of = |count: usize| {
            let values: Vec<f64> = (1..=count).map(|value| value as f64).collect();
            median_interval(&values).unwrap()
        };
        // From tables of the sign test, as in Conover's A3 and A4.
        assert_eq!(of(5), Interval { lower: 1.0, upper: 5.0, coverage: 0.9375 });
        assert_eq!(of(6), Interval { lower: 1.0, upper: 6.0, coverage: 0.96875 });
        assert_eq!((of(9).lower, of(9).upper), (2.0, 8.0));
        assert!((of(9).coverage - 0.9609375).abs() < 1e-12);
        assert_eq!((of(20).lower, of(20).upper), (6.0, 15.0));
        assert!((of(20).coverage - 0.9586).abs() < 1e-4);
        let large = of(1000);
        assert!((large.lower, large.upper) == (469.0, 532.0) && large.coverage >= 0.95, "{large:?}");
    }

    #[test]
    fn few_values_say_what_they_cover() {
        assert_eq!(median_interval(&[]), None);
        assert_eq!(median_interval(&[2.0]), Some(Interval { lower: 2.0, upper: 2.0, coverage: 0.0 }));
        assert_eq!(median_interval(&[3.0, 1.0, 2.0]).map(|interval| interval.coverage), Some(0.75));
    }

    #[test]
    fn ratios_of_nothing() {
        assert_eq!(ratio(0.0, 0.0), 1.0);
        assert_eq!(ratio(3.0, 2.0), 1.5);
        assert_eq!(ratio(1.0, 0.0), f64::INFINITY);
    }
}
