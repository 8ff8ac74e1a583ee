"""Options of the simulation: how many schedules, or which one."""

SCHEDULES = 2_000
"""How many schedules a normal run tries: somewhat under a minute."""


def pytest_addoption(parser):
    group = parser.getgroup("simulation")
    group.addoption(
        "--schedules", type=int, default=SCHEDULES, help="how many schedules to simulate"
    )
    group.addoption(
        "--seed", type=int, default=None, help="simulate only the schedule of this seed"
    )
    group.addoption("--full", action="store_true", help="16 processes of 64 tasks, and 1,000 kills")
