"""What the dashboard asks the server for: its files, sessions, explanations, the configuration, tables as files, bars of any length, indicators."""

import io
import json
import re
import time
from datetime import date, datetime, time as clock

import openpyxl
import pyarrow
import pyarrow.parquet
import pytest

from conftest import connect
from server import PREFIX, ROOT, Server, scanner
from test_server_contract import problem

DIST = ROOT / "web" / "dist"
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; connect-src 'self'; manifest-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


def put(server, path: str, value, **options):
    return server.request("PUT", path, json_body={"value": value}, **options)


def rows_of(connection, sql: str, *values) -> list[dict]:
    """The rows of a query, times as the server writes them."""
    found = connection.execute(sql, values)
    names = [column[0] for column in found.description]
    text = lambda value: value.isoformat() if isinstance(value, (date, datetime, clock)) else value
    return [dict(zip(names, map(text, row))) for row in found.fetchall()]


@pytest.fixture(scope="module")
def market(market_file):
    """The bars that the server has, asked through the extension."""
    with connect(market_file, read_only=True) as connection:
        yield connection


# The dashboard's files


def test_the_dashboard_is_at_the_root(server):
    page = server.get("//")
    assert page.status == 200 and page.headers["Content-Type"].startswith("text/html")
    assert page.body == (DIST / "index.html").read_bytes()
    assert page.headers["Cache-Control"] == "no-cache", "else an old page would ask for files that are gone"
    assert page.headers["Content-Security-Policy"] == POLICY
    assert page.headers["X-Content-Type-Options"] == "nosniff" and page.headers["X-Frame-Options"] == "DENY"
    known = server.get("//", headers={"If-None-Match": page.headers["ETag"]})
    assert (known.status, known.body, known.headers["ETag"]) == (304, b"", page.headers["ETag"])
    assert known.headers["Cache-Control"] == "no-cache"
    head = server.request("HEAD", "//")
    assert (head.status, head.body, head.headers["ETag"]) == (200, b"", page.headers["ETag"])
    for method in ("POST", "PUT", "DELETE", "PATCH"):
        problem(server.request(method, "//", json_body={}), 405)


def test_each_file_of_the_dashboard_is_served(server):
    types = {".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml", ".woff2": "font/woff2"}
    for file in DIST.rglob("*"):
        name = file.relative_to(DIST).as_posix()
        if not file.is_file() or name == "index.html":
            continue
        served = server.get(f"///{name}"[1:])
        assert served.status == 200 and served.body == file.read_bytes(), name
        assert file.suffix not in types or served.headers["Content-Type"].split(";")[0] == types[file.suffix]
        expected = "public, max-age=31536000, immutable" if name.startswith("assets/") else "no-cache"
        assert served.headers["Cache-Control"] == expected, name
    for strange in ("//assets/no-such.js", "//index.htm", "//../Cargo.toml", "//assets/..%2f..%2fCargo.toml", "//assets/"):
        problem(server.get(strange), 404)
    assert "style-src 'self' 'unsafe-inline'" in server.get("/docs/").headers["Content-Security-Policy"], "the description's page has its own"


def test_the_dashboard_needs_no_key_and_the_data_does(market_folder):
    key = scanner(market_folder, "key", "add", "reader").stdout.strip()
    with Server(market_folder) as server:
        assert server.get("//").status == 200 and server.request("HEAD", "//").status == 200
        problem(server.get("//", headers={"X-API-Key": "wrong"}), 401)
        for method, path in (("POST", "//"), ("GET", "//no-such-file"), ("GET", "/sessions"), ("GET", "/configuration")):
            problem(server.request(method, path, json_body={} if method == "POST" else None), 401)
        assert server.get("/sessions", headers={"X-API-Key": key}).status == 200


def test_without_keys_the_dashboard_is_asked_for_by_a_name_of_this_machine(server):
    problem(server.get("//", headers={"Host": "evil.example.com"}), 403)
    said = server.log().splitlines()[0]
    assert f"dashboard at {server.root}/, interface at {server.url}, described at {server.url}/docs" in said


# Sessions


def test_sessions(server, market):
    expected = rows_of(market, "FROM sessions() ORDER BY session_date DESC")
    answer = server.get("/sessions")
    assert answer.json() == expected and len(expected) == 80
    assert list(expected[0]) == ["session_date", "symbols", "bars", "first_bar", "last_bar", "volume"]
    assert server.get("/sessions?limit=3").json() == expected[:3]
    assert server.get("/sessions", headers={"If-None-Match": answer.headers["ETag"]}).status == 304
    for wrong in ("0", "100001", "-1"):
        assert problem(server.get(f"/sessions?limit={wrong}"), 400)["parameter"] == "limit"


# Explanations


def test_an_explanation_is_that_of_the_command(server, market):
    question = {"scanner_type": "breakout", "scan_date": "2025-01-10", "cutoff_time": "11:00", "config": {"min_price": 100, "max_results_per_day": 5}}
    found = server.post("/explain", question).json()
    assert list(found) == ["scanner_type", "start_date", "end_date", "sql", "candidates", "steps", "unavailable"]
    assert (found["scanner_type"], found["start_date"], found["end_date"], found["unavailable"]) == ("breakout", "2025-01-10", "2025-01-10", None)
    # The statement gives the scan's rows in another DuckDB.
    results = server.post("/scan", question).json()["results"]
    assert len(results) > 0
    names = ("rank", "symbol", "price", "probability_score")
    rows = rows_of(market, f"SELECT {', '.join(names)} FROM ({found['sql']}) ORDER BY rank")
    assert rows == [{name: row[name] for name in names} for row in results]
    options = ["--date", "2025-01-10", "--cutoff", "11:00", "--set", "min_price=100", "--set", "max_results_per_day=5"]
    said = scanner(server.folder, "run", "--scanner-type", "breakout", *options, "--sql").stdout
    assert found["sql"] == said.strip()
    # The conditions as the command says them, the last of which is that of the hits.
    told = scanner(server.folder, "run", "--scanner-type", "breakout", *options, "--explain", "--format", "csv").stderr
    counts = [int(number) for number in re.findall(r"^\s+(\d+)  ", told, re.MULTILINE)]
    assert [step["survivors"] for step in found["steps"]] == counts and len(counts) > 5
    assert found["candidates"] >= counts[0] and counts[-1] == len(results)
    step = next(step for step in found["steps"] if step["condition"] == "price >= min_price")
    assert step["parameters"] == "min_price = 100"
    eligible = market.execute("SELECT count(*) FROM (SELECT symbol, arg_max(close, ts) AS price FROM session_bars('2025-01-10', '2025-01-10', cutoff_time := '11:00') GROUP BY symbol) WHERE price < 100").fetchone()[0]
    before = found["steps"][found["steps"].index(step) - 1]["survivors"]
    assert 0 < before - step["survivors"] <= eligible


def test_explanations_that_cannot_be(market_folder):
    macro = "CREATE MACRO scan_plain(scan_date, cutoff_time := '09:50', end_date := NULL) AS TABLE FROM scan_breakout(scan_date, end_date := end_date)"
    scanner(market_folder, "sql", macro)
    with Server(market_folder) as server:
        found = server.post("/explain", {"scanner_type": "plain", "scan_date": "2025-01-15"})
        document = found.json()
        assert (found.status, document["candidates"], document["steps"]) == (200, None, []), document
        assert "conditions" in document["unavailable"] and document["sql"].startswith("FROM scan_plain(")
        refused = problem(server.post("/explain", {"scanner_type": "breakout", "config": {"min_price": -1}}), 400)
        assert refused["parameter"] == "min_price" and refused["scanner_type"] == "breakout"
        problem(server.post("/explain", {"scanner_type": "no_such"}), 404)
        refused = problem(server.post("/explain", {"scanner_type": "plain", "scan_date": "2025-01-15", "cutoff_time": "never"}), 400)
        assert refused["parameter"] == "cutoff_time"


# The configuration


def keys_of(server, **options) -> dict:
    document = server.get("/configuration", **options).json()
    return {(entry["section"], entry["key"]): entry for entry in document["keys"]}


def test_the_configuration_is_what_the_command_shows(market_folder):
    (market_folder / "scanner_config.json").write_text('{"default": {"min_price": 60}, "breakout": {"cutoff_time": "10:15"}}')
    with Server(market_folder, variables={"STOCKSCAN_API_TIMEOUT": "77"}) as server:
        document = server.get("/configuration").json()
        assert list(document) == ["file", "writable", "keys", "problems"]
        assert (document["file"], document["writable"], document["problems"]) == ("scanner_config.json", True, [])
        keys = keys_of(server)
        assert len(keys) == len(document["keys"]), "each key once"
        shown = json.loads(scanner(market_folder, "config", "--format", "json").stdout)
        sections = {tuple(row["key"].split(".", 1)): row for row in shown if row["key"] != "breakout.cutoff_time"}
        scanners = json.loads(scanner(market_folder, "list", "--format", "json").stdout)
        assert {section for section, _ in keys} == {section for section, _ in sections} | {row["scanner"] for row in scanners}
        for place, row in sections.items():
            entry = keys[place]
            if place != ("api", "timeout"):
                assert entry["origin"] == row["origin"], place
            assert (entry["allowed"], entry["meaning"], entry["acts_in"] or "") == (row["allowed"], row["meaning"], row["acts_in"]), place
        of_breakout = json.loads(scanner(market_folder, "config", "--scanner-type", "breakout", "--format", "json").stdout)
        assert [row["key"] for row in of_breakout] == [key for section, key in keys if section == "breakout"]
        for row in of_breakout:
            entry = keys["breakout", row["key"]]
            assert (entry["origin"], entry["allowed"], entry["unit"] or "") == (row["origin"], row["allowed"], row["unit"]), row
        price = keys["breakout", "min_price"]
        assert (price["value"], price["default"], price["origin"], price["unit"]) == (60, 50, "scanner_config.json", "currency")
        assert (price["schema"]["type"], price["schema"]["minimum"]) == ("number", 0)
        timeout = keys["api", "timeout"]
        assert (timeout["value"], timeout["default"], timeout["origin"]) == (77, 300, "STOCKSCAN_API_TIMEOUT")
        assert keys["breakout", "cutoff_time"]["value"] == "10:15" and keys["gap", "cutoff_time"]["origin"] == "built-in"


def test_a_change_is_in_force_at_once(market_folder):
    question = {"scanner_type": "breakout", "start_date": "2024-12-01", "end_date": "2025-01-15"}
    with Server(market_folder) as server:
        before = server.scan(**question)
        assert put(server, "/configuration/breakout/max_results_per_day", 1).json() == {
            "changed": True, "needs_restart": False, "previous": None, "overridden_by": None
        }  # fmt: skip
        after = server.scan(**question)
        assert before["total_results"] > after["total_results"] > 0, "not the answer of before from memory"
        assert {row["rank"] for row in after["results"]} == {1}
        assert server.get("/config/default").json()["scanners"]["breakout"]["max_results_per_day"] == 1
        assert json.loads((market_folder / "scanner_config.json").read_text()) == {"breakout": {"max_results_per_day": 1}}
        assert put(server, "/configuration/breakout/max_results_per_day", 1).json()["changed"] is False
        again = put(server, "/configuration/breakout/max_results_per_day", 2).json()
        assert (again["changed"], again["previous"]) == (True, 1)
        gone = server.request("DELETE", "/configuration/breakout/max_results_per_day").json()
        assert (gone["changed"], gone["previous"]) == (True, 2)
        assert server.request("DELETE", "/configuration/breakout/max_results_per_day").json()["changed"] is False
        assert server.scan(**question)["total_results"] == before["total_results"]
        assert put(server, "/configuration/api/max_batch_size", 1).json()["needs_restart"] is False
        assert problem(server.post("/batch-scan", {"scans": [{"scanner_type": "gap"}] * 2}), 400)["parameter"] == "scans"
        tests = server.get("/openapi.json").json()["components"]["schemas"]["BatchRequest"]["properties"]["scans"]
        assert tests["maxItems"] == 1
        assert put(server, "/configuration/api/port", 9999).json()["needs_restart"] is True
        assert put(server, "/configuration/streamlit/theme", "dark").json()["changed"] is True, "the section's old name"
        assert json.loads((market_folder / "scanner_config.json").read_text())["dashboard"] == {"theme": "dark"}


def test_backtests_go_by_a_change(market_folder):
    question = {"scanner_type": "breakout", "start_date": "2024-12-01", "end_date": "2025-01-15"}
    trades = lambda job: job["result"]["summary"]["trades"]
    with Server(market_folder) as server:
        before = trades(server.post("/backtest?wait=30", question).json())
        put(server, "/configuration/breakout/max_results_per_day", 1)
        assert 0 < trades(server.post("/backtest?wait=30", question).json()) < before


def test_live_scans_that_begin_later_go_by_a_change(market_folder):
    """Those that are going on do not, and nobody joins one of before."""

    def first_update(response) -> dict:
        while not (line := response.readline().decode()).startswith("event: scan_update"):
            assert line, "the events ended"
        return json.loads(response.readline().decode().removeprefix("data: "))

    with Server(market_folder) as server:
        connections = [server.connect() for _ in range(2)]
        results = []
        for connection in connections:
            connection.request("GET", f"{PREFIX}/events/scanner/breakout?interval=1&cutoff_time=09:50&max_price=100000")
            results.append(len(first_update(connection.getresponse())["results"]))
            put(server, "/configuration/breakout/max_results_per_day", 1)
        assert results[0] > results[1] == 1
        [connection.close() for connection in connections]


def test_a_variable_wins_over_a_change(market_folder):
    with Server(market_folder, variables={"STOCKSCAN_BREAKOUT_MIN_PRICE": "70"}) as server:
        assert put(server, "/configuration/breakout/min_price", 80).json()["overridden_by"] == "STOCKSCAN_BREAKOUT_MIN_PRICE"
        assert put(server, "/configuration/default/min_price", 90).json()["overridden_by"] is None
        keys = keys_of(server)
        assert keys["breakout", "min_price"]["value"] == 70 and keys["gap", "min_price"]["value"] == 90


WRONG = [
    ("default/min_price", -1, 400, "min_price", "0 or more"),
    ("default/min_price", "much", 400, "min_price", "a number"),
    ("default/max_price", 10, 400, "max_price", "must not exceed"),
    ("breakout/cutoff_time", "25:00", 400, "cutoff_time", "a time of day"),
    ("breakout/consolidation_period", 1.5, 400, "consolidation_period", "1 to 250"),
    ("default/min_prise", 1, 404, "key", "did you mean 'min_price'?"),
    ("breakout/min_prise", 1, 404, "key", "did you mean 'min_price'?"),
    ("breakot/min_price", 1, 404, "section", "breakout"),
    ("alerts/mine", {"scanner_type": "breakout"}, 404, "section", "in the configuration file itself"),
    ("breakout/scan_date", "2025-01-15", 404, "key", "has no key"),
]


@pytest.mark.parametrize("path, value, status, parameter, said", WRONG, ids=lambda value: str(value)[:40])
def test_changes_that_cannot_be(server, path, value, status, parameter, said):
    refused = problem(put(server, f"/configuration/{path}", value), status)
    assert refused["parameter"] == parameter and said in refused["detail"], refused
    assert str(server.folder) not in refused["detail"]
    assert not (server.folder / "scanner_config.json").exists(), "nothing is written"


def test_a_body_without_its_value(server):
    problem(server.request("PUT", "/configuration/default/min_price", json_body={}), 400)
    problem(server.request("PUT", "/configuration/default/min_price", json_body={"value": 1, "more": 2}), 400)
    problem(server.request("PUT", "/configuration/default/min_price", body=b'{"value": 1}', headers={"Content-Type": "text/plain"}), 415)


def test_only_an_admin_changes_the_configuration(market_folder):
    keys = {role: {"X-API-Key": scanner(market_folder, "key", "add", role, "--role", role).stdout.strip()} for role in ("read", "ingest", "admin")}
    with Server(market_folder) as server:
        assert server.get("/configuration", headers=keys["read"]).json()["writable"] is False
        assert server.get("/configuration", headers=keys["admin"]).json()["writable"] is True
        problem(server.get("/configuration", headers=keys["ingest"]), 403)
        problem(put(server, "/configuration/default/min_price", 60), 401)
        for role in ("read", "ingest"):
            problem(put(server, "/configuration/default/min_price", 60, headers=keys[role]), 403)
            problem(server.request("DELETE", "/configuration/default/min_price", headers=keys[role]), 403)
        strange = keys["admin"] | {"Origin": "https://evil.example.com"}
        problem(put(server, "/configuration/default/min_price", 60, headers=strange), 403)
        assert put(server, "/configuration/default/min_price", 60, headers=keys["admin"]).status == 200


def test_a_named_file_is_the_one_that_is_changed(market_folder):
    folder = market_folder / "secret place"
    folder.mkdir()
    named = folder / "mine.json"
    named.write_text("{}")
    with Server(market_folder, "--config-file", named) as server:
        assert server.get("/configuration").json()["file"] == "mine.json"
        assert put(server, "/configuration/cli/scanners_directory", str(folder)).status == 200
        put(server, "/configuration/default/min_price", 65)
        assert json.loads(named.read_text())["default"] == {"min_price": 65}
        assert not (market_folder / "scanner_config.json").exists()
        assert "secret place/" not in server.get("/configuration").text, "names of files and no more"
        assert "secret place" not in problem(put(server, "/configuration/default/min_price", -1), 400)["detail"]


def until(check, seconds=5):
    """The server looks at its files once a second."""
    deadline = time.monotonic() + seconds
    while not (found := check()) and time.monotonic() < deadline:
        time.sleep(0.1)
    return found


def test_a_file_that_somebody_else_changes_is_read_again(market_folder):
    file = market_folder / "scanner_config.json"
    with Server(market_folder) as server:
        price = lambda: server.get("/config/default").json()["scanners"]["breakout"]["min_price"]
        assert price() == 50
        scanner(market_folder, "config", "--scanner-type", "breakout", "--key", "min_price", "--value", "123")
        assert until(lambda: price() == 123)
        for broken, said in (
            ('{"breakout": {"min_price": 99}', "scanner_config.json:1:30: EOF"),
            ('{"breakout": {"min_price": 99}, "default": {"min_price": -1}}', "scanner_config.json: default.min_price is -1"),
            ('{"breakout": {"min_price": 99, "min_prise": 1}}', "scanner_config.json: breakout has no key 'min_prise'"),
        ):
            file.write_text(broken)
            problems = until(lambda: [text for text in server.get("/configuration").json()["problems"] if text.startswith(said)])
            assert problems, (broken, server.get("/configuration").json()["problems"])
            assert price() == 123, "what was good goes on to hold"
            assert str(market_folder) not in json.dumps(problems)
        file.unlink()
        assert until(lambda: price() == 50)
        assert server.get("/configuration").json()["problems"] == []


# Tables


TABLE = {
    "name": "../breakout 2025-01-15\"\r\nX: y",
    "columns": [{"name": kind, "type": kind} for kind in ("text", "integer", "number", "boolean", "date", "time", "timestamp")],
    "rows": [
        ["=1+1", 9007199254740993, 0.1, True, "2025-01-15", "09:50", "2025-01-15T09:50:30.25"],
        [None, None, None, None, None, None, None],
        ["ü,\"\n", -7.0, 3, False, "1969-12-31", "23:59:59", "1969-12-31 23:59"],
    ],
}
VALUES = [
    ["=1+1", 9007199254740993, 0.1, True, date(2025, 1, 15), clock(9, 50), datetime(2025, 1, 15, 9, 50, 30, 250_000)],
    [None] * 7,
    ["ü,\"\n", -7, 3.0, False, date(1969, 12, 31), clock(23, 59, 59), datetime(1969, 12, 31, 23, 59)],
]
TYPES = ["string", "int64", "double", "bool", "date32[day]", "time64[us]", "timestamp[us]"]


@pytest.mark.parametrize("format", ["parquet", "arrow"])
def test_a_table_with_its_types(server, format):
    answer = server.post(f"/table/{format}", TABLE)
    assert answer.status == 200, answer.text
    assert answer.headers["Content-Disposition"] == f'attachment; filename="breakout2025-01-15Xy.{format}"'
    read = pyarrow.parquet.read_table if format == "parquet" else lambda file: pyarrow.ipc.open_stream(file).read_all()
    table = read(io.BytesIO(answer.body))
    assert [str(field.type) for field in table.schema] == TYPES
    assert [list(row.values()) for row in table.to_pylist()] == VALUES


def test_a_table_as_text(server):
    lines = server.post("/table/ndjson", TABLE).text.splitlines()
    expected = [
        ["=1+1", 9007199254740993, 0.1, True, "2025-01-15", "09:50:00", "2025-01-15T09:50:30.250"],
        [None] * 7,
        ["ü,\"\n", -7, 3.0, False, "1969-12-31", "23:59:59", "1969-12-31T23:59:00"],
    ]
    assert [list(json.loads(line).values()) for line in lines] == expected
    assert [list(row.values()) for row in server.post("/table/json", TABLE).json()] == expected
    assert server.post("/table/csv", TABLE).text.splitlines()[:3] == [
        "text,integer,number,boolean,date,time,timestamp",
        "'=1+1,9007199254740993,0.1,true,2025-01-15,09:50:00,2025-01-15T09:50:30.250",
        ",,,,,,",
    ]


def test_a_table_as_a_workbook_has_texts_and_no_formulas(server):
    texts = ["=HYPERLINK(\"http://evil\")", "+1+1", "-1+1", "@SUM(1)", "\t=1", "https://example.com", "1e5", "TRUE"]
    table = {"name": "", "columns": [{"name": "=2+2", "type": "text"}, {"name": "day", "type": "date"}], "rows": [[text, "2025-01-15"] for text in texts]}
    answer = server.post("/table/xlsx", table)
    assert answer.headers["Content-Disposition"] == 'attachment; filename="table.xlsx"'
    sheet = openpyxl.load_workbook(io.BytesIO(answer.body)).active
    cells = list(sheet.iter_rows())
    assert [(row[0].value, row[0].data_type, row[0].hyperlink) for row in cells] == [(text, "s", None) for text in ["=2+2", *texts]]
    assert all(row[1].value == datetime(2025, 1, 15) and row[1].is_date for row in cells[1:])
    lines = server.post("/table/csv", table).text.splitlines()
    assert lines[0].startswith("'=2+2,"), "a header is a text as well"
    assert [line[0] for line in lines[2:5]] == ["'"] * 3 and lines[6:] == ["https://example.com,2025-01-15", "1e5,2025-01-15", "TRUE,2025-01-15"]


def test_a_table_of_times_as_the_interface_has_them(server):
    """Those of the history end with a Z; the dashboard hands them on as they are."""
    server.scan(scan_date="2025-01-15")
    moment = server.get("/scans?limit=1").json()["scans"][0]["timestamp"]
    assert moment.endswith("Z")
    table = {"name": "scans", "columns": [{"name": "created_at", "type": "timestamp"}], "rows": [[moment], ["2025-01-15T09:50:00Z"]]}
    read = pyarrow.parquet.read_table(io.BytesIO(server.post("/table/parquet", table).body))
    assert read.column("created_at").to_pylist() == [datetime.fromisoformat(moment).replace(tzinfo=None), datetime(2025, 1, 15, 9, 50)]


UNFIT = [
    ("text", 1), ("integer", 1.5), ("integer", "1"), ("integer", 1e300), ("number", "1"), ("number", True), ("boolean", 1), ("date", "2025-02-30"),
    ("date", "15.01.2025"), ("time", "25:00"), ("time", "9:50"), ("time", "09:50:00+05:30"), ("timestamp", "2025-01-15"), ("timestamp", "2025-01-15T09:50:00+05:30"), ("text", ["a"]),
]  # fmt: skip


@pytest.mark.parametrize("kind, value", UNFIT, ids=str)
def test_values_that_are_not_of_their_type(server, kind, value):
    table = {"name": "a", "columns": [{"name": "first", "type": "text"}, {"name": "second", "type": kind}], "rows": [["a", None], ["b", value]]}
    refused = problem(server.post("/table/csv", table), 400)
    assert refused["parameter"] == "rows" and "row 2, column 'second'" in refused["detail"] and "expected" in refused["detail"], refused


def test_tables_that_cannot_be(server):
    table = {"name": "a", "columns": [{"name": "n", "type": "integer"}], "rows": []}
    assert server.post("/table/csv", table).text == "n\n", "without rows it is still a table"
    problem(server.post("/table/pdf", table), 400)
    for wrong, parameter in (
        ({"rows": [[1], [1, 2]]}, "rows"),
        ({"rows": [[]]}, "rows"),
        ({"rows": [[1]] * 100_001}, "rows"),
        ({"columns": []}, "columns"),
        ({"columns": [{"name": "", "type": "text"}]}, "columns"),
        ({"columns": table["columns"] * 2}, "columns"),
        ({"columns": [{"name": "n", "type": "money"}]}, None),
    ):
        assert problem(server.post("/table/csv", table | wrong), 400)["parameter"] == parameter, wrong
    many = table | {"rows": [[number] for number in range(100_000)]}
    assert server.post("/table/csv", many).text.count("\n") == 100_001
    head = f"POST {PREFIX}/table/csv HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {(16 << 20) + 1}\r\n\r\n"
    connection = server.connect()
    connection.connect()
    connection.sock.sendall(head.encode())
    assert connection.sock.recv(65536).startswith(b"HTTP/1.1 413")
    connection.close()


# Bars of any length


HAND_MADE = """
CREATE TABLE bars (symbol VARCHAR, ts TIMESTAMP, open DOUBLE, high DOUBLE, low DOUBLE, close DOUBLE, volume BIGINT);
INSERT INTO bars VALUES
    -- The market opens at 09:15 with A; B is there from 09:40 on.
    ('A', '2025-01-15 09:15', 10, 11, 9, 10.5, 100),
    ('A', '2025-01-15 09:44', 10.5, 12, 10, 11, 200),
    ('A', '2025-01-15 09:45', 11, 11.5, 8, 9, 300),
    ('A', '2025-01-15 10:14', 9, 9.5, 8.5, 9.25, 400),
    ('A', '2025-01-15 10:15', 9.25, 20, 9.25, 19, 500),
    ('B', '2025-01-15 09:40', 5, 6, 4, 5.5, 10),
    ('B', '2025-01-15 09:46', 5.5, 7, 5, 6, 20),
    -- An earlier session that opens at 10:00.
    ('A', '2025-01-14 10:00', 7, 8, 6, 7.5, 50),
    ('A', '2025-01-14 10:30', 7.5, 9, 7, 8, 60);
"""
BARS = ["ts", "open", "high", "low", "close", "volume"]


@pytest.fixture(scope="module")
def hand_made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hand_made")
    scanner(folder, "sql", "--database", "market.duckdb", input=HAND_MADE)
    with Server(folder) as running:
        yield running


def bars(server, address: str) -> list[list]:
    answer = server.get(address)
    assert answer.status == 200, answer.text
    return [[row[name] for name in BARS] for row in answer.json()]


def test_bars_are_put_together_from_the_start_of_the_session(hand_made):
    half_hours = [
        ["2025-01-15T09:15:00", 10, 12, 9, 11, 300],
        ["2025-01-15T09:45:00", 11, 11.5, 8, 9.25, 700],
        ["2025-01-15T10:15:00", 9.25, 20, 9.25, 19, 500],
    ]
    assert bars(hand_made, "/bars/A?every=30") == half_hours
    assert bars(hand_made, "/bars/A?every=60") == [["2025-01-15T09:15:00", 10, 12, 8, 9.25, 1000], half_hours[2]]
    assert bars(hand_made, "/bars/A?every=60&limit=1") == [half_hours[2]], "the latest, whole"
    # Its own first bar is at 09:40, and it is put beside A's.
    assert bars(hand_made, "/bars/B?every=30") == [["2025-01-15T09:15:00", 5, 6, 4, 5.5, 10], ["2025-01-15T09:45:00", 5.5, 7, 5, 6, 20]]
    sessions = [["2025-01-14T00:00:00", 7, 9, 6, 8, 110], ["2025-01-15T00:00:00", 10, 20, 8, 19, 1500]]
    assert bars(hand_made, "/bars/A?every=1440&from=2025-01-01") == sessions
    first = [["2025-01-14T10:00:00", 7, 8, 6, 7.5, 50], ["2025-01-14T10:30:00", 7.5, 9, 7, 8, 60]]
    assert bars(hand_made, "/bars/A?every=30&from=2025-01-14") == first + half_hours, "each session from its own start"
    assert bars(hand_made, "/bars/A?every=1") == bars(hand_made, "/bars/A") and len(bars(hand_made, "/bars/A")) == 5


def test_nothing_that_begins_at_the_end_or_later_is_in_a_bar(hand_made):
    """A chart up to the cutoff must not show what came after it."""
    expected = [["2025-01-15T09:15:00", 10, 12, 9, 11, 300], ["2025-01-15T09:45:00", 11, 11.5, 8, 9, 300]]
    assert bars(hand_made, "/bars/A?every=30&to=2025-01-15T10:14&from=2025-01-15") == expected
    assert bars(hand_made, "/bars/A?every=1440&to=2025-01-15T09:16&from=2025-01-15") == [["2025-01-15T00:00:00", 10, 11, 9, 10.5, 100]]
    # A bar of a minute has ended when the next one begins, and not before.
    assert bars(hand_made, "/bars/A?every=30&ended_by=2025-01-15T10:14&from=2025-01-15") == expected
    assert bars(hand_made, "/bars/A?every=1440&ended_by=2025-01-15T09:16&from=2025-01-15") == [["2025-01-15T00:00:00", 10, 11, 9, 10.5, 100]]
    assert hand_made.get("/bars/A?ended_by=2025-01-15T09:15:59&from=2025-01-15").status == 404
    # One that begins before what is asked for is not there in part.
    assert bars(hand_made, "/bars/A?every=30&from=2025-01-15T09:40") == bars(hand_made, "/bars/A?every=30")[1:]


def test_bars_of_other_lengths_as_sql_makes_them(server, market):
    expected = rows_of(
        market,
        """
        SELECT ts::DATE + INTERVAL '09:15' HOUR TO MINUTE
                 + to_minutes(45 * (date_diff('minute', ts::DATE + INTERVAL '09:15' HOUR TO MINUTE, ts) // 45)) AS start,
               first(open ORDER BY ts) AS open, max(high) AS high, min(low) AS low, last(close ORDER BY ts) AS close, sum(volume)::BIGINT AS volume
        FROM bars WHERE symbol = 'DEMO0007' GROUP BY start ORDER BY start
        """.replace("INTERVAL '09:15' HOUR TO MINUTE", "INTERVAL 555 MINUTE"),
    )
    expected = [list(row.values()) for row in expected]
    assert len(expected) > 500
    assert bars(server, "/bars/DEMO0007?every=45&from=2024-01-01") == expected
    assert bars(server, "/bars/DEMO0007?every=45&from=2024-01-01&limit=100") == expected[-100:]
    every = bars(server, "/bars/DEMO0007?every=2&from=2024-01-01&limit=5000000")
    assert sum(row[5] for row in every) == sum(row[5] for row in expected) and every == sorted(every)


def test_lengths_that_cannot_be(server, market_folder):
    for wrong in ("0", "-5", "1441", "2000"):
        assert problem(server.get(f"/bars/DEMO0001?every={wrong}"), 400)["parameter"] == "every"
    problem(server.get("/bars/DEMO0001?every=ten"), 400)
    scanner(market_folder, "sql", "DELETE FROM bars WHERE minute(ts) % 5 != 0")
    with Server(market_folder, "--bar-minutes", 5) as fives:
        refused = problem(fives.get("/bars/DEMO0001?every=7"), 400)
        assert refused["parameter"] == "every" and "5" in refused["detail"]
        assert len(bars(fives, "/bars/DEMO0001?every=10")) * 2 == pytest.approx(len(bars(fives, "/bars/DEMO0001")), abs=1)


# Indicators


def test_indicators_are_those_of_the_catalogue(server, market):
    listed = rows_of(market, "SELECT * EXCLUDE (documentation, options) FROM indicators()")
    given = server.get("/indicators").json()
    assert [{name: value for name, value in row.items() if name != "options"} for row in given] == listed and len(given) > 150
    texts = dict(market.execute("SELECT indicator, options FROM indicators()").fetchall())
    for row in given:
        options = [f"{option['name']} := " + (f"'{option['default']}'" if option["type"] == "VARCHAR" else f"{option['default']:g}") for option in row["options"]]
        assert options == texts[row["indicator"]], row["indicator"]
    by_name = {row["indicator"]: row for row in given}
    assert by_name["rsi"]["options"] == [
        {"name": "time_period", "type": "INTEGER", "default": 14, "min": 2, "max": 100_000, "choices": None, "doc": "Time period."}
    ]
    acceleration, kind = by_name["sar"]["options"][0], by_name["ma"]["options"][1]
    assert (acceleration["type"], acceleration["default"], acceleration["min"], acceleration["max"]) == ("DOUBLE", 0.02, 0, None)
    assert kind["type"] == "VARCHAR" and "EMA" in kind["choices"] and kind["min"] is None


@pytest.mark.parametrize(
    "address, call",
    [
        ("rsi", "ti_rsi(close)"),
        ("rsi?time_period=9", "ti_rsi(close, 9)"),
        ("macd?slow_period=30", "ti_macd(close, 12, 30, 9)"),
        ("bbands?ma_type=EMA&nb_dev_up=2.5", "ti_bbands(close, 20, 2.5, 2, 'EMA')"),
        ("atr?time_period=20", "ti_atr(high, low, close, 20)"),
        ("obv", "ti_obv(close, volume)"),
        ("cdldoji", "ti_cdldoji(open, high, low, close)"),
    ],
)
def test_an_indicator_is_computed_of_all_that_was_before(server, market, address, call):
    name, _, options = address.partition("?")
    window = "from=2025-01-14T14:00&to=2025-01-15T10:30"
    given = server.get(f"/bars/DEMO0003/indicators/{name}?{window}&{options}".rstrip("&"))
    assert given.status == 200, given.text
    sql = f"FROM bar_indicators({{{name}: {call}}}, symbols := ['DEMO0003']) WHERE ts >= '2025-01-14 14:00' AND ts < '2025-01-15 10:30' ORDER BY ts"
    expected = rows_of(market, sql)
    # The sums of some begin with the first bar; that all of them begin there is seen by their values.
    assert given.json() == [{key: pytest.approx(value, rel=1e-9) if isinstance(value, float) else value for key, value in row.items()} for row in expected]
    assert len(expected) > 100 and all(value is not None for value in expected[0].values()), "warm from the first row on"
    assert [row["ts"] for row in given.json()] == [row["ts"] for row in server.get(f"/bars/DEMO0003?{window}").json()], "a row for each bar"


def test_an_indicator_of_longer_bars(server, market):
    """Of the bars that the same address gives, and of all before."""
    all_bars = server.get("/bars/DEMO0003?every=60&from=2024-01-01&limit=100000").json()
    market.execute("CREATE OR REPLACE TEMP TABLE hours AS SELECT unnest(?::STRUCT(ts TIMESTAMP, \"close\" DOUBLE)[], recursive := true)", [[{"ts": bar["ts"], "close": bar["close"]} for bar in all_bars]])
    expected = market.execute("SELECT strftime(unnest(list(ts ORDER BY ts)), '%Y-%m-%dT%H:%M:%S'), unnest(ti_rsi(list(\"close\" ORDER BY ts), 5)) FROM hours").fetchall()
    given = server.get("/bars/DEMO0003/indicators/rsi?every=60&time_period=5&limit=40&from=2024-01-01").json()
    assert [(row["ts"], row["rsi"]) for row in given] == [(ts, pytest.approx(value)) for ts, value in expected[-40:]]
    latest = server.get("/bars/DEMO0003/indicators/rsi?every=60&time_period=5").json()
    assert latest == given[-len(server.get("/bars/DEMO0003?every=60").json()):], "without from and to the latest session"


def test_an_indicator_does_not_know_what_comes_later(server):
    address = "/bars/DEMO0003/indicators/ema?from=2025-01-15"
    known = server.get(address).json()
    assert server.get(f"{address}&to=2025-01-15T11:00").json() == known[: sum(row["ts"] < "2025-01-15T11:00" for row in known)]


REFUSED = [
    ("/bars/DEMO0001/indicators/no_such", 404, "indicator", "GET /indicators"),
    ("/bars/DEMO0001/indicators/rssi", 404, "indicator", "did you mean 'rsi'?"),
    ("/bars/DEMO0001/indicators/rsi_last", 404, "indicator", "GET /indicators"),
    ("/bars/DEMO0001/indicators/rsi?time_perod=5", 400, "time_perod", "did you mean 'time_period'?"),
    ("/bars/DEMO0001/indicators/rsi?time_period=1", 400, "time_period", "between 2 and 100000"),
    ("/bars/DEMO0001/indicators/rsi?time_period=2.5", 400, "time_period", "whole number"),
    ("/bars/DEMO0001/indicators/rsi?time_period=null", 400, "time_period", "whole number"),
    ("/bars/DEMO0001/indicators/rsi?time_period=5&time_period=6", 400, "time_period", "twice"),
    ("/bars/DEMO0001/indicators/ma?ma_type=XYZ", 400, "ma_type", "EMA"),
    ("/bars/DEMO0001/indicators/ma?ma_type=SMA')--", 400, "ma_type", "EMA"),
    ("/bars/DEMO0001/indicators/correl", 400, "indicator", "series0"),
    ("/bars/DEMO0001/indicators/rsi?limit=0", 400, "limit", "between 1"),
    ("/bars/DEMO0001/indicators/rsi?every=0", 400, "every", "multiple"),
    ("/bars/NO_SUCH/indicators/rsi", 404, None, "NO_SUCH"),
]


@pytest.mark.parametrize("address, status, parameter, said", REFUSED)
def test_indicators_that_cannot_be(server, address, status, parameter, said):
    refused = problem(server.get(address), status)
    assert refused["parameter"] == parameter and said in refused["detail"], refused
