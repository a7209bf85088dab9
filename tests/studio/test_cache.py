from __future__ import annotations

from labelgan.studio.cache import Cache


def test_a_value_is_made_once():
    cache: Cache[str] = Cache(100, len)
    made = []

    def make() -> str:
        made.append(1)
        return "value"

    assert cache.get("a", make) == cache.get("a", make) == "value"
    assert made == [1]
    assert cache.bytes == 5


def test_the_longest_unused_goes_first():
    cache: Cache[str] = Cache(10, len)
    for key in "ab":
        cache.get(key, lambda key=key: key * 5)
    cache.get("a", lambda: "never made")
    cache.get("c", lambda: "ccccc")
    assert len(cache) == 2
    assert cache.bytes == 10
    assert cache.get("a", lambda: "made again") == "aaaaa"
    assert cache.get("b", lambda: "bb") == "bb"


def test_what_is_too_large_alone_is_kept_until_the_next():
    cache: Cache[str] = Cache(3, len)
    assert cache.get("a", lambda: "aaaaaaaa") == "aaaaaaaa"
    assert len(cache) == 1
    cache.get("b", lambda: "b")
    assert cache.bytes == 1
