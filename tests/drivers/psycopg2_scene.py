"""psycopg2: the simple protocol only, parameters put into the text, named cursors, COPY, large objects, errors."""

import io
import os
import sys

import psycopg2
import psycopg2.errors


def tell(cursor, sql, parameters=None):
    """Prints what the server answered: two runs of the scene can be compared."""
    cursor.execute(sql, parameters)
    print(cursor.statusmessage, cursor.fetchall() if cursor.description else None)


def expect_error(cursor, kind, sql, parameters=None):
    try:
        cursor.execute(sql, parameters)
    except kind as error:
        print(error.pgcode, error)
        return
    raise AssertionError(f"no error from: {sql}")


def values(cursor):
    tell(cursor, "select 1; select 2")
    tell(cursor, "select %s::int4 + %s::int8, %s::text, %s::bool", (1, 2**40, "it's ünïcödé ✓", None))
    tell(cursor, "select encode(%s::bytea, 'hex'), array[%s, %s]", (b"\x00\xff", 1.5, 2.5))
    expect_error(cursor, psycopg2.errors.DivisionByZero, "select 1 / %s", (0,))
    expect_error(cursor, psycopg2.errors.SyntaxError, "selec %s", (0,))
    tell(cursor, "select 'alive'")


def transaction(connection):
    connection.autocommit = False
    with connection, connection.cursor() as cursor:
        tell(cursor, "create temporary table t (id int, name text)")
        cursor.executemany("insert into t values (%s, %s)", [(number, f"name {number}") for number in range(10)])
        cursor.copy_expert("copy t from stdin", io.StringIO("".join(f"{number}\trow\n" for number in range(100))))
        copied = io.StringIO()
        cursor.copy_expert("copy t to stdout (format csv)", copied)
        print(len(copied.getvalue()))
        with connection.cursor("c") as named:
            named.itersize = 20
            named.execute("select * from t where id > %s order by 1, 2", (3,))
            print(named.fetchmany(5), sum(1 for _ in named))
    with connection, connection.cursor() as cursor:
        large = connection.lobject(0, "wb")
        large.write(os.fsencode("large " * 20_000))
        large.seek(100)
        large.close()
        print(len(connection.lobject(large.oid, "rb").read()))
        connection.lobject(large.oid).unlink()
        tell(cursor, "drop table t")
    connection.autocommit = True


def main():
    for _ in range(int(sys.argv[1])):
        connection = psycopg2.connect("")
        connection.autocommit = True
        with connection.cursor() as cursor:
            values(cursor)
        transaction(connection)
        connection.close()


main()
