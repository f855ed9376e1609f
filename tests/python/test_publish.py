"""`scanner publish`: results that programs read which cannot call a scanner.

What is published is read by DuckDB 1.5, where most clients are, and compared with what the scan functions say of one session at a time, and with
trades that are looked up in the bars by hand.
"""

import hashlib
import json
import os
import pickle
import random
import resource
import shutil
import signal
import subprocess
import time
from pathlib import Path

import duckdb
import pandas
import polars
import pytest

from conftest import connect
from server import SCANNER, environment, scanner

# With limits that let hits through on a small market.
WIDE = ["--set", "max_results_per_day=5", "--set", "min_volume=0"]
# Five sessions, ten sessions, none.
LOOKING_BACK = "breakout,relative_volume,vwap"
OUTCOME = "outcome_"


def python_1_5() -> str:
    found = os.environ.get("STOCKSCAN_PYTHON_1_5", "")
    assert found, "STOCKSCAN_PYTHON_1_5 names no Python with DuckDB 1.5; 'cargo xtask test' makes one"
    return found


READ = """
import duckdb, pickle, sys
path, *statements = sys.argv[1:]
assert duckdb.__version__.startswith("1.5."), duckdb.__version__
with duckdb.connect(path, read_only=path != ":memory:") as connection:
    answers = [connection.execute(statement).fetchall() for statement in statements]
sys.stdout.buffer.write(pickle.dumps(answers))
"""


def read(path, *statements):
    """What DuckDB 1.5 answers: a list of rows for each statement."""
    done = subprocess.run([python_1_5(), "-c", READ, str(path), *statements], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return pickle.loads(done.stdout)


def content(path: Path) -> dict[str, list]:
    """All that is published in a file, but for when it was: its tables in order, its views."""
    with duckdb.connect(path, read_only=True) as connection:
        names = [name for (name,) in connection.execute("SELECT name FROM (SHOW TABLES)").fetchall()]
        changing = {"scans": " EXCLUDE (published_at, data_until)"}
        return {name: connection.execute(f'SELECT *{changing.get(name, "")} FROM "{name}" ORDER BY ALL').fetchall() for name in names}


def folder_content(folder: Path) -> dict[str, list]:
    """The same of a folder."""
    with duckdb.connect() as connection:
        tables = {}
        for file in sorted(folder.rglob("*.parquet")):
            table = connection.execute("SELECT * FROM read_parquet(?, hive_partitioning := false)", [str(file)]).df()
            tables[str(file.relative_to(folder))] = table.drop(columns=["published_at", "data_until"], errors="ignore").to_csv(index=False)
        return tables


def summary(folder: Path, *arguments) -> dict[str, dict]:
    """What the command says of each scanner."""
    rows = json.loads(scanner(folder, "publish", *arguments, "--format", "json").stdout)
    return {row["scanner"]: row for row in rows}


def hidden(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name.startswith(".") and path.name != ".config")


@pytest.fixture(scope="module")
def market(tmp_path_factory) -> Path:
    """A folder with a demo market of 40 stocks and 30 sessions, which tests copy and do not change."""
    folder = tmp_path_factory.mktemp("market")
    scanner(folder, "demo", "--symbols", 40, "--sessions", 30)
    (folder / "state.duckdb").unlink(missing_ok=True)
    return folder


@pytest.fixture
def folder(market, tmp_path) -> Path:
    shutil.copy(market / "market.duckdb", tmp_path / "market.duckdb")
    return tmp_path


def change(folder: Path, *statements):
    """Changes the bars, as an ingest does."""
    with duckdb.connect(folder / "market.duckdb") as connection:
        for statement in statements:
            connection.execute(statement)


def sessions(folder: Path) -> list:
    with duckdb.connect(folder / "market.duckdb", read_only=True) as connection:
        return [day for (day,) in connection.execute("SELECT DISTINCT CAST(ts AS DATE) FROM bars ORDER BY ALL").fetchall()]


# Content


def test_published_rows_are_those_of_the_scan_functions(folder):
    scanner(folder, "publish", "results.duckdb", *WIDE)
    scanned, tables = read(
        folder / "results.duckdb",
        "SELECT scanner, scan_date, hits FROM scans ORDER BY ALL",
        "SELECT table_name FROM duckdb_tables() WHERE ends_with(table_name, '_hits') ORDER BY ALL",
    )
    days = sessions(folder)
    with connect(folder / "market.duckdb", read_only=True) as database:
        names = [name for (name,) in database.execute("SELECT scanner FROM scanners()").fetchall()]
        assert [name for (name,) in tables] == [f"{name}_hits" for name in sorted(names)]
        # The session is there, whether it has hits or not.
        assert [row[:2] for row in scanned] == [(name, day) for name in sorted(names) for day in days]
        found = []
        for name in names:
            call = f"SELECT * FROM scan_{name}(?, max_results_per_day := 5, min_volume := 0)"
            columns = ", ".join(f'"{column[0]}"' for column in database.execute(call, [days[0]]).description)
            # One session at a time, not the range that the command scans in one statement.
            expected = [row for day in days for row in database.execute(call, [day]).fetchall()]
            (rows,) = read(folder / "results.duckdb", f"SELECT {columns} FROM {name}_hits ORDER BY scan_date, rank")
            assert rows == expected, name
            counts = {day: sum(row[0] == day for row in expected) for day in days}
            assert [row for row in scanned if row[0] == name] == [(name, day, counts[day]) for day in days]
            if expected:
                found.append(name)
        assert len(found) >= 6, f"only {found} have hits, so this proves little"


def test_outcomes_are_the_trades_that_the_bars_show(folder):
    scanner(folder, "publish", "results.duckdb", "-t", "breakout", "--cutoff", "10:30", "--exit-time", "14:00", "--cost-bps", 10, *WIDE)
    (rows,) = read(
        folder / "results.duckdb",
        """SELECT scan_date, symbol, outcome_entry_ts, outcome_entry_price, outcome_exit_ts, outcome_exit_price, outcome_exit_reason,
               outcome_gross_return_pct, outcome_net_return_pct, outcome_minutes_held
           FROM breakout_hits ORDER BY scan_date, rank""",
    )
    assert len(rows) > 20
    with duckdb.connect(folder / "market.duckdb", read_only=True) as database:
        for scan_date, symbol, entry_ts, entry_price, exit_ts, exit_price, reason, gross, net, minutes in rows:
            # The hit is known at 10:30: the bar that begins then is the first to buy in; the last before 14:00 is the one to sell in.
            path = database.execute(
                """SELECT ts, open, close FROM bars WHERE symbol = ? AND CAST(ts AS DATE) = ?
                       AND CAST(ts AS TIME) >= TIME '10:30' AND CAST(ts AS TIME) < TIME '14:00' ORDER BY ts""",
                [symbol, scan_date],
            ).fetchall()
            assert (entry_ts, entry_price, exit_ts, exit_price, reason) == (path[0][0], path[0][1], path[-1][0], path[-1][2], "time")
            assert gross == pytest.approx(100 * (exit_price / entry_price - 1))
            # A tenth of a percent of what is bought, and of what is sold.
            assert net == pytest.approx(gross - 0.1 * (1 + exit_price / entry_price))
            assert minutes == (exit_ts - entry_ts).total_seconds() / 60 + 1


def test_latest_is_the_newest_session_that_was_scanned_with_or_without_hits(folder):
    words = ["-t", "vwap,gap", "--set", "min_probability_score=75"]
    scanner(folder, "publish", "all.duckdb", *words)
    (counts,) = read(folder / "all.duckdb", "SELECT scan_date, hits FROM scans WHERE scanner = 'vwap' ORDER BY ALL")
    quiet = next(day for (_, before), (day, hits) in zip(counts, counts[1:]) if before and not hits)
    scanner(folder, "publish", "results.duckdb", *words, "--end-date", quiet)
    latest, newest, hits = read(
        folder / "results.duckdb",
        "FROM vwap_latest",
        "SELECT max(scan_date) FROM scans",
        "SELECT count(*) FROM vwap_hits",
    )
    assert hits[0][0] > 0 and newest == [(quiet,)]
    # A view of the newest date among the hits would show those of a session before.
    assert latest == []
    latest, together, hits, all_hits = read(
        folder / "all.duckdb",
        "SELECT scan_date, symbol FROM vwap_latest ORDER BY ALL",
        "SELECT scan_date, symbol FROM latest WHERE scanner = 'vwap' ORDER BY ALL",
        "SELECT count(*) FROM hits",
        "SELECT (SELECT count(*) FROM vwap_hits) + (SELECT count(*) FROM gap_hits)",
    )
    assert latest == together and {day for day, _ in latest} <= {sessions(folder)[-1]}
    assert hits == all_hits


def test_tables_and_columns_say_what_they_mean(folder):
    scanner(folder, "publish", "results.duckdb", "-t", "breakout")
    columns, tables = read(
        folder / "results.duckdb",
        "SELECT table_name, column_name, comment FROM duckdb_columns() WHERE NOT internal ORDER BY table_name, column_index",
        "SELECT table_name, comment FROM duckdb_tables() UNION ALL SELECT view_name, comment FROM duckdb_views() WHERE NOT internal",
    )
    said = {(table, column): comment for table, column, comment in columns}
    assert said["breakout_hits", "resistance"] == "currency, highest high of the baseline"
    assert said["breakout_latest", "volume_ratio"].startswith("times, volume so far over the mean volume")
    assert said["breakout_hits", "outcome_net_return_pct"].endswith("Not known at the cutoff")
    bare = [place for place, comment in said.items() if not comment and place[0] not in ("hits", "latest")]
    assert bare == []
    assert all(comment for _, comment in tables)
    # What was not known at the cutoff has a name that says so, and nothing else has.
    with connect(folder / "market.duckdb", read_only=True) as database:
        known = [column[0] for column in database.execute("FROM scan_breakout('2025-01-15')").description]
    there = [column for table, column in said if table == "breakout_hits"]
    assert there[: len(known)] == known and all(column.startswith(OUTCOME) for column in there[len(known) :])


def test_a_folder_holds_the_same_for_pandas_polars_and_duckdb(folder):
    scanner(folder, "publish", "results.duckdb", "-t", "breakout,vwap,gap", *WIDE)
    scanner(folder, "publish", "results", "-t", "breakout,vwap,gap", *WIDE)
    with duckdb.connect(folder / "results.duckdb", read_only=True) as database:
        expected = database.execute("SELECT * FROM breakout_hits ORDER BY scan_date, rank").df()
        # A date, not a moment.
        expected["scan_date"] = expected["scan_date"].dt.date
        scans = database.execute("SELECT scanner, scan_date, hits FROM scans ORDER BY ALL").fetchall()
    assert {day.year for day in expected["scan_date"]} == {2024, 2025}

    pandas.testing.assert_frame_equal(
        pandas.read_parquet(folder / "results/hits/scanner=breakout").drop(columns="year").sort_values(["scan_date", "rank"], ignore_index=True),
        expected,
        check_dtype=False,
    )
    several = polars.scan_parquet(folder / "results/hits/scanner=breakout/**/*.parquet", hive_partitioning=True)
    assert several.select(polars.len()).collect().item() == len(expected)
    counts, there, latest = read(
        ":memory:",
        f"""SELECT scanner, count(*) FROM read_parquet('{folder}/results/hits/**/*.parquet', hive_partitioning := true, union_by_name := true)
            GROUP BY ALL ORDER BY ALL""",
        f"SELECT scanner, scan_date, hits FROM '{folder}/results/scans.parquet' ORDER BY ALL",
        f"SELECT count(*) FROM '{folder}/results/latest/scanner=gap/latest.parquet'",
    )
    assert dict(counts) == {name: total for name in ("breakout", "vwap") if (total := sum(hits for other, _, hits in scans if other == name))}
    assert there == scans
    # Nothing was found, and there is a file that says so.
    assert latest == [(0,)]


# Again


def test_again_with_the_same_bars_nothing_is_written(folder):
    scanner(folder, "publish", "results.duckdb", "-t", "breakout,gap")
    scanner(folder, "publish", "results", "-t", "breakout,gap")

    def state():
        files = [folder / "results.duckdb", *sorted((folder / "results").rglob("*.parquet"))]
        return [(file, file.stat().st_ino, hashlib.sha256(file.read_bytes()).hexdigest()) for file in files]

    before = state()
    for place in ("results.duckdb", "results"):
        again = scanner(folder, "publish", place, "-t", "breakout,gap")
        assert f"{place} is up to date" in again.stderr
    assert state() == before
    # And what is made anew is the same.
    first, second = content(folder / "results.duckdb"), folder_content(folder / "results")
    for place in ("results.duckdb", "results"):
        assert {row["redone"] for row in summary(folder, place, "-t", "breakout,gap", "--rebuild").values()} == {30}
    assert (content(folder / "results.duckdb"), folder_content(folder / "results")) == (first, second)


def test_new_sessions_are_added_and_earlier_ones_left_alone(folder):
    days = sessions(folder)
    change(folder, f"CREATE TABLE later AS FROM bars WHERE CAST(ts AS DATE) > '{days[24]}'", f"DELETE FROM bars WHERE CAST(ts AS DATE) > '{days[24]}'")
    assert summary(folder, "results.duckdb", "-t", "breakout,vwap")["vwap"]["added"] == 25
    before = dict(read(folder / "results.duckdb", "SELECT scan_date, published_at FROM scans WHERE scanner = 'breakout'")[0])
    time.sleep(1.1)
    change(folder, "INSERT INTO bars FROM later")
    done = summary(folder, "results.duckdb", "-t", "breakout,vwap")
    assert [(row["added"], row["redone"], row["sessions"]) for row in done.values()] == [(5, 0, 30)] * 2
    after = dict(read(folder / "results.duckdb", "SELECT scan_date, published_at FROM scans WHERE scanner = 'breakout'")[0])
    assert {day: after[day] for day in days[:25]} == before
    scanner(folder, "publish", "fresh.duckdb", "-t", "breakout,vwap")
    assert content(folder / "results.duckdb") == content(folder / "fresh.duckdb")


@pytest.mark.parametrize(
    "correction",
    [
        "UPDATE bars SET close = close * 1.5, high = high * 1.5 WHERE symbol = 'DEMO0003' AND ts = TIMESTAMP '{} 11:17:00'",
        "DELETE FROM bars WHERE CAST(ts AS DATE) = '{}'",
        "INSERT INTO bars SELECT symbol, TIMESTAMP '{} 10:00:00' - INTERVAL 1 DAY, 1, 2, 1, 1.5, 100 FROM bars LIMIT 1",
    ],
    ids=["price", "gone", "late"],
)
def test_after_a_change_of_old_bars_everything_from_there_on_is_scanned_again(folder, correction):
    # A Monday, so that the day before is none of the sessions yet.
    day = next(day for day in sessions(folder)[20:] if day.weekday() == 0)
    scanner(folder, "publish", "results.duckdb", "-t", LOOKING_BACK)
    before = content(folder / "results.duckdb")
    change(folder, correction.format(day))
    done = summary(folder, "results.duckdb", "-t", LOOKING_BACK)["breakout"]
    # How far a scanner looks back nobody knows but itself.
    assert done["redone"] == sum(other > day or (other == day and "DELETE" not in correction) for other in sessions(folder))
    scanner(folder, "publish", "fresh.duckdb", "-t", LOOKING_BACK)
    assert content(folder / "results.duckdb") == content(folder / "fresh.duckdb")
    assert content(folder / "results.duckdb") != before


def test_an_outcome_is_left_open_until_it_is_known(folder):
    last = sessions(folder)[-1]
    change(folder, f"CREATE TABLE later AS FROM bars WHERE ts >= '{last} 11:00:00'", f"DELETE FROM bars WHERE ts >= '{last} 11:00:00'")
    opened = f"SELECT count(*), count(outcome_exit_price) FROM breakout_hits WHERE scan_date = '{last}'"
    open_count = f"SELECT sum(open_outcomes) FROM scans WHERE scan_date = '{last}'"
    done = summary(folder, "results.duckdb", "-t", "breakout", *WIDE)["breakout"]
    ((hits, known),), _ = read(folder / "results.duckdb", opened, open_count)
    # outcomes() itself says what the position stands at; that is none of its end.
    assert hits > 0 and known == 0 and done["open_outcomes"] == hits
    # One minute is missing to the exit at 15:15.
    change(folder, f"INSERT INTO bars FROM later WHERE ts < '{last} 15:14:00'")
    assert summary(folder, "results.duckdb", "-t", "breakout", *WIDE)["breakout"]["open_outcomes"] == hits
    change(folder, f"INSERT INTO bars FROM later WHERE ts = '{last} 15:14:00'")
    done = summary(folder, "results.duckdb", "-t", "breakout", *WIDE)["breakout"]
    assert (done["open_outcomes"], done["redone"]) == (0, 1)
    assert read(folder / "results.duckdb", opened)[0] == [(hits, hits)]


def test_a_trade_of_a_later_session_is_followed_up(folder):
    """A hit at the last minute of a session is entered in the next one."""
    days = sessions(folder)
    change(folder, f"CREATE TABLE later AS FROM bars WHERE CAST(ts AS DATE) > '{days[-2]}'", f"DELETE FROM bars WHERE CAST(ts AS DATE) > '{days[-2]}'")
    words = ["results.duckdb", "-t", "breakout", "--cutoff", "15:30", *WIDE]
    hits = f"SELECT count(*), count(outcome_exit_price) FROM breakout_hits WHERE scan_date = '{days[-2]}'"
    assert summary(folder, *words)["breakout"]["open_outcomes"] > 0
    ((count, known),) = read(folder / "results.duckdb", hits)[0]
    assert count > 0 and known == 0
    # The next session has not come to the cutoff, but to the exit.
    change(folder, f"INSERT INTO bars FROM later WHERE ts < '{days[-1]} 15:20:00'")
    done = summary(folder, *words)["breakout"]
    assert (done["added"], done["open_outcomes"]) == (0, 0)
    assert read(folder / "results.duckdb", hits)[0] == [(count, count)]
    # A price in that session changes what became of a hit in the one before.
    change(folder, f"UPDATE bars SET close = close * 1.01, high = high * 1.01 WHERE ts = '{days[-1]} 15:14:00'", "INSERT INTO bars FROM later ANTI JOIN bars USING (symbol, ts)")
    scanner(folder, "publish", *words)
    change(folder, f"UPDATE bars SET close = close * 1.01, high = high * 1.01 WHERE ts = '{days[-1]} 15:14:00'")
    scanner(folder, "publish", *words)
    scanner(folder, "publish", "fresh.duckdb", *words[1:])
    assert content(folder / "results.duckdb") == content(folder / "fresh.duckdb")


def test_a_session_that_has_not_come_to_the_cutoff_is_left_for_later(folder):
    last = sessions(folder)[-1]
    change(folder, f"CREATE TABLE later AS FROM bars WHERE ts >= '{last} 09:49:00'", f"DELETE FROM bars WHERE ts >= '{last} 09:49:00'")
    done = scanner(folder, "publish", "results.duckdb", "-t", "breakout,gap")
    assert done.stderr.count(f"{last} has not come to 09:50 yet") == 1
    assert read(folder / "results.duckdb", "SELECT max(scan_date) FROM scans")[0] != [(last,)]
    # The bar from 09:49 to 09:50.
    change(folder, "INSERT INTO bars FROM later ORDER BY ts, symbol LIMIT 40")
    assert "has not come" not in scanner(folder, "publish", "results.duckdb", "-t", "breakout,gap").stderr
    assert read(folder / "results.duckdb", "SELECT max(scan_date) FROM scans")[0] == [(last,)]


def test_other_parameters_make_the_table_anew_and_say_so(folder):
    days = sessions(folder)
    scanner(folder, "publish", "results.duckdb", "-t", "breakout,gap")
    gap = read(folder / "results.duckdb", "SELECT DISTINCT published_at FROM scans WHERE scanner = 'gap'")
    time.sleep(1.1)
    # The same, said otherwise.
    assert "up to date" in scanner(folder, "publish", "results.duckdb", "-t", "breakout", "--set", "min_price=50.0").stderr
    done = scanner(folder, "publish", "results.duckdb", "-t", "breakout", "--set", "min_price=300", "--start-date", days[-3])
    assert "breakout is published anew: min_price was 50 and is 300\n" in done.stderr
    # Those days that were there before are not lost, and not mixed with others.
    scans, prices, other = read(
        folder / "results.duckdb",
        "SELECT count(*), count(DISTINCT parameters) FROM scans WHERE scanner = 'breakout'",
        "SELECT count(*) FROM breakout_hits WHERE price < 300",
        "SELECT DISTINCT published_at FROM scans WHERE scanner = 'gap'",
    )
    assert scans == [(30, 1)] and prices == [(0,)] and [other] == gap
    done = scanner(folder, "publish", "results.duckdb", "-t", "breakout", "--set", "min_price=300", "--cutoff", "10:00", "--stop-loss", 1)
    assert "breakout is published anew: its cutoff was 09:50 and is 10:00" in done.stderr
    assert read(folder / "results.duckdb", "SELECT DISTINCT json_extract(parameters, '$.outcome_stop_loss_pct') FROM scans WHERE scanner = 'breakout'")


def test_dates_limit_what_is_scanned_and_leave_the_rest(folder):
    days = sessions(folder)
    assert summary(folder, "results.duckdb", "-t", "breakout", "--start-date", days[10], "--end-date", days[19])["breakout"]["sessions"] == 10
    done = summary(folder, "results.duckdb", "-t", "breakout", "--start-date", days[15])["breakout"]
    assert (done["added"], done["redone"], done["sessions"]) == (10, 0, 20)
    refused = scanner(folder, "publish", "results.duckdb", "--start-date", "2030-01-01", check=False)
    assert refused.returncode == 2 and f"the data has 30 sessions from {days[0]} to {days[-1]}" in refused.stderr
    refused = scanner(folder, "publish", "results.duckdb", "--start-date", "soon", check=False)
    assert refused.returncode == 2 and "start_date" in refused.stderr


def test_own_scanners_are_published_with_their_comments_and_anew_when_they_change(folder):
    scanner(folder, "new", "morning_rise")
    words = ["publish", "results.duckdb", "-t", "morning_rise,breakout", "--scanners-directory", "scanners"]
    scanner(folder, *words)
    file = folder / "scanners/scan_morning_rise.sql"
    days = sessions(folder)
    with connect(folder / "market.duckdb", read_only=True) as database:
        text = file.read_text()
        database.execute(text.replace("CREATE MACRO", "CREATE TEMP MACRO"))
        expected = [row for day in days for row in database.execute("FROM scan_morning_rise(?)", [day]).fetchall()]
        columns = [column[0] for column in database.execute("FROM scan_morning_rise('2025-01-15')").description]
    assert expected
    rows, comments = read(
        folder / "results.duckdb",
        f"SELECT {', '.join(columns)} FROM morning_rise_hits ORDER BY scan_date, rank",
        "SELECT column_name, comment FROM duckdb_columns() WHERE table_name = 'morning_rise_hits'",
    )
    assert rows == expected
    assert dict(comments)["price"] and dict(comments)["change_pct"]
    # A column more.
    changed = text.replace("-- @column change_pct ", "-- @column change_twice %, twice as much.\n-- @column change_pct ")
    changed = changed.replace("    ranked.change_pct,\n", "    2 * ranked.change_pct AS change_twice,\n    ranked.change_pct,\n")
    assert changed.count("change_twice") == 2
    file.write_text(changed)
    done = scanner(folder, *words)
    assert "morning_rise is published anew: its SQL has changed" in done.stderr and "breakout is published anew" not in done.stderr
    (there,) = read(folder / "results.duckdb", "SELECT count(*) FROM morning_rise_hits WHERE abs(change_twice - 2 * change_pct) < 1e-9")
    assert there == [(len(expected),)]


def test_a_scanner_that_cannot_be_run_over_a_range_is_left_out_with_the_reason(folder):
    change(folder, "CREATE MACRO scan_odd(scan_date, source := 'bars') AS TABLE SELECT 1 AS x")
    done = scanner(folder, "publish", "results.duckdb")
    assert "left out: scan_odd has no parameter cutoff_time, end_date" in done.stderr
    refused = scanner(folder, "publish", "results.duckdb", "-t", "odd", check=False)
    assert refused.returncode == 2 and "scan_odd has no parameter cutoff_time, end_date" in refused.stderr
    change(
        folder,
        "CREATE MACRO scan_early(scan_date, cutoff_time := '09:50', end_date := NULL, source := 'bars') AS TABLE "
        "SELECT DATE '2025-01-15' AS scan_date, 'A' AS symbol, 1.0 AS price, 2 AS outcome_exit_ts, 1 AS volume, 1.0 AS probability_score, 1 AS rank",
    )
    refused = scanner(folder, "publish", "results.duckdb", "-t", "early", check=False)
    assert refused.returncode == 2 and "scan_early has a column outcome_exit_ts" in refused.stderr


# Whoever reads meanwhile


HOLD = """
import duckdb, sys
connection = duckdb.connect(sys.argv[1], read_only=sys.argv[2] == "read")
count = "SELECT count(*) FROM breakout_hits"
print(connection.execute(count).fetchone()[0], flush=True)
sys.stdin.readline()
# With a cursor of its own, which looks the table up again.
print(connection.cursor().execute(count).fetchone()[0], flush=True)
"""


@pytest.mark.parametrize("access", ["read", "write"])
def test_a_program_that_has_the_file_open_keeps_what_it_has(folder, access):
    scanner(folder, "publish", "results.duckdb", "-t", "breakout")
    with subprocess.Popen(
        [python_1_5(), "-c", HOLD, str(folder / "results.duckdb"), access], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as reader:
        before = int(reader.stdout.readline())
        # A file that is written to in place could not be written to now.
        scanner(folder, "publish", "results.duckdb", "-t", "breakout", "--set", "max_results_per_day=1")
        after, _ = reader.communicate("\n")
        assert int(after) == before
    ((now,),) = read(folder / "results.duckdb", "SELECT count(*) FROM breakout_hits")[0]
    assert 0 < now < before


def test_two_at_a_time_take_turns(folder):
    words = [[SCANNER, "publish", place, "-t", name] for name in ("breakout", "vwap", "crp") for place in ("results.duckdb", "results")]
    running = [subprocess.Popen(list(map(str, one)), cwd=folder, env=environment(folder), stderr=subprocess.PIPE, text=True) for one in words]
    told = [one.communicate()[1] for one in running]
    assert [one.returncode for one in running] == [0] * len(words), told
    # None has written over what another one had added.
    assert read(folder / "results.duckdb", "SELECT DISTINCT scanner FROM scans ORDER BY ALL")[0] == [("breakout",), ("crp",), ("vwap",)]
    assert sorted(path.name for path in (folder / "results/hits").iterdir()) == ["scanner=breakout", "scanner=crp", "scanner=vwap"]
    assert hidden(folder) == []


@pytest.mark.parametrize(("place", "look"), [("results.duckdb", content), ("results", folder_content)], ids=["file", "folder"])
def test_killed_at_any_moment_it_leaves_the_old_state_or_the_new_one(folder, place, look):
    words = ["publish", place, "-t", "breakout,vwap"]
    states = []
    for most in (5, 1):
        started = time.monotonic()
        scanner(folder, *words, "--set", f"max_results_per_day={most}")
        seconds = time.monotonic() - started
        states.append(look(folder / place))
    assert states[0] != states[1]
    moments = random.Random(8)
    old, new, stopped = 1, 0, 0
    for attempt in range(12):
        # Most of the time goes into the scans; the moments that matter are at the end.
        moment = seconds * (moments.random() if attempt % 2 else moments.uniform(0.7, 1.1))
        running = subprocess.Popen(
            [str(SCANNER), *words, "--set", f"max_results_per_day={(5, 1)[new]}"], cwd=folder, env=environment(folder), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        time.sleep(moment)
        running.send_signal(signal.SIGKILL)
        stopped += running.wait() == -signal.SIGKILL
        there = look(folder / place)
        assert there in (states[old], states[new]), f"after {moment:.3f} s of {seconds:.3f}"
        if there == states[new]:
            old, new = new, old
    assert stopped >= 3, "nearly all of them had ended before they were killed"
    scanner(folder, *words, "--set", f"max_results_per_day={(5, 1)[new]}")
    assert look(folder / place) == states[new]
    # And what was left over is gone.
    assert hidden(folder) == []


# Refusals


def tree(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file() and ".config" not in path.parts)
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_nothing_of_somebody_elses_is_touched(folder):
    for name, script in {
        "mine.duckdb": "CREATE TABLE prices AS SELECT 1 AS price",
        "scans.duckdb": "CREATE TABLE scans (scanner VARCHAR, scan_date DATE)",
        "no_table.duckdb": "CREATE MACRO twice(x) AS 2 * x",
    }.items():
        with duckdb.connect(folder / name) as connection:
            connection.execute(script)
    scanner(folder, "run", "-t", "breakout")
    (folder / "text.duckdb").write_text("these are my notes\n" * 500)
    (folder / "empty.duckdb").touch()
    (folder / "results.csv.gz").write_text("x")
    for name, file in {"notes": "notes.txt", "bars": "bars.parquet", "nested": "hits/scanner=breakout/year=2025/part-0.parquet"}.items():
        (folder / name / file).parent.mkdir(parents=True)
        (folder / name / file).write_text("x")
    for place in ("ours", "ours_and_more"):
        scanner(folder, "publish", place, "-t", "gap")
    (folder / "ours_and_more/hits/scanner=gap/_SUCCESS").touch()
    scanner(folder, "publish", "locked.duckdb", "-t", "gap")
    (folder / "locked.duckdb").chmod(0o444)
    scanner(folder, "publish", "open.duckdb", "-t", "gap")
    (folder / "open.duckdb.wal").write_text("x")
    scanner(folder, "publish", "taken.duckdb", "-t", "gap")
    with duckdb.connect(folder / "taken.duckdb") as connection:
        connection.execute("CREATE TABLE breakout_hits AS SELECT 1 AS mine")

    before = tree(folder)
    for place, code, said in [
        ("market.duckdb", 2, "market.duckdb holds the bars or the history"),
        ("state.duckdb", 2, "state.duckdb holds the bars or the history"),
        ("mine.duckdb", 2, "mine.duckdb holds something else than published results: prices"),
        ("scans.duckdb", 2, "scans.duckdb holds something else than published results: scans"),
        ("text.duckdb", 2, "text.duckdb is no DuckDB database"),
        ("empty.duckdb", 2, "empty.duckdb is no DuckDB database"),
        ("no_table.duckdb", 2, "no_table.duckdb holds something else than published results: it has no table"),
        ("new.csv", 2, "new.csv: expected a DuckDB file, such as results.duckdb, or a folder"),
        ("notes", 2, "notes holds something else than published results: notes.txt"),
        ("bars", 2, "bars holds something else than published results: bars.parquet"),
        ("nested", 2, "nested holds something else than published results: hits/scanner=breakout/year=2025/part-0.parquet"),
        ("ours_and_more", 2, "ours_and_more holds something else than published results: hits/scanner=gap/_SUCCESS"),
        (".", 2, ". holds something else than published results"),
        ("locked.duckdb", 1, "locked.duckdb: it may only be read"),
        ("open.duckdb", 1, "open.duckdb has changes in"),
        ("taken.duckdb", 2, "taken.duckdb has a relation 'breakout_hits' that 'scanner publish' has not made"),
        ("nowhere/results.duckdb", 1, "nowhere/results.duckdb: there is no such folder"),
        ("/dev/null", 2, "/dev/null: expected a DuckDB file, or a folder"),
    ]:
        refused = scanner(folder, "publish", place, "-t", "breakout", check=False)
        assert refused.returncode == code and said in refused.stderr, (place, refused.returncode, refused.stderr)
        assert refused.stdout == ""
        assert tree(folder) == before, place
        assert hidden(folder) == [], place
    # What somebody else has added to the file stays there.
    with duckdb.connect(folder / "taken.duckdb") as connection:
        connection.execute("ALTER TABLE breakout_hits RENAME TO mine")
    scanner(folder, "publish", "taken.duckdb", "-t", "breakout")
    assert read(folder / "taken.duckdb", "FROM mine")[0] == [(1,)]


def test_a_full_disk_leaves_what_was_there(folder):
    limit = 1 << 20

    def small_disk():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    for place, look in (("results.duckdb", content), ("results", folder_content)):
        scanner(folder, "publish", place, "-t", "breakout")
        before = look(folder / place)
        limit = (1 << 20) if place.endswith(".duckdb") else 4096
        full = scanner(folder, "publish", place, "--set", "max_results_per_day=40", "--set", "min_volume=0", preexec_fn=small_disk, check=False)
        assert full.returncode == 1 and place in full.stderr and "unfinished" not in full.stderr, full.stderr
        assert look(folder / place) == before and hidden(folder) == []


def test_mistakes_are_told_as_such(folder):
    for words, said in [
        (["-t", "brakout"], "did you mean 'breakout'?"),
        (["-t", "breakout", "--set", "min_prise=1"], "did you mean 'min_price'?"),
        (["--set", "consolidation_period=3"], "has no parameter 'consolidation_period'; name the scanners that have it with --scanner-type"),
        (["-t", "breakout", "--cutoff", "25:00"], "cutoff_time"),
        (["-t", "breakout", "--exit-time", "late"], "exit_time"),
        (["-t", "breakout", "--stop-loss", "-1"], "stop_loss_pct"),
        (["-t", "breakout", "--set", "min_price=-1"], "min_price must be"),
        (["--api-mode"], "--api-mode: 'publish' writes a file or a folder of this machine"),
    ]:
        refused = scanner(folder, "publish", "results.duckdb", *words, check=False)
        assert refused.returncode == 2 and said in refused.stderr, (words, refused.stderr)
    assert not (folder / "results.duckdb").exists() and hidden(folder) == []
    missing = scanner(folder, "publish", "results.duckdb", "--database", "none.duckdb", check=False)
    assert missing.returncode == 1 and "there is no database none.duckdb" in missing.stderr
