"""The programs of docs/clients/sqlalchemy.md, and what tools ask of the dialect."""

import sys

import pytest
import sqlalchemy


def test_the_programs_of_the_page(project, stockscan):
    programs = project("sqlalchemy")
    hits = programs.python("first.py")
    assert "DEMO" in hits and "2025-01-06" in hits
    model = programs.folder / "model.py"
    model.write_text(model.read_text().replace("func.scan_", f"func.{stockscan.prefix}scan_"))
    lines = [line.split() for line in programs.python("model.py").splitlines()]
    assert lines and all(symbol.startswith("DEMO") and float(price) < 1000 for symbol, price, _ in lines)
    percent = [float(line[2]) for line in lines]
    assert percent == sorted(percent, reverse=True)


@pytest.fixture
def engine(project, monkeypatch):
    """The page's engine."""
    monkeypatch.syspath_prepend(project("sqlalchemy").folder)
    monkeypatch.delitem(sys.modules, "market", raising=False)
    from market import engine

    yield engine
    engine.dispose()


def test_tables_and_columns_are_listed(engine):
    inspector = sqlalchemy.inspect(engine)
    assert inspector.get_table_names(schema="market.main") == ["bars"]
    types = {column["name"]: column["type"] for column in inspector.get_columns("bars", schema="market.main")}
    assert list(types) == ["symbol", "ts", "open", "high", "low", "close", "volume"]
    assert isinstance(types["ts"], sqlalchemy.DateTime) and isinstance(types["close"], sqlalchemy.Float)


def test_many_connections_scan_one_after_the_other_and_at_once(engine, stockscan):
    """The extension is loaded by each connection: into a database that has it already, and into one that was closed in between."""
    scan = sqlalchemy.text(stockscan.in_place("SELECT count(*) FROM scan_breakout('2025-01-15')"))
    for _ in range(3):
        with engine.connect() as one, engine.connect() as other:
            assert one.execute(scan).scalar() == other.execute(scan).scalar() > 0
        engine.dispose()


def test_an_error_is_that_of_the_scanner(engine, stockscan):
    wrong = sqlalchemy.text(stockscan.in_place("FROM scan_breakout('2025-01-15', consolidation_period := 0)"))
    with engine.connect() as connection, pytest.raises(sqlalchemy.exc.DBAPIError, match="consolidation_period.*got 0"):
        connection.execute(wrong)
