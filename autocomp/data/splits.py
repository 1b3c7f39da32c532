"""The splits of one data set, each with its own use, and how to get them from what a user has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

from autocomp.core.structured import Inputs, leaves_of
from autocomp.data.adapt import as_split
from autocomp.data.split import Loaded, Split
from autocomp.errors import DataError, unknown

_KEYS = {
    "calibration": "calibration",
    "train": "train",
    "search": "search",
    "validation": "search",
    "val": "search",
    "test": "test",
}
_TAKES = (
    "Give a DataSplits, the tuple (calibration, search, test), or a mapping with the keys "
    "'calibration' or 'train', 'search' or 'validation', and 'test'."
)
CALIBRATION_SIZE = 512


@dataclass(frozen=True)
class DataSplits:
    """A data set in splits that must not share a sample.

    Attributes:
        name: what the data set is called in messages.
        calibration: unlabelled use only: layer statistics and reconstruction.
        search: plans are judged and chosen on it.
        test: read once, at the very end.
        n_classes: labels lie in `range(n_classes)`; None where they are no class numbers.
        train: for fine-tuning; None where there is nothing beyond `calibration`.

    Raises:
        DataError: if `n_classes < 1`.
    """

    name: str
    calibration: Split
    search: Split
    test: Split
    n_classes: int | None
    train: Split | None = None

    def __post_init__(self) -> None:
        if self.n_classes is not None and self.n_classes < 1:
            raise DataError(
                f"{self.name}: `n_classes >= 1` must hold, but got {self.n_classes}. "
                "Give 1 + the largest label."
            )

    def named(self, split: str) -> Split:
        """Returns the split "calibration", "search" or "test"; DataError for another name."""
        found = {"calibration": self.calibration, "search": self.search, "test": self.test}
        if split not in found:
            raise DataError(unknown("split", str(split), found))
        return found[split]

    def example_inputs(self, n: int = 1) -> Inputs:
        """Returns the first `n` calibration inputs, normalised, `(n, ...)`.

        Raises:
            DataError: if `n` lies outside [1, number of calibration images].
        """
        if not 1 <= n <= len(self.calibration):
            raise DataError(
                f"{self.name}: `1 <= n <= {len(self.calibration)}` must hold for example inputs, "
                f"but got {n=}. Ask for no more than the calibration split holds."
            )
        return self.calibration.batch(slice(0, n))[0]

    def check_labels(self, split: Split) -> None:
        """Loads `split` and checks its labels.

        Raises:
            DataError: if a label of `split` is not below `n_classes`.
        """
        labels = split.labels
        if labels is None or self.n_classes is None:
            return
        largest = int(labels.max())
        if largest >= self.n_classes:
            raise DataError(
                f"{split.name}: labels must be below n_classes={self.n_classes}, but one is "
                f"{largest}. Use the same class numbers in every split."
            )


def as_splits(thing: object, name: str = "user") -> DataSplits:
    """Returns `thing` as the splits of a data set; calibration and search are loaded.

    Args:
        thing: a DataSplits (returned as is), the tuple (calibration, search, test), or a mapping
            with the keys "calibration" or "train", "search" or "validation" or "val", and "test".
            Each element is whatever `adapt.as_split` takes. Of a mapping with "train" but no
            "calibration", 512 training images are drawn for calibration.
        name: what the data set is called in messages.

    Returns:
        The splits; `n_classes` is 1 + the largest label of calibration and search. The test split
        is not loaded.

    Raises:
        DataError: if `thing` is none of these, a split is missing or doubled, or calibration and
            search differ in the shape of their images.
    """
    if isinstance(thing, DataSplits):
        return thing
    if isinstance(thing, Mapping):
        found = _named(thing, name)
    elif isinstance(thing, (tuple, list)) and len(thing) == 3:
        found = dict(zip(("calibration", "search", "test"), thing, strict=True))
    else:
        size = f" of length {len(thing)}" if isinstance(thing, (tuple, list)) else ""
        raise DataError(f"{name}: a {type(thing).__name__}{size} is not a data set. {_TAKES}")
    splits = {key: as_split(value, f"{name} {key}") for key, value in found.items()}
    if "calibration" not in splits:
        draw = partial(_draw, splits["train"], f"{name} calibration")
        train = splits["train"]
        splits["calibration"] = Split(draw, f"{name} calibration", train.mean, train.std)
    calibration, search = splits["calibration"], splits["search"]
    if _shapes(calibration.images) != _shapes(search.images):
        raise DataError(
            f"{name}: calibration images are {_told(calibration.images)} but search images "
            f"{_told(search.images)}. Bring both to one shape."
        )
    test = found["test"]  # its split is not to be read
    shape = getattr(test[0], "shape", None) if isinstance(test, (tuple, list)) and test else None
    if shape is not None and [tuple(shape[1:])] != _shapes(search.images):
        raise DataError(
            f"{name}: search images are {_told(search.images)} but test images "
            f"{tuple(shape[1:])}. Bring both to one shape."
        )
    n_classes = _classes(calibration, search)
    return DataSplits(name, calibration, search, splits["test"], n_classes, splits.get("train"))


def _classes(*splits: Split) -> int | None:
    """Returns 1 + the largest label; None where labels are no class numbers."""
    largest = -1
    for split in splits:
        labels = split.labels
        if labels is None or labels.dim() != 1 or labels.is_floating_point():
            return None
        largest = max(largest, int(labels.max()))
    return 1 + largest if largest >= 0 else None


def _shapes(inputs: Inputs) -> list[tuple[int, ...]]:
    """Returns the shape of one sample of each tensor."""
    return [tuple(leaf.shape[1:]) for leaf in leaves_of(inputs)]


def _told(inputs: Inputs) -> str:
    return ", ".join(map(str, _shapes(inputs)))


def _named(thing: Mapping[object, object], name: str) -> dict[str, object]:
    """Returns the mapping under the names used here, complete and without unknown keys."""
    found: dict[str, object] = {}
    for key, value in thing.items():
        if key not in _KEYS:
            raise DataError(f"{name}: {key!r} is not a split's name. Known: {', '.join(_KEYS)}.")
        if _KEYS[str(key)] in found:
            raise DataError(f"{name}: {key!r} names the search split again. Leave one out.")
        found[_KEYS[str(key)]] = value
    missing = [key for key in ("search", "test") if key not in found]
    if not {"calibration", "train"} & set(found):
        missing.insert(0, "calibration")
    if missing:
        raise DataError(f"{name}: no {' and no '.join(missing)} split was given. {_TAKES}")
    return found


def _draw(train: Split, name: str) -> Loaded:
    drawn = train.subset(CALIBRATION_SIZE, seed=0)
    return drawn.images, drawn.labels
