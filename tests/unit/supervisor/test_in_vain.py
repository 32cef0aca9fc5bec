from hyperion.supervisor import in_vain as module
from hyperion.supervisor.in_vain import FORGET_SECONDS, MIN_KNOCKS, MIN_SECONDS, InVain

ONE, OTHER = "192.0.2.1", "2001:db8::1"


def test_who_knocks_and_knocks_and_never_comes() -> None:
    vain = InVain()
    said = [vain.knocked(ONE, 100 + 4.0 * number) for number in range(8)]
    assert said == [False, False, False, True, False, False, False, False], "once"
    assert vain.count(130) == 1
    assert not vain.knocked(OTHER, 131)
    assert vain.count(131) == 1
    vain.came(ONE)
    assert vain.count(131) == 0
    assert not vain.knocked(ONE, 132), "it begins anew"


def test_many_knocks_at_once_are_one_try() -> None:
    vain = InVain()
    assert not any(vain.knocked(ONE, 100 + MIN_SECONDS * number / 100) for number in range(100))
    assert vain.knocked(ONE, 100 + MIN_SECONDS)


def test_few_knocks_are_none_however_long_they_take() -> None:
    vain = InVain()
    assert not any(vain.knocked(ONE, 100 + 60.0 * number) for number in range(MIN_KNOCKS - 1))
    assert vain.count(300) == 0


def test_who_comes_each_time_is_never_meant() -> None:
    vain = InVain()
    for number in range(20):
        assert not vain.knocked(ONE, 100 + 5.0 * number)
        vain.came(ONE)
    vain.came(OTHER)
    assert vain.count(300) == 0


def test_who_knocks_no_more_is_forgotten() -> None:
    vain = InVain()
    for source in (ONE, OTHER):
        for number in range(MIN_KNOCKS):
            vain.knocked(source, 100 + 5.0 * number)
    vain.knocked(ONE, 300)
    assert vain.count(114 + FORGET_SECONDS) == 2
    assert vain.count(115 + FORGET_SECONDS) == 1
    assert vain.count(300 + FORGET_SECONDS) == 0


def test_the_book_is_bounded() -> None:
    vain = InVain()
    for number in range(module.MAX_SOURCES + 5):
        vain.knocked(f"source {number}", 100)
    assert len(vain._tries) == module.MAX_SOURCES
    vain.knocked(ONE, 100 + FORGET_SECONDS)
    assert list(vain._tries) == [ONE]
