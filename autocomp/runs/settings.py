"""The settings of a search; the command line is made from them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from os import PathLike
from pathlib import Path
from typing import Any

from autocomp.errors import AutocompError, unknown
from autocomp.plugins.bounds import check_whole

WARM_STARTS = ("dp", "none")
"""What a search may start from: the exact solver's plan, or the agent's own plans."""
LEVELS = ("F1", "F2S", "F3")
"""What is done to a plan before a search scores it."""
REPORTS = ("full", "plain", "none")
"""What a search ends with: a report with everything that can be found out, one of its record only,
or none."""
_TUNING = "steps=200"
_BOUNDS = {
    "evaluations": (1, 10_000_000), "seed": (0, 2**32 - 1), "search_images": (1, 1 << 31),
    "finalists": (0, 1_000_000), "reconstructions": (0, 1_000_000), "tuned": (0, 1_000_000),
    "batch_size": (2, 1 << 20),
    "threads": (0, max(256, os.cpu_count() or 1)), "round_to": (1, 1 << 16),
}  # fmt: skip
_KINDS = {str: "a text", int: "a whole number", tuple: "a list of texts", bool: "true or false"}


def _option(default: Any, text: str, **more: Any) -> Any:
    return field(default=default, metadata={"help": text, **more})


def _check_training(text: str) -> None:
    from autocomp.training import TrainingConfig  # torch: the command line starts without it

    TrainingConfig.of(text)


@dataclass(frozen=True)
class SearchConfig:
    """Everything that determines a search; saved as `config.json` of its run."""

    model: str = _option(
        "digits", "a name of `autocomp models`, or PACKAGE.MODULE:FUNCTION", short="-m"
    )
    weights: str = _option("", "weights file: safetensors, or a state dict saved by torch")
    data: str = _option(
        "digits",
        "digits, cifar10:FOLDER, ..., PACKAGE.MODULE:FUNCTION, or none "
        "(inputs made out of the network: none:shape=3x32x32)",
    )
    task: str = _option(
        "classification",
        "what the network is for: classification, regression, segmentation, multilabel, embedding, "
        "language-model; NAME or NAME:OPTION=VALUE,...",
    )
    budget: tuple[str, ...] = _option(
        ("size=10%",), "COST=LIMIT, as size=8% or size=60kB or macs=50%; several hold at once"
    )
    space: str = _option("joint", "action space, NAME or NAME:OPTION=VALUE,...")
    agent: str = _option("ddpg", "agent, NAME or NAME:OPTION=VALUE,...")
    warm_start: str = _option("dp", "what a search starts from: dp (the solver's plan) or none")
    policy: str = _option(
        "", "run folder of what was learned, to begin with (ddpg, td3, sac, ppo, posterior)"
    )
    evaluations: int = _option(100, "how many distinct plans to evaluate", short="-n")
    seed: int = _option(0, "seed of the search")
    keep: tuple[str, ...] = _option((), "layers to leave alone, comma-separated")
    round_to: int = _option(1, "channels stay in multiples of this (8 suits most processors)")
    device_table: str = _option(
        "", "times of another device, for latency budgets: a file of `autocomp measure`"
    )
    decomposition: str = _option("data-svd", "how ranks are lowered")
    pruner: str = _option("obs", "compressor that makes the zeros")
    quantizer: str = _option("gptq", "compressor that rounds the weights")
    search_images: int = _option(1000, "images of the search split that score a plan")
    level: str = _option(
        "F1",
        "what plans of the search are judged as: F1 (as the tables have them), F2S (reconstructed) "
        "or F3 (after the short training), always on the search images",
    )
    finalists: int = _option(5, "best plans that may be scored on the whole search split")
    reconstructions: int = _option(1, "finalists that are recovered once more, front to back")
    tuned: int = _option(0, "finalists that are also judged after a short training")
    tuning: str = _option(_TUNING, "that short training: SETTING=VALUE,...")
    finetune: str = _option(
        "",
        "train the chosen network: EPOCHS, or SETTING=VALUE,... as epochs=3,lr=0.004 (see "
        "`autocomp finetune --help`)",
    )
    batch_size: int = _option(500, "images per forward pass")
    device: str = _option("cpu", "where the network runs: cpu, cuda, ...")
    cache: str = _option(
        "",
        "folder of tables of compressed layers, none for none (default: the user's cache folder)",
    )
    threads: int = _option(0, "processor threads; 0 leaves torch's own choice")
    report: str = _option("full", "report.html at the end: full, plain (the record only) or none")
    tensorboard: bool = _option(False, "write TensorBoard records into the run folder")

    def __post_init__(self) -> None:
        """Raises AutocompError for a value of another type or a number out of range."""
        for f in fields(self):
            value, kind = getattr(self, f.name), type(f.default)
            whole = kind is bool or not isinstance(value, bool)  # True is an int to Python
            texts = kind is not tuple or (
                isinstance(value, tuple) and all(isinstance(part, str) for part in value)
            )
            if not isinstance(value, kind) or not whole or not texts:
                raise AutocompError(
                    f"`{f.name}` must be {_KINDS[kind]}, but got {value!r}; change it."
                )
        for name, (least, most) in _BOUNDS.items():
            check_whole(AutocompError, **{name: (getattr(self, name), least, most)})
        if self.warm_start not in WARM_STARTS:
            raise AutocompError(unknown("warm start", self.warm_start, WARM_STARTS))
        for text in (self.tuning, self.finetune):
            if text not in ("", _TUNING):
                _check_training(text)
        if self.level not in LEVELS:
            raise AutocompError(unknown("level", self.level, LEVELS))
        if self.report not in REPORTS:
            raise AutocompError(unknown("report", self.report, REPORTS))

    @classmethod
    def build(cls, further: Mapping[str, Any], **own: Any) -> SearchConfig:
        """Returns the settings that a caller fixes, and further ones that a user names.

        Args:
            further: name -> value, as a user has written them; one text is a list of one.
            **own: settings that the user cannot name.

        Raises:
            AutocompError: for an unknown setting, with the nearest one, or a malformed value.
        """
        lists = {f.name for f in fields(cls) if isinstance(f.default, tuple)}
        free = [f.name for f in fields(cls) if f.name not in own]
        given = dict(further)
        for name, value in given.items():
            if name not in free:
                others = [f.name for f in fields(cls) if f.name != name]
                raise AutocompError(unknown("setting", name, others))
            if name == "cache" and value is None:
                given[name] = "none"
            elif name == "device_table" and isinstance(value, (str, PathLike)) and str(value):
                given[name] = str(Path(value).expanduser().absolute())  # found from anywhere
            elif isinstance(value, PathLike) or type(value).__module__ == "torch":
                given[name] = str(value)  # a folder, a device
            elif name in ("finetune", "tuning") and isinstance(value, (int, float)):
                given[name] = f"epochs={value}" if value is not True else "epochs=1"
            if name in lists and isinstance(value, Iterable):
                given[name] = (value,) if isinstance(value, str) else tuple(value)
        return cls(**own, **given)

    @classmethod
    def wrong_kind(cls, values: Mapping[str, Any]) -> str:
        """Returns the name of a setting in `to_json`'s object that is of another kind; "" else."""
        for f in fields(cls):
            value, kind = values.get(f.name, f.default), type(f.default)
            if kind is tuple:
                right = isinstance(value, (list, tuple)) and all(isinstance(x, str) for x in value)
            else:
                right = type(value) is kind
            if not right:
                return f.name
        return ""

    def to_json(self) -> dict[str, Any]:
        """Returns the settings as a JSON object."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> SearchConfig:
        """Reads `to_json`'s object; AutocompError for unknown or malformed settings."""
        known = {f.name for f in fields(cls)}
        extra = sorted(set(values) - known)
        if extra:
            raise AutocompError(f"config.json has the unknown setting {extra[0]!r}.")
        given: dict[str, Any] = {
            k: tuple(v) if isinstance(v, list) else v for k, v in values.items()
        }
        return cls(**given)
