"""Files that users give, read with one line for whatever is wrong with them.

What a file must hold is for its reader to check.
"""

from __future__ import annotations

import ast
import io
import json
import math
import re
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from profiler.errors import InvalidInputError

if TYPE_CHECKING:
    import pydantic
    import yaml

_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]*)$")
_FLOAT = re.compile(
    r"([-+]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN))$"
)
# what PyYAML raises of a value that does not fit its tag, beside errors of its own
UNFIT = (AttributeError, LookupError, TypeError, OverflowError)
MAX_DIGITS = 300  # of a whole number that a float can hold
MAX_YAML_NODES = 1_000_000  # with every alias written out

Model = TypeVar("Model")
_ADAPTERS: dict[type, pydantic.TypeAdapter[Any]] = {}  # making one takes longer than its use


@contextmanager
def opened(path: Path, what: str = "") -> Iterator[io.BufferedReader]:
    """A file to read from, within the block; `what` it is, for who cannot read it.

    Raises:
        InvalidInputError: unreadable.
    """
    try:
        with path.open("rb") as file:
            yield file
    except OSError as error:
        named = f"{what} {path}" if what else path
        raise InvalidInputError(f"cannot read {named}: {error.strerror or error}") from None


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
        InvalidInputError: not JSON, or a key is given twice.
    """
    try:
        return json.loads(
            text,
            parse_constant=None if allow_nan else _refuse_constant,
            parse_float=None if allow_nan else _finite,
            object_pairs_hook=_unique_keys,
            parse_int=_integer,
        )
    except (ValueError, RecursionError) as error:
        raise InvalidInputError(f"{source} is not JSON (truncated?): {error}") from None


def read_json_lines(path: Path) -> list[dict[str, Any]]:
    """The objects of a file that has one in each line, as logs and journals do.

    Lines that are none do not count: a kill may have cut one short.

    Raises:
        InvalidInputError: unreadable or not text.
    """
    found = []
    for line in read_text(path).splitlines():
        with suppress(ValueError, RecursionError):
            document = json.loads(line)
            found += [document] if isinstance(document, dict) else []
    return found


def parse_literal(text: str) -> Any:
    """JSON, or what Python prints of dicts, lists, numbers and text.

    Raises:
        ValueError: neither of the two, or a key is given twice.
    """
    try:
        return json.loads(text, object_pairs_hook=_unique_keys)
    except json.JSONDecodeError as error:
        no_json = error
    except RecursionError as error:
        raise ValueError(str(error)) from None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SyntaxWarning)  # of 1if, which is refused anyway
            tree = ast.parse(text.strip(), mode="eval")
        literal = ast.literal_eval(tree)
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
        raise ValueError(str(no_json)) from None
    for node in ast.walk(tree):
        if isinstance(node, ast.Dict):
            _unique_keys((ast.unparse(key), None) for key in node.keys if key)
    return literal


def read_yaml(path: Path) -> Any:
    """The document of a YAML or JSON file; a key given twice is refused.

    Numbers are those of YAML 1.2, and so of JSON: 1.1 reads 9e-05 as text, 1:30 as 90 and 010
    as 8. Tabs may indent, as in JSON.

    Raises:
        InvalidInputError: unreadable or not YAML.
    """
    import yaml

    text = read_text(path).expandtabs()
    try:
        return yaml.load(text, _loader())
    except (yaml.YAMLError, ValueError, RecursionError, *UNFIT) as error:
        problem = getattr(error, "problem", None) or str(error).splitlines()[0]
        if isinstance(error, UNFIT):
            problem = f"a value does not fit its tag ({problem})"
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
    """The document as a pydantic model or a dataclass; true and "1.5" are no numbers.

    Raises:
        InvalidInputError: the first field that is wrong.
    """
    import pydantic

    if model not in _ADAPTERS:
        _ADAPTERS[model] = pydantic.TypeAdapter(model)
    try:
        # as JSON: only there a strict tuple may be a list, and an enumeration a string
        valid: Model = _ADAPTERS[model].validate_json(json.dumps(document), strict=True)
        return valid
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise InvalidInputError(f"{source}: {where}: {first['msg']}") from None
    except RecursionError as error:
        raise InvalidInputError(f"{source}: {error}") from None


def _integer(digits: str) -> int:
    if len(digits) > MAX_DIGITS:
        raise ValueError(f"a number of {len(digits)} digits")
    return int(digits)


def _finite(text: str) -> float:
    value = float(text)
    if math.isinf(value):  # 1e999
        raise ValueError(f"{text} is too large a number")
    return value


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not a number")


def _unique_keys(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """An object, unless JSON would silently take the last of two values of a key."""
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"key {key!r} is given twice")
        found[key] = value
    return found


def _loader() -> type[yaml.SafeLoader]:
    import yaml

    class Loader(yaml.SafeLoader):
        """Refuses a second value of a key, where YAML would silently take the last, and aliases
        that stand for more than any file holds.
        """

        def get_single_node(self) -> yaml.Node | None:
            node = super().get_single_node()
            if node is not None and _n_written_out(node, {}) > MAX_YAML_NODES:
                raise yaml.YAMLError("its aliases stand for endless data")
            return node

        def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
            keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
            if len(set(keys)) < len(keys):
                twice = next(key for key in keys if keys.count(key) > 1)
                raise yaml.constructor.ConstructorError(
                    None, None, f"key {twice!r} is given twice", node.start_mark
                )
            return super().construct_mapping(node, deep)

    numbers = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")
    Loader.yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in resolvers if tag not in numbers]
        for first, resolvers in Loader.yaml_implicit_resolvers.items()
    }
    for tag, pattern in zip(numbers, (_INTEGER, _FLOAT), strict=True):
        Loader.add_implicit_resolver(tag, pattern, list("-+.0123456789"))
    return Loader


def _n_written_out(node: yaml.Node, known: dict[int, int]) -> int:
    """Nodes of a document once each alias is replaced by what it stands for."""
    if id(node) not in known:
        known[id(node)] = MAX_YAML_NODES + 1  # if it is asked for meanwhile, it holds itself
        parts = node.value if isinstance(node.value, list) else []
        children = [
            child for part in parts for child in (part if isinstance(part, tuple) else (part,))
        ]
        known[id(node)] = 1 + sum(_n_written_out(child, known) for child in children)
    return known[id(node)]
