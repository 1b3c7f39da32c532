"""Training a compressed network within its plan and its bytes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from autocomp.api.finetuned import FineTuned
from autocomp.api.progress import shown_training
from autocomp.api.reopen import reopened
from autocomp.artifacts.container import pack, unpack
from autocomp.compression.loading import load
from autocomp.compression.noted_file import file_of, note_file, shapes_of
from autocomp.core.budget import Budgets, parse_budgets
from autocomp.data import load_data
from autocomp.errors import AutocompError, RunError, TrainingError, unknown
from autocomp.inspection.record import RunRecord
from autocomp.models import build_model
from autocomp.network.as_one import as_one
from autocomp.network.batches import Batches
from autocomp.network.device import dtype_of, usable_device
from autocomp.network.scoring import score
from autocomp.network.threads import torch_threads
from autocomp.network.working_copy import working_copy
from autocomp.plugins.border import border
from autocomp.plugins.bounds import check_whole
from autocomp.problem.tuning import TrainingRequest
from autocomp.reports.files import write_report
from autocomp.runs.finetuning import train_in_run
from autocomp.runs.folder import Run
from autocomp.runs.summary import Summary
from autocomp.storage.files import write_bytes
from autocomp.storage.paths import user_path
from autocomp.tasks import Task, make_task
from autocomp.training import Loss, OnPoint, TrainingConfig, TrainingPoint, TrainingSetup
from autocomp.training import finetune as train_setup

_NORM_SAMPLES = 1024


@border("autocomp.finetune")
def finetune(
    source: str | PathLike[str] | nn.Module | FineTuned,
    data: Any = None,
    *,
    dense: str | nn.Module | Callable[..., nn.Module] | None = None,
    weights: str | Path = "",
    task: str | Task | None = None,
    size: Budgets | None = None,
    teacher: str | PathLike[str] | nn.Module | FineTuned | None = None,
    rewind: nn.Module | Mapping[str, Tensor] | None = None,
    loss: str | Loss = "",
    augment: Any = "auto",
    out: str | Path | None = None,
    device: str = "cpu",
    threads: int = 0,
    trust: bool = False,
    on_point: OnPoint | None = None,
    progress: bool = True,
    **settings: Any,
) -> FineTuned:
    """Trains a compressed network: its plan stays, its file stays within its bytes.

    Ranks, widths and grids stay as they are; codes move, zeros too where the bytes hold. By default
    an epoch of distillation from the dense network.

    Of a run, the network before is kept as `one-shot.safetensors`, `model.safetensors`, the summary
    and the report become those of the trained one, if it is better on the search split. A run that
    was killed while it was trained goes on from where it was.

    Args:
        source: a finished run (its folder, or what `search` returned), a compressed file, a
            network that `load` or a search gave, or what an earlier `finetune` returned.
        data: what to train on, as for `search`: its `train`, or what it calibrates on where there
            is none; a run has its own.
        dense: the dense network, the teacher; a run has its own. A name, a function or a network.
        weights: its weights, where `dense` is a name.
        task: what the network is for; a run has its own. Classification by default.
        size: the budget, "size=40kB", or the share of the dense file; the run's own, or the length
            of the file that is trained.
        teacher: another teacher: a network, a run or a compressed file, as a larger budget's (a
            teacher assistant) or this network's own earlier training (born again).
        rewind: an earlier state of the dense network, or its tensors by name, to begin with instead
            of the trained weights, under the plan's zeros (a lottery ticket); for plans that
            quantize nothing.
        loss: a text as "0.9*kd(T=4)+0.1*task", see `autocomp losses`, or a loss.
        augment: a text as "crop4+flip", or a function (images, generator) -> images.
        out: for a file or a network: where to write the file.
        device: for a file or a network: where it is trained.
        threads: for a file or a network: processor threads; 0 leaves torch's own choice.
        trust: whether a run may name code to import.
        on_point: called now and then.
        progress: whether to show progress in a terminal or a notebook.
        **settings: of `TrainingConfig`, as epochs=3 or lr=0.004.

    Raises:
        TrainingError: if the training cannot begin, or meets numbers that are not finite.
        AutocompError: in one line, for anything else that is wrong with the input.
    """
    request = replace(
        _request(settings, loss, augment),
        teacher=_teacher(teacher, dense),
        rewind=rewind.state_dict() if isinstance(rewind, nn.Module) else rewind,
    )
    if on_point is not None and not callable(on_point):
        raise TrainingError(
            f"`on_point` must be a function of a TrainingPoint, but got {on_point!r:.60}."
        )
    check_whole(TrainingError, threads=(threads, 0, 1 << 16))
    source = source.network if isinstance(source, FineTuned) else source
    with shown_training(progress, on_point) as show:
        if not isinstance(source, (str, PathLike, nn.Module)):
            raise TrainingError(
                "What is trained must be a run, a compressed file, or a network that load or a "
                f"search gave, but got {source!r:.60}."
            )
        if not isinstance(source, nn.Module) and Path(source).is_dir():
            foreign = {"out": out, "weights": weights or None, "threads": threads or None}
            foreign["device"] = None if device == "cpu" else device
            for name, value in foreign.items():
                if value is not None:
                    raise TrainingError(
                        f"A run is trained in its own folder, as it was searched, but got "
                        f"{name}={value!r:.60}; leave it out, or give the run's file."
                    )
            given = {"model": dense, "data": data, "task": task, "budget": size}
            return _of_run(Path(source), given, request, trust, show)
        with torch_threads(threads):
            network = source if isinstance(source, nn.Module) else load(Path(source), _built(dense))
            path = None if out is None else user_path(out, "out", RunError)
            job = _Job(network, data, dense, weights, task, size, device)
            return job.run(replace(request, on_point=show), path)


def _request(settings: Mapping[str, Any], loss: str | Loss, augment: Any) -> TrainingRequest:
    known = [f.name for f in fields(TrainingConfig)]
    for name in settings:
        if name not in known:
            raise TrainingError(unknown("setting of a training", name, known))
    named = loss if isinstance(loss, str) else ""
    views = augment if isinstance(augment, str) else "none"
    if not isinstance(augment, str) and not callable(augment):
        raise TrainingError(
            f"`augment` must be a text as crop4+flip, or a function (images, generator) -> images, "
            f"but got {augment!r:.60}."
        )
    return TrainingRequest(
        TrainingConfig(loss=named, augment=views, **settings),
        loss=None if isinstance(loss, str) else loss,
        change=None if isinstance(augment, str) else augment,
    )


def _of_run(
    folder: Path, given: Mapping[str, Any], request: TrainingRequest, trust: bool, show: OnPoint
) -> FineTuned:
    run = Run.open(folder)
    values = run.summary()
    if values is None:
        raise RunError(
            f"A run must be finished to be trained, but {str(folder)!r} is not; resume it first."
        )
    summary = Summary.from_json(values)
    with reopened("finetune", folder, given, trust, "dense") as session, run.locked():
        problem = session.setup.problem
        problem.remember(run.outcomes())
        best = RunRecord.read(folder).best
        assert best is not None  # a finished run has one
        file = run.one_shot if run.one_shot.exists() else folder / "model.safetensors"
        network = load(file, session.setup.network)
        data = file.read_bytes()
        if not run.one_shot.exists():
            run.write_one_shot(data)
        if not run.training_state.exists():
            run.forget_training()

        def tell(point: TrainingPoint) -> None:
            run.append_point(point)
            show(point)

        text = _told(request)
        request = replace(request, state=run.training_state, on_point=tell)
        network, data, told, costs = train_in_run(problem, run, network, data, best, request, text)
        run.write_model(data)
        note_file(network, unpack(data, shapes_of(network)))
        summary = replace(
            summary, training=told, search=told.search_trained if told.kept else told.search,
            test=problem.test_of(network).compressed,
            compressed={**summary.compressed, **best.costs, **costs},
        )  # fmt: skip
        run.write_summary(summary.to_json())
        if session.setup.config.report != "none":
            write_report(run)
    return FineTuned(
        network, data, told.search, told.search_trained, told.kept, told.flipped,
        tuple(run.training_points()), folder / "model.safetensors",
    )  # fmt: skip


def _told(request: TrainingRequest) -> str:
    """Returns what differs from the usual, as a text."""
    usual = TrainingConfig()
    differs = [
        f"{f.name}={_short(getattr(request.config, f.name))}"
        for f in fields(TrainingConfig)
        if getattr(request.config, f.name) != getattr(usual, f.name)
    ]
    objects = [
        f"{name}=<object>"
        for name in ("teacher", "rewind", "loss", "change")
        if getattr(request, name) is not None
    ]
    return ",".join([*differs, *objects]) or f"epochs={usual.epochs:g}"


def _short(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


class _Job:
    """A training of a network that belongs to no run."""

    def __init__(
        self, network: nn.Module, data: Any, dense: Any, weights: str | Path,
        task: str | Task | None, size: Budgets | None, device: str,
    ) -> None:  # fmt: skip
        packed = file_of(network)
        if packed is None:
            raise TrainingError(
                "A network must come from autocomp.load or a search to be trained within its plan, "
                f"but this {type(network).__name__} does not; compress it first."
            )
        for name, value in (("data", data), ("dense", dense)):
            if value is None:
                raise TrainingError(
                    f"A network that belongs to no run needs `{name}` to be trained, but it is "
                    "missing; give it, or name a run's folder."
                )
        self.network, self.data, self.device = network, load_data(data), usable_device(device)
        self.dense = (
            build_model(dense, weights or None) if not isinstance(dense, nn.Module) else dense
        )
        self.task = make_task("classification" if task is None else task)
        self.before = pack(packed)
        self.limit = self._limit(size)

    def _limit(self, size: Budgets | None) -> int:
        if size is None:
            return len(self.before)
        budgets = parse_budgets(size)
        if len(budgets) != 1 or budgets[0].cost != "size":
            raise AutocompError(
                f"`size` must be one budget of bytes, as size=40kB, but got {size!r:.60}."
            )
        dense = sum(t.numel() * t.element_size() for t in self.dense.state_dict().values())
        return budgets[0].absolute(dense)

    def run(self, request: TrainingRequest, out: Path | None) -> FineTuned:
        """Trains, scores both, and writes the better one's file."""
        data, dtype = self.data, dtype_of(self.network)
        train = data.calibration if data.train is None else data.train
        for split in (train, data.search):
            self.task.check_labels(split.labels, split.name)
        points: list[TrainingPoint] = []

        def tell(point: TrainingPoint) -> None:
            points.append(point)
            request.on_point(point)

        search = Batches(data.search, 500, self.device, dtype)
        setup = TrainingSetup(
            self.network, self.dense, self.task, train, request.config, teacher=request.teacher,
            rewind=request.rewind, loss=request.loss,
            change=request.change, limit=self.limit, search=search, device=self.device,
            on_point=tell,
        )  # fmt: skip
        few = Batches(train.subset(_NORM_SAMPLES, seed=1), 500, self.device, dtype)
        trained = train_setup(setup, [inputs for inputs, _ in few])
        before, after = (self._score(net, search) for net in (self.network, trained.network))
        kept = after.metric.utility(after.quality) >= before.metric.utility(before.quality)
        network, bytes_ = (trained.network, trained.data) if kept else (self.network, self.before)
        if out is not None:
            write_bytes(out, bytes_)
        return FineTuned(network, bytes_, before, after, kept, trained.flipped, tuple(points), out)

    def _score(self, network: nn.Module, search: Batches) -> Any:
        few = next(iter(search))[0][:2]
        ready = as_one(working_copy(network, self.device), self.task, few)
        original = as_one(working_copy(self.dense, self.device), self.task, few)
        with torch.inference_mode():
            return score(ready, search, self.task, original)


def _teacher(teacher: Any, dense: Any) -> nn.Module | None:
    if isinstance(teacher, FineTuned):
        return teacher.network
    if teacher is None or isinstance(teacher, nn.Module):
        return teacher
    if isinstance(teacher, (str, PathLike)) and Path(teacher).exists():
        return load(Path(teacher), _built(dense))
    raise TrainingError(
        f"`teacher` must be a network, a run or a compressed file, but got {teacher!r:.60}."
    )


def _built(dense: Any) -> Any:
    """Returns the architecture of a file, where the dense network can say it."""
    return dense if isinstance(dense, nn.Module) else None
