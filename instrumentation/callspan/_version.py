"""The version of callspan, read from the installed distribution."""

from importlib.metadata import version

__version__ = version("callspan")
