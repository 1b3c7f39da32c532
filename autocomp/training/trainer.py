"""Training a compressed network within its plan and its bytes."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping
from dataclasses import asdict

import torch
from torch import Tensor, nn

from autocomp.artifacts.container import pack
from autocomp.artifacts.packed import PackedModel
from autocomp.compression.noted_file import file_of
from autocomp.core.structured import Inputs
from autocomp.errors import DataError, TrainingError
from autocomp.network.as_one import as_one
from autocomp.network.device import dtype_of
from autocomp.network.fingerprint import fingerprint
from autocomp.network.modes import evaluation_mode
from autocomp.network.padded_encoders import unpacked
from autocomp.network.rebinding import copy_network
from autocomp.network.scoring import score
from autocomp.network.working_copy import working_copy
from autocomp.training.average import Average
from autocomp.training.curve import TrainingPoint
from autocomp.training.file_length import FileLength
from autocomp.training.fold_scales import fold_scales
from autocomp.training.losses import Tap, TrainingBatch, make_loss
from autocomp.training.optimizer import make_optimizer, set_rate
from autocomp.training.rate import RateTerm
from autocomp.training.samples import Samples, generator
from autocomp.training.setup import TrainingSetup
from autocomp.training.taps import tapped
from autocomp.training.teacher import Teacher
from autocomp.training.trainable import latents, plain_name, trainable

_LOG = logging.getLogger(__name__)
_MARGIN = 0.002
"""Share of the limit that is left to the last rounding."""
_SMALLEST_NORM_BATCH = 16
"""Batch norms are trained with a batch's own statistics from this size on."""
_HALVES = (torch.float16, torch.bfloat16)
_MEMORY = ("out of memory", "not enough memory", "can't allocate memory")


class Trainer:
    """A network on its way from a file to latents that are as good as they get, step by step.

    `course.train` takes it to the end. Everything random depends on the seed and the step alone.

    Args:
        setup: what it is given.

    Attributes:
        network: the copy that is trained.
        packed: the file that it came from.
        codes: its quantized weights.
        first: their codes at the start.
        loss: what is minimised.
        optimizer: what moves the parameters.
        rate: what keeps the bytes; None where they are not limited, or no code may move.
        average: the moving average of the parameters.
        length: returns the file's length, in bytes, as the codes are now.
        norms: how batch norms go: "fused", "train" or "frozen".
        steps: steps in all.
        step: steps that are done.
        parts: pieces in which a batch is taken, because memory does not suffice for more.

    Raises:
        TrainingError: for a network that came from no file, a teacher with other outputs, or a loss
            that needs what is not there.
    """

    def __init__(self, setup: TrainingSetup) -> None:
        self.setup, config = setup, setup.config
        found = file_of(setup.network)
        if found is None:
            raise TrainingError(
                "A network must come from autocomp.load or a search to be trained within its plan, "
                f"but this {type(setup.network).__name__} does not; compress it first."
            )
        self._packed_bytes = pack(found)
        own = dtype_of(setup.network)
        dtype = torch.float32 if own in _HALVES else own  # steps would vanish in half precision
        self._samples = Samples(setup, dtype)
        first = self._samples.load(torch.arange(min(2, len(setup.train))), 0)[0]
        copied = unpacked(copy_network(setup.network).to(setup.device, dtype).eval())
        folded = fold_scales(as_one(copied, setup.task, first), found, first)
        self.packed: PackedModel = folded.packed
        source = setup.dense.state_dict() if setup.source is None else setup.source
        self.network = trainable(
            folded.network, dense=folded.source(source),
            masks=config.masks if setup.limit else "fixed", scales=config.scales,
        )  # fmt: skip
        if setup.channels_last:
            self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.steps, self.step, self.parts = self._samples.steps, 0, 1
        few = torch.arange(min(config.batch_size, len(setup.train), 8))
        inputs, targets = self._samples.load(few, 0)
        taught = setup.dense if setup.teacher is None else setup.teacher
        teacher = as_one(working_copy(taught, setup.device).to(dtype), setup.task, inputs)
        self._taught_by = fingerprint(taught)
        self._rewound = ""
        if setup.rewind is not None:
            self._rewind(setup.rewind)
            self._rewound = fingerprint(self.network)
        usual = "0.9*kd(T=4)+0.1*task" if targets is not None else "kd"
        self.loss = make_loss(config.loss or usual if setup.loss is None else setup.loss)
        self.loss.check(setup.task)
        if self.loss.needs_labels and targets is None:
            raise TrainingError(
                f"The loss {config.loss!r} needs labels, but the training samples have none; give "
                "them, or take kd, which needs none."
            )
        self._taps = self.loss.taps(list(dict.fromkeys(x.host for x in self.packed.layers)))
        self._teacher = Teacher(teacher, self._taps, len(setup.train), self._samples.repeats)
        self.norms = self._set_norms()
        self._build_loss(few, inputs, targets)
        self.codes = latents(self.network)
        self.first = [w.form.codes(w.latent.detach()).clone() for w in self.codes]
        self.length = FileLength(self.packed, self.codes)
        self.optimizer = self._make_optimizer()
        self.rate = self._make_rate()
        self.average = Average(self.parameters, config.average)

    @property
    def parameters(self) -> list[nn.Parameter]:
        """What is trained of the network."""
        return [p for p in self.network.parameters() if p.requires_grad]

    @property
    def flipped(self) -> float:
        """The share of the codes that differ from those at the start."""
        moved = total = 0
        for weight, first in zip(self.codes, self.first, strict=True):
            moved += int((weight.form.codes(weight.latent.detach()) != first).sum())
            total += first.numel()
        return moved / max(1, total)

    def identity(self) -> str:
        """Returns what a state on disk must be of: settings, network, samples."""
        digest = hashlib.sha256(repr(sorted(asdict(self.setup.config).items())).encode())
        digest.update(f"{self.setup.limit} {len(self.setup.train)} {self.steps}".encode())
        objects = (self.setup.loss, self.setup.change)
        names = [getattr(x, "__qualname__", type(x).__qualname__) for x in objects]
        digest.update(f"{self._taught_by} {self._rewound} {names}".encode())
        digest.update(self._packed_bytes)
        return digest.hexdigest()[:32]

    def advance(self) -> float:
        """Makes one step; returns its loss.

        Raises:
            TrainingError: if the loss or a gradient is not finite.
        """
        config = self.setup.config
        set_rate(self.optimizer, self.step, self.steps, config.warmup)
        loss = self._gradients()
        self._check_finite(loss)
        if self.rate is not None:
            self.rate.add_gradients()
        if config.clip:
            torch.nn.utils.clip_grad_norm_(self.parameters, config.clip)
        self.optimizer.step()
        with torch.no_grad():
            for weight in self.codes:
                weight.latent.clamp_(*weight.form.bounds)
        self.average.follow(self.step)
        self.step += 1
        return loss

    def importance(self) -> dict[str, Tensor]:
        """Returns name -> mean square of the loss's gradient by each code, where it is known."""
        found = {}
        for weight in self.codes:
            square = self.optimizer.state.get(weight.latent, {}).get("exp_avg_sq")
            if isinstance(square, Tensor):
                found[weight.name] = square + 1e-3 * square.mean() + 1e-20
        return found

    def look(self) -> float:
        """Returns the utility of the network's figure on the search samples, as it is now."""
        assert self.setup.search is not None  # validations are asked for with samples alone
        with evaluation_mode(self.network), self.average.in_place():
            found = score(self.network, self.setup.search, self.setup.task)
        return found.metric.utility(found.quality)

    def point(self, loss: float, seconds: float, quality: float | None = None) -> TrainingPoint:
        """Returns how far the training is."""
        lr = float(self.optimizer.param_groups[0]["lr"])
        return TrainingPoint(
            self.step, self.steps, loss, lr, self.length(), self.flipped, round(seconds, 2), quality
        )

    def _gradients(self) -> float:
        """Computes the gradients of this step's batch; returns the loss.

        Where memory does not suffice, the batch is taken in pieces from now on.
        """
        indices, view = self._samples.of_step(self.step)
        while True:
            self.optimizer.zero_grad(set_to_none=True)
            try:
                return self._backward(indices, view)
            except (RuntimeError, MemoryError) as error:
                if not _is_memory(error) or self.parts >= len(indices):
                    raise
                self.parts *= 2
                _LOG.warning(
                    "Memory did not suffice for a batch of %d, which is taken in %d parts from "
                    "now on.", len(indices), self.parts,
                )  # fmt: skip

    def _backward(self, indices: Tensor, view: int) -> float:
        total = 0.0
        for part in torch.split(indices, -(-len(indices) // self.parts)):
            batch = self._batch(part, *self._samples.load(part, view), view)
            loss = self.loss(batch) * (len(part) / len(indices))
            loss.backward()
            total += float(loss.detach())
        return total

    def _batch(
        self, indices: Tensor, inputs: Inputs, targets: Tensor | None, view: int
    ) -> TrainingBatch:
        """Runs teacher and network on a batch."""
        random = generator(self.setup.config.seed, "noise", self.step)
        inputs, targets, other = self._samples.mixed(inputs, targets, random)
        teacher: Tensor | None = None
        features: Mapping[Tap, Tensor] = {}
        if self.loss.needs_teacher:
            known = view if self._samples.fixed else -1
            teacher, features = self._teacher(inputs, indices, known)
        with tapped(self.network, self._taps) as own, self._precision():
            outputs = self.network(inputs)
        outputs = outputs.float()
        if teacher is not None and teacher.shape != outputs.shape:
            raise TrainingError(
                f"Teacher and trained network must give outputs of one shape, but give "
                f"{tuple(teacher.shape)} and {tuple(outputs.shape)}; give the dense network of "
                "this one."
            )
        return TrainingBatch(
            self.setup.task, outputs, teacher, targets, other, dict(own), features,
            self.step / self.steps, random, lambda: self.network(inputs).float(), self.network,
        )  # fmt: skip

    def _precision(self) -> torch.autocast:
        wanted, device = self.setup.config.precision, self.setup.device.type
        mixed = wanted == "bfloat16" or (wanted == "auto" and device == "cuda")
        return torch.autocast(device, torch.bfloat16, enabled=mixed)

    def _check_finite(self, loss: float) -> None:
        named = [(plain_name(name), p) for name, p in self.network.named_parameters()]
        bad = [n for n, p in named if p.grad is not None and not bool(p.grad.isfinite().all())]
        if abs(loss) < float("inf") and not bad:
            return
        where = f" in {bad[0]!r}" if bad else ""
        lr = float(self.optimizer.param_groups[0]["first"])
        raise TrainingError(
            f"Training must keep its numbers finite, but step {self.step + 1} of {self.steps} gave "
            f"a loss of {loss:.4g}{where}; try lr={lr / 4:.2g}."
        )

    def _rewind(self, tensors: Mapping[str, Tensor]) -> None:
        """Puts earlier tensors into what stays floating; zeros of the plan stay."""
        if not isinstance(tensors, Mapping) or not all(
            isinstance(tensor, Tensor) for tensor in tensors.values()
        ):
            raise TrainingError(
                f"`rewind` must be a network, or its tensors by name, but got {tensors!r:.60}."
            )
        if self.packed.plan.side_bits == 16:
            raise TrainingError(
                "A network is rewound to earlier weights where its plan quantizes none, but this "
                "one does; search a space of zeros alone (space=sparsity)."
            )
        own = {plain_name(k): t for k, t in self.network.state_dict(keep_vars=True).items()}
        with torch.no_grad():
            for name, tensor in own.items():
                early = tensors.get(name)
                if early is None or early.shape != tensor.shape:
                    if name in self.packed.weights or name in self.packed.side:
                        raise TrainingError(
                            f"A network is rewound to earlier weights of its own shapes, but "
                            f"{name!r} differs; give the state of the same network."
                        )
                    continue
                tensor.copy_(early.to(tensor))

    def _set_norms(self) -> str:
        """Decides how batch norms go, and which of their parameters are trained."""
        config = self.setup.config
        wanted = config.norms
        if wanted == "auto":
            small = min(config.batch_size, len(self.setup.train)) < _SMALLEST_NORM_BATCH
            wanted = "fused" if self.packed.plan.side_bits == 16 or small else "train"
        for module in self.network.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.train(wanted == "train")
                for parameter in module.parameters(recurse=False):
                    parameter.requires_grad_(wanted != "frozen")
        return wanted

    def _build_loss(self, few: Tensor, inputs: Inputs, targets: Tensor | None) -> None:
        with evaluation_mode(self.network):
            batch = self._batch(few, inputs, targets, -1)
        try:
            self.setup.task.check(batch.outputs.detach(), targets)
        except DataError as error:
            raise TrainingError(f"The training samples must suit the task: {error}") from None
        self.loss.build(batch)
        self.loss.to(self.setup.device)

    def _make_optimizer(self) -> torch.optim.Optimizer:
        codes = [weight.latent for weight in self.codes]
        known = {id(parameter) for parameter in codes}
        floating: list[nn.Parameter] = []
        side: list[nn.Parameter] = []
        for name, parameter in self.network.named_parameters():
            if id(parameter) not in known and parameter.requires_grad:
                (floating if plain_name(name) in self.packed.weights else side).append(parameter)
        return make_optimizer(
            self.setup.config, codes, floating, side, list(self.loss.parameters())
        )

    def _make_rate(self) -> RateTerm | None:
        if self.setup.limit is None or not self.codes:
            return None
        aimed = self.setup.limit * (1 - _MARGIN) - self.length.others
        if aimed <= 0:
            raise TrainingError(
                f"A file of at most {self.setup.limit} bytes must hold codes, but "
                f"{self.length.others:.0f} bytes are other things; give a larger limit."
            )
        rate = RateTerm(self.codes, 1.0)
        models = self.length.first_bits - rate.bits  # of symbols, and scales
        rate.limit = max(1.0, aimed * 8 - models)
        return rate


def _is_memory(error: BaseException) -> bool:
    text = str(error).lower()
    return isinstance(error, MemoryError) or any(known in text for known in _MEMORY)
