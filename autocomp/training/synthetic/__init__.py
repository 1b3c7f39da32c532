"""Training and calibration without data: inputs made out of the network itself."""

from __future__ import annotations

from autocomp.training.synthetic.inputs import SyntheticInputs, synthetic_inputs
from autocomp.training.synthetic.splits import synthetic_splits

__all__ = ["SyntheticInputs", "synthetic_inputs", "synthetic_splits"]
