"""The protocol of PostgreSQL, spoken with a live `scanner serve` by psycopg 3 and, where a driver is too well-behaved, byte for byte.

What may be asked is what may be asked over HTTP: the list of refused statements is that of test_server_query.py.
"""

import contextlib
import datetime
import decimal
import json
import os
import re
import signal
import socket
import ssl
import struct
import subprocess
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest
import test_server_query as over_http
from conftest import connect
from server import SCANNER, Server, environment, scanner

ENDLESS = "SELECT sum(hash(i) % 7) FROM range(1000000000000) AS t(i)"


def port_of(server: Server) -> int:
    return int(re.findall(r"protocol of PostgreSQL at \S+:(\d+)", server.log())[-1])


def session(server: Server, **options) -> psycopg.Connection:
    given = {"host": "127.0.0.1", "port": port_of(server), "user": "anybody", "dbname": "market", "autocommit": True, "connect_timeout": 30}
    return psycopg.connect(**given | options)


def children(server: Server) -> list[int]:
    return over_http.Server.children(server)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("postgres") / "here"
    folder.mkdir()
    over_http.make_market(folder)
    return folder


@pytest.fixture(scope="module")
def listener(folder):
    before = over_http.digest(folder / "market.duckdb")
    there = over_http.files(folder)
    with Server(folder, "--postgres-port", "0", variables={"STOCKSCAN_TEST_SECRET": over_http.SECRET}) as server:
        yield server
        made = {name for name in over_http.files(folder) - there if not name.startswith(("state.duckdb", "server.log", "market.duckdb."))}
    assert over_http.SECRET not in server.log(), "a secret in the log"
    assert made == set(), "a statement made files"
    assert over_http.digest(folder / "market.duckdb") == before, "a statement changed the database"


@pytest.fixture
def connection(listener):
    with session(listener) as connection:
        yield connection


def refused(act, *arguments, **options) -> psycopg.Error:
    with pytest.raises(psycopg.Error) as raised:
        act(*arguments, **options)
    return raised.value


# --- What may be asked

# These are answered here, without the database: a session's own business, and what the catalogue has instead of DuckDB's.
HARMLESS = {
    "",
    "   \n-- nothing\n/* at all */ ;;",
    "SELECT 1; SELECT 2",
    "BEGIN",
    "COMMIT",
    "FROM information_schema.views",
    "FROM pg_catalog.pg_settings",
    "FROM pg_catalog.pg_views",
}
HOSTILE = [sql for sql in over_http.REFUSED if sql not in HARMLESS and "\0" not in sql]


@pytest.mark.parametrize("is_prepared", [False, True], ids=["simple", "prepared"])
def test_what_is_refused_over_http_is_refused_here(listener, folder, is_prepared):
    def ask(sql: str) -> str | None:
        with session(listener, prepare_threshold=0 if is_prepared else None) as connection:
            try:
                cursor = connection.execute(sql, prepare=is_prepared)
                return f"{sql}: {[cursor.fetchall() if cursor.description else None]}"
            except psycopg.Error as error:
                told = error.diag.message_primary or ""
                assert error.sqlstate and not error.sqlstate.startswith(("XX", "53")), f"{sql}: {error.sqlstate} {told}"
                assert over_http.SECRET not in str(error), sql
                assert str(folder) not in told, f"{sql}: {told}"
                return None

    # Both ways lead to the same check: the second need not be gone with all of them.
    with ThreadPoolExecutor(4) as pool:
        answered = [answer for answer in pool.map(ask, HOSTILE[::4] if is_prepared else HOSTILE) if answer]
    assert answered == []
    assert children(listener) == []


def test_what_the_catalogue_shows_is_no_secret(connection):
    for relation in ["information_schema.views", "pg_catalog.pg_settings", "pg_catalog.pg_views", "pg_proc", "pg_class", "pg_stat_activity"]:
        rows = connection.execute(f"SELECT * FROM {relation}").fetchall()
        assert over_http.SECRET not in str(rows) and "/" not in str([row for row in rows if "read_text" in str(row)]), relation
    # The catalogue's own current_setting() knows nothing of DuckDB's settings; a macro of the database's means DuckDB's and is refused.
    assert connection.execute("SELECT current_setting('server_version_num')").fetchone() == ("150000",)
    assert refused(connection.execute, "SELECT current_setting('home_directory')").sqlstate == "22023"
    assert refused(connection.execute, "SELECT setting('server_version')").sqlstate == "42501"
    assert refused(connection.execute, "SELECT system.main.current_setting('home_directory')").sqlstate == "42501"


def test_the_rows_are_those_of_the_database(listener, folder):
    """A statement for each kind of thing; what DuckDB itself says is the measure."""
    statements = [
        "SELECT symbol, count(*) AS n, max(close) AS c FROM bars GROUP BY symbol ORDER BY symbol",
        "FROM scan_breakout('2025-01-15', max_results_per_day := 50, min_price := 1) ORDER BY symbol",
        "SELECT * FROM scan_gap('2024-12-20', end_date := '2025-01-15') ORDER BY scan_date, symbol",
        "WITH found AS (FROM scan_gap('2024-12-20', end_date := '2025-01-15')) FROM outcomes('found') ORDER BY scan_date, symbol",
        "SELECT * FROM closes ORDER BY ALL LIMIT 3000",
    ]
    compared = 0
    with connect(folder / "market.duckdb", read_only=True) as database, session(listener) as connection:
        for sql in statements:
            expected = database.execute(sql).fetchall()
            for binary in [False, True]:
                given = connection.cursor(binary=binary).execute(sql, prepare=True)
                assert [column.name for column in given.description] == [column[0] for column in database.description]
                assert given.fetchall() == expected, (sql, binary)
            compared += len(expected)
    assert compared > 3000


# --- Values

VALUES = [
    ("true", True, "bool"),
    ("(-7)::TINYINT", -7, "int2"),
    ("300::SMALLINT", 300, "int2"),
    ("65535::USMALLINT", 65535, "int4"),
    ("(-2147483648)::INTEGER", -(2**31), "int4"),
    ("4294967295::UINTEGER", 4294967295, "int8"),
    ("9223372036854775807", 2**63 - 1, "int8"),
    ("18446744073709551615::UBIGINT", decimal.Decimal(2**64 - 1), "numeric"),
    ("170141183460469231731687303715884105727::HUGEINT", decimal.Decimal(2**127 - 1), "numeric"),
    ("1.5::FLOAT", 1.5, "float4"),
    ("0.1::DOUBLE", 0.1, "float8"),
    ("1e300::DOUBLE", 1e300, "float8"),
    ("-1.5e-9::DOUBLE", -1.5e-9, "float8"),
    ("'inf'::DOUBLE", float("inf"), "float8"),
    ("0.05::DECIMAL(9, 2)", decimal.Decimal("0.05"), "numeric"),
    ("-123456789.0100::DECIMAL(18, 4)", decimal.Decimal("-123456789.0100"), "numeric"),
    ("10000::DECIMAL(9, 0)", decimal.Decimal("10000"), "numeric"),
    ("0::DECIMAL(5, 3)", decimal.Decimal("0.000"), "numeric"),
    ("0.00001234::DECIMAL(12, 8)", decimal.Decimal("0.00001234"), "numeric"),
    ("99999999999999999999999999999999.999999::DECIMAL(38, 6)", decimal.Decimal("99999999999999999999999999999999.999999"), "numeric"),
    ("'a''b\"\\ é €'", "a'b\"\\ é €", "text"),
    ("''", "", "text"),
    ("'wild'::mood", "wild", "text"),
    ("DATE '1999-12-31'", datetime.date(1999, 12, 31), "date"),
    ("DATE '0001-01-01'", datetime.date(1, 1, 1), "date"),
    ("TIME '09:50:00.123456'", datetime.time(9, 50, 0, 123456), "time"),
    ("TIMESTAMP '2025-01-15 09:50:00'", datetime.datetime(2025, 1, 15, 9, 50), "timestamp"),
    ("TIMESTAMP '1969-12-31 23:59:59.999999'", datetime.datetime(1969, 12, 31, 23, 59, 59, 999999), "timestamp"),
    ("TIMESTAMP_NS '2025-01-15 09:50:00.123456789'", datetime.datetime(2025, 1, 15, 9, 50, 0, 123456), "timestamp"),
    ("TIMESTAMP_S '2025-01-15 09:50:07'", datetime.datetime(2025, 1, 15, 9, 50, 7), "timestamp"),
    ("TIMESTAMPTZ '2025-01-15 09:50:00+05:30'", datetime.datetime(2025, 1, 15, 4, 20, tzinfo=datetime.UTC), "timestamptz"),
    ("INTERVAL '3 days 04:05:06.5'", datetime.timedelta(days=3, hours=4, minutes=5, seconds=6.5), "interval"),
    ("INTERVAL '-1 day'", datetime.timedelta(days=-1), "interval"),
    ("'\\x00\\xFF'::BLOB", b"\x00\xff", "bytea"),
    ("'6ba7b810-9dad-11d1-80b4-00c04fd430c8'::UUID", "6ba7b810-9dad-11d1-80b4-00c04fd430c8", "text"),
    ("[1, NULL, 3]", [1, None, 3], "int4[]"),
    ("[]::VARCHAR[]", [], "text[]"),
    ("['a b', 'NULL', '', '{\"', 'c\\d', NULL]", ["a b", "NULL", "", '{"', "c\\d", None], "text[]"),
    ("[1.5::DECIMAL(4, 2)]", [decimal.Decimal("1.50")], "numeric[]"),
    ("[DATE '2025-01-15']", [datetime.date(2025, 1, 15)], "date[]"),
    ("[1, 2]::INTEGER[2]", [1, 2], "int4[]"),
    ("[[1], [2, 3]]", [[1], [2, 3]], "json"),
    ("{'a': 1, 'b': ['x', NULL], 'c': DATE '2025-01-15'}", {"a": 1, "b": ["x", None], "c": "2025-01-15"}, "json"),
    ("MAP {'k': 1.5::DOUBLE}", {"k": 1.5}, "json"),
    ("'{\"a\": [1, 2]}'::JSON", '{"a": [1, 2]}', "text"),
    ("NULL", None, "text"),
    ("NULL::DATE", None, "date"),
]


@pytest.mark.parametrize("binary", [False, True], ids=["text", "binary"])
def test_values_arrive_as_what_they_are(connection, binary):
    """A wrong base, sign, number of digits or quoting shows in one of the two forms."""
    sql = "SELECT " + ", ".join(f"{expression} AS c{number}" for number, (expression, _, _) in enumerate(VALUES))
    cursor = connection.cursor(binary=binary).execute(sql)
    [row] = cursor.fetchall()
    for (expression, expected, kind), given, column in zip(VALUES, row, cursor.description, strict=True):
        assert given == expected and type(given) is type(expected), f"{expression}: {given!r}"
        assert column.type_display.split("(")[0] == kind, expression
    digits = {(column.precision, column.scale) for column in cursor.description if column.type_display.startswith("numeric")}
    assert digits >= {(9, 2), (18, 4), (None, None)}


def test_numbers_have_the_digits_that_tell_them_apart(connection):
    """As text: PostgreSQL's own spelling, by its documentation of floating-point types."""
    cursor = connection.execute("SELECT 1e15::DOUBLE::DOUBLE, 1e14::DOUBLE, 0.0001::DOUBLE, 0.00001::DOUBLE, 'nan'::DOUBLE, 1e6::FLOAT, INTERVAL '14 months 3 days'")
    given = [cursor.pgresult.get_value(0, index).decode() for index in range(7)]
    assert given == ["1e+15", "100000000000000", "0.0001", "1e-05", "NaN", "1e+06", "1 year 2 mons 3 days"]


PARAMETERS = [
    (7, "SELECT %s + 1", 8),
    (2**40, "SELECT %s", 2**40),
    (1.25, "SELECT %s * 2", 2.5),
    (decimal.Decimal("-12345.678"), "SELECT %s::DECIMAL(12, 3)", decimal.Decimal("-12345.678")),
    (True, "SELECT NOT %s", False),
    ("it's", "SELECT upper(%s)", "IT'S"),
    ("'; DROP TABLE bars; --", "SELECT %s", "'; DROP TABLE bars; --"),
    (None, "SELECT %s IS NULL", True),
    (datetime.date(2025, 1, 15), "SELECT %s + INTERVAL 1 DAY", datetime.datetime(2025, 1, 16)),
    (datetime.datetime(2025, 1, 15, 9, 50, 0, 5), "SELECT %s", datetime.datetime(2025, 1, 15, 9, 50, 0, 5)),
    (datetime.datetime(2025, 1, 15, 9, 50, tzinfo=datetime.UTC), "SELECT %s", datetime.datetime(2025, 1, 15, 9, 50, tzinfo=datetime.UTC)),
    (datetime.time(9, 50), "SELECT %s", datetime.time(9, 50)),
    (datetime.timedelta(days=1, hours=2), "SELECT %s", datetime.timedelta(days=1, hours=2)),
    (b"\x00\x01", "SELECT %s", b"\x00\x01"),
    (uuid.UUID(int=5), "SELECT %s", str(uuid.UUID(int=5))),
    ([1, 2, None], "SELECT list_sum(%s)", 3),
    (["a", 'b"', "c,d"], "SELECT %s::text[]", ["a", 'b"', "c,d"]),
    (["DEMO0001", "x", None], "SELECT count(DISTINCT symbol) FROM bars WHERE symbol = ANY(%s)", 1),
    ([1, 2], "SELECT 2 = ANY(%s)", True),
    ([], "SELECT len(%s::VARCHAR[])", 0),
]


@pytest.mark.parametrize("form", ["%s", "%b", "%t"], ids=["automatic", "binary", "text"])
def test_parameters_are_bound(connection, form):
    for given, sql, expected in PARAMETERS:
        if form == "%b" and isinstance(given, list) and not given:
            continue
        [answer] = connection.execute(sql.replace("%s", form), [given]).fetchone()
        assert answer == expected, f"{sql} with {given!r}: {answer!r}"


def test_a_scanner_takes_parameters(connection):
    scan = "SELECT symbol, price FROM scan_breakout(%s, %s, min_price := %s, max_results_per_day := %s)"
    found = connection.execute(scan, ["2025-01-15", "09:50", 1, 50]).fetchall()
    assert found == connection.execute("SELECT symbol, price FROM scan_breakout('2025-01-15', '09:50', min_price := 1, max_results_per_day := 50)").fetchall()
    assert found
    # A date, and a time, of the driver's own types.
    assert found == connection.execute(scan, [datetime.date(2025, 1, 15), datetime.time(9, 50), decimal.Decimal(1), 50]).fetchall()
    error = refused(connection.execute, scan, ["2025-01-15", "09:50", -1, 50])
    assert error.sqlstate == "22023" and "min_price must be" in error.diag.message_primary
    error = refused(connection.execute, "FROM backtest(%s, '2025-01-06', '2025-01-15')", ["breakout"])
    assert "scanner must be a text" in error.diag.message_primary, "the name of a scanner is part of the statement"


# --- Sessions


def test_what_is_wrong_has_a_code_and_a_place(connection):
    for sql, code, position in [
        ("SELECT 1\nFRM bars x y", "42601", 14),
        ("SELEC 1", "42601", 1),
        ("SELECT 1; SELECT é, 1 +", "42601", 23),
        ("FROM brs", "42P01", None),
        ("SELECT nothing FROM bars", "42703", None),
        ("SELECT no_such(1)", "42883", None),
        ("SELECT 'x'::INTEGER", "22P02", None),
        ("SELECT 300::TINYINT", "22003", None),
        ("DELETE FROM bars", "25006", None),
        ("COPY bars FROM STDIN", "25006", None),
        ("FROM read_text('x')", "42501", None),
        ("SELECT $1", "42P02", None),
        ("SHOW no_such_setting", "42704", None),
        ("SELECT 'nowhere'::regclass", "42P01", None),
    ]:
        error = refused(connection.execute, sql)
        assert error.sqlstate == code, f"{sql}: {error.sqlstate} {error}"
        assert error.diag.statement_position == (position and str(position)), f"{sql}: {error.diag.statement_position}"
    assert "ingest" in refused(connection.execute, "COPY bars FROM STDIN").diag.message_hint
    error = refused(connection.execute, "SELECT nothing FROM bars")
    assert "\n" not in error.diag.message_primary and error.diag.message_detail.startswith("Candidate bindings")


def test_a_transaction_that_failed_says_so_until_it_ends(listener):
    with session(listener, autocommit=False) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)
        refused(connection.execute, "SELECT nothing")
        assert connection.info.transaction_status == psycopg.pq.TransactionStatus.INERROR
        assert refused(connection.execute, "SELECT 1").sqlstate == "25P02"
        connection.rollback()
        with pytest.raises(psycopg.Error), connection.transaction():
            connection.execute("SELECT nothing")
        with connection.transaction():
            with contextlib.suppress(psycopg.Error), connection.transaction():
                connection.execute("SELECT nothing")
            assert connection.execute("SELECT 2").fetchone() == (2,), "a savepoint was not gone back to"
        refused(connection.execute, "SELECT nothing")
        assert connection.execute("COMMIT").statusmessage == "ROLLBACK"


def test_settings_are_kept_or_refused(listener):
    with session(listener, options="-c statement_timeout=12s --search_path=other") as connection:
        assert connection.execute("SHOW statement_timeout").fetchone() == ("12s",)
        assert connection.execute("SHOW search_path").fetchone() == ("other",)
    assert "UTF8" in str(refused(session, listener, client_encoding="latin1"))
    with session(listener, application_name="tests") as connection:
        assert connection.execute("SHOW application_name").fetchone() == ("tests",)
        assert connection.info.parameter_status("server_version") == "15.0"
        assert connection.info.encoding == "utf-8"
        connection.execute("SET application_name TO 'other'; SET SESSION search_path = main, \"$user\"; SET extra_float_digits = 3; SET my.own = 'x'")
        assert connection.info.parameter_status("application_name") == "other"
        assert connection.execute("SHOW search_path").fetchone() == ("main, $user",)
        assert connection.execute("SHOW my.own").fetchone() == ("x",)
        connection.execute("SET client_encoding TO 'UTF8'; SET TIME ZONE 'UTC'; SET DateStyle = ISO, DMY")
        for sql, code in [("SET client_encoding = 'LATIN1'", "22023"), ("SET threads = 1", "42704"), ("SET DateStyle = German", "22023")]:
            assert refused(connection.execute, sql).sqlstate == code
        names = [name for name, _, _ in connection.execute("SHOW ALL").fetchall()]
        assert "TimeZone" in names and "threads" not in names
        connection.execute("DISCARD ALL")
        assert connection.execute("SHOW search_path").fetchone() == ("main",)
        [zone] = connection.execute("SHOW transaction_read_only").fetchone()
        assert zone == "on"


def test_several_statements_are_answered_one_by_one(connection):
    cursor = connection.execute("SELECT 1 AS a; SHOW server_encoding; ; SELECT ';' AS b -- ; not this\n; SELECT $$;$$")
    results = [cursor.fetchall()]
    while cursor.nextset():
        results.append(cursor.fetchall())
    assert results == [[(1,)], [("UTF8",)], [(";",)], [(";",)]]
    # The first is answered, the third is not looked at.
    result = connection.pgconn.exec_(b"SELECT 1; SELECT nothing; SELECT 3")
    assert result.status == psycopg.pq.ExecStatus.FATAL_ERROR


def test_a_pipeline_goes_on_after_a_mistake(connection):
    with connection.pipeline() as pipeline:
        first = connection.execute("SELECT %s::INTEGER", [1])
        pipeline.sync()
        with pytest.raises(psycopg.errors.UndefinedColumn):
            connection.execute("SELECT nothing")
            connection.execute("SELECT 2")
            pipeline.sync()
        last = connection.execute("SELECT 3")
        pipeline.sync()
        assert first.fetchone() == (1,) and last.fetchone() == (3,)


def test_a_statement_is_described_before_it_runs(connection):
    raw = connection.pgconn
    assert raw.prepare(b"p", b"SELECT symbol, close > $1 AS above, $2::DATE AS d FROM bars WHERE volume > $3", [701]).status == psycopg.pq.ExecStatus.COMMAND_OK
    described = raw.describe_prepared(b"p")
    assert [described.param_type(index) for index in range(described.nparams)] == [701, 1082, 25]
    assert [(described.fname(index), described.ftype(index)) for index in range(described.nfields)] == [(b"symbol", 25), (b"above", 16), (b"d", 1082)]
    result = raw.exec_prepared(b"p", [b"0", b"2025-01-15", b"0"])
    assert result.ntuples > 1000 and result.get_value(0, 2) == b"2025-01-15"
    # What has its columns by the values of its parameters tells them when it has these.
    raw.prepare(b"scan", b"SELECT symbol FROM scan_breakout($1)")
    assert raw.describe_prepared(b"scan").nparams == 1
    assert raw.exec_prepared(b"scan", [b"2025-01-15"]).status == psycopg.pq.ExecStatus.TUPLES_OK
    connection.execute("DEALLOCATE scan")
    assert raw.describe_prepared(b"scan").error_field(psycopg.pq.DiagnosticField.SQLSTATE) == b"26000"


def test_a_cursor_gives_its_rows_in_parts(listener):
    with session(listener, autocommit=False) as connection:
        sql = "SELECT symbol, ts, close FROM bars ORDER BY symbol, ts LIMIT 2500"
        expected = connection.execute(sql).fetchall()
        with connection.cursor("parts") as cursor:
            cursor.execute(sql)
            assert [column.name for column in cursor.description] == ["symbol", "ts", "close"]
            parts = [cursor.fetchmany(1000) for _ in range(3)]
            assert [len(part) for part in parts] == [1000, 1000, 500]
            assert [row for part in parts for row in part] == expected
        with connection.cursor("moved") as cursor:
            cursor.execute(sql)
            cursor.scroll(2499)
            assert cursor.fetchall() == expected[2499:]
        assert refused(connection.execute, "FETCH 1 FROM parts").sqlstate == "34000"
        connection.rollback()
    with session(listener) as connection:
        assert refused(connection.execute, "DECLARE c CURSOR FOR SELECT 1").sqlstate == "25P01"
        assert [len(part) for part in [list(connection.cursor().stream("SELECT * FROM bars LIMIT 5000", size=512))]] == [5000]


def test_rows_are_copied_out(connection):
    with connection.cursor().copy("COPY (SELECT 1 AS a, 'x\ty\\' AS b, NULL AS c UNION ALL SELECT 2, '', 'z' ORDER BY a) TO STDOUT") as copy:
        assert b"".join(copy) == b"1\tx\\ty\\\\\t\\N\n2\t\tz\n"
    with connection.cursor().copy("COPY (SELECT 1 AS a, 'x,\"y\"' AS b, NULL AS c UNION ALL SELECT 2, '', 'z' ORDER BY a) TO STDOUT WITH (FORMAT csv, HEADER)") as copy:
        assert b"".join(copy) == b'a,b,c\n1,"x,""y""",\n2,"",z\n'
    with connection.cursor().copy("COPY bars (symbol, ts) TO STDOUT CSV HEADER") as copy:
        lines = b"".join(copy).decode().splitlines()
    assert lines[0] == "symbol,ts" and len(lines) == 1 + connection.execute("SELECT count(*) FROM bars").fetchone()[0]
    assert refused(connection.execute, "COPY bars TO PROGRAM 'cat'").sqlstate == "42501"


# --- Limits


def test_a_million_rows_take_no_memory_and_one_more_is_refused(listener, connection):
    def resident() -> int:
        return over_http.Server.resident(listener)

    connection.execute("SELECT 1")
    before, most, rows = resident(), 0, 0
    for number, _ in enumerate(connection.cursor().stream("SELECT range AS i, repeat('x', 50) AS x FROM range(1000000)")):
        rows += 1
        if number % 100_000 == 0:
            most = max(most, resident())
    assert rows == 1_000_000
    # All rows would be more than 60 MB.
    assert most - before < 30 << 20, f"{(most - before) >> 20} MiB"
    error = refused(lambda: sum(1 for _ in connection.cursor().stream("SELECT * FROM range(1000001)")))
    assert error.sqlstate == "54000" and "LIMIT" in error.diag.message_hint


def test_a_statement_ends_when_its_time_is_up(listener, connection):
    connection.execute("SET statement_timeout = '1500ms'")
    error = refused(connection.execute, ENDLESS)
    assert error.sqlstate == "57014" and "timeout" in error.diag.message_primary
    assert over_http.wait_until(lambda: children(listener) == [])
    connection.execute("RESET statement_timeout")
    assert connection.execute("SELECT 1").fetchone() == (1,)


def test_a_statement_that_takes_too_much_memory_ends_alone(connection):
    for name in ["many long texts", "all distinct", "one text"]:
        connection.execute("SET statement_timeout = 20000")
        assert refused(connection.execute, over_http.BOMBS[name]).sqlstate in ("53200", "57014", "22023", "22003"), name
    assert connection.execute("SELECT 1").fetchone() == (1,)


def test_a_statement_or_message_that_is_too_long_is_refused(listener, connection):
    assert refused(connection.execute, "SELECT '" + "x" * 70_000 + "'").sqlstate == "54000"
    assert refused(connection.execute, "SELECT '" + "x" * 2_000_000 + "'").sqlstate in ("08P01", None)
    with session(listener) as another:
        assert another.execute("SELECT length(%s)", ["x" * 500_000]).fetchone() == (500_000,), "a value may be longer than a statement"


def test_a_connection_keeps_only_so_much(connection):
    raw = connection.pgconn
    long = b"SELECT '" + b"x" * 60_000 + b"'"
    made = [raw.prepare(b"p%d" % number, long).error_field(psycopg.pq.DiagnosticField.SQLSTATE) for number in range(150)]
    # 8 MiB are 139 of them.
    assert made == [None] * 139 + [b"54000"] * 11
    connection.execute("DEALLOCATE ALL")
    assert connection.execute("SELECT 1", prepare=True).fetchone() == (1,)


def test_a_statement_is_stopped_in_the_middle(listener, connection):
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(refused, connection.execute, ENDLESS)
        assert over_http.wait_until(lambda: len(children(listener)) == 1)
        connection.cancel_safe()
        assert asked.result(10).sqlstate == "57014"
    assert over_http.wait_until(lambda: children(listener) == [])
    assert connection.execute("SELECT 1").fetchone() == (1,)
    # In the middle of its rows, too.
    stream = connection.cursor().stream("SELECT * FROM range(1000000)")
    next(stream)
    connection.cancel_safe()
    assert refused(lambda: sum(1 for _ in stream)).sqlstate == "57014"
    # A wrong secret stops nothing.
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(refused, connection.execute, ENDLESS)
        assert over_http.wait_until(lambda: len(children(listener)) == 1)
        with socket.create_connection(("127.0.0.1", port_of(listener))) as other:
            other.sendall(struct.pack("!IIiI", 16, 80877102, connection.info.backend_pid, 12345))
            assert other.recv(1) == b""
        assert not over_http.wait_until(asked.done, 0.5)
        connection.cancel_safe()
        asked.result(10)


def test_the_statement_of_a_client_that_was_killed_is_ended(listener):
    program = f"import psycopg; psycopg.connect(host='127.0.0.1', port={port_of(listener)}, user='x').execute({ENDLESS!r})"
    client = subprocess.Popen([os.sys.executable, "-c", program])
    assert over_http.wait_until(lambda: len(children(listener)) == 1, 20)
    client.send_signal(signal.SIGKILL)
    client.wait()
    assert over_http.wait_until(lambda: children(listener) == []), "the statement goes on although nobody waits for it"


def test_a_hundred_connections(listener):
    with contextlib.ExitStack() as stack:
        connections = [stack.enter_context(session(listener)) for _ in range(100)]

        def ask(number: int) -> int:
            return connections[number].execute("SELECT %s::INTEGER * count(DISTINCT symbol) FROM bars", [number]).fetchone()[0]

        # Statements wait in one line for at most 30 s; twenty at a time stay well below that on any machine.
        with ThreadPoolExecutor(20) as pool:
            assert list(pool.map(ask, range(100))) == [number * 20 for number in range(100)]
        assert {connection.info.transaction_status for connection in connections} == {psycopg.pq.TransactionStatus.IDLE}


def test_one_connection_and_one_statement_too_many_are_told(tmp_path):
    over_http.make_market(tmp_path)
    with Server(tmp_path, "--postgres-port", "0", "--max-connections", "8", "--rate-limit", "1") as server, contextlib.ExitStack() as stack:
        connections = [stack.enter_context(session(server)) for _ in range(8)]
        assert "too many clients" in str(refused(session, server))
        # A second allows one, and twice as many at once: eight at the same time are more.
        with ThreadPoolExecutor(8) as pool:
            codes = list(pool.map(lambda connection: refused(connection.execute, "SELECT nothing").sqlstate, connections))
        assert set(codes) == {"42703", "53400"} and codes.count("53400") >= 4, codes


# --- Who may come in


def test_a_key_is_the_password(tmp_path):
    over_http.make_market(tmp_path)
    keys = ["--keys", "keys.json"]
    reader = scanner(tmp_path, "key", "add", "reader", "--role", "read", *keys).stdout.strip().splitlines()[-1].split()[-1]
    feeder = scanner(tmp_path, "key", "add", "feeder", "--role", "ingest", *keys).stdout.strip().splitlines()[-1].split()[-1]
    assert reader.startswith("stockscan_")
    with Server(tmp_path, "--postgres-port", "0", *keys) as server:
        with session(server, password=reader) as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)
        for wrong in ["", "wrong", reader + "0", reader[:-1]]:
            assert "28P01" in refused_at_start(server, password=wrong) or wrong == ""
        assert "role" in str(refused(session, server, password=feeder))
        assert reader not in server.log() and "client=\"reader\"" in server.log()


def refused_at_start(server: Server, password: str) -> str:
    """The code of the refusal, which psycopg does not tell."""
    with socket.create_connection(("127.0.0.1", port_of(server)), timeout=10) as stream:
        startup = struct.pack("!I", 196608) + b"user\0x\0\0"
        stream.sendall(struct.pack("!I", len(startup) + 4) + startup)
        assert stream.recv(100)[:1] == b"R"
        stream.sendall(b"p" + struct.pack("!I", len(password) + 5) + password.encode() + b"\0")
        answer = b""
        while part := stream.recv(1000):
            answer += part
        return answer.decode(errors="replace")


@pytest.fixture(scope="module")
def certificate(tmp_path_factory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("tls")
    words = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -keyout key.pem -out cert.pem -subj /CN=localhost -addext subjectAltName=DNS:localhost,IP:127.0.0.1"
    subprocess.run(words.split(), cwd=folder, check=True, capture_output=True)
    return folder / "cert.pem", folder / "key.pem"


def test_a_connection_is_secret_if_there_is_a_certificate(tmp_path, certificate):
    over_http.make_market(tmp_path)
    cert, key = certificate
    with Server(tmp_path, "--postgres-port", "0", "--postgres-tls-certificate", cert, "--postgres-tls-key", key) as server:
        for mode in ["require", "verify-full"]:
            with session(server, host="localhost", sslmode=mode, sslrootcert=str(cert)) as connection:
                assert connection.pgconn.ssl_in_use
                assert connection.execute("SELECT 1").fetchone() == (1,)
                with ThreadPoolExecutor(1) as pool:
                    asked = pool.submit(refused, connection.execute, ENDLESS)
                    assert over_http.wait_until(lambda: len(children(server)) == 1)
                    connection.cancel_safe()
                    assert asked.result(10).sqlstate == "57014"
        with session(server, sslmode="disable") as connection:
            assert not connection.pgconn.ssl_in_use
        # Directly, as PostgreSQL 17's clients may.
        context = ssl.create_default_context(cafile=cert)
        context.set_alpn_protocols(["postgresql"])
        with context.wrap_socket(socket.create_connection(("127.0.0.1", port_of(server))), server_hostname="localhost") as stream:
            assert stream.selected_alpn_protocol() == "postgresql"
            startup = struct.pack("!I", 196608) + b"user\0x\0\0"
            stream.sendall(struct.pack("!I", len(startup) + 4) + startup)
            assert stream.recv(9) == b"R" + struct.pack("!II", 8, 0)
        # What comes before the secret begins could be anybody's.
        with socket.create_connection(("127.0.0.1", port_of(server))) as stream:
            stream.sendall(struct.pack("!II", 8, 80877103) + b"x" * 50)
            assert stream.recv(1) == b"S" and stream.recv(1) == b""


def test_a_server_that_others_can_reach_needs_keys_and_a_certificate(tmp_path, certificate):
    over_http.make_market(tmp_path)
    everywhere = ["serve", "--host", "0.0.0.0", "--port", "0", "--postgres-port", "0", "--keys", "keys.json"]
    assert "clients need a key" in scanner(tmp_path, *everywhere, check=False).stderr
    key = scanner(tmp_path, "key", "add", "reader", "--keys", "keys.json").stdout.strip().splitlines()[-1].split()[-1]
    refusal = scanner(tmp_path, *everywhere, check=False)
    assert refusal.returncode == 2 and "--postgres-tls-certificate" in refusal.stderr, refusal
    cert, private = certificate
    tls = ["--postgres-tls-certificate", cert, "--postgres-tls-key", private]
    for wrong, expected in [([private, private], "cert"), ([cert, cert], "key"), (["nowhere.pem", private], "nowhere.pem")]:
        words = ["--postgres-tls-certificate", wrong[0], "--postgres-tls-key", wrong[1]]
        refusal = scanner(tmp_path, "serve", "--port", "0", "--postgres-port", "0", *words, check=False)
        assert refusal.returncode != 0 and expected in refusal.stderr, refusal
    with Server(tmp_path, "--host", "0.0.0.0", "--postgres-port", "0", "--keys", "keys.json", *tls) as server:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as nobody:
            # Nothing is sent: this only tells which address others see.
            nobody.connect(("192.0.2.1", 9))
            own = nobody.getsockname()[0]
        assert not own.startswith("127."), "the test needs an address that is not only this machine's"
        assert "over TLS" in str(refused(session, server, host=own, password=key, sslmode="disable"))
        with session(server, host=own, password=key, sslmode="require") as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)


def test_the_port_comes_from_the_configuration_too(tmp_path):
    over_http.make_market(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    (tmp_path / "scanner_config.json").write_text(json.dumps({"api": {"postgres_port": port}}))
    with Server(tmp_path) as server:
        assert port_of(server) == port
        with session(server) as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)
    with Server(tmp_path, variables={"STOCKSCAN_API_POSTGRES_PORT": "null"}) as server:
        with pytest.raises(OSError):
            socket.create_connection(("127.0.0.1", port), timeout=2)


def test_the_end_of_the_server_is_told(tmp_path):
    over_http.make_market(tmp_path)
    server = Server(tmp_path, "--postgres-port", "0")
    idle, busy = session(server), session(server)
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(busy.execute, "SELECT count(*) FROM (SELECT DISTINCT hash(i) FROM range(3000000) AS t(i))")
        assert over_http.wait_until(lambda: len(children(server)) == 1)
        assert server.terminate() == 0
        assert asked.result(30).fetchone() == (3_000_000,), "what was asked is answered still"
    assert "57P01" == refused(idle.execute, "SELECT 1").sqlstate


# --- Byte for byte


def test_what_is_no_message_ends_only_its_connection(listener):
    startup = struct.pack("!I", 196608) + b"user\0x\0\0"
    startup = struct.pack("!I", len(startup) + 4) + startup

    def message(kind: bytes, body: bytes, length=None) -> bytes:
        return kind + struct.pack("!I", len(body) + 4 if length is None else length) + body

    nonsense = [
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"\x16\x03\x01\x02\x00",
        b"\0" * 100,
        struct.pack("!I", 2),
        struct.pack("!II", 8, 196608),
        struct.pack("!II", 12, 80877102) + b"1234",
        struct.pack("!I", 0xFFFFFFFF) + b"x" * 100,
        struct.pack("!II", 100_000, 196608),
        startup + b"?" + struct.pack("!I", 4),
        startup + message(b"Q", b"SELECT 1"),
        startup + message(b"Q", b"", 0),
        startup + message(b"Q", b"", 0x7FFFFFFF),
        startup + message(b"P", b"\0SELECT 1\0\xff\xff"),
        startup + message(b"P", b"no end"),
        startup + message(b"B", b"\0\0\0\0\0\x01\x7f\xff\xff\xff"),
        startup + message(b"B", b"\0\0\xff\xff"),
        startup + message(b"B", b"\0\0\0\0\0\0\xff\xff"),
        startup + message(b"D", b""),
        startup + message(b"E", b"\0\0"),
        startup + message(b"F", b"\0\0\0\0"),
        startup + message(b"p", b"password\0"),
        bytes(range(256)) * 40,
        startup + bytes(range(256)) * 40,
    ]
    for given in nonsense:
        with socket.create_connection(("127.0.0.1", port_of(listener)), timeout=10) as stream:
            with contextlib.suppress(OSError):
                stream.sendall(given)
                stream.shutdown(socket.SHUT_WR)
                while stream.recv(65536):
                    pass
        assert listener.process.poll() is None, given
    assert "panic" not in listener.log()
    with session(listener) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)


def test_one_who_says_nothing_holds_up_nobody(listener):
    silent = [socket.create_connection(("127.0.0.1", port_of(listener))) for _ in range(20)]
    with session(listener) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)
    for stream in silent:
        stream.close()


def test_rows_without_columns_and_columns_without_rows(connection):
    cursor = connection.execute("SELECT symbol, close FROM bars WHERE false")
    assert [column.name for column in cursor.description] == ["symbol", "close"] and cursor.fetchall() == []
    cursor = connection.execute("SELECT 1 AS a, 2 AS a")
    assert [column.name for column in cursor.description] == ["a", "a"], "names may be the same here"
