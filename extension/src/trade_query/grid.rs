//! The combinations of a grid: all of them, or a sample.

use rand::{RngExt as _, SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;

/// So many combinations can be evaluated at once.
pub(super) const MOST_COMBINATIONS: usize = 100_000;

/// A parameter and the values that it takes, as literals.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Axis {
    pub(super) name: String,
    pub(super) values: Vec<String>,
}

/// How to choose among the combinations of a grid.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Sampling {
    /// Each as likely as any other, none twice.
    Random,
    /// Each value of each parameter about as often as any other.
    LatinHypercube,
}

/// How many of the combinations, and which.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Sample {
    pub(super) count: usize,
    pub(super) sampling: Sampling,
    pub(super) seed: u64,
}

/// For each combination the index of each parameter's value. In the order of the grid, the last parameter running fastest.
pub(super) fn combinations(axes: &[Axis], sample: Option<Sample>) -> Result<Vec<Vec<usize>>, String> {
    let lengths: Vec<usize> = axes.iter().map(|axis| axis.values.len()).collect();
    let total = lengths.iter().try_fold(1_usize, |product, length| product.checked_mul(*length));
    match (sample, total) {
        (Some(sample), Some(total)) if sample.count >= total => every(&lengths, total),
        (Some(sample), total) => Ok(sampled(&lengths, total, sample)),
        (None, Some(total)) if total <= MOST_COMBINATIONS => every(&lengths, total),
        (None, _) => {
            let factors: Vec<String> = axes.iter().map(|axis| format!("{} of {}", axis.values.len(), axis.name)).collect();
            Err(format!(
                "grid has more than {MOST_COMBINATIONS} combinations ({}); give fewer values, or samples := 1000 for some of them",
                factors.join(" × ")
            ))
        }
    }
}

fn every(lengths: &[usize], total: usize) -> Result<Vec<Vec<usize>>, String> {
    Ok((0..total).map(|place| indices(lengths, place)).collect())
}

/// The values' indices of the n-th combination.
fn indices(lengths: &[usize], place: usize) -> Vec<usize> {
    let mut rest = place;
    let mut result: Vec<usize> = lengths
        .iter()
        .rev()
        .map(|length| {
            let index = rest % length;
            rest /= length;
            index
        })
        .collect();
    result.reverse();
    result
}

fn sampled(lengths: &[usize], total: Option<usize>, sample: Sample) -> Vec<Vec<usize>> {
    let mut random = ChaCha8Rng::seed_from_u64(sample.seed);
    let mut chosen = match (sample.sampling, total) {
        (Sampling::Random, Some(total)) => {
            rand::seq::index::sample(&mut random, total, sample.count).into_iter().map(|place| indices(lengths, place)).collect()
        }
        // More than can be numbered: two alike are as good as impossible, and fall together below.
        (Sampling::Random, None) => {
            (0..sample.count).map(|_| lengths.iter().map(|length| random.random_range(0..*length)).collect()).collect()
        }
        (Sampling::LatinHypercube, _) => {
            let mut chosen = vec![Vec::with_capacity(lengths.len()); sample.count];
            for length in lengths {
                let mut strata: Vec<usize> = (0..sample.count).collect();
                strata.shuffle(&mut random);
                for (combination, stratum) in chosen.iter_mut().zip(strata) {
                    combination.push(stratum * length / sample.count);
                }
            }
            chosen
        }
    };
    chosen.sort_unstable();
    chosen.dedup();
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;

    fn axes(lengths: &[usize]) -> Vec<Axis> {
        let axis = |length: &usize| Axis { name: "x".to_owned(), values: (0..*length).map(|value| value.to_string()).collect() };
        lengths.iter().map(axis).collect()
    }

    fn sample(lengths: &[usize], count: usize, sampling: Sampling, seed: u64) -> Vec<Vec<usize>> {
        combinations(&axes(lengths), Some(Sample { count, sampling, seed })).unwrap_or_default()
    }

    #[test]
    fn every_combination_once_the_last_parameter_fastest() {
        assert_eq!(combinations(&axes(&[2, 2]), None), Ok(vec![vec![0, 0], vec![0, 1], vec![1, 0], vec![1, 1]]));
        assert_eq!(combinations(&axes(&[]), None), Ok(vec![vec![]]));
        assert!(combinations(&axes(&[1000, 1000]), None).is_err_and(|message| message.contains("1000 of x × 1000 of x")));
    }

    #[test]
    fn samples_are_distinct_and_those_of_their_seed() {
        for sampling in [Sampling::Random, Sampling::LatinHypercube] {
            let one = sample(&[40, 50], 100, sampling, 1);
            assert!(one.windows(2).all(|two| two[0] < two[1]));
            assert!(one.iter().all(|combination| combination[0] < 40 && combination[1] < 50));
            assert_eq!(one, sample(&[40, 50], 100, sampling, 1));
            assert_ne!(one, sample(&[40, 50], 100, sampling, 2));
        }
        assert_eq!(sample(&[40, 50], 100, Sampling::Random, 1).len(), 100);
        assert_eq!(sample(&[3, 2], 100, Sampling::Random, 1).len(), 6, "no more than there are");
        // More than a usize can count.
        assert_eq!(sample(&[10_000; 5], 7, Sampling::Random, 1).len(), 7);
    }

    /// A random sample, which a wrong version would be, leaves some of the values out: all of them come with a chance of 1 in 3,000.
    #[test]
    fn a_latin_hypercube_takes_each_value_as_often() {
        let chosen = sample(&[10, 5], 10, Sampling::LatinHypercube, 3);
        let count = |axis: usize, value| chosen.iter().filter(|combination| combination[axis] == value).count();
        assert!((0..10).all(|value| count(0, value) == 1));
        assert!((0..5).all(|value| count(1, value) == 2));
    }
}
