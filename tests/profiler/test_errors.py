import pickle

from profiler.errors import MeasurementError


def test_a_failure_comes_back_whole_from_a_worker_process():
    error = MeasurementError("link lost", reason="link", transient=True)
    copy = pickle.loads(pickle.dumps(error))
    assert (str(copy), copy.reason, copy.transient) == ("link lost", "link", True)
