"""The command against a server: the same output with --api-mode as without, and what each does when the other has the database."""

import http.server
import json
import os
import re
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path

import duckdb
import pyarrow.ipc
import pytest

from server import SCANNER, Server, environment, scanner


@pytest.fixture(scope="module")
def served(market_file, tmp_path_factory):
    """A server with statements enabled, and a folder with a copy of its database for the command alone."""
    folder, alone = tmp_path_factory.mktemp("served"), tmp_path_factory.mktemp("alone")
    for place in (folder, alone):
        (place / "market.duckdb").write_bytes(market_file.read_bytes())
    with Server(folder, "--enable-query") as running:
        running.alone = alone
        yield running


def asked(running, *arguments, **options):
    """The command, from a folder with no database in it."""
    place = running.folder / "elsewhere"
    place.mkdir(exist_ok=True)
    return scanner(place, *arguments, "--api-mode", "--url", running.root, **options)


SCAN = ["run", "-t", "breakout", "--date", "2025-01-15"]
RANGE = ["run", "-t", "breakout", "--date", "2024-12-02", "--end-date", "2025-01-15", "--set", "min_volume=0", "--set", "max_results_per_day=50"]
TEST = ["--start-date", "2024-11-19", "--cost-bps", "3", "--set", "min_probability_score=0"]
BACKTEST = ["backtest", "-t", "breakout", *TEST]
OPTIMIZE = ["optimize", "-t", "breakout", *TEST, "--grid", "breakout_volume_ratio=1,1.5,2", "--grid", "stop_loss_pct=0.5,1,NULL", "--min-trades", "2"]


@pytest.mark.parametrize("form", ["table", "csv", "json", "ndjson", "parquet", "arrow"])
@pytest.mark.parametrize(
    "arguments",
    [
        SCAN,
        RANGE,
        [*RANGE, "--cutoff", "10:30", "--symbols", "DEMO0001,DEMO0002,DEMO0003,DEMO0004,DEMO0005"],
        # Other columns, lists and texts among them.
        ["run", "-t", "candlestick", "--date", "2025-01-15", "--cutoff", "15:30"],
        ["run", "-t", "gap", "--date", "2025-01-15", "--market", "NSE"],
        # Nothing is found: a header where there is one, no rows.
        ["run", "-t", "breakout", "--date", "2025-01-15", "--set", "min_price=900000", "--set", "max_price=1000000"],
        ["list"],
        ["list", "breakout"],
        ["sql", "SELECT symbol, ts, close, volume, [1, 2] AS pair, {'a': 1} AS one, 0.1 + 0.2 AS sum FROM bars ORDER BY ALL LIMIT 50"],
        BACKTEST,
        [*BACKTEST, "--trades"],
        [*BACKTEST, "--daily"],
        [*BACKTEST, "--by", "month"],
        OPTIMIZE,
    ],
    ids=lambda arguments: " ".join(arguments[:3]) if isinstance(arguments, list) else arguments,
)
def test_the_output_is_the_same_as_without_a_server(served, arguments, form):
    words = [*arguments, "--format", form, "--quiet"]
    here = scanner(served.alone, *words, text=False)
    there = asked(served, *words, text=False)
    # A rounded or widened type, a column more or another order shows here.
    if form == "arrow":
        # What stands where a NULL is has no meaning, and is whatever was there.
        there, here = (pyarrow.ipc.open_stream(done.stdout).read_all() for done in (there, here))
        assert there.schema == here.schema and there.equals(here)
    else:
        assert there.stdout == here.stdout


def rounded(cell: str) -> str:
    return f"{float(cell):.12g}" if re.fullmatch(r"-?\d+\.\d+", cell) else cell


@pytest.mark.parametrize("form", ["table", "csv", "json"])
def test_a_live_scan_is_the_same_as_without_a_server(served, form):
    words = ["run", "-t", "breakout", "--set", "min_probability_score=0", "--stream", "--interval", "0.5", "--duration", "2", "--format", form, "--quiet"]
    here, there = scanner(served.alone, *words).stdout, asked(served, *words).stdout
    assert here.strip(), "nothing was found: the test does not show anything"
    if form == "json":
        [here, there] = [json.loads(text) | {"timestamp": None} for text in (here, there)]
    if form == "csv":
        # The last digit of a number gets lost where the server makes a message of it.
        here, there = ([[rounded(cell) for cell in line.split(",")] for line in text.splitlines()] for text in (here, there))
    # Types and columns as the scanner has them, and one snapshot, as nothing changes.
    assert there == here
    words = ["monitor", "-t", "breakout", "--set", "min_probability_score=0", "--interval", "0.5", "--duration", "1"]
    assert asked(served, *words).stdout == scanner(served.alone, *words).stdout


def test_a_live_scan_tells_new_names_as_they_come_and_outlives_its_server(market_folder):
    with Server(market_folder) as running:
        words = [SCANNER, "run", "-t", "new_high", "--stream", "--interval", "0.3", "--duration", "20", "--format", "ndjson", "--api-mode", "--url", running.root]
        follower = subprocess.Popen(words, cwd=market_folder, env=environment(market_folder), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        first = json.loads(follower.stdout.readline())
        assert first["type"] == "scan_update" and first["added"] == [row["symbol"] for row in first["results"]]
        # A later bar moves the time up to which is seen.
        row = {"symbol": "DEMO0001", "ts": "2025-01-15 15:45:00", "open": 1, "high": 1, "low": 1, "close": 1, "volume": 1}
        (market_folder / "late.ndjson").write_text(json.dumps(row) + "\n")
        scanner(market_folder, "ingest", "late.ndjson", "--api-mode", "--url", running.root)
        second = json.loads(follower.stdout.readline())
        assert second["data_as_of"] > first["data_as_of"] and second["data_as_of"].endswith("15:46:00")
        assert set(second["removed"]).isdisjoint(row["symbol"] for row in second["results"])
        port = running.port
        assert running.terminate() == 0
    with Server(market_folder, "--port", port):
        # It comes back by itself. The same result again is nothing new, and one more bar is.
        row["ts"] = "2025-01-15 15:50:00"
        (market_folder / "late.ndjson").write_text(json.dumps(row) + "\n")
        scanner(market_folder, "ingest", "late.ndjson")
        third = json.loads(follower.stdout.readline())
        assert third["data_as_of"].endswith("15:51:00")
        follower.send_signal(signal.SIGINT)
        said = follower.communicate(timeout=30)[1]
        assert follower.returncode == 0 and "shutting down" in said, said


def test_files_are_written_as_without_a_server(served):
    asked(served, *RANGE, "--output", "there.parquet")
    scanner(served.alone, *RANGE, "--output", "here.parquet")
    here, there = served.alone / "here.parquet", served.folder / "elsewhere" / "there.parquet"
    assert there.read_bytes() == here.read_bytes()
    described = "SELECT column_name, column_type FROM (DESCRIBE FROM read_parquet(?))"
    assert duckdb.execute(described, [str(there)]).fetchall()[0] == ("scan_date", "DATE")


@pytest.mark.parametrize(
    "arguments",
    [
        ["run", "-t", "breakuot"],
        ["run", "-t", "breakout", "--date", "2025-01-15", "--set", "min_prise=1"],
        ["run", "-t", "breakout", "--date", "2025-01-15", "--set", "min_price=-1"],
        ["run", "-t", "breakout", "--date", "tomorrow"],
        ["run", "-t", "breakout", "--symbols", ","],
        ["list", "breakuot"],
        ["backtest", "-t", "breakout", "--stop-loss", "-1"],
        ["optimize", "-t", "breakout", "--grid", "min_price=cheap"],
        ["show", "nosuch"],
        ["export", "latest", "--format", "xml"],
        ["sql", "SELECT * FROM nosuch"],
        ["sql", ""],
    ],
    ids=" ".join,
)
def test_what_is_wrong_ends_with_the_same_code(served, arguments):
    here = scanner(served.alone, *arguments, check=False)
    there = asked(served, *arguments, check=False)
    assert here.returncode in (1, 2), here.stderr
    if arguments[0] == "sql" and arguments[1]:
        assert there.returncode != 0
    else:
        assert there.returncode == here.returncode, (here.stderr, there.stderr)
    assert there.stderr.strip() and "Traceback" not in there.stderr and "panicked" not in there.stderr


def test_a_scan_is_found_again_in_the_servers_history(served):
    done = asked(served, *SCAN, "--format", "csv")
    scan_id = done.stderr.rsplit("scan ", 1)[1].strip()
    for _ in range(100):
        listed = json.loads(asked(served, "history", "--format", "json", "--limit", "5").stdout)
        if any(row["scan_id"] == scan_id for row in listed):
            break
        time.sleep(0.1)
    row = next(row for row in listed if row["scan_id"] == scan_id)
    assert (row["scanner"], row["scan_date"], row["end_date"], row["status"]) == ("breakout", "2025-01-15", None, "done")
    assert row["hits"] == len(done.stdout.splitlines()) - 1
    exported = asked(served, "export", scan_id[:8], "--format", "csv").stdout.splitlines()
    # The server also keeps what became of each hit, behind the scanner's own columns.
    assert [line.rsplit(",", 4)[0] for line in exported] == done.stdout.splitlines()
    shown = asked(served, "show", scan_id).stdout
    assert scan_id in shown and "breakout" in shown and f"{row['hits']} hit" in shown
    [document] = json.loads(asked(served, "show", scan_id, "--format", "json").stdout)
    assert (document["scan_id"], document["hits"]) == (scan_id, row["hits"])
    table = asked(served, "history", "--limit", "3").stdout
    assert scan_id[:8] in table
    statistics = asked(served, "history", "--stats", "--scanner-type", "breakout", "--format", "json").stdout
    [counted] = json.loads(statistics)
    assert counted["scanner"] == "breakout" and counted["scans"] >= 1 and counted["max_ms"] > 0


BARS = """symbol,ts,open,high,low,close,volume
NEW1,2025-01-16 09:15:00,10,11,9,10.5,100
NEW1,2025-01-16 09:16:00,10.5,11,10,10.8,200
NEW2,2025-01-16 09:15:00,10,9,11,10,100
"""


def test_bars_are_sent_and_counted_as_they_are_here(market_folder, market_file, tmp_path_factory):
    alone = tmp_path_factory.mktemp("alone")
    (alone / "market.duckdb").write_bytes(market_file.read_bytes())
    with Server(market_folder) as running:
        for place in (alone, market_folder):
            (place / "bars.csv").write_text(BARS)
            (place / "INFY.x.csv").write_text("when,open,high,low,close,volume\n16/01/2025 09:17,1,2,1,2,5\n")
            duckdb.execute("COPY (SELECT * FROM read_csv(?)) TO '" + str(place / "bars.parquet") + "'", [str(place / "bars.csv")])
            (place / "bars.ndjson").write_text('{"symbol":"NEW3","ts":"2025-01-16 09:15:00","open":1,"high":1,"low":1,"close":1,"volume":1}\n')
            subprocess.run(["gzip", "-k", str(place / "bars.ndjson")], check=True)
        layout = ["INFY.x.csv", "--symbol-from-file", "--map", "ts=when", "--timestamp-format", "%d/%m/%Y %H:%M"]
        remote = ["--api-mode", "--url", running.root]
        for files in (["bars.csv"], ["bars.csv", "bars.parquet"], ["bars.ndjson"], ["bars.ndjson.gz"], layout):
            here = scanner(alone, "ingest", *files)
            there = scanner(market_folder, "ingest", *files, *remote)
            # All but where the bars went, and how long it took.
            assert [line.split(" to ")[0] for line in here.stderr.splitlines()][:1] == [line.split(" to ")[0] for line in there.stderr.splitlines()][:1]
            # A server says which row of the body it was.
            assert here.stderr.splitlines()[1:] == re.sub(r"row \d+: ", "", there.stderr).splitlines()[1:]
        missing = scanner(market_folder, "ingest", "nosuch.csv", *remote, check=False)
        assert missing.returncode == scanner(alone, "ingest", "nosuch.csv", check=False).returncode
        (market_folder / "wrong.csv").write_text("a,b\n1,2\n")
        (alone / "wrong.csv").write_text("a,b\n1,2\n")
        wrong, wrong_here = (scanner(market_folder, "ingest", "wrong.csv", *remote, check=False), scanner(alone, "ingest", "wrong.csv", check=False))
        assert wrong.returncode == wrong_here.returncode == 2
        assert "--map" in wrong.stderr and "map=" not in wrong.stderr, "advice names options"
        # A folder that files are put into.
        (market_folder / "drops").mkdir()
        follower = subprocess.Popen(
            [SCANNER, "ingest", "--follow", "drops", "--idle", "3", *remote], cwd=market_folder, env=environment(market_folder), stderr=subprocess.PIPE, text=True
        )
        (market_folder / "drops" / "day.csv").write_text(BARS.replace("NEW1", "NEW9"))
        said = follower.communicate(timeout=60)[1]
        assert follower.returncode == 0 and "2 bars added in 1 batch" in said, said
        assert running.terminate() == 0
    stored = "SELECT symbol, count(*), min(ts) FROM bars WHERE ts >= TIMESTAMP '2025-01-16' AND symbol <> 'NEW9' GROUP BY ALL ORDER BY ALL"
    with duckdb.connect(str(alone / "market.duckdb"), read_only=True) as here, duckdb.connect(str(market_folder / "market.duckdb"), read_only=True) as there:
        assert there.execute(stored).fetchall() == here.execute(stored).fetchall()
        assert [symbol for symbol, *_ in here.execute(stored).fetchall()] == ["INFY", "NEW1", "NEW3"]


class Writer:
    """Another process that has a database open for writing."""

    def __init__(self, database: Path):
        script = "import duckdb, sys; database = duckdb.connect(sys.argv[1]); print('open', flush=True); sys.stdin.read()"
        python = os.environ.get("PYTHON", os.sys.executable)
        self.process = subprocess.Popen([python, "-c", script, str(database)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout.readline() == "open\n"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.wait(30)


def test_a_server_waits_for_a_database_that_another_process_holds(market_folder):
    with Writer(market_folder / "market.duckdb") as writer:
        with Server(market_folder) as running:
            # Alive, but it cannot work, and says who is to blame.
            assert running.get("/health").status == 200
            ready = running.get("/ready")
            assert ready.status == 503 and str(writer.process.pid) in ready.json()["detail"], ready.text
            refused = running.post("/scan", {"scanner_type": "breakout"})
            assert refused.status == 503 and int(refused.headers["Retry-After"]) >= 1, refused.text
            assert f"process {writer.process.pid}" in refused.json()["detail"] and "market.duckdb" not in refused.text
            # From now on it is told at once.
            started = time.monotonic()
            assert running.post("/scan", {"scanner_type": "breakout"}).status == 503
            assert time.monotonic() - started < 2.5, "each one waits anew"
            for _ in range(100):
                if f"in use by process {writer.process.pid}" in running.log():
                    break
                time.sleep(0.05)
            assert f"in use by process {writer.process.pid}" in running.log()
            writer.__exit__()
            assert running.scan(scan_date="2025-01-15")["total_results"] >= 0
            assert running.get("/ready").status == 200


def hold_for_writing(running, stop: threading.Event):
    """Sends bars again and again, so that the server has its database open for writing most of the time."""
    row = {"symbol": "BUSY", "open": 1, "high": 1, "low": 1, "close": 1, "volume": 1}
    count = 0
    while not stop.is_set():
        lines = [json.dumps(row | {"ts": f"2030-01-{1 + count // 1440 % 28:02} {count // 60 % 24:02}:{count % 60:02}:00"})]
        count += 1
        running.request("POST", "/ingest/bars", body="\n".join(lines).encode(), headers={"Content-Type": "application/x-ndjson"})


def test_a_command_that_finds_the_database_held_by_a_server_asks_it(market_folder, served):
    word = market_folder / "market.duckdb.server.json"
    with Server(market_folder) as running:
        assert json.loads(word.read_text()) == {"process_id": running.process.pid, "url": running.root}
        assert word.stat().st_mode & 0o777 == 0o600
        stop = threading.Event()
        feeders = [threading.Thread(target=hold_for_writing, args=(running, stop)) for _ in range(4)]
        for feeder in feeders:
            feeder.start()
        try:
            expected = scanner(served.alone, *SCAN, "--format", "csv").stdout
            told = []
            for _ in range(12):
                done = scanner(market_folder, *SCAN, "--format", "csv")
                # Whichever way it got in.
                assert done.stdout == expected
                told.append(f"market.duckdb is held by the server at {running.root}; asking it" in done.stderr)
            assert any(told), "the database was free each time: the test does not show anything"
            # Taking bars in needs the database for itself, or the server.
            (market_folder / "bars.csv").write_text(BARS)
            done = scanner(market_folder, "ingest", "bars.csv")
            assert "2 bars added" in done.stderr or "stored already" in done.stderr
            refused = [scanner(market_folder, "adopt", "bars", "--source", "again", check=False) for _ in range(3)]
            said = [done.stderr for done in refused if done.returncode]
            assert all(f"is held by the server at {running.root} (process {running.process.pid})" in text for text in said), said
        finally:
            stop.set()
            for feeder in feeders:
                feeder.join()
        told = scanner(market_folder, "doctor").stdout
        assert f"process {running.process.pid} answers at {running.root}" in told, told
        assert running.terminate() == 0
    assert not word.exists(), "nobody is to look for a server that has ended"
    # One that was killed leaves its word, which is known to be old.
    with Server(market_folder) as running:
        running.kill()
        assert word.exists()
        with Writer(market_folder / "market.duckdb") as writer:
            done = scanner(market_folder, *SCAN, check=False)
            assert done.returncode == 1 and f"process {writer.process.pid}" in done.stderr and "asking" not in done.stderr
        told = scanner(market_folder, "doctor").stdout
        assert f"none: process {running.process.pid} served at" in told, told


def test_statements_wait_for_the_moment_until_a_server_lets_go(market_folder):
    """It runs none itself, so that asking it would be refused."""
    with Server(market_folder) as running:
        for _ in range(3):
            assert running.post("/scan", {"scanner_type": "breakout"}).status == 200
            done = scanner(market_folder, "sql", "SELECT count(*) > 0 AS has FROM bars", "--format", "csv")
            assert done.stdout == "has\ntrue\n" and "asking" not in done.stderr, done.stderr


def test_two_servers_of_one_database_both_answer(market_folder):
    with Server(market_folder) as one:
        first = one.scan(scan_date="2025-01-15")
        other_port = subprocess.run(
            [SCANNER, "serve", "--port", str(one.port)], cwd=market_folder, env=environment(market_folder), capture_output=True, text=True, timeout=60
        )
        assert other_port.returncode == 1 and f"127.0.0.1:{one.port} cannot be listened at" in other_port.stderr and "--port" in other_port.stderr
        with Server(market_folder) as other:
            for _ in range(3):
                assert other.scan(scan_date="2025-01-15")["results"] == first["results"] == one.scan(scan_date="2025-01-15")["results"]
            # One takes bars in as soon as the other has let go.
            row = {"symbol": "NEW", "ts": "2025-01-16 09:15:00", "open": 1, "high": 1, "low": 1, "close": 1, "volume": 1}
            taken = one.request("POST", "/ingest/bars", body=json.dumps(row).encode(), headers={"Content-Type": "application/x-ndjson"})
            assert taken.status == 200 and taken.json()["added"] == 1, taken.text
            symbols = other.get("/symbols?search=NEW").json()
            assert [symbol["symbol"] for symbol in symbols] == ["NEW"], "the other one sees what is new"
        # The word of the one that is left is the newest no more, but it is still not taken for another's.
        assert not (market_folder / "market.duckdb.server.json").exists()


def test_keys_are_asked_for_and_told_apart(market_folder):
    key = scanner(market_folder, "key", "add", "reader", "--role", "read").stdout.strip().splitlines()[-1]
    with Server(market_folder) as running:
        words = ["list", "--format", "csv", "--api-mode", "--url", running.root]

        def with_key(given, *arguments):
            variables = environment(market_folder) | ({"STOCKSCAN_API_KEY": given} if given is not None else {})
            return subprocess.run([SCANNER, *arguments], cwd=market_folder, env=variables, capture_output=True, text=True, timeout=60)

        assert with_key(key, *words).returncode == 0
        none, wrong = with_key(None, *words), with_key(key[:-1] + "x", *words)
        assert none.returncode == wrong.returncode == 2
        assert "give a key in the variable STOCKSCAN_API_KEY" in none.stderr
        assert "the variable STOCKSCAN_API_KEY has a wrong one" in wrong.stderr and key[:-1] not in wrong.stderr
        (market_folder / "bars.csv").write_text(BARS)
        other = with_key(key, "ingest", "bars.csv", "--api-mode", "--url", running.root)
        assert other.returncode == 2 and "role ingest" in other.stderr and "give another key" in other.stderr
        told = with_key(key, "doctor", "--api-mode", "--url", running.root)
        assert told.returncode == 0 and f"process {running.process.pid}" in told.stdout and "nothing needs doing" in told.stdout, told.stdout + told.stderr


ENDLESS = "SELECT count(*) FROM bars AS a, bars AS b WHERE a.close * b.close <> a.open * b.open + 1"


def test_a_server_that_goes_in_the_middle_is_told(market_folder):
    with Server(market_folder, "--enable-query") as running:
        # It would go on for minutes.
        words = [SCANNER, "sql", ENDLESS, "--format", "ndjson", "--api-mode", "--url", running.root]
        done = subprocess.Popen(words, cwd=market_folder, env=environment(market_folder), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        waiting = subprocess.Popen(
            [SCANNER, *OPTIMIZE, "--grid", "min_price=0..200..0.5", "--api-mode", "--url", running.root],
            cwd=market_folder, env=environment(market_folder), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        deadline = time.monotonic() + 60
        while not running.get("/jobs?status=running").json()["jobs"] and time.monotonic() < deadline:
            time.sleep(0.05)
        running.kill()
        for process in (done, waiting):
            said = process.communicate(timeout=60)[1]
            assert process.returncode == 1, said
            assert running.root in said and "panicked" not in said
    words = ["list", "--api-mode", "--url", running.root]
    gone = scanner(market_folder, *words, check=False)
    assert gone.returncode == 1 and f"no server answers at {running.root}" in gone.stderr and "scanner serve" in gone.stderr


def test_ctrl_c_cancels_a_job_and_ends_a_statement(served):
    words = [*OPTIMIZE, "--grid", "min_price=0..200..0.5"]
    place = served.folder / "elsewhere"
    place.mkdir(exist_ok=True)
    process = subprocess.Popen(
        [SCANNER, *words, "--api-mode", "--url", served.root], cwd=place, env=environment(place), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 60
    while not (jobs := served.get("/jobs?status=running").json()["jobs"]):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    out, said = process.communicate(timeout=60)
    assert process.returncode == 1 and "the server has cancelled the job" in said, said
    assert out == ""
    job = served.get(f"/jobs/{jobs[0]['job_id']}?wait=20").json()
    assert job["status"] == "cancelled"

    words = [SCANNER, "sql", ENDLESS, "--api-mode", "--url", served.root]
    process = subprocess.Popen(words, cwd=place, env=environment(place), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    time.sleep(1)
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    out, said = process.communicate(timeout=20)
    assert (process.returncode, out) == (1, "") and "interrupted" in said, said


@pytest.mark.parametrize("status, content_type, body", [(200, "text/html", "<html>hello</html>"), (200, "application/json", "{}"), (404, "text/plain", "no")])
def test_another_program_behind_the_address_is_told(tmp_path, status, content_type, body):
    class Handler(http.server.BaseHTTPRequestHandler):
        def answer(self):
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            self.send_response(status)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body.encode())

        do_GET = do_POST = answer

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as other:
        threading.Thread(target=other.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{other.server_port}"
        (tmp_path / "bars.csv").write_text(BARS)
        for words in (SCAN, ["list"], ["history"], ["show", "latest"], ["export", "latest", "--format", "csv"], ["sql", "SELECT 1"], BACKTEST, ["doctor"]):
            done = scanner(tmp_path, *words, "--api-mode", "--url", url, check=False)
            assert done.returncode == 1, (words, done.stdout, done.stderr)
            assert url in done.stderr or "Stockscan server" in done.stderr, (words, done.stderr)
            assert "panicked" not in done.stderr and not done.stdout.startswith("scan_date")
        other.shutdown()


def test_a_server_that_never_answers_is_given_up(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        done = scanner(tmp_path, *SCAN, "--timeout", "1", "--api-mode", "--url", url, check=False)
        assert done.returncode == 1 and "stopped after 1s" in done.stderr, done.stderr
