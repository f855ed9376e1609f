"""Live scans and alerts of a server: over WebSockets with a client of its own kind and with frames made by hand, and as server-sent events.

Which bars there are is in the tests' hands, and the scanner `above` finds what can be told by looking at them: stocks whose newest close is
above 100, the highest first.
"""

import asyncio
import base64
import contextlib
import hashlib
import http.server
import json
import os
import re
import signal
import socket
import struct
import subprocess
import threading
import time

import duckdb
import pytest
import websockets.asyncio.client
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from server import PREFIX, Server, environment, scanner, SCANNER

ABOVE = """
CREATE TABLE bars (symbol VARCHAR, ts TIMESTAMP, open DOUBLE, high DOUBLE, low DOUBLE, close DOUBLE, volume BIGINT);
CREATE MACRO scan_above(scan_date, cutoff_time := '24:00', symbols := NULL, level := 100) AS TABLE
SELECT any_value(bar.session_date) AS scan_date, bar.symbol, arg_max(bar.close, bar.ts) AS price, sum(bar.volume)::BIGINT AS volume,
    50.0::DOUBLE AS probability_score, row_number() OVER (ORDER BY arg_max(bar.close, bar.ts) DESC, bar.symbol) AS rank
FROM visible_bars(scan_date, cutoff_time, symbols := symbols) AS bar
GROUP BY bar.symbol HAVING arg_max(bar.close, bar.ts) > level ORDER BY rank;
"""
OPEN = {"min_price": 0, "max_price": 1e9, "min_volume": 0, "min_probability_score": 0, "max_results_per_day": 1000}
WAIT = 30


@pytest.fixture
def market(tmp_path):
    """A folder with a database without a bar."""
    scanner(tmp_path, "sql", ABOVE, "--database", "market.duckdb")
    return tmp_path


def configure(folder, **sections):
    (folder / "scanner_config.json").write_text(json.dumps(sections))


def bars(server, ts, **closes):
    """Sends the bar of a minute for some stocks, which open and close at a price."""
    prices = ("open", "high", "low", "close")
    rows = [{"symbol": symbol, "ts": ts, "volume": 10} | dict.fromkeys(prices, close) for symbol, close in closes.items()]
    body = "".join(json.dumps(row) + "\n" for row in rows).encode()
    answer = server.post("/ingest/bars", body=body, headers={"Content-Type": "application/x-ndjson"})
    assert answer.status == 200 and answer.json()["added"] == len(rows), answer.text


def metric(server, name, **labels):
    """A number of `GET /metrics`, 0 if there is none."""
    text = server.get("/metrics").text
    wanted = [f'{label}="{value}"' for label, value in labels.items()]
    lines = [line for line in text.splitlines() if re.match(rf"{name}[ {{]", line) and all(label in line for label in wanted)]
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines)


def until(condition, wait=WAIT):
    """What is true in the end."""
    deadline = time.monotonic() + wait
    while not (found := condition()):
        assert time.monotonic() < deadline, "it has not come to pass"
        time.sleep(0.02)
    return found


def opened(folder):
    """The database, if no other process has it."""
    try:
        return duckdb.connect(str(folder / "market.duckdb"))
    except duckdb.IOException:
        return None


def address(server, path="/ws/live-scan"):
    return f"ws://{server.host}:{server.port}{PREFIX}{path}"


class Socket:
    """A WebSocket whose messages are documents."""

    def __init__(self, server, path="/ws/live-scan", **options):
        self.manager = connect(address(server, path), open_timeout=WAIT, max_size=None, **options)

    def open(self):
        self.connection = self.manager.__enter__()
        return self

    def say(self, kind, **rest):
        self.connection.send(json.dumps({"type": kind} | rest))

    def hear(self, *kinds):
        """The next message, or the next of these types."""
        while True:
            message = json.loads(self.connection.recv(WAIT))
            if message["type"] in kinds or (not kinds and message["type"] != "heartbeat"):
                return message

    def subscribe(self, scanner_type="above", **rest):
        self.say("subscribe", scanner_type=scanner_type, **({"interval_seconds": 0.2} | rest))
        return self.hear("subscribed", "error")

    def closed(self):
        """How the other side closes."""
        with pytest.raises(ConnectionClosed) as closed:
            while True:
                self.connection.recv(WAIT)
        return closed.value.rcvd.code, closed.value.rcvd.reason

    def __enter__(self):
        return self.open()

    def __exit__(self, *_):
        self.connection.close()


class Events:
    """Server-sent events."""

    def __init__(self, server, path, headers=None):
        self.connection = server.connect(WAIT)
        self.connection.request("GET", PREFIX + path, headers=headers or {})
        self.response = self.connection.getresponse()
        self.status = self.response.status

    def hear(self, *kinds):
        """Name and document of the next event; `None`: the stream has ended."""
        name, data = None, []
        while line := self.response.readline():
            field, _, value = line.decode().rstrip("\n").partition(": ")
            if field == "event":
                name = value
            elif field == "data":
                data.append(value)
            elif not field and data:
                document = json.loads("\n".join(data))
                assert document["type"] == name
                if not kinds or name in kinds:
                    return document
                name, data = None, []
        return None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        # Other than close(), this is at once.
        self.connection.sock and self.connection.sock.close()
        self.response.close()


class Raw:
    """A WebSocket whose frames are made by hand, and which answers nothing by itself."""

    def __init__(self, server, path="/ws/live-scan", buffer=None):
        self.socket = socket.socket()
        if buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        self.socket.settimeout(WAIT)
        self.socket.connect((server.host, server.port))
        key = base64.b64encode(os.urandom(16)).decode()
        self.socket.sendall(
            f"GET {PREFIX}{path} HTTP/1.1\r\nHost: {server.host}:{server.port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += self.socket.recv(1)
        accept = base64.b64encode(hashlib.sha1(f"{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11".encode()).digest())
        assert head.startswith(b"HTTP/1.1 101") and accept in head

    def send(self, operation, payload, final=True, reserved=0, masked=True):
        mask = os.urandom(4)
        length = len(payload)
        head = bytes([final << 7 | reserved << 4 | operation])
        if length < 126:
            size = bytes([masked << 7 | length])
        elif length < 1 << 16:
            size = struct.pack("!BH", masked << 7 | 126, length)
        else:
            size = struct.pack("!BQ", masked << 7 | 127, length)
        body = bytes(byte ^ mask[index % 4] for index, byte in enumerate(payload)) if masked else payload
        self.socket.sendall(head + size + (mask if masked else b"") + body)

    def say(self, kind, **rest):
        self.send(1, json.dumps({"type": kind} | rest).encode())

    def exactly(self, count):
        data = b""
        while len(data) < count:
            more = self.socket.recv(min(count - len(data), 1 << 16))
            if not more:
                raise EOFError
            data += more
        return data

    def frame(self):
        """Operation and payload."""
        first, second = self.exactly(2)
        length = second & 127
        if length == 126:
            (length,) = struct.unpack("!H", self.exactly(2))
        elif length == 127:
            (length,) = struct.unpack("!Q", self.exactly(8))
        return first & 15, self.exactly(length)

    def close_code(self):
        while True:
            operation, payload = self.frame()
            if operation == 8:
                return struct.unpack("!H", payload[:2])[0]

    def hear(self, kind):
        while True:
            operation, payload = self.frame()
            if operation == 1 and (message := json.loads(payload))["type"] == kind:
                return message


def changes(update):
    return [row["symbol"] for row in update["results"]], update["added"], update["removed"]


def test_each_update_says_what_is_new_and_up_to_when_bars_were_seen(market):
    with Server(market) as server, Socket(server) as client:
        subscribed = client.subscribe()
        assert subscribed["interval_seconds"] == 0.2 and subscribed["scanner_type"] == "above"
        # Nothing to scan is said, and is no empty result.
        stale = client.hear()
        assert (stale["type"], stale["error"], stale["data_as_of"]) == ("stale", "no_bars", None)

        bars(server, "2025-01-14 15:29", A=101, B=99, C=105)
        update = client.hear()
        assert update["type"] == "scan_update" and update["subscription_id"] == subscribed["subscription_id"]
        assert changes(update) == (["C", "A"], ["C", "A"], [])
        # The end of the bar, not its start.
        assert update["data_as_of"] == "2025-01-14T15:30:00" and update["scanner_type"] == "above"
        assert update["results"][0] == {
            "scan_date": "2025-01-14", "symbol": "C", "price": 105.0, "volume": 10, "probability_score": 50.0, "rank": 1,
        }  # fmt: skip
        bars(server, "2025-01-14 15:30", A=99, B=102, C=106)
        assert changes(client.hear()) == (["C", "B"], ["B"], ["A"])
        # A new session starts afresh: C is new in it, B was not dropped.
        bars(server, "2025-01-15 09:15", C=107)
        assert changes(client.hear()) == (["C"], ["C"], [])
        # The same names as of a later bar are an update without changes.
        bars(server, "2025-01-15 09:16", C=108)
        update = client.hear()
        assert changes(update) == (["C"], [], []) and update["data_as_of"] == "2025-01-15T09:17:00"


def test_events_are_the_same_documents_and_end_when_the_server_does(market):
    with Server(market) as server:
        bars(server, "2025-01-15 09:15", A=101, B=102)
        with Events(server, "/events/scanner/above?interval=0.2&symbols=A,B&level=101") as events, Socket(
            server, "/ws/scanner/above?interval=0.2&symbols=A,B&level=101"
        ) as client:
            assert events.response.headers["content-type"].startswith("text/event-stream")
            assert events.response.headers.get("content-encoding") is None
            subscribed = events.hear()
            assert subscribed["subscription_id"] == client.hear()["subscription_id"], "the same scan is the same subscription"
            assert changes(events.hear()) == changes(client.hear()) == (["B"], ["B"], [])
            bars(server, "2025-01-15 09:16", A=103, B=90, C=500)
            first, second = events.hear(), client.hear()
            assert changes(first) == (["A"], ["A"], ["B"]), "C is none of the symbols"
            assert first == second
            began = time.monotonic()
            server.process.terminate()
            assert client.closed() == (1001, "going away")
            assert events.hear("end")["reason"] == "going away" and events.hear() is None
            assert server.process.wait(WAIT) == 0
            assert time.monotonic() - began < 10, "nobody is waited for who has been told"


def test_who_comes_late_gets_all_and_who_comes_again_the_same_subscription(market):
    with Server(market) as server, Socket(server) as first:
        bars(server, "2025-01-15 09:15", A=101, B=99)
        name = first.subscribe()["subscription_id"]
        first.hear("scan_update")
        bars(server, "2025-01-15 09:16", B=101)
        assert first.hear("scan_update")["added"] == ["B"]
        with Socket(server) as second:
            assert second.subscribe()["subscription_id"] == name
            assert changes(second.hear("scan_update")) == (["A", "B"], ["A", "B"], [])
        with Socket(server) as again:
            again.subscribe()
            assert again.hear("scan_update")["added"] == ["A", "B"], "it has forgotten who it was"
            assert again.subscribe(interval_seconds=7)["subscription_id"] != name
            assert again.subscribe(config={"level": 200})["subscription_id"] != name
            again.say("unsubscribe", subscription_id=name)
            assert again.hear("unsubscribed")["subscription_id"] == name
            bars(server, "2025-01-15 09:17", A=99)
            assert first.hear("scan_update")["removed"] == ["A"]
            again.say("unsubscribe", subscription_id=name)
            while (message := again.hear())["type"] == "scan_update":
                assert message["subscription_id"] != name, "that one was left"
            assert (message["type"], message["status"], message["parameter"]) == ("error", 404, "subscription_id")
        until(lambda: metric(server, "stockscan_live_subscriptions") == 1)
    with Server(market) as server:
        with Socket(server) as client:
            client.subscribe()
        until(lambda: metric(server, "stockscan_live_subscriptions") == 0)
        ticks = metric(server, "stockscan_live_ticks_total")
        time.sleep(1)
        assert metric(server, "stockscan_live_ticks_total") == ticks, "what nobody watches does not go on"


def test_a_thousand_watchers_cost_one_query_a_tick(market_folder):
    # This one is built in, so that what was not written to need not be scanned.
    config = OPEN | {"min_relative_volume": 0}
    question = json.dumps({"type": "subscribe", "scanner_type": "relative_volume", "config": config, "interval_seconds": 0.5})

    async def watch(server, told):
        async with websockets.asyncio.client.connect(
            address(server), open_timeout=60, ping_interval=None, compression=None, max_size=None
        ) as client:
            await client.send(question)
            async for text in client:
                message = json.loads(text)
                assert message["type"] != "error", message
                if message["type"] == "scan_update":
                    told[message["data_as_of"]] = told.get(message["data_as_of"], 0) + 1

    async def all_of_them(server):
        told = {}
        watchers = []
        for begin in range(0, 1000, 100):
            watchers += [asyncio.ensure_future(watch(server, told)) for _ in range(100)]
            await told_to(told, begin + 100, watchers)
        assert await asyncio.to_thread(metric, server, "stockscan_live_watchers") == 1000
        assert await asyncio.to_thread(metric, server, "stockscan_live_subscriptions") == 1
        assert await asyncio.to_thread(metric, server, "stockscan_live_ticks_total", outcome="scanned") == 1
        for minute in range(3):
            await asyncio.to_thread(bars, server, f"2025-01-15 16:{minute:02}", DEMO0001=100 + minute)
            await told_to(told, 1000 * (minute + 2), watchers)
        assert sorted(told.values()) == [1000] * 4, told
        # One for each state of the file: with the bar in the log, and in the file itself. Not a thousand.
        assert 4 <= await asyncio.to_thread(metric, server, "stockscan_live_ticks_total", outcome="scanned") <= 7
        assert await asyncio.to_thread(metric, server, "stockscan_live_ticks_total", outcome="failed") == 0
        # Most ticks found that nothing was written.
        await asyncio.to_thread(until, lambda: metric(server, "stockscan_live_ticks_total", outcome="unchanged") > 1)
        for watcher in watchers:
            watcher.cancel()
        await asyncio.gather(*watchers, return_exceptions=True)

    async def told_to(told, count, watchers):
        deadline = time.monotonic() + 60
        while sum(told.values()) < count:
            for watcher in watchers:
                if watcher.done():
                    watcher.result()
            assert time.monotonic() < deadline, told
            await asyncio.sleep(0.02)

    with Server(market_folder) as server:
        asyncio.run(all_of_them(server))
        until(lambda: metric(server, "stockscan_live_watchers") == 0)


def test_a_slow_client_goes_on_with_the_newest(market):
    names = [f"S{number:04}" for number in range(3000)]
    with Server(market) as server, Socket(server) as quick:
        slow = Raw(server, buffer=4096)
        bars(server, "2025-01-15 09:15", **dict.fromkeys(names, 101))
        slow.say("subscribe", scanner_type="above", interval_seconds=0.2)
        seen = {"A": set(slow.hear("scan_update")["added"])}
        assert len(seen["A"]) == 3000
        quick.subscribe()
        quick.hear("scan_update")
        # Each of these is some hundred kilobytes; what the system keeps for a connection is a few megabytes at most.
        for minute in range(40):
            bars(server, f"2025-01-15 10:{minute:02}", **{names[minute]: 99, f"N{minute}": 200})
            assert quick.hear("scan_update")["removed"] == [names[minute]]
        updates = 0
        while True:
            update = slow.hear("scan_update")
            updates += 1
            # What is new is told against what this client saw, so that it can keep count.
            seen["A"] = (seen["A"] | set(update["added"])) - set(update["removed"])
            assert seen["A"] == {row["symbol"] for row in update["results"]}
            if update["data_as_of"] == "2025-01-15T10:40:00":
                break
        assert updates < 40, "those that were out of date before they could be sent were left out"


def test_mistakes_are_answered_and_the_connection_goes_on(market):
    with Server(market) as server, Socket(server) as client:
        bars(server, "2025-01-15 09:15", A=101)
        for text, expected in [
            ("{", "EOF"),
            ("[]", "expected"),
            ("null", "expected"),
            ('"subscribe"', "expected"),
            ("{}", "`type`"),
            ('{"type": "explode"}', "unknown variant"),
            ('{"type": 1}', "expected"),
            ('{"type": "subscribe"}', "scanner_type"),
            ('{"type": "subscribe", "scanner_type": "above", "scan_date": "2025-01-15"}', "scan_date"),
            ('{"type": "unsubscribe"}', "subscription_id"),
            ("[" * 60_000, "expected"),
            ('{"type": "subscribe", "config": ' + '{"a": ' * 5_000, "recursion"),
        ]:
            client.connection.send(text)
            problem = client.hear()
            assert (problem["type"], problem["status"], problem["error"]) == ("error", 400, "invalid"), (text, problem)
            assert expected in problem["detail"], (text, problem)
        for rest, status, parameter in [
            ({"scanner_type": "abov"}, 404, "scanner_type"),
            ({"config": {"levle": 1}}, 400, "levle"),
            ({"config": {"scan_date": "2025-01-15"}}, 400, "scan_date"),
            ({"cutoff_time": "25:00"}, 400, "cutoff_time"),
            ({"symbols": []}, 400, "symbols"),
            ({"symbols": [""]}, 400, "symbols"),
            ({"interval_seconds": 0.1}, 400, "interval_seconds"),
            ({"interval_seconds": -1}, 400, "interval_seconds"),
            ({"interval_seconds": 86401}, 400, "interval_seconds"),
            ({"scanner_type": "breakout", "config": {"min_price": -1}}, 400, "min_price"),
            ({"scanner_type": "breakout", "config": {"min_price": "x"}}, 400, "min_price"),
        ]:
            problem = client.subscribe(**({"scanner_type": "above"} | rest))
            assert problem["type"] == "error", (rest, problem)
            assert (problem["status"], problem["parameter"]) == (status, parameter), (rest, problem)
            assert problem["scanner_type"] == rest.get("scanner_type", "above")
        client.say("ping")
        assert client.hear()["type"] == "pong"
        assert client.subscribe()["type"] == "subscribed"
        assert client.hear("scan_update")["added"] == ["A"]


def test_a_scan_that_cannot_be_run_ends_with_an_error(market):
    with Server(market) as server, Socket(server) as client:
        bars(server, "2025-01-15 09:15", A=101)
        # What only the scan itself finds out: its text is no number.
        subscribed = client.subscribe(config={"level": "high"})
        if subscribed["type"] == "subscribed":
            ended = client.hear()
            assert ended["type"] in ("error", "stale") and ended["subscription_id"] == subscribed["subscription_id"]
        client.say("ping")
        assert client.hear("pong")


def test_over_an_address_mistakes_are_statuses(market):
    with Server(market) as server:
        for path, status, parameter in [
            ("abov", 404, "scanner_type"),
            ("above?levle=1", 400, "levle"),
            ("above?interval=0", 400, "interval"),
            ("above?interval=soon", 400, "interval"),
            ("above?cutoff_time=9", 400, "cutoff_time"),
            ("above?symbols=", 400, "symbols"),
            ("above?level=1&level=2", 400, "level"),
            ("breakout?min_price=-1", 400, "min_price"),
            ("breakout?key=secret", 400, "key"),
        ]:
            answer = server.get(f"/events/scanner/{path}")
            problem = answer.json()
            assert (answer.status, problem["parameter"]) == (status, parameter), (path, problem)
            assert answer.headers["content-type"] == "application/problem+json"
            with pytest.raises(InvalidStatus) as refused, connect(address(server, f"/ws/scanner/{path}")):
                pass
            assert refused.value.response.status_code == status, path
        answer = server.get("/ws/live-scan")
        assert answer.status == 426 and answer.json()["error"] == "upgrade_required"


def test_frames_that_are_none_close_with_the_right_code(market):
    with Server(market) as server:
        for code, frames in {
            1003: [(2, b"\x00\x01")],
            1009: [(1, b"x" * 65537)],
            1007: [(1, b"\xff\xfe")],
            1002: [(3, b"")],
        }.items():
            client = Raw(server)
            for operation, payload in frames:
                client.send(operation, payload)
            assert client.close_code() == code
        for broken in ({"reserved": 4}, {"masked": False}):
            client = Raw(server)
            client.send(1, b"{}", **broken)
            assert client.close_code() == 1002
        # In pieces it may be as long as in one, and no longer.
        client = Raw(server)
        client.send(1, b'{"type":', final=False)
        client.send(9, b"in between")
        client.send(0, b' "ping"}')
        assert client.hear("pong")
        client.send(1, b" " * 40_000, final=False)
        client.send(0, b" " * 40_000)
        assert client.close_code() == 1009
        # One that is gone without a word, and one that leaves in the middle of a frame.
        Raw(server).socket.close()
        client = Raw(server)
        client.socket.sendall(b"\x81\xfe")
        client.socket.close()
        until(lambda: metric(server, "stockscan_live_connections", kind="websocket") == 0)


def test_a_connection_has_so_many_subscriptions_and_no_more(market):
    with Server(market) as server, Socket(server) as client:
        bars(server, "2025-01-15 09:15", A=101)
        names = [client.subscribe(config={"level": level}, interval_seconds=60)["subscription_id"] for level in range(16)]
        assert len(set(names)) == 16
        problem = client.subscribe(config={"level": 16}, interval_seconds=60)
        assert (problem["type"], problem["status"], problem["error"]) == ("error", 429, "too_many_subscriptions")
        assert client.subscribe(config={"level": 3}, interval_seconds=60)["subscription_id"] == names[3], "that is none more"
        client.say("unsubscribe", subscription_id=names[0])
        client.hear("unsubscribed")
        assert client.subscribe(config={"level": 16}, interval_seconds=60)["type"] == "subscribed"


def test_a_server_watches_so_many_different_scans_and_no_more(market):
    with Server(market) as server, contextlib.ExitStack() as stack:
        bars(server, "2025-01-15 09:15", A=101)
        clients = [stack.enter_context(Socket(server)) for _ in range(17)]
        for number, client in enumerate(clients[:16]):
            for price in range(16):
                client.say("subscribe", scanner_type="breakout", config={"min_price": 16 * number + price}, interval_seconds=3600)
            for price in range(16):
                assert client.hear("subscribed", "error")["type"] == "subscribed"
        problem = clients[16].subscribe("breakout", config={"min_price": 999}, interval_seconds=3600)
        assert (problem["type"], problem["status"], problem["error"]) == ("error", 503, "busy") and problem["retry_after"] > 0
        assert clients[16].subscribe("breakout", config={"min_price": 7}, interval_seconds=3600)["type"] == "subscribed", "that is none more"
        clients[0].connection.close()
        # Those of who has left make room.
        until(lambda: clients[16].subscribe("breakout", config={"min_price": 999}, interval_seconds=3600)["type"] == "subscribed")


def test_a_websocket_is_one_of_the_connections_that_may_be_open(market):
    with Server(market, "--max-connections", "3") as server:
        with Socket(server), Socket(server), Events(server, "/events/scanner/above") as events:
            assert events.status == 200
            answer = server.get("/health")
            assert answer.status == 503 and "connections" in answer.json()["detail"]
        until(lambda: server.get("/health").status == 200)


def test_pages_of_other_origins_are_kept_out(market):
    with Server(market) as server:
        for origin, is_let_in in [
            (f"http://{server.host}:{server.port}", True),
            ("https://friend.example", False),
            ("https://evil.example", False),
            (f"http://{server.host}:{server.port}.evil.example", False),
            ("null", False),
        ]:
            if is_let_in:
                Socket(server, origin=origin).open().connection.close()
            else:
                with pytest.raises(InvalidStatus) as refused, connect(address(server), origin=origin):
                    pass
                assert refused.value.response.status_code == 403, origin
            with Events(server, "/events/scanner/above", {"Origin": origin}) as events:
                assert events.status == (200 if is_let_in else 403), origin
        # Whatever name a page gives this machine: without keys it is asked by its own only.
        evil = {"origin": "http://evil.example", "additional_headers": {"Host": "evil.example"}}
        with pytest.raises(InvalidStatus) as refused, connect(address(server), **evil):
            pass
        assert refused.value.response.status_code == 403
    with Server(market, "--allow-origin", "https://friend.example") as server:
        Socket(server, origin="https://friend.example").open().connection.close()


def test_a_key_can_be_given_as_a_protocol_and_never_in_the_address(market):
    made = scanner(market, "key", "add", "page")
    key = re.search(r"stockscan_[0-9a-f]+", made.stdout + made.stderr)[0]
    feeder = scanner(market, "key", "add", "feeder", "--role", "ingest")
    feeder = re.search(r"stockscan_[0-9a-f]+", feeder.stdout + feeder.stderr)[0]
    with Server(market) as server:
        for options, status in [
            ({}, 401),
            ({"subprotocols": ["stockscan"]}, 401),
            ({"subprotocols": ["stockscan", f"key.{key}0"]}, 401),
            ({"subprotocols": ["stockscan", key]}, 401),
            ({"subprotocols": ["stockscan", f"key.{feeder}"]}, 403),
        ]:
            with pytest.raises(InvalidStatus) as refused, connect(address(server), **options):
                pass
            assert refused.value.response.status_code == status, options
        with pytest.raises(InvalidStatus) as refused, connect(address(server, f"/ws/live-scan?key={key}")):
            pass
        assert refused.value.response.status_code == 401
        with Socket(server, subprotocols=["stockscan", f"key.{key}"]) as client:
            assert client.connection.subprotocol == "stockscan", "the key is not sent back"
            client.say("ping")
            assert client.hear("pong")
        with Socket(server, additional_headers={"Authorization": f"Bearer {key}"}) as client:
            client.say("ping")
            assert client.hear("pong")
        # What is a protocol there is nothing here.
        assert server.get("/symbols", headers={"Sec-WebSocket-Protocol": f"stockscan, key.{key}"}).status == 401
        assert server.get("/events/alerts").status == 401
        with Events(server, "/events/scanner/above", {"X-API-Key": key}) as events:
            assert events.status == 200
        assert key not in server.log()


def test_what_is_switched_off_says_so(market):
    configure(market, streaming={"enabled": False})
    with Server(market) as server:
        for path in ("/events/scanner/above", "/events/alerts", "/ws/live-scan", "/ws/scanner/above"):
            answer = server.get(path)
            assert answer.status == 403 and "streaming.enabled" in answer.json()["detail"], path
    configure(market, streaming={"websocket_enabled": False, "interval_seconds": 7})
    with Server(market) as server:
        with pytest.raises(InvalidStatus) as refused, connect(address(server)):
            pass
        assert refused.value.response.status_code == 403
        with Events(server, "/events/scanner/above") as events:
            assert events.hear()["interval_seconds"] == 7, "events go on, as often as is configured"


def test_a_database_that_is_locked_makes_a_result_stale_until_it_is_free(market):
    with Server(market) as server, Socket(server) as client:
        bars(server, "2025-01-15 09:15", A=101)
        client.subscribe(interval_seconds=1)
        assert client.hear("scan_update")["added"] == ["A"]
        # The server lets go of it between two ticks.
        writer = until(lambda: opened(market))
        writer.execute("INSERT INTO bars VALUES ('B', '2025-01-15 09:15', 102, 102, 102, 102, 10)")
        stale = client.hear()
        assert (stale["type"], stale["status"], stale["error"]) == ("stale", 503, "busy"), stale
        assert stale["data_as_of"] == "2025-01-15T09:16:00", "what was seen last is still known"
        assert str(os.getpid()) in stale["detail"] and str(market) not in stale["detail"]
        with Socket(server) as other:
            # Who comes now gets what is known, and that it may be out of date.
            other.subscribe(interval_seconds=1)
            assert other.hear()["added"] == ["A"]
            assert other.hear()["type"] == "stale"
            writer.close()
            assert client.hear("scan_update")["added"] == other.hear("scan_update")["added"] == ["B"]
        assert metric(server, "stockscan_live_ticks_total", outcome="locked") > 0

        # Once it is free again that is said, even if nothing has changed.
        writer = until(lambda: opened(market))
        assert client.hear()["type"] == "stale"
        writer.close()
        assert changes(client.hear()) == (["B", "A"], [], [])


def test_heartbeats_tell_calm_from_broken_and_who_does_not_answer_is_closed(market):
    with Server(market) as server:
        bars(server, "2025-01-15 09:15", A=101)
        silent = Raw(server)
        with Socket(server, ping_interval=None) as client, Events(server, "/events/scanner/above?interval=1") as events:
            name = client.subscribe(interval_seconds=1)["subscription_id"]
            first, second = client.hear("heartbeat"), client.hear("heartbeat")
            for beat in (first, second, events.hear("heartbeat")):
                assert beat["data_as_of"] == "2025-01-15T09:16:00"
                (subscription,) = beat["subscriptions"]
                assert (subscription["subscription_id"], subscription["is_stale"]) == (name, False)
            assert first["subscriptions"][0]["checked_at"] < second["subscriptions"][0]["checked_at"], "it still looks"
            assert silent.close_code() == 1008
            # This one has answered, as any library does.
            client.say("ping")
            assert client.hear("pong")


class Receiver(http.server.ThreadingHTTPServer):
    """Takes messages, and keeps them."""

    def __init__(self):
        self.bodies = []
        receiver = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                receiver.bodies.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
                self.send_response(200)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_):
                pass

        super().__init__(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}/hook?token=hidden"


def test_alerts_are_raised_once_and_pushed_to_who_asked(market):
    receiver = Receiver()
    rule = {"scanner_type": "above", "interval_seconds": 1, "webhook": {"url": receiver.url}}
    off = {"scanner_type": "above", "enabled": False}
    lost = {"scanner_type": "above", "webhook": {"url": receiver.url, "secret_file": "/nowhere/secret"}}
    configure(market, alerts={"high": rule, "off": off, "lost": lost})
    with Server(market) as server, Socket(server) as client, Socket(server) as other, Events(server, "/events/alerts") as events:
        client.say("subscribe_alerts")
        assert client.hear()["subscription_id"] == "alerts" == events.hear()["subscription_id"]
        bars(server, "2025-01-15 09:15", A=101, B=99)
        alert = client.hear()
        assert alert == events.hear()
        row = alert.pop("evidence")
        assert (row["symbol"], row["price"], row["rank"]) == ("A", 101.0, 1)
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", alert.pop("timestamp"))
        assert alert == {
            "type": "alert", "rule": "high", "scanner_type": "above", "session": "2025-01-15", "data_as_of": "2025-01-15T09:16:00",
            "symbol": "A", "price": 101.0,
        }  # fmt: skip
        # A goes and comes again: it was told.
        bars(server, "2025-01-15 09:16", A=99)
        time.sleep(1.5)
        bars(server, "2025-01-15 09:17", A=105, B=106)
        assert client.hear()["symbol"] == "B"
        until(lambda: len(receiver.bodies) == 2)
        assert [body["data"]["symbol"] for body in receiver.bodies] == ["A", "B"]
        other.say("ping")
        assert other.hear()["type"] == "pong", "who did not ask was not told"

        listed = server.get("/alerts").json()
        assert [(alert["rule"], alert["symbol"], alert["price"]) for alert in listed] == [("high", "B", 106.0), ("high", "A", 101.0)]
        until(lambda: [alert["message"] for alert in server.get("/alerts").json()] == ["delivered", "delivered"])
        assert len(server.get("/alerts?limit=1").json()) == 1
        assert server.get("/alerts?rule=other").json() == []
        assert [alert["symbol"] for alert in server.get(f"/alerts?since={listed[0]['fired_at']}").json()] == ["B"]
        assert server.get("/alerts?since=2100-01-01").json() == []
        for query, parameter in [("limit=0", "limit"), ("limit=1001", "limit"), ("since=soon", "since")]:
            answer = server.get(f"/alerts?{query}")
            assert (answer.status, answer.json()["parameter"]) == (400, parameter)

        text = server.get("/alerts/rules").text
        assert "hidden" not in text and "/hook" not in text and "/nowhere" not in text and str(market) not in text
        rules = {rule["rule"]: rule for rule in json.loads(text)}
        assert {name: rule["status"] for name, rule in rules.items()} == {"high": "followed", "off": "off", "lost": "failed"}
        assert (rules["high"]["fired"], rules["high"]["waiting"], rules["high"]["interval_seconds"]) == (2, 0, 1)
        assert rules["high"]["webhook"] == {"host": f"http://127.0.0.1:{receiver.server_port}", "is_signed": False}

        answer = server.post("/alerts/test/high").json()
        assert (answer["is_delivered"], answer["status"], answer["error"]) == (True, 200, None)
        assert receiver.bodies[-1]["type"] == "scanner.alert.test"
        assert server.post("/alerts/test/hihg").status == 404 and "'high'" in server.post("/alerts/test/hihg").json()["detail"]
        assert server.post("/alerts/test/off").json()["error"] == "no_receiver"
        problem = server.post("/alerts/test/lost")
        assert problem.status == 409 and "/nowhere" not in problem.text
        client.say("unsubscribe", subscription_id="alerts")
        assert client.hear()["type"] == "unsubscribed"
    # After a restart what was told is not told again.
    with Server(market) as server, Events(server, "/events/alerts") as events:
        events.hear()
        bars(server, "2025-01-15 09:18", C=101)
        assert events.hear()["symbol"] == "C"
        until(lambda: len(receiver.bodies) == 4)
        assert len(server.get("/alerts").json()) == 3


def test_a_server_and_a_command_beside_it_tell_each_name_once(market):
    receiver = Receiver()
    rule = {"scanner_type": "above", "interval_seconds": 2, "webhook": {"url": receiver.url}}
    configure(market, alerts={"high": rule}, default={"retry_attempts": 10})
    names = [f"S{number}" for number in range(8)]
    with Server(market) as server:
        words = [SCANNER, "alerts", "watch", "--interval", "0.3"]
        settings = {"cwd": market, "env": environment(market), "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        with subprocess.Popen(words, **settings) as watch:
            for minute, name in enumerate(names):
                # As another process writes, which both let in.
                with until(lambda: opened(market)) as writer:
                    writer.execute(f"INSERT INTO bars VALUES ('{name}', '2025-01-15 09:{15 + minute}', 101, 101, 101, 101, 10)")
                until(lambda: len(server.get("/alerts").json()) > minute)
            until(lambda: len(receiver.bodies) >= len(names))
            watch.send_signal(signal.SIGINT)
            told, said = watch.communicate(timeout=WAIT)
        assert sorted(body["data"]["symbol"] for body in receiver.bodies) == names, "each once"
        listed = server.get("/alerts").json()
        assert sorted(alert["symbol"] for alert in listed) == names
        by_server = metric(server, "stockscan_alerts_total")
        by_command = len(told.splitlines())
        assert by_server + by_command == len(names), said
        # What is looked for more often is found first, most of the time.
        assert by_command > 0, said


def test_only_an_administrator_sends_tests(market):
    configure(market, alerts={"high": {"scanner_type": "above"}})
    key = re.search(r"stockscan_[0-9a-f]+", (made := scanner(market, "key", "add", "page")).stdout + made.stderr)[0]
    with Server(market) as server:
        assert server.post("/alerts/test/high", headers={"X-API-Key": key}).status == 403
        assert server.get("/alerts/rules", headers={"X-API-Key": key}).status == 200


def test_alerts_that_are_switched_off_cannot_be_followed(market):
    configure(market, streaming={"real_time_alerts": False}, alerts={"high": {"scanner_type": "above"}})
    with Server(market) as server, Socket(server) as client:
        client.say("subscribe_alerts")
        problem = client.hear()
        assert (problem["type"], problem["status"]) == ("error", 409) and "real_time_alerts" in problem["detail"]
        assert server.get("/events/alerts").status == 409
        assert server.get("/alerts/rules").json()[0]["status"] == "off"
        assert server.get("/alerts").json() == []


def test_who_takes_nothing_is_hung_up_on(market):
    names = {f"S{number:04}": 101 for number in range(3000)}
    with Server(market) as server, Socket(server) as watching:
        bars(server, "2025-01-15 09:15", **names)
        watching.subscribe()
        events = socket.socket()
        events.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        events.connect((server.host, server.port))
        events.sendall(f"GET {PREFIX}/events/scanner/above?interval=0.2 HTTP/1.1\r\nHost: {server.host}:{server.port}\r\n\r\n".encode())
        client = Raw(server, buffer=4096)
        client.say("subscribe", scanner_type="above", interval_seconds=0.2)
        until(lambda: metric(server, "stockscan_live_watchers") == 3)
        deadline = time.monotonic() + 120
        minute = 0
        # Updates go on until what the system keeps for them is full, and then for as long as is waited.
        while metric(server, "stockscan_live_watchers") > 1:
            assert time.monotonic() < deadline
            bars(server, f"2025-01-15 {10 + minute // 60}:{minute % 60:02}", S0000=102 + minute)
            minute += 1
            assert watching.hear("scan_update")["results"][0]["price"] >= 101, "others do not wait for them"
            time.sleep(0.2)
        events.close()
        client.socket.close()
