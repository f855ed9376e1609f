"""Superset, installed anew: its own database, its first user, then what a user does in the browser, by the requests that the browser makes."""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import playwright.sync_api
import pytest
import requests

from conftest import ROOT

SCAN = "SELECT * FROM scan_breakout('2025-01-06', '09:50', end_date := '2025-01-15', max_results_per_day := 5)"


CONFIGURATION = """
import sqlite3
from sqlalchemy import event
from sqlalchemy.engine import Engine

SECRET_KEY = "of this test"
# Plain http.
TALISMAN_ENABLED = False

# Superset's own tables need not survive a power cut: half of the time would be waiting for the disk.
@event.listens_for(Engine, "connect")
def in_no_hurry(connection, _):
    if isinstance(connection, sqlite3.Connection):
        connection.execute("PRAGMA synchronous = OFF")
"""


class Superset:
    """A running Superset with a user who is logged in."""

    def __init__(self, folder: Path):
        self.log_file = folder / "superset.log"
        (folder / "superset_config.py").write_text(CONFIGURATION)
        environment = os.environ | {
            "SUPERSET_HOME": str(folder),
            "SUPERSET_CONFIG_PATH": str(folder / "superset_config.py"),
            "FLASK_APP": "superset",
            "HOME": str(folder),
        }
        command = [sys.executable, str(Path(sys.executable).parent / "superset")]
        user = ["--username", "admin", "--firstname", "A", "--lastname", "B", "--email", "a@example.org", "--password", "admin"]
        for step in (["db", "upgrade"], ["fab", "create-admin", *user], ["init"]):
            done = subprocess.run(command + step, env=environment, cwd=folder, capture_output=True, text=True)
            assert done.returncode == 0, f"superset {' '.join(step)}\n{done.stderr[-3000:]}"
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.url = f"http://127.0.0.1:{free.getsockname()[1]}"
        with self.log_file.open("wb") as log:
            port = self.url.rpartition(":")[2]
            self.process = subprocess.Popen(command + ["run", "--port", port, "--with-threads"], env=environment, cwd=folder, stdout=log, stderr=log)
        self.session = requests.Session()
        deadline = time.monotonic() + 120
        while True:
            try:
                if self.session.get(f"{self.url}/health").ok:
                    break
            except requests.ConnectionError:
                pass
            assert self.process.poll() is None and time.monotonic() < deadline, self.log_file.read_text()
            time.sleep(0.1)
        self.login()

    def login(self):
        login = {"username": "admin", "password": "admin", "provider": "db"}
        self.session.headers["Authorization"] = "Bearer " + self.post("/security/login", login)["access_token"]
        self.session.headers["X-CSRFToken"] = self.get("/security/csrf_token/")["result"]

    def request(self, method: str, path: str, **options):
        answer = self.session.request(method, f"{self.url}/api/v1{path}", timeout=120, **options)
        assert answer.ok, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer.json()

    def get(self, path: str, **options):
        return self.request("GET", path, **options)

    def post(self, path: str, body):
        return self.request("POST", path, json=body)

    def end(self):
        self.process.terminate()
        self.process.wait(timeout=60)


@pytest.fixture(scope="module")
def superset(tmp_path_factory):
    superset = Superset(tmp_path_factory.mktemp("superset"))
    yield superset
    superset.end()


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_api.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def database(superset, stockscan, market):
    """The connection that the page describes, and the market's file."""
    page = (ROOT / "docs/clients/superset.md").read_text()
    parameters = json.loads(stockscan.in_place(re.search(r"^```json\n(.*?)^```", page, re.MULTILINE | re.DOTALL)[1], market))
    connection = {
        "database_name": "Stockscan",
        "sqlalchemy_uri": f"duckdb:///{market}",
        "extra": json.dumps({"engine_params": parameters}),
    }
    # The button of the form.
    superset.post("/database/test_connection/", connection)
    return superset.post("/database/", connection | {"expose_in_sqllab": True})["id"]


def chart(superset, dataset: int, **form) -> int:
    """Saves a chart as the browser does."""
    form["datasource"] = f"{dataset}__table"
    body = {"slice_name": form["viz_type"], "viz_type": form["viz_type"], "datasource_id": dataset, "datasource_type": "table", "params": json.dumps(form)}
    return superset.post("/chart/", body)["id"]


def test_a_chart_of_a_scan_in_the_browser(superset, database, browser, stockscan, market, tmp_path):
    schemas = superset.get(f"/database/{database}/schemas/")["result"]
    assert "market.main" in schemas
    tables = superset.get(f"/database/{database}/tables/", params={"q": "(schema_name:market.main)"})["result"]
    assert [table["value"] for table in tables] == ["bars"]
    dataset = superset.post("/dataset/", {"database": database, "schema": "market.main", "table_name": "breakouts", "sql": SCAN})["id"]
    columns = {column["column_name"]: column for column in superset.get(f"/dataset/{dataset}")["result"]["columns"]}
    assert columns["scan_date"]["is_dttm"] and columns["symbol"]["type"] == "STRING" and columns["breakout_pct"]["type"] == "FLOAT"

    best = {"expressionType": "SIMPLE", "column": {"column_name": "breakout_pct"}, "aggregate": "MAX", "label": "best breakout, %"}
    bars = chart(
        superset, dataset, viz_type="echarts_timeseries_bar", x_axis="scan_date", time_grain_sqla="P1D", metrics=[best], groupby=["symbol"], row_limit=1000
    )
    hits = chart(superset, dataset, viz_type="table", query_mode="raw", all_columns=["scan_date", "symbol", "price"], row_limit=1000)

    page = browser.new_page(viewport={"width": 1400, "height": 900})
    page.goto(f"{superset.url}/login/")
    page.fill("#username", "admin")
    page.fill("#password", "admin")
    page.keyboard.press("Enter")
    page.wait_for_url("**/superset/welcome/**")
    with page.expect_response(lambda response: "/api/v1/chart/data" in response.url) as answer:
        page.goto(f"{superset.url}/explore/?slice_id={bars}")
    data = answer.value.json()["result"][0]["data"]
    page.locator("[data-test=chart-container] canvas").wait_for()
    # Bars grow into place.
    page.wait_for_timeout(1000)
    page.screenshot(path=tmp_path / "bars.png")
    with stockscan.connect(market) as connection:
        expected = connection.sql(f"SELECT epoch_ms(scan_date), symbol, breakout_pct, price FROM ({SCAN}) ORDER BY ALL").fetchall()
    assert len(expected) > 5
    shown = [(row["scan_date"], symbol, value) for row in data for symbol, value in row.items() if symbol != "scan_date" and value is not None]
    assert sorted(shown) == [(day, symbol, percent) for day, symbol, percent, _ in expected]

    page.goto(f"{superset.url}/explore/?slice_id={hits}")
    symbols, prices = (page.locator(f"td[aria-labelledby=header-{column}]") for column in ("symbol", "price"))
    symbols.first.wait_for()
    page.screenshot(path=tmp_path / "hits.png")
    cells = zip(symbols.all_inner_texts(), prices.all_inner_texts(), strict=True)
    assert sorted((symbol, float(price)) for symbol, price in cells) == sorted((symbol, price) for _, symbol, _, price in expected)


def test_sql_lab_says_what_is_wrong(superset, database):
    def ask(sql):
        body = {"database_id": database, "schema": "market.main", "sql": sql, "runAsync": False}
        return superset.session.post(f"{superset.url}/api/v1/sqllab/execute/", json=body, timeout=120)

    found = ask(SCAN).json()["data"]
    assert {row["scan_date"][:10] for row in found} <= {f"2025-01-{day:02}" for day in range(6, 16)} and len(found) > 5
    refused = ask("SELECT * FROM scan_breakout('2025-01-15', consolidation_period := 0)")
    assert refused.status_code >= 400
    assert "consolidation_period" in refused.text and "got 0" in refused.text


@pytest.fixture(scope="module")
def listener(tmp_path_factory):
    """The address of a `scanner serve` that speaks the protocol of PostgreSQL, on a demo market, and a key for it."""
    scanner = Path(os.environ.get("STOCKSCAN_SCANNER", ROOT / "target/debug/scanner")).resolve()
    assert scanner.is_file(), f"{scanner} is missing; 'cargo build -p scanner' builds it, STOCKSCAN_SCANNER names another"
    folder = tmp_path_factory.mktemp("listener")
    kept = {name: value for name, value in os.environ.items() if not name.startswith("STOCKSCAN_")} | {"HOME": str(folder)}
    subprocess.run([scanner, "-q", "demo"], cwd=folder, env=kept, check=True)
    key = subprocess.run([scanner, "-q", "key", "add", "superset"], cwd=folder, env=kept, check=True, capture_output=True, text=True).stdout.strip()
    log = folder / "server.log"
    with log.open("wb") as output:
        server = subprocess.Popen([scanner, "serve", "--port", "0", "--postgres-port", "0"], cwd=folder, env=kept, stdout=output, stderr=output)
    deadline = time.monotonic() + 60
    while not (found := re.search(r"PostgreSQL at \S+:(\d+)", log.read_text())):
        assert server.poll() is None and time.monotonic() < deadline, log.read_text()
        time.sleep(0.1)
    yield f"127.0.0.1:{found[1]}", key
    server.terminate()
    assert server.wait(timeout=60) == 0, log.read_text()


def test_a_chart_of_a_scan_over_the_protocol_of_postgresql(superset, listener, stockscan, market):
    """Schemas, tables and columns are browsed, and a chart stands on a scan, by Superset's PostgreSQL dialect: no DuckDB in Superset."""
    address, key = listener
    connection = {"database_name": "Listener", "sqlalchemy_uri": f"postgresql+psycopg2://superset:{key}@{address}/market"}
    superset.post("/database/test_connection/", connection)
    database = superset.post("/database/", connection | {"expose_in_sqllab": True})["id"]
    schemas = superset.get(f"/database/{database}/schemas/")["result"]
    assert "main" in schemas
    tables = superset.get(f"/database/{database}/tables/", params={"q": "(schema_name:main)"})["result"]
    assert "bars" in [table["value"] for table in tables]
    columns = superset.get(f"/database/{database}/table_metadata/", params={"name": "bars", "schema": "main"})["columns"]
    assert [column["name"] for column in columns] == ["symbol", "ts", "open", "high", "low", "close", "volume"]

    dataset = superset.post("/dataset/", {"database": database, "schema": "main", "table_name": "over_the_wire", "sql": SCAN})["id"]
    best = {"expressionType": "SIMPLE", "column": {"column_name": "breakout_pct"}, "aggregate": "MAX", "label": "best"}
    query = {"columns": ["scan_date", "symbol"], "metrics": [best], "row_limit": 100}
    body = {"datasource": {"id": dataset, "type": "table"}, "queries": [query], "result_format": "json", "result_type": "full", "force": True}
    rows = superset.post("/chart/data", body)["result"][0]["data"]
    with stockscan.connect(market) as connection:
        expected = connection.sql(f"SELECT epoch_ms(scan_date), symbol, breakout_pct FROM ({SCAN}) ORDER BY ALL").fetchall()
    assert sorted((row["scan_date"], row["symbol"], row["best"]) for row in rows) == expected
