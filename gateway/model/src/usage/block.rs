//! One counter, reserved in blocks: the durable number runs ahead of the used one.

/// A counter whose durable value is written in blocks ahead of use.
///
/// INVARIANT: `used` ≤ `reserved_until`, which is durable; and unless one use is larger than a
/// block, `reserved_until` − `used` ≤ the block's size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block {
    used: u64,
    reserved_until: u64,
    size: u64,
    largest: u64,
}

/// The answer to a use of one counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// Counted.
    Taken,
    /// Not counted: this number must be durable first.
    NeedsReservation(u64),
}

impl Block {
    /// Smallest block of operations.
    pub const FIRST_OPERATIONS: u64 = 64;
    /// Largest block of operations.
    pub const LARGEST_OPERATIONS: u64 = 65_536;
    /// Smallest block of bytes: 64 KiB.
    pub const FIRST_BYTES: u64 = 64 << 10;
    /// Largest block of bytes: 64 MiB, a KiB for each operation of the largest block of those.
    pub const LARGEST_BYTES: u64 = 64 << 20;

    /// A counter of operations that goes on from its durable value. Whatever was reserved there
    /// counts as used, for nobody knows how much of it was.
    #[must_use]
    pub const fn operations(durable: u64) -> Self {
        Self::new(durable, Self::FIRST_OPERATIONS, Self::LARGEST_OPERATIONS)
    }

    /// A counter of bytes that goes on from its durable value, as [`Self::operations`].
    #[must_use]
    pub const fn bytes(durable: u64) -> Self {
        Self::new(durable, Self::FIRST_BYTES, Self::LARGEST_BYTES)
    }

    const fn new(durable: u64, size: u64, largest: u64) -> Self {
        Self { used: durable, reserved_until: durable, size, largest }
    }

    /// Counts a use of `n`, or says which number must be durable first. At the largest number
    /// counting stops and everything is taken.
    pub const fn take(&mut self, n: u64) -> Taken {
        let after = self.used.saturating_add(n);
        if after <= self.reserved_until {
            self.used = after;
            Taken::Taken
        } else {
            Taken::NeedsReservation(self.want(n))
        }
    }

    /// The number is durable. A number below an earlier one is ignored; a higher one makes the next
    /// block twice as large, up to the largest.
    pub const fn reserved(&mut self, until: u64) {
        if until > self.reserved_until {
            self.reserved_until = until;
            let doubled = self.size.saturating_mul(2);
            self.size = if doubled < self.largest { doubled } else { self.largest };
        }
    }

    /// What was used.
    #[must_use]
    pub const fn used(&self) -> u64 {
        self.used
    }

    /// What is durable.
    #[must_use]
    pub const fn reserved_until(&self) -> u64 {
        self.reserved_until
    }

    /// How much the next reservation is ahead of use.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// The number to make durable: that of the answer, or a whole block ahead where the answer was
    /// that nothing is needed yet.
    pub(super) const fn wanted(&self, answer: Taken, n: u64) -> u64 {
        match answer {
            Taken::NeedsReservation(until) => until,
            Taken::Taken => {
                let until = self.want(n);
                if until > self.reserved_until { until } else { self.reserved_until }
            }
        }
    }

    const fn want(&self, n: u64) -> u64 {
        self.used.saturating_add(if n > self.size { n } else { self.size })
    }
}
