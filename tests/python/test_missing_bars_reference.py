"""missing_bars against sets of minutes in plain Python, on a demo market with holes of every kind cut into it."""

import datetime as dt
import math
import random

import pytest

from conftest import connect

KINDS = {"gap", "missing_session", "partial_session", "market_outage", "market_break"}


@pytest.fixture(scope="module")
def market():
    with connect() as connection:
        connection.execute("CREATE TABLE whole AS FROM demo_bars(symbols := 20, sessions := 40)")
        yield connection


def cut(market, seed):
    """Makes the table bars: the whole market less some stretches, sessions, outages, days, and most bars of thin symbols."""
    chance = random.Random(seed)
    symbols = [symbol for (symbol,) in market.execute("SELECT DISTINCT symbol FROM whole ORDER BY 1").fetchall()]
    days = [day for (day,) in market.execute("SELECT DISTINCT ts::DATE FROM whole ORDER BY 1").fetchall()]
    holes = []
    at = lambda day, minute: dt.datetime.combine(day, dt.time(9, 15)) + dt.timedelta(minutes=minute)
    for _ in range(60):
        day, start = chance.choice(days), chance.choice([0, 100, chance.randrange(375), 360])
        holes.append((chance.choice(symbols), at(day, start), at(day, start + chance.choice([5, 14, 15, 16, 40, 375]))))
    for _ in range(25):
        first = chance.choice(days)
        holes.append((chance.choice(symbols), at(first, 0), at(first + dt.timedelta(days=chance.choice([0, 1, 6])), 375)))
    for _ in range(4):
        day, start = chance.choice(days), chance.randrange(370)
        end = start + chance.choice([10, 15, 60])
        holes += [(symbol, at(day, start), at(day, end)) for symbol in symbols if chance.random() < 0.8]
    holes += [(symbol, at(days[7], 0), at(days[7], 375)) for symbol in symbols[4:]]
    holes += [(symbol, at(days[20], 0), at(days[20] + dt.timedelta(days=chance.choice([8, 9, 11])), 375)) for symbol in symbols]
    market.execute("CREATE OR REPLACE TABLE holes (symbol VARCHAR, first_ts TIMESTAMP, end_ts TIMESTAMP)")
    market.executemany("INSERT INTO holes VALUES (?, ?, ?)", holes)
    market.execute(
        f"""
        CREATE OR REPLACE TABLE bars AS
        FROM whole
        WHERE NOT EXISTS (FROM holes WHERE holes.symbol = whole.symbol AND whole.ts >= holes.first_ts AND whole.ts < holes.end_ts)
            AND NOT (symbol IN ('{symbols[2]}', '{symbols[3]}', '{symbols[5]}') AND hash(ts, symbol, {seed}) % 10 < ascii(symbol[8]) % 5 + 4)
        """
    )


def stretches(expected, present, length):
    """Runs of what is expected and not present, at least so long: (first, last, how many)."""
    runs, run = [], []
    for minute in [*sorted(expected), None]:
        if minute is not None and minute not in present:
            run.append(minute)
        else:
            if run and len(run) >= length:
                runs.append((run[0], run[-1], len(run)))
            run = []
    return runs


def expected(market, bar_minutes, gap_minutes):
    minutes = {}
    for symbol, ts in market.execute("SELECT symbol, ts FROM bars").fetchall():
        minute = (ts.hour * 60 + ts.minute) // bar_minutes * bar_minutes
        minutes.setdefault(ts.date(), {}).setdefault(symbol, set()).add(minute)
    days = sorted(minutes)
    symbols = sorted({symbol for day in days for symbol in minutes[day]})
    mean = lambda numbers: sum(numbers) / len(numbers)
    traded = {symbol: [day for day in days if symbol in minutes[day]] for symbol in symbols}
    mean_bars = {symbol: mean([len(minutes[day][symbol]) for day in traded[symbol]]) for symbol in symbols}
    listed = {day: [symbol for symbol in symbols if traded[symbol][0] <= day <= traded[symbol][-1]] for day in days}
    full = [day for day in days if 2 * len(minutes[day]) >= len(listed[day])]
    usual = {}
    for day in days:
        counts = {}
        for of_symbol in minutes[day].values():
            for minute in of_symbol:
                counts[minute] = counts.get(minute, 0) + 1
        usual[day] = {minute for minute, count in counts.items() if 2 * count >= len(minutes[day])}
    rows = []
    midnight = lambda day: dt.datetime.combine(day, dt.time())
    at = lambda day, minute: midnight(day) + dt.timedelta(minutes=minute)
    for symbol in symbols:
        lacking = {day: len(usual[day] - minutes[day][symbol]) for day in traded[symbol]}
        for day in traded[symbol]:
            others = [other for other in traded[symbol] if other != day]
            total = sum(len(usual[other]) for other in others)
            share = sum(lacking[other] for other in others) / total if total else lacking[day] / len(usual[day])
            if share < 1:
                patience = max(gap_minutes / bar_minutes, math.log(1e-9) / math.log(share) if share else 1)
                for first, last, count in stretches(usual[day], minutes[day][symbol], patience):
                    rows.append(("gap", symbol, day, at(day, first), at(day, last), count))
        for before, after in zip(traded[symbol], traded[symbol][1:]):
            missing = [day for day in full if before < day < after]
            if missing:
                row = ("missing_session", symbol, missing[0], midnight(missing[0]), midnight(missing[-1]), len(missing) * mean_bars[symbol])
                rows.append(row)
    for index, day in enumerate(full):
        around = [other for other in full[max(index - 10, 0) : index + 11] if other != day]
        clock = {minute for other in around for minute in usual[other]}
        usually = {minute for minute in clock if len(around) >= 3 and 2 * sum(minute in usual[other] for other in around) > len(around)}
        for first, last, count in stretches(usually, usual[day], gap_minutes / bar_minutes):
            run = [minute for minute in usually if first <= minute <= last]
            there = sum(minute in of_symbol for of_symbol in minutes[day].values() for minute in run)
            rows.append(("market_outage", None, day, at(day, first), at(day, last), count * len(minutes[day]) - there))
    for day in days:
        if day not in full:
            missing = len(listed[day]) - len(minutes[day])
            rows.append(("partial_session", None, day, midnight(day), midnight(day), missing * mean([len(of) for of in minutes[day].values()])))
    for before, day in zip(days, days[1:]):
        if (day - before).days > 7:
            between = [before + dt.timedelta(days=number) for number in range(1, (day - before).days)]
            bars = sum(of.isoweekday() <= 5 for of in between) * sum(len(of) for of in minutes[before].values())
            rows.append(("market_break", None, between[0], midnight(between[0]), midnight(between[-1]), bars))
    return sorted(rows, key=lambda row: (row[3], row[0], row[1] or "", row[4]))


@pytest.mark.parametrize("seed", [1, 2, 3, 4])
def test_agrees_with_the_definition(market, seed):
    cut(market, seed)
    found = {}
    for bar_minutes, gap_minutes in ((1, 15), (1, 5), (5, 15), (60, 60)):
        market.execute(
            f"""
            CREATE OR REPLACE TABLE longer AS
            SELECT symbol, time_bucket(INTERVAL {bar_minutes} MINUTE, ts, TIMESTAMP '2000-01-01') AS ts, 1 AS open, 1 AS high, 1 AS low, 1 AS close, 1 AS volume
            FROM bars GROUP BY ALL
            """
        )
        rows = market.execute(f"FROM missing_bars(source := 'longer', bar_minutes := {bar_minutes}, gap_minutes := {gap_minutes})").fetchall()
        wanted = expected(market, bar_minutes, gap_minutes)
        assert [row[:5] for row in rows] == [row[:5] for row in wanted]
        assert all(abs(row[5] - want[5]) <= 0.5001 for row, want in zip(rows, wanted))
        for row in rows:
            found[row[0]] = found.get(row[0], 0) + 1
    assert found["market_break"] > 0 and found["gap"] > 60 and found["missing_session"] > 20 and found["market_outage"] > 3 and found["partial_session"] > 0


def test_shuffled_bars_lack_the_same(market):
    cut(market, 1)
    market.execute("CREATE OR REPLACE VIEW shuffled AS FROM bars ORDER BY hash(symbol, ts)")
    try:
        results = set()
        for threads in (1, 8):
            market.execute(f"SET threads = {threads}")
            for source in ("bars", "shuffled"):
                results.add(tuple(market.execute(f"FROM missing_bars(source := '{source}')").fetchall()))
        assert len(results) == 1 and {row[0] for row in results.pop()} <= KINDS
    finally:
        market.execute("RESET threads")
