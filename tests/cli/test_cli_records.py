"""Where the records of the demonstration come from."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ringproto._processes.failures import UsageError
from ringproto.cli.demo import records
from ringproto.cli.demo.records import Record, fingerprint, load, share


def test_every_python_has_tens_of_thousands_of_records() -> None:
    loaded = load(None)
    assert len(loaded.records) > 20_000
    assert len({record.key for record in loaded.records}) == len(loaded.records)
    assert dict(loaded.records)[b"U+0061"].startswith(b"LATIN SMALL LETTER A;Ll;")
    assert not loaded.left_out


def test_each_line_that_is_not_empty_is_a_record(tmp_path: Path) -> None:
    file = tmp_path / "lines"
    file.write_bytes(b"one\n\ntwo\r\n\xff\xfe\nlast")
    assert load(str(file)).records == [
        Record(b"line 1", b"one"),
        Record(b"line 3", b"two"),
        Record(b"line 4", b"\xff\xfe"),
        Record(b"line 5", b"last"),
    ]


def test_a_file_that_cannot_be_used_says_why(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"cannot read .*No such file"):
        load(str(tmp_path / "none"))
    with pytest.raises(UsageError, match="not a regular file"):
        load(str(tmp_path))
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UsageError, match="not a regular file"):
        load(str(tmp_path / "pipe"))


def test_a_line_that_does_not_fit_a_message_is_named(tmp_path: Path) -> None:
    file = tmp_path / "lines"
    file.write_bytes(b"short\n" + bytes([65]) * (records.LINE_MAX + 1) + b"\n")
    with pytest.raises(UsageError, match=r"line 2 of .* is longer"):
        load(str(file))
    file.write_bytes(b"short\n" + bytes([65]) * records.LINE_MAX + b"\n")
    assert len(load(str(file)).records) == 2


def test_more_than_the_limits_is_left_out_and_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "lines"
    file.write_bytes(b"12345678\n" * 10)
    monkeypatch.setattr(records, "RECORDS_MAX", 4)
    assert (len(load(str(file)).records), load(str(file)).left_out) == (4, True)
    monkeypatch.setattr(records, "RECORDS_MAX", 10)
    assert (len(load(str(file)).records), load(str(file)).left_out) == (10, False)
    monkeypatch.setattr(records, "BYTES_MAX", 20)
    assert (len(load(str(file)).records), load(str(file)).left_out) == (2, True)


def test_every_record_belongs_to_exactly_one_node() -> None:
    everything = [Record(b"%d" % i, b"") for i in range(11)]
    shares = [share(everything, node, [7, 3, 5]) for node in (3, 5, 7)]
    assert sorted(record for part in shares for record in part) == sorted(everything)


def test_the_fingerprint_tells_other_records_apart() -> None:
    assert fingerprint([Record(b"a", b"bc")]) != fingerprint([Record(b"ab", b"c")])
    assert fingerprint([Record(b"a", b"b")]) == fingerprint([Record(b"a", b"b")])
