"""Options of the backends as options of a command; their classes say names, defaults and help."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Collection, Mapping
from dataclasses import Field, dataclass, fields
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin, get_type_hints

import typer

from profiler.cli.completion import one_of
from profiler.devices.backend import Backend
from profiler.devices.registry import backend_of, backends
from profiler.errors import InvalidInputError

R = TypeVar("R")

PLACE = "device_options"  # the parameter of a command that the options stand in for


@dataclass(frozen=True)
class DeviceOptions:
    """What a command line sets, by backend and field; what is at its default is left out."""

    given: Mapping[str, Mapping[str, Any]]

    def of(self, backend: Backend, **settings: object) -> dict[str, Any]:
        """Options of one backend; `settings` of the command are for its fields without a flag."""
        names = {field.name for field in fields(backend.options) if "flag" not in field.metadata}
        shared = {name: value for name, value in settings.items() if name in names}
        return {**shared, **self.given.get(backend.name, {})}

    def of_only(self, spec: str | None, option: str) -> dict[str, Any]:
        """Those of the one device that an option of the command names, if it names one.

        Raises:
            InvalidInputError: no such device, or an option of a backend that is not in use.
        """
        used = [] if spec is None else [backend_of(spec)]
        self.refuse_others(used, f"{option} {{}}")
        return self.of(*used) if used else {}

    def refuse_others(self, used: Collection[Backend], whose: str) -> None:
        """No option without its device; `whose` says in the message what it is for.

        Raises:
            InvalidInputError: an option of a backend that is not in use.
        """
        in_use = {backend.name for backend in used}
        for name in (name for name in self.given if name not in in_use):
            flags = [field.metadata["flag"] for field in flagged(backends()[name])]
            listed = " and ".join(filter(None, (", ".join(flags[:-1]), flags[-1])))
            verb = "is" if len(flags) == 1 else "are"
            raise InvalidInputError(f"{listed} {verb} for {whose.format(name)} only")


NONE = DeviceOptions({})


def flagged(backend: Backend) -> list[Field[Any]]:
    """The fields that are options of the command line."""
    return [field for field in fields(backend.options) if "flag" in field.metadata]


def takes_device_options(
    command: Callable[..., R], *, with_recorded: bool = True
) -> Callable[..., R]:
    """A command with the options of all backends in place of its parameter `device_options`.

    Without `with_recorded`, those that a table holds are left out.
    """
    options = {
        f"{backend.name}_{field.name}": (backend, field)
        for backend in backends().values()
        for field in flagged(backend)
        if with_recorded or not field.metadata["recorded"]
    }
    signature = inspect.signature(command, eval_str=True)
    parameters: list[inspect.Parameter] = []
    for parameter in signature.parameters.values():
        if parameter.name == PLACE:
            parameters += [_parameter(name, *option) for name, option in options.items()]
        else:
            parameters.append(parameter)

    @functools.wraps(command)
    def with_options(*args: Any, **values: Any) -> R:
        given: dict[str, dict[str, Any]] = {}
        for name, (backend, field) in options.items():
            value = values.pop(name)
            if value != field.default:
                given.setdefault(backend.name, {})[field.name] = value
        return command(*args, **{PLACE: DeviceOptions(given)}, **values)

    # what inspect.signature, and so Typer, reads
    with_options.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    return with_options


def _parameter(name: str, backend: Backend, field: Field[Any]) -> inspect.Parameter:
    hint = get_type_hints(backend.options)[field.name]
    kind = str if get_origin(hint) is Literal else hint  # the class itself names what it knows
    words = get_args(hint) if kind is str else ()
    option = typer.Option(
        field.metadata["flag"],
        help=field.metadata["help"],
        autocompletion=one_of(*words) if words else None,
    )
    return inspect.Parameter(
        name,
        inspect.Parameter.POSITIONAL_OR_KEYWORD,
        default=field.default,
        annotation=Annotated[kind, option],
    )
