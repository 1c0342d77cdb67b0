"""One listener's plays in time order: the compiled loop at the heart of the world.

Everything compiled is in this file: numba's cache notices an edit of the file that calls, not of one
that is called. Every listener has a random stream of their own, so that the world is the same however
listeners are shared out among threads.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from tasks.simulation.scene import EPISODE, Array, Listener, Music

# Places in scene.STARTS, scene.ENDS and scene.ORIGINS.
CLICKROW, TRACKDONE_BEFORE, FWDBTN_BEFORE, BACKBTN_BEFORE, PLAYBTN, APPLOAD, REMOTE, UNKNOWN = range(8)
TRACKDONE, FWDBTN, ENDPLAY, BACKBTN, TRACKERROR, EXIT, EXIT_PAUSED, LOGOUT = range(8)
LIBRARY, PLAYLIST, DISCOVERY, RADIO, ARTIST, ALBUM, SEARCH, FRIEND = range(8)

SESSION_GAP = 30 * 60_000
DAY = 86_400_000
REFERENCE_PLAYS_A_DAY = 79.0  # of the real listener that the lags were read from


@njit(cache=True, nogil=True)
def listen(
    listener: Listener, starts: Array, lengths: Array, horizon: int, music: Music, memory: Array,
    log: Array, random: np.random.Generator,
) -> None:  # fmt: skip
    """Fill ``log`` (PLAY, a row for each play) for one listener's sessions, none empty.

    ``starts`` (ms) and ``lengths`` (plays) are the sessions'; nothing ends after ``horizon`` (ms), and
    rows for what would have keep ``ended`` 0. ``memory`` (MEMORY, a row for each track) is empty, and is
    emptied again at the end.
    """
    _life(listener, starts, lengths, horizon, music, memory, log, random)
    for row in range(len(log)):
        track = log[row].track
        if track >= 0:
            memory[track].times = 0
            memory[track].last = 0
            memory[track].heat = 0.0


@njit(cache=True, nogil=True)
def _life(
    listener: Listener, starts: Array, lengths: Array, horizon: int, music: Music, memory: Array,
    log: Array, random: np.random.Generator,
) -> None:  # fmt: skip
    row = 0
    now = 0
    lag = 7.35 + np.log(listener.plays_a_day / REFERENCE_PLAYS_A_DAY)
    outage = 0
    for session in range(len(starts)):
        now = max(starts[session], now + SESSION_GAP + 60_000 + int(random.exponential(600_000)))
        local = (now + listener.offset) // 3_600_000 % 24
        kind = _device(local, random)
        shuffle = random.random() < listener.shuffles * (1.2 if kind == 0 else 0.9)
        offline = kind == 0 and random.random() < listener.offline
        mood = random.normal(0.0, 0.35)
        browsing = random.random() < 0.4
        run_left, run_origin = 0, ARTIST
        skips, dones, flicked = 0, 0, False
        track, reason = -2, -1
        for position in range(lengths[session]):
            start = _reason_start(reason, random)
            now += _gap(reason, random)
            browsing = _attention(browsing, start, random)
            if position + 1 == lengths[session] and position > 0 and random.random() < listener.podcasts:
                ms = int(random.uniform(2, 40) * 60_000)
                now = (now + ms + 999) // 1000 * 1000
                if now > horizon:
                    return
                log[row].track, log[row].ms_played, log[row].ended = EPISODE, ms, now
                log[row].start, log[row].platform = CLICKROW, listener.devices[kind]
                log[row].end = TRACKDONE if random.random() < 0.5 else ENDPLAY
                log[row].offline = offline
                row += 1
                continue
            # what comes up
            if reason == TRACKDONE and random.random() < listener.binges:
                origin = LIBRARY
            elif run_left > 0 and track >= 0:
                run_left -= 1
                origin = run_origin
                track = _of_artist(music.artist[track], now, music, memory, random)
            else:
                if random.random() < listener.curiosity:
                    origin = _discovered(random)
                    track = _unheard(1, lag, row, listener, music, memory, log, random)
                else:
                    track = _recalled(lag, row, now, listener, music, memory, log, random)
                    origin = LIBRARY if random.random() < 0.65 else PLAYLIST
                    if track < 0:  # an acquaintance from before the log began
                        track = _unheard(4, lag, row, listener, music, memory, log, random)
                        if random.random() < 0.12:
                            origin = SEARCH
                if start in (CLICKROW, PLAYBTN) and random.random() < 0.36:
                    run_left = int(random.exponential(9.0))
                    run_origin = ARTIST if random.random() < 0.5 else ALBUM
            # how likely it is heard out
            affinity = _affinity(track, music, listener)
            heat = _heat(memory[track], now)
            while outage < len(listener.outages) and listener.outages[outage, 1] < now:
                outage += 1
            severity = 0.0 if offline else _severity(listener.outages[outage:], now)
            logit = -0.18 + 0.8 * (listener.patience + mood + affinity) + (-0.8 if browsing else 0.6)
            logit += _context(start, skips, dones, position, shuffle, kind, local)
            logit += _acquaintance(memory[track].times, heat) - 1.5 * severity
            heard_out = 1.0 / (1.0 + np.exp(-logit))
            cut = 0.006 + 0.12 * severity
            # what happens
            broke = random.random() < cut
            done = not broke and random.random() < heard_out
            duration = music.duration[track]
            if done:
                ms = duration if random.random() < 0.9 else duration - int(random.random() * 900)
                reason, skips, dones, flicked = TRACKDONE, 0, dones + 1, False
            elif broke:
                ms = int(random.random() * duration)
                fault = random.random() < severity * 0.9
                reason = TRACKERROR if fault else EXIT + int(random.random() * 3)
            else:
                ms = _skipped_after(skips, flicked, duration, random)
                flicked = ms == 0
                draw = random.random()
                reason = FWDBTN if draw < 0.82 else (ENDPLAY if draw < 0.96 else BACKBTN)
                skips, dones = skips + 1, 0
            now = (now + ms + 999) // 1000 * 1000  # the log knows whole seconds
            if now > horizon:
                return
            memory[track].times += 1
            memory[track].last = now
            memory[track].heat = heat + (1.0 if ms >= 30_000 else 0.4)
            log[row].ended, log[row].ms_played, log[row].track = now, ms, track
            log[row].probability = (1.0 - cut) * heard_out
            log[row].start, log[row].end, log[row].origin = start, reason, origin
            log[row].platform = listener.devices[kind]
            log[row].shuffle, log[row].offline = shuffle, offline
            if not offline:
                log[row].connection_errors = min(random.poisson(0.008 + 1.3 * severity), 100)
            log[row].playback_errors = reason == TRACKERROR or random.random() < 0.001 + 0.1 * severity
            row += 1


@njit(cache=True, nogil=True)
def _attention(browsing: bool, start: int, random: np.random.Generator) -> bool:
    """Whether the listener now looks for something else to hear: a state that lasts, and shows only in
    what was skipped.
    """
    if browsing:
        return bool(random.random() > (0.4 if start in (CLICKROW, PLAYBTN) else 0.06))
    return bool(random.random() < 0.055)


@njit(cache=True, nogil=True)
def _heat(known: Any, now: int) -> float:
    """Plays of a track lately, each counting half after a day; ``known`` is its row of the memory."""
    return float(known.heat * 0.5 ** ((now - known.last) / DAY))


@njit(cache=True, nogil=True)
def _acquaintance(times: int, heat: float) -> float:
    """What earlier plays of the track add, logit: strangeness, familiarity, fatigue."""
    known = -0.55 if times == 0 else 0.09 * min(np.log2(times), 4.0)
    return float(known - 0.4 * np.log2(1.0 + heat))


@njit(cache=True, nogil=True)
def _affinity(track: int, music: Music, listener: Listener) -> float:
    """How the listener likes the track, logit: quality, genre, sound, and what no feature explains."""
    artist = music.artist[track]
    value = music.quality[track] + listener.liking[music.genre[artist]]
    for axis in range(4):
        value += listener.tastes[axis] * music.shape[track, axis]
    seed = np.uint64(listener.seed)
    value += 0.4 * _normal(seed, np.uint64(artist) + np.uint64(1 << 40))
    return float(value + 0.5 * _normal(seed, np.uint64(track)))


@njit(cache=True, nogil=True)
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


@njit(cache=True, nogil=True)
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


@njit(cache=True, nogil=True)
def _recalled(
    lag: float, played: int, now: int, listener: Listener, music: Music, memory: Array, log: Array,
    random: np.random.Generator,
) -> int:  # fmt: skip
    """A track heard some plays ago (a lognormal lag), better liked ones rather; -1: none that old."""
    track = -1
    for _ in range(6):
        back = 2 + int(np.exp(random.normal(lag, 1.8)))
        if back > played:
            return -1
        row = played - back
        track = log[row].track
        if track < 0 or now - memory[track].last < 45 * 60_000:
            continue
        liked = 1.0 / (1.0 + np.exp(-(0.4 + 1.0 * _affinity(track, music, listener))))
        if random.random() < liked * (1.0 if log[row].end == TRACKDONE else 0.75):
            return int(track)
    return int(track)


@njit(cache=True, nogil=True)
def _unheard(
    tries: int, lag: float, played: int, listener: Listener, music: Music, memory: Array, log: Array,
    random: np.random.Generator,
) -> int:  # fmt: skip
    """The best liked of ``tries`` tracks, rather new ones: by known artists or of the user's genres."""
    best, best_affinity = -1, -1e9
    for _ in range(tries):
        artist = -1
        if played > 0 and random.random() < 0.6:
            back = min(1 + int(np.exp(random.normal(lag, 1.8))), played)
            known = log[played - back].track
            if known >= 0:
                artist = music.artist[known]
        if artist < 0:
            genre = int(np.searchsorted(listener.genres, random.random()))
            genre = min(genre, len(music.genre_first) - 2)
            low, high = music.genre_first[genre], music.genre_first[genre + 1]
            place = low + int(np.searchsorted(music.cumulative[low:high], random.random()))
            artist = music.by_genre[min(place, high - 1)]
        track = -1
        for _ in range(4):
            track = music.first[artist] + int(music.size[artist] * random.random() ** 2.0)
            if memory[track].times == 0:
                break
        affinity = _affinity(track, music, listener)
        if memory[track].times > 0:  # all of this artist seems to be known
            affinity -= 5.0
        if affinity > best_affinity:
            best, best_affinity = track, affinity
    return best


@njit(cache=True, nogil=True)
def _of_artist(artist: int, now: int, music: Music, memory: Array, random: np.random.Generator) -> int:
    """Another track of the artist, not heard in the last hour if there is one to be found."""
    track = -1
    for _ in range(4):
        track = music.first[artist] + int(music.size[artist] * random.random() ** 1.3)
        if memory[track].times == 0 or now - memory[track].last > 3_600_000:
            break
    return int(track)


@njit(cache=True, nogil=True)
def _discovered(random: np.random.Generator) -> int:
    draw = random.random()
    return DISCOVERY if draw < 0.6 else (RADIO if draw < 0.8 else (SEARCH if draw < 0.9 else FRIEND))


@njit(cache=True, nogil=True)
def _device(local: int, random: np.random.Generator) -> int:
    draw = random.random()
    desktop = 0.5 if 9 <= local < 18 else 0.2
    return 1 if draw < desktop else (2 if draw < desktop + 0.12 else 0)


@njit(cache=True, nogil=True)
def _reason_start(reason: int, random: np.random.Generator) -> int:
    """Why a play starts: as the one before it ended, or, at a session's start (-1), by a choice."""
    if reason == TRACKDONE:
        return TRACKDONE_BEFORE if random.random() < 0.96 else CLICKROW
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
    draw = random.random()
    return CLICKROW if draw < 0.6 else (PLAYBTN if draw < 0.8 else (APPLOAD if draw < 0.93 else REMOTE))


@njit(cache=True, nogil=True)
def _gap(reason: int, random: np.random.Generator) -> int:
    """Milliseconds of silence before a play."""
    if reason == -1:
        return 0
    if reason == TRACKDONE:
        if random.random() < 0.975:
            return int(random.random() * 200)
        return min(int(random.exponential(180_000)), 1_500_000)
    if reason in (FWDBTN, BACKBTN):
        return 150 + int(random.exponential(600))
    return 1_000 + min(int(random.exponential(6_000)), 600_000)


@njit(cache=True, nogil=True)
def _skipped_after(skips: int, flicked: bool, duration: int, random: np.random.Generator) -> int:
    """Milliseconds until a skip; who skips in a row skips faster, and flicking through goes on."""
    nothing = 0.66 if flicked else 0.13
    late = 0.30 if skips == 0 else 0.11
    draw = random.random()
    if draw < nothing:
        return 0
    if draw > 1.0 - late:
        early = min(30_000, duration * 0.5)
        return int(early + random.random() * (0.85 * duration - early))
    draw = random.random()
    if draw < 0.36:
        return 1 + int(random.random() * 1000)
    if draw < 0.77:
        return int(1000 * 5.0 ** random.random())
    return int(5000 * 6.0 ** random.random())


@njit(cache=True, nogil=True)
def _severity(outages: Array, now: int) -> float:
    """Severity of the worst outage at this moment; ``outages`` are sorted by start."""
    worst = 0.0
    for i in range(len(outages)):
        if outages[i, 0] > now:
            break
        if outages[i, 1] > now:
            worst = max(worst, outages[i, 2])
    return worst
