"""The stage of all tests, and what must hold after each of them."""

import pytest

import stage as stages


@pytest.fixture(scope="session")
def running():
    with stages.stage() as stage:
        yield stage


@pytest.fixture(autouse=True)
def stage(running):
    """The stage with an empty record; no provider may ever see a credential that is not its own."""
    running.forget()
    yield running
    assert running.strays() == []
