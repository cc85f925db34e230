SELECT c.oid, pg_catalog.pg_get_viewdef(c.oid)
FROM pg_catalog.pg_class c
WHERE c.relkind IN ('v', 'm') AND c.relpersistence <> 't' AND pg_catalog.pg_get_viewdef(c.oid) IS NOT NULL
