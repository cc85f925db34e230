// node pg: text parameters, named statements, simple multi-statements, errors.
'use strict';

const { readFileSync } = require('node:fs');
const { Client } = require('pg');

// Prints what the server answered: two runs of the scene can be compared.
class TellingClient extends Client {
  async query(...parameters) {
    const result = await super.query(...parameters);
    for (const one of [result].flat()) console.log(one.command, one.rowCount, JSON.stringify(one.rows));
    return result;
  }
}

async function expectError(promise, code) {
  try {
    await promise;
  } catch (error) {
    if (error.code === code) {
      console.log(error.code, error.message);
      return;
    }
    throw error;
  }
  throw new Error(`no error ${code}`);
}

async function round() {
  const ssl = process.env.PGSSLMODE === 'disable' ? false : { ca: readFileSync(process.env.WARDER_TLS_AUTHORITY) };
  const client = new TellingClient({ ssl });
  await client.connect();
  await client.query('select 1');
  await client.query('select 1; select 2');
  await client.query('select $1::int as number, $2::text as text', [7, "it's ünïcödé ✓"]);
  await client.query('select $1::text, $2::bool', [null, 't']);
  for (let number = 0; number < 5; number += 1) {
    await client.query({ name: 'named', text: 'select $1::int * 2', values: [number] });
  }
  await expectError(client.query('select 1 / $1::int', [0]), '22012');
  await expectError(client.query('selec 1'), '42601');
  await expectError(client.query('selec $1', [1]), '42601');
  await expectError(client.query('select $1::int', ['not a number']), '22P02');
  await client.query('begin');
  await client.query('create temporary table t (id int, name text)');
  await client.query('insert into t values ($1, $2)', [1, 'a']);
  await client.query('commit');
  await client.query('drop table t');
  await Promise.all([1, 2, 3].map((number) => client.query('select $1::int as queued', [number])));
  await client.end();
}

(async () => {
  for (let index = 0; index < Number(process.argv[2]); index += 1) await round();
})().catch((error) => {
  console.error(error);
  process.exit(1);
});
