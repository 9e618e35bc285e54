//! How far a sink is behind, seen from outside: a sink that hangs says nothing itself.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// The most marks kept; the oldest says how late it is.
const MARKS: usize = 1024;

/// How far behind a required sink may be before new work is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// The age of the oldest entry that is not delivered.
    pub time: Duration,
    /// Entries that are not delivered.
    pub entries: u64,
}

/// How far behind a sink is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Waiting {
    /// Entries that are not delivered.
    pub entries: u64,
    /// For how long the oldest of them has been there, to the precision of the looks.
    pub time: Duration,
}

/// Measures how far behind one sink is, by looks at the log's size.
#[derive(Debug, Default)]
pub struct Lag {
    /// Sizes of the log when they were seen first.
    marks: VecDeque<(Instant, u64)>,
    behind: bool,
}

impl Lag {
    /// The lag of a sink when the process starts. What it has not delivered then may have waited
    /// for long: such a sink is behind.
    #[must_use]
    pub fn starting(now: Instant, size: u64, reached: u64) -> Self {
        let mut lag = Self::default();
        lag.look(now, size, reached);
        lag.behind = size > reached;
        lag
    }

    /// Whether the sink was judged to be too far behind.
    #[must_use]
    pub const fn behind(&self) -> bool {
        self.behind
    }

    /// Looks at the log's size and at what the sink has reached.
    pub fn look(&mut self, now: Instant, size: u64, reached: u64) -> Waiting {
        while self.marks.front().is_some_and(|(_, mark)| *mark <= reached) {
            self.marks.pop_front();
        }
        let full = self.marks.len() >= MARKS;
        let newest = self.marks.back().map_or(reached, |(_, mark)| *mark);
        if size > newest {
            // Full: what is new counts as old as the newest mark, never as not there.
            match self.marks.back_mut().filter(|_| full) {
                Some((_, mark)) => *mark = size,
                None => self.marks.push_back((now, size)),
            }
        }
        let time = self.marks.front().map(|(since, _)| now.saturating_duration_since(*since));
        Waiting { entries: size.saturating_sub(reached), time: time.unwrap_or_default() }
    }

    /// Whether the sink is too far behind. Once it is, it is until it has caught up with
    /// everything that was there at the look before.
    pub fn judge(&mut self, waiting: Waiting, bounds: Bounds) -> bool {
        self.behind = if self.behind {
            !waiting.time.is_zero()
        } else {
            waiting.time > bounds.time || waiting.entries > bounds.entries
        };
        self.behind
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds { time: Duration::from_secs(5), entries: 100 };

    #[test]
    fn a_sink_that_hangs_is_behind_within_the_bound_and_comes_back_when_it_has_caught_up() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let mut lag = Lag::default();
        let mut look = |millis, size, reached| {
            let waiting = lag.look(at(millis), size, reached);
            (waiting, lag.judge(waiting, BOUNDS))
        };
        assert_eq!(look(0, 10, 10), (Waiting::default(), false));
        // Ten entries come, then more and more: the oldest counts.
        assert!(!look(100, 20, 10).1);
        assert!(!look(3000, 30, 10).1);
        let (waiting, behind) = look(5200, 40, 10);
        assert_eq!((waiting.entries, waiting.time), (30, Duration::from_millis(5100)));
        assert!(behind);
        // The first ten are delivered, the others still wait.
        let (waiting, behind) = look(5300, 40, 20);
        assert_eq!(waiting.time, Duration::from_millis(2300));
        assert!(behind, "not before it has caught up");
        assert!(!look(5400, 41, 40).1, "what came since the last look does not count");
    }

    #[test]
    fn what_comes_when_the_marks_are_full_is_not_forgotten() {
        let start = Instant::now();
        let mut lag = Lag::default();
        let mut at = start;
        for size in 1..=MARKS as u64 + 500 {
            at += Duration::from_millis(100);
            lag.look(at, size, 0);
        }
        // All that had marks is delivered, the last 400 are not.
        let (size, reached) = (MARKS as u64 + 500, MARKS as u64 + 100);
        let waiting = lag.look(at, size, reached);
        assert_eq!(waiting.entries, 400);
        assert!(waiting.time >= Duration::from_secs(40), "{waiting:?}");
        assert_eq!(lag.look(at, size, size).time, Duration::ZERO);
    }

    #[test]
    fn a_flood_is_behind_by_number() {
        let mut lag = Lag::default();
        let waiting = lag.look(Instant::now(), 101, 0);
        assert!(lag.judge(waiting, BOUNDS));
    }

    #[test]
    fn who_starts_behind_is_behind_until_it_has_caught_up() {
        let now = Instant::now();
        let at = |millis| now + Duration::from_millis(millis);
        let mut lag = Lag::starting(now, 5, 3);
        for (millis, reached, behind) in [(100, 3, true), (200, 4, true), (300, 5, false)] {
            let waiting = lag.look(at(millis), 5, reached);
            assert_eq!(lag.judge(waiting, BOUNDS), behind, "{millis}");
        }
        assert!(!Lag::starting(now, 5, 5).behind());
    }
}
