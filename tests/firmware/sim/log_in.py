"""Logs in at a broker over TLS and says how that went; its arguments: port, the authority's file, the server's name."""

import asyncio
import json
import sys

from mqtt import Link, LinkLost
from packet_stream import PacketStream, tls_context

with open(sys.argv[2], "rb") as file:
    tls = tls_context(file.read())
server = ("127.0.0.1", int(sys.argv[1]))


async def main() -> "str | None":
    """Log in once."""
    link = Link(
        PacketStream(), server, ("d1", "d1", "ab" * 32), print, tls=tls, server_name=sys.argv[3], answer_ms=5_000
    )
    try:
        await link.open()
    except LinkLost as error:
        return error.args[0]
    link.close("done")
    return None


print(json.dumps({"lost": asyncio.run(main())}))
