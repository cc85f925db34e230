"""Connects as it is told, answers the server's first question wrongly, and prints what the server made of it.

A line of input: way, source address, encryption, user, database, replication (names in hexadecimal).
A line of output: "ok", "asked N" (authentication request that is not answered), or "error SQLSTATE MESSAGE-IN-HEX".
"""

import socket
import ssl
import struct
import sys

PORT, SOCKET = int(sys.argv[1]), sys.argv[2]


def exactly(stream, count):
    data = b""
    while len(data) < count:
        piece = stream.recv(count - len(data))
        if not piece:
            raise EOFError
        data += piece
    return data


def connect(way, source, encryption):
    if way == "local":
        stream = socket.socket(socket.AF_UNIX)
        stream.settimeout(20)
        stream.connect(SOCKET)
        return stream
    family = socket.AF_INET6 if ":" in source else socket.AF_INET
    stream = socket.socket(family)
    stream.settimeout(20)
    stream.bind((source, 0))
    stream.connect(("::1" if family == socket.AF_INET6 else "127.0.0.1", PORT))
    if encryption == "tls":
        stream.sendall(struct.pack(">II", 8, 80877103))
        assert exactly(stream, 1) == b"S"
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        stream = context.wrap_socket(stream)
    return stream


def attempt(way, source, encryption, user, database, replication):
    with connect(way, source, encryption) as stream:
        body = struct.pack(">I", 196608) + b"user\0" + user + b"\0"
        if database:
            body += b"database\0" + database + b"\0"
        body += {"no": b"", "logical": b"replication\0database\0", "physical": b"replication\0true\0"}[replication]
        body += b"\0"
        stream.sendall(struct.pack(">I", len(body) + 4) + body)
        return answer(stream)


def answer(stream):
    while True:
        kind = exactly(stream, 1)
        body = exactly(stream, struct.unpack(">I", exactly(stream, 4))[0] - 4)
        if kind == b"E":
            fields = {field[:1]: field[1:] for field in body.split(b"\0") if field}
            return "error %s %s" % (fields[b"C"].decode(), fields[b"M"].hex())
        if kind != b"R":
            continue
        code = struct.unpack(">I", body[:4])[0]
        if code == 0:
            return "ok"
        if code in (3, 5):
            wrong = b"md5wrong\0"
            stream.sendall(b"p" + struct.pack(">I", len(wrong) + 4) + wrong)
            continue
        return "asked %d" % code


for line in sys.stdin:
    way, source, encryption, user, database, replication = line.rstrip("\n").split("\t")
    try:
        said = attempt(way, source, encryption, bytes.fromhex(user), bytes.fromhex(database), replication)
    except (EOFError, OSError) as error:
        said = "broken %r" % error
    print(said, flush=True)
