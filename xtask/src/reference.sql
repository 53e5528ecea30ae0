-- docs/reference/sql.md as one text: the database as a caller sees it, from the catalog and its comments.
-- Run by `cargo xtask docs`, which writes the file, and by tests/js/reference.test.mjs, which compares it.
with cell as (
  -- A row of a Markdown table must be one line, and a bar would end a cell.
  select c.objoid, c.classoid, c.objsubid, replace(regexp_replace(c.description, '\s+', ' ', 'g'), '|', '\|') as text
  from pg_catalog.pg_description as c
),
roles as (
  select r.oid, r.rolname from pg_catalog.pg_roles as r where r.rolname in ('anon', 'authenticated', 'service_role')
),
relation as (
  select c.oid, c.relname as name, case c.relkind when 'r' then 'table' when 'v' then 'view' when 'm' then 'materialized view' else 'partitioned table' end as kind,
         cell.text as comment,
         (select string_agg('`' || r.rolname || '`', ', ' order by r.rolname) from roles as r
          where has_any_column_privilege(r.oid, c.oid, 'select')) as readers
  from pg_catalog.pg_class as c
  left join cell on cell.objoid = c.oid and cell.classoid = 'pg_catalog.pg_class'::regclass and cell.objsubid = 0
  where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'v', 'm', 'p') and not c.relispartition
    and not exists (select from pg_catalog.pg_depend as d where d.objid = c.oid and d.deptype = 'e')
),
relation_text as (
  select r.name,
         format(E'### `%s` (%s)\n\n%s Read by %s.\n\n| column | type | meaning |\n|---|---|---|\n%s', r.name, r.kind, r.comment,
                coalesce(r.readers, 'none of the API''s roles'),
                (select string_agg(format('| `%s` | %s | %s |', a.attname, format_type(a.atttypid, a.atttypmod), coalesce(cell.text, '')), E'\n' order by a.attnum)
                 from pg_catalog.pg_attribute as a
                 left join cell on cell.objoid = r.oid and cell.classoid = 'pg_catalog.pg_class'::regclass and cell.objsubid = a.attnum
                 where a.attrelid = r.oid and a.attnum > 0 and not a.attisdropped)) as text
  from relation as r
),
domain as (
  select t.typname as name,
         format('| `%s` | %s | %s |', t.typname, format_type(t.typbasetype, t.typtypmod), coalesce(cell.text, '')) as text
  from pg_catalog.pg_type as t
  left join cell on cell.objoid = t.oid and cell.classoid = 'pg_catalog.pg_type'::regclass
  where t.typnamespace = 'public'::regnamespace and t.typtype = 'd'
    and not exists (select from pg_catalog.pg_depend as d where d.objid = t.oid and d.deptype = 'e')
),
routine as (
  select n.nspname as schema, p.proname as name,
         format(E'### `%s.%s`\n\n```sql\n%s.%s(%s) → %s\n```\n\n%s Called by %s.', n.nspname, p.proname, n.nspname, p.proname,
                pg_get_function_arguments(p.oid), pg_get_function_result(p.oid), cell.text,
                coalesce((select string_agg('`' || r.rolname || '`', ', ' order by r.rolname) from roles as r
                          where has_function_privilege(r.oid, p.oid, 'execute')), 'none of the API''s roles')) as text,
         pg_get_function_identity_arguments(p.oid) as arguments
  from pg_catalog.pg_proc as p
  join pg_catalog.pg_namespace as n on n.oid = p.pronamespace
  left join cell on cell.objoid = p.oid and cell.classoid = 'pg_catalog.pg_proc'::regclass
  where (n.nspname = 'public' and not exists (select from pg_catalog.pg_depend as d where d.objid = p.oid and d.deptype = 'e')
         or n.nspname = 'carbon')
    -- Bodies of the extension's own aggregates and triggers are not for callers.
    and p.prorettype not in ('pg_catalog.trigger'::regtype, 'pg_catalog.event_trigger'::regtype)
    and p.prokind in ('f', 'a')
)
select concat_ws(E'\n\n',
  '# SQL reference',
  'Tables, views and functions of the schema `public`, which clients reach by `/rest/v1` and `/rest/v1/rpc`, and the functions of the extension in the schema `carbon`. '
    'The schema `private` is not reachable and not listed. Row-level security decides which rows a role sees, and column grants which columns; the matrix in `supabase/tests/` states both.',
  '`cargo xtask docs` writes this page from the `COMMENT ON` of a running database: change the comment, not the page. A test compares the two.',
  '## Tables and views of `public`',
  (select string_agg(r.text, E'\n\n' order by r.name collate "C") from relation_text as r),
  '## Domains of `public`',
  E'| domain | type | meaning |\n|---|---|---|\n' || (select string_agg(d.text, E'\n' order by d.name collate "C") from domain as d),
  '## Functions of `public`',
  (select string_agg(r.text, E'\n\n' order by r.name collate "C", r.arguments collate "C") from routine as r where r.schema = 'public'),
  '## Functions of `carbon`',
  (select string_agg(r.text, E'\n\n' order by r.name collate "C", r.arguments collate "C") from routine as r where r.schema = 'carbon')
) as page;
