"""Holds idle sessions. usage: idle_sessions.py COUNT; prints `open` when all stand, ends with its standard input.

Each session has asked something once, so that nothing about it is still to be allocated.
"""

import sys

from psycopg import pq

connections = []
for _ in range(int(sys.argv[1])):
    connection = pq.PGconn.connect(b"")
    if connection.status != pq.ConnStatus.OK:
        sys.exit(f"session {len(connections)}: {connection.error_message.decode()}")
    if connection.exec_(b"select 1").status != pq.ExecStatus.TUPLES_OK:
        sys.exit(f"session {len(connections)}: {connection.error_message.decode()}")
    connections.append(connection)
print("open", flush=True)
sys.stdin.read()
