//! The worlds that are explored. Each is small, because all its events are tried in every order.

use crate::setup::{Message, Setup, long, short};

const NONE: &[Message] = &[];
const UP_1: &[Message] = &[short(1)];
const UP_2: &[Message] = &[short(2)];
const UP_11: &[Message] = &[short(1), short(1)];
const UP_12: &[Message] = &[short(1), short(2)];
const UP_21: &[Message] = &[short(2), short(1)];
const UP_22: &[Message] = &[short(2), short(2)];
const UP_012: &[Message] = &[short(0), short(1), short(2)];
const DOWN_222: &[Message] = &[short(2), short(2), short(2)];
const LONG_0: &[Message] = &[long(0)];
const LONG_1: &[Message] = &[long(1)];
const LONG_2: &[Message] = &[long(2)];
const LONG_12: &[Message] = &[long(1), long(2)];
const LONG_SHORT: &[Message] = &[long(2), short(1)];
const SHORT_LONG: &[Message] = &[short(2), long(2)];
const LONG_SHORT_2: &[Message] = &[long(2), short(2)];

/// Connections are cut anywhere, also inside packets.
const fn cut(setup: Setup, faults: u8) -> Setup {
    Setup {
        faults,
        inside: true,
        ..setup
    }
}

/// The server forgets the session once.
const fn forgetful(setup: Setup, faults: u8) -> Setup {
    Setup {
        faults,
        forgets: 1,
        ..setup
    }
}

/// The device loses power, with checkpoints on. Each step of the session is a separate action.
const fn power(setup: Setup, faults: u8, losses: u8) -> Setup {
    Setup {
        faults,
        losses,
        lazy: true,
        ..setup
    }
}

/// Answers are late, with a keep alive.
const fn timed(setup: Setup, faults: u8) -> Setup {
    Setup {
        faults,
        timeouts: true,
        keep_alive: 30,
        ..setup
    }
}

/// Payloads are discarded, or aborted.
const fn refusing(setup: Setup, faults: u8, refusals: u8) -> Setup {
    Setup {
        faults,
        refusals,
        inside: true,
        ..setup
    }
}

/// Each step of the session is a separate action.
const fn lazy(setup: Setup, faults: u8) -> Setup {
    Setup {
        faults,
        lazy: true,
        ..setup
    }
}

/// The client publishes while it waits for CONNACK.
const fn early(setup: Setup, faults: u8) -> Setup {
    Setup {
        faults,
        early: true,
        inside: true,
        ..setup
    }
}

/// The rest of a long message is skipped, between any two of its parts.
const fn skipping(setup: Setup, faults: u8) -> Setup {
    Setup {
        faults,
        refusals: 1,
        lazy: true,
        inside: true,
        ..setup
    }
}

/// The server has at most this number of messages in flight.
const fn window(setup: Setup, window: usize) -> Setup {
    Setup { window, ..setup }
}

/// Standing subscriptions. The server refuses one a number of times, and the list changes a number of times.
const fn subscribing(setup: Setup, faults: u8, refused: u8, changes: u8) -> Setup {
    Setup {
        faults,
        inside: true,
        subscribes: true,
        refused,
        changes,
        ..setup
    }
}

/// Messages are published without a connection.
const fn offline(setup: Setup, faults: u8) -> Setup {
    Setup {
        faults,
        inside: true,
        offline: true,
        ..setup
    }
}

/// Messages are discarded by their id.
const fn discarding(setup: Setup, faults: u8, discards: u8) -> Setup {
    Setup {
        faults,
        inside: true,
        discards,
        ..setup
    }
}

/// Images are written while the session continues.
const fn late(setup: Setup) -> Setup {
    Setup {
        late_saves: true,
        ..setup
    }
}

/// All kinds of faults.
const fn worst(setup: Setup) -> Setup {
    Setup {
        faults: 1,
        inside: true,
        forgets: 1,
        losses: 1,
        refusals: 1,
        timeouts: true,
        lazy: true,
        early: true,
        keep_alive: 30,
        ..setup
    }
}

pub(crate) const WORLDS: &[Setup] = &[
    cut(Setup::new("out 1", (1, 1), UP_1, NONE), 3),
    cut(Setup::new("out 2", (1, 1), UP_2, NONE), 3),
    cut(Setup::new("out 1 1", (2, 1), UP_11, NONE), 3),
    cut(Setup::new("out 1 2", (2, 1), UP_12, NONE), 3),
    cut(Setup::new("out 2 1", (2, 1), UP_21, NONE), 3),
    cut(Setup::new("out 2 2", (2, 1), UP_22, NONE), 3),
    cut(Setup::new("out 2 2, one slot", (1, 1), UP_22, NONE), 3),
    cut(Setup::new("out 0 1 2", (2, 1), UP_012, NONE), 2),
    cut(Setup::new("in 1 1", (1, 1), NONE, UP_11), 3),
    cut(Setup::new("in 2 2, one id", (1, 1), NONE, UP_22), 3),
    cut(Setup::new("in 2 2", (1, 2), NONE, UP_22), 3),
    cut(Setup::new("in 2 2 2, one id", (1, 1), NONE, DOWN_222), 2),
    cut(Setup::new("in 2 2 2", (1, 2), NONE, DOWN_222), 2),
    cut(Setup::new("in 0 1 2", (1, 1), NONE, UP_012), 2),
    cut(Setup::new("in long 0", (1, 1), NONE, LONG_0), 2),
    cut(Setup::new("in long 1, long 2", (1, 1), NONE, LONG_12), 2),
    cut(
        Setup::new("in 2, long 2, one id", (1, 1), NONE, SHORT_LONG),
        2,
    ),
    cut(
        Setup::new("in long 2, 2, one id", (1, 1), NONE, LONG_SHORT_2),
        2,
    ),
    cut(Setup::new("in 2, long 2", (1, 2), NONE, SHORT_LONG), 2),
    refusing(Setup::new("out long 0", (1, 1), LONG_0, NONE), 2, 1),
    refusing(Setup::new("out long 1", (1, 1), LONG_1, NONE), 2, 2),
    refusing(Setup::new("out long 2", (1, 1), LONG_2, NONE), 2, 2),
    refusing(Setup::new("out long 2, 1", (2, 1), LONG_SHORT, NONE), 2, 1),
    refusing(
        Setup::new("out long 1, long 2", (2, 1), LONG_12, NONE),
        2,
        1,
    ),
    refusing(Setup::new("out long 2, in 2", (1, 1), LONG_2, UP_2), 2, 1),
    forgetful(Setup::new("forgotten, out 2 1", (2, 1), UP_21, NONE), 2),
    forgetful(Setup::new("forgotten, in 2 2", (1, 1), NONE, UP_22), 2),
    forgetful(Setup::new("forgotten, out 2, in 2", (1, 1), UP_2, UP_2), 2),
    forgetful(Setup::new("forgotten, out long 2", (1, 1), LONG_2, NONE), 2),
    early(Setup::new("early, out 2 1", (2, 1), UP_21, NONE), 2),
    early(Setup::new("early, out 2, in 2", (1, 1), UP_2, UP_2), 1),
    timed(Setup::new("timed, out 2 1", (2, 1), UP_21, NONE), 3),
    timed(Setup::new("timed, in 2 2", (1, 1), NONE, UP_22), 3),
    timed(Setup::new("timed, out 2, in 2", (1, 1), UP_2, UP_2), 2),
    timed(Setup::new("timed, out long 2", (1, 1), LONG_2, NONE), 2),
    lazy(Setup::new("lazy, out 2 1", (2, 1), UP_21, NONE), 2),
    lazy(Setup::new("lazy, in 2 2", (1, 1), NONE, UP_22), 2),
    lazy(Setup::new("lazy, out 2, in 2", (1, 1), UP_2, UP_2), 2),
    lazy(
        Setup::new("lazy, in long 2, 2", (1, 1), NONE, LONG_SHORT_2),
        1,
    ),
    power(Setup::new("power, out 1", (1, 1), UP_1, NONE), 1, 2),
    power(Setup::new("power, out 2", (1, 1), UP_2, NONE), 1, 2),
    power(Setup::new("power, in 2", (1, 1), NONE, UP_2), 1, 2),
    power(Setup::new("power, in 2 2", (1, 2), NONE, UP_22), 1, 2),
    power(Setup::new("power, out 2 1", (2, 1), UP_21, NONE), 1, 1),
    power(Setup::new("power, out 2, in 2", (1, 1), UP_2, UP_2), 1, 2),
    power(Setup::new("power, out long 2", (1, 1), LONG_2, NONE), 1, 2),
    power(Setup::new("power, in long 2", (1, 1), NONE, LONG_2), 1, 2),
    cut(Setup::new("out 2, in 2", (1, 1), UP_2, UP_2), 2),
    cut(Setup::new("out 1, in 2 2", (1, 1), UP_1, UP_22), 2),
    cut(Setup::new("out 2 1, in 2", (2, 1), UP_21, UP_2), 2),
    cut(Setup::new("out 0 1 2, in 0 1 2", (2, 2), UP_012, UP_012), 1),
    skipping(Setup::new("skipped, in long 0", (1, 1), NONE, LONG_0), 1),
    skipping(
        Setup::new("skipped, in long 1, long 2", (1, 1), NONE, LONG_12),
        1,
    ),
    skipping(
        Setup::new("skipped, in long 2, 2", (1, 2), NONE, LONG_SHORT_2),
        1,
    ),
    window(
        cut(
            Setup::new("in 2 2 2, one at a time", (1, 1), NONE, DOWN_222),
            3,
        ),
        1,
    ),
    window(
        cut(
            Setup::new("in 2 2 2, two at a time", (1, 2), NONE, DOWN_222),
            2,
        ),
        2,
    ),
    worst(Setup::new("worst, out 1", (1, 1), UP_1, NONE)),
    worst(Setup::new("worst, out 2", (1, 1), UP_2, NONE)),
    worst(Setup::new("worst, in 2", (1, 1), NONE, UP_2)),
    worst(Setup::new("worst, out long 2", (1, 1), LONG_2, NONE)),
    worst(Setup::new("worst, out 2 1", (2, 1), UP_21, NONE)),
    subscribing(Setup::new("subscribing", (1, 1), NONE, NONE), 3, 2, 2),
    subscribing(
        forgetful(Setup::new("subscribing, forgotten", (1, 1), NONE, NONE), 3),
        3,
        1,
        1,
    ),
    subscribing(
        Setup::new("subscribing, out 1", (1, 1), UP_1, NONE),
        2,
        1,
        1,
    ),
    subscribing(
        Setup::new("subscribing, out 2, in 2", (1, 1), UP_2, UP_2),
        1,
        1,
        0,
    ),
    subscribing(
        timed(Setup::new("subscribing, timed", (1, 1), NONE, NONE), 3),
        3,
        1,
        1,
    ),
    subscribing(
        power(Setup::new("subscribing, power", (1, 1), NONE, NONE), 2, 2),
        2,
        1,
        1,
    ),
    subscribing(
        offline(
            Setup::new("subscribing, offline, out 1 2", (2, 1), UP_12, NONE),
            2,
        ),
        2,
        1,
        0,
    ),
    offline(Setup::new("offline, out 2 1", (2, 1), UP_21, NONE), 3),
    offline(
        Setup::new("offline, out 1 2, one slot", (1, 1), UP_12, NONE),
        3,
    ),
    offline(
        power(
            Setup::new("offline, power, out 2", (1, 1), UP_2, NONE),
            1,
            2,
        ),
        1,
    ),
    discarding(Setup::new("discarding, out 1", (1, 1), UP_1, NONE), 3, 1),
    discarding(Setup::new("discarding, out 2", (1, 1), UP_2, NONE), 3, 1),
    discarding(Setup::new("discarding, out 2 1", (2, 1), UP_21, NONE), 2, 2),
    discarding(
        Setup::new("discarding, out 2 2, one slot", (1, 1), UP_22, NONE),
        2,
        2,
    ),
    discarding(
        Setup::new("discarding, out long 2, 1", (2, 1), LONG_SHORT, NONE),
        2,
        1,
    ),
    discarding(
        forgetful(
            Setup::new("discarding, forgotten, out 2 1", (2, 1), UP_21, NONE),
            2,
        ),
        2,
        1,
    ),
    discarding(
        early(
            Setup::new("discarding, early, out 2 1", (2, 1), UP_21, NONE),
            2,
        ),
        2,
        1,
    ),
    discarding(
        offline(
            Setup::new("discarding, offline, out 1 2", (2, 1), UP_12, NONE),
            2,
        ),
        2,
        1,
    ),
    discarding(
        power(
            Setup::new("discarding, power, out 2", (1, 1), UP_2, NONE),
            1,
            2,
        ),
        1,
        1,
    ),
    late(power(
        Setup::new("late saves, out 2", (1, 1), UP_2, NONE),
        1,
        1,
    )),
    late(power(
        Setup::new("late saves, in 2", (1, 1), NONE, UP_2),
        1,
        1,
    )),
    late(power(
        Setup::new("late saves, out 1, in 2", (1, 1), UP_1, UP_2),
        0,
        1,
    )),
    late(offline(
        power(
            Setup::new("late saves, offline, out 2", (1, 1), UP_2, NONE),
            0,
            1,
        ),
        0,
    )),
    late(discarding(
        power(
            Setup::new("late saves, discarding, out 2", (1, 1), UP_2, NONE),
            0,
            1,
        ),
        0,
        1,
    )),
    late(subscribing(
        power(
            Setup::new("late saves, subscribing", (1, 1), NONE, NONE),
            1,
            1,
        ),
        1,
        1,
        1,
    )),
    subscribing(
        discarding(
            Setup::new("subscribing, discarding, out 2 1", (2, 1), UP_21, NONE),
            1,
            1,
        ),
        1,
        1,
        0,
    ),
    // The largest worlds are last. If time runs out, these are incomplete.
    cut(
        Setup::new("out 2 2, in 2 2, one id", (2, 1), UP_22, UP_22),
        2,
    ),
    cut(Setup::new("out 2 1, in 2 1", (2, 2), UP_21, UP_21), 2),
    refusing(
        Setup::new(
            "out long 2, 1, in 2, long 2",
            (2, 1),
            LONG_SHORT,
            SHORT_LONG,
        ),
        1,
        1,
    ),
    worst(Setup::new("worst, out 2, in 2", (1, 1), UP_2, UP_2)),
    worst(Setup::new(
        "worst, in long 2, 2",
        (1, 1),
        NONE,
        LONG_SHORT_2,
    )),
    power(
        Setup::new("power, out 2 2, in 2 2", (2, 2), UP_22, UP_22),
        0,
        1,
    ),
];
