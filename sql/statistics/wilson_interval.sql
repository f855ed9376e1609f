-- The limits between which a rate of success lies, judging by so many successes in so many trials: Wilson's score interval.
--
-- A hit rate of 3 in 4 says less than one of 300 in 400; this says how much less. Unlike the rate ± so many standard errors it stays within
-- 0 and 1, and keeps its promise when trials are few or nearly all of them succeed or fail. It takes the trials for independent: trades of
-- the same session often are not, so it is rather too narrow than too wide. NULL without trials, or if one of the two counts is NULL; an
-- error if there are more successes than trials.
--
-- The limits are the rates p from which the one observed is exactly so many standard errors of p away. They are written so that neither
-- takes a small number from a nearly equal one: without a success the lower limit is 0, without a failure the upper one is 1.
--
-- @param successes BIGINT count: how many of the trials succeeded.
-- @param trials BIGINT count: how many there were.
-- @param confidence DOUBLE, 0.5 to 0.9999 step 0.01: how often such an interval contains the true rate.
-- @source E. B. Wilson, Probable Inference, the Law of Succession, and Statistical Inference, 1927.
-- @example SELECT wilson_interval(55, 100) AS hit_rate
-- @example SELECT wilson_interval(55, 100, confidence := 0.99).lower AS lower
CREATE MACRO wilson_interval(successes, trials, confidence := 0.95) AS
list_transform(
    list_transform(
        [
            {
                'trials': CAST(integer_in_range_or_null(trials, 0, NULL, 'wilson_interval', 'trials') AS DOUBLE),
                'successes': CAST(integer_in_range_or_null(successes, 0, trials, 'wilson_interval', 'successes') AS DOUBLE),
                'errors': normal_quantile((1 + number_in_range(confidence, 0.5, 0.9999, 'wilson_interval', 'confidence')) / 2)
            }
        ],
        lambda counted: {
            'successes': counted.successes,
            'failures': counted.trials - counted.successes,
            'trials': counted.trials,
            'width': pow(counted.errors, 2) / 2 + counted.errors
            * sqrt(counted.successes * (counted.trials - counted.successes) / counted.trials + pow(counted.errors, 2) / 4)
        }
    ),
    lambda counted: CASE
        WHEN counted.trials > 0 AND counted.successes IS NOT NULL
            THEN {
                'lower': pow(counted.successes, 2) / counted.trials / (counted.successes + counted.width),
                'upper': 1 - pow(counted.failures, 2) / counted.trials / (counted.failures + counted.width)
            }
    END
)[1]
