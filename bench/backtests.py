"""A year of breakouts, entered at the next open, with a stop and a target, as a user of Polars, pandas or vectorbt would write it.

By the same rules as outcomes(): a bar that touches both levels counts as the stop, a later bar that opens beyond one fills at its open, and a
price within a billionth of a level is at it.
"""

from datetime import date, time

import numpy as np
import pandas as pd
import polars as pl

import polars_breakout

STOP, TARGET, COST_BPS = 1.0, 2.0, 3.0
NEAR = 1e-9
CUTOFF, LATEST_EXIT = time(9, 50), time(15, 14)


def polars(parquet: str, settings: dict) -> list[tuple]:
    """Date, symbol, start of the exit's bar, reason and net return in % of each trade."""
    hits = polars_breakout.breakout(parquet, settings, "streaming", "by_time")
    signals = pl.DataFrame([row[:2] for row in hits], schema={"scan_date": pl.Date, "symbol": pl.String}, orient="row")
    key = ["scan_date", "symbol"]
    paths = (
        pl.scan_parquet(parquet)
        .select("symbol", "ts", "open", "high", "low", "close", scan_date=pl.col("ts").dt.date())
        .filter(pl.col("ts").dt.time() >= CUTOFF, pl.col("ts").dt.time() <= LATEST_EXIT)
        .join(signals.lazy(), on=key)
        .collect(engine="streaming")
        .sort("ts")
        .with_columns(entry=pl.col("open").first().over(key), entry_ts=pl.col("ts").first().over(key))
        .with_columns(stop=pl.col("entry") * (1 - STOP / 100), target=pl.col("entry") * (1 + TARGET / 100))
    )
    stopped, met = (lambda price: pl.col(price) <= pl.col("stop") * (1 + NEAR)), (lambda price: pl.col(price) >= pl.col("target") * (1 - NEAR))
    gap = (pl.col("ts") > pl.col("entry_ts")) & (stopped("open") | met("open"))
    touched = gap | stopped("low") | met("high")
    fill = pl.when(gap).then("open").when(stopped("low")).then("stop").otherwise("target")
    touches = paths.filter(touched).with_columns(fill=fill).group_by(key).agg(ts=pl.col("ts").first(), fill=pl.col("fill").first())
    closed = (
        paths.group_by(key)
        .agg(entry=pl.col("entry").first(), last_ts=pl.col("ts").last(), last=pl.col("close").last())
        .join(touches, on=key, how="left")
        .with_columns(exit_ts=pl.coalesce("ts", "last_ts"), exit=pl.coalesce("fill", "last"))
        .with_columns(
            reason=pl.when(pl.col("ts").is_null()).then(pl.lit("time")).when(pl.col("fill") < pl.col("entry")).then(pl.lit("stop"))
            .otherwise(pl.lit("target")),
            net=100 * (pl.col("exit") - pl.col("entry") - COST_BPS / 1e4 * (pl.col("exit") + pl.col("entry"))) / pl.col("entry"),
        )
    )
    return closed.sort("scan_date", "symbol").select("scan_date", "symbol", "exit_ts", "reason", "net").rows()


def pandas(parquet: str, settings: dict) -> list[tuple]:
    """The same, the scan included, without a loop over days or symbols."""
    period = settings["consolidation_period"]
    bars = pd.read_parquet(parquet)
    bars["symbol"] = bars.symbol.astype("category")
    bars["day"] = bars.ts.dt.normalize()
    clock = bars.ts - bars.day
    by = ["symbol", "day"]
    visible = bars[clock <= pd.Timedelta(hours=9, minutes=49)]
    grouped, seen = bars.groupby(by, observed=True), visible.groupby(by, observed=True)
    sessions = grouped.agg(high=("high", "max"), low=("low", "min"), close=("close", "last"))
    sessions = sessions.join(seen.agg(open=("open", "first"), price=("close", "last"), volume=("volume", "sum")))
    sessions["volume"] = sessions.volume.fillna(0)
    of_symbol = sessions.groupby(level="symbol", observed=True)
    baseline = lambda column, how: getattr(of_symbol[column].shift(1).groupby(level="symbol", observed=True).rolling(period), how)().droplevel(0)
    sessions["resistance"], sessions["usual"] = baseline("high", "max"), baseline("volume", "mean")
    sessions = sessions.reset_index()
    sessions["start"] = sessions.groupby("symbol", observed=True).day.shift(period)
    sessions["breakout_pct"] = 100 * (sessions.price / sessions.resistance - 1)
    sessions["volume_ratio"] = sessions.volume / sessions.usual
    sessions["score"] = (
        50 * np.minimum(sessions.breakout_pct / 2, 1)
        + 30 * np.minimum(sessions.volume_ratio / 3, 1)
        + 20 * np.minimum(np.maximum(100 * (sessions.price / sessions.open - 1), 0) / 2, 1)
    )
    hits = sessions[
        (sessions.day >= pd.Timestamp(settings["scan_date"])) & (sessions.day <= pd.Timestamp(settings["end_date"]))
        & sessions.price.between(settings["min_price"], settings["max_price"]) & (sessions.volume >= settings["min_volume"])
        & (sessions.start >= sessions.day - pd.Timedelta(days=2 * period + 10)) & (sessions.usual > 0)
        & (sessions.breakout_pct >= settings["resistance_break_pct"]) & (sessions.volume_ratio >= settings["breakout_volume_ratio"])
        & (sessions.score >= settings["min_probability_score"])
    ]
    hits = hits.assign(symbol=hits.symbol.astype(str)).sort_values(["day", "score", "breakout_pct", "symbol"], ascending=[True, False, False, True])
    hits = hits.groupby("day").head(settings["max_results_per_day"])[["symbol", "day"]]

    later = bars[(clock >= pd.Timedelta(hours=9, minutes=50)) & (clock <= pd.Timedelta(hours=15, minutes=14))]
    later = later[later.day.isin(hits.day)]
    paths = later.assign(symbol=later.symbol.astype(str)).merge(hits, on=["symbol", "day"]).sort_values("ts")
    first = paths.groupby(["day", "symbol"])
    paths["entry"], paths["entry_ts"] = first.open.transform("first"), first.ts.transform("first")
    stop, target = paths.entry * (1 - STOP / 100), paths.entry * (1 + TARGET / 100)
    stopped, met = (lambda price: price <= stop * (1 + NEAR)), (lambda price: price >= target * (1 - NEAR))
    gap = (paths.ts > paths.entry_ts) & (stopped(paths.open) | met(paths.open))
    paths["fill"] = np.where(gap, paths.open, np.where(stopped(paths.low), stop, target))
    touches = paths[gap | stopped(paths.low) | met(paths.high)].groupby(["day", "symbol"])[["ts", "fill"]].first()
    closed = first.agg(entry=("entry", "first"), last_ts=("ts", "last"), last=("close", "last")).join(touches)
    exit_price, exit_ts = closed.fill.fillna(closed["last"]), closed.ts.fillna(closed.last_ts)
    reason = np.where(closed.ts.isna(), "time", np.where(closed.fill < closed.entry, "stop", "target"))
    net = 100 * (exit_price - closed.entry - COST_BPS / 1e4 * (exit_price + closed.entry)) / closed.entry
    return [
        (day.date(), symbol, ts.to_pydatetime(), why, gain)
        for (day, symbol), ts, why, gain in zip(closed.index, exit_ts, reason.tolist(), net)
    ]


def wide(parquet: str, sessions: list[str]) -> dict[str, pd.DataFrame]:
    """Opens and closes with a column for each symbol, as vectorbt takes them: made once, not measured."""
    bars = pl.read_parquet(parquet, columns=["symbol", "ts", "open", "close"]).filter(pl.col("ts").dt.date() >= date.fromisoformat(sessions[0]))
    return {
        column: bars.pivot(on="symbol", index="ts", values=column).sort("ts").to_pandas().set_index("ts").ffill() for column in ("open", "close")
    }


def vectorbt(prices: dict[str, pd.DataFrame], trades: pd.DataFrame) -> dict[tuple, float]:
    """Net return in % of each trade by vectorbt, of trades with symbol, entry_ts and exit_ts: the part of it that needs no rules of ours."""
    import vectorbt as vbt

    index, columns = prices["close"].index, prices["close"].columns
    entries = np.zeros((len(index), len(columns)), dtype=bool)
    exits = np.zeros_like(entries)
    places = columns.get_indexer(trades.symbol)
    entries[index.get_indexer(trades.entry_ts), places] = True
    exits[index.get_indexer(trades.exit_ts), places] = True
    price = np.where(entries, prices["open"].to_numpy(), prices["close"].to_numpy())
    portfolio = vbt.Portfolio.from_signals(prices["close"], entries, exits, price=price, fees=COST_BPS / 1e4, init_cash=np.inf, size=1, freq="1min")
    found = portfolio.trades.records
    starts = index[found.entry_idx]
    gains = 100 * (found["return"].to_numpy())
    return {(start, columns[column]): gain for start, column, gain in zip(starts, found.col, gains)}
