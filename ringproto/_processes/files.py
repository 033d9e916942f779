"""Reading a file that the user of a command named."""

from __future__ import annotations

import os
import stat

from ringproto._processes.failures import UsageError

__all__ = ["read_regular"]


def read_regular(file: str, bytes_max: int) -> bytes:
    """The content of a file that somebody named, and that may be anything: a pipe, a device, a disk's worth of data.

    Raises:
        UsageError: it cannot be read, is not a regular file, or has more than ``bytes_max`` bytes.
    """
    try:
        # Without waiting for somebody to write into what may be a pipe.
        descriptor = os.open(file, os.O_RDONLY | os.O_NONBLOCK)
        with open(descriptor, "rb") as source:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise UsageError(f"{file} is not a regular file")
            data = source.read(bytes_max + 1)
    except OSError as error:
        raise UsageError(f"cannot read {file}: {error.strerror or error}") from error
    except ValueError as error:
        raise UsageError(f"cannot read {file}: {error}") from error
    if len(data) > bytes_max:
        raise UsageError(f"{file} is larger than {bytes_max} bytes, the most that is read of it")
    return data
