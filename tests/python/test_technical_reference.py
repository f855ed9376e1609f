"""scan_technical against an independent implementation, written from its definition: a loop over symbols and sessions, with the values of
TA-Lib's own Python package."""

import datetime as dt
import random

import numpy as np
import pandas as pd
import pytest
import talib

DEFAULTS = dict(
    min_price=50, max_price=2000, min_volume=10000, max_results_per_day=3, min_probability_score=10, rsi_period=14, rsi_oversold=30,
    rsi_overbought=70, macd_fast=12, macd_slow=26, macd_signal=9, macd_threshold=0.1, bollinger_period=20, bollinger_deviations=2, ema_fast=20,
    ema_slow=50, lookback_sessions=120, min_sessions=60, direction="any",
)


def folded(bars: pd.DataFrame, cutoff: str, bar_minutes: int = 1) -> dict[str, list[tuple]]:
    """Per symbol: (day, last close of the whole day, and the price and volume by the cutoff, None if no bar had ended)."""
    bars = bars.sort_values(["symbol", "ts"])
    day = bars.ts.dt.normalize()
    ended = bars.ts - day + pd.Timedelta(minutes=bar_minutes) <= pd.Timedelta(cutoff + ":00")
    closes = bars.groupby(["symbol", day]).close.last()
    seen = bars[ended].groupby(["symbol", day[ended]]).agg(price=("close", "last"), volume=("volume", "sum"))
    seen = {key: (price, int(volume)) for key, price, volume in zip(seen.index, seen.price, seen.volume)}
    result = {}
    for (symbol, at), close in closes.items():
        result.setdefault(symbol, []).append((at.date(), close, seen.get((symbol, at))))
    return result


def expected(sessions, first, last, given):
    hits = []
    for symbol, days in sessions.items():
        for index, (day, _, seen) in enumerate(days):
            if not first <= day <= last or seen is None:
                continue
            price, volume = seen
            reach = given["lookback_sessions"]
            series = [close for at, close, _ in days[max(0, index - reach) : index] if (day - at).days <= 2 * reach + 10]
            if len(series) < given["min_sessions"]:
                continue
            if not (given["min_price"] <= price <= given["max_price"] and volume >= given["min_volume"]):
                continue
            change = 100 * (price / series[-1] - 1)
            closes = np.array(series + [price])
            rsi = talib.RSI(closes, given["rsi_period"])[-1]
            macd, signal, histogram = (x[-1] for x in talib.MACD(closes, given["macd_fast"], given["macd_slow"], given["macd_signal"]))
            width = given["bollinger_deviations"]
            upper, middle, lower = (x[-1] for x in talib.BBANDS(closes, given["bollinger_period"], width, width))
            fast, slow = talib.EMA(closes, given["ema_fast"])[-1], talib.EMA(closes, given["ema_slow"])[-1]
            if np.isnan([rsi, histogram, middle, fast, slow]).any():
                continue
            pct = 100 * histogram / price
            rounding, least_pct = 1e-9 * price, max(given["macd_threshold"], 1e-7)
            above, below = price - upper > rounding, lower - price > rounding
            setups, sides = [], []
            for setup, side, holds in (
                ("BB_BREAKOUT_DOWN", -1, below),
                ("BB_BREAKOUT_UP", 1, above),
                ("MACD_BEARISH", -1, pct < -least_pct),
                ("MACD_BULLISH", 1, pct > least_pct),
                ("OVERBOUGHT", -1, rsi >= given["rsi_overbought"] and rsi > given["rsi_oversold"]),
                ("OVERSOLD", 1, rsi <= given["rsi_oversold"]),
                ("TREND_DOWN", -1, slow - fast > rounding),
                ("TREND_UP", 1, fast - slow > rounding),
            ):
                if holds:
                    setups.append(setup)
                    sides.append(side)
            risk = 2 * (rsi >= 75 or rsi <= 25) + (above or below) + (abs(change) > 3)
            up, down = sides.count(1), sides.count(-1)
            side = "long" if up > down else "short" if down > up else "none"
            score = 0 if up == down else max(0, 25 * max(up, down) - 10 * risk)
            if score < given["min_probability_score"] or given["direction"] not in ("any", side):
                continue
            level = ["VERY_LOW", "LOW", "MEDIUM", "HIGH", "HIGH"][risk]
            values = (rsi, macd, signal, histogram, pct, upper, middle, lower, fast, slow, change)
            hits.append((day, symbol, price, *values, " + ".join(setups) or "NEUTRAL", level, side, volume, score, risk))
    hits.sort(key=lambda hit: (hit[0], -hit[-2], hit[-1], hit[1]))
    result, rank, previous = [], 0, None
    for hit in hits:
        rank = rank + 1 if hit[0] == previous else 1
        previous = hit[0]
        if rank <= given["max_results_per_day"]:
            result.append((*hit[:-1], rank))
    return result


def assert_same(actual, wanted, what):
    assert [(row[0], row[1], row[-1]) for row in actual] == [(row[0], row[1], row[-1]) for row in wanted], what
    for got, want in zip(actual, wanted):
        for one, other in zip(got, want):
            assert one == other or one == pytest.approx(other, rel=1e-9, abs=1e-9), f"{what}\n{got}\n{want}"


def random_parameters(chance: random.Random) -> dict:
    lookback = chance.choice([25, 40, 60])
    ema_slow, macd_slow = chance.choice([10, 21, 30]), chance.choice([8, 13, 17])
    return DEFAULTS | dict(
        lookback_sessions=lookback, min_sessions=chance.choice([1, 10, 20, lookback]), ema_slow=ema_slow, ema_fast=chance.choice([3, 8, ema_slow]),
        macd_slow=macd_slow, macd_fast=chance.choice([2, 5, macd_slow]), macd_signal=chance.choice([1, 3, 5]),
        macd_threshold=chance.choice([0, 0.05, 0.2]), rsi_period=chance.choice([2, 7, 14]), rsi_oversold=chance.choice([20, 35, 50]),
        rsi_overbought=chance.choice([50, 65, 80]), bollinger_period=chance.choice([2, 10, 20]), bollinger_deviations=chance.choice([0, 1, 2]),
        direction=chance.choice(["any", "any", "long", "short"]), max_results_per_day=chance.choice([3, 1000, 1000]),
        min_volume=chance.choice([0, 10000]), min_price=chance.choice([0, 50]), min_probability_score=chance.choice([0, 10, 30]),
    )


def call(first, last, cutoff, given) -> str:
    arguments = ", ".join(f"{name} := {value!r}" for name, value in given.items())
    return f"FROM scan_technical('{first}', '{cutoff}', end_date := '{last}', {arguments})"


def test_agrees_with_the_definition(demo):
    chance = random.Random(11)
    bars = demo.execute("FROM bars").df()
    cutoffs = ["09:16", "09:50", "12:03", "15:30"]
    sessions = {cutoff: folded(bars, cutoff) for cutoff in cutoffs}
    days = sorted({day for one in sessions["15:30"].values() for day, _, _ in one})
    found = 0
    for _ in range(24):
        cutoff, given = chance.choice(cutoffs), random_parameters(chance)
        first = chance.choice(days[25:])
        last = min(first + dt.timedelta(days=chance.choice([0, 0, 9])), days[-1])
        scan = call(first, last, cutoff, given)
        wanted = expected(sessions[cutoff], first, last, given)
        assert_same(demo.execute(scan).fetchall(), wanted, scan)
        found += len(wanted)
    assert found > 500, "the scans find enough to compare"


def test_agrees_with_the_definition_by_default(demo):
    """Only half a year has the sessions that the defaults ask for."""
    demo.execute("CREATE OR REPLACE TEMP TABLE half_a_year AS FROM demo_bars(symbols := 20, sessions := 130) WHERE ts::TIME < '09:50' OR ts::TIME > '15:25'")
    sessions = folded(demo.execute("FROM half_a_year").df(), "09:50")
    first, last = dt.date(2024, 12, 20), dt.date(2025, 1, 15)
    wanted = expected(sessions, first, last, DEFAULTS)
    assert len(wanted) > 20
    actual = demo.execute(f"FROM scan_technical('{first}', end_date := '{last}', source := 'half_a_year')").fetchall()
    assert_same(actual, wanted, "defaults")
