"""A seed says all that is done: the same list each time, nothing acted upon twice at once, every fault there."""

from __future__ import annotations

import pytest
from chaos.run import REPLICAS
from chaos.schedule import ALL, FAULTS, Action, schedule

NAMES = (*FAULTS, ALL)
SESSION, POLL = 6.0, 10.0  # seconds: the broker's time-out for a replica, and max.poll.interval.ms


def made(name: str, seed: int = 7, seconds: float = 180.0) -> list[Action]:
    return schedule(name, seed, seconds, REPLICAS)


@pytest.mark.parametrize("name", NAMES)
def test_the_same_seed_does_the_same_and_another_one_does_not(name: str) -> None:
    assert made(name) == made(name)
    assert made(name) != made(name, seed=8)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("seed", range(5))
def test_nothing_is_acted_upon_by_two_at_once_nor_beyond_the_end(name: str, seed: int) -> None:
    until: dict[str, float] = {}
    for action in made(name, seed):
        assert until.get(action.upon, 0.0) < action.at
        until[action.upon] = action.at + action.lasts
    assert until
    assert max(until.values()) <= 180.0


@pytest.mark.parametrize("name", FAULTS)
def test_each_fault_comes_several_times_in_three_minutes(name: str) -> None:
    assert {kind.do for kind in FAULTS[name].kinds} == {action.do for action in made(name)}
    assert len(made(name)) > 1


@pytest.mark.parametrize("seed", range(20))
def test_all_faults_come_even_in_half_a_minute(seed: int) -> None:
    done = {(action.do, action.upon) for action in made(ALL, seed, 40.0)}
    for name, fault in FAULTS.items():
        wanted = {(kind.do, upon) for kind in fault.kinds for upon in kind.upon or REPLICAS}
        assert wanted & done, name


@pytest.mark.parametrize("seconds", [40.0, 180.0])
def test_what_is_frozen_is_out_of_the_group_when_it_goes_on(seconds: float) -> None:
    frozen = [action.lasts for action in made("freeze", seconds=seconds)]
    assert frozen
    assert min(frozen) > max(SESSION, POLL)


def test_the_broker_is_out_of_reach_for_a_minute_where_there_is_time() -> None:
    assert {action.lasts for action in made("unreachable")} == {60.0}


def test_a_rollout_replaces_each_replica_in_its_turn() -> None:
    replaced = [action.upon for action in made("roll")]
    assert len(replaced) > 3 * len(REPLICAS)
    assert replaced == [REPLICAS[turn % len(REPLICAS)] for turn in range(len(replaced))]
