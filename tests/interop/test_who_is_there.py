"""Who is seen in a room by published clients and Roomful clients on three servers, whatever befalls them."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Collection, Sequence

import pytest
import pytest_asyncio

from tests.interop.crowd import ARRIVAL_SECONDS, Crowd, Editor, Person, Place, see
from tests.interop.driver import YjsDriver

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="session")]

GRACE_SECONDS = 3
LEASE_SECONDS = 6 + 2
"""Until a server that is dead is known to be so: its lease, and the pause between two looks."""
TOLD_SECONDS = 2 + 0.2 + 0.8
"""An interval of presence, how long what is new waits for more of its kind, and time for a slow machine."""
LINK_SECONDS = 5
"""Until a server that is let through to Redis again is connected and has heard all there is to hear."""
RENEWING = "hocuspocus@4.8.0"
"""Editors that raise their clocks in silence when they are asked to: those who were away see them, and they
keep their own place at a server that had not missed them yet, with what they say next."""


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def place(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Place]:
    async with Place(tmp_path_factory.mktemp("place"), f"--grace-seconds={GRACE_SECONDS}") as place:
        yield place


@pytest_asyncio.fixture(loop_scope="session")
async def crowd(place: Place, driver: YjsDriver, room: str) -> AsyncIterator[Crowd]:
    async with Crowd(place, driver, room) as crowd:
        yield crowd


async def say_something(people: Collection[Person]) -> None:
    """Have those speak up who would else do so within 18 s."""
    renewing = [each for each in people if isinstance(each, Editor) and each.client.library == RENEWING]
    await asyncio.gather(*(each.point(1) for each in renewing))


async def have_seen_leaving(watchers: Sequence[Person], people: Sequence[Person]) -> None:
    """Check that each of them has seen just these people go, and each of these once."""
    for watcher in watchers:
        gone = Counter(await watcher.seen_leaving())
        assert gone == Counter(each.name for each in people), watcher.name


async def have_seen_no_others_leaving(watchers: Sequence[Person], people: Sequence[Person]) -> None:
    for watcher in watchers:
        gone = Counter(await watcher.seen_leaving())
        assert gone <= Counter(each.name for each in people), watcher.name


async def test_what_people_do_is_seen_by_all_kinds_on_all_servers_and_so_is_that_they_leave(
    crowd: Crowd,
) -> None:
    editors, guest = await crowd.come(0)
    here = [*editors, guest]
    there, yonder = [await crowd.come(server) for server in (1, 2)]
    others = [*there[0], there[1], *yonder[0], yonder[1]]
    await crowd.see_each_other(within=ARRIVAL_SECONDS)
    await guest.point(1)
    await yonder[1].sees_pointing(guest.name, 1, within=TOLD_SECONDS)
    # A tick has just been, and the next one is as far away as can be.
    await asyncio.gather(*(person.point(2) for person in here))
    await asyncio.gather(
        *(watcher.sees_pointing(person.name, 2, within=TOLD_SECONDS) for watcher in others for person in here)
    )
    await crowd.leave(*here)
    await crowd.see_each_other(within=TOLD_SECONDS)
    await have_seen_leaving(others, here)
    await crowd.is_told_by_all_servers(within=TOLD_SECONDS)


async def test_who_crashes_and_comes_back_was_never_away_and_who_does_not_leaves_once(crowd: Crowd) -> None:
    (editors, guest), there, yonder = [await crowd.come(server) for server in range(3)]
    here = [*editors, guest]
    watchers = [*there[0], *yonder[0]]
    async with YjsDriver() as doomed_process:
        doomed, doomed_guest = await crowd.come(2, "doomed ", doomed_process)
        await crowd.see_each_other(within=ARRIVAL_SECONDS)
        # Were they missed, it would be before those who crash later.
        await crowd.move(here, 1)
        await doomed_process.kill()
    doomed_guest.lose()
    crowd.forget([*doomed, doomed_guest])
    # Whose page is reloaded has another client id, and is the same person.
    reloaded = doomed[1:3]
    for editor in reloaded:
        await crowd.reload(editor, editor.client.library, 0)
    await say_something(crowd.people)
    await crowd.see_each_other(within=GRACE_SECONDS + TOLD_SECONDS)
    await have_seen_leaving(watchers, [*doomed, doomed_guest])
    gone = [editor for editor in (*doomed, doomed_guest) if editor not in reloaded]
    await have_seen_leaving([there[1], yonder[1]], gone)
    await have_seen_no_others_leaving(here, [*doomed, doomed_guest])
    await crowd.is_told_by_all_servers(within=TOLD_SECONDS)


async def test_the_people_of_a_server_that_is_killed_leave_once_or_come_back_unnoticed(
    crowd: Crowd, place: Place
) -> None:
    (editors, guest), (doomed, doomed_guest) = [await crowd.come(0, kind) for kind in ("", "doomed ")]
    here, lost = [*editors, guest], [*doomed, doomed_guest]
    there, yonder = [await crowd.come(server) for server in (1, 2)]
    await crowd.see_each_other(within=ARRIVAL_SECONDS)
    doomed_guest.door.refuse()
    crowd.forget(lost)
    await place.servers[0].kill()
    await crowd.move(here, 1)
    await say_something(crowd.people)
    await crowd.see_each_other(within=LEASE_SECONDS + GRACE_SECONDS + TOLD_SECONDS)
    await have_seen_leaving([*there[0], there[1], *yonder[0], yonder[1]], lost)
    await have_seen_no_others_leaving(here, lost)
    await place.servers[0].restart()
    await crowd.is_told_by_all_servers(within=TOLD_SECONDS)


async def test_the_people_of_a_server_that_is_cut_off_are_not_missed_before_it_has_lost_its_lease(
    crowd: Crowd, place: Place
) -> None:
    (editors, _), _, (cut, _) = [await crowd.come(server) for server in range(3)]
    await crowd.see_each_other(within=ARRIVAL_SECONDS)
    place.cut(2)
    await crowd.leave(editors[0], cut[0])
    await asyncio.sleep(1)
    await place.links[2].accept()
    await crowd.see_each_other(within=LINK_SECONDS + TOLD_SECONDS)
    await have_seen_leaving(crowd.people, [editors[0], cut[0]])
    await crowd.is_told_by_all_servers(within=TOLD_SECONDS)


async def test_the_people_of_a_server_that_was_cut_off_for_long_are_seen_again_but_for_those_who_left(
    crowd: Crowd, place: Place
) -> None:
    (editors, guest), (others, other), (cut, cut_guest) = [await crowd.come(server) for server in range(3)]
    near, far = [*editors, guest, *others, other], [*cut, cut_guest]
    await crowd.see_each_other(within=ARRIVAL_SECONDS)
    place.cut(2)
    await see(near, near, within=LEASE_SECONDS + GRACE_SECONDS + TOLD_SECONDS)
    left = [editors[0], guest, cut[0]]
    await crowd.leave(*left)
    # Those who are cut off see each other, and the others as they were.
    await see(far[1:], [*near, *far[1:]], within=TOLD_SECONDS)
    near, far = [[person for person in side if person not in left] for side in (near, far)]
    await place.links[2].accept()
    await asyncio.gather(*(person.point(1) for person in far))
    await crowd.see_each_other(within=LINK_SECONDS + TOLD_SECONDS)
    await have_seen_leaving(near, [*cut, cut_guest, editors[0], guest])
    await have_seen_leaving(far, left)
    await crowd.is_told_by_all_servers(within=TOLD_SECONDS)
