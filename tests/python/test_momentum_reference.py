"""scan_momentum against an independent implementation in pandas, written from its definition: a loop over symbols and sessions."""

import datetime as dt
import random

import numpy as np
import pandas as pd
import pytest

DEFAULTS = dict(
    min_price=50, max_price=2000, min_volume=10000, max_results_per_day=3, min_probability_score=10, lookback_sessions=126, skip_sessions=5,
    min_momentum_pct=0, direction="any",
)


@pytest.fixture(scope="module")
def bars(demo):
    bars = demo.execute("FROM bars ORDER BY symbol, ts").df()
    bars["day"] = bars.ts.dt.date
    return bars


def sessions(bars, cutoff):
    """Per symbol: its sessions in order, with the close of the whole session and, as of the cutoff, the price (NaN if none) and the volume."""
    by_cutoff = bars[bars.ts - bars.ts.dt.normalize() <= pd.Timedelta(cutoff + ":00") - pd.Timedelta(minutes=1)]
    closes = bars.groupby(["symbol", "day"]).agg(close=("close", "last"))
    both = closes.join(by_cutoff.groupby(["symbol", "day"]).agg(price=("close", "last"), volume=("volume", "sum")))
    return {symbol: one.droplevel(0) for symbol, one in both.groupby("symbol")}


def expected(sessions, first, last, given):
    n, skip = given["lookback_sessions"], given["skip_sessions"]
    hits = []
    for symbol, days in sessions.items():
        closes, dates = days.close, list(days.index)
        for index, day in enumerate(dates):
            oldest = index - skip - n - 1
            price, volume = days.price.iloc[index], days.volume.iloc[index]
            if not first <= day <= last or oldest < 0 or pd.isna(price) or (day - dates[oldest]).days > 2 * (n + skip + 1) + 10:
                continue
            window = closes.iloc[oldest : index - skip]
            assert len(window) == n + 1
            start, finish = window.iloc[0], window.iloc[-1]
            if start == finish:
                continue
            momentum = 100 * (finish - start) / start
            volatility = 100 * np.log(window).diff().dropna().std() if n > 1 else None
            against_volatility = momentum / volatility / n**0.5 if volatility else None
            moves = window.diff().dropna()
            side = "long" if momentum > 0 else "short"
            same, other = ((moves > 0).sum(), (moves < 0).sum()) if side == "long" else ((moves < 0).sum(), (moves > 0).sum())
            consistency = 100 * (same / n - other / n)
            score = (
                60 * abs(momentum) / (abs(momentum) + 30)
                + 20 * min(abs(against_volatility or 0) / 2, 1)
                + 20 * min(max(consistency, 0) / 100 * n**0.5 / 2, 1)
            )
            if (
                given["min_price"] <= price <= given["max_price"] and volume >= given["min_volume"] and abs(momentum) >= given["min_momentum_pct"]
                and score >= given["min_probability_score"] and given["direction"] in ("any", side)
            ):  # fmt: skip
                hits.append(
                    (
                        day, symbol, price, side, momentum, window.index[0], start, window.index[-1], finish, 100 * (price - finish) / finish,
                        volatility, against_volatility, consistency, volume, score,
                    )  # fmt: skip
                )
    hits.sort(key=lambda hit: (hit[0], -hit[-1], -abs(hit[4]), hit[1]))
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
    chance = random.Random(5)
    days = sorted(bars.day.unique())
    cutoffs = {cutoff: sessions(bars, cutoff) for cutoff in ("09:16", "09:50", "10:47", "15:30")}
    found = {"long": 0, "short": 0}
    for _ in range(14):
        cutoff = chance.choice(list(cutoffs))
        first = chance.choice(days[20:])
        last = min(first + dt.timedelta(days=chance.choice([0, 0, 9, 30])), days[-1])
        given = DEFAULTS | dict(
            lookback_sessions=chance.choice([1, 2, 5, 14, 20, 50]), skip_sessions=chance.choice([0, 1, 5]),
            min_momentum_pct=chance.choice([0, 0, 5]), direction=chance.choice(["any", "any", "long", "short"]),
            max_results_per_day=chance.choice([3, 1000]), min_volume=chance.choice([0, 10000]), min_price=chance.choice([0, 200]),
            min_probability_score=chance.choice([0, 10, 40]),
        )  # fmt: skip
        arguments = ", ".join(f"{name} := {value!r}" for name, value in given.items())
        scan = f"FROM scan_momentum('{first}', '{cutoff}', end_date := '{last}', {arguments})"
        actual, wanted = demo.execute(scan).fetchall(), expected(cutoffs[cutoff], first, last, given)
        assert_same(actual, wanted, scan)
        for row in wanted:
            found[row[3]] += 1
    assert min(found.values()) > 100, "the scans find enough to compare"
