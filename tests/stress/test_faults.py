"""The schedule of faults follows from its seed, and does one thing at a time to one target."""

from itertools import pairwise

from tests.stress.faults import FREEZE, KILL, LINK_FAULTS, NODE_FAULTS, NODES, Target, schedule
from tests.tcp_proxy import FAIR

KINDS = {"node": NODE_FAULTS, "redis": (KILL, FREEZE), "node-redis": LINK_FAULTS}


def test_the_same_seed_is_the_same_schedule() -> None:
    assert schedule(1, 60, KINDS) == schedule(1, 60, KINDS) != schedule(2, 60, KINDS)


def test_a_targets_faults_follow_one_another_within_the_time() -> None:
    faults = schedule(3, 60, KINDS)
    assert set(faults) == {Target("redis")} | {
        Target(name, number) for name in ("node", "node-redis") for number in range(NODES)
    }
    for target, those in faults.items():
        assert all(fault.target == target and fault.kind in KINDS[target.name] for fault in those)
        assert all(one.at + one.seconds <= next_one.at for one, next_one in pairwise(those))
        assert all(0 <= fault.at < 60 for fault in those)


def test_every_fault_has_its_turn_and_only_the_weathers_have_weather() -> None:
    everything = [fault for those in schedule(4, 600, KINDS).values() for fault in those]
    assert {fault.kind for fault in everything} == {kind for kinds in KINDS.values() for kind in kinds}
    weathers = {fault.kind for fault in everything if fault.weather != FAIR}
    assert weathers == {"delay", "throttle", "split", "swallow"}
