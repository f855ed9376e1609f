"""scan_vwap against an independent implementation in numpy, written from its definition: a loop over symbols, sessions and bars."""

import datetime as dt
import random

import numpy as np
import pandas as pd
import pytest

DEFAULTS = dict(
    min_price=50, max_price=2000, min_volume=10000, max_results_per_day=3, min_probability_score=10, within_bars=10, min_bars_before_cross=5,
    max_vwap_sigma=None, lookback_days=14, min_relative_volume=1, direction="any",
)


@pytest.fixture(scope="module")
def sessions(demo):
    """Per symbol: its sessions in order, each with all its bars."""
    bars = demo.execute("FROM bars ORDER BY symbol, ts").df()
    bars["day"] = bars.ts.dt.date
    return {symbol: list(one.groupby("day")) for symbol, one in bars.groupby("symbol")}


def vwap_of(bars):
    """VWAP after the last of these bars, and the deviation around it; None before anything was traded."""
    typical = ((bars.high + bars.low + bars.close) / 3).to_numpy()
    volume = bars.volume.to_numpy(dtype=float)
    if volume.sum() == 0:
        return None, None
    vwap = np.average(typical, weights=volume)
    return vwap, np.sqrt(np.average((typical - vwap) ** 2, weights=volume))


def running_sides(bars):
    """For each bar the side of its VWAP that it closed on: 1 above, -1 below, 0 neither."""
    typical = ((bars.high + bars.low + bars.close) / 3).to_numpy()
    volume = bars.volume.to_numpy(dtype=float)
    with np.errstate(invalid="ignore"):
        gap = bars.close.to_numpy() / (np.cumsum(typical * volume) / np.cumsum(volume)) - 1
    return [0 if np.isnan(one) or abs(one) < 1e-9 else int(np.sign(one)) for one in gap]


def cross_of(sides):
    """Side now, place of the bar that crossed, and how many bars on the other side it ended; None without a cross."""
    now = sides[-1]
    others = [place for place, side in enumerate(sides) if side == -now]
    if now == 0 or not others:
        return None
    crossed = next(place for place in range(others[-1], len(sides)) if sides[place] == now)
    before = 0
    for side in reversed(sides[:crossed]):
        if side == now:
            break
        before += side == -now
    return now, crossed, before


def expected(sessions, first, last, cutoff, given):
    end = pd.Timedelta(cutoff + ":00") - pd.Timedelta(minutes=1)
    hits = []
    for symbol, days in sessions.items():
        dates = [day for day, _ in days]
        for index, day in enumerate(dates):
            n = given["lookback_days"]
            if not first <= day <= last or index < n or (day - dates[index - n]).days > 2 * n + 10:
                continue
            seen = [bars.iloc[: bars.ts.searchsorted(pd.Timestamp(date) + end, "right")] for date, bars in days[index - n : index + 1]]
            earlier, now = seen[:-1], seen[-1]
            usual = sum(int(bars.volume.sum()) for bars in earlier) / n
            if now.empty:
                continue
            price, volume = now.close.iloc[-1], int(now.volume.sum())
            vwap, sigma = vwap_of(now)
            cross = cross_of(running_sides(now))
            if usual == 0 or vwap is None or cross is None or sigma < 1e-9 * vwap:
                continue
            side, crossed, before = cross
            since = len(now) - 1 - crossed
            ratio, distance = volume / usual, (price - vwap) / sigma
            score = 40 * max(1 - since / 20, 0) + 30 * min(before / 20, 1) + 20 * min(ratio / 3, 1) + 10 * max(1 - abs(distance) / 2, 0)
            if (
                given["min_price"] <= price <= given["max_price"] and volume >= given["min_volume"] and since < given["within_bars"]
                and before >= given["min_bars_before_cross"] and ratio >= given["min_relative_volume"] and score >= given["min_probability_score"]
                and (given["max_vwap_sigma"] is None or abs(distance) <= given["max_vwap_sigma"])
                and given["direction"] in ("any", "long" if side > 0 else "short")
            ):
                setup = "reclaim" if side > 0 else "loss"
                crossed_at = now.ts.iloc[crossed].to_pydatetime()
                change = 100 * (price / now.open.iloc[0] - 1)
                hits.append((day, symbol, price, vwap, 100 * (price / vwap - 1), distance, setup, crossed_at, since, before, ratio, change, volume, score))
    hits.sort(key=lambda hit: (hit[0], -round(hit[-1], 9), -hit[9], hit[1]))
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
    chance = random.Random(11)
    days = sorted({day for one in sessions.values() for day, _ in one})
    found = {"reclaim": 0, "loss": 0}
    for _ in range(14):
        cutoff = chance.choice(["09:20", "09:50", "10:47", "13:05", "15:30"])
        first = chance.choice(days[20:-15])
        last = min(first + dt.timedelta(days=chance.choice([0, 9, 21])), days[-1])
        given = DEFAULTS | dict(
            lookback_days=chance.choice([1, 3, 14]), min_relative_volume=chance.choice([0, 1]), within_bars=chance.choice([1, 10, 60]),
            min_bars_before_cross=chance.choice([1, 1, 5]), max_vwap_sigma=chance.choice([None, None, 0.5]), min_volume=chance.choice([0, 10000]),
            max_results_per_day=chance.choice([3, 1000]), min_probability_score=chance.choice([0, 10, 40]), direction=chance.choice(["any", "any", "long", "short"]),
        )
        arguments = ", ".join(f"{name} := {'NULL' if value is None else repr(value)}" for name, value in given.items())
        scan = f"FROM scan_vwap('{first}', '{cutoff}', end_date := '{last}', {arguments})"
        actual, wanted = demo.execute(scan).fetchall(), expected(sessions, first, last, cutoff, given)
        assert_same(actual, wanted, scan)
        for row in wanted:
            found[row[6]] += 1
    assert min(found.values()) > 100, f"the scans find enough to compare: {found}"
