"""What Schemathesis is told besides the description of the interface: which refusals a schema cannot foretell, and what binary bodies are."""

import re

import schemathesis
from schemathesis.core.failures import Failure

# Each value can be by itself, but not beside another one, not with bars of this length, or not with the bars that there are; and an expression is
# more than a schema can tell.
TOGETHER = re.compile(
    r"must (not )?be given beside|must not be after|must not exceed |is earlier than any bar|expected one of them$"
    r"|there is no bar (of|in) those|the database has no bars that can be scanned|must tell one scan from the others"
    r"|there are more than|combinations|^optimize: objective "
)
# What stands in lines of bars, in statements and in rows is no matter of a schema, nor which names the queries of events and of indicators may have,
# nor which values a key of the configuration takes.
OF_CONTENT = (
    "/ingest/bars",
    "/query",
    "/table/{format}",
    "/events/scanner/{type}",
    "/bars/{symbol}/indicators/{indicator}",
    "/configuration/{section}/{key}",
)


@schemathesis.hook
def before_call(context, case, kwargs):
    """Makes values that do not go together such that do, so that more than their refusal is tried."""
    body = case.body
    if case.meta is None or not case.meta.generation.mode.is_positive or not isinstance(body, dict):
        return
    first, last = ("start_date" if body.get("start_date") else "scan_date"), "end_date"
    if body.get("scan_date") and body.get("start_date"):
        body.pop("scan_date")
    if body.get(last) and not body.get(first):
        body.pop(last)
    if body.get(first) and body.get(last) and body[first] > body[last]:
        body[first], body[last] = body[last], body[first]
    if not body.get("samples"):
        [body.pop(name, None) for name in ("seed", "sampling")]


@schemathesis.check
def refusals_say_why(ctx, response, case):
    """A problem has all its fields, and one of values that the schema allows is one of values that do not go together."""
    if response.status_code < 400:
        return
    problem = response.json()
    expected = {"type", "title", "status", "detail", "error", "parameter", "scanner_type", "timestamp"}
    if set(problem) != expected or problem["status"] != response.status_code:
        raise Failure(operation=case.operation.label, title="Problem details", message=f"expected {sorted(expected)}, got {problem}")
    if re.search(r"\.duckdb|/tmp/|/root|SELECT |panicked|Binder|Catalog|Parser Error", problem["detail"]):
        raise Failure(operation=case.operation.label, title="A leak", message=problem["detail"])
    if case.meta is None or not case.meta.generation.mode.is_positive or case.operation.path.endswith(OF_CONTENT):
        return
    if response.status_code == 400 and not TOGETHER.search(problem["detail"]):
        raise Failure(operation=case.operation.label, title="The schema allows this", message=problem["detail"])


@schemathesis.serializer("application/vnd.apache.arrow.stream", "application/vnd.apache.parquet")
def binary(ctx, value):
    return value if isinstance(value, bytes) else str(value).encode(errors="replace")


@schemathesis.deserializer("application/vnd.apache.arrow.stream", "application/vnd.apache.parquet", "text/csv", "application/x-ndjson")
def text(ctx, response):
    return response.content.decode(errors="replace")
