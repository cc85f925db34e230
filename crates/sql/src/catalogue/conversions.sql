WITH RECURSIVE converted (type, function) AS (
    SELECT castsource, castfunc FROM pg_catalog.pg_cast WHERE castfunc >= 16384 AND castsource >= 16384
    UNION
    SELECT within.type, converted.function
    FROM converted JOIN (
        SELECT oid, typbasetype FROM pg_catalog.pg_type WHERE typbasetype <> 0
        UNION ALL SELECT oid, typelem FROM pg_catalog.pg_type WHERE typelem <> 0
        UNION ALL SELECT rngtypid, rngsubtype FROM pg_catalog.pg_range
        UNION ALL SELECT t.oid, a.atttypid
                  FROM pg_catalog.pg_attribute a
                  JOIN pg_catalog.pg_type t ON t.typrelid = a.attrelid
                  JOIN pg_catalog.pg_class c ON c.oid = a.attrelid
                  WHERE a.attnum > 0 AND c.relkind = 'c'
    ) AS within (type, part) ON within.part = converted.type
)
SELECT a.attrelid, a.attnum, converted.function
FROM converted
JOIN pg_catalog.pg_attribute a ON a.atttypid = converted.type
JOIN pg_catalog.pg_class c ON c.oid = a.attrelid
WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND c.relpersistence <> 't' AND a.attnum > 0 AND NOT a.attisdropped
UNION ALL
SELECT c.oid, 0::pg_catalog.int2, converted.function
FROM converted
JOIN pg_catalog.pg_type t ON t.oid = converted.type
JOIN pg_catalog.pg_class c ON c.oid = t.typrelid
WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND c.relpersistence <> 't'
