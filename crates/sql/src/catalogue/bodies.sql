SELECT p.oid, p.prosrc, COALESCE(pg_catalog.array_to_string(p.proargnames, pg_catalog.chr(1)), '')
FROM pg_catalog.pg_proc p
JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
JOIN pg_catalog.pg_language l ON l.oid = p.prolang
WHERE n.nspname <> 'pg_catalog' AND l.lanname = 'sql' AND p.prokind = 'f' AND p.prosrc <> '' AND NOT p.proretset
      AND NOT p.prosecdef AND p.proconfig IS NULL AND p.pronargdefaults = 0 AND p.provariadic = 0
      AND p.proallargtypes IS NULL AND pg_catalog.octet_length(p.prosrc) <= 8192
      AND NOT EXISTS (SELECT FROM pg_catalog.unnest(pg_catalog.array_append(
          p.proargtypes::pg_catalog.oid[], p.prorettype)) AS t(type) WHERE t.type >= 16384)
