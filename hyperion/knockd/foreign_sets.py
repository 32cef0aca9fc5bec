"""The elements of the operator's own sets in the gate's table, read now and then for the next restoration.

Knows how much reading may cost. Refuses to judge what it reads (``firewall``).
"""

from collections.abc import Callable

from hyperion.firewall.foreign import Elements, elements_text, foreign_places, lasting
from hyperion.firewall.nft import Backend, NoSuchObjectError
from hyperion.firewall.ruleset import Ruleset

#: A reading that takes no longer is done at each look, seconds: some thousand elements with the library.
CHEAP_SECONDS = 0.05
#: After one that took longer the next one is due after so many times that: lists of 100,000 addresses take a second or
#: more, and must not keep the guard from its table.
REST_FACTOR = 20.0


class ForeignSets:
    """What was last known of them. ``clock`` counts seconds. A table without such sets costs nothing."""

    def __init__(self, backend: Backend, rules: Ruleset, clock: Callable[[], float]) -> None:
        self._backend = backend
        self._rules = rules
        self._clock = clock
        self._known: Elements = {}
        self._due_at: float | None = None

    def read(self, live: str) -> Elements:
        """What is in them now, ``live`` being the listing of their table. Raises ``FirewallError``."""
        began = self._clock()
        table = self._rules.table
        places = foreign_places(live, self._rules)
        found = lasting((place, self._backend.list_whole(place[0], "inet", table, place[1])) for place in places)
        now = self._clock()
        took = now - began
        self._due_at = now + REST_FACTOR * took if took > CHEAP_SECONDS else None
        return found

    def read_changed(self, live: str, *, anew: bool) -> Elements | None:
        """The same, if it differs from what is known; ``None`` if not, or if it is too early to look, unless the table
        was made ``anew``."""
        if not anew and self._due_at is not None and self._clock() < self._due_at:
            return None
        try:
            found = self.read(live)
        except NoSuchObjectError:  # somebody is at it: the next look will tell
            return None
        return found if found != self._known else None

    def remember(self, elements: Elements) -> None:
        """This is what is to be in them."""
        self._known = elements

    def text(self) -> str:
        """Puts what is known into the sets of a table that was just made."""
        return elements_text(self._rules.table, self._known)
