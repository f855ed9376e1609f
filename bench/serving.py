"""The server under load: many clients, cached answers, what HTTP costs over the engine, and the memory of large answers. Used by run.py.

On its own, on a database that is there already: serving.py DATABASE [--seconds N] [--clients N] [--only PART]
"""

import argparse
import contextlib
import http.client
import io
import json
import math
import operator
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from datetime import date
from datetime import time as clock
from pathlib import Path

import duckdb
import pyarrow
import pyarrow.parquet

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "python"))
from server import PREFIX, Server, scanner  # noqa: E402

MEBIBYTE = 1 << 20
ROWS = 1_000_000
# No line for each request.
QUIET = {"RUST_LOG": "stockscan_server=error"}
MEDIA = {
    "NDJSON": "application/x-ndjson",
    "CSV": "text/csv",
    "Arrow": "application/vnd.apache.arrow.stream",
    "Parquet": "application/vnd.apache.parquet",
    "JSON": "application/json",
}


class Memory(threading.Thread):
    """The resident memory of a process, looked at again and again."""

    def __init__(self, process_id: int, every: float):
        super().__init__(daemon=True)
        self.status, self.every, self.bytes, self.is_over = Path(f"/proc/{process_id}/status"), every, [], threading.Event()
        self.start()

    def now(self) -> int:
        lines = self.status.read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS:"))

    def run(self):
        with contextlib.suppress(OSError, StopIteration):
            while not self.is_over.wait(self.every):
                self.bytes.append(self.now())

    def end(self) -> list[int]:
        self.is_over.set()
        self.join()
        return self.bytes


def close(one, other) -> bool:
    if isinstance(one, float) and isinstance(other, (int, float)):
        return math.isclose(one, other, rel_tol=1e-9, abs_tol=1e-9)
    return one == other


def statement(question: dict) -> str:
    """What the server asks the engine, in SQL."""
    day, last = question.get("scan_date") or question["start_date"], question.get("end_date")
    given = "".join(f", {name} := {value}" for name, value in question.get("config", {}).items())
    hours = f", cutoff_time := '{question.get('cutoff_time', '09:50')}'"
    end = f", end_date := '{last}'" if last else ""
    return (
        f"WITH hits AS MATERIALIZED (FROM scan_{question['scanner_type']}('{day}'{end}{hours}{given})) "
        "SELECT hit.*, day.eod_price, day.price_change_pct, day.day_range_pct, day.breakout_successful FROM hits AS hit "
        f"LEFT JOIN end_of_day('hits', '{day}', end_date := '{last or day}'{hours}) AS day USING (scan_date, symbol) ORDER BY hit.scan_date, hit.rank"
    )


def expected(connection: duckdb.DuckDBPyConnection, question: dict) -> list[dict]:
    cursor = connection.execute(statement(question))
    names = [column[0] for column in cursor.description]
    return [dict(zip(names, map(as_json, row), strict=True)) for row in cursor.fetchall()]


def as_json(value):
    """A value as JSON has it."""
    return value.isoformat() if isinstance(value, (date, clock)) else value


def same_rows(one: list[dict], other: list[dict]) -> bool:
    return len(one) == len(other) and all(
        a.keys() == b.keys() and all(close(a[name], b[name]) for name in a) for a, b in zip(one, other, strict=True)
    )


class Serving:
    """The parts. Each is a method; its name is what --only takes."""

    def __init__(self, report, database: str, connect, seconds: int, clients: int):
        self.report, self.seconds, self.clients = report, seconds, clients
        self.folder = Path(tempfile.mkdtemp(prefix="stockscan-serving-"))
        self.database = Path(database).resolve()
        self.connection = connect(str(self.database))
        self.sessions = [str(day) for (day,) in self.connection.execute("SELECT DISTINCT CAST(ts AS DATE) AS day FROM bars ORDER BY day").fetchall()]

    def end(self):
        self.connection.close()
        shutil.rmtree(self.folder)

    def serve(self, *options, **settings) -> Server:
        (self.folder / "scanner_config.json").write_text(json.dumps(settings))
        return Server(self.folder, "--read-only", *options, database=self.database, variables=QUIET)

    def questions(self) -> list[dict]:
        """Mixed ones: several scanners, days, cutoffs, limits, now and then a range."""
        choose = random.Random(1)
        found = []
        for _ in range(400):
            question = {"scanner_type": choose.choice(["breakout", "crp", "relative_volume", "opening_range", "vwap", "gap"])}
            day = choose.randrange(25, len(self.sessions))
            if choose.random() < 0.1:
                question |= {"start_date": self.sessions[day - 5], "end_date": self.sessions[day]}
            else:
                question["scan_date"] = self.sessions[day]
            question["cutoff_time"] = f"{choose.choice([9, 10, 11, 12])}:{choose.choice([35, 40, 45, 50, 55])}".zfill(5)
            question["config"] = {"min_price": choose.randrange(1, 200), "max_results_per_day": choose.choice([3, 10, 50])}
            found.append(question)
        return found

    def load(self):
        """Many clients at once with mixed questions"""
        questions = self.questions()
        right = {index: expected(self.connection, questions[index]) for index in range(0, len(questions), 10)}
        with self.serve(api={"timeout": 60}) as server:
            taken, statuses, wrong, lock = [], {}, [], threading.Lock()
            until = time.monotonic() + self.seconds
            memory = Memory(server.process.pid, 1)

            def client(number: int):
                choose = random.Random(number)
                connection = http.client.HTTPConnection(server.host, server.port, timeout=120)
                while time.monotonic() < until:
                    # A third of what is asked was asked by somebody before.
                    index = choose.randrange(len(questions))
                    question = questions[index]
                    is_new = choose.random() < 0.67
                    if is_new:
                        question = question | {"config": question["config"] | {"min_volume": choose.randrange(10**6)}}
                    started = time.monotonic()
                    try:
                        connection.request("POST", f"{PREFIX}/scan", json.dumps(question), {"Content-Type": "application/json"})
                        response = connection.getresponse()
                        body, status = response.read(), response.status
                        if status in (429, 503) and not response.headers["Retry-After"]:
                            status = "no Retry-After"
                    except (OSError, http.client.HTTPException) as error:
                        body, status = b"", repr(error)
                        connection.close()
                    with lock:
                        taken.append(time.monotonic() - started)
                        statuses[status] = statuses.get(status, 0) + 1
                        if status == 200 and not is_new and index in right and not same_rows(json.loads(body)["results"], right[index]):
                            wrong.append(question)
                    if status in (429, 503):
                        time.sleep(1)

            threads = [threading.Thread(target=client, args=(number,)) for number in range(self.clients)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            rss = memory.end()
        taken.sort()
        at = lambda share: taken[min(len(taken) - 1, int(share * len(taken)))]  # noqa: E731
        self.report.line(f"{self.clients} clients, {self.seconds} s", f"{len(taken) / self.seconds:.0f}/s", f"statuses {statuses}")
        self.report.check("no answer but 200, 429 and 503 with Retry-After", set(statuses) <= {200, 429, 503}, str(statuses))
        self.report.check("answers are those of the engine", not wrong, f"{len(right)} questions compared" if not wrong else str(wrong[0]))
        self.report.figure("p99", at(0.99), " s", "within the deadline of 60 s", at(0.99) < 60, f"p50 {at(0.5):.2f} s, longest {taken[-1]:.2f} s")
        third = max(1, len(rss) // 3)
        early, late = max(rss[third : 2 * third]), max(rss[-third:])
        growth = (late - early) / MEBIBYTE
        self.report.figure("memory, last third over the one before", growth, " MiB", "flat: below 10 %", late < 1.1 * early, f"{early / MEBIBYTE:.0f} and {late / MEBIBYTE:.0f} MiB")

    def cached(self):
        """Answers that are there already, a second"""
        if not shutil.which("wrk"):
            self.report.fail("wrk is needed (Debian: apt-get install wrk)")
            return
        question = {"scanner_type": "breakout", "scan_date": self.sessions[-1], "config": {"max_results_per_day": 3}}
        script = self.folder / "scan.lua"
        script.write_text(f"wrk.method = 'POST'\nwrk.headers['Content-Type'] = 'application/json'\nwrk.body = '{json.dumps(question)}'\n")
        with self.serve() as server:
            right = expected(self.connection, question)
            first = server.post("/scan", question).json()
            self.report.check("the answer is that of the engine", same_rows(first["results"], right), f"{len(right)} rows")
            for label, extra, path in (("POST /scan", ["-s", str(script)], "/scan"), ("GET /scanners", [], "/scanners")):
                server.get("/scanners")
                command = ["wrk", "-t1", "-c64", f"-d{max(3, self.seconds // 6)}s", *extra, server.url + path]
                said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
                rate = float(next(line.split()[1] for line in said.splitlines() if line.startswith("Requests/sec")))
                failed = [line.strip() for line in said.splitlines() if "Non-2xx" in line or "Socket errors" in line]
                self.report.check(f"{label}: all are answered", not failed, "; ".join(failed))
                size = len(server.post("/scan", question).body if path == "/scan" else server.get(path).body)
                self.report.figure(f"{label}, {size:,} bytes", rate, "/s", "5,000/s", rate >= 5000, "wrk -t1 -c64 on the same machine")
            again = server.post("/scan", question).json()
            self.report.check("what was answered is the first answer", again == first, "")

    def overhead(self):
        """What an uncached scan over HTTP takes longer than the same statement in the engine"""
        question = {"scanner_type": "breakout", "scan_date": self.sessions[-1]}
        with self.serve(default={"enable_caching": False}) as server:
            sql = statement(question) + ";\n"
            connection = server.connect()
            body = json.dumps(question)

            def asked():
                connection.request("POST", f"{PREFIX}/scan", body, {"Content-Type": "application/json"})
                return connection.getresponse().read()

            right = expected(self.connection, question)
            self.report.check("the answer is that of the engine", same_rows(json.loads(asked())["results"], right), f"{len(right)} rows")
            times = 20

            def timed(run) -> float:
                started = time.perf_counter()
                run()
                return time.perf_counter() - started

            def of_command(count: int) -> float:
                # The same program, in which the functions of the extension are as fast or as slow.
                return timed(lambda: scanner(self.folder, "sql", "--read-only", "--database", self.database, "--format", "csv", input=sql * count))

            http, engine = [], []
            for _ in range(5):
                # One that has said nothing for a while is closed.
                connection.close()
                http.append(timed(lambda: [asked() for _ in range(times)]) / times)
                engine.append((of_command(times + 1) - of_command(1)) / times)
            over, engine = (1000 * figure for figure in (statistics.median(map(operator.sub, http, engine)), statistics.median(engine)))
            self.report.figure("overhead", over, " ms", "at most 10 ms", over <= 10, f"the engine takes {engine:.1f} ms in 'scanner sql'")

    def exports(self):
        """A million rows: memory above that of the server at rest"""
        path = self.folder / "long.duckdb"
        with duckdb.connect(str(path)) as database:
            database.execute(
                f"""
                CREATE TABLE bars AS
                SELECT
                    'LONG' AS symbol, TIMESTAMP '2015-01-01 09:15' + to_days(CAST(number // 375 AS INTEGER)) + to_minutes(number % 375) AS ts,
                    100 + number % 7 AS open, 108 AS high, 99 AS low, 100 + number % 5 + 0.25 AS close, 1000 + number % 13 AS volume
                FROM range({ROWS}) AS one(number)
                """
            )
        for name, media in MEDIA.items():
            with Server(self.folder, "--read-only", database=path, variables=QUIET) as server:
                address = f"{PREFIX}/bars/LONG?from=2015-01-01&limit={ROWS}"
                server.get("/bars/LONG?limit=10")
                time.sleep(0.3)
                memory = Memory(server.process.pid, 0.005)
                idle = memory.now()
                connection = server.connect()
                started = time.monotonic()
                connection.request("GET", address, headers={"Accept": media})
                response = connection.getresponse()
                assert response.status == 200, response.read()
                # To a file, so that this process is not the slower one.
                file = self.folder / "rows"
                with file.open("wb") as target:
                    shutil.copyfileobj(response, target, 1 << 18)
                elapsed = time.monotonic() - started
                most = max(memory.end())
                self.report.check(f"{name}: all rows", counted(name, file) == ROWS, f"{file.stat().st_size / MEBIBYTE:.0f} MiB in {elapsed:.1f} s")
                above = (most - idle) / MEBIBYTE
                self.report.figure(f"{name}: memory above idle", above, " MiB", "64 MiB", above <= 64, f"idle {idle / MEBIBYTE:.0f} MiB")

    PARTS = [load, cached, overhead, exports]


def counted(name: str, file: Path) -> int:
    """How many rows a file has, read by another program's reader."""
    if name == "NDJSON":
        return file.read_bytes().count(b"\n")
    if name == "CSV":
        return file.read_bytes().count(b"\n") - 1
    if name == "Arrow":
        return pyarrow.ipc.open_stream(io.BytesIO(file.read_bytes())).read_all().num_rows
    if name == "Parquet":
        return pyarrow.parquet.read_metadata(file).num_rows
    return len(json.loads(file.read_bytes()))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("database")
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--only", choices=[part.__name__ for part in Serving.PARTS], action="append")
    arguments = parser.parse_args()
    import run

    def connect(database: str):
        connection = duckdb.connect(database, read_only=True, config={"allow_unsigned_extensions": "true"})
        connection.execute(f"LOAD '{run.EXTENSION}'")
        return connection

    report = run.Report()
    serving = Serving(report, arguments.database, connect, arguments.seconds, arguments.clients)
    try:
        for part in Serving.PARTS:
            if not arguments.only or part.__name__ in arguments.only:
                report.section(part.__name__, part.__doc__)
                part(serving)
    finally:
        serving.end()
    return 1 if report.failures else 0


if __name__ == "__main__":
    sys.exit(main())
