"""A test of whether a destination keeps the promises that its users are made, to be run by pytest.

For who writes a destination, as :mod:`callspan_exporters.destination` describes it. In a test module of theirs::

    from callspan_exporters.conformance import DestinationConformance, Request

    class TestMine(DestinationConformance):
        secrets = ("k3y",)

        def destination(self, url):
            return MyDestination(url, key="k3y")

        def ids(self, request: Request) -> list[str]:
            return [event["id"] for event in request.json()["events"]]

pytest collects the tests that come with the class. They run real HTTP servers on loopback, which answer everything
that servers and what stands before them have been seen to answer, and a process of their own, where ``destination`` is
called as well: it has to work on a new instance of the class, without fixtures.

:class:`ConnectionConformance` is the half of it that is not about HTTP, for a destination that speaks something else;
it asks for a server in the place of ``ids``.
"""

from callspan_exporters._conformance.answers import Answer, Reply
from callspan_exporters._conformance.connection import Backend, ConnectionConformance
from callspan_exporters._conformance.over_http import DestinationConformance
from callspan_exporters._conformance.server import Request, Server

__all__ = ["Answer", "Backend", "ConnectionConformance", "DestinationConformance", "Reply", "Request", "Server"]
