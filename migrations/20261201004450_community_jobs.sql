-- Jobs of community challenges, and the boards of the users that exist by now, which count contributions as well.

-- Rewards of a reached target: 20 slices of 2,000 a minute, each a transaction of its own.
select cron.schedule('carbon_community_rewards', '* * * * *', $job$
  do $$
  begin
    for turn in 1..20 loop
      exit when private.evaluate_community_rewards(2000) is null; commit;
    end loop;
  end;
  $$
$job$);
select cron.schedule('carbon_freeze_communities', '13 * * * *', $$select private.freeze_communities(1000)$$);

-- Add existing users to the boards.
select private.rebuild_boards();
