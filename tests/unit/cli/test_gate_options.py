import subprocess
import sys

import click
import pytest

from hyperion.cli.gate_options import GateFlags, gate_options


@click.command()
@gate_options
@click.pass_context
def command(context: click.Context, /, **flags: object) -> None:
    context.obj.append(GateFlags(**flags))  # type: ignore[arg-type]


def parse(*arguments: str) -> GateFlags:
    seen: list[GateFlags] = []
    command.main(list(arguments), standalone_mode=False, obj=seen)
    return seen[0]


def test_the_options_are_those_of_the_flags() -> None:
    assert {parameter.name for parameter in command.params} == {*GateFlags._fields}
    assert parse() == GateFlags()
    flags = parse("--tunnel-port", "1", "--keep-port", "22", "--keep-port", "80", "--one-shot", "--set", "s")
    assert flags == GateFlags(tunnel_port=1, keep_ports=(22, 80), one_shot=True, set_name="s")
    assert parse("--max-connections", "200") == GateFlags(max_connections=200)
    assert parse("--no-one-shot", "--dhcpv6", "--table", "t") == GateFlags(one_shot=False, dhcpv6=True, table="t")


@pytest.mark.parametrize("option", ["--tunnel-port", "--keep-port"])
@pytest.mark.parametrize("port", ["0", "65536", "-1", "22;", "http", ""])
def test_what_is_no_port(option: str, port: str) -> None:
    with pytest.raises(click.BadParameter):
        parse(option, port)


def test_the_options_are_quick_to_load() -> None:
    script = "import sys, hyperion.cli.server; print({'msgspec', 'cryptography', 'hyperion.config'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout == "set()\n"
