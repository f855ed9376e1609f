"""The peak memory of one query in a process of its own. Started by run.py; prints one line of JSON.

usage: peak_memory.py EXTENSION DATABASE QUERY [MEMORY_LIMIT]
"""

import json
import resource
import sys

import duckdb


def peak_bytes() -> int:
    """The most memory this process has had so far."""
    try:
        # ru_maxrss survives exec, so it would count what the starting process had; this does not.
        with open("/proc/self/status", encoding="ascii") as status:
            return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM:"))
    except FileNotFoundError:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024


extension, database, query, *memory_limit = sys.argv[1:]
connection = duckdb.connect(database, read_only=True, config={"allow_unsigned_extensions": "true"})
connection.execute(f"LOAD '{extension}'")
if memory_limit:
    connection.execute(f"SET memory_limit = '{memory_limit[0]}'")
connection.execute("SELECT 1").fetchall()
before = peak_bytes()
rows = connection.execute(query).fetchall()
print(json.dumps({"bytes": peak_bytes() - before, "rows": len(rows), "answer": [[str(value) for value in row] for row in rows]}))
