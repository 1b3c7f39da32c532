"""The documentation is run: Python for real, command lines through the real parser.

The Python blocks of a page run in order in one namespace, as a reader would type them, in an empty
folder. A page that defines test classes is given to pytest instead, as its reader is told to do.
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
PYTHON, SHELL = "python", "bash"
SHOWN = {"text", "toml", "json", "yaml"}
"""Languages of blocks that are only shown; what is Python and must not run is `text`."""
_FENCE = re.compile(r"(?P<indent> *)(?P<ticks>```+)(?P<language>[^\s`{]*)")
_LINK = re.compile(r"\]\((?!https?://|#)([^)#\s]+)")


class Block(NamedTuple):
    """A fenced block: its language, the line at which its text begins (from 1), and its text."""

    language: str
    line: int
    text: str


def blocks(source: str) -> Iterator[Block]:
    """Yields the fenced blocks of a page, also indented ones."""
    lines = source.splitlines()
    at = 0
    while at < len(lines):
        fence = _FENCE.match(lines[at])
        at += 1
        if fence is None:
            continue
        end = at
        while lines[end].strip() != fence["ticks"]:
            end += 1
        yield Block(fence["language"], at + 1, textwrap.dedent("\n".join(lines[at:end])) + "\n")
        at = end + 1


def python_of(page: Path) -> str:
    """Returns a page's Python, each statement at its own line of the page."""
    found: list[str] = []
    for block in blocks(page.read_text(encoding="utf-8")):
        if block.language == PYTHON:
            found += [""] * (block.line - 1 - len(found)) + block.text.splitlines()
    return "\n".join(found) + "\n"


def commands_of(page: Path) -> list[str]:
    """Returns the command lines of a page, comments and prompts excepted."""
    found: list[str] = []
    for block in blocks(page.read_text(encoding="utf-8")):
        if block.language == SHELL:
            joined = block.text.replace("\\\n", " ")
            found += [line for line in joined.splitlines() if shlex.split(line, comments=True)]
    return found


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def is_test_module(source: str) -> bool:
    return re.search(r"^class Test", source, re.MULTILINE) is not None


def with_python() -> list[Path]:
    return [page for page in PAGES if python_of(page).strip()]


def test_blocks_are_found_where_they_are() -> None:
    page = "a\n```python\nx = 1\n```\n- b\n  ````bash\n  autocomp agents\n  ````\n``` \nc\n```\n"
    assert list(blocks(page)) == [
        Block("python", 3, "x = 1\n"), Block("bash", 7, "autocomp agents\n"), Block("", 10, "c\n"),
    ]  # fmt: skip


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_block_says_what_it_is(page: Path) -> None:
    """Otherwise a block could be left out without anybody meaning it."""
    for block in blocks(page.read_text(encoding="utf-8")):
        assert block.language in {PYTHON, SHELL, *SHOWN}, (
            f"{name_of(page)}:{block.line}: a block is python, bash or one of {sorted(SHOWN)}"
        )


@pytest.mark.parametrize("page", with_python(), ids=name_of)
def test_the_python_of_a_page_runs(
    page: Path,
    tmp_path: Path,
    table_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    source = python_of(page)
    monkeypatch.chdir(tmp_path)
    if is_test_module(source):
        file = tmp_path / f"test_{page.stem.replace('-', '_')}.py"
        file.write_text(source, encoding="utf-8")
        run_pytest(file)
        return
    module = ModuleType("a_page")
    monkeypatch.setitem(sys.modules, "a_page", module)  # classes look for their module there
    exec(compile(source, str(page), "exec"), module.__dict__)


def run_pytest(file: Path) -> None:
    """Runs a file of tests in a process of its own, which leaves no plug-ins behind."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "pytest", "-q", "-W", "error", "-p",
         "no:cacheprovider", str(file)],
        capture_output=True, text=True, timeout=300, cwd=file.parent,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout, "no test was found"


class Parsed(BaseException):
    """Raised in place of running a command whose arguments were read."""


@pytest.mark.parametrize("page", [page for page in PAGES if commands_of(page)], ids=name_of)
def test_the_command_lines_of_a_page_are_understood(
    page: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for line in commands_of(page):
        for words in _commands(shlex.split(line, comments=True)):
            problem = _problem(words, monkeypatch, capsys)
            assert not problem, f"{name_of(page)}: `{line}`: {problem}"


def _commands(words: list[str]) -> Iterator[list[str]]:
    """Yields the commands that `&&` joins."""
    command: list[str] = []
    for word in [*words, "&&"]:
        if word == "&&":
            yield command
            command = []
        else:
            command.append(word)


def _problem(words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: Any) -> str:
    """Returns what is wrong with a command, or nothing."""
    program, *arguments = words
    if program == "autocomp":
        return _parse(arguments, monkeypatch, capsys)
    if program == "make":
        targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
        unknown = [x for x in arguments if "=" not in x and x not in targets]
        return f"the Makefile has no target {unknown}" if unknown else ""
    if program == "python" and arguments and arguments[0].endswith(".py"):
        return "" if (ROOT / arguments[0]).is_file() else "there is no such file"
    known = {"pip", "python", "pytest", "pre-commit", "optuna-dashboard", "tensorboard"}
    return "" if program in known else "the test does not know how to check this program"


def _parse(arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: Any) -> str:
    """Returns the parser's own complaint about the arguments of `autocomp`, or nothing."""
    from autocomp.cli import main

    whole = argparse.ArgumentParser.parse_args

    def parse_args(self: argparse.ArgumentParser, *given: Any, **more: Any) -> Any:
        whole(self, *given, **more)
        raise Parsed

    with monkeypatch.context() as patch:
        patch.setattr(argparse.ArgumentParser, "parse_args", parse_args)
        try:
            code = main(arguments)
        except Parsed:
            return ""
    return f"exit code {code}: {capsys.readouterr().err}"


def test_a_wrong_command_line_is_noticed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert not _parse(["search", "--model", "digits"], monkeypatch, capsys)
    assert "--modell" in _parse(["search", "--modell", "digits"], monkeypatch, capsys)
    assert _problem(["make", "coffee"], monkeypatch, capsys)
    assert _problem(["python", "benchmarks/none.py"], monkeypatch, capsys)
    assert _problem(["curl"], monkeypatch, capsys)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_to_files(page: Path) -> None:
    """`mkdocs build --strict` says so, too, but README.md is no page of the site."""
    for link in _LINK.findall(page.read_text(encoding="utf-8")):
        assert (page.parent / link).exists(), f"{name_of(page)} links to {link}"


def test_every_page_is_in_the_navigation() -> None:
    navigation = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    for page in PAGES:
        if page.is_relative_to(ROOT / "docs"):
            assert f"- {page.relative_to(ROOT / 'docs').as_posix()}\n" in navigation


def test_extensions_are_short() -> None:
    """Nothing on the page needs more than 25 lines, its imports included."""
    page = ROOT / "docs" / "tutorials" / "extend.md"
    for block in blocks(page.read_text(encoding="utf-8")):
        lines = [line for line in block.text.splitlines() if line.strip()]
        assert block.language != PYTHON or len(lines) <= 25, f"line {block.line}: {len(lines)}"


def test_promises_name_tests_that_there_are() -> None:
    """Every promise about files, folders and failures, and every test that is to keep it."""
    page = (ROOT / "docs" / "promises.md").read_text(encoding="utf-8")
    rows = [line for line in page.splitlines() if line.startswith("| ") and "---" not in line]
    promises = [row for row in rows if "Kept by" not in row]
    assert len(promises) > 15
    for row in promises:
        named = re.findall(r"`(tests/[\w/]+\.py)::(test_\w+)`", row.split(" | ")[-1])
        assert named, row
        for file, test in named:
            source = (ROOT / file).read_text(encoding="utf-8")
            assert re.search(rf"^\s*def {test}\(", source, re.MULTILINE), f"{file}::{test}"
