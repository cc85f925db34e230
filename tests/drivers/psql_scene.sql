-- The simple protocol: one message may hold several statements, and what psql can make of them.
-- Errors are on purpose. psql splits at semicolons; \; joins.
select 1;
select 1 as one \; select 2 as two \; select 3 as three;
select 1 \; select 1/0 \; select 3;
selec 1;
select 'quotes '' and "double", commas, $1 and ünïcödé ✓' as text;
select 'two
lines	and a tab' as text;
;
select generate_series(1, 1000);
select repeat('x', 100000);
begin;
create temporary table t (id int primary key, name text);
insert into t values (1, 'a'), (2, 'b');
insert into t values (1, 'duplicate');
select 'refused, the transaction has failed';
rollback;
create temporary table c (id int, name text);
copy c from stdin;
1	one
2	two
\.
copy c to stdout;
\copy c to /dev/null
update c set name = name || '!' returning *;
prepare p (int) as select $1 + 1;
execute p(41);
select * from no_such_table;
do $$ begin raise notice 'a notice'; end $$;
listen here;
notify here, 'payload';
begin;
declare d cursor for select generate_series(1, 10);
fetch 3 from d;
fetch 3 from d;
commit;
\gset
select 42 as answer \gset
select :answer as again;
\lo_import :folder/psql_scene.sql
\lo_unlink :LASTOID
\d pg_class
select 'described' as a, 1 as b \gdesc
deallocate p;
drop table c;
