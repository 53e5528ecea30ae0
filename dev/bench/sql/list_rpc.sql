select public.list_waste_entries();
