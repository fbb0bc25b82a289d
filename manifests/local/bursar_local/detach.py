"""Starts a command as a process of its own that outlives the terminal: `python detach.py LOG command…`; prints its process id.

Run by path in a fresh interpreter (`python -I -S`): forking is safe there, and the caller never becomes the command's parent.
"""

import os
import sys


def main() -> None:
    """Fork; the parent prints the child's id and ends, the child leaves the session, logs to LOG and becomes the command."""
    log, command = sys.argv[1], sys.argv[2:]
    pid = os.fork()
    if pid:
        sys.stdout.write(f"{pid}\n")
        return
    os.setsid()
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((nothing, 0), (output, 1), (output, 2)):
        os.dup2(source, target)
    os.execvp(command[0], command)  # noqa: S606


if __name__ == "__main__":
    main()
