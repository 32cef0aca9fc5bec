"""All cases, in the order of their sections."""

from tests.conformance import connect, flow, framing, go_away, growth, limits, ping, streams
from tests.conformance.case import CASES

#: Importing a module registers its cases; naming it here keeps a section from being lost.
MODULES = (framing, streams, flow, growth, ping, go_away, limits, connect)
SECTION_COUNT = 7

CASES.sort(key=lambda case: tuple(map(int, case.number.split("."))))
ALL_CASES = tuple(CASES)
