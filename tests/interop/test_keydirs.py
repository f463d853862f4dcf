"""Key directories of ours and of the reference's are the same thing."""

from __future__ import annotations

import os

from tests.interop.processes import OURS, REFERENCE, Server, tool
from tests.interop.test_pairings import (
    CLIENT_FIRST,
    SERVER_FIRST,
    PairingTestCase,
    handler,
    shell,
)

KEY_DIGITS = 64


class KeyDirectoryTests(PairingTestCase):
    """Directories made by one side and used by the other."""

    async def make(self, kind: str, name: str) -> str:
        """Make a key directory with a tool."""
        path = os.path.join(self.directory, name)
        await self.run_to_end(*tool(kind, "curvecpmakekey"), path)
        return path

    async def key_of(self, kind: str, path: str) -> str:
        """Print the public key of a directory with a tool."""
        printed = await self.run_to_end(*tool(kind, "curvecpprintkey"), path)
        return printed.output

    async def assert_same_key_printed(self, path: str) -> None:
        """Check that both tools print the same key."""
        ours = await self.key_of(OURS, path)
        self.assertEqual(ours, await self.key_of(REFERENCE, path))
        self.assertEqual(len(ours), KEY_DIGITS + 1)

    async def identify(self, client: str, server: Server, keydir: str) -> bytes:
        """Have one of our servers tell which key a client with a directory has."""
        script = "cat <&6 >identity"
        process = self.call(
            client,
            server,
            handler(*shell(script), options=(SERVER_FIRST,)),
            options=("-c", keydir),
        )
        await self.succeed(process)
        return self.read("identity")

    async def test_we_print_keys_of_the_reference(self) -> None:
        """Both tools print the same key for a directory of the reference's."""
        await self.assert_same_key_printed(await self.make(REFERENCE, "theirs"))

    async def test_the_reference_prints_our_keys(self) -> None:
        """Both tools print the same key for a directory of ours."""
        await self.assert_same_key_printed(await self.make(OURS, "ours"))

    async def test_our_tools_run_with_directories_of_the_reference(self) -> None:
        """Our server and our client take on the identity that the directory has."""
        identity = await self.make(REFERENCE, "theirs")
        server = await self.serve(
            OURS,
            handler("printenv", "REMOTEPK"),
            keydir=await self.make(REFERENCE, "their.server"),
        )
        told = await self.identify(OURS, server, identity)
        self.assertEqual(told.decode(), await self.key_of(REFERENCE, identity))

    async def test_the_reference_client_runs_with_our_directories(self) -> None:
        """The reference's client takes on the identity of a directory of ours."""
        identity = await self.make(OURS, "ours")
        server = await self.serve(OURS, handler("printenv", "REMOTEPK"))
        told = await self.identify(REFERENCE, server, identity)
        self.assertEqual(told.decode(), await self.key_of(OURS, identity))

    async def test_the_reference_server_runs_with_our_directories(self) -> None:
        """A client that looks for the key in a directory of ours finds it."""
        keydir = await self.make(OURS, "our.server")
        self.server = await self.serve(REFERENCE, handler("cat"), keydir=keydir)
        script = "echo text >&7; exec 7>&-; cat <&6 >got"
        await self.succeed(self.take_part(REFERENCE, script, CLIENT_FIRST))
        self.assertEqual(self.read("got"), b"text\n")
