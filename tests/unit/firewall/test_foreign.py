from hyperion.firewall.foreign import elements_text, foreign_places, lasting
from hyperion.firewall.ruleset import Ruleset

RULES = Ruleset(8443, set="in")
TABLE = """table inet hyperion {
	comment "
	set in {
		type ipv4_addr
	}

	set in6_connections {
		type ipv6_addr
	}

	set trusted {
		type ipv4_addr
	}

	map ports {
		type inet_service : verdict
	}

	chain set {
		accept comment "set x {"
	}
}
"""
TRUSTED = """table inet hyperion {
	set trusted {
		type ipv4_addr
		elements = { 192.0.2.2 comment "x, y }",
				192.0.2.1 }
	}
}
"""


def test_which_sets_are_not_ours() -> None:
    assert foreign_places(TABLE, RULES) == [("set", "trusted"), ("map", "ports")]


def test_what_is_in_them_can_be_added_again() -> None:
    listings = [(("set", "trusted"), TRUSTED), (("map", "ports"), "table inet hyperion {\n}\n")]
    elements = lasting(listings)
    assert elements == {("set", "trusted"): ("192.0.2.1", '192.0.2.2 comment "x, y }"'), ("map", "ports"): ()}
    expected = 'add element inet t trusted { 192.0.2.1, 192.0.2.2 comment "x, y }" }\n'
    assert elements_text("t", elements) == expected
    assert elements_text("t", {}) == ""
