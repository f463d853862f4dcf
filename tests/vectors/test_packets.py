"""Our server and our client, given every packet of the known answers."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from curvecp_tx.secure.boxes import (
    COOKIE_NONCE,
    VOUCH_NONCE,
    KeyPair,
    shared_key,
    unseal,
)
from curvecp_tx.secure.client import Client, Phase
from curvecp_tx.secure.cookies import CookieJar
from curvecp_tx.secure.nonces import RandomNonces
from curvecp_tx.secure.server import Received, Server
from curvecp_tx.wire.names import encode_server_name
from curvecp_tx.wire.packets import Cookie
from tests.secure.scripted import (
    CLIENT_ADDRESS,
    SERVER_ADDRESS,
    Script,
    dropped,
    make_client,
    make_server,
)
from tests.vectors.files import PACKETS, read

CONTENT = read(PACKETS)
VECTORS: list[dict[str, Any]] = CONTENT["vectors"]
KEYS = {
    name: KeyPair.from_secret(bytes.fromhex(secret))
    for name, secret in CONTENT["secrets"].items()
}
SERVER_EXTENSION = bytes.fromhex(CONTENT["extensions"]["server"])
CLIENT_EXTENSION = bytes.fromhex(CONTENT["extensions"]["client"])
COUNTERS = {
    "bad size": {"dropped_bad_size"},
    "bad magic": {"dropped_bad_magic"},
    "wrong extension": {"dropped_wrong_extension"},
    "low-order key": {"dropped_low_order_key"},
    "bad box": {"dropped_bad_hello", "dropped_bad_initiate", "dropped_bad_box"},
    "bad cookie": {"dropped_bad_cookie"},
    "wrong name": {"dropped_wrong_name"},
    "bad vouch": {"dropped_bad_vouch"},
    "unknown connection": {"dropped_unknown_connection"},
    "replay": {"dropped_replay"},
}
"""Under which of our reasons a reason of the file may be counted."""


def packet(name: str) -> bytes:
    """Give the packet of the one vector that has this name."""
    (vector,) = (vector for vector in VECTORS if vector["name"] == name)
    return bytes.fromhex(vector["packet"])


def of_kind(*kinds: str) -> list[dict[str, Any]]:
    """Give the vectors of some kinds."""
    return [vector for vector in VECTORS if vector["kind"] in kinds]


def server() -> Server:
    """Give a server with the keys of the file, present and previous minute's too."""
    secrets = KEYS["minute"].secret, KEYS["previous_minute"].secret
    return make_server(
        keys=KEYS["server"],
        name=encode_server_name(CONTENT["server_name"]),
        extension=SERVER_EXTENSION,
        bind_address=False,
        random_bytes=Script(*secrets, KEYS["server_short_term"].secret, bytes(6)),
    )


def open_server() -> tuple[Server, Received]:
    """Give such a server after the Initiate of the file."""
    machine = server()
    machine._random_bytes = Script(bytes(6))
    return machine, machine.receive([(packet("initiate"), CLIENT_ADDRESS)], 0.0)


def client(phase: Phase) -> Client:
    """Give a client with the keys of the file, as far as the file's packets go."""
    machine = make_client(
        keys=KEYS["client"],
        server_key=KEYS["server"].public,
        name=encode_server_name(CONTENT["server_name"]),
        extension=CLIENT_EXTENSION,
        server_extension=SERVER_EXTENSION,
        vouch_nonces=RandomNonces(Script(bytes.fromhex(CONTENT["vouch_nonce"]))),
        random_bytes=Script(
            KEYS["client_short_term"].secret, (1).to_bytes(6, "little"), *[bytes(4)] * 2
        ),
    )
    machine.take_datagrams()
    if phase is not Phase.HELLO:
        machine.receive([(packet("cookie"), SERVER_ADDRESS)], 0.0)
    if phase is Phase.OPEN:
        machine.receive([(packet("server message"), SERVER_ADDRESS)], 0.0)
        machine.take_messages()
    return machine


class PacketTests(SynchronousTestCase):
    """What opens, opens to what the file says; what does not, for its reason."""

    def assert_dropped(self, vector: dict[str, Any], counts: dict[str, int]) -> None:
        """Check that one packet was dropped for the reason of its vector."""
        ((reason, count),) = counts.items()
        self.assertEqual(count, 1, vector["name"])
        self.assertIn(reason, COUNTERS[vector["error"]], vector["name"])

    def test_enough(self) -> None:
        """Each kind has answers of both sorts, and no two vectors share a name."""
        names = [vector["name"] for vector in VECTORS]
        self.assertEqual(len(names), len(set(names)))
        self.assertGreaterEqual(len(names), 64)
        sorts = {(vector["kind"], "error" in vector) for vector in VECTORS}
        self.assertEqual(len(sorts), 2 * 7)

    def test_hello(self) -> None:
        """A good Hello gets one Cookie, for its C' and its extension; others none."""
        for vector in of_kind("hello"):
            machine = server()
            hello = bytes.fromhex(vector["packet"])
            received = machine.receive([(hello, CLIENT_ADDRESS)], 0.0)
            if "error" in vector:
                self.assertEqual(received, Received(), vector["name"])
                self.assert_dropped(vector, dropped(machine.counters))
                continue
            ((reply, address),) = received.replies
            cookie = Cookie.parse(reply)
            assert cookie is not None
            opens = vector["opens"]
            self.assertEqual(address, CLIENT_ADDRESS)
            self.assertEqual(cookie.client_extension.hex(), opens["client_extension"])
            key = shared_key(
                bytes.fromhex(opens["short_term_key"]), KEYS["server"].secret
            )
            assert key is not None
            found = unseal(cookie.box, COOKIE_NONCE + cookie.nonce, key)
            assert found is not None
            self.assertEqual(found[:32], KEYS["server_short_term"].public)

    def test_cookie(self) -> None:
        """A good Cookie leads to the Initiate of the file; others are dropped."""
        for vector in of_kind("cookie"):
            machine = client(Phase.HELLO)
            cookie = bytes.fromhex(vector["packet"])
            machine.receive([(cookie, SERVER_ADDRESS)], 0.0)
            if "error" in vector:
                self.assertIs(machine.phase, Phase.HELLO, vector["name"])
                self.assert_dropped(vector, dropped(machine.counters))
                continue
            machine.send([bytes(range(1, 17)) * 12])
            ((initiate, _),) = machine.take_datagrams()
            self.assertEqual(initiate, packet("initiate"))

    def test_cookie_value(self) -> None:
        """A cookie value opens to s', for its C' and its address alone."""
        for vector in of_kind("cookie value"):
            host = vector.get("host", "")
            secrets = KEYS["minute"].secret, KEYS["previous_minute"].secret
            jar = CookieJar(
                random_bytes=Script(*secrets), now=0.0, bind_address=bool(host)
            )
            found = jar.open(
                bytes.fromhex(vector["packet"]),
                client_key=KEYS["client_short_term"].public,
                host=host,
            )
            wanted = vector.get("opens", {}).get("secret")
            self.assertEqual(found and found.hex(), wanted, vector["name"])

    def test_vouch(self) -> None:
        """A vouch opens to C' if the client has made it."""
        key = shared_key(KEYS["client"].public, KEYS["server"].secret)
        assert key is not None
        nonce = VOUCH_NONCE + bytes.fromhex(CONTENT["vouch_nonce"])
        for vector in of_kind("vouch"):
            found = unseal(bytes.fromhex(vector["packet"]), nonce, key)
            wanted = vector.get("opens", {}).get("short_term_key")
            self.assertEqual(found and found.hex(), wanted, vector["name"])

    def test_initiate(self) -> None:
        """A good Initiate opens a connection with its message; others open none."""
        for vector in of_kind("initiate"):
            machine = server()
            machine._random_bytes = Script(bytes(6))
            initiate = bytes.fromhex(vector["packet"])
            received = machine.receive([(initiate, CLIENT_ADDRESS)], 0.0)
            if "error" in vector:
                self.assertEqual(received, Received(), vector["name"])
                self.assert_dropped(vector, dropped(machine.counters))
                continue
            opens = vector["opens"]
            (session,) = received.opened
            self.assertEqual(session.peer_key.hex(), opens["client_key"])
            self.assertEqual(session._window.highest, opens["nonce"])
            found = received.messages[session]
            self.assertEqual([text.hex() for text in found], [opens["message"]])

    def test_client_message(self) -> None:
        """A good Message of the client arrives; others leave no trace."""
        for vector in of_kind("client message"):
            machine, before = open_server()
            (session,) = before.opened
            datagram = bytes.fromhex(vector["packet"])
            received = machine.receive([(datagram, CLIENT_ADDRESS)], 0.0)
            if "error" in vector:
                self.assertEqual(received, Received(), vector["name"])
                self.assert_dropped(vector, dropped(machine.counters))
            else:
                found = [text.hex() for text in received.messages[session]]
                self.assertEqual(found, [vector["opens"]["message"]])

    def test_server_message(self) -> None:
        """A good Message of the server arrives, as the first one or a later one."""
        for vector in of_kind("server message"):
            for phase in (Phase.INITIATE, Phase.OPEN):
                again = vector.get("opens", {}).get("nonce") == 5
                if phase is Phase.OPEN and again:
                    # The nonce of the one that has opened the connection.
                    continue
                machine = client(phase)
                datagram = bytes.fromhex(vector["packet"])
                machine.receive([(datagram, SERVER_ADDRESS)], 0.0)
                found = [text.hex() for text in machine.take_messages()]
                if "error" not in vector:
                    self.assertEqual(found, [vector["opens"]["message"]])
                    self.assertIs(machine.phase, Phase.OPEN)
                elif phase is Phase.INITIATE or vector["error"] != "bad box":
                    self.assertEqual(found, [], vector["name"])
                    self.assertIs(machine.phase, phase)
                    self.assert_dropped(vector, dropped(machine.counters))
