"""Statements from outside, sent to a live `scanner serve`: they can read, and nothing else.

The server's folder holds a secret in a file, its environment one in a variable. Neither may be in any answer; the database must have the same
bytes after the server's life as before, and no file may have been made.
"""

import hashlib
import http.client
import json
import os
import signal
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import ROOT, connect

SCANNER = Path(os.environ.get("STOCKSCAN_SCANNER", ROOT / "target" / "debug" / "scanner")).resolve()
SECRET = "s3cr3t-0f-the-server"
QUERY = "/api/v1/scanner/query"
HEALTH = "/api/v1/scanner/health"
TIMEOUT = 4


class Server:
    """A server in a folder of its own, on a free port."""

    def __init__(self, folder: Path, *options: str):
        assert SCANNER.is_file(), f"{SCANNER} is missing; STOCKSCAN_SCANNER names another"
        (folder / "scanner_config.json").write_text(json.dumps({"api": {"timeout": TIMEOUT}}))
        self.log = (folder.parent / f"{folder.name}.log").open("w+")
        self.process = subprocess.Popen(
            [SCANNER, "serve", "--port", "0", *options],
            cwd=folder,
            env={"PATH": os.environ["PATH"], "HOME": str(folder), "STOCKSCAN_TEST_SECRET": SECRET, "AWS_SECRET_ACCESS_KEY": SECRET},
            stdout=subprocess.DEVNULL,
            stderr=self.log,
        )
        assert wait_until(lambda: "http://" in self.told() or self.process.poll() is not None), "no word from the server"
        assert "http://" in self.told(), self.told()
        self.host, port = self.told().split("http://")[1].split("/")[0].rsplit(":", 1)
        self.port = int(port)

    def told(self) -> str:
        self.log.flush()
        return Path(self.log.name).read_text()

    def request(self, method: str, path: str, body=None, headers=None, timeout=60):
        connection = http.client.HTTPConnection(self.host, self.port, timeout=timeout)
        try:
            connection.request(method, path, body, headers or {})
            response = connection.getresponse()
            return response.status, dict((name.lower(), value) for name, value in response.getheaders()), response.read()
        finally:
            connection.close()

    def query(self, sql: str, accept=None, **others):
        headers = {"Content-Type": "application/json"} | ({"Accept": accept} if accept else {})
        status, headers, body = self.request("POST", QUERY, json.dumps({"sql": sql} | others), headers)
        assert SECRET.encode() not in body
        return status, headers, body

    def rows(self, sql: str, **others) -> dict:
        status, headers, body = self.query(sql, **others)
        assert status == 200, f"{sql}: {body[:2000]!r}"
        answer = json.loads(body)
        assert set(answer) == {"columns", "rows", "row_count", "truncated", "execution_time_ms"}
        assert answer["row_count"] == len(answer["rows"])
        assert headers["stockscan-truncated"] == str(answer["truncated"]).lower()
        return answer

    def problem(self, sql: str) -> dict:
        status, headers, body = self.query(sql)
        assert 400 <= status < 600, f"{sql}: {status} {body[:500]!r}"
        assert headers["content-type"].startswith("application/problem+json")
        problem = json.loads(body)
        assert problem["status"] == status
        return problem

    def is_well(self) -> bool:
        return self.request("GET", HEALTH)[0] == 200

    def children(self) -> list[int]:
        found = []
        for stat in Path("/proc").glob("[0-9]*/stat"):
            try:
                fields = stat.read_text().rsplit(")", 1)[1].split()
            except OSError:
                continue
            # What has ended and is only not yet buried does no more harm.
            if int(fields[1]) == self.process.pid and fields[0] != "Z":
                found.append(int(stat.parent.name))
        return found

    def resident(self) -> int:
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0]) * 1024

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(timeout=30)
        self.log.close()


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def make_market(folder: Path) -> Path:
    """A small market, with macros and views whose bodies would be dangerous."""
    path = folder / "market.duckdb"
    (folder / "secret.txt").write_text(SECRET)
    (folder / "secret.csv").write_text(f"a\n{SECRET}\n")
    with connect(path) as connection:
        connection.execute("CREATE TABLE bars AS FROM demo_bars(symbols := 20, sessions := 60)")
        connection.execute("CREATE SEQUENCE ids")
        connection.execute("CREATE MACRO run(t) AS TABLE FROM query(t)")
        connection.execute("CREATE MACRO scan_run(scan_date, t := 'SELECT 1') AS TABLE FROM query(t)")
        connection.execute("CREATE MACRO setting(x) AS current_setting(x)")
        connection.execute("CREATE MACRO abs(x) AS nextval('ids')")
        connection.execute("CREATE MACRO halved(x) AS x / 2")
        connection.execute("CREATE MACRO liquid(n) AS TABLE SELECT symbol FROM bars GROUP BY symbol HAVING sum(volume) > n")
        connection.execute(f"CREATE VIEW leak AS SELECT * FROM read_text('{folder}/secret.txt')")
        connection.execute("CREATE VIEW closes AS SELECT symbol, ts, close FROM bars")
        connection.execute("CREATE TYPE mood AS ENUM ('calm', 'wild')")
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("served") / "here"
    folder.mkdir()
    make_market(folder)
    return folder


@pytest.fixture(scope="module")
def server(folder):
    before = digest(folder / "market.duckdb")
    server = Server(folder, "--enable-query")
    server.request("GET", HEALTH)
    there = files(folder)
    yield server
    made = {name for name in files(folder) - there if not name.startswith("state.duckdb")}
    server.stop()
    assert SECRET not in server_told(folder), "a secret in the log"
    assert made == set(), "a statement made files"
    assert digest(folder / "market.duckdb") == before, "a statement changed the database"


def server_told(folder: Path) -> str:
    return (folder.parent / f"{folder.name}.log").read_text()


@pytest.fixture(autouse=True)
def still_well(request):
    yield
    if "server" in request.fixturenames:
        assert request.getfixturevalue("server").is_well()


REFUSED = [
    # Nothing, or more than one.
    "",
    "   \n-- nothing\n/* at all */ ;;",
    "SELECT 1; SELECT 2",
    "SELECT 1; DROP TABLE bars",
    "SELECT 1;;DELETE FROM bars",
    "SELECT 1 /* ; */; /* */ DELETE FROM bars",
    # What is no query.
    "DELETE FROM bars",
    "TRUNCATE bars",
    "UPDATE bars SET close = 0",
    "INSERT INTO bars FROM bars",
    "MERGE INTO bars USING bars AS b ON true WHEN MATCHED THEN DELETE",
    "CREATE TABLE t AS SELECT 1",
    "CREATE TEMP TABLE t AS SELECT 1",
    "CREATE OR REPLACE VIEW closes AS SELECT 1",
    "CREATE MACRO f(x) AS x",
    "CREATE SECRET s (TYPE s3, KEY_ID 'x', SECRET 'y')",
    "DROP TABLE bars",
    "ALTER TABLE bars ADD COLUMN x INTEGER",
    "COMMENT ON TABLE bars IS 'x'",
    "COPY bars TO 'stolen.csv'",
    "COPY (SELECT 1) TO 'market.duckdb'",
    "COPY (SELECT 1) TO 'market.duckdb.wal'",
    "COPY bars FROM 'secret.csv'",
    "COPY FROM DATABASE market TO memory",
    "EXPORT DATABASE 'stolen'",
    "IMPORT DATABASE 'stolen'",
    "ATTACH 'new.duckdb'",
    "ATTACH 'market.duckdb' AS again",
    "DETACH market",
    "USE memory",
    "CHECKPOINT",
    "FORCE CHECKPOINT",
    "VACUUM",
    "ANALYZE",
    "INSTALL httpfs",
    "LOAD httpfs",
    "UPDATE EXTENSIONS",
    "PRAGMA version",
    "PRAGMA database_list",
    "PRAGMA enable_profiling",
    "SET threads = 1",
    "SET VARIABLE x = 1",
    "RESET threads",
    "CALL pragma_version()",
    "CALL checkpoint()",
    "BEGIN",
    "COMMIT",
    "PREPARE p AS SELECT 1",
    "EXECUTE p",
    "EXPLAIN SELECT 1",
    "EXPLAIN ANALYZE DELETE FROM bars",
    "EXPLAIN ANALYZE SELECT 1",
    "SHOW DATABASES",
    "SHOW VARIABLES",
    "SHOW threads",
    "SHOW ALL SETTINGS",
    # Changes within a query.
    "WITH x AS (DELETE FROM bars RETURNING *) SELECT * FROM x",
    "WITH x AS MATERIALIZED (DELETE FROM bars RETURNING *) SELECT 1",
    "WITH x AS (UPDATE bars SET close = 0 RETURNING *) FROM x",
    "WITH x AS (INSERT INTO bars FROM bars RETURNING *) FROM x",
    "WITH x AS (COPY bars TO 'stolen.csv') FROM x",
    "WITH a AS (WITH x AS (DELETE FROM bars RETURNING 1) FROM x) FROM a",
    "SELECT (WITH x AS (DELETE FROM bars RETURNING 1) SELECT count(*) FROM x)",
    "SELECT 1 WHERE EXISTS (WITH x AS (DELETE FROM bars RETURNING 1) FROM x)",
    "SELECT 1 LIMIT (WITH x AS (DELETE FROM bars RETURNING 1) SELECT count(*) FROM x)",
    "SELECT * FROM (INSERT INTO bars FROM bars RETURNING *)",
    "FROM (DELETE FROM bars RETURNING *)",
    "SUMMARIZE (WITH x AS (DELETE FROM bars RETURNING *) FROM x)",
    "SELECT nextval('ids')",
    "SELECT setval('ids', 5)",
    "SELECT abs(-1)",
    "SELECT main.abs(-1)",
    "SELECT market.main.abs(-1)",
    "SELECT list_transform(range(3), lambda x: nextval('ids'))",
    "SELECT list_aggregate([1], 'combine_aggr')",
    "SELECT 'ids'.nextval()",
    "SELECT COLUMNS(lambda c: nextval('ids') > 0) FROM bars",
    "SELECT * REPLACE (nextval('ids') AS close) FROM bars",
    # SQL in texts.
    "FROM query('SELECT 1')",
    "FROM query($$WITH x AS (DELETE FROM bars RETURNING *) FROM x$$)",
    "FROM QuErY ( E'\\x53ELECT 1' )",
    'FROM "query"(\'SELECT 1\')',
    "FROM system.main.query('SELECT 1')",
    "FROM query_table('bars')",
    "FROM query_table(['bars', 'secret.csv'])",
    "FROM json_execute_serialized_sql(json_serialize_sql('SELECT 1'))",
    "SELECT json_execute_serialized_sql('x')",
    "SELECT json_serialize_plan('SELECT 1')",
    "SELECT json_deserialize_sql(json_serialize_sql('SELECT 1'))",
    "FROM run('SELECT 1')",
    "FROM run('WITH x AS (DELETE FROM bars RETURNING *) FROM x')",
    "FROM scan_run('2025-01-15')",
    "FROM backtest('run', '2025-01-06', '2025-01-15', params := {t: 'SELECT 1'})",
    "FROM backtest('r' || 'un', '2025-01-06', '2025-01-15')",
    "FROM optimize('gap', '2025-01-06', '2025-01-15', {min_gap_pct: [1]}, definition := 'CREATE MACRO scan_gap() AS TABLE FROM read_text(''secret.txt'')')",
    "FROM optimize('gap', '2025-01-06', '2025-01-15', {min_gap_pct: [1]}, objective := '(SELECT content FROM read_text(''secret.txt''))')",
    # Files.
    "FROM 'secret.csv'",
    "FROM secret.csv",
    'FROM "secret.csv"',
    'FROM "/etc/passwd"',
    "FROM 's3://bucket/x.parquet'",
    "FROM 'https://127.0.0.1:1/x.parquet'",
    "FROM 'market.duckdb'",
    "SELECT * FROM read_text('secret.txt')",
    "SELECT read_text('secret.txt')",
    "FROM read_blob('market.duckdb')",
    "FROM read_csv('secret.csv')",
    "FROM read_csv_auto('secret.csv')",
    "FROM read_json('x.json')",
    "FROM read_ndjson_objects('x.json')",
    "FROM read_parquet('x.parquet')",
    "FROM parquet_metadata('x.parquet')",
    "FROM read_duckdb('market.duckdb')",
    "FROM sniff_csv('secret.csv')",
    "FROM glob('/*')",
    "DESCRIBE 'secret.csv'",
    "SUMMARIZE 'secret.csv'",
    "SELECT * FROM (WITH \"secret.csv\" AS (SELECT 1) FROM \"secret.csv\"), 'secret.csv'",
    "WITH RECURSIVE \"secret.csv\" AS (FROM 'secret.csv' UNION ALL FROM \"secret.csv\") FROM \"secret.csv\"",
    "FROM leak",
    "FROM scan_breakout('2025-01-15', source := 'secret.csv')",
    "FROM visible_bars('2025-01-15', '09:50', source := 'secret.csv')",
    "WITH s AS (FROM scan_breakout('2025-01-15')) FROM outcomes('secret.csv')",
    "FROM equity_curve('secret.csv')",
    "FROM histogram_values('secret.csv', a)",
    # Settings, secrets, the machine.
    "SELECT getenv('STOCKSCAN_TEST_SECRET')",
    "SELECT current_setting('home_directory')",
    "SELECT setting('home_directory')",
    "SELECT getvariable('x')",
    "FROM duckdb_settings()",
    "FROM duckdb_secrets()",
    "FROM which_secret('s3://x', 's3')",
    "FROM duckdb_variables()",
    "FROM duckdb_databases()",
    "FROM duckdb_views()",
    "FROM duckdb_functions()",
    "FROM duckdb_logs()",
    "FROM duckdb_temporary_files()",
    "FROM duckdb_extensions()",
    "FROM pragma_database_size()",
    "FROM pragma_storage_info('bars')",
    "FROM pragma_database_list",
    "FROM duckdb_views",
    "FROM information_schema.views",
    "FROM pg_catalog.pg_settings",
    "FROM pg_catalog.pg_views",
    "FROM sqlite_master",
    "FROM enable_logging()",
    "FROM enable_profiling()",
    "FROM truncate_duckdb_logs()",
    "SELECT write_log('x')",
    "SELECT sleep_ms(100000)",
    "SELECT pg_sleep(100)",
    # Names that look like others, and texts that end elsewhere.
    "FROM quer\uff59('SELECT 1')",
    "FROM read\u200b_text('secret.txt')",
    "FROM \u0440ragma_version()",
    "SELECT 1 \u037e DROP TABLE bars",
    "FROM duc\u212adb_settings()",
    "SELECT 'a'' ; DROP TABLE bars; --",
    "SELECT /* /* */ 1; DROP TABLE bars; -- */",
    "SELECT E'\\'; DROP TABLE bars; --'; DROP TABLE bars",
    "SELECT $a$ $b$ $a$; DROP TABLE bars; SELECT $b$ x $b$",
    "SELECT 1\0; DROP TABLE bars",
    "SELECT\u00a01; DELETE FROM bars",
    "SELECT 1\r; DELETE FROM bars\r",
    "\ufeffDELETE FROM bars",
    # Parameters, for which there are no values.
    "SELECT ?",
    "SELECT $1",
    "FROM scan_breakout($date)",
    # Several statements in one.
    "PIVOT bars ON symbol USING avg(close)",
    "WITH p AS (PIVOT bars ON symbol USING avg(close)) FROM p",
    # Wrong.
    "SELEC 1",
    "SELECT nothing_of_the_kind",
    "SELECT 1 +",
    "SELECT 'x'::INTEGER",
    "SELECT error('of my own')",
    "SELECT no_such_function(1)",
    "FROM no_such_table",
]


@pytest.mark.parametrize("sql", REFUSED, ids=[f"{number}: {sql[:60]!r}" for number, sql in enumerate(REFUSED)])
def test_a_statement_that_could_do_more_than_read_is_refused(server, sql):
    problem = server.problem(sql)
    assert problem["status"] == 400, problem
    assert problem["parameter"] == "sql"
    for path in ["/tmp", "/root", "/home", "market.duckdb'"]:
        assert path not in problem["detail"].replace(sql, "") or path in sql, problem


def test_it_is_said_what_is_wrong_and_where(server):
    assert "did you mean 'bars'" in server.problem("FROM brs")["detail"]
    assert "DELETE is not allowed" in server.problem("WITH x AS (DELETE FROM bars RETURNING *) FROM x")["detail"]
    assert "line 2, column 1" in server.problem("SELECT 1\nFRM bars x y")["detail"]
    assert "of my own" in server.problem("SELECT error('of my own')")["detail"]
    assert "min_price" in server.problem("FROM scan_breakout('2025-01-15', min_price := -1)")["detail"]
    assert "reads a file" in server.problem("FROM leak")["detail"]


READ = [
    ("SELECT 42 AS answer", [{"answer": 42}]),
    ("SELECT 1 AS a, 2 AS a, 3 AS a_1", [{"a": 1, "a_1": 2, "a_1_1": 3}]),
    ("VALUES ('; DROP TABLE bars', 'DELETE')", [{"col0": "; DROP TABLE bars", "col1": "DELETE"}]),
    ("SELECT halved(5) AS h", [{"h": 2.5}]),
    ("SELECT 'wild'::mood AS m, NULL AS n, true AS t", [{"m": "wild", "n": None, "t": True}]),
    ("SELECT {'a': [1, 2]} AS s, MAP {'k': 1} AS m", [{"s": {"a": [1, 2]}, "m": {"k": 1}}]),
    ("WITH RECURSIVE n AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM n WHERE i < 3) SELECT sum(i)::INTEGER AS s FROM n", [{"s": 6}]),
    ("PIVOT (VALUES ('a', 1), ('b', 2)) AS t(k, v) ON k IN ('a', 'b') USING sum(v)::INTEGER", [{"a": 1, "b": 2}]),
    ("SELECT count(DISTINCT table_name) AS n FROM information_schema.tables WHERE table_name IN ('bars', 'closes')", [{"n": 2}]),
    ("SELECT 'SELECT' -- ; DROP TABLE bars\n AS x;\n-- the end", [{"x": "SELECT"}]),
]


@pytest.mark.parametrize(("sql", "rows"), READ)
def test_a_statement_that_reads_gets_its_rows(server, sql, rows):
    assert server.rows(sql)["rows"] == rows


def test_the_rows_are_those_of_the_database(server, folder):
    statements = [
        "SELECT symbol, count(*) AS n, max(close) AS c FROM bars GROUP BY symbol ORDER BY symbol",
        "SELECT * FROM (SELECT symbol, ts, close, lag(close) OVER (PARTITION BY symbol ORDER BY ts) AS before FROM bars) ORDER BY ALL LIMIT 100",
        "SELECT b.symbol, c.close FROM bars AS b JOIN closes AS c USING (symbol, ts) ORDER BY ALL LIMIT 10",
        "FROM scan_breakout('2025-01-15', max_results_per_day := 50, min_price := 1) ORDER BY ALL",
        "FROM scan_gap('2024-12-20', end_date := '2025-01-15') ORDER BY ALL",
        "WITH found AS (FROM scan_gap('2024-12-20', end_date := '2025-01-15')) FROM outcomes('found') ORDER BY ALL",
        "SELECT trades, round(hit_rate_pct, 6) AS h FROM backtest_summary('gap', '2024-12-20', '2025-01-15')",
        "FROM liquid(1000) ORDER BY ALL",
        "SELECT scanner FROM scanners() WHERE is_built_in ORDER BY ALL",
        "SUMMARIZE closes",
    ]
    compared = 0
    with connect(folder / "market.duckdb", read_only=True) as connection:
        for sql in statements:
            expected = connection.execute(sql).fetchall()
            status, _, body = server.query(sql, accept="application/vnd.apache.arrow.stream")
            assert status == 200, f"{sql}: {body[:1000]!r}"
            given = pa.ipc.open_stream(body).read_all()
            assert [tuple(row.values()) for row in given.to_pylist()] == expected, sql
            compared += len(expected)
    assert compared > 100, "the statements found next to nothing to compare"


def test_columns_have_their_types(server):
    answer = server.rows("SELECT symbol, ts, close, volume, [1] AS l, {'a': DATE '2025-01-15'} AS s, 1.5::DECIMAL(9, 2) AS d FROM bars LIMIT 1")
    types = {column["name"]: column["type"] for column in answer["columns"]}
    assert types == {
        "symbol": "VARCHAR",
        "ts": "TIMESTAMP",
        "close": "DOUBLE",
        "volume": "BIGINT",
        "l": "INTEGER[]",
        "s": 'STRUCT("a" DATE)',
        "d": "DECIMAL(9,2)",
    }


def test_each_format_has_the_same_rows(server):
    sql = "SELECT symbol, ts, close FROM bars ORDER BY symbol, ts LIMIT 5000"
    status, headers, body = server.query(sql, accept="application/vnd.apache.parquet")
    assert (status, headers["content-type"]) == (200, "application/vnd.apache.parquet")
    expected = pq.read_table(pa.BufferReader(body)).to_pylist()
    assert len(expected) == 5000
    _, headers, body = server.query(sql, accept="application/vnd.apache.arrow.stream")
    assert pa.ipc.open_stream(body).read_all().to_pylist() == expected
    closes = [row["close"] for row in expected]
    assert [row["close"] for row in server.rows(sql)["rows"]] == closes
    _, headers, body = server.query(sql, accept="application/x-ndjson")
    assert [json.loads(line)["close"] for line in body.splitlines()] == closes
    _, headers, body = server.query(sql, accept="text/csv")
    lines = body.decode().splitlines()
    assert lines[0] == "symbol,ts,close"
    assert [float(line.split(",")[2]) for line in lines[1:]] == closes
    assert server.query(sql, accept="image/png")[0] == 406


def test_what_is_left_out_is_marked(server):
    answer = server.rows("FROM range(5)", max_rows=5)
    assert (answer["row_count"], answer["truncated"]) == (5, False), "exactly as many as allowed are all"
    answer = server.rows("FROM range(6)", max_rows=5)
    assert (answer["row_count"], answer["truncated"]) == (5, True)
    answer = server.rows("SELECT range AS i FROM range(150000)")
    assert (answer["row_count"], answer["truncated"], answer["rows"][-1]) == (100_000, True, {"i": 99_999})
    # 64 MiB are 64 rows of a little less than 1 MiB, with what else an array takes.
    status, headers, body = server.query("SELECT repeat('x', 1000000) AS x FROM range(1000)", accept="application/x-ndjson")
    assert (status, headers["stockscan-truncated"]) == (200, "true")
    assert 60 <= len(body.splitlines()) <= 67
    _, headers, _ = server.query("SELECT 1", accept="text/csv")
    assert headers["stockscan-truncated"] == "false"
    for wrong in [0, -1, 100_001, 1.5, "5"]:
        status, _, _ = server.query("SELECT 1", max_rows=wrong)
        assert status == 400, wrong


BOMBS = {
    "many long texts": "SELECT max(length(repeat('x', i))) FROM range(3000000000, 3000002048) AS t(i)",
    "one text": "SELECT repeat('x', 10000000000)",
    "a padded text": "SELECT length(lpad('x', 2000000000, 'y')) + length(rpad('x', 2000000000, 'y'))",
    "a wide number": "SELECT format('{:>2000000000}', 1)",
    "doubled again and again": "WITH a AS (SELECT repeat('x', 1000) AS s)"
    + "".join(f", a{n} AS MATERIALIZED (SELECT s || s || s || s AS s FROM a{n - 1 if n else ''})" for n in range(12)).replace("a0 AS", "a0 AS", 1)
    + " SELECT length(s) FROM a11",
    "a long list": "SELECT len(range(4000000000))",
    "lists of lists": "SELECT list_transform(range(100000), lambda x: range(100000))",
    "resized": "SELECT list_resize([1], 2000000000)",
    "all in one list": "SELECT len(list(i)) FROM range(10000000000) AS t(i)",
    "all in one text": "SELECT length(string_agg(i::VARCHAR || repeat('x', 1000), '')) FROM range(1000000000) AS t(i)",
    "a sort without end": "SELECT * FROM range(10000000000) AS t(i) ORDER BY hash(i) LIMIT 1000000 OFFSET 5000000000",
    "all distinct": "SELECT count(*) FROM (SELECT DISTINCT hash(i) FROM range(10000000000) AS t(i))",
    "a recursion without end": "WITH RECURSIVE r AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM r) SELECT sum(i) FROM r",
    "a recursion that grows": "WITH RECURSIVE r AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM r, range(10)) SELECT count(*) FROM r",
    "all with all": "SELECT count(*) FROM bars a, bars b, bars c WHERE a.close + b.close > c.close",
    "an expression that takes long": "SELECT sum(length(regexp_replace(repeat('a', 5000), '(a*)*b', 'x', 'g'))) FROM range(1000000)",
    "a regular expression": "SELECT regexp_matches(repeat('a', 100000), '(a|aa|aaa){1000}{1000}')",
    "likeness": "SELECT sum(levenshtein(repeat('a', 20000), repeat('b', 20000 + i::INTEGER))) FROM range(100000) AS t(i)",
    "a factorial": "SELECT sum(factorial(33 + (i % 2)::INTEGER)) FROM range(100000000000) AS t(i)",
    "all permutations": "SELECT count(*) FROM " + ", ".join(f"range(100) AS r{n}" for n in range(12)),
    "brackets": "SELECT " + "(" * 30_000 + "1" + ")" * 30_000,
    "lists in lists": "SELECT " + "[" * 30_000 + "]" * 30_000,
    "negations": "SELECT " + "NOT " * 15_000 + "true",
    "sums": "SELECT 1" + "+1" * 30_000,
    "queries in queries": "SELECT * FROM " + "(SELECT * FROM " * 4000 + "bars" + ")" * 4000,
    "unions": " UNION ALL ".join(["SELECT 1"] * 4000),
    "with": "WITH " + ", ".join(f"c{n} AS (SELECT * FROM {'c%d AS x, c%d AS y' % (n - 1, n - 1) if n else 'bars'})" for n in range(300)) + " SELECT count(*) FROM c299",
    "a grid without end": "FROM optimize('gap', '2024-11-01', '2025-01-15', {min_gap_pct: range(1, 100000), stop_loss_pct: range(1, 100000)})",
    "a market without end": "SELECT count(*) FROM demo_bars(symbols := 1000000, sessions := 100000)",
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_harms_nobody(server, name):
    before = server.resident()
    started = time.monotonic()
    status, headers, body = server.query(BOMBS[name])
    took = time.monotonic() - started
    if status == 200:
        # It may be less of a bomb than it looks; then it ended in time.
        assert json.loads(body)["row_count"] >= 0
    else:
        problem = json.loads(body)
        assert status in (400, 413, 500, 503, 504), problem
        assert problem["error"] in ("invalid", "too_large", "out_of_memory", "timeout", "statement_failed"), problem
    assert took < TIMEOUT + 10, f"{name} went on for {took:.0f} s, where {TIMEOUT} s are allowed"
    assert server.is_well()
    assert server.resident() - before < 200 << 20, "the server took the memory that only the statement may take"
    assert wait_until(lambda: server.children() == []), "the process of the statement is still there"
    assert server.rows("SELECT count(*) > 0 AS x FROM bars")["rows"] == [{"x": True}]


def wait_until(is_so, seconds=10) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if is_so():
            return True
        time.sleep(0.02)
    return is_so()


def test_bombs_at_the_same_time_leave_the_others_alone(server):
    with ThreadPoolExecutor(12) as pool:
        bombs = [pool.submit(server.query, BOMBS[name]) for name in ["many long texts", "all distinct", "all in one list", "all with all"]]
        scans = [pool.submit(server.request, "GET", HEALTH) for _ in range(50)]
        assert {scan.result()[0] for scan in scans} == {200}
        assert all(bomb.result()[0] in (500, 503, 504) for bomb in bombs)


def test_a_statement_that_is_too_long_is_refused(server):
    status, _, body = server.query("SELECT '" + "x" * 70_000 + "'")
    assert (status, json.loads(body)["error"]) == (413, "too_large")
    status, _, _ = server.query("SELECT '" + "x" * 10_000_000 + "'")
    assert status == 413


def test_what_is_no_request_is_refused(server):
    json_type = {"Content-Type": "application/json"}
    for body in ["", "x", "[]", "{}", '{"sql": 1}', '{"sql": null}', '{"sql": "SELECT 1", "more": 1}', "{" * 10_000]:
        status, headers, _ = server.request("POST", QUERY, body, json_type)
        assert status == 400, body
        assert headers["content-type"].startswith("application/problem+json")
    status, _, _ = server.request("POST", QUERY, b'{"sql": "SELECT \xff"}', json_type)
    assert status == 400
    assert server.request("POST", QUERY, '{"sql": "SELECT 1"}', {"Content-Type": "text/plain"})[0] == 415
    assert server.request("GET", QUERY)[0] == 405


def test_the_statement_of_a_client_that_left_is_ended(server):
    body = json.dumps({"sql": BOMBS["all permutations"]})
    connection = http.client.HTTPConnection(server.host, server.port)
    connection.request("POST", QUERY, body, {"Content-Type": "application/json"})
    assert wait_until(lambda: len(server.children()) == 1, 3)
    connection.close()
    assert wait_until(lambda: server.children() == [], 2), "the statement goes on although nobody waits for it"


def test_a_client_that_takes_no_rows_holds_no_process_for_ever(server):
    body = json.dumps({"sql": "SELECT repeat('x', 1000) AS x FROM range(100000)"})
    connection = http.client.HTTPConnection(server.host, server.port)
    connection.request("POST", QUERY, body, {"Content-Type": "application/json"})
    assert connection.getresponse().status == 200
    assert wait_until(lambda: server.children() == [], TIMEOUT + 5)
    connection.close()


def test_others_can_write_once_nothing_is_asked(server, folder):
    assert server.rows("SELECT count(*) AS n FROM bars")["row_count"] == 1

    def can_write() -> bool:
        try:
            connect(folder / "market.duckdb").close()
            return True
        except Exception as error:
            assert "lock" in str(error)
            return False

    assert wait_until(can_write, 5), "the database is still held"


def test_a_statement_runs_beside_scans(server):
    scan = json.dumps({"scanner_type": "gap", "scan_date": "2025-01-15"})

    def scanned(_):
        return server.request("POST", "/api/v1/scanner/scan", scan, {"Content-Type": "application/json"})[0]

    def asked(number):
        return server.rows(f"SELECT count(*) + {number} AS n FROM bars")["rows"][0]["n"] - number

    with ThreadPoolExecutor(8) as pool:
        scans = pool.map(scanned, range(40))
        counts = set(pool.map(asked, range(20)))
        assert set(scans) == {200}
        assert len(counts) == 1


def test_a_killed_server_leaves_no_process_behind(tmp_path):
    folder = tmp_path / "killed"
    folder.mkdir()
    path = make_market(folder)
    before = digest(path)
    server = Server(folder, "--enable-query")
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(server.query, BOMBS["all permutations"])
        assert wait_until(lambda: len(server.children()) == 1, 3)
        [child] = server.children()
        server.process.kill()
        server.process.wait()
        assert asked.exception() is not None
    assert wait_until(lambda: not Path(f"/proc/{child}").exists(), 3), "its process goes on without the server"
    server.log.close()
    assert digest(path) == before


def test_it_is_off_unless_it_is_enabled(tmp_path):
    folder = tmp_path / "off"
    folder.mkdir()
    make_market(folder)
    server = Server(folder)
    try:
        status, _, body = server.query("SELECT 1")
        assert status == 403
        assert "--enable-query" in json.loads(body)["detail"]
    finally:
        server.stop()
