-- One row per listen that stays, in the order of the table plays: its record, seq and started_at.
--
-- A package is the folder of a file and the file's name without its years and numbers. Packages of
-- one user overlap: for each (user, end minute, track, ms_played) as many plays stay as the package
-- with the most of them has, taken from second-resolution packages first. Nothing else is
-- deduplicated.
--
-- An end is cut to its minute or second, so a start (end - ms_played) can lie up to that much before
-- the end of the play before it: it is clamped to that end, never beyond its own. Within a minute the
-- place in the file is no order (real exports list a skip before the whole track that preceded it),
-- but the play that started first is: at one end, longer plays come first, then file and place.
-- Then each user's plays are in the order of their start, end, file and place: one rule for users
-- with either resolution or both. Starts never decrease along seq.
--
-- valid_plays: Plays with `record`, the row's number, and `settled`: a play that was put in order
-- before, by ends that no other play here touches. It keeps its start and was merged with all it may be.
-- plays_before: of each user the number of plays that come before all of these, and the latest end
-- before those that are not settled.
with files as (
    select
        file,
        dense_rank() over (
            order by parse_dirpath(file), regexp_replace(file, '[0-9_-]*( \([0-9]+\))?\.json$', '')
        ) as family,
        -- numbers in names count as numbers: 10 comes after 9
        row_number() over (
            order by
                list_transform(
                    regexp_extract_all(file, '[0-9]+|[^0-9]+'),
                    lambda part: case
                        when part[1] between '0' and '9' then lpad(part, 20, '0') else part
                    end
                ),
                file
        ) as file_rank
    from (select distinct file from valid_plays) as named
),

users as (
    select
        named.user_id,
        coalesce(plays_before.plays, 0) as plays_before,
        plays_before.last_end,
        row_number() over (order by named.user_id) as listener
    from (select distinct user_id from valid_plays) as named
    left join plays_before on named.user_id = plays_before.user_id
),

numbers as (
    select
        valid_plays.record,
        valid_plays.settled,
        users.listener,
        users.plays_before,
        users.last_end,
        valid_plays.resolution = 'minute' as coarse,
        files.family as package,
        files.file_rank,
        valid_plays.position,
        epoch_ms(valid_plays.started_at) as started,
        epoch_ms(valid_plays.ended_at) as ended,
        epoch_ms(valid_plays.ended_at) // 60000 as end_minute,
        -- of 64 bits: one number is grouped and sorted rather than four
        hash(
            users.listener,
            epoch_ms(valid_plays.ended_at) // 60000,
            valid_plays.track_id,
            valid_plays.ms_played
        ) as listen
    from valid_plays
    inner join users on valid_plays.user_id = users.user_id
    inner join files on valid_plays.file = files.file
),

spans as (
    select
        listener,
        package,
        min(end_minute) as first_minute,
        max(end_minute) as last_minute
    from numbers
    where not settled
    group by listener, package
),

shared as (
    select
        spans.listener,
        spans.package,
        min(greatest(spans.first_minute, others.first_minute)) as first_minute,
        max(least(spans.last_minute, others.last_minute)) as last_minute
    from spans
    inner join spans as others on spans.listener = others.listener and spans.package <> others.package
    group by spans.listener, spans.package
),

placed as (
    select
        numbers.*,
        row_number() over in_package as place,
        count(*) over (in_package rows between unbounded preceding and unbounded following) as plays
    from numbers
    inner join shared
        on
            numbers.listener = shared.listener
            and numbers.package = shared.package
            and numbers.end_minute between shared.first_minute and shared.last_minute
    window in_package as (
        partition by numbers.listen, numbers.package
        order by numbers.ended, numbers.file_rank, numbers.position
    )
),

again as (
    select record from placed
    qualify
        row_number() over (
            partition by listen, place order by coarse asc, plays desc, package asc
        ) > 1
),

merged as (
    select * exclude (listen, end_minute)
    from numbers
    where numbers.record not in (select again.record from again)
),

clamped as (
    select
        *,
        coalesce(
            lag(ended) over (
                partition by listener
                order by ended, coarse, started, file_rank, position
            ),
            last_end
        ) as previous_end,
        case when coarse then 60000 else 1000 end as cut
    from merged
    where not settled
),

started as (
    select
        record,
        listener,
        plays_before,
        ended,
        coarse,
        file_rank,
        position,
        case
            when previous_end is not null and (coarse or previous_end - started < cut)
                then greatest(started, least(ended, previous_end))
            else started
        end as start
    from clamped
    union all
    select record, listener, plays_before, ended, coarse, file_rank, position, started as start
    from merged
    where settled
),

ordered as (
    select
        record,
        listener,
        start,
        plays_before + row_number() over (
            partition by listener
            order by start, ended, coarse, file_rank, position
        ) - 1 as seq
    from started
),

plays as (
    select
        record,
        seq,
        make_timestamptz(start * 1000) as started_at
    from ordered
    order by start, listener, seq
)

select * from plays
