"""The direction of imports, kept by a test: no cycles, not even behind TYPE_CHECKING."""

from __future__ import annotations

import ast
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = {
    "autocomp": ROOT / "autocomp",
    "autocomp.agents": ROOT / "agents",
    "autocomp.envs": ROOT / "envs",
    "autocomp.search_spaces": ROOT / "search_spaces",
}
Import = tuple[str, bool]
"""An imported dotted name, and whether it stands at the top of its module."""


@cache
def files() -> dict[str, Path]:
    """Returns module name -> file for everything that the package ships."""
    found = {}
    for package, folder in FOLDERS.items():
        for file in folder.rglob("*.py"):
            parts = file.relative_to(folder).with_suffix("").parts
            name = ".".join((package, *parts)).removesuffix(".__init__")
            found[name] = file
    return found


def imports(source: str, package: str) -> list[Import]:
    """Returns every import of a module, also in functions and under TYPE_CHECKING."""
    tree = ast.parse(source)
    top = {id(node) for node in ast.walk(tree)} - {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
        for inner in ast.walk(node)
    }
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [(alias.name, id(node) in top) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*parents, *([node.module] if node.module else [])])
            found += [(f"{base}.{alias.name}", id(node) in top) for alias in node.names]
    return found


@cache
def imported(name: str) -> list[Import]:
    file = files()[name]
    package = name if file.name == "__init__.py" else name.rpartition(".")[0]
    return imports(file.read_text(encoding="utf-8"), package)


def module_of(dotted: str, known: dict[str, Path] | None = None) -> str | None:
    """Returns the module that a dotted name lies in, or None if it is not one of ours."""
    known = files() if known is None else known
    while dotted and dotted not in known:
        dotted = dotted.rpartition(".")[0]
    return dotted or None


def edges(name: str) -> set[str]:
    """Returns the modules that importing `name` makes Python run, without the root package.

    Importing a.b.c from outside of a.b runs a.b, too; from within, it runs already.
    """
    found = set()
    for dotted, _ in imported(name):
        target = module_of(dotted)
        while target and target != "autocomp":
            found.add(target)
            target = target.rpartition(".")[0]
            if name == target or name.startswith(f"{target}."):
                break
    return found - {name}


def cycle(graph: dict[str, set[str]]) -> list[str]:
    """Returns the modules of a cycle in order, or nothing."""
    done: set[str] = set()
    path: list[str] = []

    def visit(node: str) -> list[str]:
        if node in path:
            return [*path[path.index(node) :], node]
        if node in done:
            return []
        path.append(node)
        for target in sorted(graph.get(node, ())):
            found = visit(target)
            if found:
                return found
        path.pop()
        done.add(node)
        return []

    for node in sorted(graph):
        found = visit(node)
        if found:
            return found
    return []


def below(prefix: str) -> list[str]:
    return [name for name in files() if name == prefix or name.startswith(f"{prefix}.")]


def test_the_test_itself_sees_cycles() -> None:
    assert cycle({"a": {"b"}, "b": {"c"}, "c": {"a"}}) == ["a", "b", "c", "a"]
    assert cycle({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == []
    source = (
        "import os.path, a.b as c\nfrom . import d\nfrom .e import f\nfrom ..g import h\n"
        "if TYPE_CHECKING:\n    from i import j\n"
        "def function():\n    from k import l\n    import m\n"
        "class Thing:\n    import n\n"
    )
    assert set(imports(source, "x.y")) == {
        ("os.path", True), ("a.b", True), ("x.y.d", True), ("x.y.e.f", True), ("x.g.h", True),
        ("n", True), ("i.j", True), ("k.l", False), ("m", False),
    }  # fmt: skip
    known = {"x": Path(), "x.y": Path()}
    assert module_of("x.y.Thing.method", known) == "x.y" and module_of("z.y", known) is None


def test_every_file_is_seen() -> None:
    assert {"autocomp", "autocomp.plan", "autocomp.costs", "autocomp.costs.size"} <= set(files())
    assert len(files()) > 60
    assert "autocomp.analysis" in edges("autocomp.problem")
    assert "autocomp.costs" in edges("autocomp.problem")
    for package in ("autocomp.agents", "autocomp.envs", "autocomp.search_spaces"):
        assert len(below(package)) > 3, f"{package} holds no modules"


def test_no_cycles() -> None:
    found = cycle({name: edges(name) for name in files() if name != "autocomp"})
    assert not found, "imports go round: " + " -> ".join(found)


SEARCH = ("autocomp.search_spaces", "autocomp.envs", "autocomp.agents")
TOP = ("autocomp.cli", "autocomp.__main__", "autocomp.searcher")
WAIST = ("autocomp.problem",)


@pytest.mark.parametrize(
    ("who", "never"),
    [
        ("autocomp.search_spaces", (*WAIST, "autocomp.envs", "autocomp.agents", *TOP)),
        ("autocomp.envs", ("autocomp.agents", "autocomp.config", *TOP)),
        ("autocomp.agents", ("autocomp.config", *TOP)),
        *((name, (*SEARCH, *TOP)) for name in (
            "autocomp.problem", "autocomp.runs", "autocomp.report.progress",
            "autocomp.compressors", "autocomp.costs", "autocomp.artifacts", "autocomp.data",
            "autocomp.models",
        )),
        *((name, (*SEARCH, *TOP, *WAIST)) for name in (
            "autocomp.compressors", "autocomp.costs", "autocomp.artifacts", "autocomp.budget",
            "autocomp.apply", "autocomp.evaluate", "autocomp.options", "autocomp.analysis",
            "autocomp.feasibility", "autocomp.norms", "autocomp.outcome", "autocomp.data",
            "autocomp.models", "autocomp.runs", "autocomp.solver",
        )),
        ("autocomp.searcher", ("autocomp.cli", "autocomp.__main__")),
        ("autocomp.compressors", ("autocomp.costs", "autocomp.artifacts", "autocomp.budget")),
        ("autocomp.calibration", ("autocomp.compressors", "autocomp.costs", "autocomp.budget")),
    ],
)  # fmt: skip
def test_direction(who: str, never: tuple[str, ...]) -> None:
    assert below(who), f"{who} does not exist"
    wrong = [
        f"{name} imports {target}"
        for name in below(who)
        for target in sorted(edges(name))
        if any(target == banned or target.startswith(f"{banned}.") for banned in never)
    ]
    assert not wrong, "; ".join(wrong)


@pytest.mark.parametrize(
    ("who", "only"),
    [
        ("autocomp.errors", set()),
        ("autocomp.plan", {"autocomp.errors"}),
        ("autocomp.registry", {"autocomp.errors"}),
        ("autocomp.layers", {"autocomp.errors", "autocomp.plan", "autocomp.registry"}),
        ("autocomp.budget", {"autocomp.errors"}),
        ("autocomp.feasibility", {"autocomp.errors"}),
        ("autocomp.additive", {"autocomp.errors"}),
        ("autocomp.dynamic_program", {"autocomp.errors", "autocomp.additive"}),
        ("autocomp.integer_program", {"autocomp.errors", "autocomp.additive"}),
        (
            "autocomp.solver",
            {
                "autocomp.additive",
                "autocomp.dynamic_program",
                "autocomp.integer_program",
            },
        ),
        ("autocomp.outcome", {"autocomp.errors", "autocomp.plan"}),
    ],
)
def test_the_bottom_stays_at_the_bottom(who: str, only: set[str]) -> None:
    assert edges(who) <= only


@pytest.mark.parametrize("name", ["additive", "dynamic_program", "integer_program", "solver"])
def test_the_solver_works_on_bare_arrays(name: str) -> None:
    heads = {dotted.partition(".")[0] for dotted, _ in imported(f"autocomp.{name}")}
    standard = {"__future__", "collections", "functools", "typing"}
    assert heads <= {"numpy", "scipy", "autocomp"} | standard


def test_nothing_imports_scripts_or_tests() -> None:
    for name in files():
        heads = {dotted.partition(".")[0] for dotted, _ in imported(name)}
        assert not heads & {"benchmarks", "tests", "examples", "agents", "envs", "search_spaces"}


OPTIONAL = {"torchvision", "timm", "datasets", "pyarrow", "PIL", "sklearn", "onnx", "onnxruntime"}


def test_optional_libraries_are_imported_where_they_are_used() -> None:
    for name in files():
        at_top = {dotted.partition(".")[0] for dotted, top in imported(name) if top}
        assert not at_top & OPTIONAL, name


def prints(source: str) -> list[int]:
    """Returns the lines that print, make a console, or name a standard stream."""
    found = []
    for node in ast.walk(ast.parse(source)):
        name = ast.unparse(node.func if isinstance(node, ast.Call) else node)
        makes = isinstance(node, ast.Call) and (name == "print" or name.endswith("Console"))
        if makes or (isinstance(node, ast.Attribute) and name in ("sys.stdout", "sys.stderr")):
            found.append(node.lineno)
    return found


def test_only_the_command_line_prints() -> None:
    """Others may write to a console that it gives them, but make none."""
    source = (
        "x = 'print(1)'\nprint(2)\nConsole().print(3)\nblueprint(4)\nconsole.print(5)\n"
        "sys.stderr.write(6)\nrich.console.Console()\n"
    )
    assert sorted(prints(source)) == [2, 3, 6, 7]
    for name, file in files().items():
        if name not in ("autocomp.cli", "autocomp.__main__", *below("autocomp.commands")):
            lines = prints(file.read_text(encoding="utf-8"))
            assert not lines, f"{name} prints in line {lines}"


def loaded_by(statement: str, *watched: str) -> str:
    """Returns which of the libraries a fresh Python has loaded after `statement`."""
    code = f"{statement}\nimport sys\nprint(*sorted(set(sys.modules) & {set(watched)!r}))"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        capture_output=True, text=True, check=True, timeout=60, cwd=ROOT,
    )  # fmt: skip
    return done.stdout.strip()


HEAVY = ("torch", "numpy", "gymnasium", "optuna", "stable_baselines3", "safetensors", "sklearn")


def test_importing_the_package_is_light() -> None:
    assert loaded_by("import autocomp", *HEAVY) == ""
    assert loaded_by("import autocomp; autocomp.__version__; dir(autocomp)", *HEAVY) == ""


def test_the_problem_needs_no_search_library() -> None:
    statement = "import autocomp.problem, autocomp.artifacts.model_file"
    found = loaded_by(statement, "torch", "gymnasium", "optuna", "stable_baselines3", "sklearn")
    assert found == "torch"
