/*
 * The recovery barrier over an abstract log of extended virtual synchrony, for exhaustive search by spin.
 *
 * docs/model.md says what is proved, for which sizes, and how to read a counterexample. This comment says what stands
 * for what, and why it may.
 *
 * As the code has it
 *   barrier.py     the table of one round, written by delivered unblocks that name the round; the completion at the
 *                  last one, with the quorum only; one unblock a round; a new round at each regular configuration
 *   packing.py     the check above fragmentation: before the completion recovery messages, then the unblock; after it
 *                  HIGH, piece by piece, with the cursor of its queue; one message of each sender begun at a time
 *   send_queue.py  at a change the queue of RECOVERY is emptied, and the cursor of HIGH goes back
 *   delivery.py    end_ring: the rest up to the hole, with the transitional configuration at its place; behind the
 *                  hole only senders of the deliver set; the reassembler is emptied; then the next round begins
 *   recovery.py    the deliver set: who comes together, and everybody's obligations (departure 6 in docs/protocol.md)
 *   forming.py     who promised and did not see INSTALLED has obligations, until it installs another ring
 *
 * Abstracted, and why no run that could break a rule is lost by it
 *   Packets and token.  A ring is a sequence of packets that any operational member may extend at any time. In the
 *       real ring only the holder of the token may, so every real order is an order here. That a ring has one
 *       order, and a member all that it sent itself, is assumed: it is the ground on which the barrier stands
 *       (E1.4, E3, E6).
 *   Reception.  An operational member delivers the next packet of the order at any time, or never. Loss,
 *       retransmission, safe messages that wait and applications that do not read can only delay it. Packets that
 *       came before their turn are not noted; the hole that is chosen when the ring ends says whether they did.
 *       With EVERY_DELIVERY each delivery is a step of its own. Without it, as long as the ring lives, there is
 *       one step only: deliver up to the completion. That is enough: what a processor delivers is seen by others
 *       in nothing but what it sends (which asks for the completion alone) and in the hole (which may be chosen
 *       just as far behind if it delivers less). The same packets are then delivered when the ring ends, or at the
 *       end of the run, and the rules are held against them there.
 *   Recovery.  Those who come together from a ring have one and the same beginning of its order, up to a hole that
 *       is chosen freely, but not before what one of them has, nor at a packet of the deliver set: who sent that
 *       is there, or a promise says that it is. That is EVS, and assumed. Which packets they have behind the hole
 *       is not noted; if they recover once more, the next hole is chosen freely among all later places.
 *   Membership.  Any processors form the next ring, at any time, whatever they did before. A formation is one
 *       step. It breaks in the phase RECEIVED, when any of them have promised; or all have, and at least one
 *       installs. The others lost the token and gather. That one installs later than another needs no step of its
 *       own, since it does nothing in between. Joins, timeouts and tokens only choose among these. So two live
 *       components, merges, changes in the middle of changes, and members who never install what others did, are
 *       all there.
 *   Crashes.  A processor that crashes does nothing from there on, as every processor here may. With CRASHES it
 *       moreover loses its memory, and begins again alone as a new incarnation.
 *   Priorities.  One queue stands for HIGH and LOW. The gate treats them alike, and cursor and reassembly belong
 *       to a sender and priority, so pieces of the two never meet.
 *   Packing.  One packet holds one chunk. Chunks in one packet are neighbours in the order that share one fate,
 *       and here neighbours may share it. A fragmented message has two pieces; more could be cut at no other kind
 *       of place.
 *   recover.  Whether it gives a message is decided when that is sent or when the unblock is. A late call of a
 *       round that is over is refused and changes nothing.
 *   The beginning.  The first configuration has all processors, an empty order, and a round that begins.
 *
 * Every step uses something up (a change, a packet to send, a packet to deliver), so every run ends; and where one
 * may end is checked (ENDS). So it is proved without fairness that a configuration that lasts completes.
 */

#ifndef N
#define N 3             /* processors */
#endif
#ifndef CHANGES
#define CHANGES 2       /* at most so many formations and crashes after the first configuration */
#endif
#ifndef CRASHES
#define CRASHES 0       /* at most so many of them are crashes */
#endif
#ifndef QUORUM
#define QUORUM 1
#endif
#ifndef WRITERS
#define WRITERS 1       /* a mask: who has a fragmented HIGH message */
#endif
#ifndef RECOVERERS
#define RECOVERERS 2    /* a mask: whose recover may send a message, in each round */
#endif

#define RINGS (CHANGES + 1)
#define ALL ((1 << N) - 1)
#define bit(p) (1 << (p))
#define ones(mask) ((mask) % 2 + (mask) / 2 % 2 + (mask) / 4 % 2)     /* of at most three processors */
#define LENGTH (N + ones(RECOVERERS) + 2 * ones(WRITERS))     /* the longest order: unblocks, recovery, pieces */
#define has(mask, p) ((mask) & bit(p))

/* A packet: whose, what, and of which ring (the round that an unblock names; where the message of a piece began) */
#define RECOVERY 0
#define UNBLOCK 1
#define FIRST 2
#define LAST 3
#define packet(sender, kind, of) ((of) << 4 | (sender) << 2 | (kind))
#define kind(e) ((e) & 3)
#define sender(e) ((e) >> 2 & 3)
#define of(e) ((e) >> 4)
mtype = { last_piece, first_piece, unblock, recovery_message }      /* their names: %e of 1 + the kind */

/* The rules. -DONLY=B1 asserts that one alone */
#define B1 1
#define B3 2
#define B4 4
#define B6 8
#define B9 16
#define B12 32
#define ENDS 64
#ifndef ONLY
#define ONLY 127
#endif
#define hold(rule, condition) assert(!(ONLY & rule) || (condition))

/* -DPROBE=... : the search must come to this place, which it reports as an error */
#define COMPLETE_IN_TRANSITIONAL 1
#define DELIVERED_BEHIND_A_HOLE 2
#define BEGUN_AGAIN 3
#define TWO_COMPONENTS_COMPLETE 4
#define CUT 5
#define OBLIGATION_DELIVERED 6
#define ABORTED_AFTER_UNBLOCKS 7
#define TWO_IN_A_ROW 8
#ifdef PROBE
#define probe(place, condition) assert(PROBE != place || !(condition))
#else
#define probe(place, condition)
#endif

typedef Ring {
    byte members;
    byte size;
    byte length;
    byte at[LENGTH + 1];        /* from 1 */
    byte unblocks;              /* so many of them are unblocks */
    /* for the rules */
    byte done_at;               /* 1 + the place where it is complete, 0 if it is nowhere yet */
    byte done_recovery;         /* whose recovery messages stand before that */
};
Ring ring[RINGS];
byte rings;                     /* used so far */

typedef Processor {
    byte on;                    /* the ring that is installed */
    bool gathers;               /* it has left that ring, and installed no other */
    byte delivered;             /* the last place delivered */
    byte upto;                  /* the beginning of the order that it has */
    byte owed;                  /* its obligations */

    byte table;                 /* barrier.py */
    byte asked;                 /* 1 + the round for which recover returns */
    bool sent;
    bool complete;
    bool recovery;              /* recover may still give a message */
    byte high;                  /* the queue of HIGH */
    byte cursor;                /* the pieces of its head that are sent */
    byte begun;                 /* in which ring */
    byte partial[N];            /* the reassembler: 1 + the ring where the message began, 0 if nothing is begun */

    /* for the rules */
    bool done;                  /* the completion is in the log since the last regular configuration */
    byte unblocked;             /* whose unblocks of this configuration were delivered */
    byte recovered;             /* whose recovery messages were */
    byte here;                  /* whose messages were, in this configuration */
    byte ever;                  /* and in all */
    byte aborts;
    bool gone;                  /* it crashed, and what was queued is gone */
};
Processor proc[N];

byte changes;                   /* that may still come */
byte crashes = CRASHES;

/* Of one step only, so no part of the state */
hidden byte i, j, s, e, largest, alike;
hidden byte transitional;

#define me proc[p]
#define my_ring ring[proc[p].on]

inline found(who_) {
    ring[rings].members = who_;
    ring[rings].size = ones(who_);
    printf("ring %d is of the processors %x (a mask)\n", rings, who_);
    rings++
}

/* Barrier: complete at place, which is a place of the order of the ring that is on */
inline completion(p, place) {
    me.complete = true;
    hold(B9, me.aborts == 0);
    hold(B9, !me.done);                                                  /* B10 too */
    hold(B4, me.unblocked == my_ring.members);
    hold(B4, my_ring.size >= QUORUM);
    largest = 0;
    j = 1;
    do
    :: j <= my_ring.length ->
        if
        :: kind(my_ring.at[j]) == UNBLOCK && of(my_ring.at[j]) == me.on -> largest = j
        :: else
        fi;
        j++
    :: else -> break
    od;
#ifndef FAULT_TOKEN_BIT         /* there are none then, but there is still one place, or not */
    hold(B3, (place) == largest);
#endif
    hold(B3, my_ring.done_at == 0 || my_ring.done_at == 1 + (place));
    hold(B3, my_ring.done_at == 0 || my_ring.done_recovery == me.recovered);
    my_ring.done_at = 1 + (place);
    my_ring.done_recovery = me.recovered;
    me.done = true;
    printf("processor %d: ring %d is complete at %d\n", p, me.on, place);
    probe(COMPLETE_IN_TRANSITIONAL, transitional);
    probe(TWO_IN_A_ROW, me.on > 0 && my_ring.members == ALL);
    probe(TWO_COMPONENTS_COMPLETE, N > 1 && rings > 2 && ring[1].done_at && ring[2].done_at
          && !(ring[1].members & ring[2].members) && (ring[1].members | ring[2].members) == ALL)
}

/* Barrier.deliver_unblock */
inline deliver_unblock(p, place) {
#ifdef FAULT_STALE_UNBLOCK
    if
    :: true ->
#else
    if
    :: of(e) == me.on ->
#endif
        if
        :: of(e) == me.on -> me.unblocked = me.unblocked | bit(s)
        :: else
        fi;
        if
        :: !has(me.table, s) && has(my_ring.members, s) ->
            me.table = me.table | bit(s);
            if
#ifdef FAULT_QUORUM_IGNORED
            :: me.table == my_ring.members ->
#else
            :: me.table == my_ring.members && my_ring.size >= QUORUM ->
#endif
#ifdef FAULT_NO_COMPLETION_IN_TRANSITIONAL
                if
                :: !transitional -> completion(p, place)
                :: else
                fi
#else
                completion(p, place)
#endif
            :: else
            fi
        :: else
        fi
    :: else
    fi
}

/* Delivery._deliver_packet, of the packet at place i */
inline deliver(p) {
    e = my_ring.at[i];
    s = sender(e);
    printf("processor %d: delivers %d of ring %d, %e of %d\n", p, i, me.on, 1 + kind(e), s);
    if
    :: kind(e) == RECOVERY -> me.recovered = me.recovered | bit(s)
    :: kind(e) == UNBLOCK -> deliver_unblock(p, i)
#ifdef FAULT_PIECES_MIXED
    :: kind(e) == FIRST && me.partial[s] -> skip        /* it is added to what is there */
    :: kind(e) == FIRST && !me.partial[s] -> me.partial[s] = 1 + of(e)
#else
    :: kind(e) == FIRST -> me.partial[s] = 1 + of(e)
#endif
    :: kind(e) == LAST ->
        hold(B12, me.partial[s] == 1 + me.on && of(e) == me.on);
        if
        :: me.partial[s] ->
            hold(B1, me.done);
            hold(B12, !has(me.ever, s));
            me.here = me.here | bit(s);
            me.ever = me.ever | bit(s)
        :: else         /* a message without a beginning is dropped */
        fi;
        me.partial[s] = 0
    fi
}

/* A ring that nobody is on has no future, and its past concerns nobody: it is forgotten, to have fewer states */
inline forget_rings() {
    i = 0;
    do
    :: i < rings ->
        s = 0;
        j = 0;
        do
        :: j < N -> s = s | (proc[j].on == i); j++
        :: else -> break
        od;
        if
        :: !s ->
            ring[i].members = 0;
            ring[i].size = 0;
            ring[i].length = 0;
            ring[i].unblocks = 0;
            ring[i].done_at = 0;
            ring[i].done_recovery = 0;
            j = 1;
            do
            :: j <= LENGTH -> ring[i].at[j] = 0; j++
            :: else -> break
            od
        :: else
        fi;
        i++
    :: else -> break
    od
}

/* A regular configuration is installed: its round begins (Barrier._begin), and what the rules note of it */
inline begin_round(p, round) {
    me.on = round;
    me.gathers = false;
    me.delivered = 0;
    me.upto = 0;
    me.owed = 0;
#ifndef FAULT_TABLE_KEPT
    me.table = 0;
#endif
#ifdef FAULT_STALE_UNBLOCK
    me.asked = (me.asked && !me.sent -> me.asked : 1 + me.on);
#else
    me.asked = 1 + me.on;
#endif
    me.sent = false;
    me.complete = false;
    me.recovery = (has(RECOVERERS, p) != 0);
    me.done = false;
    me.unblocked = 0;
    me.recovered = 0;
    me.here = 0;
    me.aborts = 0
}

/*
 * Membership._enter_operational: Delivery.end_ring, Delivery.install, Outbox.abort_round. Of the old ring p has what
 * stands up to place, and behind the hole after it what those of the deliver set sent; last is the end of the regular
 * configuration.
 */
inline install(p) {
    i = me.delivered + 1;
    do
#ifdef FAULT_NO_EXCHANGE
    :: i <= me.upto -> deliver(p); i++
#else
    :: i <= last -> deliver(p); i++
#endif
    :: else -> break
    od;
    transitional = true;
    printf("processor %d: the transitional configuration of ring %d, with %x\n", p, me.on, together);
#ifdef FAULT_ABORT_AT_TRANSITIONAL
    me.aborts = me.aborts + !me.complete;
#endif
    do
    :: i <= my_ring.length ->
#ifdef FAULT_BEHIND_THE_HOLE
        if
        :: i != place + 1 -> deliver(p)
#elif defined(FAULT_NO_EXCHANGE)
        if
        :: i <= me.upto || p == sender(my_ring.at[i]) -> deliver(p)
#else
        if
        :: i <= place || has(deliver_set, sender(my_ring.at[i])) ->
            probe(DELIVERED_BEHIND_A_HOLE, i > place && kind(my_ring.at[i]) == LAST);
            probe(OBLIGATION_DELIVERED, i > place && kind(my_ring.at[i]) == LAST
                  && !has(together, sender(my_ring.at[i])));
            deliver(p)
#endif
        :: else
        fi;
        i++
    :: else -> break
    od;
    transitional = false;
    /* Who goes on together has delivered the same messages here, whole, and the completion or not */
    s = 128 | me.done << 6 | me.here;
    hold(B12, alike == 0 || alike == s);
    alike = s;
    probe(CUT, me.partial[0]);
    j = 0;
    do
#ifndef FAULT_PIECES_MIXED
    :: j < N -> me.partial[j] = 0; j++
#endif
    :: else -> break
    od;
    /* Barrier.install */
#ifdef FAULT_ABORT_BEFORE_UNBLOCK_ONLY
    me.aborts = me.aborts + (!me.complete && !me.sent);
#else
#ifndef FAULT_ABORT_AT_TRANSITIONAL
    me.aborts = me.aborts + !me.complete;
#endif
#endif
    printf("processor %d: installs ring %d; %d rounds of ring %d aborted\n", p, rings, me.aborts, me.on);
    hold(B9, me.aborts == !me.done);
    probe(ABORTED_AFTER_UNBLOCKS, me.aborts && me.sent && me.unblocked);
    begin_round(p, rings);
    /* Outbox.abort_round */
#if !defined(FAULT_CURSOR_KEPT) && !defined(FAULT_NOT_REWOUND)
    probe(BEGUN_AGAIN, me.cursor);
    me.cursor = 0;
    me.begun = 0
#endif
}

inline deliver_next(p) {
    i = me.delivered + 1;
    deliver(p);
    me.delivered = i;
    me.upto = i
}

inline append(p, what, round) {
    my_ring.length++;
    my_ring.unblocks = my_ring.unblocks + ((what) == UNBLOCK);
    my_ring.at[my_ring.length] = packet(p, what, round);
    printf("processor %d: sends %d of ring %d, %e\n", p, my_ring.length, me.on, 1 + what)
}

/* Outbox.fill: one packet at a visit of the token */
#ifdef FAULT_SLIPPED_PAST
#define gate_is_open(p) (me.complete || me.high)
#else
#define gate_is_open(p) me.complete
#endif
#ifdef FAULT_CURSOR_KEPT
#define in_the_way(p) (me.cursor != 0)      /* a half-sent message goes first, whatever the barrier says */
#else
#define in_the_way(p) false
#endif
#ifdef FAULT_UNBLOCK_AGAIN
#define unblock_due(p) (me.asked && my_ring.length < LENGTH)
#else
#define unblock_due(p) (me.asked && !me.sent)
#endif
#define unblocks(p) (my_ring.unblocks >= my_ring.size)
#define round_due(p) (!me.complete && !in_the_way(p) && (me.recovery || unblock_due(p)))
#define high_due(p) (gate_is_open(p) && me.high)

#ifdef FAULT_TOKEN_BIT
byte bits[RINGS];               /* the token of each ring: who is ready, one bit each */
#endif

inline send_unblock(p) {
    me.recovery = false;
#ifdef FAULT_TOKEN_BIT
    bits[me.on] = bits[me.on] | bit(p);
#else
    i = 1;
    do
    :: i <= my_ring.length -> hold(B6, my_ring.at[i] != packet(p, UNBLOCK, me.on)); i++
    :: else -> break
    od;
    append(p, UNBLOCK, me.asked - 1);
#endif
    me.sent = true
}

inline send_piece(p) {
    if
    :: me.cursor == 0 ->
        me.cursor = 1;
        me.begun = me.on;
        append(p, FIRST, me.on)
    :: else ->
        append(p, LAST, me.begun);
        me.high--;
        me.cursor = 0;
        me.begun = 0
    fi
}

proctype processor(byte p) {
end:
    do
#ifdef EVERY_DELIVERY   /* deliver the next packet */
    :: d_step {
        !me.gathers && me.delivered < my_ring.length ->
        deliver_next(p);
        i = 0
       }
#else                   /* deliver up to the completion: see «Reception» above */
    :: d_step {
        !me.gathers && me.delivered < my_ring.length && !me.complete && unblocks(p) ->
        do
        :: me.delivered < my_ring.length && !me.complete -> deliver_next(p)
        :: else -> break
        od;
        i = 0
       }
#endif
    /* the token is here: a recovery message, or the unblock, or the next piece of HIGH */
    :: d_step { !me.gathers && round_due(p) && me.recovery -> me.recovery = false; append(p, RECOVERY, 0); i = 0 }
    :: d_step { !me.gathers && round_due(p) && unblock_due(p) -> send_unblock(p); i = 0 }
    :: d_step { !me.gathers && !round_due(p) && high_due(p) -> send_piece(p); i = 0 }
#ifdef FAULT_TOKEN_BIT
    :: d_step { !me.gathers && !me.complete && bits[me.on] == my_ring.members -> completion(p, me.delivered); i = 0 }
#endif
    od
}

/*
 * The processors of group form the next ring. Those of promised have come to the phase RECEIVED, those of installed
 * have seen INSTALLED and go on; the others gather again.
 */
inline form() {
    x = 0;
    do
    :: x < rings ->
        /* those who come together from ring x */
        d_step {
            together = 0;
            deliver_set = 0;
            place = 0;
            last = 0;
            p = 0;
            do
            :: p < N ->
                if
                :: has(group, p) && me.on == x ->
                    together = together | bit(p);
                    deliver_set = deliver_set | bit(p) | me.owed;
                    if :: me.upto > place -> place = me.upto :: else fi;
                    if :: me.delivered > last -> last = me.delivered :: else fi
                :: else
                fi;
                p++
            :: else -> break
            od;
            p = 0
        }
        if
        :: together ->
            /* the hole, if there is one: the place after this one */
            do
            :: place < ring[x].length -> place++
            :: place < ring[x].length && !has(deliver_set, sender(ring[x].at[place + 1])) -> break
            :: place == ring[x].length -> break
            od;
            /* where the transitional configuration stands: a safe message of which nobody knows that all have it */
            do
            :: last < place -> last++
            :: break
            od;
            skip;       /* no jump may lead into a d_step */
            d_step {
                alike = 0;
                p = 0;
                do
                :: p < N ->
                    if
                    :: has(together, p) && has(installed, p) -> install(p)
                    :: has(together, p) && !has(installed, p) ->
                        me.gathers = true;
                        printf("processor %d: gathers, with a promise: %d\n", p, has(promised, p) != 0);
                        if
                        :: has(promised, p) -> me.upto = place; me.owed = deliver_set
                        :: else
                        fi
                    :: else
                    fi;
                    p++
                :: else -> break
                od;
                p = 0
            }
        :: else
        fi;
        x++
    :: else -> break
    od;
    skip;
    d_step {
        if
        :: installed -> found(group)
        :: else
        fi;
        forget_rings();
        group = 0; promised = 0; installed = 0; x = 0; together = 0; deliver_set = 0; place = 0; last = 0
    }
}

/* Any mask of these bits but 0 */
inline some_of(mask, of_these) {
    mask = 1;
    do
    :: mask < of_these -> mask++
    :: (mask & of_these) == mask -> break
    od;
    skip
}

proctype environment() {
    byte group, promised, installed, x, together, deliver_set, place, last, p;

end:
    do
    :: atomic {
        changes > 0 ->
        changes--;
        some_of(group, ALL);
        if
        :: some_of(installed, group); promised = group
        :: changes > 0 -> some_of(promised, group)      /* as the last change this would do nothing that is seen */
        fi;
        form()
       }
#if CRASHES > 0
    :: atomic {
        changes > 0 && crashes > 0 ->
        changes--;
        crashes--;
        group = 0;
        do
        :: group < N - 1 -> group++
        :: break
        od;
        skip;
        d_step {
            p = group;
            printf("processor %d: crashes and begins again\n", p);
            begin_round(p, rings);
            me.high = 0;
            me.cursor = 0;
            me.begun = 0;
            me.ever = 0;
            me.gone = true;
            i = 0;
            do
            :: i < N -> me.partial[i] = 0; i++
            :: else -> break
            od;
            p = 0;
            found(bit(group));
            forget_rings();
            group = 0
        }
       }
#endif
    od
}

/* Nobody can do anything any more. A configuration that all its members installed must be complete, and all sent */
proctype at_the_end() {
    byte p, all_here;

end:
    timeout ->
    d_step {
        p = 0;
        do
        :: p < N ->
            all_here = 1;               /* are all members on it? (Else the token is lost, and a change comes) */
            j = 0;
            do
            :: j < N ->
                all_here = all_here && (!has(my_ring.members, j) || (proc[j].on == me.on && !proc[j].gathers));
                j++
            :: else -> break
            od;
            do
            :: !me.gathers && me.delivered < my_ring.length -> deliver_next(p)
            :: else -> break
            od;
            if
            :: all_here && my_ring.size >= QUORUM ->
                hold(ENDS, me.complete);
                hold(ENDS, me.high == 0);
                hold(ENDS, !has(WRITERS, p) || has(me.ever, p) || me.gone)
            :: all_here && my_ring.size < QUORUM ->
                hold(ENDS, !me.complete);
                hold(ENDS, me.unblocked == my_ring.members)
            :: else
            fi;
            p++
        :: else -> break
        od;
        p = 0
    }
}

init {
    byte p = 0;
    atomic {
        found(ALL);
        do
        :: p < N ->
            begin_round(p, 0);
            proc[p].high = (has(WRITERS, p) != 0);
            run processor(p);
            p++
        :: else -> break
        od;
        p = 0;
        do
        :: changes < CHANGES -> changes++
        :: break
        od;
        run environment();
        run at_the_end()
    }
}
