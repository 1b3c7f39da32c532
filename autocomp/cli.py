"""The command line; the only place that prints."""

from __future__ import annotations

import argparse
import inspect
from collections.abc import Sequence
from dataclasses import fields
from typing import Any, NoReturn

from rich.console import Console

from autocomp.config import SearchConfig
from autocomp.errors import AutocompError
from autocomp.registry import Factory, find, names

_LISTS = {
    "spaces": ("autocomp.search_spaces", "SPACES", "action spaces"),
    "agents": ("autocomp.agents", "AGENTS", "agents"),
    "costs": ("autocomp.costs", "COSTS", "costs that a budget can name"),
    "models": ("autocomp.models", "MODELS", "networks"),
    "data": ("autocomp.data", "DATA", "data sets"),
    "criteria": ("autocomp.saliency", "CRITERIA", "saliency criteria that order channels"),
    "compressors": ("autocomp.compressors", "COMPRESSORS", "pruners and quantizers"),
}


class _Parser(argparse.ArgumentParser):
    """Ends with one line and exit code 2, like every other bad input."""

    def error(self, message: str) -> NoReturn:
        raise AutocompError(f"{message}; see `{self.prog} --help`.")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; returns 0, or 2 after one line for bad input, or 130 when interrupted."""
    errors = Console(stderr=True, soft_wrap=True, highlight=False)
    try:
        given = _parser().parse_args(arguments)
        command: Any = given.run
        code: int = command(given)
        return code
    except AutocompError as error:
        line = " ".join(str(error).split())
        errors.print(f"autocomp: error: {line}", markup=False)
        return 2
    except KeyboardInterrupt:
        errors.print("autocomp: stopped; `autocomp resume RUN` continues.", markup=False)
        return 130


def _parser() -> _Parser:
    parser = _Parser(prog="autocomp", description="Searches how to compress a trained network.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    search = commands.add_parser("search", help="search a network under a budget")
    for f in fields(SearchConfig):
        _add_option(search, f)
    search.add_argument("--out", help="run folder (default: runs/<time>-<name>)")
    search.set_defaults(run=_search)

    resume = commands.add_parser("resume", help="continue a run that was stopped")
    resume.add_argument("folder", metavar="RUN", help="the run folder")
    resume.set_defaults(run=_resume)

    evaluate = commands.add_parser("evaluate", help="score a compressed file on a split")
    evaluate.add_argument("file", metavar="FILE", help="a run's model.safetensors")
    evaluate.add_argument("--data", default="digits", help="as for search")
    evaluate.add_argument(
        "--split", default="test", choices=("calibration", "search", "test"), help="which images"
    )
    evaluate.add_argument("--model", default=None, help="architecture, where the file names none")
    evaluate.add_argument("--batch-size", type=int, default=500, help="images per forward pass")
    evaluate.add_argument("--device", default="cpu", help="where the network runs")
    evaluate.set_defaults(run=_evaluate)

    for command, (module, table, what) in _LISTS.items():
        listing = commands.add_parser(command, help=f"list the {what}")
        listing.set_defaults(run=_list, module=module, table=table)
    return parser


def _add_option(parser: argparse.ArgumentParser, option: Any) -> None:
    flags = [f"--{option.name.replace('_', '-')}"]
    if "short" in option.metadata:
        flags.insert(0, option.metadata["short"])
    several = isinstance(option.default, tuple)
    default = ",".join(option.default) if several else option.default
    shown = f" (default: {default})" if default not in ("", None) else ""
    parser.add_argument(
        *flags,
        default=None if several else option.default,
        action="append" if several else "store",
        type=int if isinstance(option.default, int) else str,
        help=(option.metadata["help"] + shown).replace("%", "%%"),
        metavar=option.name.upper(),
    )


def _search(given: argparse.Namespace) -> int:
    from autocomp.searcher import search

    settings = {}
    for f in fields(SearchConfig):
        value = getattr(given, f.name)
        if isinstance(f.default, tuple):
            parts = [part for text in value or f.default for part in text.split(",")]
            value = tuple(part.strip() for part in parts if part.strip())
        settings[f.name] = value
    model, data = settings.pop("model"), settings.pop("data")
    return _with_progress(
        settings["evaluations"],
        lambda update: search(model, data, out=given.out, on_outcome=update, **settings),
    )


def _resume(given: argparse.Namespace) -> int:
    from autocomp.report.summary import Summary
    from autocomp.runs import Run
    from autocomp.searcher import resume

    run = Run.open(given.folder)
    done = run.summary()
    if done is not None:
        console = Console()
        console.print(f"The run {given.folder} is complete.", markup=False)
        _closing(console, Summary.from_json(done), given.folder)
        return 0
    evaluations = SearchConfig.from_json(run.config()["settings"]).evaluations
    return _with_progress(evaluations, lambda update: resume(given.folder, on_outcome=update))


def _with_progress(evaluations: int, job: Any) -> int:
    from autocomp.report.progress import SearchProgress

    console = Console()
    with SearchProgress(evaluations, console) as progress:
        result = job(progress.update)
    _closing(console, result.summary, result.run.path)
    return 0


def _closing(console: Console, summary: Any, folder: Any) -> None:
    from autocomp.report.tables import dense_against_compressed, layer_by_layer, notes

    # columns are never cut: a pipe or a narrow terminal gets whole lines
    wide = Console(width=max(console.width, 120)) if not console.is_terminal else console
    wide.print(layer_by_layer(summary))
    wide.print(dense_against_compressed(summary))
    for line in notes(summary):
        console.print(line, markup=False, soft_wrap=True, highlight=False)
    console.print(f"Run: {folder}", markup=False, soft_wrap=True, highlight=False)


def _evaluate(given: argparse.Namespace) -> int:
    from autocomp.artifacts.model_file import load
    from autocomp.data import load_data
    from autocomp.evaluate import Batches, dtype_of, score, usable_device

    if given.batch_size < 1:
        raise AutocompError(f"`batch-size >= 1` must hold, but got {given.batch_size}.")
    device = usable_device(given.device)
    network = load(given.file, given.model).to(device)
    data = load_data(given.data)
    split = getattr(data, given.split)
    batches = Batches(split, given.batch_size, device, dtype_of(network))
    result = score(network, batches)
    Console().print(
        f"{given.split}: accuracy {result.accuracy:.2%} +- {result.standard_error:.2%}, "
        f"loss {result.loss:.4f}, {result.n} images",
        markup=False, soft_wrap=True, highlight=False,
    )  # fmt: skip
    return 0


def _list(given: argparse.Namespace) -> int:
    from importlib import import_module

    module = import_module(given.module)
    builtin: dict[str, Factory] = getattr(module, given.table)
    console = Console()
    known = names(builtin, module.GROUP)
    width = max(map(len, known))
    for name in known:
        try:
            factory = find(given.command, name, builtin, module.GROUP)
            text = (inspect.getdoc(factory) or "").split("\n")[0]
        except AutocompError as error:
            text = str(error)
        line = f"{name:<{width}}  {text}"
        console.print(line, markup=False, soft_wrap=True, highlight=False)
    return 0
