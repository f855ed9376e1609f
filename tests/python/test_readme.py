"""The Python blocks of the documentation run as they stand, and no query in it comes out empty. (docs/clients has tests of its own: tests/clients.)"""

import re
import subprocess
import sys

from conftest import EXTENSION, ROOT, connect


PAGES = [ROOT / "README.md", *sorted(page for page in (ROOT / "docs").glob("**/*.md") if page.parent.name != "clients")]


def test_python_blocks_run(tmp_path):
    blocks = [
        (page, block)
        for page in PAGES
        # Those need a server (test_server_documentation.py, test_postgres_clients.py) or a package (test_distribution.py).
        if page.name not in ("server.md", "postgres.md")
        for block in re.findall(r"^```python\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)
    ]
    assert blocks
    # The documentation names the extension by where `cargo xtask extension` puts it.
    (tmp_path / "dist").symlink_to(EXTENSION.parent)
    for page, block in blocks:
        run = subprocess.run([sys.executable, "-c", block], cwd=tmp_path, capture_output=True, text=True)
        assert run.returncode == 0, f"{page.name}:\n{block}\n{run.stderr}"
        if "scan_" in block:
            assert "DEMO" in run.stdout, f"{page.name}: the scans find something\n{run.stdout}"


def test_no_query_is_empty():
    """An example that finds nothing teaches nothing, and looks broken."""
    asked = 0
    for page in PAGES:
        with connect() as connection:
            for block in re.findall(r"^```sql\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL):
                for statement in connection.extract_statements(block):
                    cursor = connection.execute(statement)
                    if str(statement.type).endswith("SELECT"):
                        assert cursor.fetchone() is not None, f"{page.name}: {statement.query}"
                        asked += 1
    assert asked > 20
