"""The packages and the extension modules; everything else is in pyproject.toml.

``transports/`` at the top ships as ``ringproto.transports``. MODULES lists the modules of the core that are compiled:
those for which a benchmark shows that it pays. Two modules of the transports are compiled, too. The sources stay plain
Python, some with a .pxd of C types beside them, and also run without being compiled (``RINGPROTO_INTERPRETED=1``). Only
the system calls and the checksum are written in Cython itself (.pyx), and each has a plain module to take its place.

With ``RINGPROTO_SANITIZE=1`` in the environment the modules are built with the address and undefined-behaviour
sanitizers (``make sanitize`` does that, in a folder of its own).
"""

import multiprocessing
import os
import sys

from Cython.Build import cythonize
from setuptools import Extension, setup

MODULES = (
    "wire/regular",
    "wire/membership",
    "packets/window",
    "packets/packing",
    "packets/reassembly",
    "packets/delivery",
    "barrier",
    "counters",
    "timers",
    "ring/retransmission",
    "packets/send_queue",
    "ring/flow_control",
    "ring/congestion",
    "ring/regular_source",
    "ring/ring",
    "context",
    "ring/token_passing",
    "membership/peers",
    "membership/admission",
    "membership/connectivity",
    "membership/installed",
    "membership/beacons",
    "membership/listening",
    "membership/gathering",
    "membership/forming",
    "membership/operational",
    "membership/membership",
    "processor",
)

# No fused multiplication and addition: compiled and interpreted must come to the same numbers on every machine.
FLAGS = ["-O2", "-ffp-contract=off", "-Werror=shift-count-overflow", "-Werror=implicit-function-declaration"]

if os.environ.get("RINGPROTO_SANITIZE", "") not in ("", "0"):
    SANITIZE = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
    FLAGS += [*SANITIZE, "-fno-omit-frame-pointer", "-g1", "-O1"]
    LINK_FLAGS = SANITIZE
else:
    LINK_FLAGS = []

PROCESSORS = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
"""So many modules are translated and compiled at once."""

# Cython finds the C types of a module by the module's name. A checkout has this link, an sdist cannot.
if not os.path.exists("ringproto/transports"):
    os.symlink(os.path.join("..", "transports"), "ringproto/transports")

sources = {f"ringproto._core.{name.replace('/', '.')}": f"ringproto/_core/{name}.py" for name in MODULES}
sources["ringproto.message"] = "ringproto/message.py"
sources["ringproto._core.wire._crc32"] = "ringproto/_core/wire/_crc32.pyx"
sources |= {f"ringproto.transports.{name}": f"transports/{name}.py" for name in ("_segments", "_traffic")}
if sys.platform == "linux":
    sources["ringproto.transports._batch"] = "transports/_batch.pyx"

setup(
    packages=[
        "ringproto",
        "ringproto._core",
        "ringproto._core.membership",
        "ringproto._core.packets",
        "ringproto._core.ring",
        "ringproto._core.wire",
        "ringproto._processes",
        "ringproto._service",
        "ringproto.chaos",
        "ringproto.cli",
        "ringproto.cli.demo",
        "ringproto.cli.latency",
        "ringproto.cli.node",
        "ringproto.cli.simulate",
        "ringproto.testing",
        "ringproto.testing.campaign",
        "ringproto.testing.judge",
        "ringproto.testing.simulator",
        "ringproto.transports",
    ],
    py_modules=["ringproto_command"],
    package_dir={"ringproto": "ringproto", "ringproto.transports": "transports"},
    package_data={"ringproto": ["py.typed"], "ringproto._core.wire": ["*.pyi"], "ringproto.transports": ["*.pyi"]},
    include_package_data=False,
    ext_modules=cythonize(
        [
            Extension(name, [source], extra_compile_args=FLAGS, extra_link_args=LINK_FLAGS)
            for name, source in sources.items()
        ],
        # Where processes do not fork they would run this file once more.
        nthreads=PROCESSORS if multiprocessing.get_start_method() == "fork" else 0,
        compiler_directives={"language_level": "3", "annotation_typing": False, "binding": True},
    ),
    options={"build_ext": {"parallel": PROCESSORS}},
)
