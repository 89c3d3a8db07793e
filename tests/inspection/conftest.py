"""A small demo, made once for all tests of what reads results back."""

import pytest
from made_demo import Made, make


@pytest.fixture(scope="session")
def made(tmp_path_factory) -> Made:
    return make(tmp_path_factory.mktemp("demo"))
