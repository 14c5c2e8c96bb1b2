"""Logs in at a broker over TLS and says how that went; its arguments: port, the authority's file, the server's
name, and perhaps the device's id and token.
"""

import asyncio
import json
import sys

from mqtt import Link, LinkLost
from packet_stream import PacketStream, tls_context

with open(sys.argv[2], "rb") as file:
    tls = tls_context(file.read())
server = ("127.0.0.1", int(sys.argv[1]))
device_id, token = sys.argv[4:6] if len(sys.argv) > 4 else ("d1", "ab" * 32)


async def main() -> "str | None":
    """Log in once."""
    login = (device_id, device_id, token)
    link = Link(PacketStream(), server, login, print, tls=tls, server_name=sys.argv[3], answer_ms=15_000)
    try:
        await link.open()
        await link.publish(f"devices/{device_id}/status", b'{"online":true}', retain=True)
    except LinkLost as error:
        return error.args[0]
    link.close("done")
    return None


print(json.dumps({"lost": asyncio.run(main())}))
