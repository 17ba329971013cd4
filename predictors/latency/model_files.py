"""Model files predicted from a table of kernels: what their runtime would run, asked here."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from predictors.latency.kernels import KernelPrediction, KernelPredictor
from profiler.devices.registry import backend_named
from profiler.errors import InvalidInputError, MeasurementError
from profiler.models.file import ModelFormat, check_names, read_model_file, runnable
from profiler.models.inputs import Shapes
from profiler.models.kernels import kernels_of
from profiler.system.processor import vector_instructions
from profiler.tables.table import LatencyTable


def predict_files(
    table: LatencyTable, paths: Sequence[Path], *, shapes: Shapes, confidence: float
) -> list[KernelPrediction]:
    """A prediction of each file.

    Args:
        shapes: by input, where axes are free.

    Raises:
        InvalidInputError: a file of another runtime, or that the runtime refuses; or a table
            whose kernels this machine cannot tell.
    """
    _check_formats(table, paths)
    files = [read_model_file(path) for path in paths]
    check_names(files, list(shapes), "--shape")
    predictor = KernelPredictor(table)
    predictions = []
    for file in files:
        model = runnable(file, shapes=shapes, arrays={}, batch_size=table.device.batch_size)
        try:
            kernels = kernels_of(model)
        except MeasurementError as error:
            raise InvalidInputError(f"{file.path}: {error}") from None
        predictions.append(predictor.predict(kernels, confidence=confidence))
    return predictions


def _check_formats(table: LatencyTable, paths: Sequence[Path]) -> None:
    """The graph that ONNX Runtime makes depends on the processor it makes it on."""
    device = table.device
    backend = backend_named(device.platform)
    formats = backend.model_formats if backend else ()
    for path in paths:
        if path.suffix.lower() not in formats:
            raise InvalidInputError(
                f"{path}: the table is of {device.runtime} on {device.platform}, which runs "
                f"{', '.join(formats) or 'no model files'}"
            )
    measured, here = table.protocol.get("vector_instructions"), vector_instructions()
    if ModelFormat.ONNX in formats and measured != here:
        raise InvalidInputError(
            f"the table was measured with {measured} instructions; this machine has {here}, and "
            "ONNX Runtime makes other kernels for it: predict on a machine like the table's"
        )
