"""Each vendor's sandbox through the engine: a clean scenario, and a sample of faults and kills in it.

Every fault at every request is tests/proof/proof_sync_faults.py.
"""

import random

import pytest

from hubblewave_pipelines.sandboxes.faults import Fault, FaultKind
from tests.sync.conftest import Syncing
from tests.sync.vendors import RIGS, clean, scenario

SAMPLE = 4


@pytest.mark.parametrize("name", sorted(RIGS))
def test_a_vendor_is_kept_in_step_whatever_goes_wrong(syncing: Syncing, name: str) -> None:
    rig = RIGS[name]
    requests, commits, runs = clean(rig, syncing)
    assert [run.status for run in runs] == ["success"] * 3
    assert (runs[1].created, sum(run.deleted for run in runs)) == (1, 1)
    assert runs[1].updated >= 3
    dice = random.Random(name)
    for _ in range(SAMPLE):
        kind, number = dice.choice(list(FaultKind)), dice.randint(1, requests)
        with scenario(rig, syncing, Fault(kind, request=number, seconds=0.05)) as made:
            made.play()
            made.check()
    accidents = [
        {"dies": (dice.randint(1, runs[0].requests - 1), dice.choice(["before", "after"]))},
        {"commits": dice.randint(1, commits)},
    ]
    for accident in accidents:
        with scenario(rig, syncing, **accident) as made:
            made.play()
            made.check()
            assert made.failures == ["killed"]
