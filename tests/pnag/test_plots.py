from xml.etree import ElementTree

import numpy as np
import pytest

from pnag.plots import frontier_plot, networks_plot
from pnag.search.frontier import Frontier, FrontierPoint

SVG = "{http://www.w3.org/2000/svg}svg"
NAMES = ["$x_{$", "100 $", r"\frac{a}", "\x1b[31m\x00", "</text><script>", "a--b"]


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
