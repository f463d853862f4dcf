"""What changes for a client: its key, its limit, its extension, its server."""

from __future__ import annotations

from random import Random

from curvecp_tx.errors import BadMessageSize
from curvecp_tx.secure.client import FRESH_START_AFTER, Client, Phase
from curvecp_tx.wire.packets import Hello
from tests.secure.scripted import (
    CLIENT_EXTENSION,
    SERVER_ADDRESS,
    connect,
    dropped,
    make_client,
    make_server,
    message,
    to_client,
    to_server,
)
from tests.secure.test_client import SECOND_ADDRESS, ClientCase


class FreshStartTests(ClientCase):
    """Starting over when a Cookie may have expired."""

    def lost(self) -> Client:
        """Give a client whose Initiates were all lost, at its fresh start."""
        client = self.greeted(make_client(addresses=(SERVER_ADDRESS, SECOND_ADDRESS)))
        client.send([message(1), message(2)])
        self.run_timers(client, until=FRESH_START_AFTER - 0.001)
        self.assertIs(client.phase, Phase.INITIATE)
        client.handle_timer(FRESH_START_AFTER)
        return client

    def test_new_key(self) -> None:
        """The new start has a new short-term key; nonces may begin anew."""
        client = make_client()
        first = Hello.parse(client._outgoing[0][0])
        self.greeted(client)
        client.handle_timer(FRESH_START_AFTER)
        self.assertIs(client.phase, Phase.HELLO)
        ((datagram, _),) = client.take_datagrams()
        second = Hello.parse(datagram)
        assert first is not None
        assert second is not None
        self.assertNotEqual(first.short_term_key, second.short_term_key)

    def test_keeps_first_flight(self) -> None:
        """The messages of the first flight are sent again after the new Cookie."""
        client = self.lost()
        received = to_server(self.server, client, FRESH_START_AFTER)
        to_client(client, received.replies, FRESH_START_AFTER)
        received = to_server(self.server, client, FRESH_START_AFTER)
        (session,) = received.opened
        self.assertEqual(received.messages, {session: [message(1), message(2)]})

    def test_repeats_new_initiates_only(self) -> None:
        """What was sealed for the forgotten key is not repeated any more."""
        client = self.lost()
        self.greeted(client, FRESH_START_AFTER)
        first = client.take_datagrams()
        self.assertEqual(len(first), 2)
        client.handle_timer(client.next_deadline() or 0.0)
        self.assertEqual(client.take_datagrams(), first)

    def test_address_that_answered(self) -> None:
        """The new start begins with the address that has answered before."""
        client = make_client(addresses=(SERVER_ADDRESS, SECOND_ADDRESS))
        client.take_datagrams()
        client.handle_timer(client.next_deadline() or 0.0)
        replies = to_server(self.server, client, 2.0).replies
        to_client(client, replies, 2.0, SECOND_ADDRESS)
        client.handle_timer(2.0 + FRESH_START_AFTER)
        ((_, address),) = client.take_datagrams()
        self.assertEqual(address, SECOND_ADDRESS)
        client.handle_timer(client.next_deadline() or 0.0)
        ((_, address),) = client.take_datagrams()
        self.assertEqual(address, SERVER_ADDRESS)

    def test_other_vouch_nonce(self) -> None:
        """Each start vouches with a nonce of its own."""
        client = self.lost()
        first = client._vouch_nonce
        self.greeted(client, FRESH_START_AFTER)
        self.assertNotEqual(first, client._vouch_nonce)

    def test_answer_to_old_start(self) -> None:
        """A Message for the forgotten key opens nothing, before or after a Cookie."""
        client = self.greeted(make_client())
        client.send([message(1)])
        (session,) = to_server(self.server, client, 0.0).opened
        client.handle_timer(FRESH_START_AFTER)
        to_client(client, session.seal([message(2)]), FRESH_START_AFTER)
        self.assertEqual(dropped(client.counters), {"dropped_unexpected": 1})
        self.greeted(client, FRESH_START_AFTER)
        to_client(client, session.seal([message(2)]), FRESH_START_AFTER)
        self.assertEqual(client.counters.dropped_bad_box, 1)
        self.assertEqual(client.take_messages(), [])
        self.assertIs(client.phase, Phase.INITIATE)

    def test_server_restarted(self) -> None:
        """A server that came back without its minute keys is found again."""
        client = self.greeted(make_client())
        client.send([message(1)])
        self.server = make_server(random_bytes=Random(77).randbytes)
        self.assertEqual(to_server(self.server, client, 0.0).opened, [])
        client.handle_timer(FRESH_START_AFTER)
        self.greeted(client, FRESH_START_AFTER)
        received = to_server(self.server, client, FRESH_START_AFTER)
        self.assertEqual(len(received.opened), 1)


class MessageSizeTests(ClientCase):
    """Which messages may be sent."""

    def test_limits(self) -> None:
        """640 bytes until the server's first Message, 1088 from then on."""
        client = make_client()
        self.assertEqual(client.message_limit, 640)
        connect(self.server, client)
        self.assertEqual(client.message_limit, 1088)

    def test_bad_sizes(self) -> None:
        """Any other size is an error, and nothing of the batch is sent."""
        client = self.greeted(make_client())
        bad = {0, 8, 15, 17, 656, 1088, 1104}
        for size in bad:
            batch = [message(1), bytes(size)]
            self.assertRaises(BadMessageSize, client.send, batch)
        self.assertEqual(client.take_datagrams(), [])
        client.send([bytes(640)])
        client = make_client()
        connect(self.server, client)
        for size in bad - {656, 1088}:
            self.assertRaises(BadMessageSize, client.send, [message(1), bytes(size)])
        self.assertEqual(client.take_datagrams(), [])
        client.send([bytes(1088)])
        self.assertEqual(len(client.take_datagrams()), 1)


class ExtensionTests(ClientCase):
    """A client extension that changes."""

    NEW = b"another-ext-here"

    def test_connected(self) -> None:
        """The next packet tells the server; answers to the old one still count."""
        client = make_client()
        session = connect(self.server, client)
        late = session.seal([message(3)])
        client.extension = self.NEW
        self.assertEqual(client.extension, self.NEW)
        to_client(client, late, 1.0)
        self.assertEqual(client.take_messages(), [message(3)])
        client.send([message(4)])
        to_server(self.server, client, 1.0)
        self.assertEqual(session.path.extension, self.NEW)
        to_client(client, session.seal([message(5)]), 1.0)
        self.assertEqual(client.take_messages(), [message(5)])

    def test_during_handshake(self) -> None:
        """A Cookie for the old extension counts; the Initiate has the new one."""
        client = make_client()
        replies = to_server(self.server, client, 0.0).replies
        client.extension = self.NEW
        to_client(client, replies, 0.0)
        client.send([message(1)])
        (session,) = to_server(self.server, client, 0.0).opened
        self.assertEqual(session.path.extension, self.NEW)

    def test_same(self) -> None:
        """Setting what it is already changes nothing."""
        client = make_client()
        client.extension = CLIENT_EXTENSION
        self.assertEqual(client._extensions, {CLIENT_EXTENSION})

    def test_server_moves(self) -> None:
        """The client follows a server whose newest Message comes from elsewhere."""
        client = make_client()
        session = connect(self.server, client)
        to_client(client, session.seal([message(3)]), 1.0, SECOND_ADDRESS)
        self.assertEqual(client.path, SECOND_ADDRESS)
        client.send([message(4, 16)])
        ((_, address),) = client.take_datagrams()
        self.assertEqual(address, SECOND_ADDRESS)

    def test_server_moved_before_first_message(self) -> None:
        """The first Message may come from elsewhere, too."""
        client = self.greeted(make_client())
        client.send([message(1)])
        (session,) = to_server(self.server, client, 0.0).opened
        to_client(client, session.seal([message(2)]), 0.0, SECOND_ADDRESS)
        self.assertIs(client.phase, Phase.OPEN)
        self.assertEqual(client.path, SECOND_ADDRESS)
