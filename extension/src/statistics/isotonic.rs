//! Isotonic regression by pooling adjacent violators.

/// Neighbours that share a value of the fit.
struct Pool {
    mean: f64,
    weight: f64,
    length: usize,
}

/// The non-decreasing numbers nearest to the values of these pairs of value and weight. Values and the sum of the weights are finite,
/// weights above 0.
pub(super) fn fit(points: &[(f64, f64)]) -> Vec<f64> {
    let mut pools: Vec<Pool> = Vec::with_capacity(points.len());
    for (value, weight) in points {
        let mut pool = Pool { mean: *value, weight: *weight, length: 1 };
        while let Some(last) = pools.pop_if(|last| last.mean > pool.mean) {
            let weight = last.weight + pool.weight;
            // From one mean towards the other, so that rates of small counts come out exact; halved, so that no difference overflows.
            let mean = 2.0 * (last.mean / 2.0 + (pool.mean / 2.0 - last.mean / 2.0) * (pool.weight / weight));
            pool = Pool { mean, weight, length: last.length + pool.length };
        }
        pools.push(pool);
    }
    pools.iter().flat_map(|pool| std::iter::repeat_n(pool.mean, pool.length)).collect()
}

#[cfg(test)]
mod tests {
    use super::fit;

    #[test]
    fn what_does_not_fall_is_left_as_it_is() {
        assert_eq!(fit(&[]), Vec::<f64>::new());
        assert_eq!(fit(&[(0.1, 3.0)]), [0.1]);
        assert_eq!(fit(&[(0.1, 3.0), (0.1, 1.0), (0.7, 7.0)]), [0.1, 0.1, 0.7]);
    }

    #[test]
    fn what_falls_is_pooled_by_weight_and_backwards() {
        // 4 and 1 pool to 2, which is below 3, so all three do: (3 + 4 + 2 · 1) / 4.
        assert_eq!(fit(&[(3.0, 1.0), (4.0, 1.0), (1.0, 2.0)]), [2.25, 2.25, 2.25]);
        assert_eq!(fit(&[(1.0, 1.0), (4.0, 1.0), (1.0, 2.0), (5.0, 1.0)]), [1.0, 2.0, 2.0, 5.0]);
    }

    #[test]
    fn the_largest_numbers_stay_finite() {
        assert!(fit(&[(f64::MAX, 1.0), (f64::MAX / 2.0, 1.0), (-f64::MAX, 1.0)]).iter().all(|value| value.is_finite()));
    }
}
