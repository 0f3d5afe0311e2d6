"""Runs a command on a terminal of its own and answers its questions: terminal.py SECONDS ANSWERS COMMAND...

ANSWERS has one answer a line; each is typed when the command has printed a prompt and waits. All
that the terminal showed goes to stdout. Ends with the command's exit code, or with 99 if it
waits longer than SECONDS for something else.
"""

import os
import pty
import select
import signal
import sys
import time

seconds, answers, command = float(sys.argv[1]), sys.argv[2].split("\n"), sys.argv[3:]
child, terminal = pty.fork()
if child == 0:
    os.execvp(command[0], command)

shown, asked, until = b"", 0, time.monotonic() + seconds
while True:
    ready, _, _ = select.select([terminal], [], [], max(0.0, until - time.monotonic()))
    if not ready:
        os.kill(child, signal.SIGKILL)
        sys.stdout.write(shown.decode() + "\n--- it waits\n")
        sys.exit(99)
    try:
        more = os.read(terminal, 4096)
    except OSError:  # the other side is closed
        more = b""
    if not more:
        break
    shown += more
    if shown[asked:].endswith((b"] > ", b"[y/N] ")):
        asked = len(shown)
        # Without answers left the end of the input is typed.
        os.write(terminal, answers.pop(0).encode() + b"\n" if answers else b"\x04")
_, status = os.waitpid(child, 0)
sys.stdout.write(shown.decode().replace("\r\n", "\n"))
if answers:
    sys.stdout.write("\n--- not asked for: " + repr(answers) + "\n")
sys.exit(os.waitstatus_to_exitcode(status))
