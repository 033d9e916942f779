"""The packages and the extension modules; everything else is in pyproject.toml.

``transports/`` at the top ships as ``ringproto.transports``. A module is compiled when a benchmark shows that it pays:
COMPILED is the list. The sources stay plain Python, each with a .pxd of C types beside it, and run without being
compiled too (``RINGPROTO_INTERPRETED=1``); only the system calls are Cython proper (.pyx).
"""

import sys

from Cython.Build import cythonize
from setuptools import Extension, setup

COMPILED = {}

if sys.platform == "linux":
    COMPILED["ringproto.transports._batch"] = "transports/_batch.pyx"

setup(
    packages=[
        "ringproto",
        "ringproto._core",
        "ringproto.cli",
        "ringproto.testing",
        "ringproto.transports",
    ],
    package_dir={"ringproto": "ringproto", "ringproto.transports": "transports"},
    package_data={"ringproto": ["py.typed"]},
    include_package_data=False,
    ext_modules=cythonize(
        [
            Extension(
                name,
                [source],
                extra_compile_args=["-O2", "-Werror=shift-count-overflow", "-Werror=implicit-function-declaration"],
            )
            for name, source in COMPILED.items()
        ],
        compiler_directives={"language_level": "3", "annotation_typing": False, "binding": True},
    ),
)
