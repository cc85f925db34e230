"""psycopg 3: client- and server-side parameters, prepared statements, pipeline mode, named cursors, COPY, errors."""

import datetime
import decimal
import logging
import sys
import uuid

import psycopg


class TellingCursor(psycopg.Cursor):
    """Prints what the server answered: two runs of the scene can be compared."""

    def execute(self, query, params=None, **arguments):
        super().execute(query, params, **arguments)
        if self.connection.info.pipeline_status == psycopg.pq.PipelineStatus.OFF:
            print(self.statusmessage, self.fetchall() if self.description else None)
        return self


def expect_error(connection, kind, sql, parameters=None):
    try:
        connection.execute(sql, parameters)
    except kind as error:
        print(error.sqlstate, error)
        return
    raise AssertionError(f"no error from: {sql}")


def values(connection):
    connection.execute("select 1")
    connection.execute("select %s::int4 + %s::int8", (1, 2**40))
    connection.execute("select %s::text, %s::bool, %s::float8", ("it's ünïcödé ✓", True, 1.5))
    connection.execute("select %s::numeric, %s::uuid", (decimal.Decimal("12.340"), uuid.UUID(int=7)))
    connection.execute("select %s::date", (datetime.date(2026, 11, 22),))
    connection.execute("select %s::text, %s::int4", (None, None))
    connection.execute("select %s::text, %s::text", ("", "a, $2 = 'b'"))


def prepared(connection):
    for number in range(7):
        connection.execute("select %s::int4 * 2", (number,), prepare=True)
    expect_error(connection, psycopg.errors.DivisionByZero, "select 1 / %s::int4", (0,))
    expect_error(connection, psycopg.errors.SyntaxError, "selec %s", (0,))
    expect_error(connection, psycopg.errors.InvalidTextRepresentation, "select %s::int4 + 1", ("not a number",))
    connection.execute("select 'alive'")


def transaction(connection):
    with connection.transaction():
        connection.execute("create temporary table t (id int, name text)")
        connection.cursor().executemany("insert into t values (%s, %s)", [(n, f"name {n}") for n in range(10)])
        with connection.cursor().copy("copy t from stdin") as copy:
            for number in range(100):
                copy.write_row((number, f"row {number}"))
        with connection.cursor(name="c") as cursor:
            cursor.itersize = 20
            cursor.execute("select * from t where id > %s", (3,))
            print(cursor.fetchall())
    connection.execute("drop table t")


def pipeline(connection):
    with connection.pipeline():
        for number in range(20):
            connection.execute("select %s::int4 as piped", (number,))
    try:
        with connection.pipeline():
            connection.execute("select %s::int4", (1,))
            connection.execute("select 1 / %s::int4", (0,))
            connection.execute("select %s::int4 as discarded", (2,))
    except psycopg.errors.DivisionByZero:
        return
    raise AssertionError("no error from the pipeline")


def main():
    # What it logs about an aborted pipeline depends on how fast the server answers.
    logging.getLogger("psycopg").setLevel(logging.CRITICAL)
    for _ in range(int(sys.argv[1])):
        with psycopg.connect("", autocommit=True, cursor_factory=TellingCursor) as connection:
            values(connection)
            prepared(connection)
            transaction(connection)
            pipeline(connection)


main()
