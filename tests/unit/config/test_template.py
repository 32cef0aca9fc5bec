import tomllib
from pathlib import Path

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from hyperion.config import Endpoint
from hyperion.config.schema import ClientFile, ServerFile
from hyperion.config.template import client_file, quote, server_file
from tests.helpers.config_files import ADMIN_SECRET

ADMIN = ADMIN_SECRET.public()
LISTEN = Endpoint("0.0.0.0", 8443)


def server(text: str) -> ServerFile:
    return msgspec.convert(tomllib.loads(text), ServerFile)


def test_a_server_with_a_bare_key() -> None:
    raw = server(server_file(LISTEN, "saltsalt", Path("/h/server.key"), ADMIN, None, [22, 5432]))
    assert raw.listen == "0.0.0.0:8443"
    assert (raw.key.source, raw.key.salt, raw.key.passphrase_env) == ("passphrase", "saltsalt", "HYPERION_PASSPHRASE")
    assert raw.identity.static_key_file == "/h/server.key"
    assert (raw.identity.admin_pubkeys, raw.admin) == ([str(ADMIN)], [])
    assert raw.egress.allow == [22, 5432]
    assert raw.knock.enabled


def test_a_server_with_a_named_admin_and_no_port() -> None:
    raw = server(server_file(LISTEN, "saltsalt", Path("k"), ADMIN, "alice", []))
    assert [(each.name, each.pubkey, each.allow) for each in raw.admin] == [("alice", str(ADMIN), None)]
    assert (raw.identity.admin_pubkeys, raw.egress.allow) == ([], [])
    assert raw.knock.enabled


@given(salt=st.text(min_size=1).filter(str.isprintable), path=st.text(min_size=1).filter(str.isprintable))
def test_whatever_the_values_hold(salt: str, path: str) -> None:
    raw = server(server_file(LISTEN, salt, Path(path), ADMIN, None, []))
    assert (raw.key.salt, raw.identity.static_key_file) == (salt, Path(path).as_posix())
    client = msgspec.convert(tomllib.loads(client_file(salt, Path(path))), ClientFile)
    assert client.key is not None
    assert (client.key.salt, client.admin_static_key_file) == (salt, Path(path).as_posix())
    assert (client.knock.enabled, client.server, client.key.source) == (True, [], "passphrase")
    assert client.key.passphrase_env == "HYPERION_PASSPHRASE"


@given(st.text().filter(lambda text: "\r" not in text))
def test_quoting(text: str) -> None:
    if any("\ud800" <= char <= "\udfff" for char in text):
        return
    assert tomllib.loads(f"a = {quote(text)}") == {"a": text}
