"""A client whose process forks and then becomes another program while its session is open.

usage: becoming_client.py PORT
"""

import os
import socket
import struct
import sys

connection = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
connection.sendall(struct.pack("!ii", 41, 0x30000) + b"user\0postgres\0database\0postgres\0\0")
answer = b""
while b"Z\0\0\0\5I" not in answer:
    answer += connection.recv(65536)
child = os.fork()
if child == 0:
    os._exit(0)
os.waitpid(child, 0)
connection.set_inheritable(True)
os.execv("/bin/true", ["true"])
