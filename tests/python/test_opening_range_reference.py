"""scan_opening_range against an independent implementation in pandas, written from its definition: a loop over symbols and sessions."""

import datetime as dt
import random
from functools import cache

import pandas as pd
import pytest

DEFAULTS = dict(
    min_price=50, max_price=2000, min_volume=10000, max_results_per_day=3, min_probability_score=10, lookback_days=14, opening_minutes=15,
    min_break_pct=0, max_opening_range_pct=None, min_relative_volume=1, direction="any",
)

# Bars as they come; every other one, so that some ranges have less than half of theirs; and of five minutes, some of them cut by the range's end.
SOURCES = {
    "bars": (1, "FROM bars"),
    "thin": (1, "FROM bars WHERE hash(symbol, ts) % 2 = 0"),
    "fives": (
        5,
        """
        SELECT
            symbol, time_bucket(INTERVAL 5 MINUTE, bars.ts) AS ts,
            arg_min(open, bars.ts) AS open, max(high) AS high, min(low) AS low, arg_max(close, bars.ts) AS close, CAST(sum(volume) AS BIGINT) AS volume
        FROM bars
        GROUP BY symbol, time_bucket(INTERVAL 5 MINUTE, bars.ts)
        """,
    ),
}


@pytest.fixture(scope="module")
def sources(demo):
    """Per source: per symbol its sessions in order, each with all its bars."""
    result = {}
    for name, (minutes, query) in SOURCES.items():
        if name != "bars":
            demo.execute(f"CREATE OR REPLACE TEMP TABLE {name} AS {query}")
        bars = demo.execute(f"FROM {name} ORDER BY symbol, ts").df()
        bars["day"] = bars.ts.dt.date
        bars["ends"] = bars.ts + pd.Timedelta(minutes=minutes)
        bars["minute"] = bars.ts.dt.hour * 60 + bars.ts.dt.minute + minutes
        result[name] = {symbol: list(one.groupby("day")) for symbol, one in bars.groupby("symbol")}
    return result


def break_of_range(now, start, minutes, bar_minutes):
    """Of a session's visible bars: high, low, bars, side, distance, time of the break, both sides; None without a range or a break."""
    end = start + pd.Timedelta(minutes=minutes)
    opening, rest = now[now.ends <= end], now[now.ts >= end]
    if rest.empty or 2 * len(opening) < minutes // bar_minutes or opening.empty:
        return None
    high, low, price = opening.high.max(), opening.low.min(), now.close.iloc[-1]
    if high == low or low <= price <= high:
        return None
    above, below = rest[rest.close > high], rest[rest.close < low]
    both = len(above) > 0 and len(below) > 0
    if price > high:
        return high, low, len(opening), "long", 100 * (price / high - 1), above.ts.iloc[0].to_pydatetime(), both
    return high, low, len(opening), "short", 100 * (1 - price / low), below.ts.iloc[0].to_pydatetime(), both


def expected(sessions, first_day, last_day, cutoff, session_start, bar_minutes, given):
    n, minutes = given["lookback_days"], 60 * int(cutoff[:2]) + int(cutoff[3:])
    seen = lambda bars: bars[bars.minute <= minutes]
    hits = []
    for symbol, days in sessions.items():
        dates = [day for day, _ in days]
        traded = cache(lambda index, days=days: int(seen(days[index][1]).volume.sum()))
        for index, day in enumerate(dates):
            if not first_day <= day <= last_day or index < n or (day - dates[index - n]).days > 2 * n + 10:
                continue
            now = seen(days[index][1])
            usual = sum(map(traded, range(index - n, index)))
            if usual == 0 or now.empty:
                continue
            start = pd.Timestamp(day) + pd.Timedelta(session_start + ":00") if session_start else now.ts.iloc[0]
            found = break_of_range(now, start, given["opening_minutes"], bar_minutes)
            if found is None:
                continue
            high, low, bars, side, distance, broke_at, both = found
            price, volume = now.close.iloc[-1], int(now.volume.sum())
            ratio, height = volume / (usual / n), 100 * (high / low - 1)
            score = 50 * min(distance / 2, 1) + 30 * min(ratio / 5, 1) + (0 if both else 20)
            highest = given["max_opening_range_pct"]
            if (
                given["min_price"] <= price <= given["max_price"] and volume >= given["min_volume"] and distance >= given["min_break_pct"]
                and (highest is None or height <= highest) and ratio >= given["min_relative_volume"]
                and given["direction"] in ("any", side) and score >= given["min_probability_score"]
            ):
                change = 100 * (price / now.open.iloc[0] - 1)
                hits.append((day, symbol, price, high, low, height, bars, side, distance, broke_at, both, ratio, change, volume, score))
    hits.sort(key=lambda hit: (hit[0], -hit[-1], -hit[8], hit[1]))
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


@pytest.mark.parametrize("source", SOURCES)
def test_agrees_with_the_definition(demo, sources, source):
    chance, sessions, bar_minutes = random.Random(7), sources[source], SOURCES[source][0]
    days = sorted({day for one in sessions.values() for day, _ in one})
    found, sides, both = 0, set(), set()
    for _ in range(12):
        cutoff = chance.choice(["09:27", "09:50", "10:47", "15:30"])
        session_start = chance.choice([None, "09:15", "09:13"])
        first = chance.choice(days[20:])
        last = min(first + dt.timedelta(days=chance.choice([0, 4, 13])), days[-1])
        given = DEFAULTS | dict(
            lookback_days=chance.choice([1, 3, 14]), opening_minutes=chance.choice([5, 5, 7, 15, 33]), min_break_pct=chance.choice([0, 0.2]),
            max_opening_range_pct=chance.choice([None, 1]), min_relative_volume=chance.choice([0, 1]),
            direction=chance.choice(["any", "any", "long", "short"]), max_results_per_day=chance.choice([3, 1000, 1000]),
            min_volume=chance.choice([0, 10000]), min_probability_score=chance.choice([0, 10, 40]),
        )
        options = given | dict(session_start=session_start, bar_minutes=bar_minutes, source=source)
        arguments = ", ".join(f"{name} := {'NULL' if value is None else repr(value)}" for name, value in options.items())
        scan = f"FROM scan_opening_range('{first}', '{cutoff}', end_date := '{last}', {arguments})"
        actual, wanted = demo.execute(scan).fetchall(), expected(sessions, first, last, cutoff, session_start, bar_minutes, given)
        assert_same(actual, wanted, scan)
        found += len(wanted)
        sides |= {row[7] for row in wanted}
        both |= {row[10] for row in wanted}
    assert found > 150 and len(sides) == 2 and len(both) == 2, "the scans find enough to compare"
