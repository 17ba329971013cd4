import copy

from profiler.errors import InvalidInputError, MeasurementError


def test_a_failure_comes_back_whole_from_a_worker_process():
    error = MeasurementError("link lost", reason="link", transient=True)
    received = copy.copy(error)  # as pickling does it
    assert received is not error
    assert (str(received), received.reason, received.transient) == ("link lost", "link", True)


def test_what_a_library_says_in_several_lines_is_one():
    assert str(InvalidInputError("damaged: 1 error\n  extra field\n")) == (
        "damaged: 1 error   extra field"
    )
