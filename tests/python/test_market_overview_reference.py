"""market_overview against an independent implementation in pandas, and what must hold of it as of a scanner."""

import datetime as dt
import random
import statistics

import pandas as pd
import pytest

from conftest import connect
from test_properties import ADVERSARIES, changed_futures, fetch

FIRST, LAST = "2024-11-19", "2025-01-15"


@pytest.fixture(scope="module")
def market():
    with connect() as connection:
        connection.execute("CREATE TABLE bars AS FROM demo_bars(symbols := 40, sessions := 40)")
        connection.execute("CREATE VIEW shuffled AS FROM bars ORDER BY hash(symbol, ts)")
        yield connection


@pytest.fixture(scope="module")
def sessions(demo):
    """Per symbol: its sessions in order, each with all its bars."""
    bars = demo.execute("FROM bars ORDER BY symbol, ts").df()
    bars["day"] = bars.ts.dt.date
    return {symbol: list(one.groupby("day")) for symbol, one in bars.groupby("symbol")}


def overview(sessions, day, cutoff, lookback_days, lookback_sessions):
    end = pd.Timedelta(cutoff + ":00") - pd.Timedelta(minutes=1)
    seen = lambda bars: bars[bars.ts - bars.ts.dt.normalize() <= end]
    stocks = []
    for symbol, days in sorted(sessions.items()):
        before = [(date, bars) for date, bars in days if date < day]
        today = [seen(bars) for date, bars in days if date == day]
        if not today or today[0].empty:
            continue
        now = today[0]
        stock = dict(symbol=symbol, price=now.close.iloc[-1], open=now.open.iloc[0], volume=int(now.volume.sum()))

        def latest(n):
            return before[-n:] if len(before) >= n and (day - before[-n][0]).days <= 2 * n + 10 else None

        if latest(1):
            stock["change"] = 100 * (stock["price"] / latest(1)[0][1].close.iloc[-1] - 1)
        if latest(lookback_days):
            stock["usual"] = sum(int(seen(bars).volume.sum()) for _, bars in latest(lookback_days))
        if latest(lookback_sessions):
            stock["highest"] = max(bars.high.max() for _, bars in latest(lookback_sessions))
            stock["lowest"] = min(bars.low.min() for _, bars in latest(lookback_sessions))
        stocks.append(stock)
    if not stocks:
        return None
    known = [stock for stock in stocks if "change" in stock]
    changes = [stock["change"] for stock in known]
    up, down = [s for s in known if s["change"] > 0], [s for s in known if s["change"] < 0]
    usual, lookback = [s for s in stocks if "usual" in s], [s for s in stocks if "highest" in s]
    usual_total = sum(s["usual"] for s in usual)
    best = max(known, key=lambda s: s["change"], default=None)
    worst = min(known, key=lambda s: s["change"], default=None)
    return dict(
        scan_date=day, symbols=len(stocks), advancers=len(up), decliners=len(down), unchanged=len(known) - len(up) - len(down),
        without_previous_close=len(stocks) - len(known), net_advances=len(up) - len(down),
        advance_decline_ratio=len(up) / len(down) if down else None,
        mean_change_pct=statistics.fmean(changes) if changes else None, median_change_pct=statistics.median(changes) if changes else None,
        above_open_pct=100 * sum(s["price"] > s["open"] for s in stocks) / len(stocks), volume=sum(s["volume"] for s in stocks),
        up_volume=sum(s["volume"] for s in up), down_volume=sum(s["volume"] for s in down),
        usual_volume=usual_total / lookback_days if usual else None,
        relative_volume=sum(s["volume"] for s in usual) * lookback_days / usual_total if usual_total else None, with_usual_volume=len(usual),
        new_highs=sum(s["price"] > s["highest"] for s in lookback), new_lows=sum(s["price"] < s["lowest"] for s in lookback),
        with_lookback=len(lookback), strongest_symbol=best and best["symbol"], strongest_change_pct=best and best["change"],
        weakest_symbol=worst and worst["symbol"], weakest_change_pct=worst and worst["change"],
    )


def test_agrees_with_the_definition(demo, sessions):
    chance = random.Random(11)
    days = sorted({day for one in sessions.values() for day, _ in one})
    compared = highs = 0
    for _ in range(10):
        cutoff = chance.choice(["09:16", "09:50", "12:03", "15:30"])
        first = chance.choice(range(len(days) - 12))
        last = first + chance.choice([0, 3, 11])
        periods = dict(lookback_days=chance.choice([1, 3, 14]), lookback_sessions=chance.choice([1, 5, 20]))
        given = ", ".join(f"{name} := {value}" for name, value in periods.items())
        rows = fetch(demo, f"FROM market_overview('{days[first]}', '{cutoff}', end_date := '{days[last]}', {given})")
        wanted = [overview(sessions, day, cutoff, **periods) for day in days[first : last + 1]]
        assert [row["scan_date"] for row in rows] == [row["scan_date"] for row in wanted]
        for row, want in zip(rows, wanted):
            for column, value in want.items():
                same = value if value is None or isinstance(value, str | dt.date) else pytest.approx(value, rel=1e-9, abs=1e-9)
                assert row[column] == same, (column, given, row)
            compared, highs = compared + 1, highs + want["new_highs"] + want["new_lows"]
    assert compared > 30 and highs > 100


def test_nothing_after_the_cutoff_changes_a_row(market):
    for day in ("2024-12-04", "2025-01-02", "2025-01-15"):
        known = fetch(market, f"FROM market_overview('{day}')")
        assert known and known[0]["symbols"] > 30
        for source in changed_futures(market, dt.date.fromisoformat(day)):
            assert fetch(market, f"FROM market_overview('{day}', source := '{source}')") == known, (day, source)


def test_a_range_is_the_union_of_its_sessions_in_any_order_and_with_any_number_of_threads(market):
    days = [day for (day,) in market.execute("SELECT session_date FROM sessions()").fetchall()]
    one_by_one = [row for day in days for row in fetch(market, f"FROM market_overview('{day}')")]
    assert len(one_by_one) == len(days)
    try:
        for threads in (1, 2, 8):
            market.execute(f"SET threads = {threads}")
            for source in ("bars", "shuffled"):
                assert fetch(market, f"FROM market_overview('{FIRST}', end_date := '{LAST}', source := '{source}')") == one_by_one, threads
    finally:
        market.execute("RESET threads")


@pytest.mark.parametrize("name", ADVERSARIES)
def test_odd_bars_give_no_odd_numbers(market, name):
    market.execute(f"CREATE OR REPLACE TABLE adversary AS {ADVERSARIES[name]}")
    for cutoff_time in ("00:01", "09:50", "24:00"):
        for row in fetch(market, f"FROM market_overview('{FIRST}', '{cutoff_time}', end_date := '{LAST}', source := 'adversary')"):
            counted = row["advancers"] + row["decliners"] + row["unchanged"] + row["without_previous_close"]
            assert counted == row["symbols"] > 0, row
            assert not any(value != value or value in (float("inf"), float("-inf")) for value in row.values() if isinstance(value, float)), row
