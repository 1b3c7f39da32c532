"""What another package can add to AutoComp: a space, an agent, a cost and a reward."""

from autocomp_powers.climber import Climber
from autocomp_powers.points import points
from autocomp_powers.powers import PowersSpace
from autocomp_powers.traffic import Traffic

__all__ = ["Climber", "PowersSpace", "Traffic", "points"]
