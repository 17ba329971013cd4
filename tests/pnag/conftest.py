import pytest

from tests.pnag.profiled import profiled_run


@pytest.fixture(scope="session")
def profiled_folder(tmp_path_factory):
    """A run directory of the fake device, its table and journal beside it; to be read only."""
    return profiled_run(tmp_path_factory.mktemp("profiled"))
