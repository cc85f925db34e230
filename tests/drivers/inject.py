"""Writes bytes into a socket of another process: `inject.py PID COOKIE HEX`. What somebody would do who has taken the
process over, and does not want to be on its record. Needs root."""

import ctypes
import os
import socket
import sys

PIDFD_GETFD = 438
SO_COOKIE = 57

pid, cookie, data = int(sys.argv[1]), int(sys.argv[2]), bytes.fromhex(sys.argv[3])
pidfd = os.pidfd_open(pid)
libc = ctypes.CDLL(None, use_errno=True)
for name in os.listdir(f"/proc/{pid}/fd"):
    if not os.readlink(f"/proc/{pid}/fd/{name}").startswith("socket:"):
        continue
    descriptor = libc.syscall(PIDFD_GETFD, pidfd, int(name), 0)
    if descriptor < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    with socket.socket(fileno=descriptor) as found:
        if int.from_bytes(found.getsockopt(socket.SOL_SOCKET, SO_COOKIE, 8), sys.byteorder) == cookie:
            found.sendall(data)
            sys.exit()
sys.exit(f"process {pid} has no socket {cookie}")
