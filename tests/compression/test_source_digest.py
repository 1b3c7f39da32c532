"""Tables are made anew when any module changes that they depend on."""

from __future__ import annotations

import importlib.util
import shutil
import sys
from pathlib import Path

import pytest

from autocomp.compression.source_digest import COVERED, EXEMPT, covered_files, source_digest
from autocomp.compression.weights.base import Compressor
from tests.test_architecture import ROOT, imported, module_of

PACKAGE = ROOT / "autocomp"


def below(*names: str) -> set[str]:
    """Returns every module of ours that these import, and that those import."""
    found: set[str] = set()
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += filter(None, (module_of(dotted) for dotted, _ in imported(name)))
    return found - {"autocomp"}


def left_out(modules: set[str], covered: tuple[str, ...]) -> set[str]:
    """Returns the modules whose package is neither covered nor exempt."""
    return {m for m in modules if m.split(".")[1] not in (*covered, *EXEMPT)}


def test_every_module_below_a_problem_is_covered_or_exempt_with_a_reason() -> None:
    modules = below("autocomp.problem.problem")
    assert len(modules) > 100
    assert left_out(modules, COVERED) == set()
    packages = {m.split(".")[1] for m in modules}
    assert packages == {*COVERED, *EXEMPT}, "a package that is no longer below a problem"
    assert not {*COVERED} & {*EXEMPT}


@pytest.mark.parametrize("package", COVERED)
def test_a_package_that_is_left_out_is_found(package: str) -> None:
    rest = tuple(name for name in COVERED if name != package)
    assert left_out(below("autocomp.problem.problem"), rest)


def test_what_makes_tables_is_covered_not_exempt() -> None:
    """The modules that were missing once: estimates, calibration, apply and evaluate."""
    covered = {file.relative_to(PACKAGE).as_posix() for file in covered_files(PACKAGE)}
    assert {
        "problem/loss_estimates.py", "problem/sensitivity.py", "problem/scorer.py",
        "compression/calibration/moments.py", "compression/writer.py", "compression/store.py",
        "compression/weights/gptq.py", "network/scoring.py", "network/prefix_cache.py",
        "tasks/classification.py", "artifacts/scales.py", "core/quantized.py",
    } <= covered  # fmt: skip


def test_a_change_in_any_covered_file_changes_the_digest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = tmp_path / "autocomp"
    shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(
        sys.modules[source_digest.__module__], "__file__",
        str(copy / "compression" / "source_digest.py"),
    )  # fmt: skip
    digest = source_digest.__wrapped__
    first = digest()
    assert digest() == first
    seen = {first}
    files = covered_files(copy)
    for file in files:
        with file.open("a") as lines:
            lines.write("# changed\n")
        seen.add(digest())
    assert len(seen) == len(files) + 1
    (copy / "errors.py").write_text("# changed\n")
    assert digest() in seen


def test_another_package_s_compressor_counts(tmp_path: Path) -> None:
    file = tmp_path / "thirdparty.py"

    def kind(source: str) -> type:
        file.write_text(source)
        spec = importlib.util.spec_from_file_location("thirdparty", file)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules["thirdparty"] = module
        spec.loader.exec_module(module)
        return module.Mine  # type: ignore[no-any-return]

    source = (
        "from autocomp.compression.weights.base import Compressor\nclass Mine(Compressor): pass\n"
    )
    try:
        first = source_digest(kind(source))
        assert source_digest(kind(source)) == first != source_digest()
        assert source_digest(kind(source + "# changed\n")) != first
    finally:
        sys.modules.pop("thirdparty", None)
    assert source_digest(Compressor) == source_digest()
