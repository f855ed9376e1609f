"""What goes wrong around a server: clients that leave, stall or send nonsense, a database that is gone or in use, ends that come too soon.

Times are not judged by the clock: where something must not go on, it would without the server's doing go on far longer than is waited here.
"""

import http.client
import json
import os
import random
import re
import resource
import select
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from conftest import EXTENSION, connect
from server import PREFIX, SCANNER, Server, environment, scanner
from test_server_contract import problem

# A scanner that does not end by itself. It is one of the database's own, and reads nothing.
SLOW = """
CREATE MACRO scan_slow(scan_date, cutoff_time := '09:50', end_date := NULL, source := 'bars') AS TABLE
SELECT
    CAST(scan_date AS DATE) AS scan_date, 'DEMO0001' AS symbol, CAST(1 AS DOUBLE) AS price, CAST(1 AS BIGINT) AS volume,
    CAST(50 AS DOUBLE) AS probability_score, CAST(1 AS BIGINT) AS rank
FROM (SELECT count(*) AS found FROM range(1000000000000000) AS one(number) WHERE hash(one.number) = 0) AS counted
WHERE counted.found >= 0
"""
SLOW_SCAN = {"scanner_type": "slow", "scan_date": "2025-01-15"}


def until(condition, within=30, what=""):
    """Waits for something."""
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline, what or "it did not happen"
        time.sleep(0.005)


def running(server: Server) -> int:
    return server.get("/health").json()["running"]


def processor_seconds(server: Server) -> float:
    fields = Path(f"/proc/{server.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@pytest.fixture(scope="module")
def long_series(tmp_path_factory) -> Path:
    """A database with a million bars of one symbol, and the scanner that does not end."""
    path = tmp_path_factory.mktemp("long") / "market.duckdb"
    with connect(path) as database:
        database.execute(
            """
            CREATE TABLE bars AS
            SELECT
                'LONG' AS symbol, TIMESTAMP '2015-01-01 09:15' + to_days(CAST(number // 375 AS INTEGER)) + to_minutes(number % 375) AS ts,
                100 + number % 7 AS open, 108 AS high, 99 AS low, 100 + number % 5 AS close, 1000 + number % 13 AS volume
            FROM range(1000000) AS one(number)
            """
        )
        database.execute(SLOW)
    return path


@pytest.fixture
def folder(long_series, tmp_path) -> Path:
    shutil.copy(long_series, tmp_path / "market.duckdb")
    return tmp_path


def begin(server: Server, method: str, path: str, body: bytes = b"", **headers) -> socket.socket:
    """Sends a request, and leaves the answer to be read."""
    connection = socket.create_connection((server.host, server.port), timeout=60)
    head = f"{method} {PREFIX}{path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n"
    head += "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    connection.sendall(head.encode() + b"\r\n" + body)
    return connection


def begin_slow_scan(server: Server) -> socket.socket:
    return begin(server, "POST", "/scan", json.dumps(SLOW_SCAN).encode(), Content_Type="application/json")


def rest(connection: socket.socket) -> bytes:
    """What is sent up to the end of the connection."""
    parts = []
    try:
        while part := connection.recv(1 << 16):
            parts.append(part)
    except ConnectionResetError:
        pass
    return b"".join(parts)


# Clients that leave


def test_the_query_of_a_client_that_leaves_is_stopped(folder):
    with Server(folder, "--workers", 4) as server:
        taken = []
        for _ in range(5):
            clients = [begin_slow_scan(server) for _ in range(4)]
            until(lambda: running(server) == 4)
            started = time.monotonic()
            for client in clients:
                client.close()
            until(lambda: running(server) == 0, what="the queries went on without their clients")
            taken.append(round(1000 * (time.monotonic() - started)))
        print("milliseconds until nothing ran:", taken)
        before = processor_seconds(server)
        time.sleep(0.5)
        assert processor_seconds(server) - before < 0.25, "something still works"
        # One of a batch, and rows.
        batch = {"scans": [SLOW_SCAN, SLOW_SCAN | {"scan_date": "2025-01-14"}]}
        for path, question, media in (("/batch-scan", batch, "application/json"), ("/scan", SLOW_SCAN, "text/csv")):
            client = begin(server, "POST", path, json.dumps(question).encode(), Content_Type="application/json", Accept=media)
            until(lambda: running(server) > 0)
            client.close()
            until(lambda: running(server) == 0)


def test_the_rows_of_a_client_that_leaves_are_not_read_on(folder):
    with Server(folder) as server:
        for media in ("application/x-ndjson", "text/csv", "application/vnd.apache.arrow.stream", "application/json"):
            client = begin(server, "GET", "/bars/LONG?from=2015-01-01&limit=1000000", Accept=media)
            assert client.recv(1000).startswith(b"HTTP/1.1 200")
            assert running(server) == 1, "a million rows do not fit between the two"
            client.close()
            until(lambda: running(server) == 0, what=media)


def test_a_client_that_does_not_read_does_not_keep_others_waiting(folder):
    """Each of them holds a worker until it is given up, and there are no more."""
    with Server(folder, "--workers", 2) as server:
        stalled = [begin(server, "GET", "/bars/LONG?from=2015-01-01&limit=1000000") for _ in range(2)]
        until(lambda: running(server) == 2)
        assert server.get("/health").status == 200
        answer = server.get("/bars/LONG?limit=2", timeout=100)
        assert answer.status == 200 and len(answer.json()) == 2
        for client in stalled:
            text = rest(client)
            assert not text.endswith(b"0\r\n\r\n"), "what was broken off must not look whole"


def test_a_line_that_is_too_long_is_refused(folder):
    with Server(folder, "--workers", 1) as server:
        clients = [begin_slow_scan(server) for _ in range(300)]
        try:
            until(lambda: server.get("/health").json()["waiting"] >= 256)
            refused = [client for client in clients if select.select([client], [], [], 0.01)[0]]
            assert 0 < len(refused) < 60
            for client in refused:
                head = client.recv(4096)
                assert head.startswith(b"HTTP/1.1 503") and b"retry-after: " in head
            assert server.get("/health").json()["status"] == "ok"
        finally:
            for client in clients:
                client.close()
        until(lambda: server.get("/health").json()["waiting"] == 0)
        assert server.get("/symbols").status == 200


def test_the_time_allowed_is_the_limit(folder):
    (folder / "scanner_config.json").write_text('{"api": {"timeout": 1}}')
    with Server(folder) as server:
        answer = server.post("/scan", SLOW_SCAN)
        assert problem(answer, 504)["error"] == "timeout"
        until(lambda: running(server) == 0)


# Clients that send nonsense


NONSENSE = [
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    b"\r\n\r\n\r\n",
    b"GET\r\n\r\n",
    b"GET /none HTTP/9.9\r\n\r\n",
    b"GET /none HTTP/1.1\r\n\r\n",
    b"GET /\x00 HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"G\xc3\x84T / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"GET /none HTTP/1.1\r\nHost: localhost\r\nno colon\r\n\r\n",
    b"GET /none HTTP/1.1\r\nHost : localhost\r\n\r\n",
    b"GET /none HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    b"POST %s/scan HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n" % PREFIX.encode(),
    b"POST %s/scan HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n{}" % PREFIX.encode(),
    b"POST %s/scan HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\nzz\r\n" % PREFIX.encode(),
    b"POST %s/scan HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffffff\r\n" % PREFIX.encode(),
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00",
    b"CONNECT example.com:443 HTTP/1.1\r\nHost: example.com\r\n\r\n",
    b"OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"GET " + b"/" * 100_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"GET /none HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 100_000 + b"\r\n\r\n",
    b"GET /none HTTP/1.1\r\nHost: localhost\r\n" + b"X: x\r\n" * 10_000 + b"\r\n",
    os.urandom(4096),
]  # fmt: skip


def test_nonsense_is_refused_and_others_are_served(server):
    for text in NONSENSE:
        with socket.create_connection((server.host, server.port), timeout=60) as connection:
            try:
                connection.sendall(text)
                connection.shutdown(socket.SHUT_WR)
                answer = rest(connection)
            except OSError:
                answer = b""
            assert answer == b"" or re.match(rb"HTTP/1\.[01] (4\d\d|200|505)", answer), (text[:100], answer[:200])
            if answer.startswith(b"HTTP/1.1 200"):
                assert text.startswith(b"OPTIONS"), text[:100]
        assert server.get("/health").status == 200
    assert server.scan(scan_date="2025-01-15")["total_results"] > 0


def test_slow_heads_and_bodies_are_given_up(folder):
    """A byte now and then keeps no connection for ever. What takes longest is given 30 seconds; without a limit this would wait for minutes."""
    request = b"POST %s/scan HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n" % PREFIX.encode()
    with Server(folder, "--workers", 2) as server:
        heads, bodies, silent, idle = ([socket.create_connection((server.host, server.port)) for _ in range(20)] for _ in range(4))
        for connection in bodies:
            connection.sendall(request)
        for connection in idle:
            connection.sendall(f"GET {PREFIX}/health HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        open_ones, answers, sent, started = {*heads, *bodies, *silent, *idle}, {}, 0, time.monotonic()
        for connection in open_ones:
            connection.setblocking(False)
        while open_ones and time.monotonic() - started < 75:
            for connection in list(open_ones):
                try:
                    if connection in heads:
                        connection.send(request[sent % 60 : sent % 60 + 1])
                    elif connection in bodies:
                        connection.send(b" ")
                    while part := connection.recv(4096):
                        answers[connection] = answers.get(connection, b"") + part
                    open_ones.discard(connection)
                except BlockingIOError:
                    pass
                except (ConnectionResetError, BrokenPipeError):
                    open_ones.discard(connection)
            sent += 1
            asked = time.monotonic()
            assert server.get("/bars/LONG?limit=1").status == 200
            time.sleep(max(0.0, 0.5 - (time.monotonic() - asked)))
        kinds = {"head": heads, "body": bodies, "silent": silent, "idle": idle}
        left = {name: len(open_ones.intersection(these)) for name, these in kinds.items()}
        assert not open_ones, f"still open: {left}"
        for connection in bodies:
            assert answers[connection].startswith(b"HTTP/1.1 408") and b"application/problem+json" in answers[connection]
        assert all(answers[connection].startswith(b"HTTP/1.1 200") for connection in idle)


def test_bodies_without_an_end_are_cut(server):
    def sent(body_parts, **headers):
        connection = server.connect()
        try:
            connection.request("POST", f"{PREFIX}/scan", body=body_parts, headers={"Content-Type": "application/json"} | headers)
        except (BrokenPipeError, ConnectionResetError):
            pass
        return connection.getresponse()

    total = 0

    def endless():
        nonlocal total
        while total < 1 << 30:
            total += 1 << 16
            yield b" " * (1 << 16)

    try:
        assert sent(endless()).status == 413
    except ConnectionResetError:
        # The answer was lost with the rest of the body.
        pass
    assert total < 1 << 29, "all of it was taken"
    with begin(server, "POST", "/scan", Content_Type="application/json") as connection:
        connection.sendall(b"")
    with socket.create_connection((server.host, server.port), timeout=60) as connection:
        head = f"POST {PREFIX}/scan HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 99999999999\r\n\r\n"
        connection.sendall(head.encode())
        assert connection.recv(4096).startswith(b"HTTP/1.1 413"), "said before any of it is sent"


def test_ten_thousand_idle_connections(folder):
    """As many as are allowed are held, each of the others is told to come again, and whoever is connected goes on being served."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    assert hard > 10_500, f"this test needs 10,500 open files, and the system's limit is {hard}: raise it ('ulimit -Hn')"
    most = 2000
    with Server(folder, "--max-connections", most) as server:
        served = http.client.HTTPConnection(server.host, server.port, timeout=60)
        served.request("GET", f"{PREFIX}/health")
        assert served.getresponse().read()
        idle, refused = [], 0
        try:
            for number in range(10_000):
                idle.append(socket.create_connection((server.host, server.port), timeout=60))
                if number % 500 == 0:
                    # One that has said nothing for 15 seconds is closed.
                    served.request("GET", f"{PREFIX}/health")
                    assert served.getresponse().read()
            waiting = select.poll()
            by_number = {one.fileno(): one for one in idle}
            for number in by_number:
                waiting.register(number, select.POLLIN)
            deadline = time.monotonic() + 60
            while refused < (10_000 - most) / 2 and time.monotonic() < deadline:
                for number, _ in waiting.poll(1000):
                    waiting.unregister(number)
                    text = by_number[number].recv(4096)
                    if text:
                        assert text.startswith(b"HTTP/1.1 503") and b"retry-after: " in text and b"application/problem+json" in text, text
                        refused += 1
                    by_number[number].close()
                served.request("GET", f"{PREFIX}/bars/LONG?limit=1")
                response = served.getresponse()
                assert (response.status, len(json.loads(response.read()))) == (200, 1), "one that is connected is served"
            assert refused > (10_000 - most) / 4, "those that say nothing for 15 seconds make room for some"
        finally:
            for one in idle:
                one.close()
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        until(lambda: server_answers(server))
        assert "stockscan_connections_refused_total " in server.get("/metrics").text


def server_answers(server: Server) -> bool:
    try:
        return server.get("/health").status == 200
    except OSError:
        return False


# The database


def test_a_database_that_is_replaced_is_the_one_that_is_read(market_folder):
    other = market_folder / "other.duckdb"
    with connect(other) as database:
        database.execute("CREATE TABLE bars AS SELECT * REPLACE ('NEW' || symbol AS symbol) FROM demo_bars(symbols := 5, sessions := 10)")
    with Server(market_folder) as server:
        before = server.get("/symbols").json()
        assert len(before) == 50 and before[0]["symbol"].startswith("DEMO")
        scan = server.scan(scan_date="2025-01-15")
        other.replace(market_folder / "market.duckdb")
        until(lambda: len(server.get("/symbols").json()) == 5, what="the old one is still read")
        assert all(row["symbol"].startswith("NEW") for row in server.get("/symbols").json())
        assert server.scan(scan_date="2025-01-15")["results"] != scan["results"]


def test_a_database_that_is_deleted_is_missed(market_folder):
    with Server(market_folder) as server:
        assert server.get("/ready").status == 200
        (market_folder / "market.duckdb").unlink()
        until(lambda: server.get("/symbols").status == 503, what="answers come from nowhere")
        answer = server.post("/scan", {"scanner_type": "breakout", "scan_date": "2025-01-14"})
        assert "market.duckdb" not in problem(answer, 503)["detail"] and int(answer.headers["Retry-After"]) > 0
        assert server.get("/ready").status == 503 and server.get("/health").status == 200
        assert not (market_folder / "market.duckdb").exists(), "asking makes no database"
        scanner(market_folder, "demo", "--symbols", 5, "--sessions", 10)
        until(lambda: server.get("/ready").status == 200)
        assert len(server.get("/symbols").json()) == 5


def test_a_file_that_is_no_database(market_folder):
    """Written over in place, while it is in use: as 'cp' does."""
    with Server(market_folder) as server:
        (market_folder / "market.duckdb").write_bytes(b"this is no database" * 1000)
        until(lambda: server.get("/ready").status == 503)
        assert "market.duckdb" not in problem(server.get("/symbols"), 503)["detail"]
        (market_folder / "market.duckdb").write_bytes(b"")
        answer = server.get("/symbols")
        assert answer.status in (404, 503), answer.text


HOLDER = """
import duckdb, sys
database = duckdb.connect(sys.argv[1])
database.execute("CREATE OR REPLACE TABLE held AS SELECT 1 AS one")
print("held", flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("stopped", [False, True], ids=["held", "held-by-a-stopped-one"])
def test_a_database_in_use_is_waited_for_and_then_told_of(market_folder, stopped):
    """By another process, which may not even run: 503 with when to come again; and when it is free all is well again."""
    (market_folder / "scanner_config.json").write_text('{"api": {"timeout": 2}}')
    question = {"scanner_type": "breakout", "scan_date": "2025-01-15"}
    with Server(market_folder) as server:
        expected = server.post("/scan", question).json()["results"]
        time.sleep(1)
        command = [sys.executable, "-c", HOLDER, str(market_folder / "market.duckdb")]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
            assert holder.stdout.readline() == "held\n"
            if stopped:
                holder.send_signal(signal.SIGSTOP)
            try:
                answer = server.get("/bars/DEMO0001")
                document = problem(answer, 503)
                assert int(answer.headers["Retry-After"]) > 0
                assert str(holder.pid) in document["detail"] and "market.duckdb" not in document["detail"]
                assert problem(server.get("/ready"), 503) and server.get("/health").json()["status"] == "ok"
                threads = [threading.Thread(target=server.get, args=("/bars/DEMO0002",)) for _ in range(20)]
                for thread in threads:
                    thread.start()
                assert server.get("/health").status == 200, "those who wait block nobody else"
                for thread in threads:
                    thread.join()
            finally:
                if stopped:
                    holder.send_signal(signal.SIGCONT)
                holder.stdin.close()
        until(lambda: server.get("/ready").status == 200)
        assert server.post("/scan", question).json()["results"] == expected


def test_whoever_wants_the_database_gets_it_soon_after_it_was_used(market_folder):
    """The server lets it go, so that the command can write to it, and reads what was written."""
    with Server(market_folder) as server:
        assert len(server.get("/symbols").json()) == 50
        done = scanner(market_folder, "sql", "DELETE FROM bars WHERE symbol = 'DEMO0001'")
        assert done.returncode == 0
        assert len(server.get("/symbols").json()) == 49


# The clock


def test_a_clock_that_jumps_stops_nothing(market_folder):
    """Ahead by a year and back by ten, under a server that runs: only what says the time says another one."""
    library = next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"), None)
    assert library, "libfaketime is needed (Debian: apt-get install faketime)"
    clock = market_folder / "clock"
    clock.write_text("+0")
    faked = {"LD_PRELOAD": str(library), "FAKETIME_TIMESTAMP_FILE": str(clock), "FAKETIME_NO_CACHE": "1", "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
    with Server(market_folder, "--rate-limit", 20, variables=faked) as server:
        first = server.scan(scan_date="2025-01-15")
        up = server.get("/health").json()["uptime_seconds"]
        for day, jump in enumerate(("+400d", "-4000d", "+0"), 12):
            clock.write_text(jump)
            time.sleep(0.2)
            assert server.scan(scan_date="2025-01-15")["results"] == first["results"]
            fresh = server.scan(scan_date=f"2025-01-{day + 1:02}")
            assert abs(int(fresh["timestamp"][:4]) - int(first["timestamp"][:4])) >= (1 if jump != "+0" else 0), "the clock has jumped"
            health = server.get("/health").json()
            assert health["status"] == "ok" and up < health["uptime_seconds"] < up + 60, "it does not go by that clock"
            up = health["uptime_seconds"]
            assert server.get("/ready").status == 200
            time.sleep(1)
        assert server.get(f"/scan/{fresh['scan_id']}").status == 200, "it was recorded"


# Ends


def test_rows_that_are_sent_are_sent_to_their_end_before_it_ends(folder):
    with Server(folder) as server:
        client = begin(server, "GET", "/bars/LONG?from=2015-01-01&limit=1000000", Accept="application/x-ndjson", Connection="close")
        first = client.recv(1000)
        assert first.startswith(b"HTTP/1.1 200") and running(server) == 1
        server.process.send_signal(signal.SIGTERM)
        time.sleep(0.2)
        assert server.process.poll() is None
        with pytest.raises(OSError):
            server.get("/health")
        text = first + rest(client)
        assert text.endswith(b"0\r\n\r\n"), "the end of the rows"
        assert text.count(b'"symbol":"LONG"') == 1_000_000
        assert server.terminate() == 0


def test_what_does_not_end_is_broken_off_after_the_grace(folder):
    with Server(folder, "--grace", 1) as server:
        stalled, slow = begin(server, "GET", "/bars/LONG?from=2015-01-01&limit=1000000"), begin_slow_scan(server)
        until(lambda: running(server) == 2)
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(30) == 0
        assert not rest(stalled).endswith(b"0\r\n\r\n")
        assert b"200 OK" not in rest(slow)


def test_a_second_signal_or_one_at_the_start_ends_it_well(market_folder):
    for _ in range(3):
        with Server(market_folder) as server:
            server.process.send_signal(signal.SIGINT)
            time.sleep(0.05)
            server.process.send_signal(signal.SIGTERM)
            assert server.process.wait(30) == 0


def test_a_kill_leaves_nothing_half_done(market_folder, market_file):
    """While it scans, records and is asked: what is left are the files that were there, whole, and a new one serves at once."""
    for round_number in range(4):
        with Server(market_folder) as server:
            asking = [
                threading.Thread(target=ask_on, args=(server, 1 + number % 28, round_number))
                for number in range(4)
            ]  # fmt: skip
            for thread in asking:
                thread.start()
            time.sleep(0.3 + 0.2 * round_number)
            server.kill()
            for thread in asking:
                thread.join()
        left = {path.name for path in market_folder.iterdir()} - {".config", ".cache"}
        # The last one is known for what it is by those who find it.
        assert left <= {"market.duckdb", "state.duckdb", "state.duckdb.wal", "server.log", "market.duckdb.server.json"}, left
    assert (market_folder / "market.duckdb").read_bytes() == market_file.read_bytes(), "it was only read"
    with Server(market_folder) as server:
        assert server.scan(scan_date="2025-01-15")["total_results"] > 0
        assert server.get("/ready").status == 200
    assert scanner(market_folder, "history", "--format", "json").returncode == 0, "the history is whole"


def ask_on(server: Server, day: int, round_number: int):
    try:
        while True:
            server.post("/scan", {"scanner_type": "breakout", "scan_date": f"2024-1{round_number % 3}-{day:02}"})
            day = day % 28 + 1
    except OSError:
        pass


def test_a_port_that_is_taken_is_told(market_folder):
    with Server(market_folder) as server:
        done = scanner(market_folder, "serve", "--port", server.port, check=False)
        assert done.returncode == 1
        assert str(server.port) in done.stderr and "--port" in done.stderr
        with Server(market_folder, "--log-format", "json") as second:
            assert second.port != server.port
            assert len(second.get("/symbols").json()) == len(server.get("/symbols").json()) == 50, "both read"
            line = [json.loads(line) for line in second.log().splitlines() if line.startswith("{") and "/symbols" in line][-1]
            assert line["path"] == f"{PREFIX}/symbols" and line["status"] == 200 and line["id"]


def test_a_full_disk_stops_no_scan(market_folder):
    """A limit of the file's size behaves as a full disk does. What cannot be recorded is told in the log; the answers come all the same."""
    limits = ["prlimit", "--fsize=65536"]
    script = "import os, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); os.execvp(sys.argv[1], sys.argv[1:])"
    server = Server(market_folder, around=[sys.executable, "-c", script, *limits], variables={})
    with server:
        for day in range(6, 16):
            answer = server.post("/scan", {"scanner_type": "breakout", "scan_date": f"2025-01-{day:02}"})
            assert answer.status == 200, answer.text
        assert server.get("/health").json()["status"] == "ok" and server.get("/symbols").status == 200


def test_a_full_disk_takes_no_bars_and_loses_none(market_folder):
    """The same while bars are taken in: what was acknowledged is there, what was not is not, and it goes on once there is room."""
    database = market_folder / "market.duckdb"
    # Of the log beside the database, which is written first, too.
    limits = ["prlimit", f"--fsize={1 << 20}"]
    script = "import os, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); os.execvp(sys.argv[1], sys.argv[1:])"
    noise = random.Random(1)

    def body(number: int) -> bytes:
        rows = []
        for minute in range(2000):
            low, high = noise.uniform(1, 2), noise.uniform(4, 5)
            clock = f"2030-01-{1 + minute // 1000:02} {minute % 1000 // 60:02}:{minute % 60:02}:00"
            bar = {"open": noise.uniform(low, high), "high": high, "low": low, "close": noise.uniform(low, high), "volume": noise.randrange(10**9)}
            rows.append(json.dumps({"symbol": f"NOISE{number}", "ts": clock} | bar))
        return "\n".join(rows).encode()

    acknowledged, refused = {}, []
    with Server(market_folder, around=[sys.executable, "-c", script, *limits]) as server:
        for number in range(40):
            answer = server.request("POST", "/ingest/bars", body=body(number), headers={"Content-Type": "application/x-ndjson"})
            if answer.status == 200:
                acknowledged[f"NOISE{number}"] = answer.json()["added"]
            else:
                assert answer.status >= 500, answer.text
                assert str(market_folder) not in answer.text
                refused.append(f"NOISE{number}")
                break
        assert refused, "all of it had room: the test does not show anything"
        assert server.post("/scan", {"scanner_type": "breakout", "scan_date": "2025-01-15"}).status == 200
        assert server.get("/health").json()["status"] == "ok"
    counts = "SELECT symbol, count(*) AS bars FROM bars WHERE symbol LIKE 'NOISE%' GROUP BY symbol"
    rows = json.loads(scanner(market_folder, "-q", "sql", counts, "--database", database, "--format", "json").stdout)
    assert {row["symbol"]: row["bars"] for row in rows} == acknowledged
    with Server(market_folder) as server:
        answer = server.request("POST", "/ingest/bars", body=body(99), headers={"Content-Type": "application/x-ndjson"})
        assert answer.status == 200 and answer.json()["added"] == 2000, answer.text
