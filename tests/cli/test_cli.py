"""The command line: what it prints, and one line with exit code 2 for every bad input."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

import autocomp
from autocomp.cli.main import main
from autocomp.models import build_model

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def folder(digits_weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run, and weights to search."""
    path = tmp_path_factory.mktemp("cli")
    shutil.copy(digits_weights, path / "digits.safetensors")
    arguments = ["search", "--weights", str(path / "digits.safetensors"), "--agent", "random"]
    assert main([*arguments, "-n", "3", "--budget", "size=12%", "--out", str(path / "run")]) == 0
    return path


def run(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    code = main(arguments)
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@pytest.mark.parametrize(
    ("command", "names"),
    [
        ("spaces", ["sparsity", "bits", "joint", "nm", "coefficients"]),
        ("agents", ["ddpg", "td3", "sac", "ppo", "tpe", "nsga2", "cmaes", "greedy", "uniform",
                    "random", "dp", "ilp", "local"]),
        ("costs", ["size", "params", "macs", "bitops"]),
        ("models", ["resnet20", "resnet110", "vgg16", "mobilenetv2", "vit", "mlp", "digits"]),
        ("data", ["digits", "cifar10"]),
        ("rewards", ["merit", "amc", "haq", "dense"]),
        ("criteria", ["l1", "slimming", "taylor", "compose"]),
        ("decompositions", ["svd", "tucker", "cp"]),
        ("compressors", ["magnitude", "symmetric", "asymmetric-tensor"]),
    ],
)  # fmt: skip
def test_lists_have_a_line_each(
    command: str, names: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = run([command], capsys)
    lines = dict(line.split(maxsplit=1) for line in out.splitlines())
    assert code == 0
    assert set(names) <= set(lines)
    assert all(len(text) > 10 for text in lines.values())
    assert "partial(" not in out


def test_search_prints_both_tables(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(["resume", str(folder / "run")], capsys)
    assert code == 0
    summary = json.loads((folder / "run" / "summary.json").read_text())
    for text in ("complete", "block3.conv2", "test accuracy", f"{summary['compressed']['size']:,}"):
        assert text in out
    assert f"{summary['test']['accuracy']:.2%} +-" in out
    assert "…" not in out


def test_search_shows_progress(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["search", "--weights", str(folder / "digits.safetensors"), "--agent", "uniform"]
    code, out, _ = run([*arguments, "-n", "2", "--out", str(folder / "progress")], capsys)
    assert code == 0
    assert "search 2/2 best" in out


def test_evaluate_agrees_with_the_search(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    summary = json.loads((folder / "run" / "summary.json").read_text())
    file = str(folder / "run" / "model.safetensors")
    for split, key in (("test", "test"), ("search", "search")):
        code, out, _ = run(["evaluate", file, "--data", "digits", "--split", split], capsys)
        assert code == 0
        assert out.startswith(f"{split}: accuracy {summary[key]['accuracy']:.2%} +-")


def write_pickle(path: Path) -> None:
    class Trap:
        def __reduce__(self) -> Any:
            return (os.system, ("touch " + str(path) + ".pwned",))

    path.write_bytes(pickle.dumps(Trap()))


def weights(path: Path, change: Any) -> str:
    state = build_model("mlp").state_dict()
    change(state)
    save_file(state, path)
    return str(path)


BAD = [
    (["--model", "resnt20"], "Did you mean 'resnet20'"),
    (["--model", "nowhere.module:build"], "no module"),
    (["--agent", "ddgp"], "Did you mean 'ddpg'"),
    (["--agent", "ddpg:warm=1"], "Did you mean 'warm_up'"),
    (["--space", "jont"], "Did you mean 'joint'"),
    (["--space", "bits:weight_bits=9/2"], "weight_bits"),
    (["--budget", "sise=8%"], "Did you mean 'size'"),
    (["--budget", "size=0%"], "above 0"),
    (["--budget", "size=-5%"], "above 0"),
    (["--budget", "size=120%"], "at most 100 %"),
    (["--budget", "size=8 parsecs"], "unit"),
    (["--budget", "size"], "COST=LIMIT"),
    (["--budget", "size=8%", "--budget", "size=9%"], "several"),
    (["--budget", "size=0.5%"], "at least"),
    (["--keep", "conv11"], "Did you mean 'conv1'"),
    (["--data", "digitz"], "Did you mean 'digits'"),
    (["--data", "cifar10"], "cifar10:"),
    (["--data", "cifar10:/nowhere"], "/nowhere"),
    (["--weights", "nowhere.safetensors"], "nowhere.safetensors"),
    (["--model", "resnet20"], "--weights"),
    (["--evaluations", "0"], "1 <= evaluations"),
    (["--evaluations", "many"], "invalid int value"),
    (["--seed", "-1"], "0 <= seed"),
    (["--pruner", "magnitud"], "Did you mean 'magnitude'"),
    (["--pruner", "symmetric"], "makes zeros"),
    (["--agent", "ddpg:sigma=abc"], "must be a number"),
    (["--agent", "tpe:starts=x"], "must be a whole number"),
    (["--agent", "tpe:storage=/proc/version"], "does not exist yet"),
    (["--quantizer", "magnitude"], "quantize"),
    (["--device", "gpu"], "use cpu"),
    (["--warm-start", "pd"], "Did you mean 'dp'"),
    (["--space", "coefficients:menu=jont"], "Did you mean 'joint'"),
    (["--nonsense"], "unrecognized"),
]


@pytest.mark.parametrize(
    ("arguments", "words"), BAD, ids=lambda v: " ".join(v) if isinstance(v, list) else ""
)
def test_bad_input_ends_with_one_line(
    arguments: list[str],
    words: str,
    folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    given = ["search", "--out", str(tmp_path / "run"), *arguments]
    if not {"--weights", "--model"} & set(arguments):
        given += ["--weights", str(folder / "digits.safetensors")]
    code, out, err = run(given, capsys)
    assert code == 2
    assert err.count("\n") == 1
    assert err.startswith("autocomp: error: ")
    assert words in err
    assert "Traceback" not in out + err
    assert not (tmp_path / "run").exists()


def refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    code, out, err = run(arguments, capsys)
    assert (code, err.count("\n"), "Traceback" in out + err) == (2, 1, False), err
    return err


def test_weights_that_cannot_be_trusted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    search = ["search", "--out", str(tmp_path / "run"), "--model", "mlp", "--weights"]
    write_pickle(tmp_path / "trap.pt")
    assert "code" in refused([*search, str(tmp_path / "trap.pt")], capsys)
    assert not (tmp_path / "trap.pt.pwned").exists()

    def poison(state: dict[str, torch.Tensor]) -> None:
        next(iter(state.values()))[0] = float("nan")

    assert "NaN" in refused([*search, weights(tmp_path / "nan.safetensors", poison)], capsys)
    other = weights(tmp_path / "less.safetensors", lambda state: state.popitem())
    assert "lacks" in refused([*search, other], capsys)
    assert not (tmp_path / "run").exists()


USER_CODE = """
import torch
from torch import nn

def net():
    return nn.Sequential(nn.Flatten(), nn.Linear(12, 8), nn.ReLU(), nn.Linear(8, 3))

def activations_only():
    return nn.Sequential(nn.Flatten(), nn.ReLU())

def raises():
    raise RuntimeError("no luck\\ntoday")

def splits(n=24, channels=3, top=3):
    images = torch.randn(n, channels, 2, 2, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(n) % top
    return tuple((images, labels) for _ in range(3))

def empty():
    return splits(n=0)

def wide():
    return splits(channels=5)

def many():
    return splits(top=7)
"""


@pytest.fixture
def user_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    (tmp_path / "my_code.py").write_text(USER_CODE)
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    sys.modules.pop("my_code", None)


def test_user_callables(user_code: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["search", "--model", "my_code:net", "--data", "my_code:splits"]
    code, out, err = run(
        [*arguments, "--budget", "size=60%", "--budget", "params=90%", "--agent", "random",
         "-n", "3", "--out", "r"], capsys,
    )  # fmt: skip
    assert code == 0, err
    evaluate = ["evaluate", "r/model.safetensors", "--data", "my_code:splits"]
    assert "--model" in refused(evaluate, capsys)  # a file may not choose a function to call
    assert run([*evaluate, "--model", "my_code:net"], capsys)[0] == 0


@pytest.mark.parametrize(
    ("model", "data", "words"),
    [
        ("my_code:activations_only", "my_code:splits", "compressible layer"),
        ("my_code:raises", "my_code:splits", "no luck"),
        ("my_code:nett", "my_code:splits", "Did you mean"),
        ("my_code:net", "my_code:raises", "no luck"),
        ("my_code:net", "my_code:empty", "empty"),
        ("my_code:net", "my_code:wide", "check that the data fit"),
        ("my_code:net", "my_code:many", "outputs"),
        ("my_code:net", "my_code:net", "cannot"),
    ],
)
def test_user_callables_that_go_wrong(
    model: str, data: str, words: str, user_code: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["search", "--model", model, "--data", data, "--budget", "size=60%", "--out", "r"]
    message = refused(arguments, capsys)
    assert words.lower() in message.lower() or words == "cannot"
    assert not (user_code / "r").exists()


def test_damaged_runs_and_files(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "config.json" in refused(["resume", str(tmp_path)], capsys)
    data = (folder / "run" / "model.safetensors").read_bytes()
    (tmp_path / "cut.safetensors").write_bytes(data[:-100])
    assert "damaged" in refused(["evaluate", str(tmp_path / "cut.safetensors")], capsys)
    assert "nowhere" in refused(["evaluate", str(tmp_path / "nowhere")], capsys)
    plain = str(folder / "digits.safetensors")
    assert "--weights" in refused(["evaluate", plain], capsys)
    assert "new or empty" in refused(
        ["search", "--weights", plain, "--out", str(folder / "run")], capsys
    )
    (tmp_path / "config.json").write_text(
        '{"format": 1, "settings": {"colour": 3}, "fingerprints": {}}'
    )
    assert "colour" in refused(["resume", str(tmp_path)], capsys)


def test_evaluate_refuses_what_does_not_fit(
    folder: Path, user_code: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    evaluate = ["evaluate", str(folder / "run" / "model.safetensors")]
    assert "check that the data fit" in refused([*evaluate, "--data", "my_code:splits"], capsys)
    assert "`batch_size` must be" in refused([*evaluate, "--batch-size", "0"], capsys)
    assert "use cpu" in refused([*evaluate, "--device", "foo"], capsys)


def test_a_damaged_setting_is_named(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = json.loads((folder / "run" / "config.json").read_text())
    config["settings"]["agent"] = 5
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert "'agent' is of another kind" in refused(["resume", str(tmp_path)], capsys)


def test_an_interrupt_leaves_a_run_to_resume(
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from autocomp.reports.terminal.progress import SearchProgress

    def interrupt(self: Any, outcome: Any) -> None:
        raise KeyboardInterrupt

    arguments = ["search", "--weights", str(folder / "digits.safetensors"), "--agent", "random"]
    with monkeypatch.context() as patch:
        patch.setattr(SearchProgress, "update", interrupt)
        code, _, err = run([*arguments, "-n", "3", "--out", str(tmp_path / "r")], capsys)
    assert code == 130
    assert "resume" in err
    code, out, _ = run(["resume", str(tmp_path / "r")], capsys)
    assert code == 0
    assert "3 plans evaluated" in out


def test_help_and_module_entry() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "autocomp", "search", "--help"],
        capture_output=True, text=True, cwd=ROOT, check=True,
    )  # fmt: skip
    assert "--budget" in done.stdout
    assert "size=8%" in done.stdout


def test_the_version_is_the_packages() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["version"] == autocomp.__version__
