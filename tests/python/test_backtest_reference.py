"""The backtest functions against an independent implementation: a loop over trades and sessions, with the ratios of empyrical, scipy and
statsmodels. What becomes of one signal is asked of outcomes(), which has a reference of its own (test_outcomes_reference.py)."""

import datetime as dt
import math
import random
from collections import Counter, defaultdict

import empyrical
import numpy as np
import pandas as pd
import pytest
from scipy.optimize import isotonic_regression
from scipy.stats import kurtosis, skew
from statsmodels.stats.proportion import proportion_confint

from conftest import connect
from test_properties import fetch, literal

# Scanners with parameters that let enough through; those of daily bars among them.
WIDE = {"min_price": 0, "max_price": 100_000, "min_volume": 0, "min_probability_score": 0}
SCANNERS = {
    "breakout": WIDE | {"consolidation_period": 3, "resistance_break_pct": 0, "breakout_volume_ratio": 0},
    "gap": WIDE | {"min_gap_pct": 0.2, "lookback_days": 5},
    "relative_volume": WIDE | {"lookback_days": 6, "min_relative_volume": 1, "min_avg_volume": 0, "min_bars": 1},
    "crp": WIDE | {"consolidation_period": 4},
    "mine": {"least_score": 20},
}
# A user's own: half of the stocks each day, several of them with the same rank, others with none.
USER_MACRO = """
    CREATE MACRO scan_mine(scan_date, cutoff_time := '09:50', end_date := NULL, source := 'bars', bar_minutes := 1, symbols := NULL, least_score := 0) AS TABLE
    SELECT found.session_date AS scan_date, found.symbol, found.close AS price, 1 AS volume, found.score AS probability_score, nullif(found.score % 4, 3) AS rank
    FROM (
        SELECT price.*, CAST(hash(price.symbol, price.session_date) % 101 AS DOUBLE) AS score
        FROM session_closes(scan_date, coalesce(end_date, scan_date), source := source, bar_minutes := bar_minutes, symbols := symbols) AS price
    ) AS found
    WHERE found.score >= least_score AND hash(found.symbol, found.session_date, 7) % 2 = 0
"""
PORTFOLIO = dict(initial_capital=100000, max_positions=3, position_size=None, compounding=True)
DAY = dt.timedelta(days=1)


@pytest.fixture(scope="module")
def market():
    with connect() as connection:
        connection.execute("CREATE TABLE bars AS FROM demo_bars(symbols := 24, sessions := 40)")
        connection.execute(
            """
            CREATE TABLE days AS
            SELECT symbol, ts::DATE::TIMESTAMP AS ts, arg_min(open, bars.ts) AS open, max(high) AS high, min(low) AS low, arg_max(close, bars.ts) AS close, sum(volume) AS volume
            FROM bars GROUP BY symbol, ts::DATE
            """
        )
        # Symbols that list late, are halted for days in the middle, and are heard of no more.
        connection.execute("DELETE FROM bars WHERE symbol = 'DEMO0003' AND ts::DATE BETWEEN '2024-12-10' AND '2024-12-13'")
        connection.execute("DELETE FROM bars WHERE symbol = 'DEMO0004' AND dayofyear(ts) % 3 = 0")
        connection.execute("DELETE FROM bars WHERE symbol = 'DEMO0005' AND ts < '2024-12-20' OR symbol = 'DEMO0006' AND ts > '2024-12-27'")
        connection.execute("DELETE FROM days WHERE NOT EXISTS (FROM bars WHERE bars.symbol = days.symbol AND bars.ts::DATE = days.ts::DATE)")
        connection.execute(USER_MACRO)
        yield connection


@pytest.fixture(scope="module")
def prices(market):
    """By source: first and last price of each stock and session."""
    result = {}
    for source in ("bars", "days"):
        bars = market.execute(f"SELECT symbol, ts, open, close FROM {source} ORDER BY symbol, ts").df()
        bars["day"] = bars["ts"].dt.date
        result[source] = bars.groupby(["day", "symbol"]).agg(open=("open", "first"), close=("close", "last"))
    return result


def some_parameters(chance):
    """A call of backtest(): (scanner, first, last, parameters of the scanner, those of trades, those of the portfolio)."""
    scanner = chance.choice([*SCANNERS, "mine", "mine"])
    params = dict(SCANNERS[scanner])
    if scanner != "mine":
        params["max_results_per_day"] = chance.choice([1, 3, 8, 20])
    trading = dict(
        hold_sessions=chance.choice([0, 0, 1, 2, 3, 5]),
        direction=chance.choice(["long", "short"]),
        stop_loss_pct=chance.choice([None, None, 0.5, 1, 3]),
        target_pct=chance.choice([None, None, 0.5, 1, 3]),
        cost_bps=chance.choice([0, 0, 3, 25]),
        slippage_bps=chance.choice([0, 0, 2]),
        exit_time=chance.choice(["15:15", "15:15", "12:00"]),
    )
    if chance.random() < 0.3:
        trading |= dict(source="days", bar_minutes=1440, cutoff_time="24:00", exit_time="24:00")
    if chance.random() < 0.2:
        trading["symbols"] = sorted(f"DEMO{number:04d}" for number in chance.sample(range(1, 25), 8))
    portfolio = dict(
        initial_capital=chance.choice([100000, 2.5e6, 3e7]),
        max_positions=chance.choice([1, 2, 3, 5, 10, 20]),
        compounding=chance.random() < 0.6,
    )
    portfolio["position_size"] = chance.choice([None, None, 0.1, 0.26, 0.5]) and portfolio["initial_capital"] * chance.choice([0.1, 0.26, 0.5])
    first = dt.date(2024, 11, 18) + chance.randrange(35) * DAY
    last = min(first + chance.choice([0, 3, 10, 30, 60]) * DAY, dt.date(2025, 1, 15))
    return scanner, first, last, params, trading, portfolio


def call(function, scanner, first, last, *more, **given):
    params = given.pop("params")
    struct = "{" + ", ".join(f"{key}: {literal(value)}" for key, value in params.items()) + "}"
    options = [literal(value) for value in (scanner, first, last, *more)] + [f"params := {struct}"]
    return f"{function}(" + ", ".join(options + [f"{key} := {literal(value)}" for key, value in given.items()]) + ")"


def trades_of(market, scanner, first, last, params, trading):
    """Each hit with what became of it."""
    common = {key: value for key, value in trading.items() if key in ("cutoff_time", "source", "bar_minutes", "symbols")}
    scan = ", ".join(f"{key} := {literal(value)}" for key, value in ({"scan_date": first, "end_date": last} | params | common).items())
    market.execute(f"CREATE OR REPLACE TEMP TABLE hits AS FROM scan_{scanner}({scan})")
    options = ", ".join(f"{key} := {literal(value)}" for key, value in trading.items() if key != "symbols")
    return fetch(
        market,
        f"SELECT outcome.*, hits.probability_score, hits.rank FROM outcomes('hits', {options}) AS outcome JOIN hits USING (scan_date, symbol)",
    )


def put_in(trades, portfolio):
    """Adds amount and profit. A trade is closed for the next one if its bar lies before that of the entry."""
    for trade in trades:
        trade["amount"] = trade["profit"] = 0.0
    rank = lambda trade: math.inf if trade["rank"] is None else trade["rank"]
    queue = sorted((trade for trade in trades if trade["entry_ts"]), key=lambda trade: (trade["entry_ts"], trade["scan_date"], rank(trade), trade["symbol"]))
    realised, open_trades = [], []
    for trade in queue:
        realised += [other["profit"] for other in open_trades if other["exit_ts"] < trade["entry_ts"]]
        open_trades = [other for other in open_trades if other["exit_ts"] >= trade["entry_ts"]]
        capital = portfolio["initial_capital"] + math.fsum(realised)
        left = capital - math.fsum(other["amount"] for other in open_trades)
        weight = (capital if portfolio["compounding"] else portfolio["initial_capital"]) / portfolio["max_positions"]
        wanted = portfolio["position_size"] or min(weight, left)
        if len(open_trades) < portfolio["max_positions"] and left > 1e-6 and wanted <= left * (1 + 1e-9):
            trade["amount"] = wanted
            trade["profit"] = wanted * trade["net_return_pct"] / 100
            open_trades.append(trade)


def worth(trade, day, known):
    """Gain of a trade by the end of a session, without costs until it is closed."""
    if day >= trade["exit_ts"].date():
        return trade["profit"]
    if day < trade["entry_ts"].date():
        return 0.0
    last = max(session for session in known[trade["symbol"]] if session <= day)
    side = 1 if trade["direction"] == "long" else -1
    return trade["amount"] * side * (known[trade["symbol"]][last] / trade["entry_price"] - 1)


def sessions_of(trades, price, first, last, portfolio):
    """One row per session, by the sum of what every trade is worth."""
    taken = [trade for trade in trades if trade["amount"] > 0]
    end = max([last, *(trade["exit_ts"].date() for trade in taken)])
    span = price[(price.index.get_level_values("day") >= first) & (price.index.get_level_values("day") <= end)]
    opens, closes = (span[column].unstack("symbol").sort_index() for column in ("open", "close"))
    # What trades in the range is bought, not what turns up while trades of it are still open.
    bought = [symbol for symbol in closes if closes[symbol].first_valid_index() <= last]
    parts = (closes.ffill() / opens.bfill().iloc[0])[bought] if bought else closes
    known = {symbol: group.droplevel("symbol")["close"].to_dict() for symbol, group in span.groupby("symbol")}
    initial = portfolio["initial_capital"]
    rows, before, peak, benchmark_before, benchmark_peak = [], initial, initial, initial, initial
    for day in closes.index:
        gained = math.fsum(worth(trade, day, known) for trade in taken)
        held = [trade for trade in taken if trade["entry_ts"].date() <= day <= trade["exit_ts"].date()]
        equity = max(initial + gained, 0)
        benchmark = initial * parts.loc[day].fillna(1).mean()
        peak, benchmark_peak = max(peak, equity), max(benchmark_peak, benchmark)
        profit = gained - (rows[-1]["gained"] if rows else 0)
        rows.append(
            dict(
                session_date=day,
                entered=sum(trade["entry_ts"].date() == day for trade in held),
                positions=len(held),
                invested=math.fsum(trade["amount"] for trade in held),
                profit=profit,
                equity=equity,
                return_pct=100 * (profit / initial if not portfolio["compounding"] else equity / before - 1 if before else 0),
                drawdown_pct=100 * (equity / peak - 1),
                benchmark_equity=benchmark,
                benchmark_return_pct=100 * (benchmark / benchmark_before - 1),
                benchmark_drawdown_pct=100 * (benchmark / benchmark_peak - 1),
                gained=gained,
                before=before,
            )
        )
        before, benchmark_before = equity, benchmark
    for row in rows:
        del row["gained"]
    return rows


def or_none(value):
    return None if value is None or not math.isfinite(value) else float(value)


def wilson(winners, trades):
    return [100 * limit for limit in proportion_confint(winners, trades, 0.05, "wilson")] if trades else [None, None]


def statistics(trades):
    """Of trades that were taken: those that backtest_by() has, too."""
    net = np.array([trade["net_return_pct"] for trade in trades])
    winners = int((net > 0).sum())
    won = math.fsum(trade["profit"] for trade in trades if trade["profit"] > 0)
    lost = -math.fsum(trade["profit"] for trade in trades if trade["profit"] <= 0)
    low, high = wilson(winners, len(net))
    mean = lambda values: float(np.mean(values)) if len(values) else None
    return dict(
        trades=len(net),
        winners=winners,
        hit_rate_pct=100 * winners / len(net) if len(net) else None,
        hit_rate_lower_pct=low,
        hit_rate_upper_pct=high,
        mean_return_pct=mean(net),
        median_return_pct=float(np.median(net)) if len(net) else None,
        profit_factor=won / lost if lost else None,
        total_profit=won - lost,
        mean_mfe_pct=mean([trade["mfe_pct"] for trade in trades]),
        mean_mae_pct=mean([trade["mae_pct"] for trade in trades]),
    )


def best(gains, sign):
    """All keys that have the highest gain, or the lowest, as near as rounding lets one say: the function may name any of them."""
    most = max((sign * gain for gain in gains.values()), default=None)
    return {key for key, gain in gains.items() if math.isclose(sign * gain, most, rel_tol=1e-9, abs_tol=1e-9)} or {None}


def summary_of(trades, rows, portfolio):
    taken = [trade for trade in trades if trade["amount"] > 0]
    of_trades = statistics(taken)
    initial, final = portfolio["initial_capital"], rows[-1]["equity"]
    returns = np.array([row["return_pct"] for row in rows]) / 100
    benchmark = np.array([row["benchmark_return_pct"] for row in rows]) / 100
    changes = np.diff([initial, *(row["equity"] for row in rows)]) / [row["before"] for row in rows]
    by_symbol = defaultdict(list)
    for trade in taken:
        by_symbol[trade["symbol"]].append(trade["profit"])
    totals = {symbol: math.fsum(profits) for symbol, profits in by_symbol.items()}
    sessions = {row["session_date"]: row["return_pct"] for row in rows}
    longest = spell = 0
    for row in rows:
        spell = spell + 1 if row["drawdown_pct"] < 0 else 0
        longest = max(longest, spell)
    ratio = lambda function, values: or_none(function(values)) if len(set(values)) > 1 else None
    net = [trade["net_return_pct"] for trade in taken]
    mean = lambda values: float(np.mean(values)) if len(values) else None
    del of_trades["total_profit"]
    return of_trades | dict(
        first_date=rows[0]["session_date"],
        last_date=rows[-1]["session_date"],
        sessions=len(rows),
        signals=len(trades),
        not_filled=sum(trade["exit_reason"] == "not_filled" for trade in trades),
        not_taken=sum(trade["exit_reason"] != "not_filled" and trade["amount"] == 0 for trade in trades),
        mean_win_pct=mean([gain for gain in net if gain > 0]),
        mean_loss_pct=mean([gain for gain in net if gain <= 0]),
        expectancy=mean([trade["profit"] for trade in taken]),
        total_profit=final - initial,
        final_equity=final,
        total_return_pct=100 * (final / initial - 1),
        annual_return_pct=100 * empyrical.annual_return(returns, annualization=252) if portfolio["compounding"] else 252 * 100 * returns.mean(),
        annual_volatility_pct=or_none(100 * empyrical.annual_volatility(returns, annualization=252)) if len(rows) > 1 else None,
        sharpe=ratio(lambda values: empyrical.sharpe_ratio(values, annualization=252), returns),
        sortino=or_none(empyrical.sortino_ratio(returns, annualization=252)) if len(rows) > 1 and returns.min() < 0 else None,
        max_drawdown_pct=100 * empyrical.max_drawdown(changes),
        longest_drawdown_sessions=longest,
        exposure_pct=mean([100 * row["invested"] / row["before"] for row in rows]),
        turnover=math.fsum(trade["amount"] for trade in taken) / mean([row["equity"] for row in rows]) * 252 / len(rows),
        skewness=ratio(skew, returns),
        kurtosis=ratio(lambda values: kurtosis(values, fisher=False), returns),
        best_session=best(sessions, 1),
        best_session_return_pct=100 * returns.max(),
        worst_session=best(sessions, -1),
        worst_session_return_pct=100 * returns.min(),
        best_symbol=best(totals, 1),
        best_symbol_profit=max(totals.values(), default=None),
        worst_symbol=best(totals, -1),
        worst_symbol_profit=min(totals.values(), default=None),
        mean_minutes_held=mean([trade["minutes_held"] for trade in taken]),
        benchmark_return_pct=100 * (rows[-1]["benchmark_equity"] / initial - 1),
        benchmark_sharpe=ratio(lambda values: empyrical.sharpe_ratio(values, annualization=252), benchmark),
        benchmark_max_drawdown_pct=100 * empyrical.max_drawdown(benchmark),
    )


CURRENCY = {"amount", "profit", "invested", "equity", "expectancy", "total_profit", "final_equity", "best_symbol_profit", "worst_symbol_profit"}


def same(column, got, want):
    if isinstance(want, set):
        return got in want
    if isinstance(got, float) and isinstance(want, int | float | np.floating):
        # Amounts are added up in nine decimals, and so are excursions.
        return math.isclose(got, want, rel_tol=1e-9, abs_tol=1e-6 if column in CURRENCY else 1e-9)
    return got == want


def compare(label, got, want):
    assert len(got) == len(want), (label, len(got), len(want))
    for one, other in zip(got, want):
        wrong = {column: (value, other[column]) for column, value in one.items() if not same(column, value, other[column])}
        assert not wrong, f"{label}\n{wrong}\ngot  {one}\nwant {other}"


def test_trades_sessions_and_summary_agree_with_the_definition(market, prices):
    chance = random.Random(11)
    seen = Counter()
    for _ in range(60):
        scanner, first, last, params, trading, portfolio = some_parameters(chance)
        trades = trades_of(market, scanner, first, last, params, trading)
        put_in(trades, portfolio)
        price = prices[trading.get("source", "bars")]
        if "symbols" in trading:
            price = price[price.index.get_level_values("symbol").isin(trading["symbols"])]
        rows = sessions_of(trades, price, first, last, portfolio)
        given = (scanner, first, last), dict(params=params) | trading | portfolio
        asked = lambda function: call(function, *given[0], **given[1])

        late = dt.datetime.max
        infinite = lambda rank: math.inf if rank is None else rank
        in_order = sorted(trades, key=lambda trade: (trade["entry_ts"] or late, trade["scan_date"], infinite(trade["rank"]), trade["symbol"]))
        compare(asked("backtest"), fetch(market, f"FROM {asked('backtest')}"), in_order)
        compare(asked("backtest_daily"), fetch(market, f"FROM {asked('backtest_daily')}"), rows)
        summary = [summary_of(trades, rows, portfolio)] if rows else []
        compare(asked("backtest_summary"), fetch(market, f"FROM {asked('backtest_summary')}"), summary)

        for row in summary:
            seen["trades"] += row["trades"]
            seen["not taken"] += row["not_taken"]
            seen["not filled"] += row["not_filled"]
            seen["no trade"] += row["trades"] == 0
            seen["one session"] += row["sessions"] == 1
            seen["after the last date"] += row["last_date"] > last
            seen["without compounding"] += not portfolio["compounding"]
            seen["short"] += trading["direction"] == "short"
            seen["daily"] += "source" in trading
            seen["some symbols"] += "symbols" in trading
            seen["fixed amount"] += portfolio["position_size"] is not None
            seen["over nights"] += any(trade["amount"] > 0 and trade["exit_ts"].date() > trade["entry_ts"].date() for trade in trades)
            seen["partly invested"] += any(trade["amount"] == 0 < row["trades"] for trade in trades)
            seen["ratios"] += None not in (row["sharpe"], row["sortino"], row["profit_factor"])
    enough = {
        "trades": 1000, "not taken": 1000, "not filled": 5, "one session": 3, "after the last date": 5, "without compounding": 10, "short": 15, "daily": 8,
        "some symbols": 5, "fixed amount": 8, "over nights": 15, "partly invested": 15, "ratios": 20,
    }
    assert {kind: seen[kind] for kind, least in enough.items() if seen[kind] < least} == {}, seen


def bucket_of(trade, bucket):
    """Name of a trade's bucket, and its place."""
    entry = trade["entry_ts"]
    tens = min(int(trade["probability_score"] // 10), 9)
    return {
        "hour": (f"{entry.hour:02d}:00", 0),
        "weekday": (entry.strftime("%A"), entry.isoweekday()),
        "month": (entry.strftime("%Y-%m"), 0),
        "symbol": (trade["symbol"], 0),
        "score_bucket": (f"{10 * tens} to {10 * tens + 10}", tens),
        "exit_reason": (trade["exit_reason"], 0),
    }[bucket]


@pytest.mark.parametrize("bucket", ["hour", "weekday", "month", "symbol", "score_bucket", "exit_reason"])
def test_buckets_agree_with_a_groupby(market, bucket):
    first, last = dt.date(2024, 11, 21), dt.date(2025, 1, 15)
    for scanner, trading in (
        ("mine", dict(hold_sessions=1, stop_loss_pct=1, target_pct=2, cost_bps=2)),
        ("gap", dict(direction="short", stop_loss_pct=1.5, cutoff_time="10:15")),
        ("mine", dict(cutoff_time="15:29", hold_sessions=1)),
    ):
        portfolio = dict(initial_capital=50000, max_positions=8, position_size=None, compounding=True)
        trades = trades_of(market, scanner, first, last, SCANNERS[scanner], trading)
        put_in(trades, portfolio)
        taken = pd.DataFrame([trade | dict(zip(("label", "place"), bucket_of(trade, bucket))) for trade in trades if trade["amount"] > 0])
        want = [{"bucket": label} | statistics(group.to_dict("records")) for (place, label), group in taken.groupby(["place", "label"], sort=True)]
        assert len(taken) > 40 and sum(row["trades"] for row in want) == len(taken)
        asked = call("backtest_by", scanner, first, last, bucket, params=SCANNERS[scanner], **trading, **portfolio)
        compare(asked, fetch(market, f"FROM {asked}"), want)


def steps(hits):
    """The isotonic fit of hits by their score: (scores, rates)."""
    table = pd.DataFrame(hits, columns=["score", "won"]).groupby("score")["won"].agg(["mean", "count"])
    return table.index.to_numpy(), isotonic_regression(table["mean"].to_numpy(), weights=table["count"].to_numpy()).x


def read(fit, score):
    scores, rates = fit
    place = np.searchsorted(scores, score, side="right") - 1
    return rates[max(place, 0)]


def test_calibration_agrees_with_scipy_and_folds_written_out(market):
    compared = later = 0
    for scanner, folds, hold, symbols, first in (
        ("mine", 4, 0, None, dt.date(2024, 11, 19)), ("mine", 7, 3, None, dt.date(2024, 12, 1)), ("gap", 3, 0, None, dt.date(2024, 11, 19)),
        ("relative_volume", 5, 5, None, dt.date(2024, 11, 25)), ("mine", 50, 1, None, dt.date(2024, 12, 20)), ("mine", 2, 2, ["DEMO0004", "DEMO0005"], dt.date(2024, 12, 13)),
    ):
        last = dt.date(2025, 1, 10)
        params = SCANNERS[scanner] | ({} if scanner == "mine" else {"max_results_per_day": 30})
        trading = dict(hold_sessions=hold, cost_bps=1) | ({"symbols": symbols} if symbols else {})
        trades = [trade for trade in trades_of(market, scanner, first, last, params, trading) if trade["entry_ts"]]
        of_symbols = f"AND list_contains({symbols}, symbol)" if symbols else ""
        days = [day for (day,) in market.execute(f"SELECT DISTINCT ts::DATE FROM bars WHERE ts::DATE BETWEEN '{first}' AND '{last}' {of_symbols} ORDER BY 1").fetchall()]
        fold_of = {day: place * folds // len(days) for place, day in enumerate(days)}
        begins = {fold: min(day for day in days if fold_of[day] == fold) for fold in fold_of.values()}
        hits = [(trade["probability_score"], int(trade["net_return_pct"] > 0)) for trade in trades]
        whole = steps(hits)
        rows = defaultdict(list)
        for trade, (score, won) in zip(trades, hits):
            begin = begins[fold_of[trade["scan_date"]]]
            known = [hit for other, hit in zip(trades, hits) if other["exit_ts"].date() < begin]
            rows[min(score // 10, 9) * 10].append((won, trade["net_return_pct"], read(whole, score), read(steps(known), score) if known else None))
        want = []
        for score_from, found in sorted(rows.items()):
            asked = [(won, predicted) for won, _, _, predicted in found if predicted is not None]
            winners, later_winners = sum(won for won, *_ in found), sum(won for won, _ in asked)
            limits, later_limits = wilson(winners, len(found)), wilson(later_winners, len(asked))
            want.append(
                dict(
                    score_from=score_from,
                    score_to=score_from + 10,
                    trades=len(found),
                    winners=winners,
                    hit_rate_pct=100 * winners / len(found),
                    hit_rate_lower_pct=limits[0],
                    hit_rate_upper_pct=limits[1],
                    mean_return_pct=float(np.mean([gain for _, gain, _, _ in found])),
                    calibrated_hit_rate_pct=100 * float(np.mean([fitted for _, _, fitted, _ in found])),
                    out_of_sample_trades=len(asked),
                    predicted_hit_rate_pct=100 * float(np.mean([predicted for _, predicted in asked])) if asked else None,
                    out_of_sample_hit_rate_pct=100 * later_winners / len(asked) if asked else None,
                    out_of_sample_lower_pct=later_limits[0],
                    out_of_sample_upper_pct=later_limits[1],
                )
            )
            compared, later = compared + len(found), later + len(asked)
        call_of = call("calibrate", scanner, first, last, params=params, folds=folds, **trading)
        compare(call_of, fetch(market, f"FROM {call_of}"), want)
    assert compared > 1000 and later > 600, (compared, later)
