"""The spool: a persistent queue on disk that ended spans enter before anything else happens to them."""

from callspan_exporters._spool._directory import spool_directory
from callspan_exporters._spool._segment import read_spans

__all__ = ["read_spans", "spool_directory"]
