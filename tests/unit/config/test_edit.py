import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hyperion.config.edit import add_section, remove_from_list, remove_sections
from hyperion.errors import ConfigError

NEW = {"name": "new", "addr": "h:1", "server_pubkey": "key", "virtual_ip": "10.99.0.10"}
SECTION = '[[server]]\nname = "new"\naddr = "h:1"\nserver_pubkey = "key"\nvirtual_ip = "10.99.0.10"\n'

FILE = '''\
# head
admin_static_key_file = "x"  # ours
note = """
[[server]]
name = "no server"
"""

# the web machine,
# in two lines
[[server]]
name = "web1"
addr = "a:1"  # note
# at the end of web1

# the db machine
[[server]]
name = "db1"
addr = "b # no comment"

# forwards
[[forward]]
local = "127.0.0.1:1"
server = "web1"

[[forward]]
server = "db1"

# the end
'''


@pytest.mark.parametrize("number", [1, 2, 5])
@pytest.mark.parametrize("separator", ["\x85", "\u2028", "\u2029"])
def test_a_line_ends_where_toml_says_so(separator: str, number: int) -> None:
    """Pasted out of a word processor, for example."""
    text = FILE.replace("# head", "# head" + separator * number).replace("# forwards", f"# for{separator}wards")
    edited = remove_sections(text, "server", "name", "db1")
    assert edited == text.replace('# the db machine\n[[server]]\nname = "db1"\naddr = "b # no comment"\n\n', "")


def add_server(text: str, values: dict[str, str]) -> str:
    return add_section(text, "server", values)


def remove_server(text: str, name: str) -> str:
    """As ``rm-server --forwards`` does it."""
    return remove_sections(remove_sections(text, "forward", "server", name), "server", "name", name)


def test_one_more_changes_no_byte_before_it() -> None:
    assert add_server(FILE, NEW) == FILE + "\n" + SECTION
    assert add_server("", NEW) == SECTION
    assert add_server("a = 1", NEW) == "a = 1\n\n" + SECTION
    assert add_server("a = 1\r\n", NEW) == ("a = 1\n\n" + SECTION).replace("\n", "\r\n")


def test_one_less_takes_the_comment_on_top_of_it_and_its_forwards() -> None:
    assert remove_server(FILE, "web1") == FILE.replace(
        """\
# the web machine,
# in two lines
[[server]]
name = "web1"
addr = "a:1"  # note
# at the end of web1

""",
        "",
    ).replace('# forwards\n[[forward]]\nlocal = "127.0.0.1:1"\nserver = "web1"\n\n', "")


def test_the_last_one_leaves_what_stands_behind_it() -> None:
    assert remove_server(FILE, "db1") == FILE.replace(
        '# the db machine\n[[server]]\nname = "db1"\naddr = "b # no comment"\n\n', ""
    ).replace('[[forward]]\nserver = "db1"\n\n', "")


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize(
    "text", [FILE, FILE.rstrip("\n"), "", "a = 1\n", "# x\n", "\ufeff# x\n", "[key]\nsource = 'env'\n"]
)
def test_there_and_back(text: str, newline: str) -> None:
    text = text.replace("\n", newline)
    there = add_server(text, NEW)
    back = remove_server(there, "new")
    assert back == text + ("" if text == "" or text.endswith("\n") else newline)


NAMES = st.text(min_size=1, max_size=8).filter(lambda text: text.isprintable() and not set(text) & set("/: "))
COMMENTS = st.lists(st.sampled_from(["", "# [[server]]", "# x", "#", '# """', "# '"]), max_size=3).map("\n".join)


@given(names=st.lists(NAMES, min_size=1, max_size=6, unique=True), comments=st.lists(COMMENTS, min_size=7, max_size=7))
def test_whatever_stands_around_it(names: list[str], comments: list[str]) -> None:
    text = f"{comments[-1]}\na = 1\n"
    for name, comment in zip(names, comments, strict=False):
        text = add_server(f"{text}{comment}\n", {"name": name, "addr": "[[server]]", "server_pubkey": '"""'})
    for place, name in enumerate(names):
        text = remove_server(text, name)
        left = tomllib.loads(text).get("server", [])
        assert [each["name"] for each in left] == names[place + 1 :]
    assert "[[server]]\n" not in text.replace("# [[server]]\n", "")


@pytest.mark.parametrize(
    "text",
    [
        'server = [{ name = "web1", addr = "a:1" }]\n',
        'server = [\n  { name = "web1", addr = "a:1" },\n]\n',
    ],
)
def test_inline_tables_are_left_to_a_person(text: str) -> None:
    with pytest.raises(ConfigError, match=r"cannot edit: expected each server under its own \[\[server\]\]"):
        add_server(text, NEW)
    with pytest.raises(ConfigError, match=r"cannot edit: expected each server under its own \[\[server\]\]"):
        remove_server(text, "web1")


@pytest.mark.parametrize("heading", ["[[ server ]]", '[["server"]]', "  [[server]]", "[[server]] # x"])
def test_other_ways_to_write_a_heading(heading: str) -> None:
    text = f"a = 1\n\n{heading}\nname = 'web1'\n"
    assert remove_server(text, "web1") == "a = 1\n"


LIST = """\
[identity]
# who may come in
admin_pubkeys = [
    "a", # alice
    "b", # bob
]  # all
[[admin]]
name = "c"
"""


def test_one_less_in_a_list() -> None:
    left = remove_from_list(LIST, "identity", "admin_pubkeys", "a")
    assert tomllib.loads(left) == {"identity": {"admin_pubkeys": ["b"]}, "admin": [{"name": "c"}]}
    assert "# who may come in\n" in left
    assert "# bob\n" in left
    assert left.endswith(']  # all\n[[admin]]\nname = "c"\n')
    assert tomllib.loads(remove_from_list(left, "identity", "admin_pubkeys", "b"))["identity"] == {"admin_pubkeys": []}


def test_what_is_not_there_is_not_missed() -> None:
    assert remove_sections(FILE, "socks", "listen", "x") == FILE
    assert remove_sections(FILE, "server", "name", "x") == FILE
