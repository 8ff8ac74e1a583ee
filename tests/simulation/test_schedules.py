"""Thousands of seeded schedules of all that can happen to requests under budgets (I1 to I8)."""

import functools

import pytest

from simulation.conftest import SCHEDULES
from simulation.plants import PLANTS
from simulation.schedule import play
from simulation.world import RATES, Violation
from tallystick.ledger import open_ledger, sqlite_store
from tallystick.pricing import Prices

SOON = 400
"""In so many schedules each planted fault has to show."""


@pytest.fixture(scope="session")
def stage(tmp_path_factory):
    """Return what every schedule begins with: a folder, an empty ledger, and prices."""
    folder = tmp_path_factory.mktemp("simulation")
    template = folder / "template.db"
    open_ledger(template).close()
    (folder / "tallystick.toml").write_text(RATES)
    return folder, template, Prices.load(folder / "tallystick.toml")


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """What the schema should be is worked out once, and not for each schedule."""
    expected = functools.cache(sqlite_store.expected_schema)
    monkeypatch.setattr(sqlite_store, "expected_schema", expected)


@pytest.mark.slow
def test_no_schedule_breaks_an_invariant(stage, request, capsys):
    """I1 to I8, at every commit and at the end; and the provider never billed over a limit."""
    seed = request.config.getoption("seed", None)
    number = request.config.getoption("schedules", SCHEDULES)
    seeds = range(number) if seed is None else (seed,)
    served = killed = refused = 0
    for each in seeds:
        world = play(each, *stage)
        served += len(world.truth.served)
        killed += len(world.truth.killed)
        refused += sum(" is refused" in line for line in world.trace)
    with capsys.disabled():
        print(f" {len(seeds)} schedules: {served} served, {refused} refused, {killed} kills")
    assert served
    assert seed is not None or min(refused, killed) > 0


def test_a_seed_replays_exactly(stage):
    """The same seed gives the same trace, to the last id and amount."""
    for seed in range(10):
        worlds = [play(seed, *stage) for _ in range(2)]
        assert worlds[0].trace == worlds[1].trace
        assert worlds[0].truth.served == worlds[1].truth.served


@pytest.mark.parametrize("plant", PLANTS, ids=lambda plant: plant.__name__)
def test_a_planted_fault_is_found(stage, plant, monkeypatch):
    """Each breaks the invariant that it should, and its message says how to play it again."""
    folder, template, prices = stage
    planted = plant(monkeypatch, template)

    def search():
        for seed in range(SOON):
            play(seed, folder, planted, prices)

    with pytest.raises(Violation, match=PLANTS[plant]) as caught:
        search()
    assert "replay it with: --seed" in caught.value.__notes__[0]
