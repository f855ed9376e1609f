"""examples/notebook.ipynb, executed by the kernel that Jupyter uses: what it shows is not empty, and its pictures are drawn."""

import base64
import io

import matplotlib.image
import nbclient
import nbformat
import pytest

from conftest import ROOT


@pytest.fixture(scope="module")
def notebook(stockscan, tmp_path_factory):
    notebook = nbformat.read(ROOT / "examples/notebook.ipynb", as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            assert cell.outputs == [] and cell.execution_count is None, "outputs are not committed: they would go stale"
            cell.source = stockscan.in_place(cell.source)
    folder = tmp_path_factory.mktemp("notebook")
    nbclient.NotebookClient(notebook, timeout=300, resources={"metadata": {"path": folder}}).execute()
    return notebook


def outputs(notebook, kind) -> list[str]:
    return [output.data[kind] for cell in notebook.cells for output in cell.get("outputs", []) if kind in output.get("data", {})]


def test_what_it_shows(notebook):
    shown = [cell for cell in notebook.cells if cell.cell_type == "code" and cell.outputs]
    # All but the first, which imports and loads.
    assert len(shown) >= sum(cell.cell_type == "code" for cell in notebook.cells) - 1
    texts = "\n".join(outputs(notebook, "text/plain"))
    for part in ("DEMO", "breakout_pct", "shape: (", "exit_reason", "max_drawdown_pct"):
        assert part in texts, f"{part} in\n{texts}"
    assert "Empty DataFrame" not in texts and "shape: (0," not in texts


def test_its_pictures_are_drawn(notebook):
    pictures = [matplotlib.image.imread(io.BytesIO(base64.b64decode(data))) for data in outputs(notebook, "image/png")]
    assert len(pictures) == 2
    for picture in pictures:
        colours = {tuple(pixel) for row in picture[::2, ::2, :3] for pixel in row}
        assert len(colours) > 10, "an empty frame has few colours"
