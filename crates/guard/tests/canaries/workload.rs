//! What an ordinary day brings: reports, an application's ORM, and the questions that tools ask about the schema. None of it
//! wants to get around anything, so nearly all of it must go on.

pub(crate) const WORKLOAD: &[&str] = &[
    // Reports.
    "select date_trunc('month', now()) as month, count(*) from orders group by 1 order by 1",
    "select p.name, count(o.id) as orders, sum(o.amount) as total from people p left join orders o on o.person = p.id \
     group by p.name order by total desc nulls last limit 10",
    "select p.id, p.name, p.email, sum(o.amount) from people p join orders o on o.person = p.id group by p.id order by p.id",
    "select o.what, avg(o.amount)::numeric(10, 2), min(o.amount), max(o.amount) from orders o group by o.what having count(*) > 0",
    "select count(distinct person) as customers, count(*) as orders, sum(amount) / nullif(count(*), 0) from orders",
    "select person, amount, rank() over (partition by person order by amount desc) from orders",
    "select person, sum(amount) over (partition by person order by id rows between unbounded preceding and current row) \
     from orders",
    "with totals as (select person, sum(amount) as total from orders group by person) \
     select p.name, t.total, ntile(4) over (order by t.total) from totals t join people p on p.id = t.person",
    "with recursive days(d) as (select date '2024-01-01' union all select d + 1 from days where d < date '2024-01-31') \
     select d, (select count(*) from orders o where o.id % 31 = extract(day from d)::int) from days d(d)",
    "select case when amount < 50 then 'small' when amount < 150 then 'medium' else 'large' end as size, count(*) \
     from orders group by 1",
    "select person, what, sum(amount) from orders group by rollup (person, what) order by 1 nulls last, 2 nulls last",
    "select person, sum(amount) filter (where amount > 100) as large, sum(amount) filter (where amount <= 100) as small \
     from orders group by person",
    "select percentile_cont(0.5) within group (order by amount) from orders",
    "select string_agg(distinct what, ', ' order by what) from orders where person = 3",
    "select p.name, o.what from people p cross join lateral (select what from orders o where o.person = p.id \
     order by amount desc limit 1) o",
    "select extract(year from born) as year, count(*) from people where id < 100 group by year, people.id order by people.id",
    "select p.id, p.name from people p where exists (select 1 from orders o where o.person = p.id and o.amount > 100)",
    "select p.id, p.name from people p where not exists (select 1 from orders o where o.person = p.id)",
    "select p.id, p.name from people p where p.id in (select person from orders where amount between 10 and 60)",
    "select a.person, a.amount - b.amount from orders a join orders b on a.person = b.person and a.id < b.id",
    "select at, count(*) from events group by at order by at",
    "select events.person, people.name, events.ssn from events join people on people.id = events.person order by 1",
    "select to_char(amount, 'FM999990.00'), upper(what), length(what) from orders order by id",
    "select json_agg(json_build_object('id', id, 'what', what)) from orders where person = 1",
    "select name from people union select what from orders order by 1 limit 20",
    "select grouping(person), person, count(*) from orders group by grouping sets ((person), ())",
    "select coalesce(p.name, 'nobody') as name, coalesce(sum(o.amount), 0) from orders o left join people p on p.id = o.person \
     group by 1",
    "select count(*) from people where ssn is not null",
    "select count(*) from contacts",
    "select who, mail from contacts order by id limit 5",
    "select what, count(*) from nested group by what order by what",
    "select width_bucket(amount, 0, 210, 7) as bucket, count(*) from orders group by bucket order by bucket",
    "select id, lag(amount) over w, lead(amount) over w from orders window w as (order by id)",
    "explain (costs off) select p.name, sum(o.amount) from people p join orders o on o.person = p.id group by p.name",
    "copy (select person, sum(amount) from orders group by person order by 1) to stdout with csv header",
    "copy people (id, name) to stdout",
    "copy (select id, name, email from people) to stdout with csv header",
    // An ORM.
    "SELECT \"people\".\"id\", \"people\".\"name\", \"people\".\"ssn\", \"people\".\"email\", \"people\".\"born\" FROM \"people\" \
     WHERE \"people\".\"id\" = 3 LIMIT 21",
    "SELECT \"people\".* FROM \"people\" WHERE \"people\".\"email\" = 'qv8Rt3Yh6Nj1x3@example.com' LIMIT 1",
    "SELECT \"people\".* FROM \"people\" WHERE \"people\".\"id\" IN (1, 2, 3) ORDER BY \"people\".\"id\" ASC",
    "SELECT COUNT(*) AS \"__count\" FROM \"orders\" INNER JOIN \"people\" ON (\"orders\".\"person\" = \"people\".\"id\") \
     WHERE \"people\".\"name\" LIKE 'name%'",
    "SELECT DISTINCT \"orders\".\"what\" FROM \"orders\" ORDER BY \"orders\".\"what\" ASC",
    "SELECT 1 AS one FROM \"people\" WHERE \"people\".\"ssn\" = '123' LIMIT 1",
    "SELECT t0.id, t0.name, t1.id AS orders_id, t1.what FROM people t0 LEFT OUTER JOIN orders t1 ON t0.id = t1.person \
     WHERE t0.id = 2 ORDER BY t1.id",
    "INSERT INTO orders (id, person, amount, what) VALUES (901, 1, 9.5, 'new') RETURNING id",
    "INSERT INTO people (id, name, ssn, email) VALUES (901, 'new', 'number', 'a@example.com') RETURNING id, name",
    "INSERT INTO orders (id, person, what) VALUES (1, 1, 'again') ON CONFLICT (id) DO UPDATE SET what = excluded.what",
    "UPDATE people SET email = 'b@example.com' WHERE id = 1",
    "UPDATE people SET name = 'other', ssn = 'other' WHERE id = 2 RETURNING id",
    "UPDATE orders SET amount = amount * 1.1 WHERE person IN (SELECT id FROM people WHERE name = 'name1')",
    "DELETE FROM orders WHERE id = 4",
    "SELECT id FROM orders WHERE person = 2 ORDER BY id FOR UPDATE SKIP LOCKED LIMIT 1",
    "SELECT EXISTS (SELECT 1 FROM people WHERE email = 'nobody@example.com')",
    "SELECT o.id, p.name, p.email FROM orders o JOIN people p ON p.id = o.person WHERE o.id = 7",
    "SAVEPOINT s",
    "SET LOCAL statement_timeout = 0",
    "SHOW transaction_isolation",
    "SELECT current_setting('server_version_num'), current_database(), current_schema(), version()",
    // Tools that ask about the schema.
    "select table_schema, table_name, table_type from information_schema.tables where table_schema not in \
     ('pg_catalog', 'information_schema') order by 1, 2",
    "select column_name, data_type, is_nullable, column_default, ordinal_position from information_schema.columns \
     where table_name = 'people' order by ordinal_position",
    "select tc.constraint_name, kcu.column_name from information_schema.table_constraints tc join \
     information_schema.key_column_usage kcu on tc.constraint_name = kcu.constraint_name where tc.table_name = 'people'",
    "select n.nspname, c.relname, c.relkind, pg_catalog.pg_get_userbyid(c.relowner) from pg_catalog.pg_class c left join \
     pg_catalog.pg_namespace n on n.oid = c.relnamespace where c.relkind in ('r', 'p', 'v', 'm') and n.nspname <> 'pg_catalog' \
     and n.nspname !~ '^pg_toast' and pg_catalog.pg_table_is_visible(c.oid) order by 1, 2",
    "select a.attname, pg_catalog.format_type(a.atttypid, a.atttypmod), a.attnotnull, (select pg_catalog.pg_get_expr(d.adbin, \
     d.adrelid, true) from pg_catalog.pg_attrdef d where d.adrelid = a.attrelid and d.adnum = a.attnum and a.atthasdef) \
     from pg_catalog.pg_attribute a where a.attrelid = 'people'::regclass and a.attnum > 0 and not a.attisdropped order by a.attnum",
    "select c2.relname, i.indisprimary, i.indisunique, pg_catalog.pg_get_indexdef(i.indexrelid, 0, true) from \
     pg_catalog.pg_class c, pg_catalog.pg_class c2, pg_catalog.pg_index i where c.relname = 'people' and c.oid = i.indrelid \
     and i.indexrelid = c2.oid",
    "select conname, pg_catalog.pg_get_constraintdef(r.oid, true) from pg_catalog.pg_constraint r \
     where r.conrelid = 'strict'::regclass",
    "select t.oid, t.typname, t.typtype, t.typelem from pg_type t join pg_namespace n on n.oid = t.typnamespace \
     where t.typname in ('json', 'hstore', 'uuid')",
    "select c.relname, obj_description(c.oid, 'pg_class'), pg_total_relation_size(c.oid) from pg_class c \
     where c.relname in ('people', 'orders') order by 1",
    "select d.datname, pg_catalog.pg_encoding_to_char(d.encoding), d.datcollate from pg_catalog.pg_database d order by 1",
    "select nspname from pg_namespace where nspname not like 'pg\\_%' order by nspname",
    "select proname, pg_get_function_arguments(oid) from pg_proc where pronamespace = 'public'::regnamespace order by 1",
    "select s.relname, s.seq_scan, s.n_live_tup from pg_stat_user_tables s order by 1",
    "select rolname, rolsuper from pg_roles where rolname = current_user",
    "select inhrelid::regclass::text from pg_inherits where inhparent = 'events'::regclass",
    "select has_table_privilege('people', 'select'), pg_is_in_recovery(), txid_current_if_assigned()",
    "select indexname, indexdef from pg_indexes where tablename = 'people'",
    "select viewname, definition from pg_views where schemaname = 'public' order by 1",
    "select attname, n_distinct, null_frac, avg_width from pg_stats where tablename = 'orders' order by 1",
];
