"""The documentation is held against the code: its examples run, its links lead somewhere, its commands parse.

The Python blocks of one document are one program: they run in order, in one namespace, as ``__main__``. Test functions
that a block defines are run too, as pytest-trio would. In a block that uses ``LoopbackNetwork`` ``trio.run`` gets a
``MockClock`` that jumps, and so it does in the others of a document without real sockets; ports of the 5000s are
replaced. A ``text`` block after a line that ends in «It prints:» is compared with what was printed. A block after a
comment ``<!-- not run: the reason -->`` is compiled only.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import io
import logging
import re
import shlex
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import trio
import trio.testing

from ringproto.__main__ import build_parser

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", ROOT / "CHANGELOG.md", ROOT / "CONTRIBUTING.md", *ROOT.glob("docs/*.md")])
ELSEWHERE = {ROOT / "docs" / "transports.md"}
"""Their examples are run in tests/transports/test_transport_docs.py, which knows the interfaces of the host."""
EXPECTED_PAGES = {
    "acknowledging.md",
    "architecture.md",
    "barrier.md",
    "command-line.md",
    "configuration.md",
    "logging.md",
    "model.md",
    "performance-levers.md",
    "performance.md",
    "performance-growth.md",
    "protocol.md",
    "quickstart.md",
    "statistics.md",
    "testing-a-service.md",
    "testing.md",
    "transports.md",
    "wire.md",
}

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_NOT_RUN = re.compile(r"<!-- not run: \S.* -->\s*\Z")
_PORT = re.compile(r"\b5\d{3}\b")


class Example(NamedTuple):
    line: int
    code: str
    runs: bool
    prints: str | None
    """What the document says that it prints; ``None`` if it does not say."""


def examples(page: Path) -> list[Example]:
    text = page.read_text()
    found: list[Example] = []
    end = 0
    for match in _FENCE.finditer(text):
        before, end = text[end : match.start()], match.end()
        line = text.count("\n", 0, match.start(2)) + 1
        if match[1] == "python":
            found.append(Example(line, match[2], not _NOT_RUN.search(before), None))
        elif match[1] == "text" and before.strip().endswith("It prints:"):
            assert found, f"{page.name}:{line}: nothing that could print stands before this"
            found[-1] = found[-1]._replace(prints=match[2])
    return found


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def free_ports() -> Callable[[re.Match[str]], str]:
    """Replaces each port by a free one, the same for the same."""
    chosen: dict[str, str] = {}

    def replace(match: re.Match[str]) -> str:
        if match[0] not in chosen:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
                probe.bind(("127.0.0.1", 0))
                chosen[match[0]] = str(probe.getsockname()[1])
        return chosen[match[0]]

    return replace


@contextlib.contextmanager
def trio_run(run: Callable[..., Any]) -> Iterator[None]:
    original, trio.run = trio.run, run
    try:
        yield
    finally:
        trio.run = original


@pytest.fixture(autouse=True)
def log_as_before() -> Iterator[None]:
    """What an example does to the logger of the rings is undone: its handlers would fail for the lines of others."""
    logger = logging.getLogger("ringproto")
    handlers, level = list(logger.handlers), logger.level
    yield
    logger.handlers[:] = handlers
    logger.setLevel(level)


def run_tests(namespace: dict[str, Any], known: set[str], run: Callable[..., Any]) -> None:
    """Run the test functions that were not there before."""
    for key in [key for key in namespace if key.startswith("test_") and key not in known]:
        test = namespace[key]
        if inspect.iscoroutinefunction(test):
            run(functools.partial(test, **dict.fromkeys(inspect.signature(test).parameters)))
        else:
            test()


@pytest.mark.parametrize("page", [page for page in PAGES if examples(page) and page not in ELSEWHERE], ids=name)
def test_the_examples_of_a_page_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["example.py"])
    namespace: dict[str, Any] = {"__name__": "__main__"}
    program = examples(page)
    port = free_ports()
    real_run = trio.run
    sockets = False
    for example in program:
        sockets = sockets or "_udp" in example.code
        mock = not sockets or "LoopbackNetwork" in example.code

        def run(*args: Any, mock: bool = mock, **kwargs: Any) -> Any:
            if mock:
                kwargs.setdefault("clock", trio.testing.MockClock(autojump_threshold=0))
            return real_run(*args, **kwargs)

        code = _PORT.sub(port, example.code)
        # Line numbers of a traceback are those of the page.
        compiled = compile("\n" * (example.line - 1) + code, str(page), "exec")
        if not example.runs:
            continue
        printed = io.StringIO()
        known = set(namespace)
        with trio_run(run), contextlib.redirect_stdout(printed):
            exec(compiled, namespace)
            run_tests(namespace, known, run)
        if example.prints is not None:
            assert printed.getvalue() == example.prints, f"{name(page)}:{example.line} prints something else"


@pytest.mark.parametrize("page", [page for page in PAGES if examples(page) and page not in ELSEWHERE], ids=name)
def test_the_examples_of_a_page_can_fail(page: Path) -> None:
    checked = [e for e in examples(page) if e.runs and ("assert" in e.code or e.prints is not None)]
    assert checked, f"no example of {name(page)} asserts anything"


def slug(heading: str) -> str:
    """The anchor that a heading gets where Markdown is shown."""
    kept = re.sub(r"[^\w\- ]", "", heading.strip().lower())
    return kept.replace(" ", "-")


def anchors(page: Path) -> set[str]:
    text = _FENCE.sub("", page.read_text())
    return {slug(heading) for heading in re.findall(r"^#+ (.*)$", text, re.MULTILINE)}


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_the_links_of_a_page_lead_somewhere(page: Path) -> None:
    text = _FENCE.sub("", page.read_text())
    lost = []
    for target in re.findall(r"\[[^\]]*\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        linked = (page.parent / path).resolve() if path else page
        if not linked.exists() or (anchor and linked.suffix == ".md" and anchor not in anchors(linked)):
            lost.append(target)
    assert not lost


def test_every_page_that_the_readme_promises_is_there() -> None:
    assert {page.name for page in ROOT.glob("docs/*.md")} >= EXPECTED_PAGES
    readme = (ROOT / "README.md").read_text()
    assert {page for page in EXPECTED_PAGES if f"(docs/{page})" not in readme} == set()


def commands() -> list[tuple[str, str]]:
    """The lines of code that call ``ringproto``, without those that only show what may be given."""
    found = []
    for page in PAGES:
        for line in page.read_text().splitlines():
            match = re.match(
                r"(?:    )?(?:\$ )?(?:\.venv/bin/)?ringproto ((?:chaos|demo|latency|node|simulate)\b.*)$", line
            )
            if match and not re.search(r"[\[<]|\.\.\.|\\$", match[1]):
                found.append((name(page), match[1].partition(" | ")[0].partition("   #")[0]))
    return found


@pytest.mark.parametrize(("page", "command"), commands())
def test_a_command_of_the_documentation_is_understood(page: str, command: str) -> None:
    assert callable(build_parser().parse_args(shlex.split(command, comments=True)).run)
