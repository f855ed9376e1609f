"""ADBC: the driver that is inside DuckDB's wheel, by the driver manager. Rows come as Arrow."""

import adbc_driver_duckdb
import adbc_driver_manager.dbapi
import pyarrow


def test_a_scan_comes_as_arrow(stockscan, market):
    options = {"path": str(market), "allow_unsigned_extensions": "true"}
    with adbc_driver_manager.dbapi.connect(driver=adbc_driver_duckdb.driver_path(), entrypoint="duckdb_adbc_init", db_kwargs=options) as connection:
        with connection.cursor() as cursor:
            cursor.execute(f"LOAD '{stockscan.extension}'")
            cursor.execute(f"FROM {stockscan.prefix}scan_breakout(?, '09:50', end_date := '2025-01-15')", parameters=["2025-01-06"])
            table = cursor.fetch_arrow_table()
    assert table.schema.field("scan_date").type == pyarrow.date32()
    assert table.schema.field("price").type == pyarrow.float64()
    with stockscan.connect(market) as connection:
        assert table.to_pylist() == connection.sql(f"FROM {stockscan.prefix}scan_breakout('2025-01-06', '09:50', end_date := '2025-01-15')").to_arrow_table().to_pylist()
    assert table.num_rows > 5
