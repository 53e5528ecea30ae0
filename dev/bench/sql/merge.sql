select public.merge_accounts(md5('from ' || :round)::uuid, md5('into ' || :round)::uuid);
