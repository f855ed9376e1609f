"""likely_splits against a loop over sessions, on the demo market with splits, news and bad prices put into it."""

import math
import random
import statistics

import pytest

RATIOS = [1.5, 2, 2.5, 3, 4, 5, 6, 7, 8, 10, 15, 20, 25, 30, 40, 50, 100]
RATIOS += [1 / ratio for ratio in RATIOS if ratio == int(ratio)]


@pytest.fixture(scope="module")
def market(demo):
    """What happens to a symbol on a day: prices from then on divided by one number, that day's volume multiplied by another."""
    chance = random.Random(3)
    symbols = [symbol for (symbol,) in demo.execute("SELECT DISTINCT symbol FROM bars ORDER BY symbol").fetchall()]
    days = [day for (day,) in demo.execute("SELECT session_date FROM sessions()").fetchall()]
    events = []
    for symbol in symbols:
        for day in chance.sample(days[2:], 4):
            ratio = chance.choice([1.5, 2, 3, 7, 10, 1 / 2, 1 / 3, 1 / 10, 1.25, 0.9])
            busy = chance.choice([1, 1, 1, 3, 8])
            events.append((symbol, day, ratio * math.exp(chance.uniform(-0.04, 0.04)), ratio * busy, chance.choice([1, 1, 1, 1.3])))
    # A fall of the whole market, too.
    events += [(symbol, days[40], 1.12, 1, 1) for symbol in symbols]
    demo.execute("CREATE OR REPLACE TEMP TABLE events (symbol VARCHAR, day DATE, ratio DOUBLE, volume DOUBLE, height DOUBLE)")
    demo.executemany("INSERT INTO events VALUES (?, ?, ?, ?, ?)", events)
    demo.execute(
        """
        CREATE OR REPLACE TEMP TABLE eventful AS
        WITH factors AS (
            SELECT bar.symbol, bar.ts, coalesce(product(event.ratio), 1) AS ratio,
                coalesce(product(event.volume) FILTER (event.day = bar.ts::DATE), 1) AS volume,
                coalesce(max(event.height) FILTER (event.day = bar.ts::DATE), 1) AS height
            FROM bars AS bar LEFT JOIN events AS event ON bar.symbol = event.symbol AND event.day <= bar.ts::DATE
            WHERE minute(bar.ts) % 20 = 15
            GROUP BY ALL
        )
        SELECT symbol, ts, open / ratio AS open, high / ratio AS high, low / ratio AS low,
            close / ratio * if(ts::TIME = '12:15', height, 1) AS close, (bar.volume * factors.volume)::BIGINT AS volume
        FROM bars AS bar JOIN factors USING (symbol, ts)
        """
    )
    demo.execute(
        """
        CREATE OR REPLACE TEMP TABLE eventful_days AS
        SELECT symbol, ts::DATE AS ts, arg_min(open, bar.ts) AS open, max(high) AS high, min(low) AS low, arg_max(close, bar.ts) AS close, sum(volume) AS volume
        FROM eventful AS bar GROUP BY ALL
        """
    )
    return demo


def expected(market, source):
    days = {}
    for symbol, ts, *prices, volume in market.execute(f"SELECT symbol, ts::TIMESTAMP, open, high, low, close, volume FROM {source} ORDER BY symbol, ts").fetchall():
        days.setdefault(symbol, {}).setdefault(ts.date(), []).append((*prices, int(volume)))
    sessions, opened, closed = {}, {}, {}
    for symbol, of_symbol in days.items():
        earlier = []
        for day, bars in sorted(of_symbol.items()):
            closes = [bar[3] for bar in bars]
            one = len(bars) == 1
            session = dict(
                day=day, opening=bars[0][0] if one else closes[0], close=closes[-1], volume=sum(bar[4] for bar in bars),
                height=bars[0][1] / bars[0][2] - 1 if one else max(closes) / min(closes) - 1,
            )
            if earlier and (day - earlier[-1]["day"]).days <= 12:
                session["previous"] = earlier[-1]
                opened.setdefault(day, []).append(math.log(session["opening"] / earlier[-1]["close"]))
                closed.setdefault(day, []).append(math.log(session["close"] / earlier[-1]["close"]))
            session["earlier"] = earlier[-20:]
            earlier = earlier + [session]
            sessions[symbol, day] = session
    hits = []
    for (symbol, day), session in sessions.items():
        if "previous" not in session:
            continue
        moved, moved_by_close = (statistics.median(of[day]) if len(of[day]) >= 5 else 0 for of in (opened, closed))
        before = session["previous"]["close"]
        off = lambda ratio: abs(math.log(before / session["opening"]) + moved - math.log(ratio))
        ratio = min(RATIOS, key=off)
        value = session["volume"] * session["close"]
        usual_value = statistics.median(one["volume"] * one["close"] for one in session["earlier"])
        usual_volume = statistics.median(one["volume"] for one in session["earlier"])
        usual_height = statistics.median(one["height"] for one in session["earlier"])
        stays = abs(math.log(before / session["close"]) + moved_by_close - math.log(ratio)) <= math.log(1.2)
        quiet = value <= 3.5 * usual_value or session["volume"] <= 3.5 * usual_volume
        calm = not 0.4 < ratio < 2.6 or session["height"] <= 5 * usual_height
        if off(ratio) <= math.log(1.05) and stays and quiet and calm:
            hits.append((symbol, day, ratio, before / session["opening"], value / usual_value, session["volume"] / usual_volume))
    return sorted(hits, key=lambda hit: (hit[1], hit[0]))


@pytest.mark.parametrize("source, bar_minutes", [("eventful", 1), ("eventful_days", 1440)])
def test_agrees_with_the_definition(market, source, bar_minutes):
    wanted = expected(market, source)
    ratios = {hit[2] for hit in wanted}
    assert len(wanted) > 50 and {1.5, 2, 3, 7, 10, 1 / 2, 1 / 3, 1 / 10} <= ratios
    columns = "symbol, ex_date, ratio, price_ratio, value_ratio, volume_ratio"
    for order in ("symbol, ts", "hash(symbol, ts)"):
        market.execute(f"CREATE OR REPLACE TEMP TABLE ordered AS FROM {source} ORDER BY {order}")
        actual = market.execute(f"SELECT {columns} FROM likely_splits(source := 'ordered', bar_minutes := {bar_minutes})").fetchall()
        assert [hit[:2] for hit in actual] == [hit[:2] for hit in wanted]
        for got, want in zip(actual, wanted):
            assert got[2:] == pytest.approx(want[2:], rel=1e-9)


def test_nothing_is_found_where_nothing_was_split(demo):
    assert demo.execute("SELECT count(*) FROM likely_splits()").fetchall() == [(0,)]
