-- How likely the true Sharpe ratio is above a benchmark, judging by the one observed: a number from 0 to 1.
--
-- The same Sharpe ratio proves less when it comes from few returns, or from returns with rare large losses. Everything is per return: for
-- daily returns the daily Sharpe ratio, which is the annual one divided by √252. Kurtosis is the full one, 3 for a normal distribution;
-- DuckDB's kurtosis() and kurtosis_pop() are what it exceeds 3 by, so give kurtosis_pop(x) + 3.
--
-- NULL if an argument is NULL or not finite, with fewer than 2 observations, or where the variance of the estimate is not above 0, which
-- happens for skewness and kurtosis that no returns have together, or for returns of two different values only.
--
-- @param sharpe DOUBLE: mean of the returns divided by their standard deviation, not annualised.
-- @param benchmark_sharpe DOUBLE: the Sharpe ratio to be beaten, of the same kind; 0: whether there is any gain at all.
-- @param observations BIGINT count: how many returns there are.
-- @param skewness DOUBLE: of the returns; 0 for a normal distribution.
-- @param kurtosis DOUBLE: of the returns; 3 for a normal distribution. Less than 1, which none can have, is an error, as is one not finite.
-- @param called_by VARCHAR: the function that error messages name.
-- @source D. Bailey and M. López de Prado, The Sharpe Ratio Efficient Frontier, 2012.
-- @example SELECT probabilistic_sharpe_ratio(0.458, 0, 24, -2.448, 10.164) AS probability
CREATE MACRO probabilistic_sharpe_ratio(
    sharpe,
    benchmark_sharpe,
    observations,
    skewness,
    kurtosis,
    called_by := 'probabilistic_sharpe_ratio'
) AS
list_transform(
    list_transform(
        [
            {
                'sharpe': CAST(sharpe AS DOUBLE),
                'benchmark': CAST(benchmark_sharpe AS DOUBLE),
                'observations': integer_in_range_or_null(observations, 0, NULL, called_by, 'observations'),
                'skewness': CAST(skewness AS DOUBLE),
                -- Rounded, since that of two different values is 1 and may come out a little below.
                'kurtosis': number_in_range_or_null(round(CAST(kurtosis AS DOUBLE), 12), 1, NULL, called_by, 'kurtosis')
            }
        ],
        lambda observed: {
            'excess': CASE
                WHEN observed.observations >= 2 THEN (observed.sharpe - observed.benchmark) * sqrt(observed.observations - 1)
            END,
            'variance': 1 - observed.skewness * observed.sharpe + (observed.kurtosis - 1) / 4 * pow(observed.sharpe, 2)
        }
    ),
    lambda estimate: CASE
        WHEN isfinite(estimate.excess) AND isfinite(estimate.variance) AND estimate.variance > 0
            THEN normal_cdf(estimate.excess / sqrt(estimate.variance))
    END
)[1]
