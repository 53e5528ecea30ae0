select public.get_leaderboard('friends', :timeframe, page_size => 100);
