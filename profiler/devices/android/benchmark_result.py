"""The binary file in which both benchmark tools leave their result (`--result_file_path`).

Format: tensorflow/lite/tools/benchmark/proto/benchmark_result.proto.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from profiler.devices.android.benchmark_lines import BenchmarkTimings, failure


def check_result_proto(data: bytes, timings: BenchmarkTimings) -> None:
    """Compare the binary result file (`--result_file_path`) with what was printed.

    Raises:
        MeasurementError: result_file_broken, or parse_mismatch when the two differ.
    """
    try:
        result = dict(_proto_fields(data))
        latency = dict(_proto_fields(_nested(result, 2)))
        misc = dict(_proto_fields(_nested(result, 4)))
        avg_ms, runs = latency[1], misc[2]
    except (KeyError, ValueError, IndexError, struct.error, TypeError) as error:
        raise failure(f"left a broken result file ({error!r})", "result_file_broken") from None
    if not isinstance(avg_ms, float) or runs != timings.runs:
        raise failure(f"reports {runs!r} runs, but printed {timings.runs}", "parse_mismatch")
    if abs(avg_ms - timings.latency_ms) > 1e-5 * timings.latency_ms:  # both are rounded
        raise failure(f"reports {avg_ms} ms, but printed {timings.latency_ms}", "parse_mismatch")


def _nested(fields: dict[int, int | float | bytes], number: int) -> bytes:
    value = fields[number]
    if not isinstance(value, bytes):
        raise ValueError(f"field {number} is not a message")
    return value


def _proto_fields(data: bytes) -> Iterator[tuple[int, int | float | bytes]]:
    """(number, value) of each field of one protobuf message (wire types 0, 1, 2 and 5)."""
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        number, wire_type = tag >> 3, tag & 7
        if wire_type == 0:
            value, at = _varint(data, at)
            yield number, value
        elif wire_type in (1, 5):
            size, form = (8, "<d") if wire_type == 1 else (4, "<f")
            yield number, float(struct.unpack_from(form, data, at)[0])
            at += size
        elif wire_type == 2:
            size, at = _varint(data, at)
            if at + size > len(data):
                raise ValueError("truncated")
            yield number, data[at : at + size]
            at += size
        else:
            raise ValueError(f"wire type {wire_type}")


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if not byte & 0x80:
            return value, at
