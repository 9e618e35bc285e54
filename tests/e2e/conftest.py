"""Hubs for tests: one shared by a file's tests, or fresh ones."""

import shutil
import subprocess

import pytest

from hub import Hub


@pytest.fixture(scope="module")
def hub():
    """A running hub shared by the tests of one file, which keep to registrations of their own."""
    with Hub() as one:
        yield one.start()


@pytest.fixture(scope="module")
def shim(request, tmp_path_factory):
    """A library of the C text `SHIM` of the test's file, to be preloaded into a hub."""
    if not shutil.which("cc"):
        pytest.skip("needs a C compiler to put something between program and system")
    folder = tmp_path_factory.mktemp("shim")
    (folder / "shim.c").write_text(request.module.SHIM)
    library = folder / "shim.so"
    subprocess.run(
        ["cc", "-shared", "-fPIC", "-o", library, folder / "shim.c", "-ldl"], check=True
    )
    return library


@pytest.fixture
def make_hub():
    """Makes hubs that are stopped and removed after the test."""
    hubs = []

    def make(**options):
        hubs.append(Hub(**options))
        return hubs[-1]

    yield make
    for one in hubs:
        one.close()


@pytest.fixture
def fresh(make_hub):
    """A hub of the test's own, running."""
    return make_hub().start()
