"""Files that users give, read with one line for whatever is wrong with them.

What a file must hold is for its reader to check.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from profiler.errors import InvalidInputError

if TYPE_CHECKING:
    import pydantic
    import yaml

Model = TypeVar("Model", bound="pydantic.BaseModel")


@contextmanager
def opened(path: Path) -> Iterator[io.BufferedReader]:
    """A file to read from, within the block.

    Raises:
        InvalidInputError: unreadable.
    """
    try:
        with path.open("rb") as file:
            yield file
    except OSError as error:
        raise InvalidInputError(f"cannot read {path}: {error.strerror or error}") from None


def read_bytes(path: Path) -> bytes:
    """The bytes of a file.

    Raises:
        InvalidInputError: unreadable.
    """
    with opened(path) as file:
        return file.read()


def read_text(path: Path) -> str:
    """UTF-8 text, without the mark that spreadsheets put before it.

    Raises:
        InvalidInputError: unreadable or not text.
    """
    try:
        return read_bytes(path).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InvalidInputError(f"{path} is not text") from None


def read_json(path: Path, *, allow_nan: bool = True) -> Any:
    """The document of a JSON file.

    Raises:
        InvalidInputError: unreadable or not JSON.
    """
    return parse_json(read_text(path), path, allow_nan=allow_nan)


def parse_json(text: str, source: Path, *, allow_nan: bool = True) -> Any:
    """A document; JSON itself has no NaN or Infinity, but some writers do.

    Raises:
        InvalidInputError: not JSON.
    """
    try:
        return json.loads(text, parse_constant=None if allow_nan else _refuse_constant)
    except (ValueError, RecursionError) as error:
        raise InvalidInputError(f"{source} is not JSON (truncated?): {error}") from None


def parse_csv(text: str, source: Path) -> tuple[list[str], list[dict[str, str]]]:
    """Header and records; blank lines do not count.

    Raises:
        InvalidInputError: not CSV, or a record of more or fewer cells than the header.
    """
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    header: list[str] = []
    records = []
    try:
        for row in filter(None, reader):
            cells = [cell.strip() for cell in row]
            if not header:
                header = cells
            elif len(cells) != len(header):
                raise InvalidInputError(
                    f"{source} line {reader.line_num}: {len(cells)} of {len(header)} cells"
                )
            else:
                records.append(dict(zip(header, cells, strict=True)))
    except csv.Error as error:
        raise InvalidInputError(f"{source} is not CSV: {error}") from None
    return header, records


def read_yaml(path: Path) -> Any:
    """The document of a YAML file; a key given twice is refused.

    Raises:
        InvalidInputError: unreadable or not YAML.
    """
    import yaml

    try:
        return yaml.load(read_text(path), _unique_key_loader())
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        problem = getattr(error, "problem", None) or str(error).splitlines()[0]
        mark = getattr(error, "problem_mark", None)
        where = f" (line {mark.line + 1})" if mark else ""
        raise InvalidInputError(f"{path} is not YAML: {problem}{where}") from None


def check_schema(document: Any, schema: str, source: Path) -> None:
    """Refuse a document that does not carry `schema`.

    Raises:
        InvalidInputError: another schema, none, or no JSON object.
    """
    found = document.get("schema") if isinstance(document, dict) else type(document).__name__
    if found != schema:
        raise InvalidInputError(f"{source} has schema {found!r}, expected {schema!r}")


def validated(model: type[Model], document: Any, source: Path) -> Model:
    """The document as a pydantic model.

    Raises:
        InvalidInputError: the first field that is wrong.
    """
    import pydantic

    try:
        return model.model_validate(document)
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise InvalidInputError(f"{source}: {where}: {first['msg']}") from None


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not a number")


def _unique_key_loader() -> type[yaml.SafeLoader]:
    import yaml

    class UniqueKeys(yaml.SafeLoader):
        """Refuses a second value of a key, where YAML would silently take the last."""

        def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
            keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
            if len(set(keys)) < len(keys):
                twice = next(key for key in keys if keys.count(key) > 1)
                raise yaml.constructor.ConstructorError(
                    None, None, f"key {twice!r} is given twice", node.start_mark
                )
            return super().construct_mapping(node, deep)

    return UniqueKeys
