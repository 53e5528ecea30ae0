-- Who may listen to what is sent to people while it happens; private.send_messages() sends it.
-- Topics and events are in docs/decisions/0019-realtime.md.

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

-- Listening ---------------------------------------------------------------------------------
-- Realtime asks whether the person may read a message of the topic they want to join. The row's own topic is
-- compared, by equality: realtime.topic() is a setting, which everybody can set, and a pattern would let
-- somebody choose a topic that matches. So an id in capitals is another topic, which nobody is sent anything on: it is
-- refused. A session that has ended lets nobody in any more and renews nothing; what it has joined ends with its token.
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
-- Nobody takes part in community challenges yet, so nobody listens to community:{id}. There is no policy for
-- INSERT: only the database sends.
