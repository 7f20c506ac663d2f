"""The environment variables that callspan's delivery reads, besides OpenTelemetry's own."""

from typing import Final

CALLSPAN_DESTINATIONS: Final = "CALLSPAN_DESTINATIONS"
"""Where spans go, separated by commas. ``otlp`` by default. ``none``: delivery is left to other span processors."""

CALLSPAN_SPOOL: Final = "CALLSPAN_SPOOL"
"""``on`` by default. ``off``: spans wait in memory, nothing is written to disk, and what a crash interrupts is lost."""

CALLSPAN_SPOOL_DIR: Final = "CALLSPAN_SPOOL_DIR"
"""The directory of the spool. ``$XDG_STATE_HOME/callspan/spool`` by default, ``~/.local/state`` for XDG_STATE_HOME."""

CALLSPAN_SPOOL_MAX_BYTES: Final = "CALLSPAN_SPOOL_MAX_BYTES"
"""How large the spool may grow, in bytes or with a suffix (``200MB``, ``1GiB``). 512MiB by default."""

CALLSPAN_SPOOL_MAX_AGE: Final = "CALLSPAN_SPOOL_MAX_AGE"
"""How long a span is kept for a destination, in seconds or with a suffix (``90m``, ``12h``, ``3d``). 3d by default."""

CALLSPAN_EXIT_BUDGET: Final = "CALLSPAN_EXIT_BUDGET"
"""How long the process may be held up at exit to send what is pending, in seconds. 5 by default."""

CALLSPAN_SPOOL_FSYNC: Final = "CALLSPAN_SPOOL_FSYNC"
"""``on``: each span also survives the loss of power, which costs its thread a disk write. ``off`` by default."""

CALLSPAN_LANGSMITH_REMOTE_PARENTS: Final = "CALLSPAN_LANGSMITH_REMOTE_PARENTS"
"""``root`` by default: at LangSmith, a span whose parent is of another process is a root. ``keep``: it is none."""
