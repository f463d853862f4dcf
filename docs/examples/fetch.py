"""Fetches a page from a web site that is served over CurveCP.

The site's endpoint comes as a string, then the path of the page::

    python fetch.py curvecp:127.0.0.1:11000:key=KEY:name=www.example /index.html
"""

from __future__ import annotations

import sys
import warnings
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import clientFromString
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.task import react
from twisted.web.client import URI, Agent, readBody
from twisted.web.iweb import IAgentEndpointFactory
from zope.interface import implementer

# Twisted's readBody says so of every HTTP connection, TCP's included.
warnings.filterwarnings("ignore", message="Using readBody with a transport")


@implementer(IAgentEndpointFactory)
class OneSite:
    """Leads to one endpoint, whatever the address of the page."""

    def __init__(self, reactor: Any, description: str) -> None:
        self.reactor = reactor
        self.description = description

    def endpointForURI(self, uri: URI) -> IStreamClientEndpoint:
        """Give the endpoint."""
        endpoint: IStreamClientEndpoint = clientFromString(
            self.reactor, self.description
        )
        return endpoint


async def main(reactor: Any, description: str, path: str) -> None:
    """Fetch a page, and print it."""
    agent = Agent.usingEndpointFactory(reactor, OneSite(reactor, description))
    try:
        response: Any = await agent.request(
            b"GET", b"http://www.example" + path.encode()
        )
        print((await readBody(response)).decode(), end="")
    except Exception as error:
        raise SystemExit(f"no page: {error}") from error
    if response.code != 200:
        raise SystemExit(f"the server answers with {response.code}")


if __name__ == "__main__":
    react(lambda *given: Deferred.fromCoroutine(main(*given)), sys.argv[1:])
