"""Run a program that dies with its parent: `python tether.py PARENT_PID ACCOUNT PROGRAM ARGUMENT…`.

An empty ACCOUNT is one's own. Linux kills it (SIGKILL) the moment the parent is gone, however that ended; the setting
survives `exec`. Elsewhere the program just runs, and the next start finds it in the list of children. Kept free of
imports that take time.
"""

from __future__ import annotations

import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main() -> None:
    parent_pid, account, *argv = sys.argv[1:]
    if sys.platform == "linux":
        import ctypes  # Before the change of account: the new one may not be able to read Python's files.

        if account:
            _become(account)  # Before the tie: a change of account undoes it.
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    elif account:
        _become(account)
    if os.getppid() != int(parent_pid):
        sys.exit("the parent is gone")
    os.execvp(argv[0], argv)  # noqa: S606


def _become(account: str) -> None:
    import pwd

    entry = pwd.getpwnam(account)
    os.initgroups(account, entry.pw_gid)
    os.setgid(entry.pw_gid)
    os.setuid(entry.pw_uid)


if __name__ == "__main__":
    main()
