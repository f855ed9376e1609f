"""Clients of PostgreSQL, each the real one: psql, JDBC, ODBC, and SQLAlchemy's dialect, which is Superset's.

They look at the same market: what one does not find, or takes for another type, is a hole in the catalogue. psycopg has test_postgres.py.
"""

import datetime
import decimal
import re
import subprocess
import sys
from pathlib import Path

import pyodbc
import pytest
import sqlalchemy as sa
from conftest import ROOT, connect
from server import Server, environment
from test_postgres import ENDLESS, port_of

DRIVER = Path("/usr/share/java/postgresql.jar")

# Column, its type in DuckDB, a value; then what clients have of it.
KINDS = [
    ("a_flag", "BOOLEAN", "true"),
    ("a_number", "INTEGER", "7"),
    ("a_long", "BIGINT", "9999999999"),
    ("a_price", "DOUBLE", "101.25"),
    ("an_amount", "DECIMAL(12, 3)", "-0.050"),
    ("a_name", "VARCHAR", "'it''s é'"),
    ("a_day", "DATE", "'2025-01-15'"),
    ("a_time", "TIMESTAMP", "'2025-01-15 09:50:00'"),
    ("some_numbers", "INTEGER[]", "[1, NULL]"),
    ("a_record", "STRUCT(x INTEGER)", "{'x': 1}"),
]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clients")
    with connect(folder / "market.duckdb") as connection:
        connection.execute("CREATE TABLE bars AS FROM demo_bars(symbols := 20, sessions := 60)")
        connection.execute(f"CREATE TABLE kinds ({', '.join(f'{name} {kind}' for name, kind, _ in KINDS)})")
        connection.execute(f"INSERT INTO kinds VALUES ({', '.join(value for _, _, value in KINDS)})")
        connection.execute("ALTER TABLE kinds ALTER a_number SET NOT NULL")
        connection.execute("COMMENT ON COLUMN kinds.a_price IS 'in rupees'")
        connection.execute("CREATE VIEW closes AS SELECT symbol, ts, close FROM bars")
        connection.execute("CREATE SCHEMA other")
        connection.execute('CREATE TABLE other."Mixed Case" ("A b" INTEGER)')
    with Server(folder, "--postgres-port", "0") as server:
        yield server


@pytest.fixture(scope="module")
def scan(server):
    """What the scan finds, by DuckDB itself."""
    with connect(server.folder / "market.duckdb", read_only=True) as connection:
        found = connection.execute("SELECT symbol, price FROM scan_breakout('2025-01-15', '09:50', min_price := 1) ORDER BY symbol").fetchall()
    assert found
    return found


# --- psql


def psql(server: Server, *commands: str, script="", check=True) -> str:
    words = ["psql", "-h", "127.0.0.1", "-p", str(port_of(server)), "-U", "anybody", "-d", "market", "-X", "-A", "-t", "-F", "|", "-v", "ON_ERROR_STOP=1"]
    words += [word for command in commands for word in ("-c", command)]
    done = subprocess.run(words, input=script, capture_output=True, text=True, timeout=120, check=False)
    assert not check or done.returncode == 0, f"{commands}: {done.stderr}"
    return done.stdout if check else done.stderr


def test_psql_lists_and_describes(server):
    assert psql(server, r"\dt").splitlines() == ["main|bars|table|stockscan", "main|kinds|table|stockscan"]
    assert psql(server, r"\dv") == "main|closes|view|stockscan\n"
    assert psql(server, r"\dn").splitlines() == ["main|stockscan", "other|stockscan"]
    assert 'other|Mixed Case|table' in psql(server, r"\dt other.*")
    assert psql(server, r"\d kinds").splitlines() == [
        "a_flag|boolean|||",
        "a_number|integer||not null|",
        "a_long|bigint|||",
        "a_price|double precision|||",
        "an_amount|numeric(12,3)|||",
        "a_name|text|||",
        "a_day|date|||",
        "a_time|timestamp without time zone|||",
        "some_numbers|integer[]|||",
        "a_record|json|||",
    ]
    assert "in rupees" in psql(server, r"\d+ kinds")
    assert '"A b"' not in psql(server, r'\d other."Mixed Case"') and "A b|integer" in psql(server, r'\d other."Mixed Case"')
    assert "scan_breakout" in psql(server, r"\df scan_*")
    for command in [r"\d", r"\l", r"\du", r"\dT", r"\di", r"\ds", r"\dm", r"\dx", r"\dp", r"\db", r"\da", r"\dD", r"\dE", r"\d+ closes", r"\conninfo"]:
        psql(server, command)
    assert "Did not find any relation" in psql(server, r"\d nothing", check=False)


def test_psql_asks_and_copies(server, scan):
    answered = psql(server, "SELECT symbol, price FROM scan_breakout('2025-01-15', '09:50', min_price := 1) ORDER BY symbol")
    assert answered.splitlines() == [f"{symbol}|{price:g}" for symbol, price in scan]
    # By a cursor, as psql does with FETCH_COUNT.
    assert len(psql(server, r"\set FETCH_COUNT 1000", "SELECT * FROM bars LIMIT 2500").splitlines()) == 2500
    assert psql(server, r"\copy (SELECT symbol FROM bars ORDER BY symbol LIMIT 1) TO STDOUT CSV HEADER") == "symbol\nDEMO0001\n"
    assert psql(server, script="SELECT 1 AS a, 'x' AS b \\gdesc\n").splitlines() == ["a|integer", "b|text"]
    told = psql(server, "SELECT symbol,\n  1 + FROM bars", check=False)
    assert "LINE 2:" in told and "^" in told
    assert "read" in psql(server, "DROP TABLE bars", check=False)


# --- JDBC


def test_jdbc_browses_and_asks(server, scan):
    assert DRIVER.is_file(), f"{DRIVER} is missing; it is of Debian's package libpostgresql-jdbc-java"
    program = Path(__file__).parent / "Browse.java"
    url = f"jdbc:postgresql://127.0.0.1:{port_of(server)}/market"
    # Not in UTC: a driver that is elsewhere must not move the exchange's times.
    words = ["java", "-Duser.timezone=Asia/Kolkata", "-Dfile.encoding=UTF-8", "-cp", str(DRIVER), str(program), url, ENDLESS]
    done = subprocess.run(words, capture_output=True, encoding="utf-8", timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()

    def of(name: str) -> list[str]:
        return [line.split("|", 1)[1] for line in lines if line.split("|", 1)[0] == name]

    assert of("product") == ["PostgreSQL|main|true"]
    assert of("table") == ["main|bars|TABLE", "main|kinds|TABLE", "other|Mixed Case|TABLE", "main|closes|VIEW"]
    assert of("schema") == ["information_schema", "main", "other", "pg_catalog"]
    assert [line.split("|")[:2] for line in of("column")] == [
        ["a_flag", "bool"],
        ["a_number", "int4"],
        ["a_long", "int8"],
        ["a_price", "float8"],
        ["an_amount", "numeric"],
        ["a_name", "text"],
        ["a_day", "date"],
        ["a_time", "timestamp"],
        ["some_numbers", "_int4"],
        ["a_record", "json"],
    ]
    assert "an_amount|numeric|12|3|1|null" in of("column") and "a_number|int4|10|0|0|null" in of("column")
    assert [line for line in of("column") if line.endswith("|in rupees")] == ["a_price|float8|17|17|1|in rupees"]
    assert of("function") == ["scan_breakout"] and "cutoff_time" in of("argument")
    assert of("unexpected") == [] and of("some") == ["true"] * 4
    assert of("kind") == ['true|7|9999999999|101.25|-0.050|it\'s é|2025-01-15|2025-01-15 09:50:00.0|{1,NULL}|{"x":1}']
    for time in range(7):
        assert of(f"scan{time}") == [f"{symbol}|{price}" for symbol, price in scan], time
    with connect(server.folder / "market.duckdb", read_only=True) as connection:
        [count] = connection.execute(
            "SELECT count(*) FROM bars WHERE ts >= '2025-01-15 09:20:00' AND ts < '2025-01-15 09:50:00' AND symbol IN ('DEMO0001', 'DEMO0002')"
        ).fetchone()
    assert count > 0
    for time in range(7):
        assert of(f"count{time}") == [str(count)], time
    assert of("described") == ["symbol|float8"]
    assert of("fetched") == ["2500"]
    assert (of("failed"), of("aborted"), of("timeout"), of("written"), of("last")) == (["42703"], ["25P02"], ["57014"], ["25006"], ["1"])


# --- ODBC


@pytest.mark.parametrize("options", ["", "UseDeclareFetch=1;Fetch=500", "UseServerSidePrepare=0"], ids=["usual", "cursors", "texts"])
def test_odbc_browses_and_asks(server, scan, options):
    words = f"DRIVER={{PostgreSQL Unicode}};SERVER=127.0.0.1;PORT={port_of(server)};UID=anybody;PWD=none;DATABASE=market;{options}"
    with pyodbc.connect(words) as connection:
        cursor = connection.cursor()
        assert {(row.table_schem, row.table_name, row.table_type) for row in cursor.tables()} >= {
            ("main", "bars", "TABLE"),
            ("main", "closes", "VIEW"),
            ("other", "Mixed Case", "TABLE"),
        }
        columns = {row.column_name: (row.type_name, row.data_type) for row in cursor.columns("kinds")}
        assert columns["an_amount"] == ("numeric", pyodbc.SQL_NUMERIC) and columns["a_time"][0] == "timestamp" and columns["a_long"][0] == "int8"
        assert [row.column_name for row in cursor.procedureColumns("scan_breakout")][:2] == ["scan_date", "cutoff_time"]
        for nothing in [cursor.primaryKeys("bars"), cursor.foreignKeys("bars"), cursor.statistics("bars")]:
            assert nothing.fetchall() == []
        [row] = cursor.execute("SELECT * FROM kinds").fetchall()
        expected = ("1", 7, 9999999999, 101.25, decimal.Decimal("-0.050"), "it's é", datetime.date(2025, 1, 15), datetime.datetime(2025, 1, 15, 9, 50))
        assert tuple(row)[:8] == expected
        found = cursor.execute("SELECT symbol, price FROM scan_breakout(?, ?, min_price := ?) ORDER BY symbol", "2025-01-15", "09:50", 1).fetchall()
        assert [tuple(row) for row in found] == scan
        sql = "SELECT count(*) FROM bars WHERE ts >= ? AND ts::DATE = ? AND close > ? AND symbol LIKE ?"
        [[count]] = cursor.execute(sql, datetime.datetime(2025, 1, 15, 9, 20), datetime.date(2025, 1, 15), 0.5, "DEMO%").fetchall()
        assert count > 1000
        assert len(cursor.execute("SELECT * FROM bars LIMIT 2500").fetchall()) == 2500
        with pytest.raises(pyodbc.Error) as refused:
            cursor.execute("SELECT nothing FROM bars").fetchall()
        assert refused.value.args[0] == "42703"
        connection.rollback()
        with pytest.raises(pyodbc.Error) as refused:
            cursor.execute("DELETE FROM bars")
        assert refused.value.args[0] == "25006"


# --- SQLAlchemy


@pytest.fixture(scope="module")
def engine(server):
    engine = sa.create_engine(f"postgresql+psycopg://anybody@127.0.0.1:{port_of(server)}/market")
    yield engine
    engine.dispose()


def test_sqlalchemy_browses(engine):
    inspector = sa.inspect(engine)
    assert inspector.default_schema_name == "main" and engine.dialect.server_version_info == (15, 0)
    assert inspector.get_schema_names() == ["information_schema", "main", "other"]
    assert sorted(inspector.get_table_names()) == sorted(inspector.get_table_names("main")) == ["bars", "kinds"]
    assert inspector.get_view_names() == ["closes"] and inspector.get_materialized_view_names() == []
    assert inspector.has_table("bars") and inspector.has_table("Mixed Case", "other") and not inspector.has_table("nothing")
    columns = {column["name"]: column for column in inspector.get_columns("kinds")}
    types = {name: str(column["type"].compile(engine.dialect)) for name, column in columns.items()}
    assert types == {
        "a_flag": "BOOLEAN",
        "a_number": "INTEGER",
        "a_long": "BIGINT",
        "a_price": "DOUBLE PRECISION",
        "an_amount": "NUMERIC(12, 3)",
        "a_name": "TEXT",
        "a_day": "DATE",
        "a_time": "TIMESTAMP WITHOUT TIME ZONE",
        "some_numbers": "INTEGER[]",
        "a_record": "JSON",
    }
    assert columns["a_price"]["comment"] == "in rupees" and not columns["a_number"]["nullable"]
    assert inspector.get_pk_constraint("bars")["constrained_columns"] == []
    for nothing in [inspector.get_foreign_keys, inspector.get_indexes, inspector.get_unique_constraints, inspector.get_check_constraints]:
        assert nothing("bars") == []
    assert inspector.get_table_comment("bars") == {"text": None}
    assert inspector.get_enums() == [] and inspector.get_sequence_names() == []


def test_sqlalchemy_asks(engine, scan):
    bars = sa.Table("bars", sa.MetaData(), autoload_with=engine)
    month = sa.func.date_trunc("month", bars.c.ts).label("month")
    with engine.connect() as connection:
        # As Superset groups by time.
        asked = sa.select(month, sa.func.count(sa.distinct(bars.c.symbol)), sa.func.max(bars.c.high)).where(bars.c.close > 0).group_by(month).order_by(month)
        rows = connection.execute(asked).all()
        assert rows[-1][:2] == (datetime.datetime(2025, 1, 1), 20) and len(rows) > 2
        # And as it filters.
        filtered = (
            "SELECT to_char(min(ts), 'YYYY-MM-DD HH24:MI'), to_char(max(ts), 'DD.MM.YY') FROM main.bars "
            "WHERE ts >= TO_TIMESTAMP('2025-01-06 00:00:00.000000', 'YYYY-MM-DD HH24:MI:SS.US') AND ts < TO_DATE('2025-01-10', 'YYYY-MM-DD') "
            "AND ts < now() - INTERVAL '1 day' AND ts < CURRENT_TIMESTAMP AND ts < current_date - 7"
        )
        assert connection.execute(sa.text(filtered)).one() == ("2025-01-06 09:15", "09.01.25")
        found = connection.execute(
            sa.text("SELECT symbol, price FROM scan_breakout(:day, :cutoff, min_price := 1) ORDER BY symbol"), {"day": "2025-01-15", "cutoff": "09:50"}
        ).all()
        assert [tuple(row) for row in found] == scan
        [kinds] = connection.execute(sa.text("SELECT some_numbers, a_record FROM kinds")).all()
        assert tuple(kinds) == ([1, None], {"x": 1})
        with pytest.raises(sa.exc.ProgrammingError), connection.begin_nested():
            connection.execute(sa.text("SELECT nothing"))
        assert connection.execute(sa.text("SELECT 1")).scalar() == 1
    with engine.connect().execution_options(stream_results=True, max_row_buffer=500) as connection:
        assert sum(1 for _ in connection.execute(sa.select(bars).limit(2500))) == 2500
    with pytest.raises(sa.exc.DBAPIError), engine.begin() as connection:
        connection.execute(sa.delete(bars))


# --- The documentation


def test_the_examples_of_the_page_run(server):
    page = (ROOT / "docs" / "postgres.md").read_text()
    blocks = re.findall(r"^```(bash|python)\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    assert len(blocks) == 4
    for language, block in blocks:
        assert "5433" in block, f"it asks nobody:\n{block}"
        words = [sys.executable, "-c"] if language == "python" else ["bash", "-euo", "pipefail", "-c"]
        given = block.replace("5433", str(port_of(server)))
        done = subprocess.run([*words, given], cwd=server.folder, env=environment(server.folder), capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, f"{block}\n{done.stdout}\n{done.stderr}"
        assert "DEMO" in done.stdout, f"it finds nothing:\n{block}\n{done.stdout}"
    assert "DEMO" in (server.folder / "breakouts.csv").read_text()
