from xml.etree import ElementTree

import numpy as np
import pytest

from pnag.plots import frontier_plot, load_plot, networks_plot
from pnag.search.frontier import Frontier, FrontierPoint
from profiler.tables.levels import Change, Load

SVG = "{http://www.w3.org/2000/svg}svg"
NAMES = ["$x_{$", "100 $", r"\frac{a}", "\x1b[31m\x00", "</text><script>", "a--b"]


def test_a_load_has_a_panel_for_each_thing_that_the_device_tells(tmp_path):
    told, untold = (30.0, None, 38.0), (None, None, None)
    for clocks, n_panels in ((untold, 2), ((2400.0, 2400.0, None), 3)):
        load = Load(3, (0.0, 60.0, 120.0), (1.0, 1.0, 1.2), told, clocks, (Change(120, 1.2),), 1.2)
        load_plot([tmp_path / "load.svg"], load)
        drawn = ElementTree.parse(tmp_path / "load.svg")
        panels = [one for one in drawn.iter() if (one.get("id") or "").startswith("axes_")]
        assert len(panels) == n_panels


@pytest.mark.parametrize("name", NAMES)
def test_names_of_others_are_text_in_every_plot(tmp_path, name):
    """No mathematics, which Matplotlib sees between dollar signs, and nothing that XML refuses."""
    paths = [tmp_path / "plot.svg", tmp_path / "plot.png"]
    one = np.array([1.0])
    frontier = Frontier.of([FrontierPoint("a", 1.0, 0.5), FrontierPoint("b", 2.0, 0.6)])
    frontier_plot(paths, {name: frontier}, points={name: (one, one)}, title=name)
    assert ElementTree.parse(paths[0]).getroot().tag == SVG
    networks_plot(paths, [name], one, one, title=name)
    assert ElementTree.parse(paths[0]).getroot().tag == SVG
