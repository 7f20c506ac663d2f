"""The version of callspan, read from the installed distribution."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("callspan")
except PackageNotFoundError:  # bundled into a program without its metadata
    __version__ = "unknown"
