"""Scans of the past over HTTP: found again, listed, exported and counted, as clients see them."""

import csv
import io
import json
import os
import re
import signal
import subprocess
import threading
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from datetime import date, datetime
from pathlib import Path

import duckdb
import numpy
import openpyxl
import pyarrow.ipc
import pyarrow.parquet
import pytest

from conftest import ROOT

SCANNER = Path(os.environ.get("STOCKSCAN_SCANNER", ROOT / "target" / "debug" / "scanner")).resolve()
SESSION = "2025-01-15"
OUTCOMES = ("eod_price", "price_change_pct", "day_range_pct", "breakout_successful")
# Limits that let many stocks through.
WIDE = {"breakout_volume_ratio": 0, "resistance_break_pct": 0, "min_volume": 0, "min_probability_score": 0, "max_results_per_day": 1000}


def environment(folder):
    own = {name: value for name, value in os.environ.items() if not name.startswith("STOCKSCAN_")}
    return own | {"XDG_CONFIG_HOME": str(folder / "home")}


def scanner(folder, *arguments):
    done = subprocess.run([SCANNER, *arguments], cwd=folder, env=environment(folder), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


class Server:
    """A server of its own, which the test may end."""

    def __init__(self, folder, *options):
        self.folder = folder
        command = [SCANNER, *options, "serve", "--host", "127.0.0.1", "--port", "0"]
        self.process = subprocess.Popen(command, cwd=folder, env=environment(folder), stderr=subprocess.PIPE, text=True)
        self.log = []
        self.url = None
        for line in self.process.stderr:
            self.log.append(line)
            if found := re.search(r"serving .* at (http://[^,]*),", line):
                self.url = found[1]
                break
        assert self.url, "".join(self.log)
        # Else the pipe fills up and the server stands still.
        self.reader = threading.Thread(target=lambda: self.log.extend(self.process.stderr), daemon=True)
        self.reader.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.terminate()
            assert self.process.wait(60) == 0, "".join(self.log)
        self.reader.join(10)
        self.process.stderr.close()

    def get(self, path, **headers):
        """Status, headers and body."""
        request = urllib.request.Request(self.url + path, headers={name.replace("_", "-"): value for name, value in headers.items()})
        return self.answer(request)

    def post(self, path, document, accept="application/json"):
        headers = {"Content-Type": "application/json", "Accept": accept}
        return self.answer(urllib.request.Request(self.url + path, json.dumps(document).encode(), headers))

    def answer(self, request):
        try:
            with urllib.request.urlopen(request, timeout=60) as response:
                return response.status, response.headers, response.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.headers, error.read()

    def json(self, path):
        status, _, body = self.get(path)
        assert status == 200, body
        return json.loads(body)

    def scan(self, scanner_type="breakout", **more):
        status, _, body = self.post("/scan", {"scanner_type": scanner_type, "scan_date": SESSION, "config": WIDE} | more)
        assert status == 200, body
        return json.loads(body)


@pytest.fixture(scope="module")
def market_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("market")
    scanner(folder, "-q", "demo", "--symbols", "200", "--sessions", "20")
    return folder


@pytest.fixture
def folder(market_folder, tmp_path):
    """A folder with the market, and a history of its own."""
    (tmp_path / "market.duckdb").write_bytes((market_folder / "market.duckdb").read_bytes())
    return tmp_path


@pytest.fixture
def server(folder):
    with Server(folder) as server:
        yield server


def problem(answer, status):
    given, headers, body = answer
    assert given == status, body
    assert headers["content-type"] == "application/problem+json"
    return json.loads(body)


def test_a_scan_is_found_at_once_and_is_the_same_after_a_restart(folder):
    with Server(folder) as server:
        posted = server.post("/scan", {"scanner_type": "breakout", "scan_date": SESSION, "config": WIDE})[2]
        scan = json.loads(posted)
        assert scan["total_results"] > 10
        assert scan["successful_breakouts"] is not None
        first = server.get(f"/scan/{scan['scan_id']}")
        assert first[2] == posted, "to the letter"
        for name in (scan["scan_id"][:13], scan["scan_id"].upper(), "latest"):
            assert server.get(f"/scan/{name}")[2] == posted
    with Server(folder) as server:
        again = server.get(f"/scan/{scan['scan_id']}")
        assert again[2] == posted
        etag = first[1]["etag"]
        assert again[1]["etag"] == etag
        for given in (etag, f'"other", W/{etag}', "*"):
            status, headers, body = server.get(f"/scan/{scan['scan_id']}", If_None_Match=given)
            assert (status, headers["etag"], body) == (304, etag, b"")
        assert server.get(f"/scan/{scan['scan_id']}", If_None_Match='"other"')[0] == 200


def test_a_range_is_found_again_as_it_was(folder):
    with Server(folder) as server:
        scan = server.scan(scan_date=None, start_date="2025-01-10", end_date=SESSION)
        assert scan["scan_date"] is None
    with Server(folder) as server:
        assert server.json("/scan/latest") == scan
        disposition = server.get("/export/latest/csv")[1]["content-disposition"]
        assert disposition == f'attachment; filename="breakout_2025-01-10_{SESSION}_{scan["scan_id"][:8]}.csv"'


def test_scans_of_the_command_say_nothing_of_outcomes(server, folder):
    scanner(folder, "-q", "--read-only", "run", "-t", "gap", "--date", SESSION, "--set", "min_gap_pct=0.5", "--no-cache")
    rows = json.loads(scanner(folder, "export", "latest", "--format", "json"))
    assert rows
    scan = server.json("/scan/latest")
    assert scan["results"] == [row | dict.fromkeys(OUTCOMES) for row in rows]
    assert (scan["scanner_type"], scan["scan_date"], scan["total_results"]) == ("gap", SESSION, len(rows))
    assert [scan[name] for name in ("successful_breakouts", "success_rate", "avg_price_change")] == [None] * 3
    assert scan["avg_probability_score"] == pytest.approx(sum(row["probability_score"] for row in rows) / len(rows))
    # And the command knows the server's, but does not take them for its own: its rows know no outcomes.
    ours = server.scan("gap", config={"min_gap_pct": 0.5})
    assert [row["scan_id"] for row in json.loads(scanner(folder, "history", "--format", "json"))][0] == ours["scan_id"]
    header = scanner(folder, "-q", "--read-only", "run", "-t", "gap", "--date", SESSION, "--set", "min_gap_pct=0.5", "--format", "csv").splitlines()[0]
    assert "eod_price" not in header


def test_streamed_scans_are_found_too(server):
    status, headers, body = server.post("/scan", {"scanner_type": "breakout", "scan_date": SESSION, "config": WIDE}, "application/x-ndjson")
    assert status == 200
    assert server.json(f"/scan/{headers['stockscan-scan-id']}")["results"] == [json.loads(line) for line in body.splitlines()]


def test_exports_are_the_rows_in_every_format(server):
    scan = server.scan(symbols=None)
    rows, name = scan["results"], list(scan["results"][0])
    files = {}
    for kind in ("csv", "json", "ndjson", "parquet", "arrow", "xlsx"):
        status, headers, body = server.get(f"/export/{scan['scan_id']}/{kind}")
        assert status == 200, body
        assert headers["content-disposition"] == f'attachment; filename="breakout_{SESSION}_{scan["scan_id"][:8]}.{kind}"'
        assert int(headers["content-length"]) == len(body)
        again = server.get(f"/export/{scan['scan_id'][:20]}/{kind}", If_None_Match=headers["etag"])
        assert (again[0], again[2]) == (304, b"")
        files[kind] = body
    etags = {server.get(f"/export/latest/{kind}")[1]["etag"] for kind in files}
    assert len(etags) == len(files), "each is another file"

    assert json.loads(files["json"]) == rows
    assert [json.loads(line) for line in files["ndjson"].splitlines()] == rows
    read = list(csv.DictReader(io.StringIO(files["csv"].decode())))
    assert [list(row) for row in read] == [name] * len(rows)
    assert [float(row["price"]) for row in read] == [row["price"] for row in rows]
    for table in (pyarrow.parquet.read_table(io.BytesIO(files["parquet"])), pyarrow.ipc.open_stream(files["arrow"]).read_all()):
        assert table.column_names == name
        assert table.schema.field("scan_date").type == pyarrow.date32()
        assert table.schema.field("breakout_successful").type == pyarrow.bool_()
        plain = [{key: value.isoformat() if isinstance(value, (date, datetime)) else value for key, value in row.items()} for row in table.to_pylist()]
        times = [key for key in name if "timestamp" in str(table.schema.field(key).type) or "time" in str(table.schema.field(key).type)]
        assert [{key: value for key, value in row.items() if key not in times} for row in plain] == [
            {key: value for key, value in row.items() if key not in times} for row in rows
        ]

    sheet = openpyxl.load_workbook(io.BytesIO(files["xlsx"])).active
    header, *cells = sheet.iter_rows()
    assert [cell.value for cell in header] == name
    assert all(cell.font.bold for cell in header)
    assert sheet.freeze_panes == "A2"
    assert len(cells) == len(rows)
    for line, row in zip(cells, rows, strict=True):
        for cell, (key, value) in zip(line, row.items(), strict=True):
            if key == "scan_date":
                assert cell.is_date
                assert cell.value == datetime.fromisoformat(value)
            elif isinstance(value, bool) or value is None or isinstance(value, str):
                assert cell.is_date or cell.value == value
            else:
                assert cell.value == pytest.approx(value, rel=1e-15), f"{key} is a number"


def test_a_scan_without_hits_has_a_header(server):
    scan = server.scan(config={"min_price": 1999, "max_price": 2000})
    assert scan["total_results"] == 0
    assert (scan["success_rate"], scan["avg_probability_score"]) == (None, None)
    assert server.get("/export/latest/json")[2] == b"[]\n"
    assert server.get("/export/latest/csv")[2].startswith(b"scan_date,symbol,price")
    assert openpyxl.load_workbook(io.BytesIO(server.get("/export/latest/xlsx")[2])).active["B1"].value == "symbol"


def test_scans_are_listed_by_what_is_asked(server):
    scans = [server.scan("breakout", config={"min_volume": volume}) for volume in (1, 2, 3)] + [server.scan("gap", config={})]
    # Past the check of each value by itself: the scanner's own guard refuses the two together.
    neither = {"scanner_type": "breakout", "scan_date": SESSION, "config": {"min_price": 9, "max_price": 1}}
    refused = problem(server.post("/scan", neither), 400)
    everything = server.json("/scans")
    listed = [scan["scan_id"] for scan in everything["scans"]]
    done = [scan["scan_id"] for scan in reversed(scans)]
    assert [scan_id for scan_id in listed if scan_id in done] == done, "the newest first"
    assert everything["not_yet_stored"] == 0
    assert [scan["total_results"] for scan in everything["scans"] if scan["status"] == "done"] == [scan["total_results"] for scan in reversed(scans)]
    one = everything["scans"][listed.index(scans[0]["scan_id"])]
    assert (one["arguments"]["min_volume"], one["asked_by"], one["start_date"], one["end_date"]) == (1, "server", SESSION, SESSION)
    assert one["execution_time_ms"] == scans[0]["execution_time_ms"]
    assert one["timestamp"] == scans[0]["timestamp"]

    ids = lambda query: [scan["scan_id"] for scan in server.json(f"/scans?status=done&{query}")["scans"]]
    assert ids("scanner_type=gap") == done[:1]
    assert ids("limit=2&offset=1") == done[1:3]
    assert server.json("/scans?status=done&limit=1&offset=100") | {"scans": 0} == {"total": 4, "limit": 1, "offset": 100, "not_yet_stored": 0, "scans": 0}
    # In the order of their beginnings.
    assert ids("until=2025-01-01") == []
    assert ids("since=2025-01-01") == done
    assert ids("since=2999-01-01T00:00:00%2B05:30") == []

    [failed] = server.json("/scans?status=failed")["scans"]
    assert (failed["error"], failed["error_kind"]) == (refused["detail"], "usage")
    assert refused["detail"] in problem(server.get(f"/scan/{failed['scan_id']}"), 404)["detail"]


def test_a_scan_that_fails_is_counted_with_its_kind_of_error(server, folder):
    run = [SCANNER, "-q", "--read-only", "run", "-t", "breakout", "--date", SESSION, "--set", "min_price=-1"]
    assert subprocess.run(run, cwd=folder, env=environment(folder), capture_output=True, check=False).returncode == 2
    [failed] = server.json("/scans")["scans"]
    assert (failed["status"], failed["error_kind"], failed["total_results"]) == ("failed", "usage", None)
    assert "min_price must be" in failed["error"]
    for path in (f"/scan/{failed['scan_id']}", f"/export/{failed['scan_id']}/csv"):
        assert "min_price must be" in problem(server.get(path), 404)["detail"]
    statistics = server.json("/stats/performance")
    assert statistics["total"]["errors"] == {"usage": 1}
    assert statistics["total"]["execution_time_ms"] == {"p50": None, "p95": None, "p99": None, "max": None}


def test_no_file_of_the_machine_is_told(folder):
    (folder / "bars.parquet").write_bytes(b"no parquet at all")
    run = [SCANNER, "-q", "--source", str(folder / "bars.parquet"), "run", "-t", "breakout", "--date", SESSION]
    assert subprocess.run(run, cwd=folder, env=environment(folder), capture_output=True, check=False).returncode == 1
    with Server(folder) as server:
        [failed] = server.json("/scans")["scans"]
        assert failed["error_kind"] and failed["error"] is None
        told = json.dumps(failed) + server.get(f"/scan/{failed['scan_id']}")[2].decode()
        assert str(folder) not in told and "bars.parquet" not in told


def test_statistics_are_those_of_the_scans(server):
    empty = server.json("/stats/performance?days=1")
    assert empty["total"] | {"errors": 0} == {
        "total_scans": 0, "done": 0, "failed": 0, "cached": 0, "total_results": 0, "results_per_scan": None, "with_results_pct": None,
        "known_outcomes": 0, "successful_breakouts": 0, "hit_rate": None,
        "execution_time_ms": {"p50": None, "p95": None, "p99": None, "max": None}, "errors": 0,
    }  # fmt: skip
    scans = [server.scan(config=WIDE | {"min_volume": volume}) for volume in range(8)]
    # Nothing costs so much.
    scans.append(server.scan(config={"min_price": 1999, "max_price": 2000}))
    gaps = [server.scan("gap", config={})]
    statistics = server.json("/stats/performance")
    assert (statistics["days"], [one["scanner_type"] for one in statistics["scanners"]]) == (30, ["breakout", "gap"])
    for tally, expected in ((statistics["total"], scans + gaps), (statistics["scanners"][0], scans), (statistics["scanners"][1], gaps)):
        hits = [hit for scan in expected for hit in scan["results"]]
        known = [hit["breakout_successful"] for hit in hits if hit["breakout_successful"] is not None]
        times = [scan["execution_time_ms"] for scan in expected]
        assert (tally["total_scans"], tally["done"], tally["failed"], tally["errors"]) == (len(expected), len(expected), 0, {})
        assert tally["total_results"] == len(hits)
        assert tally["results_per_scan"] == pytest.approx(len(hits) / len(expected))
        assert tally["with_results_pct"] == pytest.approx(100 * sum(bool(scan["results"]) for scan in expected) / len(expected))
        assert (tally["known_outcomes"], tally["successful_breakouts"]) == (len(known), sum(known))
        assert tally["hit_rate"] == (pytest.approx(100 * sum(known) / len(known)) if known else None)
        for name, share in {"p50": 0.5, "p95": 0.95, "p99": 0.99, "max": 1}.items():
            assert tally["execution_time_ms"][name] == pytest.approx(numpy.quantile(times, share), rel=1e-6)
    assert sum(day["total_scans"] for day in statistics["by_day"]) == len(scans) + 1
    assert statistics["total"]["known_outcomes"] > 0


@pytest.mark.parametrize(
    ("path", "parameter", "told"),
    [
        ("/scans?limit=0", "limit", "between 1 and 1000, got '0'"),
        ("/scans?limit=1001", "limit", "between 1 and 1000"),
        ("/scans?limit=ten", "limit", "got 'ten'"),
        ("/scans?limit=99999999999999999999", "limit", "between 1 and 1000"),
        ("/scans?offset=-1", "offset", "between 0 and"),
        ("/scans?status=lost", "status", "done or failed, got 'lost'"),
        ("/scans?since=yesterday", "since", "got 'yesterday'"),
        ("/scans?until=2025-02-30", "until", "got '2025-02-30'"),
        ("/scans?until=2025-01-15T09:50", "until", "offset"),
        ("/scans?page=2", None, "page"),
        ("/stats/performance?days=0", "days", "between 1 and 3650"),
        ("/stats/performance?days=3651", "days", "between 1 and 3650"),
        ("/stats/performance?days=1.5", "days", "whole number"),
        ("/scan/xyz", "id", "got 'xyz'"),
        ("/scan/%27%3B%20DROP%20TABLE%20scans", "id", "id must be"),
        ("/scan/%FF", None, ""),
        ("/export/latest/pdf", "format", "csv, json, ndjson, parquet, arrow, xlsx, got 'pdf'"),
        (f"/scan/{'a' * 37}", "id", "id must be"),
    ],
)
def test_mistakes_name_the_parameter_and_its_range(shared_server, path, parameter, told):
    found = problem(shared_server.get(path), 400)
    assert (found["parameter"], told in found["detail"]) == (parameter, True), found


@pytest.fixture(scope="module")
def shared_server(market_folder):
    with Server(market_folder, "--state", str(market_folder / "other.duckdb")) as server:
        yield server


def test_what_is_not_there_is_said(folder):
    with Server(folder) as server:
        for path in ("/scan/latest", "/export/latest/csv"):
            assert "nothing has been scanned yet" in problem(server.get(path), 404)["detail"]
        assert server.json("/scans")["total"] == 0
        # Sixteen letters, so that two of many scans begin with the same one.
        for volume in range(17):
            server.scan(config={"min_volume": volume})
        first = [scan["scan_id"][0] for scan in server.json("/scans")["scans"]]
        twice = next(letter for letter in first if first.count(letter) > 1)
        assert problem(server.get(f"/scan/{twice}"), 409)["parameter"] == "id"
        assert problem(server.get("/scan/00000000-0000-0000-0000-000000000000"), 404)["error"] == "not_found"


def test_what_cannot_be_stored_is_kept_and_stored_later(folder):
    place = folder / "later"
    with Server(folder, "--state", str(place / "state.duckdb")) as server:
        scan = server.scan()
        assert server.json(f"/scan/{scan['scan_id']}") == scan
        assert server.json("/scan/latest") == scan
        deadline = time.monotonic() + 30
        while server.json("/scans")["not_yet_stored"] != 1 and time.monotonic() < deadline:
            time.sleep(0.05)
        assert server.json("/scans")["not_yet_stored"] == 1
        place.mkdir()
        while server.json("/scans")["not_yet_stored"] and time.monotonic() < deadline:
            time.sleep(0.05)
        assert server.json("/scans")["total"] == 1
    with Server(folder, "--state", str(place / "state.duckdb")) as server:
        assert server.json("/scan/latest") == scan


def test_a_history_that_another_process_holds_stops_no_scan(server, folder):
    server.scan(config={"min_volume": 1})
    assert server.json("/scans")["total"] == 1
    with duckdb.connect(folder / "state.duckdb") as holder:
        holder.execute("SELECT 1")
        started = time.monotonic()
        scans = [server.scan(config={"min_volume": volume}) for volume in range(2, 7)]
        assert time.monotonic() - started < 5, "as long as one waits for the file"
        assert server.json(f"/scan/{scans[0]['scan_id']}") == scans[0]
    assert server.json("/scans")["total"] == 6


def test_scans_at_the_same_time_are_all_stored_and_none_is_lost_at_the_end(folder):
    with Server(folder) as server:
        with ThreadPoolExecutor(16) as pool:
            scans = list(pool.map(lambda volume: server.scan(config={"min_volume": volume}), range(100)))
        # While the last ones wait to be written together.
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(60) == 0
    with duckdb.connect(folder / "state.duckdb", read_only=True) as state:
        stored = {str(scan_id) for (scan_id,) in state.execute("SELECT scan_id FROM scans").fetchall()}
    assert stored == {scan["scan_id"] for scan in scans}
    assert len(stored) == 100
