"""`pnag help`, -h, and that whatever an error sends a user to is there."""

import ast
import json
import re

import pytest

from pnag.cli.app import run
from tests.docs_commands import ROOT, all_commands

PAGES = {path.stem: path.read_text() for path in (ROOT / "docs").glob("*.md")}


def printed(capsys, *arguments):
    assert run(arguments) == 0
    return capsys.readouterr().out


def test_topics_are_the_pages_of_the_documentation(capsys):
    document = json.loads(printed(capsys, "help", "--json"))
    titles = {row["topic"]: row["title"] for row in document["topics"]}
    assert titles.keys() == PAGES.keys()
    listed = printed(capsys, "help")
    for topic, title in titles.items():
        assert PAGES[topic].startswith(f"# {title}\n")
        assert re.search(rf"^  {topic} +{re.escape(title)}$", listed, re.M)


@pytest.mark.parametrize("topic", ["android", "report"])
def test_a_topic_is_the_page_as_it_is_written(topic, capsys):
    assert run(["help", topic]) == 0
    out, err = capsys.readouterr()
    assert out == PAGES[topic].rstrip() + "\n"
    assert ("pnag report --help" in err) == (topic == "report")  # which is a command as well


def test_a_person_gets_the_page_set_for_the_terminal(capsys, monkeypatch):
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "80")
    text = printed(capsys, "help", "tflite")
    assert "LiteRT (TensorFlow Lite)" in text
    assert "# LiteRT" not in text and "```" not in text


def test_the_name_of_a_command_gives_its_options(capsys):
    for words in (["generate"], ["table", "show"], ["space"]):
        usage = printed(capsys, "help", *words)
        assert usage.startswith(f"Usage: pnag {' '.join(words)} [OPTIONS]")
        for option in ("-h", "--help"):
            assert printed(capsys, *words, option) == usage


@pytest.mark.parametrize(
    ("words", "near"),
    [
        (["andriod"], "did you mean android? "),
        (["reprot"], "did you mean report? "),
        (["table", "shwo"], "did you mean show? "),
        (["generate", "--", "x"], ""),
        (["qqq"], ""),
    ],
)
def test_other_words_are_one_line_with_what_is_like_them(words, near, capsys):
    assert run(["help", *words]) == 2
    named = " ".join(word for word in words if word != "--")
    line = f"pnag: no topic or command {named!r}; {near}pnag help lists the topics\n"
    assert capsys.readouterr() == ("", line)


def messages():
    """Every text in the packages that names a page, and that not only readers of the code see."""
    for package in ("profiler", "predictors", "pnag"):
        for path in sorted((ROOT / package).rglob("*.py")):
            source = path.read_text(encoding="utf-8")
            if not re.search("docs/|pnag help", source):
                continue
            tree = ast.parse(source)
            # a statement that is only a text is a docstring
            unseen = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
            constants = (node for node in ast.walk(tree) if isinstance(node, ast.Constant))
            for node in constants:
                if isinstance(node.value, str) and id(node) not in unseen:
                    yield path.relative_to(ROOT), node.value


def test_messages_name_topics_that_exist_and_no_files_of_the_repository():
    known = PAGES.keys() | {"TOPIC"} | {name.split()[1] for name, _ in all_commands()}
    named = []
    for path, text in messages():
        assert "docs/" not in text, f"{path}: {text}"
        topics = re.findall(r"pnag help (?!lists\b|shows\b)(\S+?)\b", text)
        assert set(topics) <= known, f"{path}: {text}"
        named += topics
    assert "android" in named
