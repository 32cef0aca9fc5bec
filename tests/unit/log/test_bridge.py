import logging
from collections.abc import Iterator

import pytest

from hyperion.events import Level
from hyperion.log.bridge import attach

Seen = list[tuple[str, str, Level, BaseException | None]]


@pytest.fixture
def seen() -> Iterator[Seen]:
    records: Seen = []
    detach = attach(lambda *record: records.append(record))
    yield records
    detach()


def test_warnings_and_worse_come_over_without_arguments_and_further_lines(seen: Seen) -> None:
    logger = logging.getLogger("asyncio")
    error = ValueError("x")
    logger.info("not this")
    logger.warning("took %s", b"s3cret")
    logger.error("never retrieved\nfuture: <Task s3cret>", exc_info=error)
    logger.critical({"s3cret": 1})
    assert seen == [
        ("asyncio", "took %s", "warning", None),
        ("asyncio", "never retrieved", "error", error),
        ("asyncio", "dict", "critical", None),
    ]


def test_a_level_between_ours_is_rounded_down(seen: Seen) -> None:
    logging.getLogger("x").log(35, "odd")
    assert seen == [("x", "odd", "warning", None)]


def test_after_detaching_nothing_comes() -> None:
    records: Seen = []
    attach(lambda *record: records.append(record))()
    logging.getLogger("x").error("late")
    assert records == []
