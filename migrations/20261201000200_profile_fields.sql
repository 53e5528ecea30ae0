-- The user-editable profile fields, each a domain type, so that the domain crate's rule applies whether a value is
-- written by rpc, REST or SQL.
--
-- A domain check runs when a value is assigned, not when other columns of the row change, so stored values are not
-- checked again. PostgREST uses the cast from json on what the client sent, before any PostgreSQL type parses it: "2"
-- is not a level, 3.0 is an integer, and a name is normalised as by the rpc.

do $$
declare
  field record;
  messages text := current_setting('client_min_messages');
begin
  -- PostgreSQL warns that it ignores casts to domains; PostgREST uses them.
  perform set_config('client_min_messages', 'error', true);
  for field in
    select f.name, f.base, 'profile_' || f.name as type_name, f.meaning
    from (values
      ('username', 'text', '3 to 50 letters a-z, digits, dots, dashes, underscores; not one that could be taken for the service.'),
      ('display_name', 'text', 'A name of 1 to 100 visible characters in NFC.'),
      ('province', 'text', 'ISO 3166-2 code of a province of Thailand (TH-10).'),
      ('district', 'text', 'A name of 1 to 100 visible characters in NFC.'),
      ('privacy_level', 'smallint', '1, 2 or 3.'),
      ('visible_in_leaderboard', 'boolean', 'Whether the user may be listed on boards.'),
      ('onboarding_completed', 'boolean', 'Whether the user has completed the introduction.'),
      ('notification_settings', 'jsonb', 'An object of at most 30 switches.'),
      ('language', 'text', 'th or en.'),
      ('daily_goal', 'integer', 'Credits a day, 1 to 100,000.'),
      ('measurement_unit', 'text', 'kg, g or lb.'),
      ('theme', 'text', 'A short name of a-z, digits, dash, underscore.'),
      ('auto_sync', 'boolean', 'Whether devices synchronise automatically.')) as f (name, base, meaning)
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
                   'The field as it is stored, from the JSON that a client sent; null clears. 22023 with the field''s token.');
    execute format('create cast (json as public.%1$I) with function private.%1$I(json) as implicit', field.type_name);
    -- PostgREST finds casts as authenticator and calls them as the client's role.
    execute format('grant execute on function private.%I(json) to authenticator, authenticated, service_role', field.type_name);
  end loop;
  perform set_config('client_min_messages', messages, true);
end;
$$;
