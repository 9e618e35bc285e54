//! Crashes at any point: never too low, at most one block too high each time.

use proptest::prelude::*;

use super::*;

const NOW: Timestamp = Timestamp::from_micros(1_000_000);

#[test]
fn counts_add_up_and_stop_at_the_end() {
    let mut a = UsageCounters::default();
    a.count(Side::Protect, Tally::one(100), NOW);
    a.count(Side::Process, Tally::one(7), Timestamp::from_micros(5));
    assert_eq!((a.operations(), a.bytes()), (2, 107));
    assert_eq!(a.side(Side::Protect), Tally { operations: 1, bytes: 100 });
    assert_eq!(a.last_use, Some(NOW), "a clock set back does not undo the last use");
    let mut b = UsageCounters { protect: Tally::one(u64::MAX), ..UsageCounters::default() };
    b.merge(&a);
    assert_eq!(b.protect, Tally { operations: 2, bytes: u64::MAX });
    assert_eq!((b.process, b.last_use), (a.process, a.last_use));
}

#[test]
fn the_stored_form_reads_what_is_missing_as_nothing() {
    let empty: UsageCounters = serde_json::from_str("{}").unwrap();
    assert_eq!(empty, UsageCounters::default());
    let mut full = UsageCounters::default();
    full.count(Side::Process, Tally::one(3), NOW);
    let json = serde_json::to_string(&full).unwrap();
    assert_eq!(
        json,
        "{\"protect\":{\"operations\":0,\"bytes\":0},\"process\":{\"operations\":1,\"bytes\":3},\
         \"lastUse\":\"1970-01-01T00:00:01.000000Z\",\"lastProcess\":\"1970-01-01T00:00:01.000000Z\"}"
    );
    assert_eq!(serde_json::from_str::<UsageCounters>(&json).unwrap(), full);
}

#[test]
fn blocks_double_with_use_up_to_the_largest() {
    let mut block = Block::operations(0);
    let mut writes = 0;
    for _ in 0..1_000_000u32 {
        if let Taken::NeedsReservation(until) = block.take(1) {
            writes += 1;
            block.reserved(until);
            assert_eq!(block.take(1), Taken::Taken);
        }
    }
    assert_eq!((block.used(), block.size()), (1_000_000, Block::LARGEST_OPERATIONS));
    assert!(writes < 30, "{writes} writes for a million operations");
}

#[test]
fn a_use_larger_than_a_block_is_reserved_for_itself() {
    let mut block = Block::bytes(0);
    let huge = Block::LARGEST_BYTES * 3;
    assert_eq!(block.take(huge), Taken::NeedsReservation(huge));
    block.reserved(huge);
    assert_eq!(block.take(huge), Taken::Taken);
    block.reserved(5);
    assert_eq!(block.reserved_until(), huge, "a late answer takes nothing back");
}

#[test]
fn at_the_largest_number_counting_stops() {
    let mut block = Block::operations(u64::MAX - 1);
    assert_eq!(block.take(5), Taken::NeedsReservation(u64::MAX));
    block.reserved(u64::MAX);
    for _ in 0..3 {
        assert_eq!(block.take(5), Taken::Taken);
    }
    assert_eq!(block.used(), u64::MAX);
}

#[test]
fn nothing_is_taken_when_one_of_the_two_is_used_up() {
    let mut it = Reservation::resume(&UsageCounters::default());
    let Take::NeedsReservation(record) = it.take(Side::Protect, Tally::one(1), NOW) else {
        panic!("nothing was reserved");
    };
    assert_eq!(record.process, Tally::default());
    it.reserved(&record);
    let before = it.used();
    let large = Tally::one(Block::FIRST_BYTES * 2);
    assert!(matches!(it.take(Side::Protect, large, NOW), Take::NeedsReservation(_)));
    assert_eq!(it.used(), before);
}

/// One event in the life of a node.
#[derive(Clone, Debug)]
enum Event {
    Use(Side, u64),
    /// The process dies after the record is durable and before anything is taken from it.
    DieAfterWrite(Side, u64),
    /// The process dies before the record is durable.
    DieBeforeWrite(Side, u64),
    Die,
    Stop,
}

fn event() -> impl Strategy<Value = Event> {
    let side = || prop_oneof![Just(Side::Protect), Just(Side::Process)];
    let bytes = || prop_oneof![0u64..200, 0..Block::FIRST_BYTES];
    prop_oneof![
        60 => (side(), bytes()).prop_map(|(side, n)| Event::Use(side, n)),
        1 => (side(), bytes()).prop_map(|(side, n)| Event::DieAfterWrite(side, n)),
        1 => (side(), bytes()).prop_map(|(side, n)| Event::DieBeforeWrite(side, n)),
        1 => Just(Event::Die),
        1 => Just(Event::Stop),
    ]
}

/// The slack that a crash now may cost: one block of each of the four counters.
fn slack(it: &Reservation) -> UsageCounters {
    let of = |blocks: &Blocks| Tally {
        operations: blocks.operations.size(),
        bytes: blocks.bytes.size(),
    };
    UsageCounters {
        protect: of(&it.protect),
        process: of(&it.process),
        last_use: None,
        last_process: None,
    }
}

fn numbers(counters: &UsageCounters) -> [u64; 4] {
    let UsageCounters { protect, process, .. } = counters;
    [protect.operations, protect.bytes, process.operations, process.bytes]
}

proptest! {
    #[test]
    fn crashes_never_undercount_and_cost_at_most_a_block_each(
        events in proptest::collection::vec((event(), 1usize..300), 0..60),
    ) {
        let mut truth = UsageCounters::default();
        let mut durable = UsageCounters::default();
        let mut allowance = UsageCounters::default();
        let mut it = Reservation::resume(&durable);
        for (event, times) in events {
            match event {
                Event::Use(side, bytes) => for _ in 0..times {
                    let use_ = Tally::one(bytes);
                    if let Take::NeedsReservation(record) = it.take(side, use_, NOW) {
                        durable = record;
                        it.reserved(&record);
                        prop_assert_eq!(it.take(side, use_, NOW), Take::Taken);
                    }
                    truth.count(side, use_, NOW);
                },
                Event::DieBeforeWrite(side, bytes) => {
                    if it.take(side, Tally::one(bytes), NOW) == Take::Taken {
                        truth.count(side, Tally::one(bytes), NOW);
                    }
                    allowance.merge(&slack(&it));
                    it = Reservation::resume(&durable);
                }
                Event::DieAfterWrite(side, bytes) => {
                    match it.take(side, Tally::one(bytes), NOW) {
                        Take::Taken => truth.count(side, Tally::one(bytes), NOW),
                        Take::NeedsReservation(record) => durable = record,
                    }
                    allowance.merge(&slack(&it));
                    it = Reservation::resume(&durable);
                }
                Event::Die => {
                    allowance.merge(&slack(&it));
                    it = Reservation::resume(&durable);
                }
                Event::Stop => {
                    durable = it.used();
                    it = Reservation::resume(&durable);
                }
            }
            let all = numbers(&truth).into_iter().zip(numbers(&it.used())).zip(numbers(&durable));
            for (((truth, used), durable), allowance) in all.zip(numbers(&allowance)) {
                prop_assert!(truth <= used, "undercounted in memory");
                prop_assert!(used <= durable, "the durable record is behind");
                prop_assert!(used <= truth + allowance, "overcounted by more than a block a crash");
            }
        }
    }
}
