"""asyncpg: everything in binary, named statements, portals with a row limit, executemany, COPY, errors."""

import asyncio
import datetime
import decimal
import os
import ssl
import sys
import uuid

import asyncpg


def tls():
    if os.environ["PGSSLMODE"] == "disable":
        return False
    return ssl.create_default_context(cafile=os.environ["WARDER_TLS_AUTHORITY"])


class TellingConnection(asyncpg.Connection):
    """Prints what the server answered: two runs of the scene can be compared."""

    async def fetch(self, query, *parameters):
        rows = await super().fetch(query, *parameters)
        print(rows)
        return rows


async def expect_error(connection, kind, sql, *parameters):
    try:
        await connection.fetch(sql, *parameters)
    except kind as error:
        print(error.sqlstate, error)
        return
    raise AssertionError(f"no error from: {sql}")


async def values(connection):
    await connection.execute("select 1; select 2")
    await connection.fetch("select $1::int4, $2::int8, $3::int2", 1, 2**40, 3)
    await connection.fetch("select $1::text, $2::bool, $3::float8", "it's ünïcödé ✓", False, 1.5)
    await connection.fetch("select $1::numeric, $2::uuid", decimal.Decimal("-12.340"), uuid.UUID(int=7))
    await connection.fetch("select $1::date, $2::bytea", datetime.date(2026, 11, 22), b"\x00\xff")
    moment = datetime.datetime(2026, 11, 22, 1, 2, 3, 450000, tzinfo=datetime.timezone.utc)
    await connection.fetch("select $1::timestamptz", moment)
    await connection.fetch("select $1::text, $2::int4", None, None)
    await expect_error(connection, asyncpg.DivisionByZeroError, "select 1 / $1::int4", 0)
    await expect_error(connection, asyncpg.PostgresSyntaxError, "selec $1", 0)


async def transaction(connection):
    async with connection.transaction():
        await connection.execute("create temporary table t (id int, name text)")
        await connection.executemany("insert into t values ($1, $2)", [(n, f"name {n}") for n in range(50)])
        await connection.copy_records_to_table("t", records=[(n, f"row {n}") for n in range(100)])
        statement = await connection.prepare("select * from t where id >= $1")
        print(await statement.fetch(90))
        print(await statement.fetch(10))
        async for row in statement.cursor(0, prefetch=30):
            print(row)
        cursor = await connection.cursor("select * from t where name like $1", "name%")
        print(await cursor.fetch(7))
        print(await cursor.fetch(7))
    await connection.execute("drop table t")


async def main():
    for _ in range(int(sys.argv[1])):
        connection = await asyncpg.connect(ssl=tls(), connection_class=TellingConnection)
        await values(connection)
        await transaction(connection)
        await connection.close()


asyncio.run(main())
