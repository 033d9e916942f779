"""Flags and TOML file of ``ringproto node``."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from ringproto import Guarantee, Priority
from ringproto._processes.failures import UsageError
from ringproto.cli.node.settings import NodeSettings, add_options, read_peer, settings_of


def settings(*flags: str) -> NodeSettings:
    parser = argparse.ArgumentParser()
    add_options(parser)
    return settings_of(parser.parse_args(flags))


def toml(tmp_path: Path, text: str) -> str:
    file = tmp_path / "node.toml"
    file.write_text(text)
    return str(file)


def test_flags_alone_are_enough_for_unicast() -> None:
    given = settings("--node", "2", "--peer", "1=127.0.0.1:5001", "--peer", "2=[::1]:5002", "--quorum", "2", "--json")
    assert given.node == 2
    assert given.transport == {"kind": "unicast", "peers": {1: ("127.0.0.1", 5001), 2: ("::1", 5002)}}
    assert given.config.quorum == 2 and given.config.cluster == "ringproto"
    assert (given.priority, given.guarantee, given.json) == (Priority.HIGH, Guarantee.AGREED, True)


def test_flags_alone_are_enough_for_multicast() -> None:
    flags = "--node 1 --group 239.192.7.1 --port 5405 --interface eth0 --priority low --guarantee safe --cluster other"
    given = settings(*flags.split())
    assert given.transport == {"kind": "multicast", "group": "239.192.7.1", "port": 5405, "interface": "eth0"}
    assert (given.priority, given.guarantee, given.json) == (Priority.LOW, Guarantee.SAFE, False)
    assert given.config.cluster == "other"


@pytest.mark.parametrize(
    "peers", ['{1 = "localhost:5001", 2 = "localhost:5002"}', '["1=localhost:5001", "2=localhost:5002"]']
)
def test_a_file_has_the_same_keys(tmp_path: Path, peers: str) -> None:
    text = f"""
        node = 1
        peer = {peers}
        cluster = "one"
        quorum = 2
        priority = "low"
        guarantee = "safe"
        json = true
        [config]
        token_timeout_s = 2
        window_size = 64
    """
    given = settings("--config", toml(tmp_path, text))
    assert given.transport == {"kind": "unicast", "peers": {1: ("localhost", 5001), 2: ("localhost", 5002)}}
    assert (given.config.cluster, given.config.quorum) == ("one", 2)
    assert (given.config.token_timeout_s, given.config.window_size) == (2, 64)
    assert (given.priority, given.guarantee, given.json) == (Priority.LOW, Guarantee.SAFE, True)


def test_flags_win_over_the_file(tmp_path: Path) -> None:
    file = toml(tmp_path, 'node = 1\npriority = "low"\nquorum = 2\npeer = {1 = "h:1"}\n[config]\nwindow_size = 64\n')
    given = settings("--config", file, "--node", "7", "--priority", "high", "--quorum", "3")
    assert (given.node, given.priority, given.config.quorum, given.config.window_size) == (7, Priority.HIGH, 3, 64)
    assert given.transport["kind"] == "unicast"


def test_a_transport_chosen_by_flag_puts_that_of_the_file_aside(tmp_path: Path) -> None:
    file = toml(tmp_path, 'node = 1\npeer = {1 = "h:1"}\n')
    given = settings("--config", file, "--group", "ff02::7", "--port", "5", "--interface", "eth0")
    assert given.transport["kind"] == "multicast"
    file = toml(tmp_path, 'node = 1\ngroup = "239.192.7.1"\nport = 5\ninterface = "eth0"\n')
    assert settings("--config", file, "--peer", "1=h:1").transport == {"kind": "unicast", "peers": {1: ("h", 1)}}
    assert settings("--config", file, "--port", "6").transport["port"] == 6


def test_a_quorum_in_the_config_table_is_one_too(tmp_path: Path) -> None:
    file = toml(tmp_path, 'node = 1\npeer = {1 = "h:1"}\n[config]\nquorum = 2\ncluster = "c"\n')
    assert settings("--config", file).config.quorum == 2
    assert settings("--config", file, "--quorum", "3").config.quorum == 3


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nod = 1", "unknown key 'nod'; the keys are node, peer, group"),
        ("node = 'one'", "node in .* must be a whole number, not 'one'"),
        ("node = true", "node in .* must be a whole number, not True"),
        ("node = 1\npeer = 'x'", "peer in .* must be a table"),
        ("node = 1\npeer = ['x']", "a peer is NODE=HOST:PORT"),
        ("node = 1\npeer = {1 = 'h:1'}\npriority = 'middle'", "priority must be high or low, not 'middle'"),
        ("node = 1\npeer = {1 = 'h:1'}\nguarantee = 'none'", "guarantee must be agreed or safe"),
        (
            "node = 1\npeer = {1 = 'h:1'}\n[config]\nwindow = 3",
            "Config has no field 'window'; did you mean window_size",
        ),
        ("node = 1\npeer = {1 = 'h:1'}\n[config]\nwindow_size = 0", "Config.window_size must be"),
        ("node = 1\npeer = {1 = 'h:1'}\nquorum = 1\n[config]\nquorum = 2", "gives quorum twice"),
        ("node = 1\npeer = {1 = 'h:1'}\nport = 5", "peer means unicast, and port belongs to multicast"),
        ("node = ", "is not TOML"),
        ("peer = {1 = 'h:1'}", "needs an id: --node 1"),
        ("node = 1", "needs a transport"),
        ("node = 1\ngroup = '239.192.7.1'", "multicast needs --port and --interface too"),
    ],
)
def test_a_wrong_file_is_told_in_one_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        settings("--config", toml(tmp_path, text))
    assert "\n" not in str(caught.value)


HUGE = "0x" + "f" * 6000


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"node = 1\npeer = [{HUGE}]", "peer must be a table such as .*, and has a number of 24000 bits in it"),
        (f"node = 1\npeer = {{1 = {HUGE}}}", "peer must be a table such as .*, and has a number of 24000 bits in it"),
        (f"node = {HUGE}\npeer = {{1 = 'h:1'}}", "node in .* must be a whole number, not a number of 24000 bits"),
        (f"node = 1\nport = {HUGE}", "port in .* must be a whole number, not a number of 24000 bits"),
        (f"node = 1\nquorum = -{HUGE.replace('0x', '9').replace('f', '9')[:4000]}", "quorum in .* must be a whole"),
        (f"node = 1\npeer = {{1 = [{HUGE}]}}", "peer must be a table such as .*, and has a list in it"),
    ],
)
def test_a_huge_number_is_told_with_its_key(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        settings("--config", toml(tmp_path, text))
    assert len(str(caught.value)) < 400 and "\n" not in str(caught.value)


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"cannot read .*No such file"):
        settings("--config", str(tmp_path / "none.toml"))


def test_two_transports_at_once_are_refused() -> None:
    with pytest.raises(UsageError, match="give one of them"):
        settings("--node", "1", "--peer", "1=h:1", "--group", "239.192.7.1")
    with pytest.raises(UsageError, match="peer 1 is given twice"):
        settings("--node", "1", "--peer", "1=h:1", "--peer", "1=h:2")


@pytest.mark.parametrize("text", ["1", "1=h", "=h:1", "1=:5", "1=h:", "x=h:1", "1=h:x", "1=::1:5", "-1=h:5"])
def test_a_peer_of_another_form_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="a peer is NODE=HOST:PORT"):
        read_peer(text)
