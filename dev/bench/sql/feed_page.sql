select public.get_feed(50, nullif(:cursor::text, 'none'));
