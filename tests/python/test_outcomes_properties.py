"""What holds for outcomes() whatever its definition of a fill is: what a row may depend on, and what it may not."""

import datetime as dt
import math
import re
from collections import Counter

import pytest

from conftest import connect

LIMITS = "stop_loss_pct := 1, target_pct := 1.5"
# Ways to trade that between them end by time, stop and target, in the session of the entry and in later ones.
TRADES = {
    "to the close": "",
    "with limits": LIMITS,
    "short with limits": f"direction := 'short', {LIMITS}, cost_bps := 3, slippage_bps := 2",
    "held": "hold_sessions := 2, exit_time := '11:00'",
    "held short with limits": "hold_sessions := 3, direction := 'short', stop_loss_pct := 3, target_pct := 4, exit_time := '10:00'",
    "from the next session": f"cutoff_time := '24:00', hold_sessions := 1, {LIMITS}",
    "entered after the time of the exit": "cutoff_time := '15:20', hold_sessions := 1, stop_loss_pct := 0.3",
}
CUTOFF = {"from the next session": "24:00", "entered after the time of the exit": "15:20"}


@pytest.fixture(scope="module")
def market():
    with connect() as connection:
        # A symbol whose sessions start late or are missing for days, and one with every third bar.
        connection.execute("CREATE TABLE bars AS FROM demo_bars(symbols := 16, sessions := 30)")
        connection.execute(
            """
            INSERT INTO bars
            SELECT * REPLACE ('LATE' AS symbol)
            FROM bars
            WHERE symbol = 'DEMO0002' AND ts::TIME >= (CASE dayofyear(ts) % 3 WHEN 0 THEN '09:15' WHEN 1 THEN '10:40' ELSE '15:17' END)::TIME
            UNION ALL
            SELECT * REPLACE ('RARE' AS symbol) FROM bars WHERE symbol = 'DEMO0003' AND minute(ts) % 3 = 0 AND dayofyear(ts) % 9 < 4
            """
        )
        connection.execute("CREATE TABLE signals AS SELECT DISTINCT ts::DATE AS scan_date, symbol FROM bars")
        # A signal on a Sunday, one of a symbol without bars.
        connection.execute("INSERT INTO signals SELECT DISTINCT DATE '2025-01-05', symbol FROM bars UNION ALL VALUES (DATE '2025-01-06', 'NOBODY')")
        yield connection


def minutes_of(clock):
    return 60 * int(clock[:2]) + int(clock[3:])


def outcomes(connection, given="", signals="signals", source="bars"):
    return connection.execute(f"FROM outcomes('{signals}', source := '{source}'{given and ', '}{given})").fetchall()


@pytest.fixture(scope="module")
def trades(market):
    """By way to trade: its rows. Every test below stands on their being of all kinds."""
    rows = {name: outcomes(market, given) for name, given in TRADES.items()}
    seen = Counter((name, row[7]) for name, found in rows.items() for row in found)
    for name, given in TRADES.items():
        reasons = ["time"] + ["stop"] * ("stop_loss" in given) + ["target"] * ("target" in given)
        assert min(seen[name, reason] for reason in reasons) >= 50, seen
    assert sum(seen[name, "not_filled"] for name in TRADES) > 10
    return rows


# What becomes of the bars that a trade must not depend on.
CHANGES = {
    "deleted": "FROM unknown LIMIT 0",
    "without values": "SELECT symbol, ts, CASE WHEN hash(ts) % 2 = 0 THEN 'NaN'::DOUBLE END, NULL, NULL, close, volume FROM unknown",
    "extreme": "SELECT symbol, ts, open * 1e3, high * 1e6, low * 1e-6, close * 1e-3, 1000000000000 FROM unknown",
    "made up": """
        FROM unknown UNION ALL SELECT symbol, ts + INTERVAL 30 SECOND, 5000, 9000, 1, 7000, 1 FROM unknown
        UNION ALL SELECT symbol, ts + INTERVAL 1 DAY + INTERVAL 30 SECOND, 5000, 9000, 1, 7000, 1 FROM unknown
    """,
}


def changed_sources(connection, known, changes=tuple(CHANGES)):
    """Tables that agree with bars on those of which a condition says that they are known, and on nothing else."""
    connection.execute(f"CREATE OR REPLACE TEMP TABLE marked AS SELECT bars.*, {known} AS known FROM bars LEFT JOIN known_until USING (symbol)")
    for change in changes:
        connection.execute(
            f"""
            CREATE OR REPLACE TEMP TABLE changed AS
            WITH unknown AS (SELECT * EXCLUDE (known) FROM marked WHERE NOT known)
            SELECT * EXCLUDE (known) FROM marked WHERE known UNION ALL ({CHANGES[change]})
            """
        )
        yield change


@pytest.mark.parametrize("name", TRADES)
def test_no_bar_after_the_exit_has_a_part_in_a_trade(market, trades, name):
    """All trades that ended on one date at once: of each symbol the first, whose bars are known up to the one in which it ended."""
    exit_time = re.search("exit_time := '(.*?)'", TRADES[name] + "exit_time := '15:15'")[1]
    tried = Counter()
    for day in sorted({row[5].date() for row in trades[name] if row[5]})[3::11]:
        ended = {}
        for row in trades[name]:
            if row[5] and row[5].date() == day and (row[1] not in ended or row[5] < ended[row[1]][5]):
                ended[row[1]] = row
        rows = sorted(ended.values())
        symbols = [row[1] for row in rows]
        market.execute(
            "CREATE OR REPLACE TEMP TABLE ended AS SELECT unnest($1)::DATE AS scan_date, unnest($2) AS symbol", [[row[0] for row in rows], symbols]
        )
        market.execute(
            "CREATE OR REPLACE TEMP TABLE known_until AS SELECT unnest($1) AS symbol, unnest($2)::TIMESTAMP AS ts",
            [symbols, [row[5] for row in rows]],
        )
        for change in changed_sources(market, f"coalesce(bars.ts <= known_until.ts, bars.ts < '{day}')"):
            found = outcomes(market, TRADES[name], "ended", "changed")
            # Of those that ended earlier than planned for want of bars, new ones would be held.
            planned = dt.datetime.combine(day, dt.time()) + dt.timedelta(minutes=minutes_of(exit_time) - 1)
            spared = {row[:2] for row in rows if change == "made up" and row[7] == "time" and row[5] != planned}
            assert [row for row in found if row[:2] not in spared] == [row for row in rows if row[:2] not in spared], (change, day)
            tried.update((change, row[7]) for row in rows if row[:2] not in spared)
    assert all(tried[change, reason] >= 3 for change in CHANGES for reason in {row[7] for row in trades[name]} - {"not_filled"}), tried


@pytest.mark.parametrize("name", TRADES)
def test_no_bar_before_the_cutoff_has_a_part_in_a_trade(market, trades, name):
    for day in sorted({row[0] for row in trades[name]})[3::11]:
        market.execute("CREATE OR REPLACE TEMP TABLE known_until AS SELECT '' AS symbol, NULL::TIMESTAMP AS ts")
        wanted = [row for row in trades[name] if row[0] == day]
        assert len(wanted) > 10
        market.execute(f"CREATE OR REPLACE TEMP TABLE of_the_day AS FROM signals WHERE scan_date = '{day}'")
        known = f"bars.ts >= DATE '{day}' + to_minutes({minutes_of(CUTOFF.get(name, '09:50'))})"
        for change in changed_sources(market, known, ("deleted", "without values", "extreme")):
            assert outcomes(market, TRADES[name], "of_the_day", "changed") == wanted, (change, day)


def test_what_lies_between_does_change_trades(market, trades):
    """The counterpart: a row that depends on nothing would pass the tests above."""
    for name in TRADES:
        held = {row for row in trades[name] if row[5] and row[5] > row[3]}
        for place in (3, 5):
            market.execute(
                "CREATE OR REPLACE TEMP TABLE without AS FROM bars WHERE (symbol, ts) NOT IN (SELECT unnest($1), unnest($2)::TIMESTAMP)",
                [[row[1] for row in held], [row[place] for row in held]],
            )
            assert held and held.isdisjoint(outcomes(market, TRADES[name], source="without")), (name, place)


def test_nobody_trades_before_the_cutoff(trades):
    for name, rows in trades.items():
        cutoff = dt.timedelta(minutes=minutes_of(CUTOFF.get(name, "09:50")))
        for row in rows:
            assert row[3] is None or row[3] >= dt.datetime.combine(row[0], dt.time()) + cutoff, (name, row)


def test_a_row_fits_together(trades):
    for name, rows in trades.items():
        for row in rows:
            scan_date, symbol, direction, entry_ts, entry, exit_ts, price, reason, gross, net, mfe, mae, minutes = row
            assert direction == ("short" if "short" in name else "long")
            if reason == "not_filled":
                assert row[3:7] == (None,) * 4 and row[8:] == (None,) * 5, row
                continue
            assert reason in ("time", "stop", "target") and exit_ts >= entry_ts and minutes >= 0, row
            assert mae <= min(gross, 0) and mfe >= max(gross, 0) and net <= gross, row
            assert {"stop": gross < 0, "target": gross > 0, "time": True}[reason], row


def test_one_row_for_each_signal_in_order(market, trades):
    keys = market.execute("SELECT DISTINCT scan_date, symbol FROM signals ORDER BY scan_date, symbol").fetchall()
    for name, rows in trades.items():
        assert [row[:2] for row in rows] == keys, name


def test_neither_the_order_of_rows_nor_the_number_of_threads_matters(market, trades):
    market.execute("CREATE OR REPLACE TEMP TABLE shuffled AS FROM bars ORDER BY hash(symbol, ts)")
    market.execute("CREATE OR REPLACE TEMP TABLE mixed AS FROM signals UNION ALL FROM signals ORDER BY hash(symbol, scan_date)")
    try:
        for threads in (1, 4):
            market.execute(f"SET threads = {threads}")
            for name, given in TRADES.items():
                assert outcomes(market, given, "mixed", "shuffled") == trades[name], (name, threads)
    finally:
        market.execute("RESET threads")


def test_the_whole_is_the_union_of_its_parts(market, trades):
    for name, given in TRADES.items():
        rows = []
        for part in range(3):
            market.execute(f"CREATE OR REPLACE TEMP TABLE part AS FROM signals WHERE hash(symbol, scan_date) % 3 = {part}")
            rows += outcomes(market, given, "part")
        assert sorted(rows) == trades[name], name


def test_other_symbols_change_nothing(market, trades):
    market.execute("CREATE OR REPLACE TEMP TABLE a_few AS FROM bars WHERE symbol IN ('DEMO0004', 'LATE', 'RARE')")
    market.execute("CREATE OR REPLACE TEMP TABLE signals_of_a_few AS FROM signals WHERE symbol IN ('DEMO0004', 'LATE', 'RARE')")
    for name, given in TRADES.items():
        wanted = [row for row in trades[name] if row[1] in ("DEMO0004", "LATE", "RARE")]
        assert wanted and outcomes(market, given, "signals_of_a_few", "a_few") == wanted, name


def test_dates_only_leave_out(market, trades):
    days = sorted({row[0] for row in trades["held"]})
    for name, given in TRADES.items():
        for first, last in ((days[5], days[9]), (days[7], days[7]), (None, days[4]), (days[-3], None), (days[0], days[-1])):
            dates = [f"{key} := '{value}'" for key, value in (("start_date", first), ("end_date", last)) if value]
            wanted = [row for row in trades[name] if (first or days[0]) <= row[0] <= (last or days[-1])]
            assert wanted and outcomes(market, ", ".join(filter(None, [given, *dates]))) == wanted, (name, dates)


BROKEN = {
    "nulls": "SELECT symbol, ts + INTERVAL 30 SECOND, NULL, NULL, NULL, NULL, NULL FROM bars",
    "nan": "SELECT symbol, ts + INTERVAL 30 SECOND, 'NaN'::DOUBLE, 'NaN'::DOUBLE, 'NaN'::DOUBLE, 'NaN'::DOUBLE, volume FROM bars",
    "infinite": "SELECT symbol, ts + INTERVAL 30 SECOND, open, 'Infinity'::DOUBLE, '-Infinity'::DOUBLE, close, volume FROM bars",
    "zeros": "SELECT symbol, ts + INTERVAL 30 SECOND, 0, 0, 0, 0, 0 FROM bars",
    "negative": "SELECT symbol, ts + INTERVAL 30 SECOND, -open, -low, -high, -close, volume FROM bars",
    "high below low": "SELECT symbol, ts + INTERVAL 30 SECOND, open, low * 0.9, high * 1.1, close, volume FROM bars",
    "no volume": "SELECT symbol, ts + INTERVAL 30 SECOND, open * 9, high * 9, low / 9, close, NULL FROM bars",
    "negative volume": "SELECT symbol, ts + INTERVAL 30 SECOND, open * 9, high * 9, low / 9, close, -1 FROM bars",
    "infinite times": "SELECT symbol, unnest(['infinity', '-infinity'])::TIMESTAMP, open * 9, high * 9, low / 9, close, volume FROM bars",
    "no keys": "SELECT NULL, ts, open * 9, high * 9, low / 9, close, volume FROM bars UNION ALL SELECT symbol, NULL, open, high, low, close, volume FROM bars",
}


@pytest.mark.parametrize("kind", BROKEN)
def test_bars_that_cannot_be_trusted_are_not_there(market, trades, kind):
    """Between the minutes, so that they would be entered by and fill."""
    market.execute(f"CREATE OR REPLACE TEMP TABLE broken AS FROM bars UNION ALL {BROKEN[kind]}")
    for name in ("with limits", "held short with limits"):
        assert outcomes(market, TRADES[name], source="broken") == trades[name], name


ODD = {
    "empty": "FROM bars LIMIT 0",
    "one bar": "FROM bars WHERE symbol = 'DEMO0001' AND ts = '2025-01-06 09:50'",
    "flat": "SELECT * REPLACE (100 AS open, 100 AS high, 100 AS low, 100 AS close) FROM bars",
    "half nan": "SELECT * REPLACE (CASE WHEN hash(ts, 1) % 2 = 0 THEN 'NaN' ELSE close END AS close, CASE WHEN hash(ts, 2) % 3 = 0 THEN 'Infinity' ELSE open END AS open) FROM bars",
    "huge and tiny": """
        SELECT symbol, ts,
            CASE hash(ts, 1) % 5 WHEN 0 THEN 1e-9 WHEN 1 THEN 1e15 ELSE open END AS open, CASE hash(ts, 2) % 5 WHEN 0 THEN 1e15 ELSE high END AS high,
            CASE hash(ts, 3) % 5 WHEN 0 THEN 1e-9 ELSE low END AS low, close, volume
        FROM bars
    """,
    "outside of high and low": "SELECT * REPLACE (open * (0.9 + hash(ts, 1) % 20 / 100) AS open, close * (0.9 + hash(ts, 2) % 20 / 100) AS close) FROM bars",
}


@pytest.mark.parametrize("kind", ODD)
def test_odd_bars_give_no_error_and_no_odd_numbers(market, kind):
    market.execute(f"CREATE OR REPLACE TEMP TABLE odd AS {ODD[kind]}")
    for name, given in TRADES.items():
        rows = outcomes(market, given, source="odd")
        assert len(rows) > 500
        for row in rows:
            assert all(math.isfinite(value) for value in row if isinstance(value, float)), (name, row)
            assert (row[7] == "not_filled") == (row[4] is None) == (row[8] is None) == (row[12] is None), (name, row)
            if row[8] is not None:
                assert row[11] <= min(row[8], 0) <= max(row[8], 0) <= row[10], (name, row)
        if kind == "empty":
            assert {row[7] for row in rows} == {"not_filled"}


def test_long_and_short_are_two_sides_of_one_trade(market):
    for given in ("", "hold_sessions := 2", "cutoff_time := '13:00', exit_time := '14:00'"):
        long, short = (outcomes(market, f"direction := '{side}'{given and ', '}{given}") for side in ("long", "short"))
        assert len(long) > 500
        for one, other in zip(long, short):
            assert one[:2] + one[3:8] + one[12:] == other[:2] + other[3:8] + other[12:]
            if one[8] is not None:
                assert (one[8], one[10], one[11]) == (-other[8], -other[11], -other[10])


def test_without_costs_net_is_gross(trades):
    for name in ("to the close", "with limits"):
        assert all(row[8] == row[9] for row in trades[name])


def test_costs_only_cost(market, trades):
    for cost, slippage in ((5, 0), (0, 5), (5, 5)):
        rows = outcomes(market, f"{LIMITS}, cost_bps := {cost}, slippage_bps := {slippage}")
        for row, free in zip(rows, trades["with limits"]):
            assert row[:9] + row[10:] == free[:9] + free[10:]
            # Of what is traded, twice; the more so, the more the price has risen.
            assert row[9] is None or 2 * (cost + slippage) / 100 * 0.9 < free[9] - row[9] < 2 * (cost + slippage) / 100 * 1.1


def test_bound_values_a_view_and_a_macro_around_it_give_the_same(market, trades):
    wanted = trades["held short with limits"]
    values = {"hold_sessions": 3, "direction": "short", "stop_loss_pct": 3, "target_pct": 4, "exit_time": "10:00"}
    call = "FROM outcomes('signals', " + ", ".join(f"{key} := ${key}" for key in values) + ")"
    for other in ({}, {"exit_time": dt.time(10)}, {"stop_loss_pct": 3.0, "hold_sessions": "3"}):
        assert market.execute(call, values | other).fetchall() == wanted, other
    bound = "hold_sessions := $1, stop_loss_pct := $2, target_pct := $3, start_date := $4"
    market.execute(f"PREPARE trade AS FROM outcomes('signals', {bound}, direction := 'short', exit_time := '10:00')")
    assert market.execute("EXECUTE trade(3, 3, 4, NULL)").fetchall() == wanted
    assert market.execute("EXECUTE trade(3, 3, 4, '2025-01-06')").fetchall() == [row for row in wanted if row[0] >= dt.date(2025, 1, 6)]
    assert {row[7] for row in market.execute("EXECUTE trade(0, NULL, NULL, NULL)").fetchall()} == {"time", "not_filled"}
    market.execute("DEALLOCATE trade")
    market.execute("CREATE OR REPLACE TEMP VIEW trades AS FROM outcomes('signals', " + TRADES["held short with limits"] + ")")
    assert market.execute("FROM trades").fetchall() == wanted
    assert market.execute("SELECT avg(net_return_pct) FROM trades WHERE exit_reason = 'stop'").fetchone()[0] < 0
    names = (
        "cutoff_time := '09:50'", "entry := 'next_open'", "exit_time := '15:15'", "hold_sessions := 0", "stop_loss_pct := NULL", "target_pct := NULL",
        "direction := 'long'", "cost_bps := 0", "slippage_bps := 0", "start_date := NULL", "end_date := NULL", "source := 'bars'", "bar_minutes := 1",
        "session_start := NULL", "session_end := NULL",
    )
    handed_on = ", ".join(f"{name} := my_{name}" for name, _ in (name.split(" := ") for name in names))
    declared = ", ".join("my_" + name for name in names)
    market.execute(f"CREATE OR REPLACE MACRO around(my_signals, {declared}) AS TABLE FROM outcomes(my_signals, {handed_on})")
    given = TRADES["held short with limits"].split(", ")
    assert market.execute(f"FROM around('signals', {', '.join('my_' + one for one in given)})").fetchall() == wanted
    assert market.execute("FROM around('signals')").fetchall() == trades["to the close"]


def test_a_scan_is_the_signals(market):
    scan = "scan_breakout('2024-12-03', end_date := '2025-01-15', consolidation_period := 4, resistance_break_pct := 0, min_price := 0)"
    rows = market.execute(f"WITH hits AS (FROM {scan}) FROM outcomes('hits', stop_loss_pct := 1)").fetchall()
    market.execute(f"CREATE OR REPLACE TEMP TABLE hits AS SELECT scan_date, symbol FROM {scan}")
    assert len(rows) > 10 and rows == outcomes(market, "stop_loss_pct := 1", "hits")


def test_an_error_leaves_the_database_usable(market, trades):
    with pytest.raises(Exception, match="outcomes: hold_sessions must be between 0 and 250, got 251"):
        outcomes(market, "hold_sessions := 251")
    assert outcomes(market) == trades["to the close"]
