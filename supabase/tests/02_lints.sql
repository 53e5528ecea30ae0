-- Rules for every object.
begin;
\ir helpers.psql
select plan(18);

create view tests.relations as
select c.oid, c.oid::regclass::text as name, c.relkind, c.relrowsecurity, c.reloptions, c.relnamespace
from pg_class as c
where c.relnamespace in ('public'::regnamespace, 'private'::regnamespace)
  and c.relkind in ('r', 'p', 'v', 'm');
create view tests.functions as
select p.oid, p.oid::regprocedure::text as name, p.pronamespace, p.prosecdef, p.proconfig, p.proacl
from pg_proc as p
where p.pronamespace in ('public'::regnamespace, 'private'::regnamespace)
  and not exists (select from pg_depend as d where d.objid = p.oid and d.deptype = 'e');

select is((select array_agg(r.name) from tests.relations as r where r.relkind in ('r', 'p') and not r.relrowsecurity),
  null, 'row-level security is on for every table and every partition');
select is((select array_agg(f.name) from tests.functions as f where f.pronamespace = 'public'::regnamespace and f.prosecdef),
  null, 'no function of the API runs as its owner');
select is((select array_agg(f.name) from tests.functions as f where f.proconfig is null or not 'search_path=""' = any (f.proconfig)),
  null, 'every function has a fixed, empty search_path');
select is((select array_agg(r.name) from tests.relations as r
           where r.relkind = 'v' and not coalesce('security_invoker=true' = any (r.reloptions), false)),
  null, 'every view reads with the caller''s rights');
select is((select array_agg(r.name) from tests.relations as r where r.relkind = 'm'),
  null, 'there is no materialized view, because it could not have policies');

select is((select array_agg(p.tablename || ': ' || p.policyname) from pg_policies as p
           where p.schemaname in ('public', 'private')
             and not (p.roles = '{authenticated}' or (p.roles = '{anon,authenticated}' and p.qual = 'true' and p.cmd = 'SELECT'))),
  null, 'policies are for signed-in users; only reference tables can be read without a token');
select is((select array_agg(p.tablename || ': ' || p.policyname) from pg_policies as p
           where p.schemaname = 'public' and p.roles = '{authenticated}'
             -- Reads the caller's participations through a function.
             and p.tablename <> 'community_challenges'
             and coalesce(p.qual, '') || coalesce(p.with_check, '') !~ '\( SELECT auth\.uid\(\)'),
  null, 'policies evaluate auth.uid() once per statement');
select is((select array_agg(p.tablename || ': ' || p.policyname) from pg_policies as p
           where p.schemaname = 'public' and p.cmd in ('INSERT', 'UPDATE', 'ALL') and p.with_check is null),
  null, 'policies for writing check the written row');
select is((select array_agg(p.tablename || ': ' || p.policyname) from pg_policies as p
           where p.schemaname = 'public' and p.roles = '{authenticated}'
             -- A challenge is everybody's or found by the reader's participations, which are indexed.
             and p.tablename <> 'community_challenges'
             and not exists (
               select from pg_index as i
               join pg_attribute as a on a.attrelid = i.indrelid and a.attnum = i.indkey[0]
               where i.indrelid = format('%I.%I', p.schemaname, p.tablename)::regclass
                 and a.attname in ('user_id', 'id', 'blocker_id') and p.qual || coalesce(p.with_check, '') ~ ('\(' || a.attname || ' = \( SELECT')
               union all
               select from pg_index as i
               join pg_attribute as a on a.attrelid = i.indrelid and a.attnum = i.indkey[0]
               where p.qual is null and i.indrelid = format('%I.%I', p.schemaname, p.tablename)::regclass
                 and p.with_check ~ ('\(' || a.attname || ' = \( SELECT'))),
  null, 'the column of every policy is the first of an index');
select is((select array_agg(c.conrelid::regclass || ': ' || c.conname) from pg_constraint as c
           where c.contype = 'f' and c.connamespace in ('public'::regnamespace, 'private'::regnamespace)
             and not exists (select from pg_index as i where i.indrelid = c.conrelid and i.indkey[0] = c.conkey[1])
             and not exists (select from pg_index as i where i.indrelid = c.conrelid and c.conkey[1] = any (i.indkey) and i.indisprimary)),
  null, 'every foreign key is indexed');

select is((select array_agg(f.name) from tests.functions as f
           where exists (select from aclexplode(coalesce(f.proacl, acldefault('f', 10))) as a
                         where a.grantee = 0 and a.privilege_type = 'EXECUTE')),
  null, 'no function is granted to PUBLIC');
select is((select array_agg(r.name) from tests.relations as r
           where has_table_privilege('anon', r.oid, 'select, insert, update, delete, truncate, references, trigger')
             and r.name not in ('waste_categories', 'waste_factors', 'provinces', 'achievements', 'challenge_types', 'daily_challenges', 'leaderboard_monthly')),
  null, 'without a token only reference tables and boards can be read');
select is((select array_agg(r.name || ' ' || client) from tests.relations as r, unnest(array['anon', 'authenticated', 'service_role']) as client
           where has_table_privilege(client, r.oid, 'truncate, references, trigger')),
  null, 'no role of the API can truncate, or create triggers or foreign keys');

select is((select array_agg(name) from (
    select r.name from tests.relations as r where obj_description(r.oid, 'pg_class') is null
    union all select f.name from tests.functions as f where obj_description(f.oid, 'pg_proc') is null
    union all select t.typname from pg_type as t
      where t.typnamespace in ('public'::regnamespace, 'private'::regnamespace)
        and (t.typtype = 'd' or (t.typtype = 'c' and (select c.relkind from pg_class as c where c.oid = t.typrelid) = 'c'))
        and obj_description(t.oid, 'pg_type') is null
        and not exists (select from pg_depend as d where d.objid = t.oid and d.deptype = 'e')
    union all select n.nspname from pg_namespace as n where n.nspname = 'private' and obj_description(n.oid, 'pg_namespace') is null) as silent),
  null, 'every object has a comment');
select is((select array_agg(c.conname) from pg_constraint as c
           where c.contype = 'c' and c.connamespace = 'public'::regnamespace and c.conname ~ '_check[0-9]*$'),
  null, 'the name of every check states its rule');

select is((select array_agg(r.name || ' ' || change) from tests.relations as r, unnest(array['update', 'delete']) as change
           where r.relnamespace = 'public'::regnamespace
             and (has_table_privilege('authenticated', r.oid, change)
                  or change = 'update' and has_any_column_privilege('authenticated', r.oid, change))
             and not exists (
               select from pg_trigger as t
               where t.tgrelid = r.oid and t.tgfoid = 'private.tg_any__cap_rows'::regproc
                 and t.tgtype & case change when 'update' then 16 else 8 end > 0)),
  null, 'every table that clients may change or delete from limits the rows of a statement');

select results_eq(
  'select factor_set, category_id, method, name_th, name_en, credits_per_kg, kg_co2e_per_kg, basis from public.waste_factors order by 1, 2, 3',
  'select factor_set, category_id, method, name_th, name_en, credits_per_kg, kg_co2e_per_kg, basis from carbon.factors() order by 1, 2, 3',
  'waste_factors equals the factors of the extension');
select is((select count(*)::integer from cron.job as j where j.jobname like 'carbon_%' and j.active), 21, 'the jobs are scheduled');
select * from finish();
rollback;
