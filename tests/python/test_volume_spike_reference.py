"""scan_volume_spike against an independent implementation in numpy, written from its definition: every slot of a session is made, and counted."""

import datetime as dt
import random

import numpy as np
import pandas as pd
import pytest

DEFAULTS = dict(
    min_price=50, max_price=2000, min_volume=10000, max_results_per_day=3, min_probability_score=10, spike_bars=3, min_spike_z=3.5, min_bars=15,
    direction="any",
)


@pytest.fixture(scope="module")
def sources(demo):
    """By length of a bar in minutes: the name of a table, and the bars of each symbol and session in order. One bar in nine is missing. Bars of
    20 minutes start at 09:15 and 09:35, so on no multiple of their length."""
    minutes = demo.execute("FROM bars WHERE ts >= '2024-11-20' AND hash(symbol, ts) % 9 != 0 ORDER BY symbol, ts").df()
    result = {}
    for length in (1, 5, 20):
        start = minutes.ts.dt.normalize() + pd.Timedelta(minutes=555)
        slot = start + (minutes.ts - start) // pd.Timedelta(minutes=length) * pd.Timedelta(minutes=length)
        longer = minutes.groupby([minutes.symbol, slot.rename("ts")]).agg(
            open=("open", "first"), high=("high", "max"), low=("low", "min"), close=("close", "last"), volume=("volume", "sum")
        )
        longer = longer.reset_index()
        name = f"bars_of_{length}"
        demo.execute(f"CREATE OR REPLACE TEMP TABLE {name} AS FROM longer")
        result[length] = name, list(longer.groupby(["symbol", longer.ts.dt.date]))
    return result


def expected(groups, length, first, last, cutoff, session_end, given):
    length = pd.Timedelta(minutes=length)
    hits = []
    for (symbol, day), bars in groups:
        if not first <= day <= last:
            continue
        end = pd.Timestamp(f"{day} {min(cutoff, session_end or cutoff)}")
        now = bars[bars.ts + length <= end]
        if now.empty:
            continue
        # Every slot from the first bar on that has ended.
        slots = []
        start = now.ts.iloc[0]
        traded = dict(zip(now.ts, now.volume))
        while start + length <= end:
            slots.append((start, int(traded.pop(start, 0))))
            start += length
        assert not traded
        usual, spike = slots[: -given["spike_bars"]], slots[-given["spike_bars"] :]
        if not usual:
            continue
        volumes = np.array([volume for _, volume in usual], dtype=float)
        median = np.median(volumes)
        deviation = 1.4826 * np.median(np.abs(volumes - median))
        if deviation == 0:
            continue
        mean = sum(volume for _, volume in spike) / given["spike_bars"]
        z = (mean - median) / deviation
        score = 100 * min(z / 20, 1)
        price, volume = now.close.iloc[-1], int(now.volume.sum())
        before = now[now.ts < spike[0][0]].close.iloc[-1]
        side = "long" if price > before else "short" if price < before else None
        if (
            given["min_price"] <= price <= given["max_price"] and volume >= given["min_volume"] and len(now) >= given["min_bars"]
            and z >= given["min_spike_z"] and score >= given["min_probability_score"] and given["direction"] in ("any", side)
        ):
            changes = 100 * (price / before - 1), 100 * (price / now.open.iloc[0] - 1)
            hits.append((day, symbol, price, z, mean, median, deviation, mean / median, *changes, len(now), volume, score))
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


def test_agrees_with_the_definition(demo, sources):
    chance = random.Random(12)
    days = sorted({day for _, groups in sources.values() for (_, day), _ in groups})
    found = {1: 0, 5: 0, 20: 0}
    for length in [1, 5, 20] * 8:
        source, groups = sources[length]
        cutoff = chance.choice(["09:50", "10:47", "13:05", "15:30", "15:33"])
        session_end = chance.choice([None, "15:30", "15:29", "12:00"])
        first = chance.choice(days[:-10])
        last = min(first + dt.timedelta(days=chance.choice([0, 9, 30])), days[-1])
        given = DEFAULTS | dict(
            spike_bars=chance.choice([1, 3, 10]), min_spike_z=chance.choice([0, 0, 1, 3.5]), min_bars=chance.choice([1, 1, 15]),
            max_results_per_day=chance.choice([3, 1000]), min_volume=chance.choice([0, 10000]), min_probability_score=chance.choice([0, 10]),
            direction=chance.choice(["any", "any", "long", "short"]),
        )
        arguments = ", ".join(f"{name} := {value!r}" for name, value in given.items())
        end = "" if session_end is None else f"session_end := '{session_end}', "
        scan = f"FROM scan_volume_spike('{first}', '{cutoff}', end_date := '{last}', source := '{source}', bar_minutes := {length}, {end}{arguments})"
        actual, wanted = demo.execute(scan).fetchall(), expected(groups, length, first, last, cutoff, session_end, given)
        assert_same(actual, wanted, scan)
        found[length] += len(wanted)
    assert min(found.values()) > 100, f"the scans find enough to compare: {found}"
