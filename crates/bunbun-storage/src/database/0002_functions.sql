-- What users' policies and queries call.

do $bunbun$ begin
  if to_regprocedure('storage.foldername(text)') is null then
    create function storage.foldername(name text) returns text[]
      language sql immutable
      return (string_to_array(name, '/'))[1:array_length(string_to_array(name, '/'), 1) - 1];
  end if;

  if to_regprocedure('storage.filename(text)') is null then
    create function storage.filename(name text) returns text
      language sql immutable
      return (string_to_array(name, '/'))[array_length(string_to_array(name, '/'), 1)];
  end if;

  if to_regprocedure('storage.extension(text)') is null then
    -- What follows the last dot of the last segment; the segment itself where it has no dot.
    create function storage.extension(name text) returns text
      language sql immutable
      return reverse(split_part(reverse(split_part(name, '/', -1)), '.', 1));
  end if;

  if to_regprocedure('storage.operation()') is null then
    create function storage.operation() returns text
      language sql stable
      return current_setting('storage.operation', true);
  end if;

  if to_regprocedure('storage.get_size_by_bucket()') is null then
    create function storage.get_size_by_bucket() returns table (size bigint, bucket_id text)
      language sql stable
      begin atomic
        select sum((o.metadata ->> 'size')::bigint)::bigint, o.bucket_id
        from storage.objects o group by o.bucket_id;
      end;
  end if;

  if to_regprocedure('storage.search(text,text,int,int,int,text,text,text)') is null then
    -- One level of a folder: folders have no id. `levels` is the level's number, from 1.
    create function storage.search(
      prefix text, bucketname text, limits int default 100, levels int default 1,
      offsets int default 0, search text default '', sortcolumn text default 'name',
      sortorder text default 'asc'
    ) returns table (
      name text, id uuid, updated_at timestamptz, created_at timestamptz,
      last_accessed_at timestamptz, metadata jsonb
    ) language plpgsql stable as $$
    declare
      wanted text := case when lower(sortcolumn) in ('updated_at', 'created_at', 'last_accessed_at')
                     then lower(sortcolumn) else 'name' end;
      direction text := case when lower(sortorder) = 'desc' then 'desc' else 'asc' end;
    begin
      return query execute format($sql$
        select found.name, found.id, found.updated_at, found.created_at, found.last_accessed_at,
               found.metadata
        from (
          select o.path_tokens[$4] as name, null::uuid as id, null::timestamptz as updated_at,
                 null::timestamptz as created_at, null::timestamptz as last_accessed_at,
                 null::jsonb as metadata
          from storage.objects o
          where o.bucket_id = $2 and starts_with(lower(o.name), lower($1 || $6))
            and array_length(o.path_tokens, 1) > $4
          group by 1
          union all
          select o.path_tokens[$4], o.id, o.updated_at, o.created_at, o.last_accessed_at, o.metadata
          from storage.objects o
          where o.bucket_id = $2 and starts_with(lower(o.name), lower($1 || $6))
            and array_length(o.path_tokens, 1) = $4
        ) found
        order by (found.id is null or %1$L = 'name') desc, found.%1$I %2$s, found.name %2$s
        limit $3 offset $5
      $sql$, wanted, direction)
      using coalesce(prefix, ''), bucketname, least(coalesce(limits, 100), 1500), levels,
            coalesce(offsets, 0), coalesce(search, '');
    end $$;
  end if;

  if to_regprocedure('storage.list_objects_with_delimiter(text,text,text,int,text,text)') is null
     and to_regprocedure('storage.list_objects_with_delimiter(text,text,text,int,text,text,text)') is null
  then
    create function storage.list_objects_with_delimiter(
      bucket_id text, prefix_param text, delimiter_param text, max_keys int default 100,
      start_after text default '', next_token text default ''
    ) returns table (name text, id uuid, metadata jsonb, updated_at timestamptz)
    language sql stable
    begin atomic
      select distinct on (item.name collate "C")
             item.name, case when item.folder then null else o.id end,
             case when item.folder then null else o.metadata end,
             case when item.folder then null else o.updated_at end
      from storage.objects o,
      lateral (select strpos(substr(o.name, length(prefix_param) + 1), delimiter_param) as at) cut,
      lateral (
        select cut.at > 0 as folder,
               case when cut.at > 0 then substr(o.name, 1, length(prefix_param) + cut.at)
               else o.name end as name
      ) item
      where o.bucket_id = list_objects_with_delimiter.bucket_id
        and starts_with(o.name, prefix_param)
        and item.name collate "C" > coalesce(nullif(next_token, ''), start_after)
      order by item.name collate "C"
      limit max_keys;
    end;
  end if;

  if to_regprocedure('storage.protect_delete()') is null then
    create function storage.protect_delete() returns trigger language plpgsql as $$
    begin
      if coalesce(current_setting('storage.allow_delete_query', true), 'false') <> 'true' then
        raise exception 'Direct deletion from storage tables is not allowed. Use the Storage API instead.'
          using errcode = '42501',
                hint = 'The row would go and the bytes stay; set storage.allow_delete_query to ''true'' to do it all the same.';
      end if;
      return null;
    end $$;
  end if;

  if to_regprocedure('storage.update_updated_at_column()') is null then
    create function storage.update_updated_at_column() returns trigger language plpgsql as $$
    begin
      new.updated_at = now();
      return new;
    end $$;
  end if;
end $bunbun$;

do $bunbun$
declare
  place text;
begin
  foreach place in array array['buckets', 'objects', 's3_multipart_uploads', 's3_multipart_uploads_parts']
  loop
    if not exists (
      select from pg_trigger
      where tgrelid = format('storage.%I', place)::regclass and tgname = format('protect_%s_delete', place)
    ) then
      execute format(
        'create trigger %I before delete on storage.%I for each statement execute function storage.protect_delete()',
        format('protect_%s_delete', place), place);
    end if;
  end loop;
  if not exists (
    select from pg_trigger
    where tgrelid = 'storage.objects'::regclass and tgname = 'update_objects_updated_at'
  ) then
    create trigger update_objects_updated_at before update on storage.objects
      for each row execute function storage.update_updated_at_column();
  end if;
end $bunbun$;

grant execute on all functions in schema storage to anon, authenticated, service_role;
