"""One listener's plays in time order: the compiled loop at the heart of the world.

Every listener has a random stream of their own, so that the world is the same however listeners are
shared out among threads.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

STARTS = ("clickrow", "trackdone", "fwdbtn", "backbtn", "playbtn", "appload", "remote", "unknown")
ENDS = (
    "trackdone", "fwdbtn", "endplay", "backbtn", "trackerror", "unexpected-exit",
    "unexpected-exit-while-paused", "logout",
)  # fmt: skip
# How a track came up; a real export does not show it, KKBox does.
ORIGINS = ("library", "playlist", "discovery", "radio", "artist", "album", "search", "friend")

CLICKROW, TRACKDONE_BEFORE, FWDBTN_BEFORE, BACKBTN_BEFORE, PLAYBTN, APPLOAD, REMOTE, UNKNOWN = range(8)
TRACKDONE, FWDBTN, ENDPLAY, BACKBTN, TRACKERROR, EXIT, EXIT_PAUSED, LOGOUT = range(8)
LIBRARY, PLAYLIST, DISCOVERY, RADIO, ARTIST, ALBUM, SEARCH, FRIEND = range(8)
EPISODE = -1  # the track of a play that is a podcast's episode

SESSION_GAP = 30 * 60_000
DAY = 86_400_000
REFERENCE_PLAYS_A_DAY = 79.0  # of the real listener that the lags were read from
Array = NDArray[Any]


class Music(NamedTuple):
    """The catalogue as arrays; artists of genre ``g`` are ``by_genre[genre_first[g]:genre_first[g + 1]]``."""

    first: Array
    size: Array
    artist: Array
    duration: Array
    quality: Array  # of a track and its artist together, logit
    shape: Array
    genre: Array  # of an artist
    genre_first: Array
    by_genre: Array
    cumulative: Array  # popularity within the genre, in the order of by_genre


class People(NamedTuple):
    """The listeners as arrays, one row each."""

    seed: Array
    first_play: Array
    plays: Array
    offset: Array
    scalars: Array  # patience, curiosity, shuffles, binges, podcasts, offline
    hours: Array
    weekdays: Array
    genres: Array
    liking: Array
    tastes: Array
    devices: Array
    outage_first: Array
    outages: Array


class Log(NamedTuple):
    """What happened, one row a play; rows past a listener's last play keep ``ended`` 0."""

    ended: Array
    ms_played: Array
    track: Array
    probability: Array
    start: Array
    end: Array
    platform: Array
    shuffle: Array
    offline: Array
    origin: Array
    connection_errors: Array
    playback_errors: Array


class Memory(NamedTuple):
    """One listener's memory of each track; wiped for the next listener."""

    count: Array
    last: Array  # end of the latest play, ms
    heat: Array  # plays lately, halved every day since the latest


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def listen(
    low: int, high: int, music: Music, people: People, log: Log, days: int, start_ms: int, weekday: int
) -> None:
    """Fill ``log`` for the listeners ``low`` to ``high - 1``; ``weekday`` (0 Monday) is that of the first day."""
    tracks = len(music.artist)
    memory = Memory(np.zeros(tracks, np.int32), np.zeros(tracks, np.int64), np.zeros(tracks, np.float32))
    for user in range(low, high):
        np.random.seed(people.seed[user])
        starts, lengths = _sessions(user, people, days, start_ms, weekday)
        _life(user, starts, lengths, music, people, log, memory, start_ms + days * DAY)
        first = people.first_play[user]
        for row in range(first, first + people.plays[user]):
            track = log.track[row]
            if track >= 0:
                memory.count[track] = 0
                memory.last[track] = 0
                memory.heat[track] = 0.0


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _sessions(
    user: int, people: People, days: int, start_ms: int, weekday: int
) -> tuple[Array, Array]:
    """Starts (ms, sorted) and lengths (plays, summing to the listener's plays) of the sessions."""
    left = people.plays[user]
    lengths = np.empty(left, np.int64)
    count = 0
    while left > 0:
        if np.random.random() < 0.05:
            length = 1
        else:
            length = 1 + int(np.random.gamma(0.85, 28.0))
        lengths[count] = min(length, left)
        left -= lengths[count]
        count += 1
    cumulative = np.empty(days)
    total = 0.0
    for day in range(days):
        total += np.random.gamma(2.5, 1.0) * people.weekdays[user, (weekday + day) % 7]
        cumulative[day] = total
    starts = np.empty(count, np.int64)
    taken = np.zeros(days * 24, np.bool_)
    for session in range(count):
        slot = 0
        for _ in range(8):  # sessions that would run into each other are moved, while there is room
            day = np.searchsorted(cumulative, np.random.random() * total)
            slot = day * 24 + min(np.searchsorted(people.hours[user], np.random.random()), 23)
            if not taken[slot]:
                break
        taken[slot : slot + 1 + lengths[session] // 28] = True
        starts[session] = start_ms + int((slot + np.random.random()) * 3_600_000)
    return np.sort(starts), lengths[:count]


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _life(
    user: int, starts: Array, lengths: Array, music: Music, people: People, log: Log, memory: Memory,
    horizon: int,
) -> None:  # fmt: skip
    patience, curiosity, shuffles, binges, podcasts, goes_offline = people.scalars[user]
    first = people.first_play[user]
    row = first
    now = 0
    lag = 7.35 + np.log(people.plays[user] / ((horizon - starts[0]) / DAY + 1) / REFERENCE_PLAYS_A_DAY)
    outage = people.outage_first[user]
    for session in range(len(starts)):
        now = max(starts[session], now + SESSION_GAP + 60_000 + int(np.random.exponential(600_000)))
        local = (now + people.offset[user]) // 3_600_000 % 24
        kind = _device(local)
        shuffle = np.random.random() < shuffles * (1.2 if kind == 0 else 0.9)
        offline = kind == 0 and np.random.random() < goes_offline
        mood = np.random.normal(0.0, 0.35)
        browsing = np.random.random() < 0.4
        run_left, run_origin = 0, ARTIST
        skips, dones, flicked = 0, 0, False
        track, reason = -2, -1
        for position in range(lengths[session]):
            start = _reason_start(reason)
            now += _gap(reason)
            browsing = _attention(browsing, start)
            if position + 1 == lengths[session] and position > 0 and np.random.random() < podcasts:
                ms = int(np.random.uniform(2, 40) * 60_000)
                now = (now + ms + 999) // 1000 * 1000
                if now > horizon:
                    return
                log.track[row], log.ms_played[row], log.ended[row] = EPISODE, ms, now
                log.start[row], log.platform[row] = CLICKROW, people.devices[user, kind]
                log.end[row] = TRACKDONE if np.random.random() < 0.5 else ENDPLAY
                log.offline[row] = offline
                row += 1
                continue
            # what comes up
            if reason == TRACKDONE and np.random.random() < binges:
                origin = LIBRARY
            elif run_left > 0 and track >= 0:
                run_left -= 1
                origin = run_origin
                track = _of_artist(music.artist[track], track, now, music, memory)
            else:
                played = row - first
                if np.random.random() < curiosity:
                    origin = _discovered()
                    track = _unheard(user, played, lag, 1, first, music, people, log, memory)
                else:
                    track = _recalled(user, played, lag, now, first, music, people, log, memory)
                    origin = LIBRARY if np.random.random() < 0.65 else PLAYLIST
                    if track < 0:  # an acquaintance from before the log began
                        track = _unheard(user, played, lag, 4, first, music, people, log, memory)
                        if np.random.random() < 0.12:
                            origin = SEARCH
                if start in (CLICKROW, PLAYBTN) and np.random.random() < 0.36:
                    run_left = int(np.random.exponential(9.0))
                    run_origin = ARTIST if np.random.random() < 0.5 else ALBUM
            # how likely it is heard out
            affinity = _affinity(user, track, music, people)
            elapsed = (now - memory.last[track]) / DAY
            heat = memory.heat[track] * 0.5**elapsed if memory.count[track] > 0 else 0.0
            while (
                outage < people.outage_first[user + 1] - 1 and people.outages[outage, 1] < now
            ):
                outage += 1
            severity = 0.0 if offline else _severity(outage, people.outage_first[user + 1], now, people)
            logit = -0.18 + 0.8 * (patience + mood + affinity) + (-0.8 if browsing else 0.6)
            logit += _context(start, skips, dones, position, shuffle, kind, local)
            logit += -0.55 if memory.count[track] == 0 else 0.09 * min(np.log2(memory.count[track]), 4.0)
            logit -= 0.4 * np.log2(1.0 + heat)
            logit -= 1.5 * severity
            heard_out = 1.0 / (1.0 + np.exp(-logit))
            cut = 0.006 + 0.12 * severity
            # what happens
            broke = np.random.random() < cut
            done = not broke and np.random.random() < heard_out
            duration = music.duration[track]
            if done:
                ms = duration if np.random.random() < 0.9 else duration - int(np.random.random() * 900)
                reason, skips, dones, flicked = TRACKDONE, 0, dones + 1, False
            elif broke:
                ms = int(np.random.random() * duration)
                if np.random.random() < severity * 0.9:
                    reason = TRACKERROR
                else:
                    reason = EXIT + int(np.random.random() * 3)
            else:
                ms = _skipped_after(skips, flicked, duration)
                flicked = ms == 0
                draw = np.random.random()
                reason = FWDBTN if draw < 0.82 else (ENDPLAY if draw < 0.96 else BACKBTN)
                skips, dones = skips + 1, 0
            now = (now + ms + 999) // 1000 * 1000  # the log knows whole seconds
            if now > horizon:
                return
            memory.count[track] += 1
            memory.last[track] = now
            memory.heat[track] = heat + (1.0 if ms >= 30_000 else 0.4)
            log.ended[row], log.ms_played[row], log.track[row] = now, ms, track
            log.probability[row] = (1.0 - cut) * heard_out
            log.start[row], log.end[row], log.origin[row] = start, reason, origin
            log.platform[row] = people.devices[user, kind]
            log.shuffle[row], log.offline[row] = shuffle, offline
            if not offline:
                log.connection_errors[row] = min(np.random.poisson(0.008 + 1.3 * severity), 100)
            playback = 1 if reason == TRACKERROR else 0
            log.playback_errors[row] = playback + (1 if np.random.random() < 0.001 + 0.1 * severity else 0)
            row += 1


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _attention(browsing: bool, start: int) -> bool:
    """Whether the listener now looks for something else to hear: a state that lasts, and shows only in
    what was skipped.
    """
    if browsing:
        return bool(np.random.random() > (0.4 if start in (CLICKROW, PLAYBTN) else 0.06))
    return bool(np.random.random() < 0.055)


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _affinity(user: int, track: int, music: Music, people: People) -> float:
    """How the listener likes the track, logit: quality, genre, sound, and what no feature explains."""
    artist = music.artist[track]
    value = music.quality[track] + people.liking[user, music.genre[artist]]
    for axis in range(4):
        value += people.tastes[user, axis] * music.shape[track, axis]
    seed = np.uint64(people.seed[user])
    value += 0.4 * _normal(seed, np.uint64(artist) + np.uint64(1 << 40))
    return value + 0.5 * _normal(seed, np.uint64(track))  # type: ignore[no-any-return]


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _normal(seed: Any, item: Any) -> float:
    """Near-normal number fixed by (seed, item): the sum of four uniform ones, scaled to variance 1."""
    state = (seed << np.uint64(20)) ^ (item * np.uint64(0x9E3779B97F4A7C15))
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    state = state ^ (state >> np.uint64(31))
    total = 0.0
    for part in range(4):
        total += float((state >> np.uint64(16 * part)) & np.uint64(0xFFFF))
    return (total / 65535.0 - 2.0) * 1.7320508


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _context(
    start: int, skips: int, dones: int, position: int, shuffle: bool, kind: int, local: int
) -> float:
    """What the moment adds, logit: run of skips, choice, place in the session, shuffle, device, hour."""
    chosen = start in (CLICKROW, PLAYBTN)
    value = 0.6 if chosen else (-0.25 if start == BACKBTN_BEFORE else 0.0)
    if skips > 0:
        value -= (1.35 + 0.15 * min(skips - 1, 4)) * (0.5 if chosen else 1.0)
    else:
        value += 0.1 * min(dones, 5)
    value += 0.012 * min(position, 25) - (0.35 if shuffle else 0.0)
    value += -0.12 if kind == 0 else (0.12 if kind == 1 else 0.5)
    if local in (7, 8, 17):
        value -= 0.3
    elif local >= 22 or local < 5:
        value += 0.3
    return value


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _recalled(
    user: int, played: int, lag: float, now: int, first: int, music: Music, people: People, log: Log,
    memory: Memory,
) -> int:  # fmt: skip
    """A track heard some plays ago (the lag is lognormal), better liked ones rather; -1: none that old."""
    track = -1
    for _ in range(6):
        back = 2 + int(np.exp(np.random.normal(lag, 1.8)))
        if back > played:
            return -1
        row = first + played - back
        track = log.track[row]
        if track < 0 or now - memory.last[track] < 45 * 60_000:
            continue
        liked = 1.0 / (1.0 + np.exp(-(0.4 + 1.0 * _affinity(user, track, music, people))))
        if np.random.random() < liked * (1.0 if log.end[row] == TRACKDONE else 0.75):
            return int(track)
    return int(track)


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _unheard(
    user: int, played: int, lag: float, tries: int, first: int, music: Music, people: People, log: Log,
    memory: Memory,
) -> int:  # fmt: skip
    """The best liked of ``tries`` tracks, rather new ones: by known artists or of the user's genres."""
    best, best_affinity = -1, -1e9
    for _ in range(tries):
        artist = -1
        if played > 0 and np.random.random() < 0.6:
            back = min(1 + int(np.exp(np.random.normal(lag, 1.8))), played)
            known = log.track[first + played - back]
            if known >= 0:
                artist = music.artist[known]
        if artist < 0:
            genre = min(np.searchsorted(people.genres[user], np.random.random()), len(music.genre_first) - 2)
            low, high = music.genre_first[genre], music.genre_first[genre + 1]
            place = low + np.searchsorted(music.cumulative[low:high], np.random.random())
            artist = music.by_genre[min(place, high - 1)]
        track = -1
        for _ in range(4):
            track = music.first[artist] + int(music.size[artist] * np.random.random() ** 1.6)
            if memory.count[track] == 0:
                break
        affinity = _affinity(user, track, music, people)
        if memory.count[track] > 0:  # all of this artist seems to be known
            affinity -= 5.0
        if affinity > best_affinity:
            best, best_affinity = track, affinity
    return best


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _of_artist(artist: int, previous: int, now: int, music: Music, memory: Memory) -> int:
    """Another track of the artist, not heard in the last hour if there is one to be found."""
    track = previous
    for _ in range(4):
        track = music.first[artist] + int(music.size[artist] * np.random.random() ** 1.3)
        if memory.count[track] == 0 or now - memory.last[track] > 3_600_000:
            break
    return int(track)


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _discovered() -> int:
    draw = np.random.random()
    return DISCOVERY if draw < 0.6 else (RADIO if draw < 0.8 else (SEARCH if draw < 0.9 else FRIEND))


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _device(local: int) -> int:
    draw = np.random.random()
    desktop = 0.5 if 9 <= local < 18 else 0.2
    return 1 if draw < desktop else (2 if draw < desktop + 0.12 else 0)


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _reason_start(reason: int) -> int:
    """Why a play starts: as the one before it ended, or, at a session's start (-1), by a choice."""
    if reason == TRACKDONE:
        return TRACKDONE_BEFORE if np.random.random() < 0.96 else CLICKROW
    if reason == FWDBTN:
        return FWDBTN_BEFORE
    if reason == BACKBTN:
        return BACKBTN_BEFORE
    if reason == ENDPLAY:
        return CLICKROW
    if reason == TRACKERROR:
        return UNKNOWN
    if reason >= EXIT:
        return APPLOAD
    draw = np.random.random()
    return CLICKROW if draw < 0.6 else (PLAYBTN if draw < 0.8 else (APPLOAD if draw < 0.93 else REMOTE))


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _gap(reason: int) -> int:
    """Milliseconds of silence before a play."""
    if reason == -1:
        return 0
    if reason == TRACKDONE:
        if np.random.random() < 0.975:
            return int(np.random.random() * 200)
        return min(int(np.random.exponential(180_000)), 1_500_000)
    if reason in (FWDBTN, BACKBTN):
        return 150 + int(np.random.exponential(600))
    return 1_000 + min(int(np.random.exponential(6_000)), 600_000)


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _skipped_after(skips: int, flicked: bool, duration: int) -> int:
    """Milliseconds until a skip; who skips in a row skips faster, and flicking through goes on."""
    nothing = 0.66 if flicked else 0.13
    late = 0.30 if skips == 0 else 0.11
    draw = np.random.random()
    if draw < nothing:
        return 0
    if draw > 1.0 - late:
        return int(min(30_000, duration * 0.5) + np.random.random() * (0.85 * duration - min(30_000, duration * 0.5)))
    draw = np.random.random()
    if draw < 0.36:
        return 1 + int(np.random.random() * 1000)
    if draw < 0.77:
        return int(1000 * 5.0 ** np.random.random())
    return int(5000 * 6.0 ** np.random.random())


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _severity(outage: int, end: int, now: int, people: People) -> float:
    """Severity of the worst outage at this moment; those from ``outage`` on are sorted by start."""
    worst = 0.0
    for i in range(outage, end):
        if people.outages[i, 0] > now:
            break
        if people.outages[i, 1] > now:
            worst = max(worst, people.outages[i, 2])
    return worst
