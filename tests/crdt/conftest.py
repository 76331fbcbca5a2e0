import pytest

from tests.crdt import yjs


@pytest.fixture(scope="session")
def real_yjs() -> None:
    """The scripts that run the real Yjs can run."""
    yjs.install()
