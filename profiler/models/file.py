"""A model file as something to run: what it is, what it takes, and values for that.

The runtime reads the file as it is, so that nothing has to be understood to be measured.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from enum import StrEnum
from io import SEEK_END
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from profiler.errors import InvalidInputError, MeasurementError
from profiler.graph.litert import load_runtime
from profiler.models.fresh_process import in_fresh_process
from profiler.models.inputs import (
    ModelInput,
    Shapes,
    Values,
    check_elements,
    draw_values,
    given_values,
    resolve_shapes,
)
from profiler.models.onnx_runtime import OnnxSession, onnx_runtime
from profiler.models.tflite import Interpreter
from profiler.printable import shown
from profiler.system.user_files import opened

if TYPE_CHECKING:
    from onnx import GraphProto, TensorProto


class ModelFormat(StrEnum):
    """Formats by the end of a file's name."""

    ONNX = ".onnx"
    TFLITE = ".tflite"


@dataclass(frozen=True, slots=True)
class ModelFile:
    """A file that its runtime has read.

    Attributes:
        sha256: of the file alone, without weights that lie beside it.
        n_bytes: with them.
        weights_beside: files that they lie in.
    """

    path: Path
    format: ModelFormat
    sha256: str
    n_bytes: int
    inputs: tuple[ModelInput, ...]
    weights_beside: tuple[Path, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class RunnableModel:
    """A model file with a value for each input.

    Attributes:
        digest: hash of the file, the weights beside it, and the values.
        given: whether some of the values are the user's own.
    """

    file: ModelFile
    values: Values
    digest: str
    given: bool = False


class LoadedModel(Protocol):
    """A model in its runtime, inputs set."""

    def run(self, runs: int = 1) -> None:
        """Inferences back to back. Raises MeasurementError: one failed."""
        ...

    def close(self) -> None: ...


def read_model_file(path: Path) -> ModelFile:
    """What the file's runtime says of it.

    Raises:
        InvalidInputError: no such file, of another format, not a model, or with inputs that
            are no tensors of numbers.
        DeviceUnavailableError: the runtime is not installed.
    """
    suffix = path.suffix.lower()
    if suffix not in list(ModelFormat):
        raise InvalidInputError(f"{path} is not a model file; known: {', '.join(ModelFormat)}")
    model_format = ModelFormat(suffix)
    with opened(path) as content:
        sha256 = hashlib.file_digest(content, "sha256").hexdigest()
    beside = _weights_beside(path) if model_format is ModelFormat.ONNX else ()
    try:
        if model_format is ModelFormat.ONNX:
            inputs = inputs_of(path)
        else:  # LiteRT checks no file: one that is damaged can end the process
            inputs = in_fresh_process(inputs_of, path)
    except MeasurementError as error:
        died = error.reason == "process_died"
        why = "the runtime died of it; is it damaged?" if died else error
        raise InvalidInputError(f"{path}: {why}") from None
    check_elements(inputs, str(path))
    n_bytes = path.stat().st_size
    for weights in beside:
        with opened(weights, "weights") as content:
            n_bytes += content.seek(0, SEEK_END)
    return ModelFile(path, model_format, sha256, n_bytes, inputs, beside)


def inputs_of(path: Path) -> tuple[ModelInput, ...]:
    """As the runtime of its format has them. Raises MeasurementError where it refuses the file."""
    with closing(_open(path, ModelFormat(path.suffix.lower()))) as model:
        return model.inputs


def runnable(
    file: ModelFile, *, shapes: Shapes, arrays: Values, batch_size: int = 1, seed: int = 0
) -> RunnableModel:
    """The model with a value for each input: the user's own, else seeded random ones.

    Args:
        shapes: by input, where axes are free; names of other models' inputs are ignored.
        arrays: by input, as `shapes`.

    Raises:
        InvalidInputError: a shape or array does not fit, axes are still free, or weights beside
            the file cannot be read.
    """
    name = str(file.path)
    shapes = {**shapes, **{given: array.shape for given, array in arrays.items()}}
    resolved = resolve_shapes(file.inputs, shapes, batch_size=batch_size, model=name)
    values = {
        one.name: given_values(one, arrays[one.name], name)
        if one.name in arrays
        else draw_values(one, resolved[one.name], seed=seed)
        for one in file.inputs
    }
    given = any(one.name in arrays for one in file.inputs)
    return RunnableModel(file, values, _digest(file, values), given)


def check_names(files: Sequence[ModelFile], names: Sequence[str], option: str) -> None:
    """Refuse names that no model has as an input."""
    known = list(dict.fromkeys(one.name for file in files for one in file.inputs))
    for name in names:
        if name not in known:
            raise InvalidInputError(
                f"{option}: no model has an input {name!r}; known: {', '.join(known)}"
            )


def load(model: RunnableModel, *, threads: int, gpu: int | None = None) -> LoadedModel:
    """The model in the runtime of its format, ready to run; an ONNX file also on a GPU.

    Raises:
        MeasurementError: the runtime refuses it.
    """
    loaded = _open(model.file.path, model.file.format, threads=threads, gpu=gpu)
    loaded.bind(model.values)
    return loaded


def import_runtime(model_format: ModelFormat) -> None:
    """So that loading a first model does not include it.

    Raises:
        DeviceUnavailableError: it is not installed.
    """
    if model_format is ModelFormat.ONNX:
        onnx_runtime()
    else:
        load_runtime()


def _open(
    path: Path, model_format: ModelFormat, *, threads: int = 1, gpu: int | None = None
) -> OnnxSession | Interpreter:
    if model_format is ModelFormat.ONNX:
        return OnnxSession(path, threads=threads, gpu=gpu)
    return Interpreter(path, threads=threads)


def _weights_beside(path: Path) -> tuple[Path, ...]:
    """Files that an ONNX file says its weights lie in.

    Raises:
        InvalidInputError: one lies elsewhere; a file may not have others of this machine read.
    """
    import onnx
    from google.protobuf.message import DecodeError

    try:
        model = onnx.load(str(path), load_external_data=False)
    except DecodeError:
        return ()  # the runtime says what it is
    places = {
        path.parent / entry.value
        for tensor in _tensors(model.graph)
        for entry in tensor.external_data
        if entry.key == "location"
    }
    # where the file is a link, as a cache of downloads has it, they may lie beside what it leads to
    folders = {path.parent.resolve(), path.resolve().parent}
    for place in places:
        if folders.isdisjoint(_parents(place)):
            raise InvalidInputError(
                f"{path}: its weights are said to lie in {shown(str(place))}, outside its folder"
            )
    return tuple(sorted(places))


def _parents(place: Path) -> Sequence[Path]:
    """Folders that a file lies in; none where it cannot lie."""
    try:
        return place.resolve().parents
    except (OSError, RuntimeError, ValueError):  # a link to itself, or no name
        return ()


def _tensors(graph: GraphProto) -> Iterator[TensorProto]:
    """The stored tensors of a graph, of its nodes and of the graphs inside them."""
    yield from graph.initializer
    for attribute in (attribute for node in graph.node for attribute in node.attribute):
        yield from (attribute.t, *attribute.tensors)
        for inner in (attribute.g, *attribute.graphs):
            yield from _tensors(inner)


def _digest(file: ModelFile, values: Values) -> str:
    digest = hashlib.sha256(file.sha256.encode())
    for weights in file.weights_beside:
        with opened(weights, "weights") as content:
            digest.update(hashlib.file_digest(content, "sha256").digest())
    for name, value in sorted(values.items()):
        digest.update(f"{name} {value.dtype} {value.shape} ".encode())
        digest.update(value.tobytes())
    return digest.hexdigest()
