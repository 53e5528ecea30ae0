select * from public.waste_entries order by logged_at desc, id desc limit 20;
