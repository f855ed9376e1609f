"""scan_relative_volume against an independent implementation in pandas, written from its definition: a loop over symbols and sessions."""

import datetime as dt
import random

import numpy as np
import pandas as pd
import pytest

DEFAULTS = dict(
    min_price=50, max_price=2000, min_volume=10000, max_results_per_day=3, min_probability_score=10, lookback_days=14, min_relative_volume=2,
    min_avg_volume=100000, min_bars=5, price_change_min=None, price_change_max=None,
)


def signal(change, height):
    if abs(change) >= 1.5 and height >= 2:
        return "HIGH"
    if abs(change) >= 1 and height >= 1.5:
        return "MODERATE"
    return "LOW" if abs(change) >= 0.5 else "NEUTRAL"


@pytest.fixture(scope="module")
def sessions(demo):
    """Per symbol: its sessions in order, each with all its bars."""
    bars = demo.execute("FROM bars ORDER BY symbol, ts").df()
    bars["day"] = bars.ts.dt.date
    return {symbol: list(one.groupby("day")) for symbol, one in bars.groupby("symbol")}


class Seen:
    """The bars of a symbol's sessions that had ended, made when they are asked for."""

    def __init__(self, days, end):
        self.days, self.end, self.made = days, end, {}

    def __getitem__(self, index):
        if isinstance(index, slice):
            return [self[place] for place in range(*index.indices(len(self.days)))]
        if index not in self.made:
            bars = self.days[index][1]
            self.made[index] = bars[bars.ts - bars.ts.dt.normalize() <= self.end]
        return self.made[index]


def expected(sessions, first, last, cutoff, given):
    end = pd.Timedelta(cutoff + ":00") - pd.Timedelta(minutes=1)
    hits = []
    for symbol, days in sessions.items():
        dates = [day for day, _ in days]
        seen = Seen(days, end)
        for index, day in enumerate(dates):
            n = given["lookback_days"]
            if not first <= day <= last or index < n or seen[index].empty:
                continue
            if (day - dates[index - n]).days > 2 * n + 10:
                continue
            usual = [int(earlier.volume.sum()) for earlier in seen[index - n : index]]
            if sum(usual) == 0:
                continue
            now = seen[index]
            price, volume = now.close.iloc[-1], int(now.volume.sum())
            change, height = 100 * (price / now.open.iloc[0] - 1), 100 * (now.high.max() - now.low.min()) / price
            mean, median = sum(usual) / n, float(np.median(usual))
            whole = sum(int(bars.volume.sum()) for _, bars in days[index - n : index]) / n
            ratio = volume / mean
            score = 100 * min(ratio / 10, 1)
            low, high = given["price_change_min"], given["price_change_max"]
            if (
                given["min_price"] <= price <= given["max_price"] and volume >= given["min_volume"] and len(now) >= given["min_bars"]
                and whole >= given["min_avg_volume"] and ratio >= given["min_relative_volume"] and score >= given["min_probability_score"]
                and (low is None or change >= low) and (high is None or change <= high)
            ):
                against_median = volume / median if median else None
                hits.append((day, symbol, price, ratio, against_median, mean, whole, change, height, len(now), signal(change, height), volume, score))
    hits.sort(key=lambda hit: (hit[0], -hit[-1], -hit[3], hit[1]))
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


def test_agrees_with_the_definition(demo, sessions):
    chance = random.Random(7)
    days = sorted({day for one in sessions.values() for day, _ in one})
    found = 0
    for _ in range(12):
        cutoff = chance.choice(["09:16", "09:50", "10:47", "15:30"])
        first = chance.choice(days[20:])
        last = min(first + dt.timedelta(days=chance.choice([0, 0, 9])), days[-1])
        given = DEFAULTS | dict(
            lookback_days=chance.choice([1, 3, 14]), min_relative_volume=chance.choice([0, 1.2, 2]), min_avg_volume=chance.choice([0, 100000]),
            min_bars=chance.choice([1, 5, 30]), max_results_per_day=chance.choice([3, 1000]), min_volume=chance.choice([0, 10000]),
            min_probability_score=chance.choice([0, 10]), price_change_min=chance.choice([None, 0, 1]), price_change_max=chance.choice([None, 3]),
        )
        arguments = ", ".join(f"{name} := {'NULL' if value is None else value}" for name, value in given.items())
        scan = f"FROM scan_relative_volume('{first}', '{cutoff}', end_date := '{last}', {arguments})"
        actual, wanted = demo.execute(scan).fetchall(), expected(sessions, first, last, cutoff, given)
        assert_same(actual, wanted, scan)
        found += len(wanted)
    assert found > 100, "the scans find enough to compare"
