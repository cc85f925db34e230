SELECT tgrelid, tgfoid, tgtype FROM pg_catalog.pg_trigger WHERE NOT tgisinternal AND tgenabled <> 'D'
