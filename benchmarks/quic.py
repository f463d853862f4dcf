"""One end of a QUIC connection with aioquic, as a process.

A stream from a server to a client, as aioquic's own asyncio interface has it. There is
no back-pressure in it: everything is written at once, and leaves as it may.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import sys
import tempfile
import time
from datetime import datetime, timedelta, timezone

from benchmarks.sides import ADDRESS, NAME

PIECE = bytes(65536)
PROTOCOL = "bulk"
WINDOW = 16 << 20
"""Bytes under way at the most; aioquic's own default is a mebibyte."""


def certificate(directory: str) -> tuple[str, str]:
    """Make one that nobody but us has signed; give its path, and the key's."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, NAME)])
    now = datetime.now(timezone.utc)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    paths = f"{directory}/certificate.pem", f"{directory}/key.pem"
    with open(paths[0], "wb") as file:
        file.write(made.public_bytes(serialization.Encoding.PEM))
    with open(paths[1], "wb") as file:
        file.write(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
    return paths


async def source(port: int, size: int) -> None:
    """Send so many bytes to each client that asks."""
    from aioquic.asyncio import serve
    from aioquic.quic.configuration import QuicConfiguration

    async def send(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(1)
        for begin in range(0, size, len(PIECE)):
            writer.write(PIECE[: size - begin])
        writer.write_eof()

    running = set()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        running.add(asyncio.ensure_future(send(reader, writer)))

    configuration = QuicConfiguration(is_client=False, alpn_protocols=[PROTOCOL])
    with tempfile.TemporaryDirectory(prefix="curvecp-bench-") as directory:
        configuration.load_cert_chain(*certificate(directory))
    await serve(ADDRESS, port, configuration=configuration, stream_handler=accept)
    await asyncio.Future()


async def sink(port: int) -> None:
    """Ask, count what comes, and report how long it took."""
    from aioquic.asyncio import connect
    from aioquic.quic.configuration import QuicConfiguration

    configuration = QuicConfiguration(
        is_client=True,
        alpn_protocols=[PROTOCOL],
        verify_mode=ssl.CERT_NONE,
        max_data=WINDOW,
        max_stream_data=WINDOW,
    )
    async with connect(ADDRESS, port, configuration=configuration) as client:
        began, used = time.perf_counter(), time.process_time()
        reader, writer = await client.create_stream()
        writer.write(b"?")
        count = 0
        while data := await reader.read(len(PIECE)):
            count += len(data)
        result = {
            "bytes": count,
            "seconds": time.perf_counter() - began,
            "cpu": time.process_time() - used,
        }
    print(json.dumps(result), flush=True)


def main(role: str, port: str, size: str = "0") -> None:
    """Run one end."""
    if role == "source":
        asyncio.run(source(int(port), int(size)))
    else:
        asyncio.run(sink(int(port)))


if __name__ == "__main__":
    main(*sys.argv[1:])
