"""A client with nothing but Python's standard library, for accounts that can read nothing of ours.

usage: raw_client.py HOST PORT STATEMENT    (HOST beginning with / is the folder of a Unix socket)
Logs in as postgres under trust, runs the statement, waits for its end, leaves.
"""

import socket
import struct
import sys


def packet(kind, body):
    return kind + struct.pack("!i", len(body) + 4) + body


def until_ready(stream):
    while True:
        header = stream.read(5)
        if len(header) < 5:
            raise SystemExit("the server closed the connection")
        body = stream.read(struct.unpack("!i", header[1:])[0] - 4)
        if header[:1] == b"E":
            raise SystemExit(body)
        if header[:1] == b"Z":
            return


def main():
    host, port, statement = sys.argv[1:4]
    if host.startswith("/"):
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(f"{host}/.s.PGSQL.{port}")
    else:
        connection = socket.create_connection((host, int(port)))
    stream = connection.makefile("rwb")
    stream.write(packet(b"", struct.pack("!i", 0x30000) + b"user\0postgres\0database\0postgres\0\0"))
    stream.flush()
    until_ready(stream)
    stream.write(packet(b"Q", statement.encode() + b"\0"))
    stream.flush()
    until_ready(stream)
    stream.write(packet(b"X", b""))
    stream.flush()
    connection.close()


main()
