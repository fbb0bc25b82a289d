"""Runs a command that dies with its launcher: `python tether.py PARENT_PID SIGNAL command…`.

The kernel sends SIGNAL to the command when the launcher ends in whatever way, `kill -9` included. This file is run
by path and not imported: between fork and exec a threaded Python may do next to nothing, and `python -I -S` starts in a few
milliseconds.
"""

import ctypes
import os
import sys

PR_SET_PDEATHSIG = 1


def main() -> None:
    """Tie this process to its parent, then become the command."""
    parent, death_signal, command = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, death_signal, 0, 0, 0)
    # A launcher that died before the line above would never be noticed.
    if os.getppid() != parent:
        sys.exit(1)
    os.execvp(command[0], command)  # noqa: S606


if __name__ == "__main__":
    main()
