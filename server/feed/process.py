"""Entry point of the feed writer's process, started by the supervisor only."""

from __future__ import annotations

import os
import sys

import trio

from jukinet.server import control
from jukinet.server.event_log import EventLog
from jukinet.server.feed.hub import EXIT_FAILED, EXIT_OK, Hub


async def work(descriptor: int) -> int:
    """Take the Start message from the inherited channel and serve: the exit code."""
    channel = control.inherited_channel(descriptor)
    message = await channel.receive()
    if not isinstance(message, control.Start):
        return EXIT_OK  # the supervisor was gone before it could say anything
    return await Hub(message, channel).run()


def main() -> int:
    try:
        return trio.run(work, int(sys.argv[1]))
    except Exception as error:
        EventLog().failure("worker_failed", error, process=os.getpid())
        return EXIT_FAILED


if __name__ == "__main__":
    code = main()
    sys.stderr.flush()
    os._exit(code)
