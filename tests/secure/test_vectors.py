"""The bytes of one connection, from its keys to its last packet."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from curvecp_tx.secure.boxes import (
    COOKIE_NONCE,
    HELLO_NONCE,
    INITIATE_NONCE,
    SERVER_MESSAGE_NONCE,
    VOUCH_NONCE,
    KeyPair,
    seal,
    shared_key,
)
from curvecp_tx.secure.client import Client
from curvecp_tx.secure.cookies import CookieJar
from curvecp_tx.secure.server import Server
from curvecp_tx.wire import packets
from curvecp_tx.wire.names import encode_server_name
from tests.secure.scripted import (
    CLIENT_ADDRESS,
    SERVER_ADDRESS,
    Script,
    make_client,
    make_server,
)

VECTORS: dict[str, Any] = json.loads(
    (Path(__file__).parent.parent / "data" / "vectors.json").read_text("ascii")
)


def octets(*names: str) -> bytes:
    """Read an entry of the file that is written in hexadecimal."""
    entry: Any = VECTORS
    for name in names:
        entry = entry[name]
    return bytes.fromhex(entry)


def pair(name: str) -> KeyPair:
    """Give a key pair of the file."""
    return KeyPair.from_secret(octets("secrets", name))


S, S_SHORT = pair("server"), pair("server_short_term")
C, C_SHORT = pair("client"), pair("client_short_term")
SERVER_EXTENSION = octets("server_extension")
CLIENT_EXTENSION = octets("client_extension")
NAME = encode_server_name(VECTORS["server_name"])
K1, K2, K3 = (
    octets("shared_keys", name, "key") for name in ("hello", "session", "vouch")
)
M1, M2, M3 = (octets("messages", name, "hex") for name in ("m1", "m2", "m3"))
COOKIE_COMPRESSED = octets("nonces", "cookie")
VOUCH_COMPRESSED = octets("nonces", "vouch")
ANY = bytes(4)


def compressed(packet: str) -> bytes:
    """Give the 8 bytes of nonce in a packet."""
    number: int = VECTORS["nonces"][packet]
    return number.to_bytes(8, "little")


class VectorCase(SynchronousTestCase):
    """Compares packets with the file."""

    def check(self, packet: str, datagram: bytes, tag_at: int) -> None:
        """Compare length, tag and digest, in the order that says most."""
        expected = VECTORS["packets"][packet]
        self.assertEqual(len(datagram), expected["length"])
        self.assertEqual(datagram[tag_at : tag_at + 16].hex(), expected["tag"])
        self.assertEqual(sha256(datagram).hexdigest(), expected["sha256"])


class IngredientTests(VectorCase):
    """Keys, cookie value, vouch, and the messages."""

    def test_public_keys(self) -> None:
        """A secret key has the public key that others compute for it."""
        self.assertEqual(len(VECTORS["publics"]), 4)
        for name in VECTORS["publics"]:
            self.assertEqual(pair(name).public, octets("publics", name))

    def test_shared_keys(self) -> None:
        """Both parties of each of the three pairs compute the same key."""
        self.assertEqual(len(VECTORS["shared_keys"]), 3)
        for entry in VECTORS["shared_keys"].values():
            one, other = pair(entry["public"]), pair(entry["secret"])
            self.assertEqual(
                shared_key(one.public, other.secret), bytes.fromhex(entry["key"])
            )
            self.assertEqual(
                shared_key(other.public, one.secret), bytes.fromhex(entry["key"])
            )

    def test_messages(self) -> None:
        """The messages are what their digests say."""
        self.assertEqual(len(VECTORS["messages"]), 3)
        for entry in VECTORS["messages"].values():
            text = bytes.fromhex(entry["hex"])
            self.assertEqual(len(text), entry["length"])
            self.assertEqual(sha256(text).hexdigest(), entry["sha256"])

    def test_cookie_value(self) -> None:
        """A jar that binds no address seals the common layout of K, and opens it."""
        jar = CookieJar(
            random_bytes=Script(octets("secrets", "minute"), bytes(32)),
            now=0.0,
            bind_address=False,
        )
        value = jar.seal(
            client_key=C_SHORT.public,
            server_secret=S_SHORT.secret,
            host="192.0.2.1",
            nonce=COOKIE_COMPRESSED,
        )
        self.assertEqual(value, octets("cookie_value"))
        opened = jar.open(value, client_key=C_SHORT.public, host="192.0.2.2")
        self.assertEqual(opened, S_SHORT.secret)

    def test_vouch(self) -> None:
        """The vouch is C' in a box from C to S."""
        vouch = seal(C_SHORT.public, VOUCH_NONCE + VOUCH_COMPRESSED, K3)
        self.assertEqual(vouch, octets("vouch_box"))


class PacketTests(VectorCase):
    """Each packet, put together from its parts."""

    def test_hello(self) -> None:
        """A Hello has the bytes of the file, and so has its box."""
        box = seal(packets.HELLO_PLAINTEXT, HELLO_NONCE + compressed("hello"), K1)
        self.assertEqual(box, octets("hello_box"))
        hello = packets.Hello(
            server_extension=SERVER_EXTENSION,
            client_extension=CLIENT_EXTENSION,
            short_term_key=C_SHORT.public,
            nonce=VECTORS["nonces"]["hello"],
            box=box,
        )
        self.check("hello", hello.encode(), 144)

    def test_cookie(self) -> None:
        """A Cookie has the bytes of the file."""
        contents = packets.CookieContents(S_SHORT.public, octets("cookie_value"))
        cookie = packets.Cookie(
            client_extension=CLIENT_EXTENSION,
            server_extension=SERVER_EXTENSION,
            nonce=COOKIE_COMPRESSED,
            box=seal(contents.encode(), COOKIE_NONCE + COOKIE_COMPRESSED, K1),
        )
        self.check("cookie", cookie.encode(), 56)

    def test_initiate(self) -> None:
        """An Initiate has the bytes of the file."""
        contents = packets.InitiateContents(
            client_key=C.public,
            vouch_nonce=VOUCH_COMPRESSED,
            vouch=octets("vouch_box"),
            server_name=NAME,
            message=M1,
        )
        nonce = INITIATE_NONCE + compressed("initiate")
        initiate = packets.Initiate(
            server_extension=SERVER_EXTENSION,
            client_extension=CLIENT_EXTENSION,
            short_term_key=C_SHORT.public,
            cookie=octets("cookie_value"),
            nonce=VECTORS["nonces"]["initiate"],
            box=seal(contents.encode(), nonce, K2),
        )
        self.check("initiate", initiate.encode(), 176)

    def test_server_message(self) -> None:
        """A server Message has the bytes of the file."""
        head = packets.server_message_head(CLIENT_EXTENSION, SERVER_EXTENSION)
        nonce = compressed("server_message")
        box = seal(M2, SERVER_MESSAGE_NONCE + nonce, K2)
        self.check("server_message", head + nonce + box, 48)

    def test_client_message(self) -> None:
        """A client Message has the bytes of the file."""
        head = packets.client_message_head(
            SERVER_EXTENSION, CLIENT_EXTENSION, C_SHORT.public
        )
        nonce = compressed("client_message")
        box = seal(M3, b"CurveCP-client-M" + nonce, K2)
        self.check("client_message", head + nonce + box, 80)


class MachineTests(VectorCase):
    """The state machines emit the same packets when they roll the same dice."""

    def server(self) -> Server:
        """Set up a server that draws t, s' and the first nonce of the file."""
        return make_server(
            keys=S,
            name=NAME,
            extension=SERVER_EXTENSION,
            bind_address=False,
            cookie_nonces=lambda: COOKIE_COMPRESSED,
            random_bytes=Script(
                octets("secrets", "minute"),
                bytes(32),
                S_SHORT.secret,
                compressed("server_message")[:6],
            ),
        )

    def client(self) -> Client:
        """Set up a client that draws c' and the first nonce of the file."""
        return make_client(
            keys=C,
            server_key=S.public,
            name=NAME,
            extension=CLIENT_EXTENSION,
            server_extension=SERVER_EXTENSION,
            vouch_nonces=lambda: VOUCH_COMPRESSED,
            random_bytes=Script(C_SHORT.secret, compressed("hello")[:6], ANY, ANY),
        )

    def test_conversation(self) -> None:
        """A server and a client exchange the five packets of the file."""
        server, client = self.server(), self.client()

        ((hello, _),) = client.take_datagrams()
        self.check("hello", hello, 144)

        ((cookie, _),) = server.receive([(hello, CLIENT_ADDRESS)], 0.0).replies
        self.check("cookie", cookie, 56)

        client.receive([(cookie, SERVER_ADDRESS)], 0.0)
        client.send([M1])
        ((initiate, _),) = client.take_datagrams()
        self.check("initiate", initiate, 176)

        received = server.receive([(initiate, CLIENT_ADDRESS)], 0.0)
        (session,) = received.opened
        self.assertEqual(session.peer_key, C.public)
        self.assertEqual(received.messages, {session: [M1]})
        # The budget of an address that no cookie was bound to pays for this one.
        ((server_message, _),) = session.seal([M2])
        self.check("server_message", server_message, 48)

        client.receive([(server_message, SERVER_ADDRESS)], 0.0)
        self.assertEqual(client.take_messages(), [M2])
        client.send([M3])
        ((client_message, _),) = client.take_datagrams()
        self.check("client_message", client_message, 80)

        received = server.receive([(client_message, CLIENT_ADDRESS)], 0.0)
        self.assertEqual(received.messages, {session: [M3]})
