"""What holds for the backtest of every scanner: what its rows may depend on, and that it is the scan, its outcomes and a portfolio, no more."""

import datetime as dt
import math
import re

import duckdb
import pytest

from conftest import connect
from test_properties import USER_MACRO, Scanner, fetch, literal

FIRST, LAST = dt.date(2024, 12, 16), dt.date(2025, 1, 8)
# Ways to trade: within a session, with levels; and over nights, on the short side, with costs.
WAYS = {
    "in the session": "stop_loss_pct := 1, target_pct := 1.5, max_positions := 5",
    "over nights": "hold_sessions := 2, direction := 'short', cost_bps := 3, slippage_bps := 1, max_positions := 4, compounding := false",
}
OUTCOME = (
    "direction", "entry_ts", "entry_price", "exit_ts", "exit_price", "exit_reason", "gross_return_pct", "net_return_pct", "mfe_pct", "mae_pct",
    "minutes_held",
)


@pytest.fixture(scope="module")
def market():
    with connect() as connection:
        connection.execute("CREATE TABLE bars AS FROM demo_bars(symbols := 24, sessions := 38)")
        # A symbol that is halted while trades of it are open.
        connection.execute("DELETE FROM bars WHERE symbol = 'DEMO0002' AND dayofyear(ts) % 4 = 1")
        connection.execute(USER_MACRO)
        yield connection


class Backtested(Scanner):
    """A scanner with parameters that let much through, and its backtests."""

    def params(self) -> str:
        return "{" + ", ".join(f"{key}: {literal(value)}" for key, value in self.arguments.items()) + "}" if self.arguments else "NULL"

    def of(self, function, given="", first=FIRST, last=LAST, source="bars") -> str:
        more = [f"params := {self.params()}", f"source := '{source}'"] + ([given] if given else [])
        return f"{function}('{self.name}', '{first}', '{last}', {', '.join(more)})"

    def backtest(self, connection, function, given="", **more) -> list[dict]:
        return fetch(connection, f"FROM {self.of(function, given, **more)}")


@pytest.fixture(scope="module")
def scanners(market):
    found = market.execute("SELECT scanner, parameters FROM scanners()").fetchall()
    assert {"breakout", "mine"} <= {name for name, _ in found}
    result = []
    for name, parameters in found:
        scanner = Backtested(name, parameters)
        least = market.execute("SELECT parameter, min FROM scanner_parameters() WHERE scanner = ? AND min IS NOT NULL", [name]).fetchall()
        scanner.arguments = {key: value for key, value in least if key.startswith("min_")} | scanner.arguments
        if "max_results_per_day" in scanner.arguments:
            scanner.arguments["max_results_per_day"] = 12
        result.append(scanner)
    return result


@pytest.fixture(scope="module")
def trades(market, scanners):
    """By scanner and way: its rows. The tests below stand on their not being few."""
    rows = {(scanner.name, way): scanner.backtest(market, "backtest", given) for scanner in scanners for way, given in WAYS.items()}
    for key, found in rows.items():
        assert sum(row["amount"] > 0 for row in found) >= 8 and any(row["amount"] == 0 for row in found), (key, len(found))
    return rows


def test_its_hits_are_those_of_the_scan_and_their_outcomes(market, scanners, trades):
    for scanner in scanners:
        scan = scanner.rows(market, scan_date=FIRST, end_date=LAST)
        market.execute(f"CREATE OR REPLACE TEMP TABLE hits AS FROM {scanner.call(scan_date=FIRST, end_date=LAST)}")
        for way, given in WAYS.items():
            rows = trades[scanner.name, way]
            hits = lambda found: sorted((row["scan_date"], row["symbol"], row["probability_score"], row["rank"]) for row in found)
            assert hits(rows) == hits(scan), (scanner.name, way)
            options = ", ".join(one for one in given.split(", ") if not re.match("max_positions|compounding", one))
            wanted = {(row["scan_date"], row["symbol"]): row for row in fetch(market, f"FROM outcomes('hits', {options})")}
            for row in rows:
                outcome = wanted[row["scan_date"], row["symbol"]]
                assert all(row[column] == outcome[column] for column in OUTCOME), (scanner.name, row, outcome)


def test_nobody_trades_before_the_cutoff(market, scanners, trades):
    for (name, way), rows in trades.items():
        assert all(row["entry_ts"] is None or row["entry_ts"] >= dt.datetime.combine(row["scan_date"], dt.time(9, 50)) for row in rows), (name, way)
    for scanner in scanners:
        for row in scanner.backtest(market, "backtest", "cutoff_time := '11:20'", last=FIRST + dt.timedelta(days=5)):
            assert row["entry_ts"] is None or row["entry_ts"] >= dt.datetime.combine(row["scan_date"], dt.time(11, 20)), scanner.name


# What becomes of bars that must not matter.
CHANGES = {
    "deleted": "FROM bars WHERE {known}",
    "without values": "SELECT * REPLACE (CASE WHEN {known} THEN close END AS close, CASE WHEN {known} THEN volume ELSE -1 END AS volume) FROM bars",
    "extreme": """
        FROM bars WHERE {known}
        UNION ALL
        SELECT * REPLACE (open * 1e3 AS open, high * 1e6 AS high, low * 1e-6 AS low) FROM bars WHERE NOT {known}
    """,
}


def changed(market, change, known):
    market.execute(f"CREATE OR REPLACE TEMP VIEW changed AS {CHANGES[change].format(known=known)}")


def test_what_comes_after_the_last_exit_changes_nothing(market, scanners, trades):
    for number, scanner in enumerate(scanners):
        for place, (way, given) in enumerate(WAYS.items()):
            rows = trades[scanner.name, way]
            last = max(row["exit_ts"] for row in rows if row["exit_ts"])
            changed(market, list(CHANGES)[(number + place) % 3], f"ts <= TIMESTAMP '{last}'")
            assert scanner.backtest(market, "backtest", given, source="changed") == rows, (scanner.name, way)


@pytest.mark.parametrize("change", CHANGES)
def test_what_comes_after_the_last_session_changes_no_value_of_a_portfolio(market, scanners, trades, change):
    """Positions and the benchmark are valued at the last price of the day, hence days as a whole."""
    for place, (way, given) in enumerate(WAYS.items()):
        scanner = scanners[2 * len(change) % 7 + place]
        last = max(row["exit_ts"] for row in trades[scanner.name, way] if row["amount"] > 0).date()
        changed(market, change, f"ts::DATE <= DATE '{max(last, LAST)}'")
        for function in ("backtest_daily", "backtest_summary"):
            assert scanner.backtest(market, function, given, source="changed") == scanner.backtest(market, function, given), (function, scanner.name)


def test_what_comes_later_changes_nothing_of_what_was_decided_before(market, scanners, trades):
    """All bars from a day on are others: trades closed by then are the same, and those open the same as far as they had been decided."""
    for way, given in WAYS.items():
        day = dt.date(2024, 12, 27)
        changed(market, "extreme", f"ts < DATE '{day}'")
        closed_then = open_then = 0
        for scanner in scanners[way == "over nights" :: 2]:
            before = dt.datetime.combine(day, dt.time())
            entered = lambda rows: {(row["scan_date"], row["symbol"]): row for row in rows if row["entry_ts"] and row["entry_ts"] < before}
            wanted, found = entered(trades[scanner.name, way]), entered(scanner.backtest(market, "backtest", given, source="changed"))
            assert wanted.keys() == found.keys(), (scanner.name, way)
            for key, row in wanted.items():
                if row["exit_ts"] < before:
                    closed_then += 1
                    assert row == found[key], (scanner.name, way)
                else:
                    open_then += row["amount"] > 0
                    same = ("amount", "entry_ts", "entry_price", "rank", "probability_score")
                    assert [row[column] for column in same] == [found[key][column] for column in same], (scanner.name, way)
        assert closed_then > 100 and (open_then > 10 or "hold" not in given), (closed_then, open_then)


def test_neither_the_order_of_bars_nor_the_number_of_threads_matters(market, scanners, trades):
    market.execute("CREATE OR REPLACE TEMP TABLE shuffled AS FROM bars ORDER BY hash(symbol, ts)")
    given = WAYS["over nights"]
    # Of a summary's numbers the same text means the same bits.
    everything = [(scanner, function) for number, scanner in enumerate(scanners) for function in ("backtest_daily", "backtest_summary")[number % 2 :]]
    wanted = {(scanner.name, function): repr(scanner.backtest(market, function, given)) for scanner, function in everything}
    try:
        for threads in (1, 4):
            market.execute(f"SET threads = {threads}")
            for scanner, function in everything:
                if threads == 4 or function == "backtest_daily":
                    assert repr(scanner.backtest(market, function, given, source="shuffled")) == wanted[scanner.name, function], (scanner.name, function, threads)
            for scanner in scanners[threads // 4 :: 2]:
                assert scanner.backtest(market, "backtest", given, source="shuffled") == trades[scanner.name, "over nights"], (scanner.name, threads)
    finally:
        market.execute("RESET threads")


def test_ties_among_unranked_hits_do_not_depend_on_the_order_of_rows(market):
    """Of hits with the same rank the symbol decides: not chance, and not how they ended."""
    for order in ("symbol", "symbol DESC", "hash(symbol, ts)"):
        market.execute(f"CREATE OR REPLACE TEMP TABLE shuffled AS FROM bars ORDER BY {order}")
        market.execute(
            """
            CREATE OR REPLACE MACRO scan_unranked(scan_date, cutoff_time := '09:50', end_date := NULL, source := 'bars') AS TABLE
            SELECT DISTINCT bar.ts::DATE AS scan_date, bar.symbol, 50 AS probability_score, NULL AS rank
            FROM query_table(source) AS bar WHERE bar.ts::DATE BETWEEN session_date(scan_date, '', '') AND session_date(end_date, '', '')
            """
        )
        rows = fetch(market, f"FROM backtest('unranked', '{FIRST}', '{LAST}', source := 'shuffled', max_positions := 3)")
        for day in {row["scan_date"] for row in rows}:
            entry = dt.datetime.combine(day, dt.time(9, 50))
            of_day = [row for row in rows if row["scan_date"] == day and row["entry_ts"] == entry]
            taken = [row["symbol"] for row in of_day if row["amount"] > 0]
            assert taken == sorted(row["symbol"] for row in of_day)[: len(taken)] and len(taken) == 3, (order, day)


@pytest.mark.parametrize("sizes", ["", "position_size := 21000", "initial_capital := 300.3, position_size := 100.1", "compounding := false"])
def test_no_more_is_put_in_than_there_is(market, scanners, sizes):
    initial = float(re.search("initial_capital := (.*?),", sizes + "initial_capital := 100000,")[1])
    for scanner in scanners[len(sizes) % 6 :: 7]:
        for given in (
            "max_positions := 6",
            "hold_sessions := 3, stop_loss_pct := 1, max_positions := 7",
            "direction := 'short', hold_sessions := 1, max_positions := 3, cost_bps := 50",
            # Closed before the cutoff of the next session: the whole capital moves every morning.
            "exit_time := '09:40', hold_sessions := 1, max_positions := 4",
        ):
            asked = ", ".join(filter(None, [given, sizes]))
            most = int(re.search("max_positions := ([0-9]+)", given)[1])
            rows = scanner.backtest(market, "backtest", asked)
            taken = [row for row in rows if row["amount"] > 0]
            assert taken and all(row["amount"] >= 0 for row in rows) and all(row["profit"] == 0 for row in rows if row["amount"] == 0)
            for row in taken:
                now = row["entry_ts"]
                held = [other for other in taken if other["entry_ts"] <= now <= other["exit_ts"]]
                capital = initial + math.fsum(other["profit"] for other in taken if other["exit_ts"] < now)
                assert len(held) <= most and math.fsum(other["amount"] for other in held) <= capital * (1 + 1e-9), (scanner.name, asked, row)
            days = scanner.backtest(market, "backtest_daily", asked)
            assert all(day["equity"] >= 0 and day["drawdown_pct"] <= 0 for day in days)
            # Over nights equity falls with prices, and what was put in does not.
            if "hold" not in asked:
                assert all(day["invested"] <= before["equity"] * (1 + 1e-9) for before, day in zip(days, days[1:]))
            # What it is worth at the end is what there was, with all profits.
            profits = math.fsum(row["profit"] for row in rows)
            assert math.isclose(days[-1]["equity"], initial + profits, abs_tol=1e-6), (scanner.name, asked)
            assert math.isclose(math.fsum(day["profit"] for day in days), profits, abs_tol=1e-6)
        summary = scanner.backtest(market, "backtest_summary", asked)[0]
        assert summary["final_equity"] == days[-1]["equity"] and summary["sessions"] == len(days) and summary["signals"] == len(rows)


@pytest.mark.parametrize("function", ["backtest", "backtest_daily", "backtest_summary", "backtest_by", "calibrate"])
def test_literals_bound_values_a_prepared_statement_and_a_view_give_the_same(market, scanners, function):
    bucket, bound_bucket = ("'weekday', ", "$bucket, ") if function == "backtest_by" else ("", "")
    for scanner in [scanner for scanner in scanners if scanner.name in ("technical", "mine")]:
        text = f"FROM {function}('{scanner.name}', '{FIRST}', '{LAST}', {bucket}params := {scanner.params()}, hold_sessions := 1, cost_bps := 2.5)"
        wanted = fetch(market, text)
        assert wanted
        values = {"scanner": scanner.name, "first": FIRST, "last": LAST, "hold": 1, "cost": 2.5} | ({"bucket": "weekday"} if bucket else {})
        values |= {f"p_{key}": value for key, value in scanner.arguments.items()}
        struct = "{" + ", ".join(f"{key}: $p_{key}" for key in scanner.arguments) + "}" if scanner.arguments else "NULL"
        bound = f"FROM {function}($scanner, $first, $last, {bound_bucket}params := {struct}, hold_sessions := $hold, cost_bps := $cost)"
        for dates in ({}, {"first": str(FIRST), "last": str(LAST)}, {"first": dt.datetime.combine(FIRST, dt.time())}):
            assert fetch(market, bound, values | dates) == wanted, (function, scanner.name, dates)
        if scanner.arguments:
            whole = re.sub(r"params := {.*?}", "params := $params", bound)
            assert fetch(market, whole, {key: value for key, value in values.items() if not key.startswith("p_")} | {"params": scanner.arguments}) == wanted

        market.execute(f"CREATE OR REPLACE TEMP VIEW asked AS {text}")
        assert fetch(market, "FROM asked") == wanted
        market.execute(
            f"""
            CREATE OR REPLACE TEMP MACRO around(whose, since, until, how_long := 0, what := NULL) AS TABLE
            FROM {function}(whose, since, until, {bucket}params := what, hold_sessions := how_long, cost_bps := 2.5)
            """
        )
        assert fetch(market, f"FROM around('{scanner.name}', '{FIRST}', '{LAST}', how_long := 1, what := {scanner.params()})") == wanted


def test_prepared_once_it_follows_its_values(market, scanners):
    market.execute("PREPARE asked AS SELECT sum(profit) FROM backtest($1, $2, $3, params := {min_price: $4}, max_positions := $5)")
    answers = []
    for name, price, most in (("breakout", 0, 3), ("breakout", 0, 1), ("breakout", 500, 3), ("crp", 0, 3), ("breakout", 0, 3)):
        asked = f"backtest('{name}', '{FIRST}', '{LAST}', params := {{min_price: {price}}}, max_positions := {most})"
        wanted = market.execute(f"SELECT sum(profit) FROM {asked}").fetchone()
        assert market.execute(f"EXECUTE asked('{name}', '{FIRST}', '{LAST}', {price}, {most})").fetchone() == wanted
        answers.append(wanted)
    assert len(set(answers)) == 4
    market.execute("DEALLOCATE asked")


def test_the_source_may_be_whatever_a_scan_takes(market, scanners, trades):
    """A CTE, a list of tables, a qualified name, a data frame."""
    market.execute("CREATE SCHEMA IF NOT EXISTS other; CREATE OR REPLACE TABLE other.\"odd \"\"bars\" AS FROM bars")
    market.execute("CREATE OR REPLACE TEMP TABLE early AS FROM bars WHERE ts < '2024-12-20'")
    market.execute("CREATE OR REPLACE TEMP TABLE late AS FROM bars WHERE ts >= '2024-12-20'")
    frame = market.execute("FROM bars").df()
    assert len(frame)
    given = WAYS["in the session"]
    for scanner in scanners[::5]:
        wanted = trades[scanner.name, "in the session"]
        days = scanner.backtest(market, "backtest_daily", given)
        for source in ("['early', 'late']", "'other.\"odd \"\"bars\"'", "'frame'", "'cte'"):
            for function, rows in (("backtest", wanted), ("backtest_daily", days)):
                text = scanner.of(function, given).replace("source := 'bars'", f"source := {source}")
                # Here, since DuckDB looks for a data frame among the caller's variables.
                found = market.execute(f"WITH cte AS (FROM bars) FROM {text}").fetchall()
                assert found == [tuple(row.values()) for row in rows], (scanner.name, function, source)


def test_symbols_of_digits_are_found(market, scanners):
    market.execute(
        """
        CREATE OR REPLACE TEMP TABLE digits AS
        SELECT bars.* REPLACE (name.digits AS symbol)
        FROM bars JOIN (VALUES ('DEMO0010', '000001'), ('DEMO0011', '1'), ('DEMO0012', '1e3')) AS name (symbol, digits) USING (symbol)
        """
    )
    found = 0
    for scanner in scanners:
        for symbols in (["000001"], ["1", "1e3"]):
            rows = scanner.backtest(market, "backtest", f"symbols := {symbols}", source="digits")
            hits = scanner.rows(market, scan_date=FIRST, end_date=LAST, source="digits", symbols=symbols)
            assert sorted(row["symbol"] for row in rows) == sorted(row["symbol"] for row in hits), scanner.name
            found += len(rows)
    assert found > 20


# Names that look like SQL. None of them is a scanner, and nothing of them is run.
INJECTIONS = [
    "breakout('2025-01-06') --", "breakout'); DROP TABLE bars; --", 'x"; DROP TABLE bars; --', 'breakout" AS scan; DROP TABLE bars', "breakout\0",
    "", " ", "main.scan_breakout", "range(3) UNION ALL FROM bars", "'", '"', "\\", "breakout breakout", "system.main.scan_breakout", "((", "$1", "?", "x" * 5000,
]


@pytest.mark.parametrize("function", ["backtest", "backtest_daily", "backtest_summary", "backtest_by", "calibrate"])
def test_a_name_is_a_name(market, function):
    bucket = ", 'hour'" if function == "backtest_by" else ""
    before = market.execute("SELECT count(*), bit_xor(hash(symbol, ts, close)) FROM bars").fetchone()
    for name in INJECTIONS:
        with pytest.raises(duckdb.Error):
            market.execute(f"FROM {function}(?, '{FIRST}', '{LAST}'{bucket})", [name]).fetchall()
        # Parameters with such names, and values of such texts.
        struct = "{'" + (name or "x").replace("'", "''").replace("\0", "") + "': 1}"
        with pytest.raises(duckdb.Error):
            market.execute(f"FROM {function}('breakout', '{FIRST}', '{LAST}'{bucket}, params := {struct})").fetchall()
        for parameter in ("min_price", "max_results_per_day"):
            with pytest.raises(duckdb.Error, match="scan_breakout: " + parameter):
                market.execute(f"FROM {function}('breakout', '{FIRST}', '{LAST}'{bucket}, params := {{{parameter}: ?}})", [name]).fetchall()
        for parameter in ("direction", "exit_time", "hold_sessions"):
            with pytest.raises(duckdb.Error, match=parameter):
                market.execute(f"FROM {function}('breakout', '{FIRST}', '{LAST}'{bucket}, {parameter} := ?)", [name]).fetchall()
        with pytest.raises(duckdb.Error):
            market.execute(f"FROM {function}('breakout', '{FIRST}', '{LAST}'{bucket}, source := ?)", [name]).fetchall()
        # A stock of that name is looked for, and not there.
        if function == "backtest":
            assert market.execute(f"FROM backtest('breakout', '{FIRST}', '{LAST}', symbols := [?])", [name]).fetchall() == []
    assert market.execute("SELECT count(*), bit_xor(hash(symbol, ts, close)) FROM bars").fetchone() == before


def test_a_scanner_of_the_users_hears_texts_as_they_are(market):
    market.execute(
        """
        CREATE OR REPLACE MACRO scan_heard(scan_date, cutoff_time := '09:50', end_date := NULL, source := 'bars', "what was said" := NULL) AS TABLE
        SELECT session_date(scan_date, '', '') AS scan_date, "what was said" AS symbol, 1 AS probability_score, 1 AS rank
        """
    )
    for said in [*INJECTIONS, "007", "1e5", "NULL", "true", "-0", "نص", "a\nb\tc", "{x: 1}", "[1]", "''", '""', "%s {} $$"]:
        if "\0" not in said:
            heard = market.execute(f"SELECT symbol FROM backtest('heard', '{FIRST}', '{FIRST}', params := {{'what was said': ?}})", [said]).fetchone()
            assert heard == (said,)


ODD = {
    "empty": "FROM bars LIMIT 0",
    "one bar": "FROM bars WHERE symbol = 'DEMO0001' AND ts = '2025-01-06 09:50'",
    "one session": "FROM bars WHERE ts::DATE = '2025-01-06'",
    "flat": "SELECT * REPLACE (100 AS open, 100 AS high, 100 AS low, 100 AS close) FROM bars",
    "half nan": """
        SELECT * REPLACE (CASE WHEN hash(ts, 1) % 2 = 0 THEN 'NaN' ELSE close END AS close, CASE WHEN hash(ts, 2) % 3 = 0 THEN 'Infinity' ELSE open END AS open)
        FROM bars
    """,
    "far apart": """
        SELECT * REPLACE (CASE hash(ts, 1) % 50 WHEN 0 THEN close / 50 WHEN 1 THEN close * 30 ELSE close END AS close, high * 30 AS high, low / 50 AS low)
        FROM bars
    """,
    "texts": "SELECT * REPLACE (open::VARCHAR AS open, high::VARCHAR AS high, low::VARCHAR AS low, close::VARCHAR AS close, volume::VARCHAR AS volume) FROM bars",
}


@pytest.mark.parametrize("kind", ODD)
def test_odd_bars_give_no_odd_numbers(market, scanners, kind):
    market.execute(f"CREATE OR REPLACE TEMP TABLE odd AS {ODD[kind]}")
    functions = ["backtest_summary", "backtest", "backtest_daily", "calibrate", "backtest_by"]
    for number, scanner in list(enumerate(scanners))[len(kind) % 2 :: 2]:
        # Not every pair, but each function and each scanner several times.
        function = functions[(number // 2 + len(kind)) % 5]
        given = "hold_sessions := 2, direction := 'short', stop_loss_pct := 5" if number % 2 else "target_pct := 3"
        text = scanner.of(function, given, source="odd")
        if function == "backtest_by":
            text = text.replace(f"'{LAST}'", f"'{LAST}', 'hour'")
        rows = fetch(market, f"FROM {text}")
        for row in rows:
            assert all(not isinstance(value, float) or math.isfinite(value) for value in row.values()), (scanner.name, function, row)
        if function in ("backtest_daily", "backtest_summary"):
            assert (rows == []) == (kind == "empty"), (scanner.name, function)


def test_an_error_leaves_the_database_usable(market, scanners, trades):
    with pytest.raises(duckdb.Error, match="backtest: max_positions must be between 1 and 10000, got 0"):
        market.execute(f"FROM backtest('gap', '{FIRST}', '{LAST}', max_positions := 0)").fetchall()
    scanner = scanners[0]
    assert scanner.backtest(market, "backtest", WAYS["in the session"]) == trades[scanner.name, "in the session"]
