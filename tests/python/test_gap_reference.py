"""scan_gap against an independent implementation in pandas, written from its definition: a loop over symbols and sessions."""

import datetime as dt
import random
from functools import cache

import pytest

DEFAULTS = dict(
    min_price=50, max_price=2000, min_volume=10000, max_results_per_day=3, min_probability_score=10, lookback_days=14, min_gap_pct=2,
    max_filled_pct=100, min_relative_volume=1, direction="any",
)


@pytest.fixture(scope="module")
def sessions(demo):
    """Per symbol: its sessions in order, each with all its bars."""
    bars = demo.execute("FROM bars ORDER BY symbol, ts").df()
    bars["day"] = bars.ts.dt.date
    bars["ends"] = bars.ts.dt.hour * 60 + bars.ts.dt.minute + 1
    return {symbol: list(one.groupby("day")) for symbol, one in bars.groupby("symbol")}


def kind_of_gap(first, before):
    """StockCharts' four; None where the open is the close before."""
    close = before.close.iloc[-1]
    if first > close:
        return "full_up" if first > before.high.max() else "partial_up"
    if first < close:
        return "full_down" if first < before.low.min() else "partial_down"
    return None


def expected(sessions, first_day, last_day, cutoff, given):
    minutes = 60 * int(cutoff[:2]) + int(cutoff[3:])
    seen = lambda bars: bars[bars.ends <= minutes]
    n = given["lookback_days"]
    hits = []
    for symbol, days in sessions.items():
        dates = [day for day, _ in days]
        traded = cache(lambda index, days=days: int(seen(days[index][1]).volume.sum()))
        for index, day in enumerate(dates):
            if not first_day <= day <= last_day or index < n or (day - dates[index - n]).days > 2 * n + 10:
                continue
            usual = sum(map(traded, range(index - n, index)))
            now, before = seen(days[index][1]), days[index - 1][1]
            if usual == 0 or now.empty:
                continue
            first, close, price, volume = now.open.iloc[0], before.close.iloc[-1], now.close.iloc[-1], int(now.volume.sum())
            kind = kind_of_gap(first, before)
            if kind is None:
                continue
            up = kind.endswith("up")
            back = first - now.low.min() if up else now.high.max() - first
            filled = min(max(100 * back / abs(first - close), 0), 100)
            gap, ratio = 100 * (first / close - 1), volume / (usual / n)
            score = 40 * min(abs(gap) / 5, 1) + 30 * min(ratio / 5, 1) + 30 * (1 - filled / 100)
            if (
                given["min_price"] <= price <= given["max_price"] and volume >= given["min_volume"] and abs(gap) >= given["min_gap_pct"]
                and filled <= given["max_filled_pct"] and ratio >= given["min_relative_volume"] and score >= given["min_probability_score"]
                and given["direction"] in ("any", "long" if up else "short")
            ):
                hits.append((day, symbol, price, close, first, gap, kind, filled, 100 * (price / first - 1), ratio, volume, score))
    hits.sort(key=lambda hit: (hit[0], -hit[-1], -abs(hit[5]), hit[1]))
    result, rank, previous = [], 0, None
    for hit in hits:
        rank = rank + 1 if hit[0] == previous else 1
        previous = hit[0]
        if rank <= given["max_results_per_day"]:
            result.append((*hit, rank))
    return result


def assert_same(actual, wanted, what):
    assert [(row[0], row[1], row[-1]) for row in actual] == [(row[0], row[1], row[-1]) for row in wanted], what
    for got, want in zip(actual, wanted):
        for one, other in zip(got, want):
            assert one == other or one == pytest.approx(other, rel=1e-9, abs=1e-9), f"{what}\n{got}\n{want}"


def test_agrees_with_the_definition(demo, sessions):
    chance = random.Random(7)
    days = sorted({day for one in sessions.values() for day, _ in one})
    found, kinds = 0, set()
    for _ in range(16):
        cutoff = chance.choice(["09:16", "09:50", "10:47", "15:30"])
        first = chance.choice(days[20:])
        last = min(first + dt.timedelta(days=chance.choice([0, 6, 13])), days[-1])
        given = DEFAULTS | dict(
            lookback_days=chance.choice([1, 3, 14]), min_gap_pct=chance.choice([0, 0, 0.3, 1]), max_filled_pct=chance.choice([30, 99, 100]),
            min_relative_volume=chance.choice([0, 1]), direction=chance.choice(["any", "any", "long", "short"]),
            max_results_per_day=chance.choice([3, 1000]), min_volume=chance.choice([0, 10000]), min_probability_score=chance.choice([0, 10, 40]),
        )
        arguments = ", ".join(f"{name} := {value!r}" for name, value in given.items())
        scan = f"FROM scan_gap('{first}', '{cutoff}', end_date := '{last}', {arguments})"
        actual, wanted = demo.execute(scan).fetchall(), expected(sessions, first, last, cutoff, given)
        assert_same(actual, wanted, scan)
        found += len(wanted)
        kinds |= {row[6] for row in wanted}
    assert found > 300 and len(kinds) == 4, "the scans find enough to compare"
