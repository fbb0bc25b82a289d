"""Free loopback ports. Choosing and binding are two steps, so whoever binds must be ready to choose again.

Between the two nobody else should come by the same port by chance. So they are drawn from below those that the kernel gives to
whoever names none, outgoing connections among them (from 32768 on where Linux is left as it is).
"""

import random
import socket
from contextlib import ExitStack, suppress
from typing import Final

CHOICE: Final = range(15_000, 32_000)


def free_ports(count: int) -> list[int]:
    """`count` different loopback ports that are free now."""
    found: list[int] = []
    with ExitStack() as held:
        for port in random.SystemRandom().sample(CHOICE, len(CHOICE)):
            if len(found) == count:
                return found
            with suppress(OSError):
                held.enter_context(socket.socket(socket.AF_INET, socket.SOCK_STREAM)).bind(("127.0.0.1", port))
                found.append(port)
    raise OSError(f"no {count} ports between {CHOICE.start} and {CHOICE.stop} are free on loopback; end what holds them")


def is_free(port: int) -> bool:
    """Whether loopback port `port` can be bound now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As the servers do: a port in TIME_WAIT counts as free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True
