"""A client whose first thread is not the one that goes on with its session.

usage: threads_client.py PORT exec|leave STATEMENT
The first thread opens the session. Another one becomes a program (`exec`), or goes on when the first has ended
(`leave`), and runs the statement.
"""

import ctypes
import os
import platform
import socket
import struct
import sys
import threading

SYS_EXIT = {"x86_64": 60, "aarch64": 93}[platform.machine()]
THEN = """
import os, socket, struct, sys
connection = socket.socket(fileno=int(sys.argv[1]))
connection.sendall(b"Q" + struct.pack("!i", len(sys.argv[2]) + 5) + sys.argv[2].encode() + b"\\0")
answer = b""
while b"Z\\0\\0\\0\\5I" not in answer:
    answer += connection.recv(65536)
os._exit(0)
"""


def become(descriptor, statement):
    os.execv(sys.executable, [sys.executable, "-c", THEN, descriptor, statement])


def go_on(descriptor, statement):
    status = f"/proc/self/task/{os.getpid()}/status"
    while "zombie" not in open(status).read():
        pass
    sys.argv = ["", descriptor, statement]
    exec(THEN)


def main():
    port, how, statement = sys.argv[1:4]
    connection = socket.create_connection(("127.0.0.1", int(port)))
    connection.sendall(struct.pack("!ii", 41, 0x30000) + b"user\0postgres\0database\0postgres\0\0")
    answer = b""
    while b"Z\0\0\0\5I" not in answer:
        answer += connection.recv(65536)
    connection.set_inheritable(True)
    target = {"exec": become, "leave": go_on}[how]
    thread = threading.Thread(target=target, args=(str(connection.fileno()), statement))
    thread.start()
    if how == "leave":
        # Only this thread ends.
        ctypes.CDLL(None).syscall(SYS_EXIT, 0)
    thread.join()


main()
