"""The statistics of backtests against scipy, statsmodels and independent implementations written from the papers. Tables made by hand are
in tests/sql/statistics.test and in the files of the macros."""

import itertools
import math
import time

import numpy as np
import pandas as pd
import pytest
from scipy import optimize, stats
from statsmodels.stats.proportion import proportion_confint

# What statrs' error function is exact to.
TEN_DIGITS = 2e-10


def column(database, expression, frame, condition="true"):
    """The expression for each row of the frame, as an array."""
    return database.execute(f"SELECT {expression} AS x FROM frame WHERE {condition}").df().x.to_numpy(dtype=float)


def test_normal_cdf_is_that_of_scipy(database):
    """Relative, so that a left tail made as 1 minus the right one fails: it has no digits below -8."""
    frame = pd.DataFrame({"x": np.linspace(-37, 37, 100_001)})
    actual = column(database, "normal_cdf(x)", frame)
    np.testing.assert_allclose(actual, stats.norm.cdf(frame.x), rtol=TEN_DIGITS)
    assert (np.diff(actual) >= 0).all()
    # Some of the rows of a vector only.
    np.testing.assert_array_equal(column(database, "normal_cdf(x)", frame, "x > 3 OR hash(x) % 3 = 1 ORDER BY x")[-100:], actual[-100:])


def test_normal_quantile_is_that_of_scipy(database):
    """To the last digits also near 0 and 1, where one that solves for the cdf has few."""
    low, high = 10.0 ** -np.linspace(0.31, 300, 20_001), 1 - 10.0 ** -np.linspace(1, 15.9, 1001)
    p = np.concatenate([low, np.linspace(1e-6, 1 - 1e-6, 20_001), high])
    frame = pd.DataFrame({"p": p})
    np.testing.assert_allclose(column(database, "normal_quantile(p)", frame), stats.norm.ppf(p), rtol=1e-14, atol=1e-15)
    np.testing.assert_allclose(column(database, "normal_cdf(normal_quantile(p))", frame), p, rtol=TEN_DIGITS)


def test_wilson_interval_is_that_of_statsmodels(database):
    """The textbook's interval, that of Agresti and Coull, and Wilson's with a correction for continuity are others, most so for few."""
    trials = [*range(1, 40), 1000, 1_000_000]
    counts = [(successes, count) for count in trials for successes in {*range(0, count + 1, max(count // 13, 1)), count}]
    frame = pd.DataFrame(counts, columns=["successes", "trials"])
    for confidence in (0.5, 0.68, 0.95, 0.999):
        lower, upper = proportion_confint(frame.successes, frame.trials, alpha=1 - confidence, method="wilson")
        call = f"wilson_interval(successes, trials, {confidence})"
        np.testing.assert_allclose(column(database, f"{call}.lower", frame), lower, rtol=1e-9, atol=1e-15)
        np.testing.assert_allclose(column(database, f"{call}.upper", frame), upper, rtol=1e-9)


def test_wilson_interval_contains_the_true_rate_as_often_as_it_says(database):
    """On average over rates from 5 to 95 %. The textbook's interval, meant for 95 %, contains it 88 % of the time with 15 trials."""
    trials = 15
    frame = pd.DataFrame({"successes": range(trials + 1), "trials": trials})
    for confidence in (0.8, 0.95):
        lower = column(database, f"wilson_interval(successes, trials, {confidence}).lower", frame)
        upper = column(database, f"wilson_interval(successes, trials, {confidence}).upper", frame)
        rates = np.linspace(0.05, 0.95, 901)[:, None]
        weights = stats.binom.pmf(frame.successes.to_numpy(), trials, rates)
        covered = (weights * ((lower <= rates) & (rates <= upper))).sum(axis=1).mean()
        assert covered == pytest.approx(confidence, abs=0.015)


def probabilistic_sharpe_ratio(sharpe, benchmark, observations, skewness, kurtosis):
    """Equation 11 of The Sharpe Ratio Efficient Frontier, with the standard error of equation 8."""
    error = math.sqrt((1 + sharpe**2 / 2 - skewness * sharpe + (kurtosis - 3) / 4 * sharpe**2) / (observations - 1))
    return stats.norm.cdf((sharpe - benchmark) / error)


def expected_maximum_sharpe(trials, variance):
    """Equation 1 of The Deflated Sharpe Ratio."""
    if trials == 1:
        return 0
    gamma = np.euler_gamma
    return math.sqrt(variance) * ((1 - gamma) * stats.norm.ppf(1 - 1 / trials) + gamma * stats.norm.ppf(1 - 1 / (trials * math.e)))


def test_sharpe_ratios_are_those_of_the_papers_formulas(database):
    """On the moments of returns of many shapes. The variance is written another way here: 1 + S²/2 … (κ − 3)/4 · S²."""
    generator = np.random.default_rng(3)
    cases, expected = [], []
    for _ in range(500):
        observations = int(generator.integers(3, 2000))
        shape = generator.choice(["normal", "fat", "skewed", "two"])
        returns = {
            "normal": lambda: generator.normal(0.05, 1, observations),
            "fat": lambda: generator.standard_t(3, observations),
            "skewed": lambda: 2 - generator.lognormal(0, 0.8, observations),
            "two": lambda: generator.choice([-1.0, 1.2, 0.1], observations),
        }[shape]()
        if np.ptp(returns) == 0:
            continue
        trials, variance, benchmark = int(generator.integers(1, 5000)), generator.uniform(0, 0.02), generator.normal(0, 0.05)
        moments = (stats.skew(returns), stats.kurtosis(returns, fisher=False))
        sharpe = returns.mean() / returns.std(ddof=1)
        luck = expected_maximum_sharpe(trials, variance)
        cases.append((sharpe, benchmark, trials, variance, observations, *moments))
        expected.append(
            (
                probabilistic_sharpe_ratio(sharpe, benchmark, observations, *moments),
                luck,
                probabilistic_sharpe_ratio(sharpe, luck, observations, *moments),
            )
        )
    frame = pd.DataFrame(cases, columns=["sharpe", "benchmark", "trials", "variance", "observations", "skewness", "kurtosis"])
    for place, call in enumerate(
        [
            "probabilistic_sharpe_ratio(sharpe, benchmark, observations, skewness, kurtosis)",
            "expected_maximum_sharpe(trials, variance)",
            "deflated_sharpe_ratio(sharpe, trials, variance, observations, skewness, kurtosis)",
        ]
    ):
        np.testing.assert_allclose(column(database, call, frame), [row[place] for row in expected], rtol=1e-8, err_msg=call)


def test_sharpe_ratios_are_the_published_ones(database):
    """To the digits printed. Annual figures where daily ones belong, or kurtosis beyond 3, are far off."""
    daily = 2.5 / math.sqrt(250)
    for trials, skewness, kurtosis, luck, deflated in [(100, -3, 10, 0.1132, 0.9004), (46, -3, 10, None, 0.9505), (88, 0, 3, None, 0.9505)]:
        row = database.execute(
            "SELECT expected_maximum_sharpe($1, 0.5 / 250), deflated_sharpe_ratio($2, $1, 0.5 / 250, 1250, $3, $4)",
            [trials, daily, skewness, kurtosis],
        ).fetchone()
        assert luck is None or round(row[0], 4) == luck
        assert round(row[1], 4) == deflated
    for skewness, kurtosis, published in [(0, 3, 0.982), (-2.448, 10.164, 0.913)]:
        row = database.execute("SELECT probabilistic_sharpe_ratio(0.458, 0, 24, ?, ?)", [skewness, kurtosis]).fetchone()
        assert round(row[0], 3) == published


def test_expected_maximum_is_about_the_mean_of_simulated_maxima(database):
    """The formula is an approximation, 1 to 2 % too high. The quantile of 1 - 1/n alone is 6 to 17 % too low, the root of 2 ln n 19 to 39 %
    too high."""
    generator = np.random.default_rng(5)
    for trials in (10, 40, 200):
        maxima = generator.normal(0, 0.1, (20_000, trials)).max(axis=1)
        actual = database.execute("SELECT expected_maximum_sharpe(?, 0.01)", [trials]).fetchone()[0]
        assert actual == pytest.approx(maxima.mean(), rel=0.03)


def pooled(values, weights):
    """Isotonic regression by its formula of minima and maxima of means: no pools, nothing sequential."""
    size = len(values)
    mean = {(i, j): np.average(values[i : j + 1], weights=weights[i : j + 1]) for i in range(size) for j in range(i, size)}
    return [min(max(mean[i, j] for i in range(k + 1)) for j in range(k, size)) for k in range(size)]


def test_isotonic_fit_is_that_of_the_definition_and_of_scipy(database):
    """Over random lists, lists with ties, and lists of one kind of weights. A fit that interpolates, that leaves weights out or that does
    not look back over pools that it has made differs in most of them."""
    generator = np.random.default_rng(7)
    cases = []
    for number in range(600):
        size = int(generator.integers(0, 25)) if number > 4 else number
        values = generator.normal(size=size) if number % 2 else generator.integers(0, 4, size) / 3
        weights = generator.integers(1, 200, size) if number % 3 else np.ones(size)
        cases.append((number, values.astype(float).tolist(), weights.astype(float).tolist()))
    database.execute("CREATE TABLE cases (id INTEGER, v DOUBLE[], w DOUBLE[])")
    database.executemany("INSERT INTO cases VALUES (?, ?, ?)", cases)
    answers = database.execute("SELECT isotonic_fit(v, w) FROM cases ORDER BY id").fetchall()
    for (number, values, weights), (answer,) in zip(cases, answers):
        np.testing.assert_allclose(answer, pooled(values, weights), rtol=1e-12, atol=1e-13, err_msg=str(number))
        assert (np.diff(answer) >= 0).all()
        if values:
            np.testing.assert_allclose(answer, optimize.isotonic_regression(values, weights=weights).x, rtol=1e-12, atol=1e-13)
            # Rates keep their number of successes.
            assert np.dot(answer, weights) == pytest.approx(np.dot(values, weights), abs=1e-9)
        if values == sorted(values):
            assert answer == values
    # Some of the rows, in another order, against one constant list.
    some = database.execute("SELECT id, isotonic_fit(v, w) FROM cases WHERE id % 3 = 1 ORDER BY hash(id)").fetchall()
    assert len(some) == 200 and all((answer,) == answers[number] for number, answer in some)
    constant = "SELECT DISTINCT isotonic_fit([2, 1], w[:2]) FROM cases WHERE len(w) > 1 AND w[1] = w[2]"
    assert database.execute(constant).fetchall() == [([1.5, 1.5],)]


def test_isotonic_fit_of_a_long_list(database):
    """A hundred thousand values that all fall become one pool; one that shifts lists while pooling would take minutes."""
    values = np.linspace(1, 0, 100_000)
    start = time.perf_counter()
    answer = database.execute("SELECT isotonic_fit($1::DOUBLE[], $2::DOUBLE[])", [values.tolist(), np.ones(100_000).tolist()]).fetchone()[0]
    np.testing.assert_allclose(answer, 0.5, rtol=1e-9)
    assert time.perf_counter() - start < 10


def sharpe_ratios(returns):
    """Of each row; 0 for one that does not vary. Rounded, so that equal ones are equal."""
    if returns.shape[1] < 2:
        return np.zeros(len(returns))
    flat = np.ptp(returns, axis=1) == 0
    deviation = np.where(flat, 1, returns.std(axis=1, ddof=1))
    return np.round(np.where(flat, 0, returns.mean(axis=1) / deviation), 8)


def cscv(returns, blocks):
    """The paper's procedure, step by step, over a matrix of trials and sessions: every half J and its complement, with their own ratios."""
    parts = np.array_split(np.arange(returns.shape[1]), blocks)
    below = []
    for chosen in itertools.combinations(range(blocks), blocks // 2):
        inside = np.concatenate([parts[block] for block in chosen])
        outside = np.concatenate([parts[block] for block in range(blocks) if block not in chosen])
        performance, later = sharpe_ratios(returns[:, inside]), sharpe_ratios(returns[:, outside])
        relative_rank = stats.rankdata(later) / (len(returns) + 1)
        logit = np.log(relative_rank / (1 - relative_rank))
        below.append(np.mean(logit[performance == performance.max()] <= 1e-12))
    return np.mean(below)


def overfitting(database, returns, blocks):
    """The function's answer to a matrix of trials and sessions."""
    query = "SELECT probability_of_backtest_overfitting($1::DOUBLE[], $2, blocks := $3)"
    return database.execute(query, [np.asarray(returns).ravel().tolist(), len(returns), blocks]).fetchone()[0]


def noise(generator, trials, sessions):
    return generator.normal(0, 0.01, (trials, sessions))


def small_steps(generator, trials, sessions):
    """Many ties, within trials and between them."""
    return generator.integers(-1, 2, (trials, sessions)) / 10


def few_trades(generator, trials, sessions):
    """Mostly zero, with whole halves without a trade, so that the best are often several with a ratio of 0."""
    return np.where(generator.random((trials, sessions)) < 0.04, generator.normal(-0.01, 0.01, (trials, sessions)), 0)


def copies(generator, trials, sessions):
    """Combinations of parameters that trade the same."""
    return noise(generator, max(trials // 3, 1), sessions)[generator.integers(0, max(trials // 3, 1), trials)]


def costs(generator, trials, sessions):
    """The same loss on every day, which leaves a rounding error of a deviation."""
    return generator.choice([-0.1, -0.3, 0.7], (trials, 1)) + (generator.random((trials, sessions)) < 0.05) * 1.3


@pytest.mark.parametrize("kind", [noise, small_steps, few_trades, copies, costs], ids=lambda kind: kind.__name__)
def test_overfitting_is_that_of_the_procedure(database, kind):
    """Shapes with and without a remainder, odd and even numbers of trials. Each of these wrong versions differs in a fifth or more of the
    matrices of some kind, mostly in half: ranks from the wrong end, rank / N, a logit below 0, the lower or higher rank of ties, the first
    of those that are best, means for Sharpe ratios, deviations of rounding errors, the remainder in the last blocks, halves of
    neighbours."""
    generator = np.random.default_rng(11)
    seen = set()
    for blocks, sessions, trials in itertools.product([2, 4, 6, 8], [8, 9, 24, 61], [2, 3, 8, 21]):
        returns = kind(generator, trials, sessions)
        expected = cscv(returns, blocks)
        assert overfitting(database, returns, blocks) == pytest.approx(expected, abs=1e-12), (blocks, sessions, trials)
        seen.add(round(expected, 3))
    assert len(seen) > 10


def test_overfitting_with_sixteen_blocks(database):
    generator = np.random.default_rng(13)
    returns = noise(generator, 7, 100)
    assert overfitting(database, returns, 16) == pytest.approx(cscv(returns, 16), abs=1e-12)


def test_overfitting_knows_no_order_and_no_unit(database):
    """Neither of the trials, also of those that are best together, nor of the halves (the blocks turned round); nor the size of returns."""
    generator = np.random.default_rng(17)
    for kind in (noise, small_steps, few_trades, copies):
        returns = kind(generator, 15, 48)
        expected = overfitting(database, returns, 8)
        for _ in range(5):
            assert overfitting(database, generator.permutation(returns), 8) == expected
        for factor in (100, 1e-5, 3):
            assert overfitting(database, returns * factor, 8) == expected
        assert overfitting(database, returns * generator.uniform(0.1, 10, (15, 1)), 8) == expected
        assert overfitting(database, returns[:, ::-1], 8) == pytest.approx(expected, abs=1e-12)
        # Sessions may change places within their block.
        assert overfitting(database, returns.reshape(15, 8, 6)[:, :, ::-1].reshape(15, 48), 8) == expected


def test_noise_is_overfitted_half_of_the_time(database):
    """The best of noise is above the middle as often as below it, for an even number of trials. The mean over 400 deviates by 0.25 / 20."""
    generator = np.random.default_rng(19)
    values = [overfitting(database, noise(generator, 20, 64), 8) for _ in range(400)]
    assert np.mean(values) == pytest.approx(0.5, abs=0.04)
    assert np.std(values) > 0.1


def test_an_edge_is_not_overfitted(database):
    """One trial with a Sharpe ratio of 0.6 a day among noise. With ranks from the wrong end it would be 1."""
    generator = np.random.default_rng(23)
    returns = noise(generator, 50, 250)
    returns[31] += 0.006
    assert overfitting(database, returns, 16) < 0.01
    # Edges that turn into their opposite half way are: whoever is among the ten best on one half is among the ten worst on the other.
    turned = noise(generator, 20, 250)
    turned[:10, :125] += 0.02
    turned[10:, 125:] += 0.02
    assert overfitting(database, turned, 2) == 1


def test_overfitting_of_a_thousand_trials_takes_a_moment(database):
    """A tenth of a second on one core. Sums over the sessions of each of the 12870 choices would take several, and so would ranks for each
    of those that are best together, which here are all, or many on one of the halves."""
    noisy = "demo_normal(hash(number.range))"
    for expression in (noisy, "0", f"CASE WHEN number.range % 250 < 125 THEN 0 ELSE {noisy} END"):
        database.execute(
            f"CREATE OR REPLACE TABLE trials AS SELECT list(({expression})::DOUBLE ORDER BY number.range) AS x FROM range(250000) AS number"
        )
        start = time.perf_counter()
        assert 0 <= database.execute("SELECT probability_of_backtest_overfitting(x, 1000) FROM trials").fetchone()[0] <= 1
        assert time.perf_counter() - start < 2, expression
