from __future__ import annotations

from importlib.metadata import EntryPoint, EntryPoints

import pytest

from autocomp.errors import AutocompError, UnknownNameError, unknown
from autocomp.plugins import registry
from autocomp.plugins.registry import find, names, plugins

GROUP = "autocomp.toys"
BUILTIN = {"random": int, "evolution": float}


@pytest.fixture
def _plugged(monkeypatch: pytest.MonkeyPatch) -> None:
    points = EntryPoints(
        EntryPoint(name, value, GROUP)
        for name, value in [
            ("zeta", "collections:OrderedDict"),
            ("anneal", "collections:Counter"),
            ("random", "collections:deque"),
            ("gone", "no_such_module_anywhere:Thing"),
            ("without", "collections:NoSuchThing"),
        ]
    )
    monkeypatch.setattr(
        registry, "entry_points", lambda group: points if group == GROUP else EntryPoints()
    )


def test_a_builtin_is_found() -> None:
    assert find("agent", "random", BUILTIN, GROUP) is int
    assert names(BUILTIN, GROUP) == ["random", "evolution"]


@pytest.mark.parametrize(
    ("name", "near"),
    [("randm", "random"), ("Evolution", "evolution"), ("evolutionary", "evolution")],
)
def test_did_you_mean(name: str, near: str) -> None:
    with pytest.raises(UnknownNameError) as caught:
        find("agent", name, BUILTIN, GROUP)
    assert str(caught.value) == (
        f"There is no agent named {name!r}. Did you mean {near!r}? Known: random, evolution."
    )


def test_nothing_is_near() -> None:
    assert unknown("cost", "xyz", ["size"]) == "There is no cost named 'xyz'. Known: size."
    assert unknown("cost", "xyz", []) == "There is no cost named 'xyz'. Known: none."


@pytest.mark.usefixtures("_plugged")
def test_plugins_come_after_the_builtins() -> None:
    from collections import Counter

    assert names(BUILTIN, GROUP) == [
        "random", "evolution", "anneal", "gone", "without", "zeta",
    ]  # fmt: skip
    assert find("agent", "anneal", BUILTIN, GROUP) is Counter
    assert find("agent", "random", BUILTIN, GROUP) is int  # the built-in one wins
    assert sorted(plugins(GROUP)) == ["anneal", "gone", "random", "without", "zeta"]
    with pytest.raises(UnknownNameError, match="Did you mean 'anneal'"):
        find("agent", "aneal", BUILTIN, GROUP)


@pytest.mark.usefixtures("_plugged")
@pytest.mark.parametrize(
    ("name", "reason"), [("gone", "ModuleNotFoundError"), ("without", "AttributeError")]
)
def test_a_plugin_that_does_not_import(name: str, reason: str) -> None:
    with pytest.raises(AutocompError, match=f"agent plug-in '{name}' .*{reason}.*Repair") as caught:
        find("agent", name, BUILTIN, GROUP)
    assert not isinstance(caught.value, UnknownNameError) and "\n" not in str(caught.value)
