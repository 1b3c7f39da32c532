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
    "decompositions": ("autocomp.decomposition", "DECOMPOSITIONS", "ways to lower a layer's rank"),
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

    export = commands.add_parser("export", help="write a run's network for another runtime")
    export.add_argument("run_or_file", metavar="RUN", help="the run folder, or its compressed file")
    export.add_argument("--to", default="onnx", choices=("onnx",), help="format")
    export.add_argument("--out", default="", help="file to write (default: RUN/model.onnx)")
    export.add_argument("--data", default="", help="as for search (default: the run's)")
    export.add_argument("--model", default="", help="architecture (default: the run's)")
    export.add_argument(
        "--split", default="test", choices=("calibration", "search", "test"),
        help="images on which the file is compared with the network",
    )  # fmt: skip
    export.add_argument("--opset", type=int, default=None, help="ONNX opset, 21 to 25")
    export.add_argument("--threads", type=int, default=1, help="threads of the runtime")
    export.set_defaults(run=_export)

    measure = commands.add_parser("measure", help="what a network costs, layer by layer")
    measure.add_argument("model", metavar="MODEL", help="as for search, or a compressed file")
    measure.add_argument("--weights", default="", help="as for search; not needed to measure")
    measure.add_argument("--data", default="", help="as for search; gives the inputs' shape")
    measure.add_argument("--input", default="", help="shape of one input, as 3x32x32")
    measure.add_argument("--keep", default="", help="layers to leave alone, comma-separated")
    measure.add_argument("--no-latency", action="store_true", help="measure no times")
    measure.add_argument("--json", action="store_true", help="print JSON")
    measure.set_defaults(run=_measure)

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


def _export(given: argparse.Namespace) -> int:
    from pathlib import Path

    from autocomp.export.onnx_run import export_run
    from autocomp.report.exports import export_notes, export_table
    from autocomp.report.inputs import source_of_export

    file, data, model = source_of_export(given.run_or_file, given.data, given.model)
    out = Path(given.out) if given.out else file.with_suffix(".onnx")
    found = export_run(
        file, out, data, model, given.opset, split=given.split, threads=given.threads
    )
    console = Console()
    wide = Console(width=max(console.width, 140)) if not console.is_terminal else console
    wide.print(export_table(found))
    for line in export_notes(found, given.split):
        console.print(line, markup=False, soft_wrap=True, highlight=False)
    console.print(f"File: {out}", markup=False, soft_wrap=True, highlight=False)
    return 0


def _measure(given: argparse.Namespace) -> int:
    import json

    from autocomp.report.inputs import example_for, network_for
    from autocomp.report.measurement import measure_network, measurement_notes, measurement_table

    network = network_for(given.model, given.weights)
    example = example_for(network, given.model, given.data, given.input)
    keep = [name.strip() for name in given.keep.split(",") if name.strip()]
    found = measure_network(network, example, keep, latency=not given.no_latency)
    console = Console()
    if given.json:
        console.print(json.dumps(found.to_json()), markup=False, soft_wrap=True, highlight=False)
        return 0
    wide = Console(width=max(console.width, 140)) if not console.is_terminal else console
    wide.print(measurement_table(found))
    for line in measurement_notes(found):
        console.print(line, markup=False, soft_wrap=True, highlight=False)
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
