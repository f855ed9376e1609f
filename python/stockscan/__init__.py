"""Stock scanners as SQL functions in DuckDB.

    import duckdb, stockscan

    con = duckdb.connect("market.duckdb", config={"allow_unsigned_extensions": "true"})
    stockscan.load(con)
    con.sql("FROM scan_breakout('2025-01-15', '09:50')")  # DuckDB 1.5: FROM stockscan.scan_breakout(…)
"""

from pathlib import Path

__all__ = ["load"]


def load(connection) -> None:
    """Loads Stockscan into the database of a connection: with DuckDB 2.0.0 functions are called by their name, with 1.5 as ``stockscan.name(…)``.

    The database must have been opened with ``config={"allow_unsigned_extensions": "true"}``.
    """
    (version,) = connection.execute("SELECT library_version FROM pragma_version()").fetchone()
    folders = {folder.name: folder for folder in Path(__file__).parent.iterdir() if folder.is_dir() and folder.name.startswith("v")}
    if version in folders:
        folder = folders[version]
    elif version.startswith("v1.") and int(version.split(".")[1]) >= 5:
        folder = folders["v1"]
    else:
        known = ", ".join(sorted(name.removeprefix("v") for name in folders if name != "v1"))
        raise RuntimeError(f"stockscan has no extension for DuckDB {version.removeprefix('v')}; it has them for {known} and for 1.5 (pip install duckdb=={known})")
    (is_allowed,) = connection.execute("SELECT current_setting('allow_unsigned_extensions')").fetchone()
    if not is_allowed:
        raise RuntimeError(
            "stockscan's extension has no signature of DuckDB's; open the database so that it may be loaded: "
            'duckdb.connect(path, config={"allow_unsigned_extensions": "true"})'
        )
    path = str(folder / "stockscan.duckdb_extension").replace("'", "''")
    connection.execute(f"LOAD '{path}'")
