"""`search` and `resume`."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

from rich.console import Console

from autocomp.cli.console import say, show
from autocomp.cli.trust import add_trust, tell_trusted
from autocomp.runs.settings import SearchConfig

_NOT_OF_QUANTIZE = (
    "model", "weights", "data", "budget", "space", "agent", "policy", "evaluations", "finalists",
    "tuned", "warm_start", "tensorboard",
)  # fmt: skip
"""Settings that one plan does not have, or that have another flag."""


def add(commands: Any) -> None:
    """Adds the commands to the parser."""
    search = commands.add_parser("search", help="search a network under a budget")
    add_options(search)
    search.add_argument("--out", help="run folder (default: runs/<time>-<name>)")
    search.set_defaults(run=_search)

    quantize = commands.add_parser(
        "quantize", help="give every layer the same widths",
        description="The search of a space with one plan; --help of search explains the settings.",
    )  # fmt: skip
    quantize.add_argument("model", metavar="MODEL", help="network, as for search")
    quantize.add_argument(
        "--weights", type=int, default=8, metavar="BITS", help="bits of a weight (default: 8)"
    )
    quantize.add_argument(
        "--activations", type=int, default=8, metavar="BITS",
        help="bits of a layer's inputs; 32 leaves them alone (default: 8)",
    )  # fmt: skip
    quantize.add_argument(
        "--outputs", type=int, default=8, metavar="BITS",
        help="bits of outputs that no next layer rounds, and of their sums (default: 8)",
    )  # fmt: skip
    quantize.add_argument("--checkpoint", default="", help="weights file for a named network")
    quantize.add_argument(
        "--data", default="none",
        help="as for search (default: none, inputs made out of the network's batch norms)",
    )  # fmt: skip
    add_options(quantize, _NOT_OF_QUANTIZE)
    quantize.add_argument("--out", help="run folder (default: runs/<time>-<name>)")
    quantize.set_defaults(run=_quantize)

    train = commands.add_parser(
        "train-policy", help="train one policy over several networks and budgets"
    )
    train.add_argument(
        "--problem", nargs=3, action="append", metavar=("MODEL", "WEIGHTS", "DATA"), required=True,
        help="a network, its weights file (- for none) and its data, as for search; repeatable",
    )  # fmt: skip
    train.add_argument(
        "--budget", default="size=3%..12%",
        help="range of budgets, COST=LEAST..LARGEST (default: size=3%%..12%%)",
    )  # fmt: skip
    train.add_argument("--budgets", type=int, default=6, help="budgets of each network")
    train.add_argument("--agent", default="ddpg", help="ddpg, td3, sac or ppo, with options")
    train.add_argument(
        "--space", default="coefficients:menu=joint",
        help="action space; searches that begin with the policy use the same",
    )  # fmt: skip
    train.add_argument("--episodes", type=int, default=300, help="episodes in all")
    train.add_argument(
        "--level", default="F1", choices=("F0", "F1"),
        help="what judges plans: estimates (F0, quick) or measurements (F1)",
    )  # fmt: skip
    train.add_argument("--seed", type=int, default=0, help="seed of the training")
    train.add_argument("--threads", type=int, default=0, help="processor threads")
    train.add_argument("--out", default=None, help="folder (default: runs/<time>-policy-<agent>)")
    train.set_defaults(run=_train)

    resume = commands.add_parser("resume", help="continue a run that was stopped")
    resume.add_argument("folder", metavar="RUN", help="the run folder")
    add_trust(resume)
    resume.set_defaults(run=_resume)


def add_options(parser: argparse.ArgumentParser, without: tuple[str, ...] = ()) -> None:
    """Adds an option for each setting of a search."""
    for option in fields(SearchConfig):
        if option.name not in without:
            _add_option(parser, option)


def settings_of(given: argparse.Namespace, without: tuple[str, ...] = ()) -> dict[str, Any]:
    """Returns the settings of a search that were given, lists split at commas."""
    settings = {}
    for f in fields(SearchConfig):
        if f.name in without:
            continue
        value = getattr(given, f.name)
        if isinstance(f.default, tuple):
            parts = [part for text in value or f.default for part in text.split(",")]
            value = tuple(part.strip() for part in parts if part.strip())
        settings[f.name] = value
    return settings


def _add_option(parser: argparse.ArgumentParser, option: Any) -> None:
    flags = [f"--{option.name.replace('_', '-')}"]
    if "short" in option.metadata:
        flags.insert(0, option.metadata["short"])
    text = option.metadata["help"]
    if isinstance(option.default, bool):
        parser.add_argument(*flags, action="store_true", help=text.replace("%", "%%"))
        return
    several = isinstance(option.default, tuple)
    default = ",".join(option.default) if several else option.default
    shown = f" (default: {default})" if default not in ("", None) else ""
    parser.add_argument(
        *flags,
        default=None if several else option.default,
        action="append" if several else "store",
        type=int if isinstance(option.default, int) else str,
        help=(text + shown).replace("%", "%%"),
        metavar=option.name.upper(),
    )


def _search(given: argparse.Namespace) -> int:
    from autocomp.api.search import search

    settings = settings_of(given)
    model, data = settings.pop("model"), settings.pop("data")
    return _with_progress(
        settings["evaluations"],
        lambda update: search(
            model, data, out=given.out, on_outcome=update, progress=False, **settings
        ),
    )


def _quantize(given: argparse.Namespace) -> int:
    from autocomp.api.quantize import quantize

    settings = settings_of(given, _NOT_OF_QUANTIZE)
    return _with_progress(
        1,
        lambda update: quantize(
            given.model, given.data, weights=given.weights, activations=given.activations,
            outputs=given.outputs, checkpoint=given.checkpoint, out=given.out, on_outcome=update,
            progress=False, **settings,
        ),
    )  # fmt: skip


def _train(given: argparse.Namespace) -> int:
    from autocomp.api.train_policy import TrainingNetwork, train_policy

    networks = [TrainingNetwork(m, d, "" if w == "-" else w) for m, w, d in given.problem]
    step = max(1, given.episodes // 10)

    def tell(episode: int, place: int, value: float) -> None:
        if (episode + 1) % step == 0:
            say(f"episode {episode + 1}/{given.episodes} problem {place + 1}: {value:+.1%}")

    found = train_policy(
        networks, given.budget, agent=given.agent, space=given.space, episodes=given.episodes,
        n_budgets=given.budgets, level=given.level, seed=given.seed, out=given.out,
        on_episode=tell, threads=given.threads,
    )  # fmt: skip
    for number, (network, budget) in enumerate(found.budgets):
        values = [v for v, at in zip(found.returns, found.tasks, strict=True) if at == number]
        say(
            f"problem {number + 1}, {networks[network].model} at {budget}: {len(values)} episodes, "
            f"loss below the solver's by {values[-1]:+.1%} at the end, {max(values):+.1%} at best"
        )
    say(f"Scaled to {found.share:.0%} of its action, which did best on budgets it never saw.")
    say(f"Policy: {found.path}")
    return 0


def _resume(given: argparse.Namespace) -> int:
    from autocomp.api.resume import resume
    from autocomp.reports.files import REPORT, write_report
    from autocomp.runs.folder import Run
    from autocomp.runs.summary import Summary

    run = Run.open(given.folder)
    done = run.summary()
    if done is not None:
        say(f"The run {given.folder} is complete.")
        wanted = SearchConfig.from_json(run.config()["settings"]).report != "none"
        if wanted and not (run.path / REPORT).exists():
            write_report(run)
        _closing(Summary.from_json(done), run.path)
        return 0
    evaluations = SearchConfig.from_json(run.config()["settings"]).evaluations
    tell_trusted(given)
    return _with_progress(
        evaluations,
        lambda update: resume(
            given.folder, model=given.model, data=given.data, on_outcome=update, progress=False,
            trust=given.trust_run,
        ),
    )  # fmt: skip


def _with_progress(evaluations: int, job: Callable[[Any], Any]) -> int:
    from autocomp.reports.terminal.progress import SearchProgress

    console = Console()
    with SearchProgress(evaluations, console) as progress:
        result = job(progress.update)
    _closing(result.summary, result.run.path)
    return 0


def _closing(summary: Any, folder: Path) -> None:
    from autocomp.reports.files import REPORT
    from autocomp.reports.terminal.tables import dense_against_compressed, layer_by_layer, notes

    show([layer_by_layer(summary), dense_against_compressed(summary)])
    say(*notes(summary), f"Run: {folder}")
    if (folder / REPORT).exists():
        say(f"Report: {folder / REPORT}")
