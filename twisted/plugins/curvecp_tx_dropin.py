"""What curvecp-tx adds to twistd. Every run of twistd imports this file."""

from twisted.application.service import ServiceMaker

curvecpserver = ServiceMaker(
    "CurveCP superserver",
    "curvecp_tx.service.server",
    "A CurveCP superserver: runs a message-handler program for each client",
    "curvecpserver",
)
