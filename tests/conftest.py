"""What all tests are given."""

from __future__ import annotations

import pytest


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory):
    """Engines keep what they find in a folder of the tests, not in the user's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CAFFECOMPAT_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield
