"""A pytest fixture, `model_provider`: a provider that serves for one test.

It is not registered by itself. Name the module in your top `conftest.py`::

    pytest_plugins = ["tallystick.testing.pytest_plugin"]
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tallystick.testing.provider import Provider

__all__ = ["model_provider"]


@pytest.fixture
def model_provider() -> Iterator[Provider]:
    """A `Provider` that is started, and stopped at the end of the test."""
    with Provider() as provider:
        yield provider
