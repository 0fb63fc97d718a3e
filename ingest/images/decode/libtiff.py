"""Silences libtiff, which writes messages about damaged TIFFs to standard error, past Pillow."""

from __future__ import annotations

import ctypes
from contextlib import suppress
from functools import cache
from pathlib import Path

import PIL


@cache
def silence() -> None:
    """Remove libtiff's handlers that print, once per process; Pillow's errors stay as they are.

    Finds the library in Pillow's wheels for Linux and macOS, and Linux's own. If it finds none, as on Windows, a
    damaged TIFF leaves a line on standard error.
    """
    package = Path(PIL.__file__).parent
    bundled = [*(package.parent / "pillow.libs").glob("libtiff*"), *(package / ".dylibs").glob("libtiff*")]
    for name in [str(path) for path in bundled] or ["libtiff.so.6", "libtiff.so.5"]:
        with suppress(OSError, AttributeError):
            library = ctypes.CDLL(name)
            for setter in (library.TIFFSetErrorHandler, library.TIFFSetWarningHandler):
                setter.argtypes, setter.restype = [ctypes.c_void_p], ctypes.c_void_p
                setter(None)
