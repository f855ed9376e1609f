"""scan_breakout against a second implementation, written from the definition and in another language: Polars and plain Python."""

import datetime as dt
import math
import random
from functools import cache

import polars as pl
import pytest

from conftest import connect

COLUMNS = [
    "scan_date", "symbol", "price", "resistance", "support", "breakout_pct", "consolidation_range_pct", "volume_ratio", "change_pct",
    "volume", "probability_score", "rank",
]  # fmt: skip


def minutes(clock: str) -> int:
    hours, rest = clock.split(":")
    return 60 * int(hours) + int(rest)


class Reference:
    """The scanner over one set of bars. What a session looks like at a cutoff is kept, since many scans ask for it."""

    def __init__(self, bars: pl.DataFrame, bar_minutes: int = 1):
        price = pl.all_horizontal((pl.col(name).is_finite() & (pl.col(name) > 0)) for name in ("open", "high", "low", "close"))
        sound = price & (pl.col("high") >= pl.col("low")) & pl.col("volume").is_not_null() & (pl.col("volume") >= 0)
        self.bars = bars.filter(sound.fill_null(False)).with_columns(
            day=pl.col("ts").dt.date(), start=pl.col("ts").dt.hour().cast(pl.Int32) * 60 + pl.col("ts").dt.minute()
        )
        self.bar_minutes = bar_minutes
        self.sessions = cache(self.sessions)

    def sessions(self, cutoff: int, start: int, end: int) -> dict[str, list[dict]]:
        """By symbol: its sessions in order of date, whole and as of the cutoff."""
        last_start = pl.col("start") + self.bar_minutes
        regular = self.bars.filter((pl.col("start") >= start) & (last_start <= end)).sort("ts")
        whole = regular.group_by("symbol", "day").agg(
            whole_high=pl.col("high").max(), whole_low=pl.col("low").min(), whole_close=pl.col("close").last()
        )
        seen = (
            regular.filter(last_start <= cutoff)
            .group_by("symbol", "day")
            .agg(open=pl.col("open").first(), price=pl.col("close").last(), volume=pl.col("volume").sum())
        )
        result: dict[str, list[dict]] = {}
        for row in whole.join(seen, on=["symbol", "day"], how="left").sort("symbol", "day").to_dicts():
            result.setdefault(row["symbol"], []).append(row)
        return result

    def scan(
        self, scan_date, cutoff_time="09:50", end_date=None, session_start=None, session_end=None, symbols=None, min_price=50, max_price=2000,
        min_volume=10000, max_results_per_day=3, min_probability_score=10, consolidation_period=5, breakout_volume_ratio=1.5,
        resistance_break_pct=0.5, max_consolidation_range_pct=None,
    ):  # fmt: skip
        hours = minutes(session_start or "00:00"), minutes(session_end or "24:00")
        hits: dict[dt.date, list[dict]] = {}
        for symbol, sessions in self.sessions(minutes(cutoff_time), *hours).items():
            if symbols is not None and symbol not in symbols:
                continue
            for place, session in enumerate(sessions):
                day, price, volume = session["day"], session["price"], session["volume"]
                if not scan_date <= day <= (end_date or scan_date) or price is None or place < consolidation_period:
                    continue
                baseline = sessions[place - consolidation_period : place]
                if (day - baseline[0]["day"]).days > 2 * consolidation_period + 10:
                    continue
                usual_volume = sum(earlier["volume"] or 0 for earlier in baseline) / consolidation_period
                if usual_volume == 0:
                    continue
                resistance = max(earlier["whole_high"] for earlier in baseline)
                support = min(earlier["whole_low"] for earlier in baseline)
                mean_close = math.fsum(earlier["whole_close"] for earlier in baseline) / consolidation_period
                hit = {
                    "scan_date": day,
                    "symbol": symbol,
                    "price": price,
                    "resistance": resistance,
                    "support": support,
                    "breakout_pct": 100 * (price / resistance - 1),
                    "consolidation_range_pct": 100 * (resistance - support) / mean_close,
                    "volume_ratio": volume / usual_volume,
                    "change_pct": 100 * (price / session["open"] - 1),
                    "volume": volume,
                }
                hit["probability_score"] = (
                    50 * max(0, min(hit["breakout_pct"] / 2, 1))
                    + 30 * max(0, min(hit["volume_ratio"] / 3, 1))
                    + 20 * min(max(hit["change_pct"], 0) / 2, 1)
                )
                if (
                    min_price <= price <= max_price
                    and volume >= min_volume
                    and hit["breakout_pct"] >= resistance_break_pct
                    and hit["volume_ratio"] >= breakout_volume_ratio
                    and (max_consolidation_range_pct is None or hit["consolidation_range_pct"] <= max_consolidation_range_pct)
                    and hit["probability_score"] >= min_probability_score
                ):
                    hits.setdefault(day, []).append(hit)
        for day in sorted(hits):
            best_first = sorted(hits[day], key=lambda hit: (-hit["probability_score"], -hit["breakout_pct"], hit["symbol"]))
            for rank, hit in enumerate(best_first[:max_results_per_day], 1):
                yield hit | {"rank": rank}


@pytest.fixture(scope="module")
def market():
    """A demo market with what the definition is careful about: sessions without a bar before noon, halts of any length, bad bars, bars
    outside of regular hours, and sessions on a Saturday."""
    with connect() as connection:
        connection.execute("SELECT setseed(0.5)")
        connection.execute(
            """
            CREATE TABLE bars AS
            WITH market AS (SELECT *, hash(symbol, ts::DATE) AS session, hash(symbol, ts) AS bar FROM demo_bars(symbols := 60, sessions := 75, seed := 7)),
            sessions AS (
                FROM market
                WHERE session % 40 != 0                                                      -- single days without a session
                AND NOT (hash(symbol) % 10 = 3 AND ts BETWEEN '2024-11-04' AND '2024-11-20') -- a long halt
                AND NOT (session % 15 = 1 AND ts::TIME < '12:00')                            -- nothing before noon
            )
            SELECT
                symbol, ts, open,
                CASE bar % 997 WHEN 0 THEN 'Infinity' WHEN 1 THEN low / 2 ELSE high END AS high,
                CASE bar % 991 WHEN 0 THEN 0 WHEN 1 THEN NULL ELSE low END AS low,
                CASE bar % 983 WHEN 0 THEN 'NaN' ELSE close END AS close,
                CASE bar % 977 WHEN 0 THEN -volume WHEN 1 THEN NULL ELSE volume END AS volume
            FROM sessions
            UNION ALL
            SELECT symbol, ts - INTERVAL 30 MINUTE, open, high * 1.05, low, close, volume FROM sessions WHERE bar % 200 = 5 AND ts::TIME < '09:40'
            UNION ALL
            SELECT symbol, ts + INTERVAL 1 DAY, open, high, low, close, volume FROM sessions WHERE isodow(ts) = 5 AND week(ts) % 3 = 0 AND hash(symbol) % 4 = 0
            """
        )
        yield connection


@pytest.fixture(scope="module")
def reference(market):
    return Reference(pl.from_arrow(market.sql("FROM bars").to_arrow_table()))


def scan(connection, arguments: dict) -> list[dict]:
    given = ", ".join(f"{name} := ${name}" for name in arguments if name != "scan_date")
    cursor = connection.execute(f"FROM scan_breakout($scan_date{', ' if given else ''}{given})", arguments)
    assert [column[0] for column in cursor.description] == COLUMNS
    return [dict(zip(COLUMNS, row)) for row in cursor.fetchall()]


def assert_same(actual: list[dict], expected: list[dict], arguments: dict):
    keys = lambda rows: [(row["scan_date"], row["symbol"], row["rank"], row["volume"]) for row in rows]
    assert keys(actual) == keys(expected), arguments
    for ours, theirs in zip(actual, expected):
        for column in COLUMNS:
            if isinstance(theirs[column], float):
                assert math.isclose(ours[column], theirs[column], rel_tol=1e-9, abs_tol=1e-12), (column, ours, theirs, arguments)


def random_arguments(seed: int, days: list[dt.date], symbols: list[str]) -> dict:
    """A scan that somebody might ask for. Not all of them find something; most do."""
    choose = random.Random(seed)
    first = choose.randrange(12, len(days))
    arguments = {
        "scan_date": days[first],
        "cutoff_time": choose.choice(["09:16", "09:30", "09:50", "10:30", "12:00", "15:30", "24:00"]),
        "consolidation_period": choose.choice([1, 2, 3, 5, 8, 13, 25]),
        "breakout_volume_ratio": choose.choice([0, 0.5, 0.9, 1.2]),
        "resistance_break_pct": choose.choice([0, 0, 0.1, 0.3]),
        "min_probability_score": choose.choice([0, 10, 30]),
        "max_results_per_day": choose.choice([1, 3, 1000]),
        "min_volume": choose.choice([0, 5000, 10000]),
    }
    if seed % 3:
        arguments["end_date"] = days[min(first + choose.randrange(1, 50), len(days) - 1)]
    if seed % 4 == 1:
        arguments |= {"session_start": "09:15", "session_end": choose.choice(["15:30", "12:00"])}
    if seed % 4 == 2:
        arguments |= {"min_price": choose.uniform(50, 200), "max_price": choose.uniform(400, 1500)}
    if seed % 5 == 3:
        arguments["max_consolidation_range_pct"] = choose.uniform(2, 12)
    if seed % 6 == 4:
        arguments["symbols"] = choose.sample(symbols, 25)
    return arguments


def test_random_scans_agree(market, reference):
    days = [day for (day,) in market.execute("SELECT session_date FROM sessions()").fetchall()]
    symbols = reference.bars["symbol"].unique().sort().to_list()
    assert len(days) >= 60 and len(symbols) == 60
    found = []
    for seed in range(80):
        arguments = random_arguments(seed, days, symbols)
        expected = list(reference.scan(**arguments))
        assert_same(scan(market, arguments), expected, arguments)
        found.append(len(expected))
    assert sum(found) > 500 and sum(rows > 0 for rows in found) > 40, "too little was found for the agreement to mean much"


@pytest.mark.parametrize("cutoff_time", ["09:16", "09:50", "11:00", "15:30"])
def test_every_session_agrees_one_by_one_and_in_a_range(market, reference, cutoff_time):
    wide = {"cutoff_time": cutoff_time, "resistance_break_pct": 0, "breakout_volume_ratio": 0.5, "min_volume": 0, "max_results_per_day": 1000}
    days = [day for (day,) in market.execute("SELECT session_date FROM sessions()").fetchall()]
    whole = wide | {"scan_date": days[0], "end_date": days[-1]}
    expected = list(reference.scan(**whole))
    assert len(expected) > 25
    assert_same(scan(market, whole), expected, whole)
    for day in days[5::6]:
        single = wide | {"scan_date": day}
        assert_same(scan(market, single), [row for row in expected if row["scan_date"] == day], single)


def test_defaults_agree(market, reference):
    days = [day for (day,) in market.execute("SELECT session_date FROM sessions()").fetchall()]
    arguments = {"scan_date": days[0], "end_date": days[-1]}
    expected = list(reference.scan(**arguments))
    assert expected
    assert_same(scan(market, arguments), expected, arguments)


@pytest.mark.parametrize("bar_minutes, cutoff_time", [(5, "09:50"), (5, "09:52"), (15, "10:30"), (1440, "24:00")])
def test_longer_bars_agree(market, bar_minutes, cutoff_time):
    bars = (
        pl.from_arrow(market.sql("FROM demo_bars(symbols := 60, sessions := 60)").to_arrow_table()).sort("symbol", "ts")
        .group_by_dynamic("ts", every=f"{bar_minutes}m", group_by="symbol")
        .agg(pl.col("open").first(), pl.col("high").max(), pl.col("low").min(), pl.col("close").last(), pl.col("volume").sum())
    )  # fmt: skip
    reference = Reference(bars, bar_minutes)
    arguments = {
        "scan_date": dt.date(2024, 11, 1), "end_date": dt.date(2025, 1, 15), "cutoff_time": cutoff_time, "resistance_break_pct": 0,
        "breakout_volume_ratio": 0.5, "max_results_per_day": 1000,
    }  # fmt: skip
    expected = list(reference.scan(**arguments))
    assert len(expected) > 30
    market.register("longer_bars", bars)
    assert_same(scan(market, arguments | {"source": "longer_bars", "bar_minutes": bar_minutes}), expected, arguments)
    market.unregister("longer_bars")
