"""What a learned policy does: over budgets, over observations, and while it was trained."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Sweep:
    """The policy's plan at each of several budgets, nothing evaluated.

    Attributes:
        budgets: the budgets, as texts ("size=3.00%"), the tightest first.
        own: place in `budgets` of the run's own.
        actions: `[budget][layer][entry]`: the action that was executed, in [-1, 1].
        choices: `[budget][layer]`: the choice, in words.
        estimated: `[budget]`: estimated loss (F0, nats) of the policy's plan.
        solver: `[budget]`: of the exact solver's plan.
    """

    budgets: tuple[str, ...]
    own: int
    actions: tuple[tuple[tuple[float, ...], ...], ...]
    choices: tuple[tuple[str, ...], ...]
    estimated: tuple[float, ...]
    solver: tuple[float, ...]


@dataclass(frozen=True)
class Surface:
    """What the critic thinks of every action at one layer, on the policy's own way there.

    Attributes:
        layer: the layer.
        xs: values of the first action entry, in [-1, 1].
        ys: values of the second one; (0.0,) if actions have one entry.
        values: `[y][x]`: the critic's value, in units of `PolicyPicture.unit`.
        at: the policy's own action, one number an entry, at most two.
    """

    layer: str
    xs: tuple[float, ...]
    ys: tuple[float, ...]
    values: tuple[tuple[float, ...], ...]
    at: tuple[float, ...]


@dataclass(frozen=True)
class Influence:
    """How much the action depends on one observation feature.

    Attributes:
        feature: its name.
        effect: mean absolute change of the action when the feature is permuted over all layers and
            budgets (permutation importance); the action interval is 2 wide.
    """

    feature: str
    effect: float


@dataclass(frozen=True)
class Movement:
    """The policy's deterministic plan while it was trained.

    Attributes:
        evaluations: evaluations done at each look.
        actions: `[look][layer][entry]`: the action executed then, in [-1, 1].
    """

    evaluations: tuple[int, ...]
    actions: tuple[tuple[tuple[float, ...], ...], ...]


@dataclass(frozen=True)
class PolicyPicture:
    """Everything that is shown of a learned agent.

    Attributes:
        algorithm: its class ("DDPG").
        entries: what larger action entries keep more of ("weights kept", "weight bits").
        layers: the layers, in order.
        unit: what the critic's values are.
        sweep: the policy over budgets.
        surfaces: the critic, layer by layer.
        influences: the features, the most important first.
        movement: the policy during training; no looks if the run kept none.
    """

    algorithm: str
    entries: tuple[str, ...]
    layers: tuple[str, ...]
    unit: str
    sweep: Sweep
    surfaces: tuple[Surface, ...]
    influences: tuple[Influence, ...]
    movement: Movement
