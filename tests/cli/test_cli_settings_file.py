"""A TOML file that may be anything: bounded in time, memory and what is echoed, and one line when it is wrong."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ringproto._processes.failures import UsageError, shown, told
from ringproto.cli.node.settings_file import BYTES_MAX, read_toml

HOSTILE = {
    "brackets": (b"a=" + b"[" * 100_000, "its brackets are more than 8 deep"),
    "inline tables": (b"a=" + b"{b=" * 100_000, "its brackets are more than 8 deep"),
    "table headers": (b"[" * 100_000, "its brackets are more than 8 deep"),
    "brackets on lines": (b"a=" + b"[\n" * 100_000, "its brackets are more than 8 deep"),
    "parts of a key": (b".".join([b"a"] * 50_000) + b"=1", "it has a key of more than 8 parts"),
    "parts with spaces": (b"a" + b" . a" * 50_000 + b"=1", "it has a key of more than 8 parts"),
    "quoted parts": (b'"a"' + b'."a"' * 50_000 + b"=1", "it has a key of more than 8 parts"),
    "parts of a header": (b"[" + b".".join([b"a"] * 50_000) + b"]", "it has a key of more than 8 parts"),
    "key after a comment": (b"# x\n" + b".".join([b"a"] * 50_000) + b"=1", "it has a key of more than 8 parts"),
    "key after a string": (b'x = "\\""\n' + b".".join([b"a"] * 50_000) + b"=1", "it has a key of more than 8 parts"),
    "too large": (b"#" * (BYTES_MAX + 1), f"is larger than {BYTES_MAX} bytes"),
    "digits": (b"node=" + b"9" * 10_000, "is not TOML"),
    "string without end": (b'a="' + b'\\"' * 500_000, "is not TOML"),
    "strings without end": (b'"\\' * 500_000, "is not TOML"),
    "quotes": (b'"""' * 300_001, "is not TOML"),
    "not UTF-8": (b"a = 1\n\xff", "is not TOML: 'utf-8' codec can't decode byte 0xff in position 6"),
    "no text": (bytes(range(32)) * 1000, "is not TOML"),
}


@pytest.mark.parametrize("string", ["", "x", "x'", 'x"', "\n", "x\n' \" y"])
@pytest.mark.parametrize("quote", ['"', "'"])
@pytest.mark.parametrize("more", [0, 1, 2])
@pytest.mark.parametrize(
    ("behind", "text"),
    [("[" * 3000, "brackets are more than 8 deep"), ("{" + ".".join("a" * 3000) + "=1}", "a key of more than 8 parts")],
    ids=["brackets", "key"],
)
def test_string_of_several_lines_hides_nothing_that_is_behind_it(
    string: str, quote: str, more: int, behind: str, text: str, tmp_path: Path
) -> None:
    if not string and more:
        string = "x"  # where there is nothing between them, quotes in a row are told apart in another way
    string = string if not string.endswith(quote) else f"{string} "
    file = tmp_path / "node.toml"
    value = f"{quote * 3}{string}{quote * (3 + more)}"
    file.write_text(f"a = [{value}, 1]\n")
    assert read_toml(str(file)) == {"a": [string.removeprefix("\n") + quote * more, 1]}, "so far it is TOML"
    file.write_text(f"a = [{value}, {behind}")
    with pytest.raises(UsageError, match=text):
        read_toml(str(file))


def test_file_for_which_the_library_recurses_too_deeply_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ringproto.cli.node.settings_file._look_over", lambda file, text: None)
    file = tmp_path / "node.toml"
    file.write_text("a = " + "[" * 100_000)
    with pytest.raises(UsageError, match="is not TOML: maximum recursion depth"):
        read_toml(str(file))


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_file_is_one_line(name: str, tmp_path: Path) -> None:
    content, text = HOSTILE[name]
    file = tmp_path / "node.toml"
    file.write_bytes(content)
    with pytest.raises(UsageError, match=text) as caught:
        read_toml(str(file))
    assert len(told(caught.value)) < 400


def test_dots_and_brackets_in_strings_and_comments_mean_nothing(tmp_path: Path) -> None:
    file = tmp_path / "node.toml"
    dots = "." * 100 + "[" * 100
    file.write_text(
        f"# {dots}\na = \"{dots}\\\"{dots}\"\nb = '{dots}'  # {dots}\nc = '''{dots}\n'{dots}'''\n"
        f'd = """{dots}\n"{dots}\\""""\ne = {{ "1.2" = [1.5, 2.5, 3.5, 4.5, 5.5, 6.5, 7.5, 8.5, 9.5] }}\n[f.g]\n'
    )
    values = read_toml(str(file))
    assert list(values) == ["a", "b", "c", "d", "e", "f"]
    assert values["a"] == f'{dots}"{dots}' and values["b"] == dots and values["d"] == f'{dots}\n"{dots}"'


def test_line_ends_of_windows_are_read(tmp_path: Path) -> None:
    file = tmp_path / "node.toml"
    file.write_bytes(b"a = 1\r\n[b]\r\nc = 2\r\n")
    assert read_toml(str(file)) == {"a": 1, "b": {"c": 2}}


def test_what_is_no_regular_file_is_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for file in (str(tmp_path / "pipe"), "/dev/zero", "/dev/null"):
        with pytest.raises(UsageError, match=f"{file} is not a regular file"):
            read_toml(file)
    with pytest.raises(UsageError, match=r"cannot read .*: Is a directory"):
        read_toml(str(tmp_path))
    with pytest.raises(UsageError, match=r"cannot read .*null byte"):
        read_toml("a\0b")


def test_values_are_shown_with_sixty_characters_at_most() -> None:
    assert shown("h:1") == "'h:1'"
    for value in ("x" * 10**6, b"x" * 10**6, ["x" * 100] * 100, {"k": {"k": "x" * 1000}}, 10**5000, [10**5000], 0.1):
        assert len(shown(value)) <= 63
    assert shown(2**4000) == "a number of 4001 bits"


def test_what_is_told_is_one_harmless_line_of_bounded_length() -> None:
    assert told("a\n b\x1b[2J") == r"a b\x1b[2J"
    assert told("is " + "y" * 10**6 + " right") == f"is {'y' * 60}... right"
    assert len(told("z " * 10**6)) < 1100
