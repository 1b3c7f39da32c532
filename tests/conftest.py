"""What several tests share: one thread, small networks and data, and the folder of real weights."""

from __future__ import annotations

import copy
import gc
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from filelock import FileLock
from hypothesis import settings
from safetensors.torch import save_file
from torch import nn

from autocomp.data import load_data
from autocomp.data.split import Split
from autocomp.data.splits import DataSplits
from autocomp.models import build_model
from autocomp.problem.problem import CompressionProblem, ProblemSettings

# the same examples each time, and no time limit on a busy machine
settings.register_profile("autocomp", deadline=None, derandomize=True, max_examples=60)
settings.load_profile("autocomp")

SEARCHES = (
    "agents/", "api/", "cli/", "docs/", "envs/test_env_contract", "envs/test_multi_task",
    "exporters/", "inspection/", "models/", "problem/test_budgets", "problem/test_problem",
    "problem/test_structured", "reports/test_browser", "reports/test_run_page",
    "runs/test_bounds", "runs/test_tensorboard", "runtime/", "search_spaces/test_coupled",
    "search_spaces/test_multipliers", "test_dependencies", "test_fuzz", "test_plugin",
)  # fmt: skip
"""Where networks are searched or evaluated end to end, agents trained, or graphs exported."""
OFF_POLICY = ("ddpg", "td3", "sac")
_DEFAULT = Path(__file__).parents[1] / ".." / "shared"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks what `make test-fast` leaves out: whole folders and files, so none is forgotten.

    The long ones go first, so that no process is left with one of them at the end.
    """
    here = Path(__file__).parent
    long: list[pytest.Item] = []
    short: list[pytest.Item] = []
    for item in items:
        if item.path.relative_to(here).as_posix().startswith(SEARCHES):
            item.add_marker("searches")
            long.append(item)
        else:
            short.append(item)
    items[:] = long + short


def pytest_collection_finish() -> None:
    """Spares the collector the thousands of tests that nothing frees before the end."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def common_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of this run, the same one for all of its processes."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "common"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="session", autouse=True)
def table_folder(common_folder: Path) -> Iterator[Path]:
    """A cache folder that the tests share, instead of the user's own; searches find it, too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(common_folder / "cache"))
        yield common_folder / "cache"


@pytest.fixture(scope="session", autouse=True)
def no_waiting_for_the_disk() -> Iterator[None]:
    """What is written outlives a process, if not a power cut, wherever it stands."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda file: None)
        yield


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real weights and data; its tests are skipped where there is none."""
    folder = Path(os.environ.get("AUTOCOMP_SHARED", _DEFAULT))
    if not folder.is_dir():
        pytest.skip(f"needs the shared folder {folder}; set AUTOCOMP_SHARED")
    return folder


@pytest.fixture(scope="session")
def tiny_data() -> DataSplits:
    """Four classes of 3 x 8 x 8 images, each a fixed pattern under noise."""
    generator = torch.Generator().manual_seed(0)
    patterns = torch.randn(4, 3, 8, 8, generator=generator)

    def split(name: str, n: int) -> Split:
        labels = torch.arange(n) % 4
        images = patterns[labels] + 2 * torch.randn(n, 3, 8, 8, generator=generator)
        return Split.of(images, labels, f"tiny {name}")

    return DataSplits("tiny", split("calibration", 96), split("search", 120), split("test", 80), 4)


@pytest.fixture(scope="session")
def _trained_tiny(tiny_data: DataSplits) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = nn.Sequential(
            nn.Conv2d(3, 16, 3, padding=1, bias=False),
            nn.BatchNorm2d(16),
            nn.ReLU(),
            nn.Conv2d(16, 16, 3, padding=1, groups=16, bias=False),
            nn.BatchNorm2d(16),
            nn.ReLU(),
            nn.Conv2d(16, 32, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(2),
            nn.Flatten(),
            nn.Linear(128, 4),
        )
        optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
        for _ in range(12):
            optimizer.zero_grad()
            loss = F.cross_entropy(
                model(tiny_data.calibration.images), tiny_data.calibration.labels
            )
            loss.backward()
            optimizer.step()
    return model.eval()


@pytest.fixture
def tiny_net(_trained_tiny: nn.Module) -> nn.Module:
    """Convolution, depthwise convolution, convolution with bias, linear; 5,796 parameters."""
    return copy.deepcopy(_trained_tiny)


@pytest.fixture
def tiny_problem(
    tiny_net: nn.Module, tiny_data: DataSplits, table_folder: Path
) -> CompressionProblem:
    return CompressionProblem(
        tiny_net, tiny_data, "size=60%", ProblemSettings(cache=table_folder / "autocomp")
    )


@pytest.fixture(scope="session")
def shared_problem(
    _trained_tiny: nn.Module, tiny_data: DataSplits, table_folder: Path
) -> CompressionProblem:
    """One tiny problem at 60 % of its bytes for many tests: it remembers what they evaluate."""
    settings = ProblemSettings(cache=table_folder / "autocomp")
    return CompressionProblem(copy.deepcopy(_trained_tiny), tiny_data, "size=60%", settings)


@pytest.fixture(scope="session")
def digits_data() -> DataSplits:
    return load_data("digits")


@pytest.fixture(scope="session")
def digits_weights(common_folder: Path) -> Path:
    """The trained weights of the digits network; whichever process is first trains it."""
    file = common_folder / "digits.safetensors"
    with FileLock(f"{file}.lock"):
        if not file.exists():
            save_file(build_model("digits").state_dict(), file)
    return file


@pytest.fixture(scope="session")
def digits_model(digits_weights: Path) -> nn.Module:
    """The digits network, trained; do not modify it."""
    return build_model("digits", digits_weights).eval()


@pytest.fixture(scope="session")
def make_small() -> Callable[..., Any]:
    """Makes agents as `make_agent` does; those that learn are small, where size is not tested."""
    from autocomp.agents import make_agent  # takes seconds, which most tests need not wait for

    def make(text: str, **options: Any) -> Any:
        name = text.partition(":")[0]
        small = {"width": 16, "clone_steps": 40} if name in (*OFF_POLICY, "ppo") else {}
        few = {"pretrain_steps": 40, "imitation": 2, "updates": 2}
        small |= few if name in OFF_POLICY else {}
        return make_agent(text, **{**small, **options})

    return make
