# Runs a program in a pseudo-terminal: pseudo_terminal.py COLUMNS ROWS PROGRAM ARGUMENT...
#
# Copies the program's output to standard output. Reads JSON objects from standard input, one per line:
# {"keys": "text"} types text, {"size": [columns, rows]} resizes the terminal, {"signal": 15} sends the program a signal,
# and {"hangup": true} closes the terminal. Exits with the program's status, or 128 plus the signal that killed it.

import fcntl
import json
import os
import pty
import select
import signal
import struct
import sys
import termios


def resize(fd, columns, rows):
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


def obey(order, fd, pid):
    if "keys" in order:
        os.write(fd, order["keys"].encode())
    if "size" in order:
        resize(fd, *order["size"])
    if "signal" in order:
        os.kill(pid, order["signal"])


def main():
    columns, rows, *command = sys.argv[1:]
    pid, fd = pty.fork()
    if pid == 0:
        # Set the size before the program reads it.
        resize(0, int(columns), int(rows))
        os.execvp(command[0], command)
    pending = b""
    inputs = [fd, 0]
    while fd in inputs:
        ready, _, _ = select.select(inputs, [], [])
        if fd in ready:
            try:
                data = os.read(fd, 65536)
            except OSError:
                data = b""
            if not data:
                break
            os.write(1, data)
        if 0 in ready:
            data = os.read(0, 65536)
            if not data:
                # The process that started this program has ended.
                os.kill(pid, signal.SIGKILL)
                break
            *lines, pending = (pending + data).split(b"\n")
            for line in lines:
                order = json.loads(line)
                obey(order, fd, pid)
                if order.get("hangup"):
                    os.close(fd)
                    inputs.remove(fd)
    status = os.waitpid(pid, 0)[1]
    sys.exit(os.waitstatus_to_exitcode(status) if os.WIFEXITED(status) else 128 + os.WTERMSIG(status))


main()
