"""What the check of an update costs: python -m bench.check_cost, from the root of the repository."""

from statistics import median
from time import perf_counter

from roomful.crdt.check import check_update
from roomful.crdt.merge import merge
from roomful.crdt.split import split_update
from tests.crdt.trace import friends_forever

ROUNDS = 9


def main() -> None:
    updates, _ = friends_forever()
    whole = merge(updates)
    each, large, split = [], [], []
    for _ in range(ROUNDS):
        start = perf_counter()
        for update in updates:
            check_update(update)
        checked = perf_counter()
        check_update(whole)
        walked = perf_counter()
        split_update(whole, 64 << 10)
        each.append((checked - start) / len(updates))
        large.append(walked - checked)
        split.append(perf_counter() - walked)
    size = sum(map(len, updates)) / len(updates)
    print(f"{len(updates)} keystrokes of {size:.0f} bytes: {median(each) * 1e6:.2f} us each")
    print(
        f"merged, {len(whole)} bytes: check {median(large) * 1e3:.1f} ms, split {median(split) * 1e3:.1f} ms"
    )


if __name__ == "__main__":
    main()
