"""The Python blocks of the documentation run as they stand."""

import re
import subprocess
import sys

from conftest import EXTENSION, ROOT



def test_python_blocks_run(tmp_path):
    blocks = [
        (page, block)
        for page in [ROOT / "README.md", *sorted((ROOT / "docs").glob("**/*.md"))]
        for block in re.findall(r"^```python\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)
    ]
    assert blocks
    # The documentation names the extension by where `cargo xtask extension` puts it.
    (tmp_path / "dist").symlink_to(EXTENSION.parent)
    for page, block in blocks:
        run = subprocess.run([sys.executable, "-c", block], cwd=tmp_path, capture_output=True, text=True)
        assert run.returncode == 0, f"{page.name}:\n{block}\n{run.stderr}"
        assert "DEMO" in run.stdout, f"{page.name}: the scans find something\n{run.stdout}"
