"""What strangers do."""

from __future__ import annotations

from tests.faults.row import Row

ROWS = (
    Row(
        "C1",
        0,
        "one Hello again and again",
        "no state; one Cookie each at the most, fewer when they come too fast",
        "no state",
    ),
    Row(
        "C2",
        0,
        "an Initiate is replayed: at once, later, from elsewhere, after a restart",
        "the program runs exactly once; what is remembered is bounded",
        "all of 6 replays run it",
    ),
    Row(
        "C3",
        0,
        "Messages replayed or out of order",
        "each nonce counts once; the window moves for authentic packets only",
        "takes no packet that was overtaken",
    ),
    Row(
        "C4",
        0,
        "forged packets with a right beginning, mixed into a transfer",
        "no effect on nonce, address, extension or handlers",
        "no effect",
    ),
    Row(
        "C5",
        0,
        "junk with a right beginning and random client extensions, 1000 a second",
        "no effect on any connection",
        "one build: 200 KB in 1.7 s become 2 KB in 40 s",
    ),
    Row(
        "C6",
        0,
        "acknowledgments of what was not sent, or not yet",
        "count only with an ID that was sent; beyond the end they end the connection",
        "a round trip of 55 years can be had",
    ),
    Row(
        "C7",
        0,
        "an attacker has answers sent to a victim's address",
        "a cookie opens for its own address; to a new one go 3 times the bytes that "
        "came from it, at most, until it has proved itself",
        "13.1 times",
    ),
    Row(
        "C8",
        0,
        "public keys of low order, in every place",
        "dropped in silence and counted",
        "Cookies for 6 of 7",
    ),
    Row(
        "C9",
        0,
        "every length for every kind of packet; every magic off by one bit",
        "only the exact form is answered; no exception",
        "1 answer to 363 variants",
    ),
    Row(
        "C10",
        1,
        "every single flipped bit of valid packets",
        "refused, but for the listed bytes that nothing authenticates",
    ),
    Row(
        "C11",
        1,
        "two different ends of a stream; blocks that contradict each other",
        "the first counts or the connection ends; delivered bytes never change",
        "can hang for ever",
    ),
    Row(
        "C12",
        1,
        "amplification by Hellos",
        "0.893 bytes out for each in, one packet for one at most, none for bad ones",
        "the same",
    ),
    Row(
        "D1",
        0,
        "5000 Hellos a second from one address, good and bad",
        "others still connect; a running transfer keeps 80 % of its rate; a Hello "
        "over the limit costs 15 µs at most",
        "100 µs each",
    ),
    Row(
        "D2",
        1,
        "Hellos from 20,000 addresses",
        "the table of addresses is bounded; transfers go on; bounded work at a time",
    ),
    Row("D3", 0, "20,000 Hellos", "memory grows by less than 1 MB", "does not grow"),
    Row(
        "D4",
        0,
        "many valid handshakes from one address or with one key",
        "limits for each and for starting programs hold; others are not affected",
        "starts any number of programs",
    ),
    Row(
        "D6",
        0,
        "clients vanish",
        "all slots are free a minute after the idle limit; programs see the end",
        "slots are never freed",
    ),
    Row(
        "D7",
        0,
        "a program does not read",
        "others are served; its queue is bounded; when it reads again, all arrives",
        "the whole server stands still",
    ),
    Row(
        "D8",
        1,
        "an authenticated client sends faster than its program reads, for long",
        "memory is bounded; ten clients get equal shares, within 20 %",
    ),
    Row(
        "D9",
        1,
        "10,000 bad packets",
        "ten lines in the log at the most, exact counts, no secret in any of them",
    ),
)
