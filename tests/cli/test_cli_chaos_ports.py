"""Rounds that are played at once have ports of their own, from their beginning to their end."""

from __future__ import annotations

import random
import socket
import subprocess
import sys

import pytest

from ringproto._processes.failures import RunFailedError
from ringproto.chaos.ports import BLOCK, claim_ports, claim_transport


@pytest.fixture
def blocks(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The first ports of the three blocks that every claim tries, in this order. No round on this host does."""
    found = [first for first in random.sample(range(30_016, 32_000, BLOCK), 64) if is_free(first)][:3]
    monkeypatch.setattr(random, "sample", lambda population, count: found)
    return found


def is_free(first: int) -> bool:
    for port in range(first, first + BLOCK):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                return False
    return True


def test_two_claims_at_once_share_no_port(blocks: list[int]) -> None:
    with claim_ports(5) as one, claim_ports(5) as other:
        assert one == list(range(blocks[0], blocks[0] + 5))
        assert other == list(range(blocks[1], blocks[1] + 5))


def test_a_claim_of_another_command_is_respected_and_ends_with_it(blocks: list[int]) -> None:
    holder = f"""
import random
from ringproto.chaos.ports import claim_ports
random.sample = lambda population, count: {blocks}
with claim_ports(5) as ports:
    print(ports[0], flush=True)
    input()
"""
    with subprocess.Popen([sys.executable, "-c", holder], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert int(process.stdout.readline()) == blocks[0]
        with claim_ports(3) as ports:
            assert ports[0] == blocks[1]
        process.kill()
    with claim_ports(3) as ports:
        assert ports[0] == blocks[0]


def test_a_claim_ends_with_its_block_also_when_the_round_failed(blocks: list[int]) -> None:
    with pytest.raises(RunFailedError, match="the round failed"), claim_ports(5):
        raise RunFailedError("the round failed")
    with claim_ports(5) as ports:
        assert ports[0] == blocks[0]


def test_a_block_that_another_program_has_a_port_of_is_passed_over(blocks: list[int]) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.1", blocks[0] + 4))
        with claim_ports(5) as ports:
            assert ports[0] == blocks[1]


def test_processors_can_open_the_ports_that_were_claimed(blocks: list[int]) -> None:
    with claim_ports(5) as ports:
        for port in ports:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                sock.bind(("127.0.0.1", port))


def test_where_no_port_is_left_it_is_told(blocks: list[int]) -> None:
    with (
        claim_ports(5),
        claim_ports(5),
        claim_ports(5),
        pytest.raises(RunFailedError, match="found no 4 free UDP ports between 16000 and 30000"),
        claim_ports(4),
    ):
        raise AssertionError("there was a fourth block")


def test_rounds_over_multicast_at_once_do_not_hear_each_other(
    blocks: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(random, "randrange", lambda *limits: 7)
    with claim_transport("multicast", (1, 2, 3)) as one, claim_transport("multicast", (1, 2, 3)) as other:
        assert one["group"] == other["group"] == "239.192.7.7"
        assert one["port"] != other["port"]


def test_rounds_over_unicast_at_once_have_addresses_of_their_own(blocks: list[int]) -> None:
    with claim_transport("unicast", (1, 2, 3)) as one, claim_transport("unicast", (1, 2, 3, 4)) as other:
        assert list(one["peers"]) == ["1", "2", "3"] and list(other["peers"]) == ["1", "2", "3", "4"]
        addresses = [tuple(address) for transport in (one, other) for address in transport["peers"].values()]
        assert len(set(addresses)) == 7
