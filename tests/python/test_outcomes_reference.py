"""outcomes() against an independent implementation in plain Python, written from its definition: a loop over the bars of one trade."""

import datetime as dt
import random
from collections import Counter

import numpy as np
import pytest

DEFAULTS = dict(
    cutoff_time="09:50", exit_time="15:15", hold_sessions=0, stop_loss_pct=None, target_pct=None, direction="long", cost_bps=0, slippage_bps=0,
    start_date=None, end_date=None, source="bars", bar_minutes=1, session_start=None, session_end=None,
)
LEVELS = [None, None, 0.05, 0.2, 0.5, 0.5, 1, 2, 3, 3, 5, 150]
DAY = 1440
EPOCH = dt.date(1970, 1, 1)


def minutes_of(clock):
    hours, minutes = clock.split(":")
    return 60 * int(hours) + int(minutes)


def number_of(day):
    return (day - EPOCH).days


class Market:
    """The bars of a source by symbol and day, each (start, open, high, low, close). Days and minutes are counted from 1970."""

    def __init__(self, connection, source, bar_minutes):
        self.bar_minutes = bar_minutes
        self.columns, self.days, self.symbols = {}, {}, []
        bars = connection.execute(f"SELECT symbol, ts, open, high, low, close FROM {source} ORDER BY symbol, ts").fetchnumpy()
        starts = bars["ts"].astype("datetime64[m]").astype(np.int64)
        symbols = bars["symbol"].astype(str)
        edges = np.flatnonzero((symbols[1:] != symbols[:-1]) | (starts[1:] // DAY != starts[:-1] // DAY)) + 1
        values = [starts] + [bars[name].astype(float) for name in ("open", "high", "low", "close")]
        for first, end in zip([0, *edges], [*edges, len(starts)]):
            symbol, day = str(symbols[first]), int(starts[first] // DAY)
            self.days.setdefault(symbol, []).append(day)
            self.columns[symbol, day] = [column[first:end].tolist() for column in values]
        self.symbols = list(self.days)
        self.known = {}

    def session(self, symbol, day, hours):
        """Its bars within the regular hours; none where it has no such session."""
        key = symbol, day, hours
        if key not in self.known:
            first, end = (minutes_of(hour) if hour else otherwise for hour, otherwise in zip(hours, (0, DAY)))
            bars = zip(*self.columns.get((symbol, day), []))
            self.known[key] = [bar for bar in bars if first <= bar[0] - DAY * day and bar[0] - DAY * day + self.bar_minutes <= end]
        return self.known[key]


def held(market, symbol, signalled, given):
    """The bars from the entry to the exit by time."""
    hours = given["session_start"], given["session_end"]
    known_at = DAY * signalled + minutes_of(given["cutoff_time"])
    for entered in range(signalled, signalled + 11):
        path = [bar for bar in market.session(symbol, entered, hours) if bar[0] >= known_at]
        if path:
            break
    else:
        return []
    last, still_to_hold = entered, given["hold_sessions"]
    for day in range(entered + 1, entered + 2 * given["hold_sessions"] + 11):
        if still_to_hold and market.session(symbol, day, hours):
            path += market.session(symbol, day, hours)
            last, still_to_hold = day, still_to_hold - 1
    closed_at = DAY * last + minutes_of(given["exit_time"])
    # Who was never able to hold it that long is left with the last price that there was.
    return path if still_to_hold else [bar for bar in path if bar[0] + market.bar_minutes <= closed_at]


def close_to(one, other):
    return abs(one - other) < 1e-9 * other


def expected(market, symbol, signalled, given, seen):
    """One row, without its date and symbol. Counts in `seen` what kinds of trades there were."""
    side = 1 if given["direction"] == "long" else -1
    path = held(market, symbol, signalled, given)
    if not path:
        seen["not_filled"] += 1
        return (given["direction"], None, None, None, None, "not_filled", None, None, None, None, None)
    entry = path[0][1]
    stop, target = (
        None if given[name] is None else entry * (1 + sign * side * given[name] / 100)
        for name, sign in (("stop_loss_pct", -1), ("target_pct", 1))
    )

    def stops(price):
        return stop is not None and (side * price <= side * stop or close_to(price, stop))

    def meets(price):
        return target is not None and (side * price >= side * target or close_to(price, target))

    prices, reason, at_open = [entry], "time", False
    for place, (start, opened, high, low, closed) in enumerate(path):
        worst, best = (low, high) if side > 0 else (high, low)
        if place > 0 and (stops(opened) or meets(opened)):
            reason, price, at_open = "stop" if stops(opened) else "target", opened, True
            seen["gap overnight" if start - path[place - 1][0] > DAY // 4 else "gap"] += 1
        elif stops(worst):
            reason, price = "stop", stop
            seen["both"] += meets(best)
        elif meets(best):
            reason, price = "target", target
        else:
            prices += [high, low]
            price = closed
            continue
        seen["in the entry's bar"] += place == 0
        prices.append(opened)
        break
    prices.append(price)
    seen[reason] += 1
    seen["exactly at a level"] += reason != "time" and any(close_to(one, level) for level in (stop, target) if level for one in path[place][1:4])
    seen["held over night"] += start // DAY > path[0][0] // DAY
    seen["entered later"] += path[0][0] // DAY > signalled
    seen["not held to its end"] += reason == "time" and start % DAY + market.bar_minutes > minutes_of(given["exit_time"])
    paid, got = (fill * (1 + sign * side * given["slippage_bps"] / 10000) for fill, sign in ((entry, 1), (price, -1)))
    costs = given["cost_bps"] / 10000 * (paid + got)
    return (
        given["direction"], path[0][0], entry, start, price, reason,
        100 * side * (price - entry) / entry,
        100 * (side * (got - paid) - costs) / paid,
        max(100 * side * (one - entry) / entry for one in prices),
        min(100 * side * (one - entry) / entry for one in prices),
        start - path[0][0] + (0 if at_open else market.bar_minutes),
    )


def same(one, other):
    if isinstance(one, float) and isinstance(other, float):
        return abs(one - other) <= 1e-9 * max(abs(one), abs(other)) + 1e-12
    return type(one) is type(other) and one == other


def compare(connection, market, signals, given, seen):
    """Asks outcomes() about (day, symbol) pairs and compares every column of every row. Returns how many there were."""
    connection.execute("CREATE OR REPLACE TEMP TABLE signals (scan_date DATE, symbol VARCHAR)")
    rows = [(str(EPOCH + dt.timedelta(days=day)), symbol) for day, symbol in signals]
    connection.execute("INSERT INTO signals SELECT unnest($1)::DATE, unnest($2)", [[one for one, _ in rows], [one for _, one in rows]])
    changed = {name: value for name, value in given.items() if value != DEFAULTS[name]}
    call = ", ".join(["'signals'"] + [f"{name} := {value!r}" for name, value in changed.items()])
    asked = f"SELECT * REPLACE (epoch(entry_ts) / 60 AS entry_ts, epoch(exit_ts) / 60 AS exit_ts) FROM outcomes({call})"
    actual = connection.execute(asked).fetchall()
    first, last = (date and number_of(dt.date.fromisoformat(date)) for date in (given["start_date"], given["end_date"]))
    wanted = sorted((day, symbol) for day, symbol in set(signals) if (first or 0) <= day <= (last or DAY * DAY))
    assert [(number_of(row[0]), row[1]) for row in actual] == wanted, call
    for (day, symbol), got in zip(wanted, actual):
        want = expected(market, symbol, day, given, seen)
        got = tuple(value if index not in (1, 3) or value is None else int(value) for index, value in enumerate(got[2:]))
        assert all(map(same, got, want)), f"{call}\n{day} {symbol}\ngot  {got}\nwant {want}"
    return len(wanted)


def some_parameters(chance, bar_minutes):
    """Parameters of all sizes, so that each way to end a trade is met."""
    given = DEFAULTS | dict(
        hold_sessions=chance.choice([0, 0, 0, 1, 1, 2, 3, 5]), direction=chance.choice(["long", "short"]),
        stop_loss_pct=chance.choice(LEVELS), target_pct=chance.choice(LEVELS),
        cost_bps=chance.choice([0, 0, 2.5, 10, 1000]), slippage_bps=chance.choice([0, 0, 1.5, 20, 1000]), bar_minutes=bar_minutes,
    )
    if bar_minutes == DAY:
        return given | dict(cutoff_time="24:00", exit_time="24:00", hold_sessions=chance.choice([0, 1, 2, 5, 20]))
    given |= dict(cutoff_time=chance.choice(["09:20", "09:50", "09:50", "09:52", "11:31", "15:10", "15:20", "24:00"]))
    given |= dict(exit_time=chance.choice(["15:15", "15:15", "15:30", "12:00", "10:03", "24:00"]))
    if chance.random() < 0.2:
        given |= dict(session_start="10:00", session_end="14:30")
    return given


def longer_bars(connection, name, bar_minutes):
    connection.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE {name} AS
        SELECT
            symbol, ts::DATE + INTERVAL 1 MINUTE * (datepart('epoch', ts::TIME)::BIGINT // 60 // {bar_minutes} * {bar_minutes}) AS start,
            arg_min(open, ts) AS open, max(high) AS high, min(low) AS low, arg_max(close, ts) AS close, sum(volume) AS volume
        FROM bars GROUP BY ALL
        """
    )
    connection.execute(f"ALTER TABLE {name} RENAME start TO ts")


@pytest.fixture(scope="module")
def markets(demo):
    """One minute, a few symbols with all their gaps in time; five minutes and days of all."""
    demo.execute(
        """
        CREATE TEMP TABLE few AS
        FROM bars WHERE list_contains(['DEMO0001', 'DEMO0007', 'DEMO0012', 'DEMO0029', 'DEMO0044', 'DEMO0060'], symbol)
        UNION ALL
        SELECT * REPLACE ('HOLES' AS symbol) FROM bars WHERE symbol = 'DEMO0003' AND hash(ts) % 7 != 0 AND hash(ts::DATE) % 3 = 0
        UNION ALL
        SELECT * REPLACE ('LATE' AS symbol)
        FROM bars
        WHERE symbol = 'DEMO0005' AND ts::TIME >= (CASE hash(ts::DATE) % 3 WHEN 0 THEN '10:30' WHEN 1 THEN '15:18' ELSE '09:15' END)::TIME
        UNION ALL
        -- Opens and closes that lie outside of the bar's own high and low, as in bad data.
        SELECT * REPLACE ('JUMPS' AS symbol, open * (0.99 + hash(ts, 1) % 21 / 1000) AS open, close * (0.99 + hash(ts, 2) % 21 / 1000) AS close)
        FROM bars
        WHERE symbol = 'DEMO0009'
        UNION ALL
        -- Prices half a percent of 70 apart, so that they meet levels to the cent: 72.1 is 3 % above 70, and to a computer less than that.
        SELECT
            'GRID' AS symbol, ts,
            round(70 + CASE WHEN hash(ts, 1) % 3 = 0 THEN 0.35 * ((hash(ts, 2) % 9)::INTEGER - 4) ELSE 0 END, 2) AS open,
            round(70 + 0.35 * greatest((hash(ts, 3) % 9)::INTEGER - 2, 0), 2) AS high,
            round(70 - 0.35 * greatest((hash(ts, 4) % 9)::INTEGER - 2, 0), 2) AS low, 70 AS close, volume
        FROM bars
        WHERE symbol = 'DEMO0011'
        """
    )
    longer_bars(demo, "fives", 5)
    longer_bars(demo, "days", DAY)
    return {name: Market(demo, name, minutes) for name, minutes in (("few", 1), ("fives", 5), ("days", DAY))}


@pytest.fixture(scope="module")
def breakouts(demo):
    found = demo.execute("SELECT scan_date, symbol FROM scan_breakout('2024-09-24', end_date := '2025-01-15', resistance_break_pct := 0)").fetchall()
    return [(number_of(day), symbol) for day, symbol in found]


def test_agrees_with_the_definition(demo, markets, breakouts):
    chance = random.Random(4)
    seen, compared = Counter(), 0
    assert len(breakouts) > 50
    for source, bar_minutes, rounds, size in (("few", 1, 70, 100), ("fives", 5, 25, 150), ("days", DAY, 25, 150)):
        market = markets[source]
        days = sorted({day for symbol in market.symbols for day in market.days[symbol]})
        for _ in range(rounds):
            given = some_parameters(chance, bar_minutes) | dict(source=source)
            # Days without a session are among them, symbols without bars too; some signals stand there twice.
            signals = [(chance.randrange(days[0] - 15, days[-1] + 3), chance.choice([*market.symbols, "NOBODY"])) for _ in range(size // 4)]
            signals += [(chance.choice(days), chance.choice(market.symbols)) for _ in range(size)]
            signals += chance.sample(breakouts, 20) + signals[:5]
            if chance.random() < 0.2:
                dates = sorted(EPOCH + dt.timedelta(days=chance.choice(days)) for _ in range(2))
                given |= dict(start_date=str(dates[0]), end_date=str(dates[1]))
            compared += compare(demo, market, signals, given, seen)
    assert compared > 12000, compared
    # What was met must not become rare without a word.
    enough = {
        "time": 2000, "stop": 2000, "target": 2000, "not_filled": 1000, "both": 200, "gap": 150, "gap overnight": 80, "in the entry's bar": 2000,
        "held over night": 2000, "entered later": 2000, "not held to its end": 50, "exactly at a level": 70,
    }
    assert {kind: seen[kind] for kind, least in enough.items() if seen[kind] < least} == {}, seen
