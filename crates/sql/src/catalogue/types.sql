WITH RECURSIVE within (type, part) AS (
    SELECT oid, typbasetype FROM pg_catalog.pg_type WHERE typbasetype <> 0
    UNION ALL SELECT oid, typelem FROM pg_catalog.pg_type WHERE typelem <> 0
    UNION ALL SELECT rngtypid, rngsubtype FROM pg_catalog.pg_range
    UNION ALL SELECT t.oid, a.atttypid
              FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_type t ON t.typrelid = a.attrelid
              WHERE a.attnum > 0
), code (type, function) AS (
    SELECT c.contypid, COALESCE(o.oprcode::pg_catalog.oid, d.refobjid)
    FROM pg_catalog.pg_constraint c
    JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_constraint'::pg_catalog.regclass AND d.objid = c.oid
    LEFT JOIN pg_catalog.pg_operator o
         ON d.refclassid = 'pg_catalog.pg_operator'::pg_catalog.regclass AND o.oid = d.refobjid
    WHERE c.contypid <> 0 AND (o.oid IS NOT NULL OR d.refclassid = 'pg_catalog.pg_proc'::pg_catalog.regclass)
    UNION
    SELECT t.oid, COALESCE(o.oprcode::pg_catalog.oid, d.refobjid)
    FROM pg_catalog.pg_type t
    JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_type'::pg_catalog.regclass AND d.objid = t.oid
    LEFT JOIN pg_catalog.pg_operator o
         ON d.refclassid = 'pg_catalog.pg_operator'::pg_catalog.regclass AND o.oid = d.refobjid
    WHERE t.typtype = 'd' AND (o.oid IS NOT NULL OR d.refclassid = 'pg_catalog.pg_proc'::pg_catalog.regclass)
    UNION
    SELECT casttarget, castfunc FROM pg_catalog.pg_cast
    WHERE castfunc >= 16384 AND casttarget >= 16384 AND castcontext <> 'e'
    UNION
    SELECT within.type, code.function FROM code JOIN within ON within.part = code.type
), converted (type, function) AS (
    SELECT side.type, k.castfunc
    FROM pg_catalog.pg_cast k CROSS JOIN LATERAL (VALUES (k.castsource), (k.casttarget)) AS side (type)
    WHERE k.castfunc >= 16384 AND (side.type >= 16384 OR (k.castsource < 16384 AND k.casttarget < 16384))
    UNION
    SELECT within.type, converted.function
    FROM converted JOIN within ON within.part = converted.type
    WHERE within.part >= 16384
), named (type, function, relation) AS (
    SELECT type, function, typrelid FROM code JOIN pg_catalog.pg_type ON oid = type
    UNION
    SELECT type, function, 0::pg_catalog.oid FROM converted
)
SELECT n.nspname::text, t.typname::text, named.relation, named.function
FROM named JOIN pg_catalog.pg_type t ON t.oid = named.type JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace
