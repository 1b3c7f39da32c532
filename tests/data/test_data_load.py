from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest
import torch

from autocomp.data import DATA, from_callable, load_data
from autocomp.errors import AutocompError, DataError, UnknownNameError
from autocomp.plugins import registry

SOURCE = """
import torch
from autocomp.data import as_splits

def splits():
    part = (torch.zeros(4, 1, 2, 2), torch.arange(4))
    return part, part, part

READY = as_splits(splits())

class Box:
    made = staticmethod(splits)

def raising():
    raise ValueError("no\\nsuch file")

def number():
    return 5

def needing(argument):
    return splits()

def quitting():
    raise SystemExit(3)
"""


@pytest.fixture
def user_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """Writes a module into the working directory, and forgets it after the test."""
    monkeypatch.chdir(tmp_path)

    def write(name: str, text: str) -> None:
        (tmp_path / f"{name}.py").write_text(text)
        monkeypatch.delitem(sys.modules, name, raising=False)

    write("autocomp_user_data", SOURCE)
    yield write  # type: ignore[misc]
    for name in ("autocomp_user_data", "autocomp_broken"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize("attribute", ["splits", "READY", "Box.made"])
def test_a_users_function_is_found_in_the_working_directory(
    user_module: object, attribute: str
) -> None:
    before = list(sys.path)
    splits = load_data(f"autocomp_user_data:{attribute}")
    assert splits.n_classes == 4 and splits.test.reads == 0
    assert sys.path == before


@pytest.mark.parametrize(
    ("attribute", "message"),
    [
        ("raising", "`autocomp_user_data:raising` raised ValueError: no such file"),
        ("quitting", "raised SystemExit: 3"),
        ("needing", "raised TypeError: .*argument"),
        ("number", "autocomp_user_data:number: a int is not a data set"),
        ("split", "no attribute 'split'. Did you mean 'splits'?"),
        ("Box.mode", "no attribute 'Box.mode'. Did you mean 'made'?"),
    ],
)
def test_a_users_function_that_fails(user_module: object, attribute: str, message: str) -> None:
    with pytest.raises(DataError, match=message.replace("?", r"\?")) as caught:
        from_callable(f"autocomp_user_data:{attribute}")
    assert "\n" not in str(caught.value)


def test_modules_that_do_not_import(user_module: Callable[[str, str], None]) -> None:
    with pytest.raises(DataError, match="there is no module 'autocomp_nowhere'"):
        load_data("autocomp_nowhere:splits")
    with pytest.raises(DataError, match="there is no module 'digit'. Did you mean 'digits'"):
        load_data("digit:splits")
    user_module("autocomp_broken", "import autocomp_nowhere_else")
    with pytest.raises(DataError, match="importing 'autocomp_broken' raised ModuleNotFound.*else"):
        load_data("autocomp_broken:splits")
    user_module("autocomp_broken", "def (:")
    with pytest.raises(DataError, match="importing 'autocomp_broken' raised SyntaxError"):
        load_data("autocomp_broken:splits")
    with pytest.raises(DataError, match="must read `package.module:attribute`.*'a b:c'"):
        from_callable("a b:c")


def test_names_and_paths() -> None:
    with pytest.raises(UnknownNameError, match="no data set named 'digts'. Did you mean 'digits'"):
        load_data("digts")
    with pytest.raises(UnknownNameError, match="'cifar-10'. Did you mean 'cifar10'"):
        load_data("cifar-10:/some/path")
    for name in DATA:
        if name != "digits":
            for spec in (name, f"{name}:"):
                with pytest.raises(DataError, match=f"'{name}' needs a path.*{name}:PATH"):
                    load_data(spec)
    with pytest.raises(DataError, match="'digits' takes no path, but got 'x'"):
        load_data("digits:x")
    with pytest.raises(DataError, match="a PosixPath is not a data set|a WindowsPath"):
        load_data(Path("digits"))


def test_objects_pass() -> None:
    part = (torch.zeros(3, 5), torch.arange(3))
    assert load_data((part, part, part)).n_classes == 3


def plugin(path: str = "none") -> Any:
    if path == "bad":
        raise OSError("disk")
    part = (torch.zeros(3, 5), torch.arange(3))
    return part, part, part


def test_plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    points = {
        "mine": EntryPoint("mine", f"{__name__}:plugin", "autocomp.data"),
        "gone": EntryPoint("gone", "autocomp_nowhere:f", "autocomp.data"),
    }
    monkeypatch.setattr(registry, "plugins", lambda group: points)
    monkeypatch.setitem(sys.modules, __name__, sys.modules.get(__name__) or _this_module())
    for spec in ("mine", "mine:some/path"):
        assert load_data(spec).name == "mine"
    with pytest.raises(DataError, match="`mine` raised OSError: disk"):
        load_data("mine:bad")
    with pytest.raises(AutocompError, match="plug-in 'gone'"):
        load_data("gone")


def _this_module() -> Any:
    from types import ModuleType

    module = ModuleType(__name__)
    module.plugin = plugin  # type: ignore[attr-defined]
    return module


def test_importing_loads_no_optional_library() -> None:
    heavy = {"pyarrow", "PIL", "sklearn", "datasets", "torchvision"}
    code = f"import autocomp.data, autocomp.models, sys; print({heavy} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
