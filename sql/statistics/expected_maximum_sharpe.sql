-- The Sharpe ratio to be expected of the best of many trials none of which has any merit: what luck alone brings about.
--
-- Whoever tries more combinations of parameters finds a higher Sharpe ratio. This is how high, for independent trials whose Sharpe ratios
-- vary so much around 0. The best of one is that one, so for 1 trial it is 0, whatever the variance. Trials that resemble each other are
-- worth fewer independent ones; counting every one of them errs on the side of caution. NULL if an argument is NULL, but for that.
--
-- @param trials BIGINT count: how many there were, at least 1.
-- @param sharpe_variance DOUBLE: variance of the Sharpe ratios of the trials, as var_samp() has it. For daily Sharpe ratios it is the
-- variance of the annual ones divided by 252.
-- @param called_by VARCHAR: the function that error messages name.
-- @source D. Bailey and M. López de Prado, The Deflated Sharpe Ratio, 2014, with Euler's constant 0.5772….
-- @example SELECT expected_maximum_sharpe(100, 0.002) AS luck
CREATE MACRO expected_maximum_sharpe(trials, sharpe_variance, called_by := 'expected_maximum_sharpe') AS
list_transform(
    [
        {
            'trials': integer_in_range_or_null(trials, 1, NULL, called_by, 'trials'),
            'deviation': sqrt(number_in_range_or_null(sharpe_variance, 0, NULL, called_by, 'sharpe_variance'))
        }
    ],
    -- The quantile of 1 − p is minus that of p, which keeps its digits when trials are many.
    lambda tried: CASE
        WHEN tried.trials = 1 THEN 0
        ELSE
            -tried.deviation * (
                (1 - 0.5772156649015329) * normal_quantile(1 / tried.trials)
                + 0.5772156649015329 * normal_quantile(exp(-1) / tried.trials)
            )
    END
)[1]
