SELECT inhrelid, inhparent FROM pg_catalog.pg_inherits
