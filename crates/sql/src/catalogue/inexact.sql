WITH RECURSIVE exact (type) AS (
    SELECT t.oid FROM pg_catalog.pg_type t JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace
    WHERE t.typtype = 'e' OR (t.typtype = 'b' AND t.typname = 'citext') OR (n.nspname = 'pg_catalog' AND t.typname IN
          ('bit', 'bool', 'bpchar', 'bytea', 'cidr', 'date', 'inet', 'int2', 'int4', 'int8', 'interval', 'json', 'jsonb',
           'macaddr', 'macaddr8', 'money', 'name', 'numeric', 'oid', 'text', 'time', 'timestamp', 'timestamptz', 'timetz',
           'uuid', 'varbit', 'varchar', 'xml'))
    UNION
    SELECT t.oid FROM exact JOIN pg_catalog.pg_type t ON t.typbasetype = exact.type
)
SELECT a.attrelid, a.attnum
FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_class c ON c.oid = a.attrelid
WHERE c.relkind IN ('r', 'p', 'm', 'f') AND c.relpersistence <> 't' AND c.oid >= 16384 AND a.attnum > 0
      AND NOT a.attisdropped AND NOT EXISTS (SELECT FROM exact WHERE exact.type = a.atttypid)
