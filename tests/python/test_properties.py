"""What holds for every scanner, built in or not. A new scanner is tested here without a line of its own, unless its defaults are too strict
to find anything in the demo market: then ARGUMENTS says what to ask for."""

import datetime as dt
import math

import duckdb
import pytest

from conftest import connect

CUTOFF = "09:50"

# Limits that let as many stocks through as there are, for scanners that have them.
WIDE_OPEN = {"min_price": 0, "max_price": 1_000_000, "min_volume": 0, "max_results_per_day": 10000, "min_probability_score": 0}
ARGUMENTS = {
    "breakout": {"resistance_break_pct": 0, "breakout_volume_ratio": 0, "consolidation_period": 4},
    "momentum": {"lookback_sessions": 12, "skip_sessions": 2},
    "new_high": {"lookback_sessions": 12, "lookback_days": 5},
    "squeeze": {"bollinger_period": 5, "keltner_period": 8},
    "technical": {"lookback_sessions": 20, "min_sessions": 15, "macd_fast": 3, "macd_slow": 8, "macd_signal": 4, "ema_fast": 5, "ema_slow": 12},
    "volume_spike": {"spike_bars": 1},
}

# Scanners of what happens within a session: where a session is one bar they have no row. Those that compare its bars with each other have
# other rows for longer bars, too.
WITHIN_A_SESSION = {"opening_range", "vwap", "volume_spike"}
AMONG_BARS = {"vwap", "volume_spike"}
# These look at no other session.
ONE_SESSION_IS_ENOUGH = {"volume_spike"}

# A scanner that a user might write: the stocks that trade above the highest high of the last two sessions.
USER_MACRO = """
    CREATE MACRO scan_mine(scan_date, cutoff_time := '09:50', end_date := NULL, source := 'bars', bar_minutes := 1, symbols := NULL) AS TABLE
    WITH sessions AS (
        SELECT session.*, max(session.previous_high) OVER two AS highest, count(session.previous_high) OVER two AS known
        FROM sessions_as_of(
            scan_date, cutoff_time := cutoff_time, end_date := end_date, history_sessions := 2, source := source,
            bar_minutes := bar_minutes, symbols := symbols, called_by := 'scan_mine'
        ) AS session
        WINDOW two AS (PARTITION BY session.symbol ORDER BY session.session_date ROWS BETWEEN 1 PRECEDING AND CURRENT ROW)
    )
    SELECT
        sessions.session_date AS scan_date,
        sessions.symbol,
        sessions.price,
        sessions.highest,
        sessions.volume,
        least(100.0 * sessions.volume / sessions.previous_volume, 100) AS probability_score,
        row_number() OVER (PARTITION BY sessions.session_date ORDER BY sessions.symbol) AS rank
    FROM sessions
    WHERE
        sessions.session_date >= session_date(scan_date, 'scan_mine', 'scan_date')
        AND sessions.bars > 0
        AND sessions.known = 2
        AND sessions.previous_volume > 0
        AND sessions.price > sessions.highest
    ORDER BY sessions.session_date, sessions.symbol
"""


@pytest.fixture(scope="module")
def market():
    with connect() as connection:
        connection.execute("CREATE TABLE bars AS FROM demo_bars(symbols := 40, sessions := 40)")
        connection.execute(USER_MACRO)
        connection.execute("CREATE VIEW shuffled AS FROM bars ORDER BY hash(symbol, ts)")
        yield connection


class Scanner:
    def __init__(self, name: str, parameters: list[str]):
        self.name = name
        self.parameters = parameters
        self.arguments = {key: value for key, value in WIDE_OPEN.items() if key in parameters} | ARGUMENTS.get(name, {})

    def call(self, **arguments) -> str:
        """The call as SQL, with literals."""
        given = {"cutoff_time": CUTOFF} | self.arguments | arguments
        return f"scan_{self.name}(" + ", ".join(f"{key} := {literal(value)}" for key, value in given.items()) + ")"

    def rows(self, connection, **arguments) -> list[dict]:
        return fetch(connection, f"FROM {self.call(**arguments)}")


def literal(value) -> str:
    if isinstance(value, list):
        return "[" + ", ".join(map(literal, value)) + "]"
    return f"'{value}'" if isinstance(value, str | dt.date) else "NULL" if value is None else str(value)


def fetch(connection, sql: str, parameters=None) -> list[dict]:
    cursor = connection.execute(sql, parameters)
    columns = [column[0] for column in cursor.description]
    return [dict(zip(columns, row)) for row in cursor.fetchall()]


def evidence(rows: list[dict]) -> dict:
    """What a scanner says of each stock, without its place among the others."""
    return {(row["scan_date"], row["symbol"]): {key: value for key, value in row.items() if key != "rank"} for row in rows}


@pytest.fixture(scope="module")
def scanners(market):
    found = market.execute("SELECT scanner, parameters FROM scanners()").fetchall()
    assert {"breakout", "mine"} <= {name for name, _ in found}
    result = []
    for name, parameters in found:
        scanner = Scanner(name, parameters)
        # Every other least value at the lowest that is allowed.
        least = market.execute("SELECT parameter, min FROM scanner_parameters() WHERE scanner = ? AND min IS NOT NULL", [name]).fetchall()
        scanner.arguments = {key: value for key, value in least if key.startswith("min_")} | scanner.arguments
        result.append(scanner)
    return result


@pytest.fixture(scope="module")
def hits(market, scanners):
    """By scanner: its rows over all sessions. Every test below stands on their not being few."""
    result = {}
    for scanner in scanners:
        rows = scanner.rows(market, scan_date="2024-11-19", end_date="2025-01-15")
        assert len(rows) >= 20, f"scan_{scanner.name} finds too little for these tests; see ARGUMENTS"
        result[scanner.name] = rows
    return result


def busiest_days(rows: list[dict], count: int) -> list[dt.date]:
    days = [row["scan_date"] for row in rows]
    return sorted(set(days), key=lambda day: (-days.count(day), day))[:count]


def changed_futures(connection, day: dt.date) -> list[str]:
    """Tables that agree with bars on everything that was known at the cutoff of a day, and on nothing else."""
    known = f"(ts < DATE '{day}' OR (ts < DATE '{day}' + INTERVAL 1 DAY AND ts + INTERVAL 1 MINUTE <= DATE '{day}' + TIME '{CUTOFF}'))"
    connection.execute(f"CREATE OR REPLACE TABLE deleted AS FROM bars WHERE {known}")
    connection.execute(
        f"""
        CREATE OR REPLACE TABLE without_values AS
        FROM deleted UNION ALL SELECT symbol, ts, NULL, NULL, NULL, NULL, NULL FROM bars WHERE NOT {known}
        """
    )
    connection.execute(
        f"""
        CREATE OR REPLACE TABLE extreme AS
        FROM deleted
        UNION ALL
        SELECT symbol, ts, open * 1e6, high * 1e9, low * 1e-6, close * 1e6, 1000000000000 FROM bars WHERE NOT {known}
        """
    )
    # Bars and sessions that never were: after the cutoff, that evening, and on each of the next twenty days, for old symbols and new ones.
    connection.execute(
        f"""
        CREATE OR REPLACE TABLE made_up AS
        FROM deleted
        UNION ALL
        SELECT symbols.symbol, DATE '{day}' + TIME '{CUTOFF}' + INTERVAL 1 MINUTE * steps.step, 5000, 9000, 1, 7000, 99999999
        FROM (SELECT DISTINCT symbol FROM bars UNION ALL SELECT 'NEW' || range FROM range(5)) AS symbols
        CROSS JOIN (FROM range(600) UNION ALL SELECT 1440 * range FROM range(1, 20)) AS steps (step)
        """
    )
    return ["deleted", "without_values", "extreme", "made_up"]


def test_nothing_after_the_cutoff_changes_a_row(market, scanners, hits):
    for scanner in scanners:
        for day in busiest_days(hits[scanner.name], 4):
            known = scanner.rows(market, scan_date=day)
            assert known, scanner.name
            for source in changed_futures(market, day):
                assert scanner.rows(market, scan_date=day, source=source) == known, (scanner.name, day, source)


def test_what_was_known_before_the_cutoff_does_change_rows(market, scanners, hits):
    """The counterpart: a scanner that saw nothing at all of the day would pass the test above."""
    for scanner in scanners:
        day = busiest_days(hits[scanner.name], 1)[0]
        market.execute(f"CREATE OR REPLACE TABLE a_minute_less AS FROM bars WHERE ts != DATE '{day}' + TIME '{CUTOFF}' - INTERVAL 1 MINUTE")
        assert scanner.rows(market, scan_date=day, source="a_minute_less") != scanner.rows(market, scan_date=day), scanner.name


def test_a_range_is_the_union_of_its_sessions(market, scanners, hits):
    days = [day for (day,) in market.execute("SELECT session_date FROM sessions()").fetchall()]
    for scanner in scanners:
        rows = [row for day in days for row in scanner.rows(market, scan_date=day)]
        assert rows == hits[scanner.name], scanner.name
        middle = [row for row in rows if days[20] <= row["scan_date"] <= days[30]]
        assert middle and scanner.rows(market, scan_date=days[20], end_date=days[30]) == middle, scanner.name


def test_a_long_baseline_is_the_same_in_a_range_to_the_last_digit(market):
    """A window function may add up in another order when more rows lie before the window."""
    long = Scanner("breakout", ["scan_date"])
    long.arguments = WIDE_OPEN | {"consolidation_period": 20, "resistance_break_pct": 0, "breakout_volume_ratio": 0}
    with connect() as connection:
        connection.execute("CREATE TABLE bars AS FROM demo_bars(symbols := 100, sessions := 80) WHERE ts::TIME < '09:30' OR ts::TIME > '15:00'")
        days = [day for (day,) in connection.execute("SELECT session_date FROM sessions()").fetchall()]
        whole = long.rows(connection, scan_date=days[0], end_date=days[-1])
        assert len(whole) > 30
        assert [row for day in days for row in long.rows(connection, scan_date=day)] == whole


def test_literals_bound_values_and_a_view_give_the_same(market, scanners, hits):
    for scanner in scanners:
        expected = hits[scanner.name]
        dates = {"scan_date": dt.date(2024, 11, 19), "end_date": dt.date(2025, 1, 15)}
        values = {"cutoff_time": CUTOFF} | scanner.arguments | dates
        for bound in (values, values | {key: str(value) for key, value in dates.items()}, values | {"cutoff_time": dt.time(9, 50)}):
            call = f"FROM scan_{scanner.name}(" + ", ".join(f"{key} := ${key}" for key in bound) + ")"
            assert fetch(market, call, bound) == expected, (scanner.name, bound)
        dates = {key: dt.datetime.combine(value, dt.time()) for key, value in dates.items()}
        assert fetch(market, call, bound | dates) == expected, (scanner.name, dates)
        market.execute(f"CREATE OR REPLACE VIEW hits AS FROM {scanner.call(scan_date='2024-11-19', end_date='2025-01-15')}")
        assert fetch(market, "FROM hits") == expected, scanner.name


def test_a_macro_around_a_scanner_hands_on_every_parameter(market, scanners, hits):
    """The parameters of the macro around it have other names, and no value yet when DuckDB checks its definition."""
    for scanner in scanners:
        known = 'SELECT parameter, "default" FROM scanner_parameters() WHERE scanner = ? AND "default" IS NOT NULL AND parameter != \'source\''
        given = {"cutoff_time": CUTOFF, "end_date": "2025-01-15"} | scanner.arguments
        defaults = {parameter: "NULL" for parameter in (*given, "session_start", "session_end", "symbols") if parameter in scanner.parameters}
        defaults |= dict(market.execute(known, [scanner.name]).fetchall())
        declared = ", ".join(f"my_{parameter} := {default}" for parameter, default in defaults.items())
        handed_on = ", ".join(f"{parameter} := my_{parameter}" for parameter in defaults)
        market.execute(f"CREATE OR REPLACE MACRO around(day, {declared}) AS TABLE FROM scan_{scanner.name}(day, {handed_on})")
        call = f"FROM around('2024-11-19', {', '.join(f'my_{key} := {literal(value)}' for key, value in given.items())})"
        assert fetch(market, call) == hits[scanner.name], scanner.name


def test_prepared_once_it_follows_its_values(market, scanners, hits):
    for scanner in scanners:
        market.execute(f"PREPARE day AS FROM {scanner.call(scan_date='@').replace(literal('@'), '$1')}")
        for day in busiest_days(hits[scanner.name], 3):
            assert fetch(market, f"EXECUTE day('{day}')") == [row for row in hits[scanner.name] if row["scan_date"] == day], scanner.name
        market.execute("DEALLOCATE day")


def test_neither_the_order_of_bars_nor_the_number_of_threads_matters(market, scanners, hits):
    try:
        for threads in (1, 2, 8):
            market.execute(f"SET threads = {threads}")
            for scanner in scanners:
                for source in ("bars", "shuffled"):
                    rows = scanner.rows(market, scan_date="2024-11-19", end_date="2025-01-15", source=source)
                    assert rows == hits[scanner.name], (scanner.name, threads, source)
    finally:
        market.execute("RESET threads")


def test_other_symbols_change_nothing_but_ranks(market, scanners, hits):
    symbols = [symbol for (symbol,) in market.execute("SELECT DISTINCT symbol FROM bars ORDER BY symbol").fetchall()]
    market.execute("CREATE OR REPLACE TABLE with_others AS FROM bars UNION ALL SELECT * REPLACE ('OTHER' || symbol AS symbol, close * 1.5 AS close, high * 2 AS high) FROM bars")
    for scanner in scanners:
        everything = evidence(hits[scanner.name])
        dates = {"scan_date": "2024-11-19", "end_date": "2025-01-15"}
        for part in (symbols[::2], symbols[:3], symbols[-1:]):
            expected = {key: row for key, row in everything.items() if key[1] in part}
            market.execute("CREATE OR REPLACE TABLE part AS FROM bars WHERE list_contains($1, symbol)", [part])
            assert evidence(scanner.rows(market, **dates, source="part")) == expected, scanner.name
            assert evidence(scanner.rows(market, **dates, symbols=part)) == expected, scanner.name
        added = evidence(scanner.rows(market, **dates, source="with_others"))
        assert {key: row for key, row in added.items() if key[1] in symbols} == everything, scanner.name


def test_sessions_before_the_baseline_change_nothing(market, scanners, hits):
    """Long ago: other prices, a halt of years, a listing. Nothing reads that far back."""
    market.execute(
        """
        CREATE OR REPLACE TABLE with_a_past AS
        FROM bars UNION ALL SELECT symbol, ts - INTERVAL 4 YEAR, open * 9, high * 9, low * 9, close * 9, volume * 99 FROM bars
        """
    )
    for scanner in scanners:
        rows = scanner.rows(market, scan_date="2024-11-19", end_date="2025-01-15", source="with_a_past")
        assert rows == hits[scanner.name], scanner.name


@pytest.mark.parametrize("period", [1, 4, 15])
def test_the_session_just_before_the_baseline_changes_nothing(market, period):
    day, other = dt.date(2025, 1, 15), WIDE_OPEN | {"resistance_break_pct": 0, "breakout_volume_ratio": 0, "consolidation_period": period}
    breakout = Scanner("breakout", [])
    breakout.arguments = other
    expected = breakout.rows(market, scan_date=day)
    assert len(expected) >= 3
    ranked = f"(SELECT *, dense_rank() OVER (PARTITION BY symbol ORDER BY ts::DATE DESC) AS sessions_back FROM bars WHERE ts < '{day}')"
    market.execute(
        f"""
        CREATE OR REPLACE TABLE only_the_baseline AS
        SELECT * EXCLUDE (sessions_back) FROM {ranked} WHERE sessions_back <= {period} UNION ALL FROM bars WHERE ts >= '{day}'
        """
    )
    market.execute(
        f"""
        CREATE OR REPLACE TABLE wild_before AS
        FROM only_the_baseline
        UNION ALL
        SELECT symbol, ts, open, high * 9, low / 9, close, volume * 99 FROM {ranked} WHERE sessions_back > {period}
        """
    )
    for source in ("only_the_baseline", "wild_before"):
        assert breakout.rows(market, scan_date=day, source=source) == expected, source
    market.execute(
        f"CREATE OR REPLACE TABLE one_too_few AS SELECT * EXCLUDE (sessions_back) FROM {ranked} WHERE sessions_back < {period} UNION ALL FROM bars WHERE ts >= '{day}'"
    )
    assert breakout.rows(market, scan_date=day, source="one_too_few") == []


def test_rows_are_in_total_order(market, scanners, hits):
    for scanner in scanners:
        rows = hits[scanner.name]
        for day in {row["scan_date"] for row in rows}:
            ranks = [row["rank"] for row in rows if row["scan_date"] == day]
            assert ranks == list(range(1, len(ranks) + 1)), (scanner.name, day)
        assert [row["scan_date"] for row in rows] == sorted(row["scan_date"] for row in rows), scanner.name
    breakouts = hits["breakout"]
    by_definition = sorted(breakouts, key=lambda row: (row["scan_date"], -row["probability_score"], -row["breakout_pct"], row["symbol"]))
    assert breakouts == by_definition


def test_equal_evidence_is_ranked_by_symbol(market, scanners):
    """Twelve symbols that are one stock in all but name."""
    market.execute(
        """
        CREATE OR REPLACE TABLE twins AS
        SELECT * REPLACE (format('T{:02d}', twin.range * 5 % 12) AS symbol) FROM bars CROSS JOIN range(12) AS twin WHERE symbol = 'DEMO0003'
        """
    )
    for scanner in scanners:
        rows = scanner.rows(market, scan_date="2024-11-19", end_date="2025-01-15", source="twins")
        assert rows, scanner.name
        for row in rows:
            assert row["symbol"] == f"T{row['rank'] - 1:02d}", (scanner.name, row)


# One broken source each. Every scanner answers, with rows or with none, and never with a number that is none.
ADVERSARIES = {
    "empty": "FROM bars LIMIT 0",
    "one_symbol": "FROM bars WHERE symbol = 'DEMO0001'",
    "one_session": "FROM bars WHERE ts >= '2025-01-15'",
    "one_bar": "FROM bars WHERE symbol = 'DEMO0001' AND ts = '2025-01-15 09:20'",
    "one_bar_a_session": "FROM bars WHERE ts::TIME = '09:20'",
    "flat": "SELECT * REPLACE (100 AS open, 100 AS high, 100 AS low, 100 AS close) FROM bars",
    "zero_volume": "SELECT * REPLACE (0 AS volume) FROM bars",
    "zero_volume_before": "SELECT * REPLACE (CASE WHEN ts < '2025-01-15' THEN 0 ELSE volume END AS volume) FROM bars",
    "rising": "SELECT * REPLACE (high + (ts::DATE - DATE '2024-01-01') AS high, close + (ts::DATE - DATE '2024-01-01') AS close) FROM bars",
    "all_null": "SELECT symbol, ts, NULL::DOUBLE AS open, NULL::DOUBLE AS high, NULL::DOUBLE AS low, NULL::DOUBLE AS close, NULL::BIGINT AS volume FROM bars",
    "null_keys": "SELECT * REPLACE (CASE WHEN hash(ts) % 3 = 0 THEN symbol END AS symbol, CASE WHEN hash(symbol, ts) % 3 = 1 THEN ts END AS ts) FROM bars",
    "untyped_null": "SELECT symbol, ts, NULL AS open, NULL AS high, NULL AS low, NULL AS close, NULL AS volume FROM bars",
    "nan": "SELECT * REPLACE (CASE WHEN hash(ts, 1) % 2 = 0 THEN 'NaN' ELSE close END AS close, CASE WHEN hash(ts, 2) % 3 = 0 THEN 'NaN' ELSE volume::DOUBLE END AS volume) FROM bars",
    "infinite": "SELECT * REPLACE (CASE WHEN hash(ts, 1) % 2 = 0 THEN 'Infinity' ELSE high END AS high, CASE WHEN hash(ts, 2) % 3 = 0 THEN '-Infinity' ELSE low END AS low) FROM bars",
    "infinite_times": "SELECT * REPLACE (CASE hash(ts) % 5 WHEN 0 THEN 'infinity' WHEN 1 THEN '-infinity' ELSE ts END AS ts) FROM bars",
    "huge_and_tiny": "SELECT * REPLACE (CASE WHEN hash(ts) % 50 = 0 THEN 1e300 ELSE high END AS high, CASE WHEN hash(ts) % 50 = 1 THEN 1e-300 ELSE low END AS low) FROM bars",
    "negative": "SELECT * REPLACE (-close AS close, -volume AS volume) FROM bars",
    "texts": "SELECT symbol, ts, open::VARCHAR AS open, high::VARCHAR AS high, low::VARCHAR AS low, close::VARCHAR AS close, volume::VARCHAR AS volume FROM bars",
    "odd_symbols": "SELECT * REPLACE (CASE symbol WHEN 'DEMO0001' THEN '' WHEN 'DEMO0002' THEN 'a''b\"c' WHEN 'DEMO0003' THEN '株' ELSE symbol END AS symbol) FROM bars",
}


def assert_numbers(rows: list[dict], scanner: Scanner, source: str):
    for row in rows:
        for column, value in row.items():
            assert not isinstance(value, float) or math.isfinite(value), (scanner.name, source, row)
        assert row["probability_score"] is not None and 0 <= row["probability_score"] <= 100, (scanner.name, source, row)
        assert row["symbol"] is not None and row["price"] > 0, (scanner.name, source, row)


@pytest.mark.parametrize("name", ADVERSARIES)
def test_odd_bars_give_no_error_and_no_odd_numbers(market, scanners, name):
    market.execute(f"CREATE OR REPLACE TABLE adversary AS {ADVERSARIES[name]}")
    for scanner in scanners:
        for dates in ({"scan_date": "2025-01-15"}, {"scan_date": "2024-11-19", "end_date": "2025-01-15"}):
            for cutoff_time in ("00:01", "09:16", CUTOFF, "24:00"):
                rows = scanner.rows(market, **dates, cutoff_time=cutoff_time, source="adversary")
                assert_numbers(rows, scanner, name)
                if name == "one_session" and scanner.name in ONE_SESSION_IS_ENOUGH:
                    continue
                if name in ("empty", "one_session", "one_bar", "all_null", "untyped_null", "negative"):
                    assert rows == [], scanner.name


def test_texts_are_read_as_the_numbers_they_are(market, scanners, hits):
    market.execute(f"CREATE OR REPLACE TABLE texts AS {ADVERSARIES['texts']}")
    for scanner in scanners:
        assert scanner.rows(market, scan_date="2024-11-19", end_date="2025-01-15", source="texts") == hits[scanner.name], scanner.name


@pytest.mark.parametrize("bar_minutes, cutoff_time", [(5, "09:50"), (15, "11:45"), (1440, "24:00")])
def test_longer_bars_are_scanned(market, scanners, bar_minutes, cutoff_time):
    market.execute(
        f"""
        CREATE OR REPLACE TABLE longer AS
        SELECT
            symbol, start AS ts,
            arg_min(open, bars.ts) AS open, max(high) AS high, min(low) AS low, arg_max(close, bars.ts) AS close, sum(volume) AS volume
        FROM (
            SELECT *, ts::DATE + INTERVAL 1 MINUTE * ((hour(ts) * 60 + minute(ts)) // {bar_minutes} * {bar_minutes}) AS start FROM bars
        ) AS bars
        GROUP BY symbol, start
        """
    )
    for scanner in scanners:
        dates = {"scan_date": "2024-11-19", "end_date": "2025-01-15"}
        rows = scanner.rows(market, **dates, source="longer", bar_minutes=bar_minutes, cutoff_time=cutoff_time)
        if bar_minutes == 1440 and scanner.name in WITHIN_A_SESSION:
            assert rows == [], scanner.name
            continue
        assert len(rows) > 10, scanner.name
        assert_numbers(rows, scanner, "longer")
        # Bars of whole minutes know what their minutes know, where both have ended.
        longer = {key: row["volume"] for key, row in evidence(rows).items()}
        minutes = {key: row["volume"] for key, row in evidence(scanner.rows(market, **dates, cutoff_time=cutoff_time)).items()}
        if scanner.name in AMONG_BARS:
            both = longer.keys() & minutes.keys()
            longer, minutes = ({key: volumes[key] for key in both} for volumes in (longer, minutes))
        assert longer and minutes == longer, scanner.name


def test_an_error_in_a_scan_leaves_the_database_usable(market, scanners, hits):
    for scanner in scanners:
        with pytest.raises(duckdb.Error, match=f"scan_{scanner.name}"):
            scanner.rows(market, scan_date="2025-01-15", cutoff_time="25:00")
        assert scanner.rows(market, scan_date="2024-11-19", end_date="2025-01-15") == hits[scanner.name]
