"""The page of a run whose data are not those of the run at hand, in a browser."""

import json
import re

import pytest

from pnag.cli.app import run as pnag
from tests.pnag.report.browser import opened_page

pytestmark = pytest.mark.slow

DATA = re.compile(r'(?<=id="report-data">).*?(?=</script>)')


@pytest.fixture(scope="module")
def report(profiled_folder, tmp_path_factory):
    page = tmp_path_factory.mktemp("report") / "report.html"
    assert pnag(["report", "--run", str(profiled_folder), "--out", str(page), "--quiet"]) == 0
    return page


def changed(report, path, change):
    """The page with other data."""
    text = report.read_text()
    found = DATA.search(text)
    assert found
    data = json.loads(found[0])
    change(data)
    path.write_text(DATA.sub(lambda _: json.dumps(data), text))
    return path


def test_a_network_without_stages_is_no_stem(report, tmp_path):
    def change(data):
        for choice in data["choices"]:
            choice.update(n_stem_ops=len(choice["ops"]), room=[], depths=[], expands=[])

    path = changed(report, tmp_path / "page.html", change)
    with opened_page(path, "#frontier .point") as (page, complaints):
        texts = page.locator("#picture svg text").all_text_contents()
        assert "Network" in texts
        assert "1000 classes" in texts
        rows = page.locator("#cost tbody th").all_inner_texts()
        assert not [text for text in [*texts, *rows] if "Stem" in text]
        label = page.locator("#picture svg").get_attribute("aria-label")
        assert re.search(r"Architecture; [0-9]+ ops\. Costs", label)
        assert complaints == []
