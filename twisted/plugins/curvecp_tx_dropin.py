"""What curvecp-tx adds to twistd. Every run of twistd imports this file."""

from twisted.application.service import ServiceMaker

from curvecp_tx.net.endpoint_strings import CurveCPClientParser, CurveCPServerParser

curvecpserver = ServiceMaker(
    "CurveCP superserver",
    "curvecp_tx.service.server",
    "A CurveCP superserver: runs a message-handler program for each client",
    "curvecpserver",
)

curvecpclient = ServiceMaker(
    "CurveCP tunnel entrance",
    "curvecp_tx.service.tunnel",
    "A CurveCP tunnel entrance: takes local connections to a CurveCP server",
    "curvecpclient",
)

client_parser = CurveCPClientParser()
server_parser = CurveCPServerParser()
