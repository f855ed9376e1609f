"""What docs/duckdb-1.5.md says is different. (Its rows on series(), wrong parameters and {} are in tests/sql, where skipif and onlyif stand.)"""

import subprocess
import sys

import duckdb
import pytest

from conftest import EXTENSION, IS_1_5, P, connect

SCAN = "scan_breakout('2025-01-15', max_results_per_day := 2)"


def test_the_search_path_stands_for_the_name_in_front(demo_file):
    with connect(demo_file, read_only=True) as connection:
        expected = connection.execute(f"FROM {P}{SCAN}").fetchall()
        if IS_1_5:
            with pytest.raises(duckdb.CatalogException):
                connection.execute(f"FROM {SCAN}")
            connection.execute("SET search_path = 'market.main,stockscan.main'")
        assert connection.execute(f"FROM {SCAN}").fetchall() == expected


def test_what_is_dropped_is_back_when_the_database_is_opened_again(demo_file):
    if IS_1_5:
        with connect(demo_file, read_only=True) as connection:
            connection.execute("DROP MACRO TABLE stockscan.scan_breakout")
            connection.execute("DETACH stockscan")
            with pytest.raises(duckdb.Error):
                connection.execute(f"FROM {P}{SCAN}")
    with connect(demo_file, read_only=True) as connection:
        connection.execute(f"FROM {P}{SCAN}").fetchall()


def test_a_wrong_argument_is_refused_before_anything_is_read(database):
    # 1.5.6 is the version here; before, DuckDB asks when there is a row.
    database.execute("CREATE TABLE bars (symbol VARCHAR, ts TIMESTAMP, open DOUBLE, high DOUBLE, low DOUBLE, close DOUBLE, volume BIGINT)")
    with pytest.raises(duckdb.Error, match="scan_breakout: min_price must be at least 0, got -1"):
        database.execute(f"FROM {P}scan_breakout('2025-01-15', min_price := -1)")


def test_the_catalogue_has_the_documentation(database):
    scanners = database.execute(f"SELECT scanner, title, len(parameters) FROM {P}scanners() WHERE is_built_in ORDER BY ALL").fetchall()
    assert len(scanners) == 12 and all(title.startswith("A stock") for _, title, _ in scanners)
    (default, least) = database.execute(f"SELECT \"default\", min FROM {P}scanner_parameters() WHERE scanner = 'breakout' AND parameter = 'min_price'").fetchone()
    assert (default, least) == ("50", 0)
    (group, inputs, options) = database.execute(f"SELECT group_name, inputs, options FROM {P}indicators() WHERE indicator = 'rsi'").fetchone()
    assert (group, inputs, options) == ("Momentum Indicators", ["series"], ["time_period := 14"])
    if IS_1_5:
        (comment,) = database.execute("SELECT comment FROM duckdb_functions() WHERE database_name = 'stockscan' AND function_name = 'ti_rsi'").fetchone()
        assert "\n@category indicators" in comment and "\n@example FROM stockscan.bar_indicators(" in comment


def test_values_of_every_kind_are_read_as_they_are(database):
    """A guard reads its argument as text; the stand-in for DuckDB's own conversion must agree with it for each type."""
    for value in ["5", "5::TINYINT", "5::USMALLINT", "5::HUGEINT", "5.0", "5.00::DECIMAL(18, 2)", "5::DECIMAL(38, 0)", "5::FLOAT", "5::DOUBLE", "'5'", "5::UHUGEINT"]:
        assert database.execute(f"SELECT {P}integer_in_range({value}, 1, 9, 'f', 'p')").fetchone() == (5,), value
    for value, text in [
        ("1.25::DECIMAL(5, 2)", "1.25"),
        ("-1::DECIMAL(38, 3)", "-1.000"),
        ("DATE '2025-01-15'", "2025-01-15"),
        ("TIME '09:50'", "09:50:00"),
        ("TIMESTAMP '2025-01-15 09:50'", "2025-01-15 09:50:00"),
        ("true", "true"),
        ("INTERVAL 2 DAY", "2 days"),
        ("'long and more than twelve letters'", "long and more than twelve letters"),
        ("'a'::ENUM('b', 'a')", "a"),
        ("[1, 2]", "[1, 2]"),
        ("{'a': 1}", "{'a': 1}"),
    ]:
        with pytest.raises(duckdb.Error) as error:
            # Of a row, not a constant, so that vectors are read, too.
            database.execute(f"SELECT {P}one_of(v, 'x, y', 'f', 'p') FROM (SELECT {value} AS v FROM range(1)) AS t").fetchall()
        assert f"f: p must be one of x, y, got '{text}'" in str(error.value), value


def test_a_process_ends_with_the_database_still_open(demo_file):
    # A connection that the extension kept would keep the process from ending.
    script = f"import duckdb; c = duckdb.connect({str(demo_file)!r}, read_only=True, config={{'allow_unsigned_extensions': 'true'}}); c.execute({f'LOAD {str(EXTENSION)!r}'!r}); print(len(c.execute({f'FROM {P}{SCAN}'!r}).fetchall()) >= 0)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "True", done.stderr
