"""scan_candlestick against an independent implementation, written from its definition: a loop over symbols and sessions, with the patterns of
TA-Lib's own Python package."""

import datetime as dt
import random

import numpy as np
import pandas as pd
import pytest
import talib

DEFAULTS = dict(
    min_price=50, max_price=2000, min_volume=10000, max_results_per_day=3, min_probability_score=10, pattern="any", direction="any",
)
PATTERNS = sorted(name.removeprefix("CDL").lower() for name in talib.get_function_groups()["Pattern Recognition"])
# Shapes, of which TA-Lib's documentation says that the sign is a colour, or always the same, and no call.
NO_CALL = {"doji", "dragonflydoji", "gravestonedoji", "highwave", "longleggeddoji", "rickshawman", "shortline", "spinningtop", "takuri"}


def folded(bars: pd.DataFrame, cutoff: str, bar_minutes: int = 1) -> dict[str, list[tuple]]:
    """Per symbol: (day, the whole day's candle, and the candle and volume by the cutoff, None if no bar had ended)."""
    bars = bars.sort_values(["symbol", "ts"])
    day = bars.ts.dt.normalize()
    ended = bars.ts - day + pd.Timedelta(minutes=bar_minutes) <= pd.Timedelta(cutoff + ":00")
    columns = dict(open=("open", "first"), high=("high", "max"), low=("low", "min"), close=("close", "last"), volume=("volume", "sum"))
    whole = bars.groupby(["symbol", day]).agg(**columns)
    seen = bars[ended].groupby(["symbol", day[ended]]).agg(**columns)
    seen = dict(zip(seen.index, seen.itertuples(index=False, name=None)))
    result = {}
    for (symbol, at), candle in zip(whole.index, whole.itertuples(index=False, name=None)):
        result.setdefault(symbol, []).append((at.date(), candle[:4], seen.get((symbol, at))))
    return result


def expected(sessions, first, last, given):
    hits = []
    for symbol, days in sessions.items():
        for index, (day, _, seen) in enumerate(days):
            if not first <= day <= last or seen is None:
                continue
            earlier = [candle for at, candle, _ in days[max(0, index - 30) : index] if (day - at).days <= 70]
            *candle, volume = seen
            price = candle[3]
            if len(earlier) < 20 or not (given["min_price"] <= price <= given["max_price"] and volume >= given["min_volume"]):
                continue
            series = np.array(earlier + [candle], dtype=float).T.copy()
            average = talib.ATR(*series[1:], 14)[-1]
            found = {name: int(getattr(talib, "CDL" + name.upper())(*series)[-1]) for name in PATTERNS}
            found = {name: value for name, value in found.items() if value}
            if not found or average == 0:
                continue
            if given["pattern"] != "any" and given["pattern"] not in found:
                continue
            strength = sum(value for name, value in found.items() if name not in NO_CALL) / 100
            side = "long" if strength > 0 else "short" if strength < 0 else "none"
            height = (candle[1] - candle[2]) / average
            score = 60 * min(abs(strength) / 3, 1) + 40 * min(height, 1)
            if score < given["min_probability_score"] or given["direction"] not in ("any", side):
                continue
            change = 100 * (price / candle[0] - 1)
            hits.append((day, symbol, price, " + ".join(found), strength, side, *candle[:3], height, change, int(volume), score))
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


def random_parameters(chance: random.Random) -> dict:
    return DEFAULTS | dict(
        pattern=chance.choice(["any", "any", "any", "engulfing", "belthold", "hikkake", "doji", "hammer", "spinningtop"]),
        direction=chance.choice(["any", "any", "long", "short"]), max_results_per_day=chance.choice([3, 1000, 1000]),
        min_volume=chance.choice([0, 10000]), min_price=chance.choice([0, 50]), min_probability_score=chance.choice([0, 10, 30]),
    )


def call(first, last, cutoff, given) -> str:
    arguments = ", ".join(f"{name} := {value!r}" for name, value in given.items())
    return f"FROM scan_candlestick('{first}', '{cutoff}', end_date := '{last}', {arguments})"


def test_agrees_with_the_definition(demo):
    chance = random.Random(13)
    bars = demo.execute("FROM bars").df()
    cutoffs = ["09:16", "09:50", "12:03", "15:30"]
    sessions = {cutoff: folded(bars, cutoff) for cutoff in cutoffs}
    days = sorted({day for one in sessions["15:30"].values() for day, _, _ in one})
    found, patterns = 0, set()
    for _ in range(24):
        cutoff, given = chance.choice(cutoffs), random_parameters(chance)
        first = chance.choice(days[20:])
        last = min(first + dt.timedelta(days=chance.choice([0, 4, 14])), days[-1])
        scan = call(first, last, cutoff, given)
        wanted = expected(sessions[cutoff], first, last, given)
        assert_same(demo.execute(scan).fetchall(), wanted, scan)
        found += len(wanted)
        patterns |= {name for hit in wanted for name in hit[3].split(" + ")}
    assert found > 500 and len(patterns) > 25, f"the scans find enough to compare: {found} hits, {patterns}"


def candles_of_chance(symbols: int, days: int) -> pd.DataFrame:
    """Daily bars with runs of one colour, gaps either way, bodies from none to long, and often no wick, in whole steps so that prices are
    equal often: nearly every pattern turns up, where the demo market has little more than half of them."""
    frames = []
    for symbol in range(symbols):
        chance = np.random.default_rng(symbol)
        run = 3 + symbol % 3
        trend = np.repeat(chance.choice([-1, 1], days // run + 1), run)[:days]
        color = np.where(chance.random(days) < 0.85, trend, -trend)
        body, gap = chance.choice([0, 1, 2, 5, 9, 14], days), chance.choice([-12, -4, -2, -1, 0, 0, 1, 4, 15], days)
        close = 500.0 + np.cumsum(color * (body + gap))
        open_ = close - color * body
        high, low = (np.array([open_, close]).max(axis=0), np.array([open_, close]).min(axis=0))
        high, low = high + chance.choice([0, 0, 0, 0, 1, 2, 7], days), low - chance.choice([0, 0, 0, 0, 1, 2, 7], days)
        at = pd.Timestamp("2025-01-01") + pd.to_timedelta(np.arange(days), unit="D")
        frames.append(pd.DataFrame(dict(symbol=f"S{symbol:03d}", ts=at, open=open_, high=high, low=low, close=close, volume=100000)))
    return pd.concat(frames)


def test_every_pattern_has_its_name(database):
    database.register("candles", candles_of_chance(150, 60))
    database.execute("CREATE TABLE bars AS FROM candles")
    sessions = folded(database.execute("FROM bars").df(), "24:00", 1440)
    first, last = dt.date(2025, 1, 21), dt.date(2025, 3, 1)
    given = DEFAULTS | dict(max_results_per_day=10000, min_probability_score=0)
    wanted = expected(sessions, first, last, given)
    scan = f"CREATE TABLE hits AS {call(first, last, '24:00', given | {'bar_minutes': 1440})}"
    database.execute(scan)
    assert_same(database.execute("FROM hits").fetchall(), wanted, scan)
    names = {name for hit in wanted for name in hit[3].split(" + ")}
    assert len(names) > 54, sorted(set(PATTERNS) - names)


def test_a_pattern_asked_for_is_among_those_found(database):
    database.register("candles", candles_of_chance(60, 30))
    database.execute("CREATE TABLE bars AS FROM candles")
    given = DEFAULTS | dict(max_results_per_day=10000, min_probability_score=0, bar_minutes=1440)
    dates = dt.date(2025, 1, 21), dt.date(2025, 1, 30), "24:00"
    database.execute(f"CREATE TABLE hits AS {call(*dates, given)}")
    found = 0
    for name in PATTERNS:
        rows = database.execute(f"SELECT scan_date, symbol {call(*dates, given | {'pattern': name})} ORDER BY ALL").fetchall()
        of_all = "SELECT scan_date, symbol FROM hits WHERE list_contains(string_split(patterns, ' + '), $1) ORDER BY ALL"
        assert rows == database.execute(of_all, [name]).fetchall(), name
        found += len(rows)
    assert found > 500
