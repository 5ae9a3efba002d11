"""Which prefixes are kept, and which is found."""

from gateway.backends.local.prefixes import Prefix, Prefixes, shared

A = list(range(300))
B = [*range(128), *range(1000, 1200)]


def test_what_is_shared_is_counted_in_whole_blocks() -> None:
    assert shared(A, B) == 128
    assert shared(A, A) == 256
    assert shared(A[:70], A) == 64
    assert shared(A[:63], A) == 0
    assert shared([7, *A], A) == 0


def test_the_longest_is_found_for_the_same_adapter() -> None:
    prefixes, adapter = Prefixes(), object()
    for tokens, whose in ((A[:192], None), (B[:256], None), (A[:256], adapter)):
        prefixes.keep(Prefix(tokens, object(), whose))
    found = prefixes.longest(A, None)
    assert found is not None
    assert (found.tokens, found.adapter) == (A[:192], None)
    assert prefixes.longest([5, *A], None) is None
    assert prefixes.longest(B, object()) is None


def test_a_longer_one_takes_the_place_of_its_beginning() -> None:
    prefixes = Prefixes()
    for tokens in (A[:64], B[:192], A[:256]):
        prefixes.keep(Prefix(tokens, object(), None))
    assert prefixes.size == 192 + 256
    assert prefixes.holds(A[:128], None)
    assert not prefixes.holds(A[:300], None)


def test_the_one_that_was_used_longest_ago_is_forgotten_first() -> None:
    prefixes = Prefixes()
    kept = [[n, *A[:63]] for n in (1, 2, 3)]
    for tokens in kept:
        prefixes.keep(Prefix(tokens, object(), None))
    assert prefixes.longest([*kept[0], 5], None) is not None
    prefixes.shrink(128)
    assert [prefixes.holds(tokens, None) for tokens in kept] == [True, False, True]
    prefixes.shrink(0)
    assert prefixes.size == 0
