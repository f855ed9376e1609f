"""scan_crp against an independent implementation in pandas, written from its definition: a loop over symbols and sessions."""

import datetime as dt
import random

import pandas as pd

from test_relative_volume_reference import Seen, assert_same, sessions  # noqa: F401

DEFAULTS = dict(
    min_price=50, max_price=2000, min_volume=10000, max_results_per_day=3, min_probability_score=50, consolidation_period=5,
    close_threshold_pct=2, range_threshold_pct=3, max_volume=None,
)


def points(near, height, tight, ratio, change):
    close = 40 if near else 10
    spread = 30 if height <= tight else 20 if height <= 1.5 * tight else 5
    volume = 20 if ratio >= 1.5 else 15 if ratio >= 1 else 10 if ratio >= 0.5 else 5
    return close + spread + volume + (10 if change > 1 else 5 if change > 0 else 2)


def expected(sessions, first, last, cutoff, given):  # noqa: F811
    end = pd.Timedelta(cutoff + ":00") - pd.Timedelta(minutes=1)
    n = given["consolidation_period"]
    hits = []
    for symbol, days in sessions.items():
        dates = [day for day, _ in days]
        seen = Seen(days, end)
        for index, day in enumerate(dates):
            if not first <= day <= last or index < n or seen[index].empty or (day - dates[index - n]).days > 2 * n + 10:
                continue
            usual = sum(int(earlier.volume.sum()) for earlier in seen[index - n : index]) / n
            if usual == 0:
                continue
            now = seen[index]
            price, high, low, volume = now.close.iloc[-1], now.high.max(), now.low.min(), int(now.volume.sum())
            below, above = 100 * (high - price) / high, 100 * (price - low) / low
            if min(below, above) > given["close_threshold_pct"]:
                continue
            height, change, ratio = 100 * (high - low) / price, 100 * (price / now.open.iloc[0] - 1), volume / usual
            seven = seen[index - 6 : index + 1] if index >= 6 else []
            narrow = None
            if len(seven) == 7 and not any(window.empty for window in seven) and (day - dates[index - 6]).days <= 22:
                narrow = 1 + sum(window.high.max() - window.low.min() < high - low for window in seven)
            score = points(True, height, given["range_threshold_pct"], ratio, change)
            most = given["max_volume"]
            if (
                given["min_price"] <= price <= given["max_price"] and volume >= given["min_volume"] and (most is None or volume <= most)
                and score >= given["min_probability_score"]
            ):
                place = None if high == low else 100 * (price - low) / (high - low)
                edge = "near_high" if below <= above else "near_low"
                hits.append((day, symbol, price, high, low, height, edge, place, narrow, ratio, change, volume, score))
    hits.sort(key=lambda hit: (hit[0], -hit[-1], hit[5], hit[1]))
    result, rank, previous = [], 0, None
    for hit in hits:
        rank, previous = (rank + 1 if hit[0] == previous else 1), hit[0]
        if rank <= given["max_results_per_day"]:
            result.append((*hit, rank))
    return result


def test_agrees_with_the_definition(demo, sessions):  # noqa: F811
    chance = random.Random(11)
    days = sorted({day for one in sessions.values() for day, _ in one})
    found = 0
    for _ in range(12):
        cutoff = chance.choice(["09:16", "09:50", "10:47", "15:30"])
        first = chance.choice(days[12:])
        last = min(first + dt.timedelta(days=chance.choice([0, 0, 9])), days[-1])
        given = DEFAULTS | dict(
            consolidation_period=chance.choice([1, 5, 12]), close_threshold_pct=chance.choice([0.3, 2, 5]),
            range_threshold_pct=chance.choice([0.5, 3]), max_results_per_day=chance.choice([3, 1000]), min_volume=chance.choice([0, 10000]),
            max_volume=chance.choice([None, 100000]), min_probability_score=chance.choice([0, 50, 75]),
        )
        arguments = ", ".join(f"{name} := {'NULL' if value is None else value}" for name, value in given.items())
        scan = f"FROM scan_crp('{first}', '{cutoff}', end_date := '{last}', {arguments})"
        actual, wanted = demo.execute(scan).fetchall(), expected(sessions, first, last, cutoff, given)
        assert_same(actual, wanted, scan)
        found += len(wanted)
    assert found > 100, "the scans find enough to compare"
