SELECT p.oid, n.nspname::text, p.proname::text, COALESCE(e.extname::text, ''),
       (p.pronargs >= 1 AND p.pronargs - p.pronargdefaults <= 1
        AND ('c' IN (t.typtype, COALESCE(b.typtype, t.typtype)) OR t.typname IN
             ('record', 'any', 'anyelement', 'anynonarray', 'anycompatible', 'anycompatiblenonarray')))::pg_catalog.int4::pg_catalog.int2
FROM pg_catalog.pg_proc p
JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
JOIN pg_catalog.pg_language l ON l.oid = p.prolang
LEFT JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass AND d.objid = p.oid
     AND d.deptype = 'e' AND l.lanname IN ('c', 'internal')
LEFT JOIN pg_catalog.pg_extension e ON e.oid = d.refobjid
LEFT JOIN pg_catalog.pg_type t ON t.oid = p.proargtypes[0]
LEFT JOIN pg_catalog.pg_type b ON b.oid = t.typbasetype
WHERE n.nspname <> 'pg_catalog' OR p.oid >= 16384
