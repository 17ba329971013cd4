"""Networks of others, as they are given to a report."""

from pathlib import Path

import pytest

from pnag.report.published import PublishedArchitecture, PublishedNetwork, read_published
from profiler.errors import InvalidInputError
from profiler.spaces.mobilenetv3 import open_space

SPACE = open_space("mbv3")


def test_networks_of_a_spreadsheet_are_read(tmp_path: Path) -> None:
    """With its byte order mark, blank lines, and rows that lack what is plotted."""
    path = tmp_path / "phones.csv"
    text = "name,latency_ms,top1_pct,device\nA,20,75.2,\nB,,70,\n\nC,31.5,76,Pixel 1\n"
    path.write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert read_published(path, SPACE) == [
        PublishedNetwork("A", 20.0, 75.2 * 0.01, "phones"),
        PublishedNetwork("C", 31.5, 0.76, "Pixel 1"),
    ]


def test_a_row_cut_short_is_named(tmp_path: Path) -> None:
    path = tmp_path / "cut.csv"
    path.write_text("name,latency_ms,top1\nA,20,0.75\nB,2")
    with pytest.raises(InvalidInputError, match=r"cut\.csv line 3: 2 of 3 cells"):
        read_published(path, SPACE)


def test_the_frontier_of_a_run_is_one_of_architectures(tmp_path: Path) -> None:
    arch = str(SPACE.uniform(2, 3, 4))
    path = tmp_path / "frontier.csv"
    path.write_text(f'arch,latency_ms,top1\n"{arch}",20,0.75\n')
    assert read_published(path, SPACE) == [PublishedArchitecture(arch, 0.75)]
