"""Protocol 3.2 with libpq 18: a session, a cancel request with the longer key, and what follows."""

import threading

import psycopg

connection = psycopg.connect("", autocommit=True, max_protocol_version="latest")
version = connection.pgconn.full_protocol_version
print(version, end=" ")
started = threading.Event()


def cancel():
    started.wait()
    with psycopg.connect("", autocommit=True) as other:
        running = "select count(*) from pg_stat_activity where pid = %s and wait_event = 'PgSleep'"
        while other.execute(running, (connection.info.backend_pid,)).fetchone() != (1,):
            pass
    connection.cancel_safe(timeout=20)


thread = threading.Thread(target=cancel)
thread.start()
try:
    started.set()
    connection.execute("select pg_sleep(120)")
except psycopg.errors.QueryCanceled as error:
    print("cancelled", error.sqlstate, end=" ")
thread.join()
print(connection.execute("select 'alive'").fetchone()[0])
