"""What this package adds keeps AutoComp's contracts."""

from autocomp_powers import Climber, PowersSpace, Traffic, points

from autocomp.testing import AgentContract, CostContract, RewardContract, SpaceContract


class TestPowersSpace(SpaceContract):
    def make(self):
        return PowersSpace()


class TestClimber(AgentContract):
    def make(self):
        return Climber()


class TestTraffic(CostContract):
    def make(self, store):
        return Traffic(store)


class TestPoints(RewardContract):
    def make(self):
        return points
