"""`evaluate`, `export` and `measure`: what is done with one network."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from autocomp.cli.console import say, show
from autocomp.cli.trust import TRUST, tell_trusted

SPLITS = ("calibration", "search", "test")


def add(commands: Any) -> None:
    """Adds the commands to the parser."""
    evaluate = commands.add_parser("evaluate", help="score a compressed file on a split")
    evaluate.add_argument("file", metavar="FILE", help="a run's model.safetensors")
    evaluate.add_argument("--data", default="digits", help="as for search")
    evaluate.add_argument("--split", default="test", choices=SPLITS, help="which images")
    evaluate.add_argument("--model", default=None, help="architecture, where the file names none")
    evaluate.add_argument("--task", default="classification", help="as for search")
    evaluate.add_argument(
        "--dense", default=None, help="the dense network, for tasks that compare with it"
    )
    evaluate.add_argument("--weights", default="", help="weights of the dense network")
    evaluate.add_argument("--batch-size", type=int, default=500, help="images per forward pass")
    evaluate.add_argument("--device", default="cpu", help="where the network runs")
    evaluate.set_defaults(run=_evaluate)

    export = commands.add_parser("export", help="write a run's network for another runtime")
    export.add_argument("run_or_file", metavar="RUN", help="the run folder, or its compressed file")
    export.add_argument("--to", default="onnx", help="format: onnx, or c for a header of C")
    export.add_argument(
        "--out", default=None, help="file to write (default: RUN/model.onnx, RUN/model.h)"
    )
    export.add_argument("--data", default="", help="as for search (default: the run's)")
    export.add_argument("--model", default="", help="architecture (default: the run's)")
    export.add_argument("--task", default="", help="as for search (default: the run's)")
    export.add_argument(
        "--split", default="test", choices=SPLITS,
        help="images on which the file is compared with the network",
    )  # fmt: skip
    export.add_argument("--opset", type=int, default=None, help="ONNX opset, 21 to 25")
    export.add_argument("--threads", type=int, default=1, help="threads of the runtime")
    export.add_argument("--trust-run", action="store_true", help=TRUST)
    export.set_defaults(run=_export)

    measure = commands.add_parser("measure", help="what a network costs, layer by layer")
    measure.add_argument("model", metavar="MODEL", help="as for search, or a compressed file")
    measure.add_argument("--weights", default="", help="as for search; not needed to measure")
    measure.add_argument("--data", default="", help="as for search; gives the inputs' shape")
    measure.add_argument("--input", default="", help="shape of one input, as 3x32x32")
    measure.add_argument("--keep", default="", help="layers to leave alone, comma-separated")
    measure.add_argument("--no-latency", action="store_true", help="measure no times")
    measure.add_argument(
        "--device-table", metavar="FILE",
        help="write this machine's times of the layers, for searches elsewhere; takes minutes",
    )  # fmt: skip
    measure.add_argument("--json", action="store_true", help="print JSON")
    measure.set_defaults(run=_measure)


def _evaluate(given: argparse.Namespace) -> int:
    from autocomp.api.evaluate import evaluate

    result = evaluate(
        given.file, given.data, split=given.split, model=given.model, batch_size=given.batch_size,
        device=given.device, task=given.task,
        dense=given.dense, weights=given.weights,
    )  # fmt: skip
    say(
        f"{given.split}: {result.metric.name} {result}, loss {result.loss:.4f}, {result.n} "
        f"{'images' if result.metric.name == 'accuracy' else 'samples'}"
    )
    return 0


def _export(given: argparse.Namespace) -> int:
    from autocomp.api.export import export
    from autocomp.api.inputs import source_of_export
    from autocomp.exporters.formats import exporter
    from autocomp.reports.terminal.exports import export_notes, export_table

    if Path(given.run_or_file).is_dir():
        tell_trusted(given, given.run_or_file)
    file, *_ = source_of_export(
        given.run_or_file,
        given.data or None,
        given.model or None,
        given.trust_run,
        given.task or None,
    )
    suffix = exporter(given.to).suffix
    out = file.with_suffix(suffix) if given.out is None else Path(given.out)
    found = export(
        given.run_or_file, given.to, out=out, data=given.data or None, model=given.model or None,
        split=given.split, opset=given.opset, threads=given.threads, trust=given.trust_run,
        task=given.task or None,
    )  # fmt: skip
    show([export_table(found)], 140)
    say(*export_notes(found, given.split), f"File: {out}")
    return 0


def _measure(given: argparse.Namespace) -> int:
    from autocomp.api.measure import measure
    from autocomp.reports.terminal.measurement import measurement_notes, measurement_table

    keep = [name.strip() for name in given.keep.split(",") if name.strip()]
    found = measure(
        given.model, weights=given.weights, data=given.data or None, input=given.input or None,
        keep=keep, latency=not given.no_latency, device_table=given.device_table,
    )  # fmt: skip
    if given.json:
        say(json.dumps(found.to_json()))
        return 0
    show([measurement_table(found)], 140)
    say(*measurement_notes(found))
    return 0
