"""The checksum is CRC-32, whoever computes it."""

from __future__ import annotations

import random
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator

import pytest

from ringproto._core.wire.checksum import crc32, sealed

try:
    from ringproto._core.wire import _crc32

    folded: Callable[..., int] | None = _crc32.crc32
except ImportError:
    folded = None

needs_folding = pytest.mark.skipif(folded is None, reason="interpreted, or no carry-less multiplication here")


def test_check_value_of_the_catalogues() -> None:
    assert crc32(b"123456789") == 0xCBF43926
    assert crc32(b"") == 0
    assert crc32(b"", 5) == 5


@pytest.fixture(params=[False, True], ids=["blocks", "rows"])
def width(request: pytest.FixtureRequest) -> Iterator[None]:
    """Folded block by block, and by rows of four."""
    if folded is None:
        pytest.skip("interpreted, or no carry-less multiplication here")
    if not _crc32.fold_wide(request.param):
        pytest.skip("this processor has no VPCLMULQDQ with AVX-512")
    yield
    _crc32.fold_wide(True)


@pytest.mark.parametrize("size", [*range(600), 1352, 11_588, 32_000, 65_000, 1_000_003])
@pytest.mark.usefixtures("width")
def test_folded_is_what_zlib_finds(size: int) -> None:
    assert folded is not None
    source = random.Random(size)
    data, before = source.randbytes(size), source.getrandbits(32)
    assert folded(data) == zlib.crc32(data)
    assert folded(data, before) == zlib.crc32(data, before)
    # Wherever it stands in memory, and in pieces.
    for shift in (1, 3, 8, 15):
        assert folded(memoryview(data)[shift:], before) == zlib.crc32(data[shift:], before)
    middle = source.randrange(size + 1)
    assert folded(data[middle:], folded(data[:middle])) == zlib.crc32(data)
    assert folded(bytearray(data)) == zlib.crc32(data)


@pytest.mark.usefixtures("width")
def test_folded_finds_every_single_bit() -> None:
    assert folded is not None
    data = bytes(600)
    seen = {folded(data)}
    for bit in range(8 * len(data)):
        changed = bytearray(data)
        changed[bit // 8] = 1 << (bit % 8)
        seen.add(folded(changed))
    assert len(seen) == 1 + 8 * len(data)


@needs_folding
@pytest.mark.parametrize(
    ("arguments", "error"),
    [((), TypeError), (("text",), TypeError), ((7,), TypeError), ((memoryview(b"abcdef")[::2],), BufferError)],
)
def test_what_has_no_bytes_in_a_row_is_refused(arguments: tuple[object, ...], error: type[Exception]) -> None:
    assert folded is not None
    with pytest.raises(error):
        folded(*arguments)


@needs_folding
@pytest.mark.parametrize("before", [-1, 2**32])
def test_value_of_more_than_32_bits_is_refused(before: int) -> None:
    assert folded is not None
    with pytest.raises(OverflowError):
        folded(b"abc", before)


@pytest.mark.parametrize("count", [0, 1, 2, 5, 300])
@pytest.mark.parametrize("size", [0, 1, 63, 64, 1350])
def test_sealed_is_all_pieces_and_their_checksum(count: int, size: int) -> None:
    source = random.Random(count * 10_000 + size)
    head = source.randbytes(52)
    datas = [source.randbytes(size) for _ in range(count)]
    pieces: list[bytes | memoryview] = [
        memoryview(b"before" + data + b"after")[6 : 6 + size] if place % 3 == 1 else data
        for place, data in enumerate(datas)
    ]
    content = head + b"".join(datas)
    assert sealed(head, pieces) == content + zlib.crc32(content).to_bytes(4, "big")


@pytest.mark.parametrize("piece", ["text", 7, None])
def test_what_has_no_bytes_is_not_sealed(piece: object) -> None:
    with pytest.raises(TypeError):
        sealed(b"head", [b"piece", piece])  # type: ignore[list-item]


def test_without_the_module_zlib_does_it() -> None:
    program = (
        "import sys; sys.modules['ringproto._core.wire._crc32'] = None\n"
        "import zlib\n"
        "from ringproto._core.wire import checksum\n"
        "assert checksum.crc32 is zlib.crc32\n"
        "assert checksum.sealed(b'he', [b'ad', memoryview(b'body')]) == b'headbody' + "
        "zlib.crc32(b'headbody').to_bytes(4, 'big')\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
