"""Bars that are sent to the server: what is counted, what is stored, what is refused, and what is left after a crash."""

import http.client
import io
import json
import os
import queue
import re
import shutil
import signal
import socket
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet
import pytest

SCANNER = os.environ.get("STOCKSCAN_SCANNER", "scanner")
PATH = "/api/v1/scanner/ingest/bars"
NDJSON = "application/x-ndjson"
CSV = "text/csv"
ARROW = "application/vnd.apache.arrow.stream"
PARQUET = "application/vnd.apache.parquet"
COLUMNS = ["symbol", "ts", "open", "high", "low", "close", "volume"]


class Server:
    """`scanner serve` on a free port, with a folder of its own."""

    def __init__(self, folder: Path, *options: str):
        self.folder, self.options = folder, options
        self.database = folder / "market.duckdb"
        self.start()

    def start(self):
        environment = {name: value for name, value in os.environ.items() if not name.startswith("STOCKSCAN_")}
        environment |= {"HOME": str(self.folder), "XDG_CONFIG_HOME": str(self.folder), "TMPDIR": str(self.folder)}
        command = [SCANNER, "--database", str(self.database), *self.options, "serve", "--port", "0"]
        self.process = subprocess.Popen(command, cwd=self.folder, env=environment, stderr=subprocess.PIPE, text=True)
        lines = queue.Queue()
        threading.Thread(target=lambda: [lines.put(line) for line in self.process.stderr], daemon=True).start()
        said = []
        while True:
            try:
                said.append(lines.get(timeout=60))
            except queue.Empty:
                raise AssertionError("the server did not say where it listens: " + "".join(said)) from None
            if found := re.search(r"http://127\.0\.0\.1:(\d+)", said[-1]):
                self.port = int(found[1])
                return

    def connection(self, timeout=60) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)

    def post(self, body, content_type=NDJSON, query="", connection=None, headers=None):
        """The status, the answer, and the headers."""
        connection = connection or self.connection()
        connection.request("POST", PATH + query, body, {"Content-Type": content_type} | (headers or {}))
        response = connection.getresponse()
        return response.status, json.loads(response.read()), response.headers

    def counts(self, body, content_type=NDJSON, query=""):
        """What became of the rows, as the names of the counts that are not zero."""
        status, answer, _ = self.post(body, content_type, query)
        assert status == 200, answer
        counted = {name: answer[name] for name in ("received", "added", "unchanged", "conflicting", "repeated")}
        counted["rejected"] = sum(refused["rows"] for refused in answer["rejected"])
        return {name: count for name, count in counted.items() if count}

    def refused(self, body, content_type=NDJSON, query="", status=400):
        found, problem, headers = self.post(body, content_type, query)
        assert found == status, problem
        assert headers["Content-Type"] == "application/problem+json"
        assert problem["status"] == status and problem["error"] and problem["timestamp"]
        detail = problem["detail"]
        assert str(self.folder) not in detail and "body-" not in detail and "/tmp" not in detail and "SELECT" not in detail, detail
        return detail

    def bars(self, sql="FROM bars ORDER BY ALL"):
        """What is stored, as another process sees it."""
        for _ in range(200):
            try:
                with duckdb.connect(str(self.database), read_only=True) as database:
                    return database.execute(sql).fetchall()
            except duckdb.IOException:
                # The server lets go of it when nobody asks for a while.
                time.sleep(0.05)
        raise AssertionError("the server does not let go of its database")

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise

    def kill(self):
        self.process.kill()
        self.process.wait()


@pytest.fixture
def server(tmp_path):
    server = Server(tmp_path)
    yield server
    assert server.process.poll() is None, "the server ended by itself"
    server.stop()


def bar(symbol="A", ts="2025-01-15 09:15:00", open=10.0, high=11.0, low=9.0, close=10.5, volume=100) -> dict:
    return {"symbol": symbol, "ts": ts, "open": open, "high": high, "low": low, "close": close, "volume": volume}


def ndjson(*bars) -> str:
    return "".join(json.dumps(bar) + "\n" for bar in bars)


def csv(*bars) -> str:
    return "\n".join([",".join(COLUMNS), *(",".join(str(bar[column]) for column in COLUMNS) for bar in bars)]) + "\n"


def arrow(*bars) -> bytes:
    table = pa.Table.from_pylist(list(bars))
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


def parquet(*bars) -> bytes:
    sink = io.BytesIO()
    pa.parquet.write_table(pa.Table.from_pylist(list(bars)), sink)
    return sink.getvalue()


FORMATS = {
    NDJSON: ndjson,
    CSV: csv,
    ARROW: arrow,
    PARQUET: parquet,
    "application/json": lambda *bars: json.dumps(bars, indent=1),
}


@pytest.mark.parametrize("content_type", FORMATS)
def test_each_format_is_counted_by_what_is_stored_already(server, content_type):
    body = FORMATS[content_type]
    first = body(bar("A"), bar("B"))
    assert server.counts(first, content_type) == {"received": 2, "added": 2}
    # Sent again: nothing changes. One that takes rows for new whenever they are sent would add them.
    assert server.counts(first, content_type) == {"received": 2, "unchanged": 2}
    mixed = body(
        bar("A"),  # unchanged
        bar("B", close=9.5),  # conflicting: the stored bar stays
        bar("C"),  # added
        bar("C", close=9.5),  # repeated
        bar("D", high=8.0),  # rejected: high below low
        bar("E", volume=-1),  # rejected: negative volume
        bar("A", ts="2025-01-15 09:16:00"),  # added
    )
    status, answer, _ = server.post(mixed, content_type)
    assert status == 200
    assert {name: answer[name] for name in ("received", "added", "unchanged", "conflicting", "repeated", "newest")} == {
        "received": 7,
        "added": 2,
        "unchanged": 1,
        "conflicting": 1,
        "repeated": 1,
        "newest": "2025-01-15 09:16:00",
    }
    assert [(refused["reason"], refused["rows"]) for refused in answer["rejected"]] == [("high below low", 1), ("negative volume", 1)]
    assert answer["rejected"][0]["example"].startswith("row 5: D, 2025-01-15 09:15:00, 10.0, 8.0")
    stored = server.bars("SELECT symbol, strftime(ts, '%H:%M'), close FROM bars ORDER BY ALL")
    assert stored == [("A", "09:15", 10.5), ("A", "09:16", 10.5), ("B", "09:15", 10.5), ("C", "09:15", 10.5)]


def test_columns_zones_and_labels_are_said_in_the_query(server):
    # 09:20 in Kolkata is the end of the bar of five minutes that starts at 09:15.
    row = {"ticker": "A", "when": "2025-01-15T03:50:00Z", "o": 10, "h": 11, "l": 9, "c": 10, "q:1": 5}
    query = "?map=ts:when&map=volume:q:1&timezone=Asia/Kolkata&label=end&bar_minutes=5"
    assert server.counts(json.dumps(row), NDJSON, query) == {"received": 1, "added": 1}
    assert server.bars("SELECT symbol, ts::VARCHAR, volume FROM bars") == [("A", "2025-01-15 09:15:00", 5)]
    # The same instant as seconds since 1970.
    assert server.counts(json.dumps(row | {"when": 1736913000}), NDJSON, query) == {"received": 1, "unchanged": 1}
    # A date and a time of day, in a format of their own, without the symbol.
    text = "day,clock,open,high,low,close,volume\n15/01/2025,0916,10,11,9,10,5\n"
    query = "?map=ts:day%2Bclock&timestamp_format=%25d/%25m/%25Y%20%25H%25M&symbol=A"
    assert server.counts(text, CSV, query) == {"received": 1, "added": 1}
    assert server.bars("SELECT max(ts)::VARCHAR FROM bars") == [("2025-01-15 09:16:00",)]
    # Texts in an Arrow stream, as instants of another zone.
    zoned = bar(ts="2025-01-14T22:47:00-05:00", symbol="A")
    assert server.counts(arrow(zoned), ARROW, "?timezone=Asia/Kolkata") == {"received": 1, "added": 1}
    assert server.bars("SELECT max(ts)::VARCHAR FROM bars") == [("2025-01-15 09:17:00",)]


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("?map=ts=timestamp", "map is 'ts=timestamp'; expected COLUMN:COLUMN_OF_THE_BODY, such as map=ts:timestamp"),
        ("?map=time:ts", "map names 'time'"),
        ("?map=ts:tss", "did you mean 'ts'"),
        ("?label=middle", "expected start or end"),
        ("?bar_minutes=0", "expected a whole number from 1 to 1440"),
        ("?time_zone=UTC", "did you mean 'timezone'?"),
        ("?label=end&label=end", "label is there twice"),
        ("?timezone=Mars/Base", "Mars/Base"),
        ("?timestamp_format=%25Q", "format specifier %Q"),
    ],
)
def test_a_wrong_query_is_refused_with_what_is_expected(server, query, said):
    row = bar(ts="2025-01-15T03:45:00Z") if "Mars" in query else bar()
    assert said in server.refused(ndjson(row), NDJSON, query)


def test_a_malformed_body_is_refused_with_the_place(server):
    good = ndjson(bar())
    for content_type, body, said in [
        (NDJSON, good + '{"symbol": "A" "ts": 1}\n', "line 2, column 16: expected `,` or `}`"),
        (NDJSON, good + '\n[1]\n' + good, "line 3, column"),
        (NDJSON, good + '{"symbol": "A", "op', "line 2, column"),
        (NDJSON, '{"symbol": "A", "symbol": "B"}\n', "line 1"),
        (NDJSON, '{"a":' * 100_000 + "1" + "}" * 100_000, "recursion depth"),
        (NDJSON, ndjson({"symbol": "A", "ts": "2025-01-15 09:15:00"}), "no column for 'open'"),
        (NDJSON, b'{"symbol": "\xff"}\n', "line 1"),
        (NDJSON, "", "the body is empty"),
        ("application/json", "[\n" + json.dumps(bar()) + ",\n{]\n", "line 3, column 2"),
        ("application/json", "17", "an array of objects"),
        (CSV, "1,2\n3,4\n", "no column for 'symbol'"),
        (CSV, csv(bar(ts="soon")), "no time in column 'ts' can be read, such as 'soon'"),
        (ARROW, b"", "the body is empty"),
        (ARROW, b"ARROW1\0\0", "no Arrow stream"),
        (ARROW, arrow(bar())[:-200], "Arrow stream"),
        (ARROW, arrow(bar() | {"deep": [1, 2]}), "column 'deep'"),
        (ARROW, arrow(bar(symbol="A" * 2000)), "more than 1000 bytes"),
        (PARQUET, parquet(bar(symbol="A" * 2000)), "more than 1000 bytes"),
        (PARQUET, parquet(bar() | {"deep": [1, 2]}), "column 'deep'"),
        (PARQUET, b"PAR1" + bytes(100) + b"PAR1", ""),
        (PARQUET, parquet(bar())[:-20], ""),
    ]:
        detail = server.refused(body, content_type)
        assert said in detail, (body[:80], detail)
    # Lines of CSV that are wrong fail alone.
    status, answer, _ = server.post(csv(bar()) + "A,2025-01-15 09:16:00,1,1\nA,2025-01-15 09:17:00,x,1,1,1,1\n", CSV)
    assert (status, answer["received"], answer["added"]) == (200, 3, 1)
    assert [refused["example"].split(":")[0] for refused in answer["rejected"]] == ["line 3", "line 2"] or [
        refused["example"].split(":")[0] for refused in answer["rejected"]
    ] == ["line 4", "line 3"], answer
    for content_type in ("text/plain", "", "application/x-www-form-urlencoded"):
        assert "expected application/x-ndjson" in server.refused(good, content_type, status=415)
    status, problem, _ = server.post(good, headers={"Content-Encoding": "gzip"})
    assert status == 415, problem
    assert server.counts("[]", "application/json") == {}


def test_a_hostile_stream_is_refused_and_the_server_goes_on(server):
    """Bytes turned over anywhere in a stream or file: never another status, never a server that is gone."""
    import random

    chance = random.Random(7)
    connection = server.connection()
    for content_type, body in [(ARROW, arrow(*[bar(f"S{n}") for n in range(50)])), (PARQUET, parquet(*[bar(f"S{n}") for n in range(50)]))]:
        for _ in range(300):
            broken = bytearray(body)
            for _ in range(chance.randint(1, 8)):
                broken[chance.randrange(len(broken))] = chance.randrange(256)
            status, answer, _ = server.post(bytes(broken), content_type, connection=connection)
            assert status in (200, 400), answer
    assert server.process.poll() is None
    assert server.counts(ndjson(bar("LAST"))) == {"received": 1, "added": 1}


def test_a_body_that_is_too_large_is_refused(server):
    # 64 MiB is the limit: more is refused by its length, and where that is not said, once it is there.
    connection = server.connection()
    connection.putrequest("POST", PATH)
    connection.putheader("Content-Type", NDJSON)
    connection.putheader("Content-Length", str((64 << 20) + 1))
    connection.endheaders()
    assert connection.getresponse().status == 413

    def chunks():
        chunk = b" " * (1 << 20)
        for _ in range(66):
            yield chunk

    try:
        status, problem, _ = server.post(chunks())
        assert status == 413, problem
    except (BrokenPipeError, ConnectionResetError):
        # It was refused before it was sent whole.
        pass
    assert server.counts(ndjson(bar())) == {"received": 1, "added": 1}
    assert not list(server.folder.glob("**/body-*")), "nothing is left of it"


def test_feeders_at_once_lose_and_double_nothing(server):
    """Eight feeders, half of whose bars others send as well: each bar is added for exactly one of them."""
    minutes = [f"2025-01-15 {9 + minute // 60:02}:{minute % 60:02}:00" for minute in range(15, 75)]

    def feed(feeder: int):
        connection = server.connection()
        added = received = 0
        for ts in minutes:
            # Its own, one that two feeders send, and one that all send.
            body = ndjson(bar(f"OWN{feeder}", ts), bar(f"PAIR{feeder // 2}", ts), bar("ALL", ts))
            status, answer, _ = server.post(body, connection=connection)
            assert status == 200, answer
            assert answer["conflicting"] == answer["repeated"] == 0 and not answer["rejected"]
            added += answer["added"]
            received += answer["received"]
        return added, received

    with ThreadPoolExecutor(8) as pool:
        fed = list(pool.map(feed, range(8)))
    distinct = (8 + 4 + 1) * len(minutes)
    assert sum(added for added, _ in fed) == distinct
    assert sum(received for _, received in fed) == 24 * len(minutes)
    assert server.bars("SELECT count(*), count(DISTINCT (symbol, ts)) FROM bars") == [(distinct, distinct)]


def test_a_malformed_body_fails_alone(server):
    """Many at once, so that they are stored together: only the broken ones are refused."""

    def send(number: int):
        good = number % 3 > 0
        status, answer, _ = server.post(ndjson(bar(f"S{number}")) if good else '{"symbol": "S', NDJSON)
        return good, status, answer

    with ThreadPoolExecutor(16) as pool:
        for good, status, answer in pool.map(send, range(96)):
            assert status == (200 if good else 400), answer
            assert not good or answer["added"] == 1
    assert server.bars("SELECT count(*) FROM bars") == [(64,)]


def test_what_was_acknowledged_is_there_after_a_crash(tmp_path):
    """Killed while four feeders send: whatever was answered is there, whole bodies only, and the next start goes on from there."""
    server = Server(tmp_path)
    acknowledged = set()
    for crash in range(4):
        stop = threading.Event()

        def feed(feeder: int, crash=crash, stop=stop):
            connection = server.connection(timeout=10)
            number = 0
            while not stop.is_set():
                symbol = f"F{crash}_{feeder}_{number}"
                body = ndjson(*(bar(symbol, f"2025-01-15 09:{minute}:00") for minute in range(15, 20)))
                try:
                    status, answer, _ = server.post(body, connection=connection)
                except (OSError, http.client.HTTPException, json.JSONDecodeError):
                    return
                assert (status, answer["added"]) == (200, 5), answer
                acknowledged.add(symbol)
                number += 1

        threads = [threading.Thread(target=feed, args=(feeder,)) for feeder in range(4)]
        for thread in threads:
            thread.start()
        # In the middle of whatever it does once it has answered so many.
        wanted = len(acknowledged) + 10 + 7 * crash
        while len(acknowledged) < wanted and any(thread.is_alive() for thread in threads):
            time.sleep(0.001)
        server.kill()
        stop.set()
        for thread in threads:
            thread.join()
        assert len(acknowledged) >= wanted
        server.start()
        stored = dict(server.bars("SELECT symbol, count(*) FROM bars GROUP BY symbol"))
        assert not acknowledged - stored.keys(), "acknowledged, and not there"
        assert set(stored.values()) == {5}, "a body is stored whole or not at all"
    server.stop()


def test_a_full_queue_is_refused_for_now(server):
    """64 bodies that do not come to their end hold every place; once they go, there is room again."""
    slow = []

    def hold():
        connection = socket.create_connection(("127.0.0.1", server.port))
        connection.sendall(
            f"POST {PATH} HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\nContent-Type: {NDJSON}\r\nContent-Length: 1000\r\n\r\n{{".encode()
        )
        slow.append(connection)

    for _ in range(64):
        hold()
    for _ in range(100):
        status, problem, headers = server.post(ndjson(bar()))
        if status == 429:
            break
        # One of them came while this took a place, and was refused itself.
        hold()
    assert status == 429 and int(headers["Retry-After"]) >= 1, problem
    assert "64 requests with bars wait already" in problem["detail"]
    for connection in slow:
        connection.close()
    for _ in range(100):
        status, answer, _ = server.post(ndjson(bar("B")))
        if status == 200:
            break
        assert status == 429
        time.sleep(0.05)
    assert status == 200, answer


def test_a_server_that_only_reads_takes_nothing_in(tmp_path):
    database = tmp_path / "market.duckdb"
    subprocess.run([SCANNER, "--quiet", "--database", database, "demo", "--symbols", "5", "--sessions", "3"], check=True, cwd=tmp_path)
    before = database.read_bytes()
    server = Server(tmp_path, "--read-only")
    try:
        assert "only reads its database" in server.refused(ndjson(bar()), status=403)
    finally:
        server.stop()
    assert database.read_bytes() == before


def test_a_database_that_another_process_holds_is_waited_for(server):
    assert server.counts(ndjson(bar("A"))) == {"received": 1, "added": 1}
    for _ in range(200):
        try:
            holder = duckdb.connect(str(server.database))
            break
        except duckdb.IOException:
            time.sleep(0.05)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(server.counts, ndjson(bar("B")))
        time.sleep(1)
        assert not waiting.done()
        holder.execute("INSERT INTO bars SELECT 'HOLDER', ts, open, high, low, close, volume FROM bars")
        holder.close()
        assert waiting.result(30) == {"received": 1, "added": 1}
    assert server.bars("SELECT symbol FROM bars ORDER BY ALL") == [("A",), ("B",), ("HOLDER",)]


def test_a_database_that_is_replaced_is_opened_anew(server):
    assert server.counts(ndjson(bar("A"))) == {"received": 1, "added": 1}
    server.bars()
    other = server.folder / "other.duckdb"
    with duckdb.connect(str(other)) as database:
        database.execute(
            "CREATE TABLE bars AS SELECT 'A' AS symbol, TIMESTAMP '2025-01-15 09:15:00' AS ts, 1::DOUBLE AS open, 1::DOUBLE AS high, "
            "1::DOUBLE AS low, 1::DOUBLE AS close, 1 AS volume"
        )
    os.replace(other, server.database)
    # One that still had the old file would call it unchanged.
    assert server.counts(ndjson(bar("A"), bar("B"))) == {"received": 2, "added": 1, "conflicting": 1}
    assert server.bars("SELECT symbol, close::DOUBLE FROM bars ORDER BY ALL") == [("A", 1.0), ("B", 10.5)]


def test_a_view_is_not_written_to(tmp_path):
    with duckdb.connect(str(tmp_path / "market.duckdb")) as database:
        database.execute(
            "CREATE TABLE raw (symbol VARCHAR, ts TIMESTAMP, open DOUBLE, high DOUBLE, low DOUBLE, close DOUBLE, volume BIGINT); "
            "CREATE VIEW bars AS FROM raw"
        )
    server = Server(tmp_path)
    try:
        assert "'bars' of the database is a view" in server.refused(ndjson(bar()), status=400)
    finally:
        server.stop()


def test_nothing_grows_with_what_was_taken_in(server):
    """Bars wait in memory until they are stored, and nowhere after that."""

    def resident() -> int:
        return int(re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{server.process.pid}/status").read_text())[1]) // 1024

    connection = server.connection()
    rows = [bar(f"S{number}", "2025-01-15 09:15:00") for number in range(2000)]
    body = ndjson(*rows)
    for _ in range(20):
        server.post(body, connection=connection)
    before = resident()
    for _ in range(100):
        status, answer, _ = server.post(body, connection=connection)
        assert (status, answer["unchanged"]) == (200, 2000)
    assert resident() < before + 64, "200,000 rows that were there already"
    assert not list(server.folder.glob("**/body-*")), "no file of a body is left"
