select public.get_leaderboard('province', 'weekly', 'TH-10', page_size => 100);
