-- A realistic database: what pg_dump has to know about, and enough rows that COPY takes several buffers.
create role shop_owner;
create role shop_reader;
create schema shop authorization shop_owner;
set search_path = shop, public;
create type mood as enum ('calm', 'busy', 'it''s "odd"');
create domain price as numeric(12, 2) check (value >= 0);
create type address as (street text, number int);
create collation german (provider = icu, locale = 'de-DE');
create sequence ticket increment by 7 start with 100;
create table customers (
  id bigint generated always as identity primary key,
  name text not null collate german,
  email text unique,
  home address,
  tags text[] default '{}',
  notes jsonb not null default '{}',
  picture bytea,
  state mood default 'calm',
  born date,
  seen timestamptz,
  lower_name text generated always as (lower(name)) stored
);
comment on table customers is 'people; with ünïcödé ✓, a '' quote and a \ backslash';
create table orders (
  id int default nextval('ticket'),
  customer bigint not null references customers on delete cascade,
  placed date not null,
  total price not null,
  weight float8,
  span tstzrange,
  primary key (id, placed)
) partition by range (placed);
create table orders_old partition of orders for values from (minvalue) to ('2025-01-01');
create table orders_new partition of orders for values from ('2025-01-01') to (maxvalue);
create index on orders (customer);
create index customers_notes on customers using gin (notes);
create unique index on customers (lower(email)) where email is not null;
create view spenders as select customer, sum(total) as spent from orders group by 1 having sum(total) > 100;
create materialized view monthly as select date_trunc('month', placed) as month, count(*) from orders group by 1;
create function touch() returns trigger language plpgsql as $body$
begin
  -- A body with 'quotes', $1 and a semicolon;
  new.seen := '2026-01-01 00:00+00';
  return new;
end $body$;
create trigger touched before insert on customers for each row execute function touch();
create rule quiet as on delete to spenders do instead nothing;
alter table customers enable row level security;
create policy own on customers for select to shop_reader using (name = current_user);
grant select on customers, spenders to shop_reader;
grant usage on schema shop to shop_reader;
alter default privileges in schema shop grant select on tables to shop_reader;
create publication everything for table orders;
create statistics busy (dependencies) on customer, placed from orders;
insert into customers (name, email, home, tags, notes, picture, state, born)
select 'Name ' || n || case n % 3 when 0 then E'\ttab' when 1 then E'\nline' else ' \N' end,
  case when n % 5 > 0 then 'person' || n || '@example.org' end,
  case when n % 4 > 0 then row('Street, "quoted" (' || n || ')', n)::address end,
  array['a', null, 'c,"d"', n::text],
  jsonb_build_object('n', n, 'list', jsonb_build_array(1, null, 'ü')),
  decode(repeat(right(to_hex(n % 256 + 256), 2), n % 50), 'hex'),
  (enum_range(null::mood))[n % 3 + 1],
  date '1950-01-01' + n
from generate_series(1, 3000) n;
insert into orders (customer, placed, total, weight, span)
select n % 3000 + 1, date '2024-01-01' + n % 900, n / 7.0, case when n % 11 = 0 then 'NaN' else sqrt(n) end,
  tstzrange(timestamptz '2024-01-01 00:00+00', timestamptz '2024-01-01 00:00+00' + n * interval '1 minute')
from generate_series(1, 30000) n;
refresh materialized view monthly;
select lo_from_bytea(4711, decode(repeat('00ff41', 100000), 'hex'));
select lo_from_bytea(4712, '');
comment on large object 4711 is 'three times a hundred thousand bytes';
