"""scan_squeeze against an independent implementation in numpy, written from its definition and LazyBear's formula: a loop over symbols and
sessions."""

import datetime as dt
import random
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest

DEFAULTS = dict(
    min_price=50, max_price=2000, min_volume=10000, max_results_per_day=3, min_probability_score=10, bollinger_period=20,
    bollinger_deviations=2, keltner_period=20, keltner_multiplier=1.5, min_squeeze_sessions=0, setup="any", direction="any",
)


def folded(bars: pd.DataFrame, cutoff: str, bar_minutes: int = 1) -> dict[str, list[tuple]]:
    """Per symbol: (day, high, low and close of the whole day, and open, price and volume by the cutoff, None if no bar had ended)."""
    bars = bars.sort_values(["symbol", "ts"])
    day = bars.ts.dt.normalize()
    ended = bars.ts - day + pd.Timedelta(minutes=bar_minutes) <= pd.Timedelta(cutoff + ":00")
    whole = bars.groupby(["symbol", day]).agg(high=("high", "max"), low=("low", "min"), close=("close", "last"))
    seen = bars[ended].groupby(["symbol", day[ended]]).agg(open=("open", "first"), price=("close", "last"), volume=("volume", "sum"))
    seen = dict(zip(seen.index, seen.itertuples(index=False, name=None)))
    result = {}
    for (symbol, at), candle in zip(whole.index, whole.itertuples(index=False, name=None)):
        result.setdefault(symbol, []).append((at.date(), candle, seen.get((symbol, at))))
    return result


def is_squeezed(highs, lows, closes, given) -> bool:
    """Whether the last of the sessions has its Bollinger bands within its Keltner channel."""
    window, n = closes[-given["bollinger_period"] :], given["keltner_period"]
    half = given["bollinger_deviations"] * np.std(window)
    before = closes[-n - 1 : -1]
    true_range = np.maximum.reduce([highs[-n:] - lows[-n:], abs(highs[-n:] - before), abs(lows[-n:] - before)])
    width, middle = given["keltner_multiplier"] * np.mean(true_range), np.mean(closes[-n:])
    return np.mean(window) - half > middle - width and np.mean(window) + half < middle + width


def momentum(highs, lows, closes, n: int) -> float:
    """The end of the regression line through the last n distances of the close from the middle of its range and mean."""
    distances = []
    for end in range(len(closes) - n + 1, len(closes) + 1):
        middle = (highs[end - n : end].max() + lows[end - n : end].min()) / 2
        distances.append(closes[end - 1] - (middle + closes[end - n : end].mean()) / 2)
    slope, intercept = np.polyfit(range(n), distances, 1)
    return intercept + slope * (n - 1)


def expected(sessions, first, last, given):
    n = max(given["bollinger_period"] + 20, given["keltner_period"] + 20, 2 * given["keltner_period"])
    hits = []
    for symbol, days in sessions.items():
        for index, (day, _, seen) in enumerate(days):
            if not first <= day <= last or seen is None or index < n or (day - days[index - n][0]).days > 2 * n + 10:
                continue
            start, price, volume = seen
            if not (given["min_price"] <= price <= given["max_price"] and volume >= given["min_volume"]):
                continue
            highs, lows, closes = np.array([candle for _, candle, _ in days[index - n : index]], dtype=float).T
            count = 0
            while count < 20 and is_squeezed(highs[: n - count], lows[: n - count], closes[: n - count], given):
                count += 1
            # In decimals: ranges of the same number of ticks are equal.
            heights = [Decimal(str(high)) - Decimal(str(low)) for high, low in zip(highs, lows)]
            setups = []
            if highs[-1] < highs[-2] and lows[-1] > lows[-2]:
                setups.append("INSIDE")
            if all(heights[-1] < heights[-back] for back in range(2, 5)):
                setups.append("NR7" if all(heights[-1] < heights[-back] for back in range(2, 8)) else "NR4")
            if count:
                setups.append("SQUEEZE")
            kind = given["setup"]
            asked = {"any": bool(setups), "nr4": "NR4" in setups or "NR7" in setups}.get(kind, kind.upper() in setups)
            if not asked or count < given["min_squeeze_sessions"]:
                continue
            above, below = 100 * (price / highs[-1] - 1), 100 * (1 - price / lows[-1])
            side = "long" if price > highs[-1] else "short" if price < lows[-1] else "none"
            beyond = max(above, below, 0)
            score = 40 * min(count / 6, 1) + 20 * ("NR7" in setups) + 10 * ("NR4" in setups) + 10 * ("INSIDE" in setups) + 30 * min(beyond, 1)
            if score < given["min_probability_score"] or given["direction"] not in ("any", side):
                continue
            height = 100 * float(heights[-1]) / closes[-1]
            push = momentum(highs, lows, closes, given["keltner_period"])
            change = 100 * (price / start - 1)
            hits.append((day, symbol, price, " + ".join(setups), count, push, height, highs[-1], lows[-1], beyond, side, change, int(volume), score))
    hits.sort(key=lambda hit: (hit[0], -hit[-1], -hit[4], -hit[9], hit[1]))
    result, rank, previous = [], 0, None
    for hit in hits:
        rank = rank + 1 if hit[0] == previous else 1
        previous = hit[0]
        if rank <= given["max_results_per_day"]:
            result.append((*hit, rank))
    return result


def assert_same(actual, wanted, what):
    assert [(row[0], row[1], row[-1]) for row in actual] == [(row[0], row[1], row[-1]) for row in wanted], what
    for got, want in zip(actual, wanted):
        for one, other in zip(got, want):
            assert one == other or one == pytest.approx(other, rel=1e-9, abs=1e-9), f"{what}\n{got}\n{want}"


def random_parameters(chance: random.Random) -> dict:
    return DEFAULTS | dict(
        bollinger_period=chance.choice([2, 5, 12, 20]), bollinger_deviations=chance.choice([0, 1, 2]), keltner_period=chance.choice([2, 8, 20, 24]),
        keltner_multiplier=chance.choice([1, 1.5, 2]), min_squeeze_sessions=chance.choice([0, 0, 0, 1, 3]),
        setup=chance.choice(["any", "any", "squeeze", "nr4", "nr7", "inside"]), direction=chance.choice(["any", "any", "long", "short"]),
        max_results_per_day=chance.choice([3, 1000, 1000]), min_volume=chance.choice([0, 10000]), min_price=chance.choice([0, 50]),
        min_probability_score=chance.choice([0, 10, 30]),
    )


def call(first, last, cutoff, given) -> str:
    arguments = ", ".join(f"{name} := {value!r}" for name, value in given.items())
    return f"FROM scan_squeeze('{first}', '{cutoff}', end_date := '{last}', {arguments})"


def test_agrees_with_the_definition(demo):
    chance = random.Random(17)
    bars = demo.execute("FROM bars").df()
    cutoffs = ["09:16", "09:50", "12:03", "15:30"]
    sessions = {cutoff: folded(bars, cutoff) for cutoff in cutoffs}
    days = sorted({day for one in sessions["15:30"].values() for day, _, _ in one})
    found, counts = 0, set()
    for run in range(24):
        cutoff, given = chance.choice(cutoffs), random_parameters(chance) if run else DEFAULTS
        first = chance.choice(days[40:])
        last = min(first + dt.timedelta(days=chance.choice([0, 4, 14])), days[-1])
        scan = call(first, last, cutoff, given)
        wanted = expected(sessions[cutoff], first, last, given)
        assert_same(demo.execute(scan).fetchall(), wanted, scan)
        found += len(wanted)
        counts |= {hit[4] for hit in wanted}
    assert found > 500 and {0, 1, 6, 19, 20} <= counts, f"the scans find enough to compare: {found} hits, squeezes of {counts} sessions"
