"""Pages of people: everybody once, in bounded bytes."""

import random

import msgpack
from hypothesis import given
from hypothesis import strategies as st

from roomful.presence.pages import Page, Pages
from roomful.presence.people import Person, person_of
from roomful.presence.record import Record

WIDE = 1 << 20


def person(user: str, **fields: bytes) -> Person:
    found = person_of(f"u:{user}", {"s": Record(user, "", 0, 0, fields=fields)})
    assert found is not None
    return found


def everybody(*users: str, **fields: bytes) -> dict[str, Person]:
    return {f"u:{user}": person(user, **fields) for user in users}


def ids(page: Page) -> list[str]:
    return [msgpack.unpackb(each)["id"] for each in page.page]


def gone_through(pages: Pages, most: int, largest: int) -> list[Page]:
    found = [pages.after("", most, largest, 0)]
    while found[-1].next is not None:
        found.append(pages.after(found[-1].next, most, largest, 0))
    return found


@given(
    st.sets(st.text(st.characters(codec="utf-8"), min_size=1, max_size=20), max_size=40),
    st.integers(1, 9),
    st.integers(1, 2_000),
)
def test_whoever_goes_through_all_pages_sees_everybody_once(users: set[str], most: int, largest: int) -> None:
    people = everybody(*users)
    pages = gone_through(Pages(people), most, largest)
    assert [each for page in pages for each in ids(page)] == sorted(people)
    assert {page.people for page in pages} == {len(people)}
    assert all(len(page.page) <= most for page in pages)
    assert all(len(page.encode()) <= largest or len(page.page) == 1 for page in pages if page.page)


def test_a_page_is_one_map_in_msgpack() -> None:
    pages = Pages(everybody("ann", "bob", hand=b"\xc3"))
    assert msgpack.unpackb(pages.after("", 1, WIDE, 5).encode()) == {
        "people": 2,
        "sessions": 5,
        "page": [{"id": "u:ann", "sessions": {"s": None}, "hand": True}],
        "next": "u:ann",
    }


def test_a_page_may_follow_one_who_is_gone_and_ends_where_people_end() -> None:
    pages = Pages(everybody("ann", "cid"))
    assert ids(pages.after("u:bob", 9, WIDE, 0)) == ["u:cid"]
    assert pages.after("u:cid", 9, WIDE, 0)[2:] == ([], None)
    assert Pages({}).after("", 9, WIDE, 0) == Page(0, 0, [], None)


def test_who_stays_is_seen_once_whoever_comes_and_goes_meanwhile() -> None:
    chance = random.Random(1)
    stay = everybody(*(f"stays {number}" for number in range(50)))
    people = dict(stay)
    pages = Pages(people)
    seen: list[str] = []
    after: str | None = ""
    while after is not None:
        page = pages.after(after, 7, WIDE, 0)
        seen, after = seen + ids(page), page.next
        for name in chance.sample(range(100), 10):
            people.pop(f"u:{name}", None) or people.update(everybody(str(name)))
        pages.forget_order()
    assert [each for each in seen if each in stay] == sorted(stay)


def test_who_has_come_since_the_last_page_is_in_the_next() -> None:
    people = everybody("ann", "cid")
    pages = Pages(people)
    assert ids(pages.after("", 1, WIDE, 0)) == ["u:ann"]
    people |= everybody("bob")
    pages.forget_order()
    assert ids(pages.after("u:ann", 1, WIDE, 0)) == ["u:bob"]


def test_the_last_page_says_that_none_follows_though_it_is_full() -> None:
    pages = Pages(everybody("ann", "bob"))
    assert pages.after("", 2, WIDE, 0).next is None
