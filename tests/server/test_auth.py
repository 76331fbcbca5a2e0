import asyncio
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from roomful.server.auth import Access, AccessRequest, Denied, allow_all, load_authorizer

MODULE = """
from roomful.server.auth import Access, Denied

async def authorize(request):
    if request.token != "secret":
        raise Denied("wrong token")
    return Access(user=request.room, read_only=request.address == "10.0.0.1")

SOMETHING = 3
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The name of an importable module with an authorizer."""
    name = "authorizer_of_a_test"
    (tmp_path / f"{name}.py").write_text(MODULE)
    (tmp_path / f"{name}_broken.py").write_text("import a_module_that_is_nowhere")
    monkeypatch.syspath_prepend(tmp_path)
    yield name
    for loaded in (name, f"{name}_broken"):
        sys.modules.pop(loaded, None)


def test_without_a_name_everybody_may_write() -> None:
    assert load_authorizer("") is allow_all
    access = asyncio.run(_ask(allow_all, token=""))
    assert access == Access(user="", read_only=False)


def test_a_named_authorizer_is_asked(module: str) -> None:
    authorize = load_authorizer(f"{module}:authorize")
    assert asyncio.run(_ask(authorize, token="secret")) == Access(user="room", read_only=True)
    with pytest.raises(Denied, match="wrong token"):
        asyncio.run(_ask(authorize, token="guess"))


async def _ask(authorize: object, token: str) -> Access:
    assert callable(authorize)
    access = await authorize(AccessRequest(token, "room", "10.0.0.1"))
    assert isinstance(access, Access)
    return access


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("nowhere_at_all:authorize", "No module named 'nowhere_at_all'"),
        ("{module}_broken:authorize", "No module named 'a_module_that_is_nowhere'"),
        ("{module}:nothing", "has no attribute 'nothing'"),
        ("{module}:", "has no attribute ''"),
        ("{module}", "has no attribute ''"),
        (":authorize", "Empty module name"),
        ("{module}:SOMETHING", "is not callable"),
    ],
)
def test_what_cannot_be_loaded_is_named_with_the_reason(module: str, name: str, complaint: str) -> None:
    name = name.format(module=module)
    with pytest.raises(ValueError, match=complaint) as caught:
        load_authorizer(name)
    assert repr(name) in str(caught.value)


def test_rights_and_requests_cannot_be_changed_afterwards() -> None:
    with pytest.raises(AttributeError):
        Access("ann").read_only = True  # type: ignore[misc]
    with pytest.raises(AttributeError):
        AccessRequest("", "", "").room = "other"  # type: ignore[misc]
