"""The wheel and the sdist hold what they should and nothing else, and an installed wheel works by itself."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent

WORKS = """
import sys, trio, trio.testing
import ringproto, ringproto._core.wire.regular as wire, ringproto.transports._batch as batch
assert ringproto.__file__.startswith(sys.argv[1]), ringproto.__file__
assert wire.__file__.endswith(".so") and batch.__file__.startswith(sys.argv[1])
from ringproto.transports import _segments, _traffic
HEAP_TYPE = 1 << 9  # a class of Python; an extension type is none, if its .pxd was found
for one in (_segments.Joiner, _traffic.UdpSocket, wire.Packet, ringproto.Message):
    assert not one.__flags__ & HEAP_TYPE, one
from ringproto import Config, Message, open_ring
from ringproto.transports import LoopbackNetwork

async def main():
    network = LoopbackNetwork(seed=1)
    async with open_ring(network.open(node=1), config=Config.testing()) as ring:
        await ring.high.send(b"installed")
        async for event in ring.events:
            if isinstance(event, Message):
                print(event.payload.decode())
                return

trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
"""


def run(*command: str, cwd: Path, **environment: str) -> str:
    done = subprocess.run(
        command, cwd=cwd, env={**os.environ, **environment}, capture_output=True, text=True, timeout=900, check=False
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return done.stdout


@pytest.fixture(scope="module")
def built(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not request.config.getoption("--run-builds"):
        pytest.skip("takes two minutes; .ci/run gives --run-builds")
    out = tmp_path_factory.mktemp("dist")
    source = tmp_path_factory.mktemp("source") / "checkout"
    run("git", "clone", "-q", str(ROOT), str(source), cwd=out)
    # The wheel is built from the sdist, so the sdist is known to be whole. What builds is installed already.
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), cwd=source)
    return out


def test_the_sdist_holds_sources_and_no_products(built: Path) -> None:
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    for wanted in (
        "setup.py",
        "README.md",
        "LICENSE.MIT",
        "LICENSE.APACHE2",
        "ringproto/py.typed",
        "ringproto/message.pxd",
        "ringproto/_core/wire/regular.pxd",
        "ringproto/_core/wire/_crc32.pyx",
        "ringproto/_core/wire/_crc32.pyi",
        "transports/_batch.pyx",
        "transports/_room.pxd",
        "transports/_segments.pxd",
        "transports/_traffic.pxd",
        "docs/wire.md",
        "tests/conftest.py",
        "bench/peers/member.c",
        "bench/peers/member.h",
    ):
        assert wanted in names
    written = {name for name in names if name.startswith("bench/peers/") and name.endswith(".c")}  # by hand
    strange = [
        name
        for name in names
        if (name.endswith((".c", ".so", ".pyc")) and name not in written) or name.startswith((".", "build/"))
    ]
    assert strange == []
    assert not any(name.startswith("ringproto/transports/") for name in names)


def test_the_wheel_holds_the_package_and_nothing_else(built: Path) -> None:
    (wheel,) = built.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.partition("/")[0] for name in names}
    assert {top.partition("-")[0] for top in tops} == {"ringproto", "ringproto_command.py"} and len(tops) == 3
    package = [name for name in names if name.startswith("ringproto/")]
    assert {Path(name).suffix for name in package} <= {".py", ".so", ".pyi", ".typed", ""}
    sources = {
        str(Path("ringproto") / path.relative_to(ROOT / "ringproto"))
        for path in (ROOT / "ringproto").rglob("*.py")
        if "transports" not in path.parts[-2]
    } | {f"ringproto/transports/{path.name}" for path in (ROOT / "transports").glob("*.py")}
    assert {name for name in package if name.endswith(".py")} == sources
    assert any(name.endswith(".so") and "transports/_batch" in name for name in package)


def test_an_installed_wheel_works_by_itself(built: Path, tmp_path: Path) -> None:
    (wheel,) = built.glob("*.whl")
    target = tmp_path / "site"
    run(sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(target), str(wheel), cwd=tmp_path)
    assert run(sys.executable, "-c", WORKS, str(target), cwd=tmp_path, PYTHONPATH=str(target)) == "installed\n"
    version = run(str(target / "bin" / "ringproto"), "--version", cwd=tmp_path, PYTHONPATH=str(target))
    assert version.startswith("ringproto 0.1.0")
