-- The fields of a profile that people write, each a domain: whoever writes one, by rpc, REST or SQL,
-- meets the domain crate's rule for it.
--
-- The check sees a value when it is assigned, not when other columns of its row change: what stands
-- there is not looked at again. The cast from json is how PostgREST hands over what a client sent,
-- before any type of PostgreSQL has read it: "2" is no level, 3.0 is a whole number, and a name is
-- kept as the rpc would keep it.

do $$
declare
  field record;
  messages text := current_setting('client_min_messages');
begin
  -- PostgreSQL warns that it does not use casts to domains itself; PostgREST does.
  perform set_config('client_min_messages', 'error', true);
  for field in
    select f.name, f.base, 'profile_' || f.name as type_name, f.meaning
    from (values
      ('username', 'text', '3 to 50 letters a-z, digits, dots, dashes, underscores; not one that passes for the service.'),
      ('display_name', 'text', 'A name of 1 to 100 characters in NFC that others can read.'),
      ('province', 'text', 'ISO 3166-2 code of a province of Thailand (TH-10).'),
      ('district', 'text', 'A name of 1 to 100 characters in NFC that others can read.'),
      ('privacy_level', 'smallint', '1, 2 or 3.'),
      ('visible_in_leaderboard', 'boolean', 'Whether the person may be listed on boards.'),
      ('onboarding_completed', 'boolean', 'Whether the introduction was gone through.'),
      ('notification_settings', 'jsonb', 'An object of at most 30 switches.'),
      ('language', 'text', 'th or en.'),
      ('daily_goal', 'integer', 'Credits a day, 1 to 100,000.'),
      ('measurement_unit', 'text', 'kg, g or lb.'),
      ('theme', 'text', 'A short name of a-z, digits, dash, underscore.'),
      ('auto_sync', 'boolean', 'Whether devices synchronise by themselves.')) as f (name, base, meaning)
  loop
    execute format(
      'create domain public.%I as %s constraint %I check (carbon.profile_field(%L, to_json(value)::text)::%s = value)',
      field.type_name, field.base, field.name || '_is_in_its_normal_form', field.name, field.base);
    execute format('comment on domain public.%I is %L', field.type_name, field.meaning);
    execute format(
      $function$
        create function private.%1$I(value json)
        returns public.%1$I
        language plpgsql immutable
        set search_path = ''
        as $body$
        begin
          return carbon.profile_field(%2$L, value::text);
        end;
        $body$
      $function$,
      field.type_name, field.name);
    execute format('comment on function private.%I(json) is %L', field.type_name,
                   'The field as it is kept, of the JSON that a client sent; null clears. 22023 with the field''s token.');
    execute format('create cast (json as public.%1$I) with function private.%1$I(json) as implicit', field.type_name);
    -- PostgREST looks for casts as authenticator and calls them as the client's role.
    execute format('grant execute on function private.%I(json) to authenticator, authenticated, service_role', field.type_name);
  end loop;
  perform set_config('client_min_messages', messages, true);
end;
$$;
