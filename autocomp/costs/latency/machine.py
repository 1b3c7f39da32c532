"""What a measured time belongs to: processor, runtime and threads."""

from __future__ import annotations

import hashlib
import json
import platform
from dataclasses import asdict, dataclass
from pathlib import Path

from autocomp.runtime import library


@dataclass(frozen=True)
class Machine:
    """Times are comparable on one machine alone.

    Attributes:
        processor: the processor's model name.
        runtime: name and version of what runs the network.
        threads: threads within an operator; operators run one after the other.
    """

    processor: str
    runtime: str
    threads: int

    @classmethod
    def here(cls, threads: int = 1) -> Machine:
        """Describes this machine; ModelError if onnxruntime is missing."""
        version = library("onnxruntime").__version__
        return cls(processor_name(), f"onnxruntime {version}", threads)

    @property
    def digest(self) -> str:
        """24 hexadecimal digits that stand for it."""
        text = json.dumps(asdict(self), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:24]

    def __str__(self) -> str:
        threads = f"{self.threads} thread{'s' if self.threads > 1 else ''}"
        return f"{self.processor}, {self.runtime}, {threads}"


def processor_name(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """Returns the processor's model name and family, or what the platform module knows.

    Args:
        cpuinfo: Linux's list of processors; need not exist.
    """
    found: dict[str, str] = {}
    try:
        lines = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    for line in lines:
        name, _, value = line.partition(":")
        found.setdefault(name.strip(), value.strip())
    if "model name" not in found:
        return platform.processor() or platform.machine() or "unknown processor"
    # virtual machines may give a name without the model's number
    marks = [f"{k} {found[k]}" for k in ("cpu family", "model", "stepping") if k in found]
    return f"{found['model name']} ({', '.join(marks)})" if marks else found["model name"]
