-- Categories, methods, factors and provinces as tables, for clients that read them by REST. The extension's compiled
-- figures are authoritative: these rows are generated from them, and a test compares the two.

create table public.waste_categories (
  id text primary key,
  name_th text not null,
  name_en text not null,
  icon text not null,
  color text not null,
  "position" integer not null
);
comment on table public.waste_categories is
  'Waste categories in display order. Generated from carbon.categories(); never edited by hand.';

create table public.waste_factors (
  factor_set text not null,
  category_id text not null references public.waste_categories (id),
  method text not null,
  name_th text not null,
  name_en text not null,
  credits_per_kg integer not null,
  kg_co2e_per_kg numeric not null,
  basis text not null,
  primary key (factor_set, category_id, method)
);
comment on table public.waste_factors is
  'Credits and emissions per kilogram for each category and method, by factor set. Generated from carbon.factors(); never edited by hand.';
comment on column public.waste_factors.credits_per_kg is 'Credits per kilogram.';
comment on column public.waste_factors.kg_co2e_per_kg is 'Kilograms CO2e per kilogram of waste.';
comment on column public.waste_factors.basis is
  'Whether the figure is published or assumed, and the reason if assumed.';
create index waste_factors_category on public.waste_factors (category_id);

create table public.provinces (
  iso text primary key,
  code integer not null unique,
  name_th text not null,
  name_en text not null
);
comment on table public.provinces is
  'The 77 provinces of Thailand by ISO 3166-2 code. Generated from carbon.provinces().';

alter table public.waste_categories enable row level security;
alter table public.waste_factors enable row level security;
alter table public.provinces enable row level security;
create policy "everybody reads the categories" on public.waste_categories
  for select to anon, authenticated using (true);
create policy "everybody reads the factors" on public.waste_factors
  for select to anon, authenticated using (true);
create policy "everybody reads the provinces" on public.provinces
  for select to anon, authenticated using (true);
grant select on public.waste_categories, public.waste_factors, public.provinces
  to anon, authenticated, service_role;

create function private.refresh_waste_reference()
returns void
language plpgsql
set search_path = ''
as $$
begin
  insert into public.waste_categories as t (id, name_th, name_en, icon, color, "position")
  select c.id, c.name_th, c.name_en, c.icon, c.color, c."position" from carbon.categories() as c
  on conflict (id) do update
    set (name_th, name_en, icon, color, "position")
      = (excluded.name_th, excluded.name_en, excluded.icon, excluded.color, excluded."position");

  insert into public.waste_factors as t
    (factor_set, category_id, method, name_th, name_en, credits_per_kg, kg_co2e_per_kg, basis)
  select f.factor_set, f.category_id, f.method, f.name_th, f.name_en, f.credits_per_kg, f.kg_co2e_per_kg, f.basis
  from carbon.factors() as f
  on conflict (factor_set, category_id, method) do update
    set (name_th, name_en, credits_per_kg, kg_co2e_per_kg, basis)
      = (excluded.name_th, excluded.name_en, excluded.credits_per_kg, excluded.kg_co2e_per_kg, excluded.basis);

  insert into public.provinces as t (iso, code, name_th, name_en)
  select p.iso, p.code, p.name_th, p.name_en from carbon.provinces() as p
  on conflict (iso) do update
    set (code, name_th, name_en) = (excluded.code, excluded.name_th, excluded.name_en);
end;
$$;
comment on function private.refresh_waste_reference() is
  'Writes the extension''s compiled figures to the reference tables. A migration must call it after an update of the extension.';
do $$ begin perform private.refresh_waste_reference(); end $$;
