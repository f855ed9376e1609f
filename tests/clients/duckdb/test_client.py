"""DuckDB as people use it from Python and from its shell: files, transactions, DataFrames, threads."""

import datetime as dt
import json
import shutil
import subprocess
import sys
import sysconfig
from concurrent.futures import ThreadPoolExecutor

import duckdb
import pandas
import polars
import pyarrow.parquet
import pytest

from conftest import EXTENSION, IS_1_5, P, connect

SCAN = f"FROM {P}scan_breakout('2024-10-01', end_date := '2025-01-15')"


@pytest.fixture(scope="module")
def expected(demo):
    rows = demo.execute(SCAN).fetchall()
    assert len(rows) >= 3
    return rows


@pytest.fixture
def market_copy(demo_file, tmp_path):
    """A file of the test's own to write to."""
    return shutil.copy(demo_file, tmp_path / "copy.db")


def test_a_file_is_scanned_closed_and_opened_again(market_copy, expected):
    for _ in range(3):
        with connect(market_copy) as connection:
            assert connection.execute(SCAN).fetchall() == expected


def test_a_second_process_scans_the_file_after_the_first(market_copy, expected):
    with connect(market_copy) as connection:
        connection.execute("CREATE VIEW hits AS " + SCAN)
    script = """
import duckdb, sys
connection = duckdb.connect(sys.argv[1], config={"allow_unsigned_extensions": "true"})
connection.execute(f"LOAD '{sys.argv[2]}'")
print(connection.execute("FROM hits").fetchall())
"""
    done = subprocess.run([sys.executable, "-c", script, market_copy, EXTENSION], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == str(expected), done.stderr


def test_two_processes_scan_a_read_only_file_at_the_same_time(demo_file, demo, expected):
    assert demo.execute(SCAN).fetchall() == expected
    script = f"""
import duckdb
connection = duckdb.connect({str(demo_file)!r}, read_only=True, config={{"allow_unsigned_extensions": "true"}})
connection.execute("LOAD '{EXTENSION}'")
print(connection.execute({SCAN!r}).fetchall())
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == str(expected), done.stderr


def test_loading_and_scanning_write_nothing_to_the_file(market_copy):
    entries = "SELECT count(*) FROM duckdb_functions() WHERE database_name NOT IN ('system', 'temp', 'stockscan')"
    with connect(market_copy) as connection:
        connection.execute(SCAN).fetchall()
        assert connection.execute(entries).fetchone() == (0,)
    with duckdb.connect(market_copy) as without_extension:
        assert without_extension.execute("SELECT count(*) > 0 FROM bars").fetchone() == (True,)
        assert without_extension.execute(entries).fetchone() == (0,)
        with pytest.raises((duckdb.BinderException, duckdb.CatalogException), match="scan_breakout|stockscan"):
            without_extension.execute(SCAN)


def test_it_can_be_loaded_twice(demo_file, expected):
    with connect(demo_file, read_only=True) as connection:
        connection.execute(f"LOAD '{EXTENSION}'")
        assert connection.execute(SCAN).fetchall() == expected


def test_built_in_functions_cannot_be_dropped(database):
    with pytest.raises(duckdb.Error):
        database.execute("DROP MACRO TABLE scan_breakout")
    assert database.execute(f"SELECT count(*) FROM {P}scanners() WHERE scanner = 'breakout'").fetchone() == (1,)


def test_a_view_over_a_scanner_outlives_the_connection(market_copy, expected):
    with connect(market_copy) as connection:
        connection.execute("CREATE VIEW hits AS " + SCAN)
        connection.execute(f"CREATE MACRO scan_mine(scan_date) AS TABLE FROM {P}scan_breakout(scan_date, min_price := 100)")
    with connect(market_copy) as connection:
        assert connection.execute("FROM hits").fetchall() == expected
        assert connection.execute(f"SELECT scanner FROM {P}scanners() WHERE NOT is_built_in").fetchall() == [("mine",)]
        day, price = expected[0][0], expected[0][2]
        assert (expected[0] in connection.execute("FROM scan_mine($1)", [day]).fetchall()) == (price >= 100)


def test_uncommitted_bars_are_seen_by_their_transaction_only(market_copy, expected):
    symbol = expected[0][1]
    with connect(market_copy) as connection, connection.cursor() as other:
        connection.execute("BEGIN")
        connection.execute(f"INSERT INTO bars SELECT * REPLACE ('AAA_UNCOMMITTED' AS symbol) FROM bars WHERE symbol = '{symbol}'")
        inside = connection.execute(SCAN.replace(")", ", max_results_per_day := 100)")).fetchall()
        assert "AAA_UNCOMMITTED" in {row[1] for row in inside}
        assert other.execute(SCAN).fetchall() == expected
        connection.execute("ROLLBACK")
        assert connection.execute(SCAN).fetchall() == expected


def test_a_dataframe_is_a_source_by_its_name(demo, expected):
    arrow_frame = demo.cursor().sql("FROM bars").to_arrow_table()
    polars_frame = polars.from_arrow(arrow_frame)
    pandas_frame = arrow_frame.to_pandas()
    assert isinstance(pandas_frame, pandas.DataFrame)
    nanoseconds = pandas_frame.astype({"ts": "datetime64[ns]"})
    for name in ("polars_frame", "pandas_frame", "nanoseconds", "arrow_frame"):
        assert demo.execute(SCAN.replace(")", f", source := '{name}')")).fetchall() == expected, name
    assert demo.execute(f"SELECT count(*) FROM {P}sessions(source := 'nanoseconds')").fetchall() == [(80,)]
    del polars_frame, pandas_frame, nanoseconds


def test_results_arrive_as_dataframes(demo, expected):
    frame = demo.cursor().sql(SCAN).to_arrow_table().to_pandas()
    assert list(frame["symbol"]) == [row[1] for row in expected]
    assert str(frame["volume"].dtype) == "int64" and str(frame["probability_score"].dtype) == "float64"


def test_parquet_files_and_lists_are_sources(demo, expected, tmp_path):
    demo.execute(f"COPY (FROM bars WHERE ts < '2024-12-01') TO '{tmp_path}/1.parquet'")
    demo.execute(f"COPY (FROM bars WHERE ts >= '2024-12-01') TO '{tmp_path}/2.parquet'")
    demo.execute(f"COPY bars TO '{tmp_path}/all of them.parquet'")
    demo.execute("CREATE OR REPLACE TEMP VIEW early AS FROM bars WHERE ts < '2024-12-01'")
    demo.execute("CREATE OR REPLACE TEMP VIEW late AS FROM bars WHERE ts >= '2024-12-01'")
    assert pyarrow.parquet.read_metadata(f"{tmp_path}/1.parquet").num_rows > 0
    sources = [f"{tmp_path}/all of them.parquet", f"{tmp_path}/[12].parquet", ["early", "late"], [f"{tmp_path}/1.parquet", "late"]]
    for source in sources:
        call = SCAN.replace(")", f", source := {source!r})")
        assert demo.execute(call).fetchall() == expected, source
        bound = SCAN.replace(")", ", source := $1)")
        assert demo.execute(bound, [source]).fetchall() == expected, source


def test_an_attached_database_is_a_source_by_its_qualified_name(database, demo_file, expected):
    database.execute(f"ATTACH '{demo_file}' AS market (READ_ONLY)")
    for source in ("market.bars", "market.main.bars", '"market"."bars"'):
        assert database.execute(SCAN.replace(")", f", source := '{source}')")).fetchall() == expected, source
    with pytest.raises(duckdb.CatalogException):
        database.execute(SCAN)
    database.execute("USE market")
    assert database.execute(SCAN).fetchall() == expected


def test_the_search_path_decides_which_bars_are_meant(market_copy, expected):
    with connect(market_copy) as connection:
        connection.execute("CREATE SCHEMA replay")
        connection.execute("CREATE TABLE replay.bars AS FROM bars WHERE symbol = 'DEMO0001'")
        connection.execute("SET search_path = 'replay,main'")
        assert {row[1] for row in connection.execute(SCAN).fetchall()} <= {"DEMO0001"}
        connection.execute("SET search_path = 'main'")
        assert connection.execute(SCAN).fetchall() == expected


def test_many_threads_scan_at_once(demo, expected):
    days = sorted({row[0] for row in expected})

    def scan(task: int):
        day = days[task % len(days)]
        with demo.cursor() as cursor:
            if task % 4 == 0:
                with pytest.raises(duckdb.Error, match="scan_breakout: consolidation_period"):
                    cursor.execute(f"FROM {P}scan_breakout($1, consolidation_period := 0)", [day])
            return cursor.execute(f"FROM {P}scan_breakout($1)", [day]).fetchall() == [row for row in expected if row[0] == day]

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(scan, range(40)))


def test_lateral_calls_follow_their_row(demo, expected):
    # A few stocks: every row of a LATERAL reads all bars again.
    day, symbols = expected[0][0], [row[1] for row in expected][:2]
    demo.execute("CREATE OR REPLACE TEMP TABLE few AS FROM bars WHERE symbol IN $1 AND ts >= $2::DATE - 30 AND ts::TIME < '10:00'", [symbols, day])
    scan = f"FROM {P}scan_breakout($1, source := 'few', resistance_break_pct := 0, breakout_volume_ratio := 0)"
    days = [day, day - dt.timedelta(days=1), day + dt.timedelta(days=1)]
    one_by_one = [row for each in sorted(days) for row in demo.execute(scan, [each]).fetchall()]
    assert one_by_one
    joined = demo.execute(
        f"""
        SELECT hit.* FROM (SELECT unnest($1::DATE[]) AS day) AS asked, LATERAL ({scan.replace("$1", "asked.day")}) AS hit
        ORDER BY hit.scan_date, hit.rank
        """,
        [days],
    ).fetchall()
    assert joined == one_by_one
    counts = demo.execute(
        f"""
        SELECT (SELECT count(*) FROM {P}scan_breakout('{day}', source := 'few', resistance_break_pct := grid.least))
        FROM (VALUES (0.5), (50)) AS grid (least)
        ORDER BY grid.least
        """
    ).fetchall()
    alone = demo.execute(f"FROM {P}scan_breakout('{day}', source := 'few', resistance_break_pct := 0.5)").fetchall()
    assert alone
    assert counts == [(len(alone),), (0,)]


def test_a_scan_is_a_part_of_a_larger_query(demo, expected):
    rows = demo.execute(
        f"""
        WITH hits AS ({SCAN}), best AS (SELECT * FROM hits WHERE rank = 1)
        SELECT best.symbol, max(bar.close) >= best.price AS traded_there
        FROM best JOIN bars AS bar ON bar.symbol = best.symbol AND bar.ts::DATE = best.scan_date
        GROUP BY best.symbol, best.scan_date, best.price
        """
    ).fetchall()
    assert rows and all(traded_there for _, traded_there in rows)


@pytest.mark.parametrize(
    "broken",
    [
        f"FROM {P}scan_breakout('2025-01-15', cutoff_time := '25:00')",
        f"FROM {P}scan_breakout('2025-01-15', consolidation_period := 251)",
        f"FROM {P}scan_breakout('2025-01-15', source := 'nowhere')",
        f"FROM {P}scan_breakout('2025-01-15', bogus := 1)",
        f"SELECT {P}integer_in_range(range, 0, 4000, 'f', 'p') FROM range(5000)",
        f"SELECT {P}to_exchange_time(make_timestamptz(range * 1000000000000000), 'Asia/Kolkata') FROM range(1000)",
        f"SELECT {P}to_exchange_time(make_timestamptz(0), 'Atlantis')",
    ],
)
def test_an_error_leaves_the_database_usable(demo, expected, broken):
    with pytest.raises(duckdb.Error) as error:
        demo.execute(broken).fetchall()
    assert not isinstance(error.value, duckdb.FatalException | duckdb.InternalException)
    assert demo.execute(SCAN).fetchall() == expected
    with demo.cursor() as cursor:
        assert cursor.execute(SCAN).fetchall() == expected


def test_python_dates_and_times_are_parameters(demo, expected):
    values = {"first": dt.datetime(2024, 10, 1), "last": dt.date(2025, 1, 15), "cutoff": dt.time(9, 50)}
    assert demo.execute(f"FROM {P}scan_breakout($first, $cutoff, end_date := $last)", values).fetchall() == expected
    timestamp = pandas.Timestamp("2024-10-01")
    assert demo.execute(f"FROM {P}scan_breakout($1, end_date := $2)", [timestamp, "2025-01-15"]).fetchall() == expected


def test_the_shell_loads_the_extension_and_scans(demo_file, expected, tmp_path):
    name, options = ("duckdb", []) if IS_1_5 else ("haybarn", ["-no-agent"])
    shell = shutil.which(name, path=sysconfig.get_path("scripts"))
    assert shell, f"no command '{name}' among the packages"
    load = f"LOAD '{EXTENSION}'"
    command = [shell, "-unsigned", "-readonly", "-no-init", *options, "-json", str(demo_file), "-c", load, "-c", SCAN]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout[done.stdout.index("[{") :])
    assert [(row["scan_date"], row["symbol"], row["rank"]) for row in rows] == [(str(row[0]), row[1], row[-1]) for row in expected]
    done = subprocess.run([*command[:-1], SCAN.replace(")", ", min_price := -1)")], capture_output=True, text=True, timeout=60, cwd=tmp_path)
    assert done.returncode != 0
    assert "scan_breakout: min_price must be at least 0, got -1" in done.stderr


def test_a_database_named_like_the_catalogue(demo_file, tmp_path):
    """On 1.5 the functions have a catalogue of this name: the user's database of that name is refused, untouched, and works on."""
    path = shutil.copy(demo_file, tmp_path / "stockscan.duckdb")
    if not IS_1_5:
        with connect(path) as connection:
            assert connection.execute(SCAN).fetchall()
        return
    with duckdb.connect(path, config={"allow_unsigned_extensions": "true"}) as connection:
        with pytest.raises(duckdb.Error, match="a database named 'stockscan' is open.*ATTACH"):
            connection.execute(f"LOAD '{EXTENSION}'")
        assert connection.execute("SELECT count(*) > 0 FROM bars").fetchone() == (True,)
        assert connection.execute("SELECT count(*) FROM duckdb_functions() WHERE database_name = 'stockscan'").fetchone() == (0,)
    # What the message says.
    with connect() as connection:
        connection.execute(f"ATTACH '{path}' AS market")
        connection.execute("USE market")
        assert connection.execute(SCAN).fetchall()
