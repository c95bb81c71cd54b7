/* SPDX-License-Identifier: BSD-3-Clause
 * The state machine of machine.cpp on N nodes, with what a network and an operator do to them:
 * crashes, restarts, releases, lost adverts, one-way and full partitions, nodes that are paused.
 * check.py verifies it exhaustively, and replays random runs of it against the C++.
 *
 * Time is in units of a quarter of the advertisement interval, so that every skew is a whole number
 * of them. Within a unit everything may happen in any order; an advert may still be under way when
 * a timer fires. A node that is late reads what lies in its socket first, as the runner does, unless
 * it is an owner that was away for as long as its peers wait: that one steps down first.
 *
 * At any moment, for good, the trouble ends ("calm"): links are whole, nobody is paused. Checked:
 *   - without any trouble so far there is never more than one owner,
 *   - two intervals after the trouble has ended there is not more than one,
 *   - SETTLED units after it there is exactly one, and with preemption it is the best of those up,
 *   - without preemption the owner that was left stays the owner.
 */
#ifndef N
#define N 2
#endif
#ifndef FAULTS /* how many of the troubles a run may have */
#define FAULTS 3
#endif
#ifndef PREEMPT
#define PREEMPT 1
#endif
#define A 4 /* the interval, in units */

#ifdef EQUAL /* the address decides */
#define PRIO(i) 128
#else
#define PRIO(i) (192 - 64 * (i))
#endif
#define SKEW(i) ((256 - PRIO(i)) * A / 256)
#define DOWN(i) (3 * A + SKEW(i))

#define HEALED (2 * A + 1)
#define SETTLED (3 * A + 3 + 2 * A + 2)
#define END (SETTLED + 4 * A)

#define INIT 0
#define BACKUP 1
#define OWNER 2

#define SLOT(from, to) slot[(from) * N + (to)]
#define CUT(from, to) cut[(from) * N + (to)]

byte state[N];
short timer[N]; /* units until it is due; below zero: overdue */
byte hold[N];   /* owner: units until it may assert itself again */
bit listening[N];
bit paused[N];
byte slot[N * N]; /* an advert under way: its priority + 1 */
bit cut[N * N];
byte faults;
byte calm; /* units since the trouble has ended, from 1; 0: it has not */
byte left = N; /* the owner that was left when the trouble had ended */

hidden byte i, j, owners, best;
hidden short sent, late;
hidden short prio_heard;

inline send(me, prio) {
    j = 0;
    do
    :: j < N ->
        if
        :: j != me && !CUT(me, j) && state[j] != INIT -> SLOT(me, j) = prio + 1
        :: else
        fi;
        j++
    :: else -> break
    od;
    sent = prio
}

inline become_owner(me) {
    state[me] = OWNER;
    listening[me] = 0;
    hold[me] = 0;
    send(me, PRIO(me));
    timer[me] = A
}

inline become_backup(me) {
    state[me] = BACKUP;
    listening[me] = 0;
    hold[me] = 0;
    timer[me] = DOWN(me)
}

inline become_init(me) {
    state[me] = INIT;
    listening[me] = 0;
    hold[me] = 0;
    timer[me] = 0;
    paused[me] = 0;
    j = 0;
    do
    :: j < N -> SLOT(j, me) = 0; j++
    :: else -> break
    od
}

inline serve_timer(me) {
    late = -timer[me];
    if
    :: state[me] == OWNER && late >= 2 * A -> become_backup(me)
    :: state[me] == OWNER && late < 2 * A ->
        send(me, PRIO(me));
        timer[me] = (timer[me] + A > 0 -> timer[me] + A : 0)
    :: state[me] == BACKUP && late >= A && !listening[me] ->
        listening[me] = 1;
        timer[me] = A
    :: state[me] == BACKUP && !(late >= A && !listening[me]) -> become_owner(me)
    fi
}

inline hear(me, other, prio) {
    if
    :: state[me] == BACKUP && prio == 0 -> timer[me] = SKEW(me)
    :: state[me] == BACKUP && prio != 0 && prio < PRIO(me) && PREEMPT
    :: state[me] == BACKUP && prio != 0 && !(prio < PRIO(me) && PREEMPT) ->
        listening[me] = 0;
        timer[me] = DOWN(me)
    :: state[me] == OWNER && prio == 0 -> send(me, PRIO(me)); timer[me] = A
    :: state[me] == OWNER && prio != 0 &&
        (prio > PRIO(me) || (prio == PRIO(me) && other > me)) -> become_backup(me)
    :: state[me] == OWNER && prio != 0 &&
        !(prio > PRIO(me) || (prio == PRIO(me) && other > me)) ->
        if
        :: hold[me] == 0 ->
            hold[me] = A;
            send(me, PRIO(me));
            timer[me] = A
        :: else
        fi
    fi
}

inline note(what, me, other, prio) {
    printf("trace %e %d %d %d -> %d %d %d\n", what, me, other, prio, state[me], timer[me], sent)
}

mtype = {start, stop, crash, tick, heard, advance};

#define AWAY(me) (state[me] == OWNER && timer[me] <= -2 * A)
#define DELIVERABLE(f, t) (SLOT(f, t) != 0 && !paused[t] && !AWAY(t))
#if N == 2
#define WAITING(me) (SLOT(0, me) != 0 || SLOT(1, me) != 0)
#else
#define WAITING(me) (SLOT(0, me) != 0 || SLOT(1, me) != 0 || SLOT(2, me) != 0)
#endif
#define DUE(me) (state[me] != INIT && !paused[me] && timer[me] <= 0 && \
                 (timer[me] == 0 || !WAITING(me) || AWAY(me)))
#if N == 2
#define QUIET (!DUE(0) && !DUE(1) && !DELIVERABLE(0, 1) && !DELIVERABLE(1, 0))
#else
#define QUIET (!DUE(0) && !DUE(1) && !DUE(2) && !DELIVERABLE(0, 1) && !DELIVERABLE(1, 0) && \
               !DELIVERABLE(0, 2) && !DELIVERABLE(2, 0) && !DELIVERABLE(1, 2) && !DELIVERABLE(2, 1))
#endif

inline judge() {
    owners = 0;
    best = N;
    i = 0;
    do
    :: i < N ->
        if
        :: state[i] == OWNER -> owners++
        :: else
        fi;
        if
        :: state[i] != INIT && (best == N || PRIO(i) > PRIO(best)) -> best = i
        :: else
        fi;
        i++
    :: else -> break
    od;
    assert(faults > 0 || owners <= 1);
    assert(calm < HEALED || owners <= 1);
    assert(calm < SETTLED || best == N || owners == 1);
#ifndef EQUAL
    assert(!PREEMPT || calm < SETTLED || best == N || state[best] == OWNER);
#endif
    if
    :: calm == HEALED ->
        left = N;
        i = 0;
        do
        :: i < N ->
            if
            :: state[i] == OWNER -> left = i
            :: else
            fi;
            i++
        :: else -> break
        od
    :: else
    fi;
    assert(PREEMPT || calm < HEALED || left == N || state[left] == OWNER)
}

inline pass_time() {
    i = 0;
    do
    :: i < N ->
        if
        :: state[i] != INIT && timer[i] > -3 * A -> timer[i]--
        :: else
        fi;
        if
        :: hold[i] > 0 -> hold[i]--
        :: else
        fi;
        i++
    :: else -> break
    od;
    if
    :: calm > 0 -> calm++
    :: else
    fi
}

inline end_trouble() {
    i = 0;
    do
    :: i < N * N -> cut[i] = 0; i++
    :: else -> break
    od;
    i = 0;
    do
    :: i < N -> paused[i] = 0; i++
    :: else -> break
    od;
    calm = 1
}

#define TROUBLE (calm == 0 && faults < FAULTS)

#define OF_NODE(me) \
    :: d_step { DUE(me) -> sent = -1; serve_timer(me); note(tick, me, 0, 0) } \
    :: d_step { calm == 0 && state[me] == INIT -> \
                sent = -1; become_backup(me); note(start, me, 0, 0) } \
    :: d_step { TROUBLE && state[me] != INIT -> \
                faults++; sent = -1; become_init(me); note(crash, me, 0, 0) } \
    :: d_step { TROUBLE && state[me] == OWNER && !paused[me] -> \
                faults++; sent = -1; send(me, 0); become_init(me); note(stop, me, 0, 0) } \
    :: d_step { TROUBLE && state[me] != INIT && !paused[me] -> faults++; paused[me] = 1 } \
    :: d_step { calm == 0 && paused[me] -> paused[me] = 0 }

#define OF_WAY(f, t) \
    :: d_step { DELIVERABLE(f, t) -> \
                sent = -1; prio_heard = SLOT(f, t) - 1; SLOT(f, t) = 0; \
                hear(t, f, prio_heard); note(heard, t, f, prio_heard) } \
    :: d_step { TROUBLE && SLOT(f, t) != 0 -> faults++; SLOT(f, t) = 0 } \
    :: d_step { TROUBLE && !CUT(f, t) -> faults++; CUT(f, t) = 1 } \
    :: d_step { calm == 0 && CUT(f, t) -> CUT(f, t) = 0 }

active proctype world() {
    do
    :: d_step { QUIET && calm < END -> judge(); pass_time(); printf("trace advance\n") }
    :: d_step { QUIET && calm == 0 -> end_trouble() }
    OF_NODE(0)
    OF_NODE(1)
    OF_WAY(0, 1)
    OF_WAY(1, 0)
#if N > 2
    OF_NODE(2)
    OF_WAY(0, 2)
    OF_WAY(2, 0)
    OF_WAY(1, 2)
    OF_WAY(2, 1)
#endif
    :: calm >= END && QUIET -> break
    od
}
