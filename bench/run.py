"""Benchmarks of Stockscan. Every competitor must give the same answer; what is printed is ratios measured in one run.

usage: run.py [--data FILE.parquet] [--symbols N] [--sessions N] [--only NAME] [--repetitions N]
"""

import argparse
import contextlib
import csv
import hashlib
import importlib.util
import io
import json
import math
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import date
from pathlib import Path

import duckdb

HERE = Path(__file__).resolve().parent
EXTENSION = os.environ.get("STOCKSCAN_EXTENSION", str(HERE.parent / "dist" / "stockscan.duckdb_extension"))
SCANNER = os.environ.get("STOCKSCAN_SCANNER")
BARE_LOOP = os.environ.get("STOCKSCAN_BARE_LOOP")
ROW_GROUP = 122_880
YEAR = 251
BAR_COLUMNS = ["symbol", "ts", "open", "high", "low", "close", "volume"]

# The scanner's own defaults, and settings that let through whatever is above its range: three rows prove little.
DEFAULTS = {
    "latest_start": "09:49:00", "consolidation_period": 5, "min_price": 50, "max_price": 2000, "min_volume": 10000,
    "max_results_per_day": 3, "min_probability_score": 10, "breakout_volume_ratio": 1.5, "resistance_break_pct": 0.5,
}
LOOSE = DEFAULTS | {
    "min_price": 0, "max_price": 1e9, "min_volume": 0, "max_results_per_day": 10000, "min_probability_score": 0,
    "breakout_volume_ratio": 0, "resistance_break_pct": 0,
}


# What a scanner needs to find something in the demo market of 60 sessions; the others run with their defaults.
ARGUMENTS = {
    "gap": {"min_gap_pct": 0.5},
    "momentum": {"lookback_sessions": 40},
    "new_high": {"lookback_sessions": 40},
    "technical": {"lookback_sessions": 40, "min_sessions": 30, "ema_slow": 30},
    "volume_spike": {"min_spike_z": 1, "min_probability_score": 0},
}


class Report:
    """What is printed, and what went wrong."""

    def __init__(self):
        self.failures, self.missed, self.current = [], [], ""

    def section(self, name: str, title: str):
        self.current = name
        print(f"\n{name}: {title}", flush=True)

    def line(self, name: str, figure: str, detail: str = ""):
        print(f"  {name:<58} {figure:>10}  {detail}".rstrip(), flush=True)

    def figure(self, name: str, value: float, unit: str, target: str, met: bool, detail: str = ""):
        """A figure with its target. A missed one is said, not failed: other work on the machine moves figures, never answers."""
        if not met:
            self.missed.append(f"{self.current}: {name}, {value:.2f}{unit}")
        self.line(name, f"{value:.2f}{unit}", f"target {target}: {'ok' if met else 'MISSED'}{'; ' + detail if detail else ''}")

    def check(self, name: str, right: bool, detail: str = ""):
        """Something that is right or wrong on any machine."""
        if not right:
            self.fail(f"{name}: {detail}")
        else:
            self.line(name, "ok", detail)

    def fail(self, message: str):
        self.failures.append(f"{self.current}: {message}")
        print(f"  FAILED  {message}", flush=True)


class Market:
    """The bars as a DuckDB file and as a Parquet file of the same order, made once and kept in the cache folder."""

    def __init__(self, arguments: argparse.Namespace, cache: Path, extension: Path):
        self.cache, self.extension = cache, extension
        if arguments.data:
            status = Path(arguments.data).stat()
            made_from, bars = f"{Path(arguments.data).resolve()} {status.st_size} {status.st_mtime}", literal(arguments.data)
            select = f"SELECT symbol, ts, open, high, low, close, CAST(volume AS BIGINT) AS volume FROM {bars}"
        else:
            select = f"FROM demo_bars({arguments.symbols}, {arguments.sessions})"
            with self.connect(":memory:", read_only=False) as connection:
                macros = "FROM duckdb_functions() SELECT function_name, macro_definition WHERE starts_with(function_name, 'demo_')"
                made_from = select + str(connection.execute(f"{macros} ORDER BY ALL").fetchall())
        folder = cache / f"bars-{hashlib.sha256((made_from + duckdb.__version__).encode()).hexdigest()[:12]}"
        self.folder, self.database, self.parquet = folder, str(folder / "bars.duckdb"), str(folder / "bars.parquet")
        if not (folder / "complete").exists():
            print(f"Making the bars once, in {folder} …", flush=True)
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            with self.connect(self.database, read_only=False) as connection:
                connection.execute(f"CREATE TABLE bars AS SELECT * FROM ({select}) ORDER BY CAST(ts AS DATE), symbol, ts")
                connection.execute(f"COPY (FROM bars) TO {literal(self.parquet)}")
            (folder / "complete").touch()
        self.connection = self.connect(self.database, read_only=True)
        self.rows = self.connection.execute("SELECT count(*) FROM bars").fetchone()[0]
        days = self.connection.execute("SELECT DISTINCT CAST(ts AS DATE) AS day FROM bars ORDER BY day").fetchall()
        self.sessions = [day.isoformat() for (day,) in days]
        if len(self.sessions) < 12:
            sys.exit(f"run.py: the data must hold at least 12 sessions, it holds {len(self.sessions)}")
        # The first sessions are there to look back on.
        self.range = self.sessions[-min(50, len(self.sessions) - 10):]
        self.one = [self.sessions[-1]]

    def connect(self, database: str, read_only: bool) -> duckdb.DuckDBPyConnection:
        connection = duckdb.connect(database, read_only=read_only, config={"allow_unsigned_extensions": "true"})
        connection.execute(f"LOAD {literal(str(self.extension))}")
        return connection


def literal(value) -> str:
    return "'" + value.replace("'", "''") + "'" if isinstance(value, str) else str(value)


def settings_of(sessions: list[str], settings: dict) -> dict:
    return settings | {"scan_date": sessions[0], "end_date": sessions[-1]}


def scan(settings: dict, source: str = "bars") -> str:
    """The scanner's statement; parameters that have their default value are left out, as anyone would."""
    given = {name: value for name, value in settings.items() if name not in ("scan_date", "latest_start") and value != DEFAULTS.get(name)}
    if source != "bars":
        given["source"] = source
    if settings["end_date"] == settings["scan_date"]:
        del given["end_date"]
    arguments = [literal(settings["scan_date"]), *(f"{name} := {literal(value)}" for name, value in given.items())]
    return f"FROM scan_breakout({', '.join(arguments)})"


def hand_written(name: str, settings: dict) -> str:
    """A file of hand_written/ with its parameters filled in as literals, so that nothing of it is planned later than the scanner's."""
    sql = (HERE / "hand_written" / f"{name}.sql").read_text(encoding="utf-8")
    for parameter in sorted(settings, key=len, reverse=True):
        sql = sql.replace(f"${parameter}", literal(settings[parameter]))
    return sql


def same(one, other) -> bool:
    """Equal, floats to 1e-9 of their size."""
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(same(*pair) for pair in zip(one, other))
    if isinstance(one, float) or isinstance(other, float):
        return math.isclose(one, other, rel_tol=1e-9, abs_tol=1e-9)
    return one == other


def difference(one: list, other: list) -> str:
    first = next((index for index, pair in enumerate(zip(one, other)) if not same(*pair)), min(len(one), len(other)))
    return f"{len(one)} and {len(other)} rows, first difference in row {first + 1}: {one[first:first + 1]} and {other[first:first + 1]}"


def measure(competitors: dict, repetitions: int) -> dict[str, list[float]]:
    """Seconds of each, interleaved, every second round backwards, after one round that does not count."""
    seconds = {name: [] for name in competitors}
    for repetition in range(-1, repetitions):
        for name in list(competitors)[:: 1 if repetition % 2 else -1]:
            start = time.perf_counter()
            competitors[name]()
            if repetition >= 0:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def ratio(of: list[float], to: list[float]) -> float:
    """The median over the rounds of one run, so that a slow moment of the machine weighs on both."""
    return statistics.median(one / other for one, other in zip(of, to))


def median_ms(seconds: list[float]) -> str:
    return f"{1000 * statistics.median(seconds):.1f} ms"


def fastest(seconds: dict[str, list[float]], names) -> str:
    return min(names, key=lambda name: statistics.median(seconds[name]))


class Bench:
    """The sections. Each is a method; its name is what --only takes."""

    def __init__(self, market: Market, report: Report, arguments: argparse.Namespace):
        self.market, self.report, self.arguments, self.repetitions = market, report, arguments, arguments.repetitions
        self.connection = market.connection

    def rows(self, sql: str) -> list[tuple]:
        return self.connection.execute(sql).fetchall()

    def answers_agree(self, sessions: list[str], competitors, source: str = "bars") -> bool:
        """Every competitor against the scanner, with its defaults and with loose limits. competitors: name -> settings -> rows."""
        right, counts = True, []
        for kind in (DEFAULTS, LOOSE, LOOSE | {"consolidation_period": 1}):
            settings = settings_of(sessions, kind)
            expected = self.rows(scan(settings, source))
            counts.append(len(expected))
            for name, answer in competitors.items():
                given = answer(settings)
                if not same(expected, given):
                    right = False
                    self.report.fail(f"scan_breakout and {name} disagree over {len(sessions)} session(s): {difference(expected, given)}")
        if right:
            self.report.line("same rows from everyone", "ok", f"{counts[0]} rows by default, {counts[1]} and {counts[2]} with loose limits")
        return right

    def against_hand_written(self, sessions: list[str], variants: list[str], repetitions: int, shortcuts: tuple = ()):
        settings = settings_of(sessions, DEFAULTS)
        if not self.answers_agree(sessions, {name: lambda given, name=name: self.rows(hand_written(name, given)) for name in variants}):
            return
        queries = {"scan_breakout": scan(settings)} | {name: hand_written(name, settings) for name in variants}
        seconds = measure({name: lambda sql=sql: self.rows(sql) for name, sql in queries.items()}, repetitions)
        for name in queries:
            self.report.line(name, median_ms(seconds[name]))
        if shortcuts:
            best = fastest(seconds, [name for name in variants if name not in shortcuts])
            value = ratio(seconds["scan_breakout"], seconds[best])
            self.report.line("scan_breakout to the best that reads all history", f"{value:.2f}x", f"to {best}")
        best = fastest(seconds, variants)
        value = ratio(seconds["scan_breakout"], seconds[best])
        detail = f"to {best}" + ("; ABOVE 1.30x" if value > 1.3 else "")
        self.report.figure("scan_breakout to the best hand-written SQL", value, "x", "at most 1.10x", value <= 1.1, detail)

    def one_session(self):
        """One session against the best hand-written SQL"""
        variants = ["single_pass", "two_steps", "history_apart", "shortlist"]
        self.against_hand_written(self.market.one, variants, 2 * self.repetitions, shortcuts=("shortlist",))

    def range_of_sessions(self):
        """A range of sessions against the best hand-written SQL"""
        self.against_hand_written(self.market.range, ["single_pass", "two_steps", "history_apart"], self.repetitions)

    def polars(self):
        """Parquet: against Polars, one session and the range"""
        import polars
        import polars_breakout

        self.report.line("Polars", polars.__version__, f"{polars.thread_pool_size()} threads; DuckDB {duckdb.__version__}, "
                         f"{self.rows('SELECT current_setting($$threads$$)')[0][0]} threads")
        parquet = self.market.parquet
        variants = {
            f"{engine}, {order}": lambda given, engine=engine, order=order: polars_breakout.breakout(parquet, given, engine, order)
            for engine, order in polars_breakout.VARIANTS
        }
        for sessions in (self.market.one, self.market.range):
            settings, label = settings_of(sessions, DEFAULTS), f"{len(sessions)} session(s)"
            if not self.answers_agree(sessions, variants, parquet):
                continue
            trial = measure({name: lambda answer=answer: answer(settings) for name, answer in variants.items()}, 1)
            # Shuffled rows change nothing for the scanner, so its like finds first and last by time; the others need an ordered file.
            like = fastest(trial, [name for name in variants if name.endswith("by_time")])
            best = fastest(trial, variants)
            seconds = measure(
                {"scan_breakout": lambda: self.rows(scan(settings, parquet))}
                | {name: lambda name=name: variants[name](settings) for name in {like, best}},
                max(3, self.repetitions // 2),
            )
            for name in variants:
                self.report.line(f"{label}: Polars, {name}, one try", median_ms(trial[name]))
            self.report.line(f"{label}: scan_breakout over Parquet", median_ms(seconds["scan_breakout"]))
            self.report.line(f"{label}: Polars, {like}", median_ms(seconds[like]))
            value = ratio(seconds[best], seconds["scan_breakout"])
            self.report.line(f"{label}: Polars where it trusts the file's order", f"{value:.2f}x", best)
            value = ratio(seconds[like], seconds["scan_breakout"])
            self.report.figure(f"{label}: Polars, any order of rows, to scan_breakout", value, "x", "at least 3x", value >= 3)

    def session_against_range(self):
        """One session against its share of the range"""
        one, many = settings_of(self.market.one, DEFAULTS), settings_of(self.market.range, DEFAULTS)
        expected = [row for session in self.market.range for row in self.rows(scan(settings_of([session], DEFAULTS)))]
        given = self.rows(scan(many))
        right = same(expected, given)
        self.report.check("the range is the union of its sessions", right, f"{len(given)} rows" if right else difference(expected, given))
        seconds = measure({"one": lambda: self.rows(scan(one)), "range": lambda: self.rows(scan(many))}, self.repetitions)
        share = [value / len(self.market.range) for value in seconds["range"]]
        self.report.line("one session", median_ms(seconds["one"]))
        self.report.line(f"the range of {len(self.market.range)}, per session", median_ms(share))
        value = ratio(seconds["one"], share)
        self.report.line("one session to a session of the range", f"{value:.2f}x", "what a loop over sessions costs more than a range")

    def profile(self, sql: str) -> list[dict]:
        """The scans of the statement's plan, as measured."""
        found, todo = [], [json.loads(self.rows(f"EXPLAIN (ANALYZE, FORMAT json) {sql}")[0][1])]
        while todo:
            node = todo.pop()
            if isinstance(node, list):
                todo += node
            elif isinstance(node, dict):
                todo += node.values()
                if "SCAN" in str(node.get("type", "")) and "rows_scanned" in node:
                    found.append(node)
        return found

    def plan(self):
        """The plan: only the needed days and columns are read"""
        settings = settings_of(self.market.one, DEFAULTS)
        first = f"DATE '{settings['scan_date']}' - {2 * settings['consolidation_period'] + 10}"
        # Whole days: the scanned session's bars up to the cutoff lie symbol by symbol all over it.
        needed = f"ts >= {first} AND ts < DATE '{settings['scan_date']}' + 1"
        rows = self.rows(f"SELECT count(*) FROM bars WHERE {needed}")[0][0]
        for label, source in (("table", "bars"), ("Parquet", self.market.parquet)):
            scans = self.profile(scan(settings, source))
            groups, of = (sum(node.get(key, 0) for node in scans) for key in ("row_groups_scanned", "total_row_groups_to_scan"))
            scanned = sum(node["rows_scanned"] for node in scans)
            # The needed days lie side by side: their row groups, and one more where they begin inside of one.
            limit = (math.ceil(rows / ROW_GROUP) + 1) * len(scans)
            detail = f"{groups} of {of} row groups, {scanned:,} of {self.market.rows:,} rows for {rows:,} of the needed days"
            self.report.check(f"{label}: only the needed days", 0 < groups <= limit and scanned <= limit * ROW_GROUP, detail)
        self.rows(f"CREATE TEMP TABLE wide_bars AS SELECT *, ts AS received_at, symbol || '.X' AS venue FROM bars WHERE {needed}")
        columns = sorted({column for node in self.profile(scan(settings, "wide_bars")) for column in node["extra_info"]["Projections"]})
        self.report.check("a wider table: only the needed columns", set() < set(columns) <= set(BAR_COLUMNS), ", ".join(columns))
        self.rows("DROP TABLE wide_bars")

    def memory(self):
        """Peak memory of the range in a process of its own"""
        sql = scan(settings_of(self.market.range, DEFAULTS))
        for limit in (None, "1GB"):
            label = f"{len(self.market.range)} sessions of {self.market.rows:,} bars, " + (f"memory_limit {limit}" if limit else "no limit")
            self.peak_memory(label, sql, self.market, limit, 1)

    def peak_memory(self, label: str, sql: str, market: Market, limit: str | None, most: int):
        """The most memory that a statement takes in a process of its own, and that it gives the same rows there."""
        expected = [[str(value) for value in row] for row in market.connection.execute(sql).fetchall()]
        done = subprocess.run(
            [sys.executable, HERE / "peak_memory.py", market.extension, market.database, sql, *filter(None, [limit])],
            capture_output=True, text=True,
        )
        if done.returncode != 0:
            self.report.fail(f"{label}: {done.stderr.strip()[-500:]}")
            return
        found = json.loads(done.stdout)
        # Neither threads nor memory change a digit, so that texts are compared.
        if found["answer"] != expected:
            self.report.fail(f"{label}: another answer than without: {found['rows']} and {len(expected)} rows")
            return
        gibibytes = found["bytes"] / 2**30
        self.report.figure(label, gibibytes, " GiB", f"below {most} GiB", gibibytes < most)

    def scanners(self):
        """Every scanner against the plain aggregate of the same columns of the same rows"""
        for (name,) in self.rows("SELECT scanner FROM scanners() WHERE is_built_in ORDER BY scanner"):
            given = "".join(f", {key} := {literal(value)}" for key, value in ARGUMENTS.get(name, {}).items())
            one = f"FROM scan_{name}('{self.market.one[0]}'{given})"
            many = f"FROM scan_{name}('{self.market.range[0]}', end_date := '{self.market.range[-1]}'{given})"
            expected = [row for row in self.rows(many) if row[0].isoformat() == self.market.one[0]]
            rows = self.rows(one)
            if not same(expected, rows):
                self.report.fail(f"{name}: the range has other rows for its last session: {difference(expected, rows)}")
                continue
            for label, sql, sessions in (("one session", one, 1), (f"{len(self.market.range)} sessions", many, len(self.market.range))):
                plain = self.plain_aggregates(sql)
                found = len(self.rows(sql))
                if not found:
                    self.report.fail(f"{name}, {label}: nothing found, which proves little")
                    continue
                seconds = measure(
                    {"scan": lambda: self.rows(sql), "plain": lambda: [self.rows(part) for part in plain]}, max(3, self.repetitions // 2)
                )
                value = ratio(seconds["scan"], seconds["plain"])
                detail = f"{found} rows, {median_ms(seconds['scan'])} to {median_ms(seconds['plain'])}"
                self.report.figure(f"{name}, {label}", value, "x", "at most 2x", value <= 2, detail)

    def plain_aggregates(self, sql: str) -> list[str]:
        """For each scan of the statement's plan: what any use of its rows costs, by symbol and session."""
        aggregates = {
            "open": "arg_min(open, ts)", "high": "max(high)", "low": "min(low)", "close": "arg_max(close, ts)", "volume": "sum(volume)",
        }
        parts = []
        for node in self.profile(sql):
            if not node["rows_scanned"]:
                continue
            text = json.dumps(node["extra_info"])
            limits = re.findall(r"ts (>=|<=|<|>) '([0-9: .-]+)'", text)
            columns = [aggregates[column] for column in node["extra_info"]["Projections"] if column in aggregates]
            where = " AND ".join(f"ts {comparison} TIMESTAMP '{ts}'" for comparison, ts in limits) or "true"
            names = [f"x{index}" for index in range(len(columns))]
            inner = ", ".join(f"{column} AS {name}" for column, name in zip(columns, names)) or "1 AS x0"
            outer = ", ".join(f"sum({name})" for name in names) or "count(*)"
            parts.append(f"SELECT {outer} FROM (SELECT symbol, CAST(ts AS DATE), {inner} FROM bars WHERE {where} GROUP BY ALL)")
        return parts

    def indicators(self):
        """Indicators on lists, and end to end from a long table"""
        import numpy
        import polars
        import polars_talib

        symbols, length = 500, 20_000
        folder = Path(tempfile.mkdtemp(dir=self.market.cache))
        try:
            closes = numpy.exp(numpy.cumsum(numpy.random.default_rng(1).normal(0, 1e-3, (symbols, length)), axis=1))
            closes.tofile(folder / "lists.bin")
            with self.market.connect(str(folder / "long.duckdb"), read_only=False) as connection:
                bars = polars.DataFrame({  # noqa: F841: DuckDB finds it by its name
                    "symbol": numpy.repeat([f"S{number:04}" for number in range(symbols)], length),
                    "minute": numpy.tile(numpy.arange(length), symbols),
                    "close": closes.ravel(),
                })
                connection.execute(
                    """
                    CREATE TABLE bars AS
                    SELECT symbol, TIMESTAMP '2024-01-01' + to_minutes(minute) AS ts, close AS open, close AS high, close AS low, close,
                        100 AS volume
                    FROM bars ORDER BY symbol, minute
                    """
                )
                connection.execute(f"COPY bars TO {literal(str(folder / 'bars.parquet'))}")
                self.on_lists(connection, folder, length)
                self.end_to_end(connection, folder, polars, polars_talib)
        finally:
            shutil.rmtree(folder)

    def on_lists(self, connection, folder: Path, length: int):
        if not (BARE_LOOP and Path(BARE_LOOP).exists()):
            self.report.fail(f"not run: no bare loop at STOCKSCAN_BARE_LOOP={BARE_LOOP or '(not set)'}")
            return
        connection.execute("CREATE TEMP TABLE lists AS SELECT symbol, series(close, ts) AS close FROM bars GROUP BY symbol ORDER BY symbol")
        queries = {
            "rsi": "SELECT sum(ti_rsi(close)[-1]) FROM lists",
            "macd": "SELECT sum(ti_macd(close).macd[-1]) FROM lists",
            "rsi_last": "SELECT sum(ti_rsi_last(close)) FROM lists",
            "macd_last": "SELECT sum(ti_macd_last(close).macd) FROM lists",
        }
        seconds, again, kept = {name: [] for name in queries}, {"rsi": [], "macd": []}, {"rsi": [], "macd": []}
        for repetition in range(-1, self.repetitions):
            done = subprocess.run([BARE_LOOP, folder / "lists.bin", str(length)], capture_output=True, text=True, check=True)
            bare = {name: [float(number) for number in numbers] for name, *numbers in map(str.split, done.stdout.splitlines())}
            for name, sql in queries.items():
                start = time.perf_counter()
                answer = connection.execute(sql).fetchone()[0]
                if repetition >= 0:
                    seconds[name].append(time.perf_counter() - start)
                if not same(answer, bare[name.removesuffix("_last")][2]):
                    self.report.fail(f"ti_{name}: {answer}, the bare loop has {bare[name.removesuffix('_last')][2]}")
                    return
            if repetition >= 0:
                for name, numbers in bare.items():
                    again[name].append(numbers[0])
                    kept[name].append(numbers[1])
        for name in ("rsi", "macd"):
            value = ratio(seconds[name], kept[name])
            detail = f"{median_ms(seconds[name])} to {median_ms(kept[name])}, every result kept"
            self.report.figure(f"ti_{name} on lists to the bare loop", value, "x", "at most 1.5x", value <= 1.5, detail)
            value = ratio(seconds[name], again[name])
            self.report.line(f"ti_{name} to a bare loop that keeps nothing", f"{value:.2f}x", median_ms(again[name]))
            value = ratio(seconds[f"{name}_last"], again[name])
            detail = f"{median_ms(seconds[f'{name}_last'])} to {median_ms(again[name])}"
            self.report.figure(f"ti_{name}_last to a bare loop that keeps nothing", value, "x", "at most 1.5x", value <= 1.5, detail)

    def end_to_end(self, connection, folder: Path, polars, polars_talib):
        parquet = str(folder / "bars.parquet")
        rsi = polars_talib.rsi(polars.col("close"), 14)

        frame = polars.read_parquet(parquet, columns=["symbol", "ts", "close"])

        def of_polars(expression, source=None):
            value = (polars.scan_parquet(parquet) if source is None else source.lazy()).select(expression.fill_nan(None).alias("rsi")).select(
                polars.col("rsi").sum().alias("sum"), polars.col("rsi").count().alias("count")
            ).collect()
            return value.row(0)

        select = "SELECT sum(rsi), count(rsi) FROM"
        answers = {
            "table": lambda: connection.execute(f"{select} bar_indicators({{rsi: ti_rsi(close)}})").fetchone(),
            "parquet": lambda: connection.execute(f"{select} bar_indicators({{rsi: ti_rsi(close)}}, source := '{parquet}')").fetchone(),
            "polars": lambda: of_polars(rsi.over("symbol")),
            "polars by time": lambda: of_polars(rsi.over("symbol", order_by="ts")),
            "frame": lambda: of_polars(rsi.over("symbol"), frame),
            "frame by time": lambda: of_polars(rsi.over("symbol", order_by="ts"), frame),
        }
        expected = answers["table"]()
        for name, answer in answers.items():
            if not same(expected, answer()):
                self.report.fail(f"rsi over the long table, {name}: {answer()}, bar_indicators has {expected}")
                return
        self.report.line("same values from everyone", "ok", f"{expected[1]:,} values")
        window = "avg(close) OVER (PARTITION BY symbol ORDER BY ts ROWS BETWEEN 13 PRECEDING AND CURRENT ROW)"
        connection.execute("CREATE TEMP TABLE shuffled AS FROM bars ORDER BY hash(symbol, ts)")
        lists = "SELECT sum(len(closes)) FROM (SELECT {} AS closes FROM {} GROUP BY symbol)"
        seconds = measure(
            answers
            | {"window": lambda: connection.execute(f"SELECT sum(average) FROM (SELECT {window} AS average FROM bars)").fetchone()}
            | {
                f"{name} {source}": lambda sql=lists.format(call, source): connection.execute(sql).fetchone()
                for name, call in (("series", "series(close, ts)"), ("list", "list(close ORDER BY ts)"))
                for source in ("bars", "shuffled")
            },
            max(3, self.repetitions // 2),
        )
        for mine, other, label in (
            ("table", "window", "DuckDB's running average over the same rows"),
            ("table", "frame by time", "Polars with polars_talib, each from its own table, any order of rows"),
            ("table", "frame", "the same, where Polars trusts the order of its frame"),
            ("parquet", "polars by time", "Polars with polars_talib, both from Parquet, any order of rows"),
            ("parquet", "polars", "the same, where Polars trusts the file's order"),
            ("series bars", "list bars", "list(close ORDER BY ts), stored in order"),
            ("series shuffled", "list shuffled", "list(close ORDER BY ts), shuffled"),
        ):
            value = ratio(seconds[mine], seconds[other])
            detail = f"{median_ms(seconds[mine])} to {median_ms(seconds[other])}"
            what = "series(close, ts)" if mine.startswith("series") else "bar_indicators of ti_rsi"
            self.report.figure(f"{what} to {label}", value, "x", "below 1x", value < 1, detail)

    def scanner_command(self) -> str | None:
        if SCANNER and Path(SCANNER).exists():
            return SCANNER
        self.report.fail(f"not run: no scanner command at STOCKSCAN_SCANNER={SCANNER or '(not set)'}")
        return None

    def run_command(self, *arguments) -> str:
        done = subprocess.run([SCANNER, *map(str, arguments)], capture_output=True, text=True)
        if done.returncode != 0:
            raise RuntimeError(f"scanner {' '.join(map(str, arguments))} ended with {done.returncode}: {done.stderr.strip()[-500:]}")
        return done.stdout

    def command(self):
        """The command: a scan and its start-up"""
        if not self.scanner_command():
            return
        settings = settings_of(self.market.one, DEFAULTS)
        # A copy, for the command may open it for writing, which this process's own connection would stop.
        database = self.market.folder / "command.duckdb"
        shutil.copyfile(self.market.database, database)
        run = ["run", "--database", database, "--scanner-type", "breakout", "--date", settings["scan_date"]]
        expected = self.rows(scan(settings))
        lines = list(csv.reader(io.StringIO(self.run_command(*run, "--format", "csv"))))[1:]
        try:
            right = all(
                same(value, reader_of(value)(field))
                for row, line in zip(expected, lines, strict=True)
                for value, field in zip(row, line, strict=True)
            )
        except ValueError:
            right = False
        detail = f"{len(expected)} rows" if right else f"{expected} and {lines}"
        self.report.check("scanner run --format csv gives the query's rows", right, detail)
        def fresh_client():
            config = {"allow_unsigned_extensions": "true"}
            with duckdb.connect(str(database), read_only=True, config=config) as connection:
                connection.execute(f"LOAD {literal(str(EXTENSION))}")
                return connection.execute(scan(settings)).fetchall()

        seconds = measure({
            "query": lambda: self.rows(scan(settings)),
            "fresh": fresh_client,
            "command": lambda: self.run_command(*run),
            "start": lambda: self.run_command("sql", "SELECT 1", "--database", database),
        }, self.repetitions)
        self.report.line("the bare query in this process", median_ms(seconds["query"]))
        self.report.line("the same in a fresh client: open, LOAD, query", median_ms(seconds["fresh"]))
        self.report.line("scanner run, from start to end", median_ms(seconds["command"]))
        value = ratio(seconds["command"], seconds["query"])
        self.report.line("scanner run to the bare query, caches warm", f"{value:.2f}x")
        value = ratio(seconds["command"], seconds["fresh"])
        self.report.figure("scanner run to the same in a fresh client", value, "x", "below 2x", value < 2)
        start = 1000 * statistics.median(seconds["start"])
        self.report.figure("start-up: scanner sql 'SELECT 1'", start, " ms", "below 100 ms", start < 100)
        database.unlink()

    def ingest(self):
        """Ingest: against DuckDB's own INSERT … SELECT of the same file"""
        if not self.scanner_command():
            return
        folder = Path(tempfile.mkdtemp(dir=self.market.folder))
        try:
            # Files of a size that makes the command's start weigh little, and CSV not take minutes.
            some = self.market.sessions[-min(20, len(self.market.sessions))]
            firsts = {"parquet": self.market.sessions[0], "csv": some}
            # As the bars are stored, and as files of a vendor often are: stock by stock.
            for name, order in (("", ""), ("by symbol", "ORDER BY symbol, ts")):
                for kind in ("parquet", "csv"):
                    file = folder / f"bars{len(name)}.{kind}"
                    self.connection.execute(f"COPY (FROM bars WHERE ts >= DATE '{firsts[kind]}' {order}) TO {literal(str(file))}")
                    self.ingest_one(file, folder, f"{kind} {name}".strip())
        finally:
            shutil.rmtree(folder)

    def ingest_one(self, file: Path, folder: Path, kind: str):
        own, scanners = folder / f"duckdb_{kind}.duckdb", folder / f"scanner_{kind}.duckdb"

        def insert_select(order=""):
            own.unlink(missing_ok=True)
            with duckdb.connect(str(own)) as connection:
                types = "symbol VARCHAR, ts TIMESTAMP, open DOUBLE, high DOUBLE, low DOUBLE, close DOUBLE, volume BIGINT"
                connection.execute(f"CREATE TABLE bars ({types})")
                connection.execute(f"INSERT INTO bars SELECT {', '.join(BAR_COLUMNS)} FROM {literal(str(file))} {order}")

        def insert_sorted():
            insert_select("ORDER BY CAST(ts AS DATE), symbol, ts")

        def ingest():
            scanners.unlink(missing_ok=True)
            self.run_command("ingest", file, "--database", scanners)

        def again():
            self.run_command("ingest", file, "--database", scanners)

        seconds = measure({"insert": insert_select, "sorted": insert_sorted, "ingest": ingest}, max(3, self.repetitions // 2))
        expected, given = self.fingerprint(own), self.fingerprint(scanners)
        detail = f"{given[0]:,} rows" if expected == given else f"rows and sum of hashes: {expected} and {given}"
        self.report.check(f"{kind}: the same bars", expected == given, detail)
        second = measure({"again": again}, max(3, self.repetitions // 2))["again"]
        self.report.check(f"{kind}: a second ingest adds nothing", self.fingerprint(scanners) == given)
        self.report.line(f"{kind}: INSERT … SELECT", median_ms(seconds["insert"]))
        self.report.line(f"{kind}: scanner ingest", median_ms(seconds["ingest"]))
        self.report.line(f"{kind}: scanner ingest to INSERT … SELECT … ORDER BY", f"{ratio(seconds['ingest'], seconds['sorted']):.2f}x", "the same order of storage")
        value = ratio(seconds["ingest"], seconds["insert"])
        # Rows in another order have to be sorted, which a plain INSERT does not.
        if kind in ("parquet", "csv"):
            self.report.figure(f"{kind}: scanner ingest to INSERT … SELECT", value, "x", "at most 1.50x", value <= 1.5)
        else:
            self.report.line(f"{kind}: scanner ingest to INSERT … SELECT", f"{value:.2f}x", "which stores the bars unsorted")
        value = statistics.median(second) / statistics.median(seconds["ingest"])
        self.report.figure(f"{kind}: the second ingest to the first", value, "x", "below 1x", value < 1)

    def fingerprint(self, database: Path) -> tuple:
        with duckdb.connect(str(database), read_only=True) as connection:
            return connection.execute(f"SELECT count(*), sum(hash({', '.join(BAR_COLUMNS)})) FROM bars").fetchone()

    def backtest(self):
        """A year of minute bars: scan, backtest, a thousand combinations; against Polars, pandas and vectorbt"""
        import backtests

        # The year has sessions of its own to look back on.
        market = self.market
        if not self.arguments.data and self.arguments.sessions < YEAR:
            market = Market(argparse.Namespace(**vars(self.arguments) | {"sessions": YEAR}), self.market.cache, self.market.extension)
        rows, sessions = (lambda sql: market.connection.execute(sql).fetchall()), market.sessions[5:]
        settings = settings_of(sessions, DEFAULTS)
        dates = f"'{sessions[0]}', '{sessions[-1]}'"
        exits = f"stop_loss_pct := {backtests.STOP}, target_pct := {backtests.TARGET}, cost_bps := {backtests.COST_BPS}, max_positions := 10000"
        backtest = f"backtest('breakout', {dates}, {exits})"
        self.report.line("bars", f"{market.rows:,}", f"{len(sessions)} sessions, {rows(f'SELECT count(*) FROM {backtest}')[0][0]} trades")

        trades = f"SELECT scan_date, symbol, exit_ts, exit_reason, net_return_pct FROM {backtest} ORDER BY scan_date, symbol"
        from_parquet = trades.replace(exits, f"{exits}, source := {literal(market.parquet)}")
        expected = rows(trades)
        others = {"Polars": lambda: backtests.polars(market.parquet, settings), "pandas": lambda: backtests.pandas(market.parquet, settings)}
        for name, answer in others.items():
            given = answer()
            self.report.check(f"{name}: the same trades", same(expected, given), "" if same(expected, given) else difference(expected, given))

        grid = (
            "{breakout_volume_ratio: list_transform(range(10), lambda x: 1 + x * 0.2), resistance_break_pct: list_transform(range(10), "
            "lambda x: x * 0.1), min_price: list_transform(range(10), lambda x: 20 * x)}"
        )
        statements = {
            "scan": f"FROM scan_breakout('{sessions[0]}', end_date := '{sessions[-1]}')",
            "backtest": f"FROM {backtest}",
            "backtest_summary": f"FROM backtest_summary('breakout', {dates}, {exits})",
            "grid_trades, 1,000 combinations": f"SELECT count(*) FROM grid_trades('breakout', {dates}, {grid})",
            "optimize, 1,000 combinations": f"SELECT count(*), max(sharpe) FROM optimize('breakout', {dates}, {grid}, folds := 1)",
            "optimize, with a walk-forward of 4": f"SELECT count(*), max(sharpe) FROM optimize('breakout', {dates}, {grid})",
        }
        seconds = measure({name: lambda sql=sql: rows(sql) for name, sql in statements.items()}, max(2, self.repetitions // 3))
        for name in statements:
            self.report.line(name, median_ms(seconds[name]))
        for name, to, most in [
            ("backtest", "scan", 1.5),
            ("grid_trades, 1,000 combinations", "backtest", 2),
            ("optimize, 1,000 combinations", "backtest_summary", 2),
        ]:
            value = ratio(seconds[name], seconds[to])
            self.report.figure(f"{name} to {to}", value, "x", f"at most {most}x", value <= most)
        value = ratio(seconds["optimize, with a walk-forward of 4"], seconds["backtest_summary"])
        self.report.line("optimize, with a walk-forward of 4, to backtest_summary", f"{value:.2f}x", "seven backtests of each combination")

        seconds = measure({"backtest": lambda: rows(from_parquet)} | others, 2)
        self.report.line("backtest over Parquet", median_ms(seconds["backtest"]))
        for name in others:
            value = ratio(seconds[name], seconds["backtest"])
            self.report.figure(f"{name} to backtest over Parquet", value, "x", "at least 5x", value >= 5, median_ms(seconds[name]))

        for limit in ("4GB", "1GB"):
            self.peak_memory(f"optimize, 1,000 combinations, memory_limit {limit}", statements["optimize, 1,000 combinations"], market, limit, 4)
        self.against_vectorbt(market, sessions, rows)

    def against_vectorbt(self, market: Market, sessions: list[str], rows):
        """Entries at an open and exits at a close of the year's breakouts: what vectorbt can do without the rules of a bar."""
        import backtests
        import pandas

        if not importlib.util.find_spec("vectorbt"):
            self.report.line("vectorbt", "not there", "pip install vectorbt==1.2.0 to measure it, too")
            return
        connection = market.connection
        hits = pandas.DataFrame(rows(f"SELECT scan_date, symbol FROM scan_breakout('{sessions[0]}', end_date := '{sessions[-1]}')"), columns=["scan_date", "symbol"])
        connection.register("hits", hits)
        statement = f"SELECT symbol, entry_ts, exit_ts, net_return_pct FROM outcomes('hits', cost_bps := {backtests.COST_BPS}, start_date := '{sessions[0]}')"
        trades = connection.execute(statement).df()
        prices = backtests.wide(market.parquet, sessions)
        ours = {(row.entry_ts, row.symbol): row.net_return_pct for row in trades.itertuples()}
        theirs = backtests.vectorbt(prices, trades)
        agree = ours.keys() == theirs.keys() and all(math.isclose(ours[key], theirs[key], rel_tol=1e-6, abs_tol=1e-9) for key in ours)
        self.report.check("vectorbt: the same returns", agree, f"{len(ours)} and {len(theirs)} trades")
        seconds = measure({"outcomes": lambda: rows(statement), "vectorbt": lambda: backtests.vectorbt(prices, trades)}, max(2, self.repetitions // 3))
        value = ratio(seconds["vectorbt"], seconds["outcomes"])
        self.report.line("outcomes", median_ms(seconds["outcomes"]), "from the table on disk")
        self.report.figure("vectorbt to outcomes", value, "x", "above 1x", value > 1, f"{median_ms(seconds['vectorbt'])}, wide arrays in memory given")

    def server(self):
        """The server: many clients, cached answers, overhead over the engine, memory of large answers"""
        if not self.scanner_command():
            return
        with self.serving() as parts:
            for part in parts.PARTS:
                part(parts)

    def dashboard(self):
        """The dashboard in a browser: first load, frames while one scrolls and pans, ticks, memory"""
        if not self.scanner_command():
            return
        web = Path(__file__).resolve().parent.parent / "web"
        with self.serving() as parts, parts.serve() as server:
            done = subprocess.run(["node", "bench.mjs", server.root], cwd=web, capture_output=True, text=True)
        if done.returncode != 0:
            raise RuntimeError(f"web/bench.mjs ended with {done.returncode}: {done.stderr.strip()[-500:]}")
        found = json.loads(done.stdout)
        load = found["first_load_kb"]
        self.report.figure("first load, compressed", load, " kB", "150 kB", load <= 150, f"hits and chart after {found['first_load_ms']} ms")
        for name, what in (("table", f"a table of {found['table_rows']:,} rows scrolls"), ("chart", "a chart of 50,000 bars is panned")):
            dropped = found[f"{name}_frames_dropped"]
            self.report.figure(f"{what}: frames dropped of 240", dropped, "", "0", dropped == 0, f"p95 {found[f'{name}_frame_p95_ms']:.1f} ms")
        tick = found["tick_p95_ms"]
        self.report.figure("a tick with 500 changed rows, p95", tick, " ms", "50 ms", tick < 50, f"median {found['tick_p50_ms']:.1f} ms of the page's thread")
        growth = found["heap_after_1000_ticks_mb"] / found["heap_after_100_ticks_mb"]
        detail = f"{found['heap_after_1000_ticks_mb']:.1f} MB"
        self.report.figure("memory after 1,000 ticks to that after 100", growth, "x", "1.25x", growth <= 1.25, detail)

    @contextlib.contextmanager
    def serving(self):
        """What asks a server on a copy of the database, for this process has the other one open."""
        # Here, since what it imports is needed for nothing else.
        import serving

        database = self.market.folder / "server.duckdb"
        shutil.copyfile(self.market.database, database)
        parts = serving.Serving(self.report, database, lambda path: self.market.connect(path, read_only=True), 60, 200)
        try:
            yield parts
        finally:
            parts.end()
            database.unlink()

    SECTIONS = [
        one_session, range_of_sessions, polars, session_against_range, scanners, indicators, plan, memory, command, ingest, backtest, server,
        dashboard,
    ]


def reader_of(value):
    """How a CSV field of this value is read back."""
    return date.fromisoformat if isinstance(value, date) else type(value)


def main() -> int:
    names = [section.__name__ for section in Bench.SECTIONS]
    parser = argparse.ArgumentParser(prog="run.py", description="Benchmarks that check their answers and print ratios.")
    parser.add_argument("--data", metavar="FILE.parquet", help="real bars instead of the demo market")
    parser.add_argument("--symbols", type=int, default=500, help="symbols of the demo market (default 500)")
    parser.add_argument("--sessions", type=int, default=60, help="sessions of the demo market (default 60)")
    parser.add_argument("--only", metavar="NAME", choices=names, action="append", help=f"one section: {', '.join(names)}; may be repeated")
    parser.add_argument("--repetitions", type=int, default=9, help="timed rounds (default 9)")
    arguments = parser.parse_args()
    if not Path(EXTENSION).exists():
        sys.exit(f"run.py: no extension at {EXTENSION}; build it with 'cargo xtask extension', or set STOCKSCAN_EXTENSION")

    cache = Path(tempfile.gettempdir()) / "stockscan-bench"
    # DuckDB takes the entry point's name from the file's; and a rebuild during the run must not change what is measured.
    loaded = Path(tempfile.mkdtemp(prefix="stockscan-bench-")) / "stockscan.duckdb_extension"
    shutil.copyfile(EXTENSION, loaded)
    try:
        market, report = Market(arguments, cache, loaded), Report()
        print(f"{market.rows:,} bars, {len(market.sessions)} sessions from {market.sessions[0]} to {market.sessions[-1]}; "
              f"range of {len(market.range)} sessions; {os.cpu_count()} processors")
        bench = Bench(market, report, arguments)
        for section in Bench.SECTIONS:
            if arguments.only and section.__name__ not in arguments.only:
                continue
            report.section(section.__name__, section.__doc__)
            try:
                section(bench)
            except (duckdb.Error, RuntimeError, ImportError) as error:
                report.fail(str(error))
    finally:
        shutil.rmtree(loaded.parent)

    print(f"\n{len(report.failures)} failed, {len(report.missed)} targets missed")
    for failure in report.failures:
        print(f"  failed: {failure}")
    for missed in report.missed:
        print(f"  missed: {missed}")
    return 1 if report.failures else 0


if __name__ == "__main__":
    sys.exit(main())
