"""Reads protected columns with psycopg 3 and asyncpg, in every way in which they ask; prints all that came back."""

import asyncio
import io
import os
import sys

import asyncpg
import psycopg

QUERIES = [
    "select id, name, ssn from people order by id",
    "select * from people order by id",
    "select upper(ssn), email from people",
    "select p.name, o.what, p.ssn from people p join orders o on o.person = p.id order by o.id",
    "with x as (select ssn from people union all select name from people) select * from x",
    "select to_jsonb(p) from people p",
    "select who, mail from contacts",
    "select max(ssn), count(*) from people",
    "select id, ssn from people where ssn = 'zq7Xk2Lm9Wp4-1'",
    "insert into orders (id, person, what) values (900 + (random() * 1e8)::int, 1, 'new') returning what",
]
REFUSED = [
    "copy people to stdout (format csv, escape '#')",
    "create table copied as select ssn from people",
    "select id from people where ssn like 'zq%'",
    "select peek()",
    "select ssn from people union select name from people",
]


def of_psycopg(connection):
    for binary in (False, True):
        for query in QUERIES:
            print("psycopg", binary, connection.execute(query, binary=binary).fetchall())
    for _ in range(7):
        print(connection.execute(QUERIES[0], prepare=True).fetchall())
    print(connection.execute("select id, ssn from people where id = %s", (2,)).fetchall())
    with connection.transaction(), connection.cursor(name="c") as cursor:
        cursor.execute("select id, ssn, token from people")
        print("named", cursor.fetchall())
    for text in ("copy people (id, ssn, email) to stdout", "copy (select ssn, name from people) to stdout (format binary)"):
        with connection.cursor().copy(text) as copy:
            print("copy", [bytes(part) for part in copy])
    with connection.pipeline():
        cursors = [connection.execute(query) for query in QUERIES[:8]]
        print("pipeline", [cursor.fetchall() for cursor in cursors])
    for query in REFUSED:
        try:
            connection.execute(query)
        except psycopg.Error as error:
            print("refused", error.sqlstate, error)
            continue
        raise AssertionError(f"not refused: {query}")


async def of_asyncpg():
    connection = await asyncpg.connect(ssl=False)
    for query in QUERIES:
        for _ in range(3):
            print("asyncpg", await connection.fetch(query))
    statement = await connection.prepare("select id, ssn, born from people where id > $1")
    for number in range(3):
        print("prepared", await statement.fetch(number))
    async with connection.transaction():
        print("cursor", [row async for row in connection.cursor("select id, ssn from people", prefetch=2)])
    for form in ("csv", "text", "binary"):
        table = io.BytesIO()
        await connection.copy_from_table("people", columns=["id", "ssn"], output=table, format=form)
        await connection.copy_from_query("select id, ssn from people where id > $1", 2, output=table, format=form)
        print("copied", table.getvalue())
    for query in REFUSED[1:]:
        try:
            await connection.fetch(query)
        except asyncpg.PostgresError as error:
            print("refused", error.sqlstate, error)
            continue
        raise AssertionError(f"not refused: {query}")
    await connection.close()


with psycopg.connect(os.environ.get("DSN", ""), autocommit=True) as session:
    of_psycopg(session)
asyncio.run(of_asyncpg())
print("done", file=sys.stdout)
