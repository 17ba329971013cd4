"""`pnag help`: the pages of the documentation as they are installed, and the help of commands."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Sequence
from importlib.resources import files
from typing import Annotated, Any

import typer

from profiler.cli.completion import one_of
from profiler.cli.options import shared_options
from profiler.errors import InvalidInputError
from profiler.terminal import Terminal

PAGES = files("pnag") / "docs"  # in a checkout a link to docs/, in a wheel a folder


def topics() -> list[str]:
    """Names of the pages."""
    names = (page.name for page in PAGES.iterdir())
    return sorted(name.removesuffix(".md") for name in names if name.endswith(".md"))


def completed(incomplete: str) -> list[str]:
    return one_of(*topics())(incomplete)


WordsArgument = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[TOPIC | COMMAND]", help="A page, or a command.", autocompletion=completed
    ),
]


def register(parent: typer.Typer) -> None:
    parent.command(name="help")(show_help)


@shared_options
def show_help(context: typer.Context, words: WordsArgument = None, *, terminal: Terminal) -> None:
    """Show a page of the documentation; without a topic, list them.

    The name of a command shows its options, as `--help` after it does.
    """
    if not words:
        titles = {topic: _text(topic).partition("\n")[0].removeprefix("# ") for topic in topics()}
        document = {"topics": [{"topic": topic, "title": titles[topic]} for topic in titles]}
        lines = [f"  {topic:13} {title}" for topic, title in titles.items()]
        terminal.result(document, "\n".join(["pnag help TOPIC shows a page:", *lines]))
        return
    name = " ".join(words)
    if name in topics():
        text = _text(name)
        terminal.result({"topic": name, "text": text}, _rendered(text))
        if name in _commands(context.find_root()):
            terminal.note(f"the options of the command: pnag {name} --help")
    else:
        text = _command_help(context.find_root(), words)
        terminal.result({"command": name, "text": text}, text)


def _text(topic: str) -> str:
    return (PAGES / f"{topic}.md").read_text(encoding="utf-8")


def _rendered(text: str) -> Any:
    """Set for a person to read, and as it is in a pipe."""
    if not sys.stdout.isatty():
        return text.rstrip()
    from rich.markdown import Markdown

    return Markdown(text, hyperlinks=False)


def _commands(context: Any) -> dict[str, Any]:
    """Of a group, by name; a command has none."""
    return getattr(context.command, "commands", {})


def _command_help(context: Any, words: Sequence[str]) -> str:
    """What `--help` prints after the words of a command.

    Raises:
        InvalidInputError: neither a page nor a command.
    """
    for word in words:
        known = _commands(context)
        if word not in known:
            names = dict.fromkeys([*known, *(() if context.parent else topics())])
            near = difflib.get_close_matches(word, names)
            meant = f"did you mean {' or '.join(near)}? " if near else ""
            raise InvalidInputError(
                f"no topic or command {' '.join(words)!r}; {meant}pnag help lists the topics"
            )
        context = known[word].make_context(word, [], parent=context, resilient_parsing=True)
    return str(context.command.get_help(context))
