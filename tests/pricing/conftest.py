"""The tests of prices keep their cached books to themselves."""

import pytest


@pytest.fixture(autouse=True, scope="session")
def own_cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TALLYSTICK_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield
