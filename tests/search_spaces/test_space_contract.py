"""The contract of an action space, for every built-in one, continuous and discrete."""

from __future__ import annotations

import numpy as np
import pytest
from autocomp.search_spaces import (
    SPACES,
    CoefficientSpace,
    SearchSpace,
    VectorSpace,
    make_space,
)
from gymnasium import spaces

from autocomp.core.choice import Choice
from autocomp.errors import AutocompError, ChoiceError, SpaceError, UnknownNameError
from autocomp.testing import SpaceContract
from autocomp.testing.layers import LAYERS

# a multiplier means a choice only within a budget; see tests/envs/test_coefficient_menu.py
TEXTS = [
    *(name for name in SPACES if name != "coefficients"),
    "bits:activation_bits=4/8",
    "joint:levels=5,weight_bits=2/4/8/16",
    "joint:weight_bits=8",
    "bits:weight_bits=8",
    "bits:weight_bits=4,activation_bits=8",
    "nm:patterns=2:4,weight_bits=8",
    "sparsity:levels=2,highest=0.5,weight_bits=8",
    "structured:criteria=l1+taylor",
    "structured:criteria=l1",
    "structured:ranks=5",
    "full:ranks=3,levels=0,weight_bits=8",
    "full:activation_bits=8/32",
]


@pytest.mark.parametrize(
    ("text", "discrete"), [(t, d) for t in TEXTS for d in (False, True)], scope="class"
)
class TestBuiltIn(SpaceContract):
    @pytest.fixture(autouse=True)
    def _choose(self, text: str, discrete: bool) -> None:
        self.text, self.discrete = text, discrete

    def make(self) -> SearchSpace:
        return make_space(self.text, discrete=self.discrete)


def test_continuous_bins_are_equal() -> None:
    space, spec = make_space("bits:weight_bits=2/4/8/16"), LAYERS[0]
    found = [
        space.decode(spec, np.array([a])).weights.bits for a in (-1, -0.51, -0.49, 0.01, 0.51, 1)
    ]
    assert found == [2, 2, 4, 8, 16, 16]


def test_one_width_is_a_space_of_one_plan() -> None:
    space = make_space("bits:weight_bits=4,activation_bits=8")
    assert [str(choice) for choice in space.choices(LAYERS[0])] == ["w4 a8"]
    assert [str(choice) for choice in space.choices(LAYERS[2])] == ["w4"]  # has no hook
    assert space.entry_names == ("weight bits",)


def test_a_layer_without_a_hook_keeps_its_inputs() -> None:
    space = make_space("bits:activation_bits=4/8")
    assert {c.activations.bits for c in space.choices(LAYERS[2])} == {32}
    assert {c.activations.bits for c in space.choices(LAYERS[0])} == {4, 8}


def test_patterns_that_do_not_fit_are_not_offered() -> None:
    for depthwise_or_small in (LAYERS[1], LAYERS[3]):
        assert {c.weights.pattern for c in make_space("nm").choices(depthwise_or_small)} == {""}
    assert {c.weights.pattern for c in make_space("nm").choices(LAYERS[0])} == {
        "1:8", "1:4", "2:4", "3:4", "",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "error", "words"),
    [
        ("jiont", UnknownNameError, "Did you mean 'joint'"),
        ("joint:level=3", SpaceError, "Did you mean 'levels'"),
        ("joint:levels", AutocompError, "NAME:OPTION=VALUE"),
        ("joint:levels=1", SpaceError, "2 <= levels"),
        ("joint:levels=3,levels=4", AutocompError, "doubled"),
        ("sparsity:highest=1.5", SpaceError, "0 < highest < 1"),
        ("bits:weight_bits=9/2", ChoiceError, "weight_bits"),
        ("bits:weight_bits=4/4", SpaceError, "distinct"),
        ("nm:patterns=4:2", ChoiceError, "N:M"),
        ("nm:patterns=abc", ChoiceError, "N:M"),
    ],
)
def test_bad_options_say_what_is_wrong(text: str, error: type[AutocompError], words: str) -> None:
    with pytest.raises(error, match=words) as caught:
        make_space(text)
    assert "\n" not in str(caught.value)


def test_coefficients_offer_the_choices_of_any_space() -> None:
    spec = LAYERS[0]
    assert list(make_space("coefficients").choices(spec)) == list(make_space("joint").choices(spec))
    inner = make_space("bits:weight_bits=2/4")
    for space in (
        make_space("coefficients:menu=bits,weight_bits=2/4"),
        make_space("coefficients", menu=inner),
        CoefficientSpace(inner),
    ):
        assert space.choices(spec) == inner.choices(spec)
        assert space.action_space.shape == (1,)
        for use in (lambda s=space: s.decode(spec, np.zeros(1)), lambda s=space: s.encode(spec, 0)):
            with pytest.raises(SpaceError, match="FeasibleSpace.build"):
                use()
    nine = make_space("coefficients", discrete=True).action_space
    assert isinstance(nine, spaces.Discrete)
    assert nine.n == 9


def test_an_action_of_the_wrong_kind_is_refused() -> None:
    space = make_space("joint")
    for action in (np.zeros(3), np.array([np.nan, 0.0])):
        with pytest.raises(SpaceError, match="2 finite numbers"):
            space.decode(LAYERS[0], action)
    with pytest.raises(SpaceError, match="sparsity"):
        space.encode(LAYERS[0], Choice.of(sparsity=0.123, weight_bits=4))
    with pytest.raises(SpaceError, match="weight_bits"):
        make_space("sparsity").encode(LAYERS[0], Choice.of(weight_bits=4))


@pytest.mark.parametrize("discrete", [False, True])
def test_the_vector_is_the_layers_behind_one_another(discrete: bool) -> None:
    space = make_space("joint:levels=4", discrete=discrete)
    vector = VectorSpace(space, LAYERS)
    vector.action_space.seed(1)
    action = vector.action_space.sample()
    plan = vector.decode(action)
    for t, spec in enumerate(LAYERS):
        assert plan[spec.name] == space.decode(spec, action[2 * t : 2 * t + 2])
    assert vector.decode(vector.encode(plan)) == plan
    assert vector.action_space.contains(vector.encode(plan))
    with pytest.raises(SpaceError, match="16 entries"):
        vector.decode(action[:-1])
