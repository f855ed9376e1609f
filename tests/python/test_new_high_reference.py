"""scan_new_high against an independent implementation in pandas, written from its definition: a loop over symbols and sessions."""

import datetime as dt
import random

import pandas as pd
import pytest

DEFAULTS = dict(
    min_price=50, max_price=2000, min_volume=10000, max_results_per_day=3, min_probability_score=10, lookback_sessions=252, lookback_days=14,
    min_relative_volume=1, direction="any",
)


@pytest.fixture(scope="module")
def bars(demo):
    bars = demo.execute("FROM bars ORDER BY symbol, ts").df()
    bars["day"] = bars.ts.dt.date
    return bars


def sessions(bars, cutoff):
    """Per symbol: its sessions in order, whole and as they stood at the cutoff, where price is NaN if nothing had been seen."""
    by_cutoff = bars[bars.ts - bars.ts.dt.normalize() <= pd.Timedelta(cutoff + ":00") - pd.Timedelta(minutes=1)]
    whole = bars.groupby(["symbol", "day"]).agg(high=("high", "max"), low=("low", "min"), close=("close", "last"))
    seen = by_cutoff.groupby(["symbol", "day"]).agg(open=("open", "first"), price=("close", "last"), volume=("volume", "sum"))
    both = whole.join(seen).fillna({"volume": 0}).reset_index()
    return {symbol: one.to_dict("records") for symbol, one in both.groupby("symbol")}


def expected(sessions, first, last, given):
    hits = []
    n, usual_sessions = given["lookback_sessions"], given["lookback_days"]
    for symbol, days in sessions.items():
        for index, now in enumerate(days):
            day, price, volume = now["day"], now["price"], int(now["volume"])
            if not first <= day <= last or index < max(n, usual_sessions) or pd.isna(price):
                continue
            if (day - days[index - n]["day"]).days > 2 * n + 10 or (day - days[index - usual_sessions]["day"]).days > 2 * usual_sessions + 10:
                continue
            usual = sum(earlier["volume"] for earlier in days[index - usual_sessions : index]) / usual_sessions
            if usual == 0:
                continue
            highest, lowest = max(earlier["high"] for earlier in days[index - n : index]), min(earlier["low"] for earlier in days[index - n : index])
            if price > highest:
                setup, side, level, opposite = "new_high", "long", highest, lowest
                beyond, away = 100 * (price - highest) / highest, 100 * (price - lowest) / lowest
                made = max(place for place in range(index - n, index) if days[place]["high"] == highest)
            elif price < lowest:
                setup, side, level, opposite = "new_low", "short", lowest, highest
                beyond, away = 100 * (lowest - price) / lowest, 100 * (highest - price) / highest
                made = max(place for place in range(index - n, index) if days[place]["low"] == lowest)
            else:
                continue
            ratio = volume / usual
            change, session_change = 100 * (price / now["open"] - 1), 100 * (price / days[index - 1]["close"] - 1)
            score = 40 * min(beyond / 2, 1) + 40 * min(ratio / 3, 1) + 20 * min((index - made) / 25, 1)
            if (
                given["min_price"] <= price <= given["max_price"] and volume >= given["min_volume"] and ratio >= given["min_relative_volume"]
                and score >= given["min_probability_score"] and given["direction"] in ("any", side)
            ):  # fmt: skip
                hits.append(
                    (
                        day, symbol, price, setup, level, days[made]["day"], index - made, beyond, opposite, away, ratio, change, session_change,
                        volume, score,
                    )  # fmt: skip
                )
    hits.sort(key=lambda hit: (hit[0], -hit[-1], -hit[7], hit[1]))
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


def test_agrees_with_the_definition(demo, bars):
    chance = random.Random(11)
    days = sorted(bars.day.unique())
    cutoffs = {cutoff: sessions(bars, cutoff) for cutoff in ("09:16", "09:50", "10:47", "15:30")}
    found = {"new_high": 0, "new_low": 0}
    for _ in range(40):
        cutoff = chance.choice(list(cutoffs))
        first = chance.choice(days[20:])
        last = min(first + dt.timedelta(days=chance.choice([0, 0, 9, 30])), days[-1])
        given = DEFAULTS | dict(
            lookback_sessions=chance.choice([1, 5, 14, 20, 50]), lookback_days=chance.choice([1, 3, 14, 20]),
            min_relative_volume=chance.choice([0, 0.8, 1.5]), direction=chance.choice(["any", "any", "long", "short"]),
            max_results_per_day=chance.choice([3, 1000]), min_volume=chance.choice([0, 10000]), min_price=chance.choice([0, 200]),
            min_probability_score=chance.choice([0, 10, 40]),
        )  # fmt: skip
        arguments = ", ".join(f"{name} := {value!r}" for name, value in given.items())
        scan = f"FROM scan_new_high('{first}', '{cutoff}', end_date := '{last}', {arguments})"
        actual, wanted = demo.execute(scan).fetchall(), expected(cutoffs[cutoff], first, last, given)
        assert_same(actual, wanted, scan)
        for row in wanted:
            found[row[3]] += 1
    assert min(found.values()) > 100, "the scans find enough to compare"
