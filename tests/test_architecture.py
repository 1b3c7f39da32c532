"""The direction of imports, kept by a test: no cycles, not even behind TYPE_CHECKING."""

from __future__ import annotations

import ast
import subprocess
import sys
from functools import cache
from pathlib import Path

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


ORDER = (
    ("errors",),
    ("core",),
    ("plugins", "storage", "allocation"),
    ("tasks",),
    ("data",),
    ("models",),
    ("network",),
    ("artifacts",),
    ("compression",),
    ("runtime", "training"),
    ("costs",),
    ("exporters",),
    ("problem",),
    ("search_spaces",),
    ("envs",),
    ("agents",),
    ("runs",),
    ("inspection",),
    ("reports",),
    ("api",),
    ("testing",),
    ("cli",),
    ("__main__",),
)
"""The floors of the house, from the ground up: a package imports from lower floors alone."""
FLOOR = {name: floor for floor, names in enumerate(ORDER) for name in names}


def room(module: str) -> str:
    """Returns the package or root module right below `autocomp` that a module lies in."""
    return module.split(".")[1]


def package_of(module: str) -> str:
    """Returns the folder that a module lies in; a package's face is a place of its own."""
    if module in files() and files()[module].name == "__init__.py":
        return f"{module} (face)"
    return module if module.count(".") == 1 else module.rpartition(".")[0]


def test_every_file_is_seen() -> None:
    assert {"autocomp", "autocomp.core.plan", "autocomp.costs", "autocomp.costs.size"} <= set(
        files()
    )
    assert len(files()) > 60
    assert "autocomp.network.analysis" in edges("autocomp.problem.problem")
    assert "autocomp.costs" in edges("autocomp.problem.problem")  # a package's own code runs, too


def test_nothing_lies_loose_at_the_root() -> None:
    loose = {file.name for file in (ROOT / "autocomp").glob("*.py")}
    assert loose == {"__init__.py", "__main__.py", "errors.py"}


def test_every_package_has_a_floor() -> None:
    rooms = {room(name) for name in files() if name != "autocomp"}
    assert rooms <= set(FLOOR), f"no floor in ORDER: {sorted(rooms - set(FLOOR))}"
    gone = set(FLOOR) - rooms - {"__main__"}
    assert not gone, f"in ORDER, but not in the package: {sorted(gone)}"


def test_packages_import_from_lower_floors_alone() -> None:
    wrong = [
        f"{name} imports {target}"
        for name in files()
        if name != "autocomp"
        for target in sorted(edges(name))
        if room(target) != room(name) and FLOOR[room(target)] >= FLOOR[room(name)]
    ]
    assert not wrong, "; ".join(wrong)


def test_there_is_no_cycle_of_modules() -> None:
    found = cycle({name: edges(name) for name in files() if name != "autocomp"})
    assert not found, " -> ".join(found)


def test_there_is_no_cycle_of_packages() -> None:
    graph: dict[str, set[str]] = {}
    for name in files():
        if name != "autocomp":
            own = package_of(name)
            targets = {package_of(t) for t, _ in _direct(name)} - {own}
            graph.setdefault(own, set()).update(targets)
    found = cycle(graph)
    assert not found, " -> ".join(found)


def _direct(name: str) -> list[tuple[str, bool]]:
    """Returns the modules of ours that a module names itself."""
    found = [(module_of(dotted), top) for dotted, top in imported(name)]
    return [(target, top) for target, top in found if target and target not in ("autocomp", name)]


STANDARD = {"__future__", "collections", "functools", "typing", "contextlib", "dataclasses", "copy",
            "heapq", "itertools"}  # fmt: skip


def test_allocation_works_on_bare_arrays() -> None:
    for name in below("autocomp.allocation"):
        heads = {dotted.partition(".")[0] for dotted, _ in imported(name)}
        assert heads <= {"numpy", "scipy", "autocomp"} | STANDARD, name


def test_the_vocabulary_knows_no_network_and_no_file() -> None:
    for name in below("autocomp.core"):
        dotted = {target for target, _ in imported(name)}
        wrong = [
            d for d in dotted if d.startswith(("torch.nn", "pathlib", "os.", "autocomp.storage"))
        ]
        assert not wrong, f"{name} imports {wrong}"


def test_nothing_imports_scripts_or_tests() -> None:
    for name in files():
        heads = {dotted.partition(".")[0] for dotted, _ in imported(name)}
        assert not heads & {"benchmarks", "tests", "examples", "agents", "envs", "search_spaces"}


OPTIONAL = {
    "torchvision", "timm", "datasets", "pyarrow", "PIL", "sklearn", "onnx", "onnxruntime", "plotly",
    "tensorly",
}  # fmt: skip


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
    """Others may write to a console that it gives them, but make none; a search's own bar does."""
    source = (
        "x = 'print(1)'\nprint(2)\nConsole().print(3)\nblueprint(4)\nconsole.print(5)\n"
        "sys.stderr.write(6)\nrich.console.Console()\n"
    )
    assert sorted(prints(source)) == [2, 3, 6, 7]
    for name, file in files().items():
        if name not in ("autocomp.__main__", "autocomp.api.progress", *below("autocomp.cli")):
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
    statement = "import autocomp.problem, autocomp.compression.loading"
    found = loaded_by(statement, "torch", "gymnasium", "optuna", "stable_baselines3", "sklearn")
    assert found == "torch"


BROAD = 25
"""How often the package may catch whatever is raised; raise it only for someone else's code."""


def broad(source: str) -> list[tuple[int, bool]]:
    """Returns the line of each handler that takes any Exception, and whether it says why."""
    lines = source.splitlines()
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ExceptHandler):
            kinds = node.type.elts if isinstance(node.type, ast.Tuple) else [node.type]
            if any(k is None or (isinstance(k, ast.Name) and k.id == "Exception") for k in kinds):
                found.append((node.lineno, "  # " in lines[node.lineno - 1]))
    return found


def test_whoever_catches_everything_says_why() -> None:
    source = (
        "try: pass\nexcept Exception: pass\ntry: pass\nexcept:  # so\n  pass\n"
        "try: pass\nexcept (OSError, Exception): pass\ntry: pass\nexcept OSError: pass\n"
    )
    assert broad(source) == [(2, False), (4, True), (7, False)]
    count = 0
    for name, file in files().items():
        for line, reason in broad(file.read_text(encoding="utf-8")):
            assert reason, f"{name}, line {line}: say which code may raise anything"
            count += 1
    assert count <= BROAD, f"{count} places catch everything"


def test_importing_the_contract_suites_is_light() -> None:
    statement = "import autocomp.testing; dir(autocomp.testing)"
    assert loaded_by(statement, *HEAVY, "pytest", "hypothesis") == ""
