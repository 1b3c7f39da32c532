"""What is installed without extras, and with less, is enough for what it should be."""

from __future__ import annotations

import importlib.metadata
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import torch

from autocomp.artifacts.container import unpack
from autocomp.core.choice import Choice
from autocomp.core.plan import Plan
from autocomp.data import load_data
from autocomp.models import build_model
from autocomp.problem.problem import CompressionProblem

ROOT = Path(__file__).parents[1]
LOADING = ("torch", "numpy", "safetensors", "constriction")
"""What reading a file may need."""

_REFUSE = """
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in BLOCKED:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
BLOCKED = {blocked!r}
sys.meta_path.insert(0, Refuse())
"""


def closure(*wanted: str) -> set[str]:
    """Returns the distributions that come with these, in small letters."""
    found: set[str] = set()
    waiting = list(wanted)
    while waiting:
        name = waiting.pop().lower().replace("_", "-")
        if name in found:
            continue
        try:
            needs = importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:
            continue
        found.add(name)
        waiting += [re.split(r"[ <>=!~;\[(]", n)[0] for n in needs if "extra ==" not in n]
    return found


def refusing_all_but(*wanted: str) -> str:
    """Returns code after which only these libraries, and what they need, can be imported."""
    kept = closure(*wanted)
    blocked = {
        module
        for module, owners in importlib.metadata.packages_distributions().items()
        if module != "autocomp" and not {o.lower().replace("_", "-") for o in owners} & kept
    }
    assert {"sklearn", "tensorly", "plotly", "pyarrow"} <= blocked
    return _REFUSE.format(blocked=blocked)


def required() -> list[str]:
    """Returns the names in pyproject's list of dependencies."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return [re.split(r"[<>=!~]", text)[0] for text in project["dependencies"]]


def run(code: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    path = f"import sys; sys.path.insert(0, {str(ROOT)!r})\n"
    return subprocess.run(
        [sys.executable, "-c", path + code],
        capture_output=True, text=True, timeout=300, cwd=cwd,
    )  # fmt: skip


@pytest.fixture(scope="module")
def problem() -> CompressionProblem:
    """The digits network under a loose budget."""
    return CompressionProblem(build_model("digits"), load_data("digits"), "size=90%")


@pytest.mark.parametrize(
    "choice",
    [
        Choice.of(sparsity=0.5, weight_bits=4),
        Choice.of(pattern="2:4", weight_bits=8),
        Choice.of(weight_bits=4, activation_bits=8),
        Choice.of(channels=0.5, weight_bits=6),
        Choice.of(rank=0.5),
    ],
    ids=str,
)
def test_loading_needs_four_libraries(
    problem: CompressionProblem, choice: Choice, tmp_path: Path
) -> None:
    leads = problem.layers(structural=True)
    plan = Plan({x.name: choice if x.units else choice.replace(channels=1.0) for x in leads})
    network, data = problem.compressed(plan)
    unpack(data)
    (tmp_path / "model.safetensors").write_bytes(data)
    images = load_data("digits").example_inputs(4)
    torch.save((images, network(images).detach()), tmp_path / "pair.pt")
    code = refusing_all_but(*LOADING) + (
        "import autocomp, torch\n"
        "network = autocomp.load('model.safetensors')\n"
        "x, y = torch.load('pair.pt')\n"
        "print(float((network(x) - y).detach().abs().max()))\n"
        "with torch.no_grad(): list(network.parameters())[-1].add_(1)\n"
        "print(autocomp.save(network, 'again.safetensors'))\n"
    )
    done = run(code, tmp_path)
    assert done.returncode == 0, done.stderr
    gap, written = done.stdout.split()
    assert float(gap) <= 1e-5
    assert (tmp_path / written).is_file()


SEARCH = """
import warnings, torch, autocomp
torch.manual_seed(0)
net = torch.nn.Sequential(
    torch.nn.Conv2d(1, 8, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(288, 3)
)
x = torch.randn(96, 1, 8, 8)
y = net(x).argmax(1)
parts = tuple((x[a:a + 32], y[a:a + 32]) for a in (0, 32, 64))
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    found = autocomp.search(
        net, parts, "size=40%", agent=AGENT, evaluations=3, threads=1, out="run", progress=False
    )
print(*[str(w.message) for w in caught if "report" in str(w.message)], sep="\\n")
print(found.file.stat().st_size == found.summary.compressed["size"])
"""


def test_a_search_without_extras_says_what_its_report_wants(tmp_path: Path) -> None:
    done = run(refusing_all_but(*required()) + "AGENT = 'dp'\n" + SEARCH, tmp_path)
    assert done.returncode == 0, done.stderr
    told, complete = done.stdout.strip().split("\n")
    assert "plotly is needed for this" in told and "pip install 'autocomp[report]'" in told
    assert complete == "True"
    assert not (tmp_path / "run" / "report.html").exists()


@pytest.mark.parametrize(
    ("code", "remedy"),
    [
        ("autocomp.data.load_data('digits').search.labels", "sklearn.*'autocomp\\[digits\\]'"),
        ("autocomp.data.load_data('cifar10:nowhere')", "pyarrow.*'autocomp\\[parquet\\]'"),
        (
            "from autocomp.compression.low_rank.tensorly_backend import numpy_tensorly as n\n"
            "n().__enter__()",
            "tensorly.*'autocomp\\[tensor\\]'",
        ),
    ],
)
def test_what_an_extra_is_for_names_it(code: str, remedy: str, tmp_path: Path) -> None:
    (tmp_path / "nowhere").mkdir()
    done = run(refusing_all_but(*required()) + f"import autocomp.data\n{code}\n", tmp_path)
    assert done.returncode == 1
    assert re.search(remedy, done.stderr.strip().split("\n")[-1]), done.stderr
