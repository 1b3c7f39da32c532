"""`finetune`: training what a search has found."""

from __future__ import annotations

import argparse
from dataclasses import fields
from typing import Any

from rich.console import Console

from autocomp.cli.console import say
from autocomp.cli.trust import add_trust, tell_trusted


def add(commands: Any) -> None:
    """Adds the command to the parser."""
    finetune = commands.add_parser(
        "finetune", help="train a run's network within its plan and its bytes",
        description="Trains a finished run's network: codes move, the plan and the bytes stay.",
    )  # fmt: skip
    finetune.add_argument("folder", metavar="RUN", help="the run folder")
    add_trust(finetune)
    finetune.add_argument(
        "--epochs", type=float, default=1.0, help="passes over the training samples (default: 1)"
    )
    finetune.add_argument(
        "--loss", default="",
        help="as 0.9*kd(T=4)+0.1*task (the default where there are labels); see `autocomp losses`",
    )  # fmt: skip
    finetune.add_argument(
        "--set", action="append", default=[], metavar="SETTING=VALUE",
        help="any setting of TrainingConfig, as lr=0.004, masks=fixed, batch_size=128; repeatable",
    )  # fmt: skip
    finetune.set_defaults(run=_finetune)


def _finetune(given: argparse.Namespace) -> int:
    from autocomp.api.finetune import finetune
    from autocomp.reports.terminal.training import TrainingProgress
    from autocomp.training import TrainingConfig

    tell_trusted(given)
    read = TrainingConfig.of(",".join(given.set)) if given.set else TrainingConfig()
    named = {text.partition("=")[0].strip() for part in given.set for text in part.split(",")}
    settings = {f.name: getattr(read, f.name) for f in fields(read) if f.name in named}
    settings.setdefault("epochs", given.epochs)
    loss = settings.pop("loss", given.loss)
    augment = settings.pop("augment", "auto")
    with TrainingProgress(Console()) as progress:
        found = finetune(
            given.folder, given.data, dense=given.model, loss=loss, augment=augment,
            trust=given.trust_run, on_point=progress.update, progress=False, **settings,
        )  # fmt: skip
    text = found.after.metric.text
    say(
        f"search {found.after.metric.name}: {text(found.before.quality)} before, "
        f"{text(found.after.quality)} after; {len(found.data):,} bytes, {found.flipped:.2%} of the "
        "codes moved",
        *([] if found.kept else ["The network before is no worse, and is kept."]),
        f"File: {found.file}",
    )
    return 0
