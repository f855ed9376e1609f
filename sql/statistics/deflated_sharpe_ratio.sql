-- How likely the best of many trials has a true Sharpe ratio above what luck alone would have brought about: a number from 0 to 1.
--
-- It is probabilistic_sharpe_ratio() with expected_maximum_sharpe() as the benchmark, so it corrects for the number of trials, for few
-- returns and for returns that are not normal. From 0.95 on the paper takes an edge for real. Everything is per return, not annualised.
-- With 1 trial nothing was chosen, and the benchmark is 0.
--
-- NULL if an argument is NULL or not finite (but for the variance of 1 trial), with fewer than 2 observations, or where the variance of the
-- estimate is not above 0.
--
-- @param sharpe DOUBLE: Sharpe ratio of the best trial: mean of its returns divided by their standard deviation, not annualised.
-- @param trials BIGINT count: how many were tried, at least 1.
-- @param sharpe_variance DOUBLE: variance of the Sharpe ratios of the trials, not annualised either.
-- @param observations BIGINT count: how many returns the best trial has.
-- @param skewness DOUBLE: of its returns; 0 for a normal distribution.
-- @param kurtosis DOUBLE: of its returns; 3 for a normal distribution, so kurtosis_pop(x) + 3. Less than 1 is an error.
-- @source D. Bailey and M. López de Prado, The Deflated Sharpe Ratio, 2014.
-- @example SELECT deflated_sharpe_ratio(2.5 / sqrt(250), 100, 0.5 / 250, 1250, -3, 10) AS probability
CREATE MACRO deflated_sharpe_ratio(sharpe, trials, sharpe_variance, observations, skewness, kurtosis) AS
probabilistic_sharpe_ratio(
    sharpe,
    expected_maximum_sharpe(trials, sharpe_variance, called_by := 'deflated_sharpe_ratio'),
    observations,
    skewness,
    kurtosis,
    called_by := 'deflated_sharpe_ratio'
)
