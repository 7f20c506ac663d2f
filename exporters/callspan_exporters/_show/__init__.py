"""``callspan show``: the traces in the spool, as trees for people and as JSON for programs."""
