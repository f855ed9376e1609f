//! The probability of backtest overfitting by combinatorially symmetric cross-validation.
//!
//! Sharpe ratios of a half come from sums over its blocks, so that a session is read once, not once for each of thousands of choices.

/// Most blocks that the sessions can be cut into: 20 have fourteen times the choices of 16.
pub(super) const MOST_BLOCKS: usize = 16;

/// Sharpe ratios nearer than this are the same: rounding must not decide who is best.
const SAME: f64 = 1e-9;

/// Variance by mean square below which returns are all the same. Sums of thousands of them are this exact.
const NO_DEVIATION: f64 = 1e-12;

/// The share of choices of half of the blocks whose best trial ranks at or below the middle on the other half. `returns` are finite, trial
/// after trial. `None` for fewer than 2 trials or fewer sessions than blocks.
pub(super) fn probability(returns: &[f64], trials: usize, blocks: usize) -> Option<f64> {
    let sessions = returns.len().checked_div(trials)?;
    if trials < 2 || sessions < blocks {
        return None;
    }
    let sums = block_sums(returns, sessions, blocks);
    let mut halves = [Half::new(trials), Half::new(trials)];
    let mut best = Vec::new();
    let (mut overfitted, mut choices) = (0.0, 0.0);
    let all = (1_u32 << blocks) - 1;
    // A half is out of sample for the other one: with the first block in one of them, each pair comes up once.
    for chosen in (1..=all).step_by(2).filter(|chosen| chosen.count_ones() as usize == blocks / 2) {
        let [one, other] = &mut halves;
        one.measure(&sums, chosen);
        other.measure(&sums, all & !chosen);
        overfitted += overfitted_share(&one.ratios, &other.ratios, &mut best) + overfitted_share(&other.ratios, &one.ratios, &mut best);
        choices += 2.0;
    }
    Some(overfitted / choices)
}

/// Sums over a block, of each trial.
struct BlockSums {
    sessions: usize,
    returns: Vec<f64>,
    squares: Vec<f64>,
}

fn block_sums(returns: &[f64], sessions: usize, blocks: usize) -> Vec<BlockSums> {
    // A Sharpe ratio has no unit, and squares of numbers up to 1 neither overflow nor vanish.
    let units: Vec<_> =
        returns.chunks_exact(sessions).map(|trial| trial.iter().fold(0.0_f64, |unit, value| unit.max(value.abs()))).collect();
    let mut first = 0;
    (0..blocks)
        .map(|block| {
            let length = sessions / blocks + usize::from(block < sessions % blocks);
            let mut sums = BlockSums { sessions: length, returns: Vec::new(), squares: Vec::new() };
            for (trial, unit) in returns.chunks_exact(sessions).zip(&units) {
                let (mut sum, mut square) = (0.0, 0.0);
                for value in trial[first..first + length].iter().filter(|value| **value != 0.0).map(|value| value / unit) {
                    sum += value;
                    square += value * value;
                }
                sums.returns.push(sum);
                sums.squares.push(square);
            }
            first += length;
            sums
        })
        .collect()
}

/// Half of the blocks.
struct Half {
    returns: Vec<f64>,
    squares: Vec<f64>,
    /// Sharpe ratios of the trials on it.
    ratios: Vec<f64>,
}

impl Half {
    fn new(trials: usize) -> Self {
        Self { returns: vec![0.0; trials], squares: vec![0.0; trials], ratios: vec![0.0; trials] }
    }

    /// `chosen` has a bit for each block.
    fn measure(&mut self, blocks: &[BlockSums], chosen: u32) {
        self.returns.fill(0.0);
        self.squares.fill(0.0);
        let mut sessions = 0;
        for (_, block) in blocks.iter().enumerate().filter(|(index, _)| chosen >> index & 1 == 1) {
            sessions += block.sessions;
            add(&mut self.returns, &block.returns);
            add(&mut self.squares, &block.squares);
        }
        let each = 1.0 / sessions as f64;
        for ((ratio, sum), square) in self.ratios.iter_mut().zip(&self.returns).zip(&self.squares) {
            let (mean, mean_square) = (sum * each, square * each);
            let variance = mean_square - mean * mean;
            let quotient = mean / variance.sqrt();
            *ratio = if variance > NO_DEVIATION * mean_square { quotient } else { 0.0 };
        }
    }
}

fn add(sums: &mut [f64], numbers: &[f64]) {
    sums.iter_mut().zip(numbers).for_each(|(sum, number)| *sum += number);
}

/// Which part of the trials that are best `inside` rank at or below the middle `outside`. `best` is room to work in.
fn overfitted_share(inside: &[f64], outside: &[f64], best: &mut Vec<f64>) -> f64 {
    let highest = inside.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    best.clear();
    best.extend(inside.iter().zip(outside).filter(|(inside, _)| **inside >= highest - SAME).map(|(_, outside)| *outside));
    // Of n trials, a above and e the same, itself included: the rank is n − a − e + (e + 1) / 2, and at most (n + 1) / 2 if 2a + e ≥ n.
    let is_low = |ratio: &f64| {
        let (above, same_or_above) = outside.iter().fold((0, 0), |(above, same_or_above), other| {
            (above + usize::from(*other > ratio + SAME), same_or_above + usize::from(*other >= ratio - SAME))
        });
        above + same_or_above >= outside.len()
    };
    // Who is below a low one is low, too: thousands of tied ones need a dozen looks.
    best.sort_unstable_by(f64::total_cmp);
    best.partition_point(is_low) as f64 / best.len() as f64
}

#[cfg(test)]
mod tests {
    use super::probability;

    #[test]
    fn two_trials_that_swap_are_overfitted_and_two_that_do_not_are_not() {
        let good = [1.0, 2.0];
        let bad = [-1.0, -2.0];
        assert_eq!(probability(&[good, bad, bad, good].concat(), 2, 2), Some(1.0));
        assert_eq!(probability(&[good, good, bad, bad].concat(), 2, 2), Some(0.0));
    }

    #[test]
    fn too_little_has_no_probability() {
        assert_eq!(probability(&[], 0, 2), None);
        assert_eq!(probability(&[1.0, 2.0], 1, 2), None);
        assert_eq!(probability(&[1.0, 2.0, 3.0, 4.0], 2, 4), None);
    }
}
