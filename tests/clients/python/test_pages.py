"""The pages of docs/clients: all in one shape, all in the table, and honest about what was tried."""

import re

import pytest

from conftest import ROOT

FOLDER = ROOT / "docs" / "clients"
INDEX = (FOLDER / "README.md").read_text()
PAGES = sorted(page for page in FOLDER.glob("*.md") if page.name != "README.md")


def test_every_page_is_in_the_table():
    assert {page.name for page in PAGES} == set(re.findall(r"^\| \[.*?\]\(([\w-]+\.md)\)", INDEX, re.MULTILINE))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_pages_are_in_one_shape(page):
    text = page.read_text()
    headings = re.findall(r"^## (.*)", text, re.MULTILINE)
    assert headings[3] in ("A chart", "A model")
    assert headings == ["What you need", "Settings", "A first query", headings[3], "What to watch out for"]
    tested, not_tried = re.search(r"^Tested with ", text, re.MULTILINE), re.search(r"^Not tried: ", text, re.MULTILINE)
    assert bool(tested) != bool(not_tried)
    assert re.search(rf"\({page.name}\) \| {'yes' if tested else 'no'} \|", INDEX)
    if not_tried:
        assert "https://" in text and "5433" in text and "published results" in text
