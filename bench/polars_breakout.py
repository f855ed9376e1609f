"""The breakout scan as a Polars user would write it, over the same Parquet file and by the same rules."""

from datetime import date, datetime, time, timedelta

import polars as pl

# `first` and `last` trust the file's order, which the benchmark's file keeps; `by_time` does not, as the scanner does not.
VARIANTS = [(engine, order) for engine in ("streaming", "in-memory") for order in ("file_order", "by_time")]


def breakout(parquet: str, settings: dict, engine: str, order: str) -> list[tuple]:
    """Rows with the columns of scan_breakout, in its order."""
    scan_date, end_date = date.fromisoformat(settings["scan_date"]), date.fromisoformat(settings["end_date"])
    latest_start, period = time.fromisoformat(settings["latest_start"]), settings["consolidation_period"]
    first_date = scan_date - timedelta(days=2 * period + 10)
    price_columns = ["open", "high", "low", "close"]

    bars = pl.scan_parquet(parquet).filter(
        pl.col("ts") >= datetime.combine(first_date, time()),
        pl.col("ts") <= datetime.combine(end_date, latest_start),
        pl.col("symbol").is_not_null(),
        *[pl.col(column) > 0 for column in price_columns],
        *[pl.col(column).is_finite() for column in price_columns],
        pl.col("high") >= pl.col("low"),
        pl.col("volume") >= 0,
    )
    visible = pl.col("visible")
    if order == "file_order":
        open_, price, close = pl.col("open").filter(visible).first(), pl.col("close").filter(visible).last(), pl.col("close").last()
    else:
        open_ = pl.col("open").filter(visible).min_by(pl.col("ts").filter(visible))
        price = pl.col("close").filter(visible).max_by(pl.col("ts").filter(visible))
        close = pl.col("close").max_by("ts")
    sessions = (
        bars.with_columns(session_date=pl.col("ts").dt.date(), visible=pl.col("ts").dt.time() <= latest_start)
        .group_by("symbol", "session_date")
        .agg(
            open=open_,
            price=price,
            volume=pl.col("volume").filter(visible).sum(),
            whole_high=pl.col("high").max(),
            whole_low=pl.col("low").min(),
            whole_close=close,
        )
        .sort("symbol", "session_date")
    )
    evidence = (
        sessions.with_columns(
            resistance=pl.col("whole_high").shift(1).rolling_max(period).over("symbol"),
            support=pl.col("whole_low").shift(1).rolling_min(period).over("symbol"),
            baseline_close=pl.col("whole_close").shift(1).rolling_mean(period).over("symbol"),
            baseline_volume=pl.col("volume").cast(pl.Float64).shift(1).rolling_mean(period).over("symbol"),
            baseline_start=pl.col("session_date").shift(period).over("symbol"),
        )
        .filter(
            pl.col("session_date") >= scan_date,
            pl.col("price").is_between(settings["min_price"], settings["max_price"]),
            pl.col("volume") >= settings["min_volume"],
            pl.col("baseline_start") >= pl.col("session_date") - timedelta(days=2 * period + 10),
            pl.col("baseline_volume") > 0,
        )
        .with_columns(
            breakout_pct=100 * (pl.col("price") / pl.col("resistance") - 1),
            consolidation_range_pct=100 * (pl.col("resistance") - pl.col("support")) / pl.col("baseline_close"),
            volume_ratio=pl.col("volume") / pl.col("baseline_volume"),
            change_pct=100 * (pl.col("price") / pl.col("open") - 1),
        )
        .filter(
            pl.col("breakout_pct") >= settings["resistance_break_pct"],
            pl.col("volume_ratio") >= settings["breakout_volume_ratio"],
        )
    )
    return (
        evidence.with_columns(
            probability_score=50 * pl.min_horizontal(pl.col("breakout_pct") / 2, 1.0)
            + 30 * pl.min_horizontal(pl.col("volume_ratio") / 3, 1.0)
            + 20 * pl.min_horizontal(pl.max_horizontal(pl.col("change_pct"), 0.0) / 2, 1.0)
        )
        .filter(pl.col("probability_score") >= settings["min_probability_score"])
        .sort("session_date", "probability_score", "breakout_pct", "symbol", descending=[False, True, True, False])
        .with_columns(rank=pl.int_range(1, pl.len() + 1).over("session_date"))
        .filter(pl.col("rank") <= settings["max_results_per_day"])
        .select(
            "session_date", "symbol", "price", "resistance", "support", "breakout_pct", "consolidation_range_pct", "volume_ratio",
            "change_pct", "volume", "probability_score", "rank",
        )
        .collect(engine=engine)
        .rows()
    )
