-- Who may receive Realtime messages, which private.send_messages() sends. Topics and events are in
-- docs/decisions/0019-realtime.md.

do $$
begin
  if to_regclass('realtime.messages') is null then
    raise exception using
      errcode = 'undefined_table',
      message = 'The table realtime.messages is not in this database.',
      hint = 'Start Supabase Realtime once: it makes its own tables (supabase/bootstrap.sql does it for a local database).';
  end if;
end;
$$;

-- Receiving ---------------------------------------------------------------------------------
-- Realtime checks whether the user may read a message of the topic they join. The policy compares the row's own
-- topic, by equality: realtime.topic() is a setting, which any client could set, and a pattern would let a client
-- choose a topic that matches. So an id in capitals is another topic, to which nothing is ever sent: it is refused. A
-- session that has ended can no longer join or renew; what it has joined ends with its token.
create policy "people listen to their own topics" on realtime.messages
for select to authenticated
using (
  extension = 'broadcast'
  and (select carbon.is_session_live())
  and topic = any (array[
    'user:' || (select auth.uid()) || ':gamification',
    'user:' || (select auth.uid()) || ':challenges',
    'user:' || (select auth.uid()) || ':friends'
  ])
);
create policy "signed-in people listen to the shared topic" on realtime.messages
for select to authenticated
using (
  extension = 'broadcast'
  and (select carbon.is_session_live())
  and topic = 'leaderboard:live'
);
-- Participants of a community challenge listen to its topic by a policy beside the table (…4400_community.sql). There is
-- no policy for INSERT: only the database sends.
