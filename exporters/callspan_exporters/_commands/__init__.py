"""The sub-commands of ``callspan`` that look after a spool; ``callspan show`` has a room of its own."""
