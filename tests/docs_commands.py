"""Commands as the documentation writes them: found, expanded, and resolved in the app."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import typer

from pnag.cli.app import build_app

ROOT = Path(__file__).parent.parent
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")])
SHELL_FENCES = {"", "sh", "bash", "console"}


@dataclass(frozen=True)
class Command:
    """One command line of a page; `text` may still hold `[optional]` parts and alternatives."""

    page: str
    text: str
    inline: bool

    def __str__(self) -> str:
        return f"{self.page}: {self.text}"


def blocks(page: Path, languages: set[str]) -> list[tuple[str, str]]:
    """Fenced blocks of some languages as (title, content)."""
    found = []
    fence = re.compile(r'^( *)```(\w*)(?: title="(.+?)")?\n(.*?)^\1```$', re.M | re.S)
    for _, language, title, content in fence.findall(page.read_text(encoding="utf-8")):
        if language in languages:
            found.append((title, content))
    return found


def shell_lines(page: Path) -> list[str]:
    """Lines of all shell blocks, continuation lines joined."""
    text = "\n".join(content for _, content in blocks(page, SHELL_FENCES))
    # a line that begins deeper than column 0 continues the one before, in synopses
    return re.sub(r"\\\n\s*|\n {6,}", " ", text).splitlines()


def pnag_commands(page: Path) -> list[Command]:
    """Every `pnag ...` of a page, in blocks and inside sentences."""
    found = []
    name = page.name
    for line in shell_lines(page):
        start = re.search(
            r"(?:^|&& |--no-python |taskset -c \d |\.venv/bin/)(pnag(?:-profile|-train)? .*)", line
        )
        if start:
            found.append(Command(name, start[1].split(" #")[0].strip(), inline=False))
    outside = re.sub(r"^( *)```.*?^\1```$", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    for text in re.findall(r"`(pnag(?:-profile|-train)? [^`]+)`", outside):
        found.append(Command(name, " ".join(text.split()), inline=True))
    return found


def expanded(command: Command) -> list[list[str]]:
    """Arguments of the complete lines that a command stands for, without its optional parts."""
    text = command.text
    while "[" in text:
        text, n = re.subn(r"\[[^\[\]]*\]", "", text)
        if not n:
            break
    text = text.replace("pnag-", "pnag ", 1).replace("...", "")
    first, *others = [shlex.split(part) for part in text.split(" | ")]
    group = first[:2]
    return [first[1:], *([*group, *other][1:] for other in others)]


@cache
def app() -> Any:
    return typer.main.get_command(build_app())


def parsed(command: Any, name: str, own: list[str], *, resilient: bool = False) -> Any:
    """The context of a command below `app`, of which it keeps what names its help.

    Raises:
        click.UsageError: arguments that it does not take.
    """
    above = command.context_class(app(), **app().context_settings)
    return command.make_context(name, own, parent=above, resilient_parsing=resilient)


def resolve(arguments: list[str]) -> tuple[Any, list[str]]:
    """The command that arguments name, and its own arguments.

    Raises:
        KeyError: no such command.
    """
    command, rest = app(), list(arguments)
    while hasattr(command, "commands"):
        if not rest or rest[0].startswith("-"):
            break
        command, rest = command.commands[rest[0]], rest[1:]
    return command, rest


def option_names(command: Any) -> set[str]:
    names = {"--help", "--debug"}
    for parameter in command.params:
        names |= {*parameter.opts, *parameter.secondary_opts}
    return names


def all_commands(command: Any = None, path: str = "pnag") -> list[tuple[str, Any]]:
    """Every command of the app that does something, with its full name."""
    command = command or app()
    if not hasattr(command, "commands"):
        return [(path, command)]
    return [
        leaf
        for name, sub in command.commands.items()
        for leaf in all_commands(sub, f"{path} {name}")
    ]
