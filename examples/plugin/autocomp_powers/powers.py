"""A search space: bit-widths that are powers of two."""

import numpy as np
from autocomp.search_spaces import SearchSpace
from gymnasium import spaces

from autocomp import Choice


class PowersSpace(SearchSpace):
    """Weights in 2, 4, 8 or 16 bits: the widths that processors unpack fastest."""

    bits = (2, 4, 8, 16)
    action_space = spaces.Box(-1.0, 1.0, (1,), np.float32)
    entry_names = ("weight bits",)

    def choices(self, layer):
        """Returns what there is, the most compressed first."""
        return [Choice.of(weight_bits=b) for b in self.bits]

    def decode(self, layer, action):
        """Returns the choice whose quarter of [-1, 1] holds the action."""
        index = int((float(action[0]) + 1) / 2 * len(self.bits))
        return Choice.of(weight_bits=self.bits[min(index, len(self.bits) - 1)])

    def encode(self, layer, choice):
        """Returns the middle of the choice's quarter."""
        index = self.bits.index(choice.weights.bits)
        return np.array([(2 * index + 1) / len(self.bits) - 1], np.float32)
