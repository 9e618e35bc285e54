//! What a sink is handed: consecutive entries as they are stored, less those it does not want.

use std::sync::Arc;

use crate::follow::Committed;
use crate::merkle::Hash;

/// Which entries a sink wants, by the beginning of their action.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// None is all.
    pub include: Vec<String>,
    /// Wins over `include`.
    pub exclude: Vec<String>,
}

impl Wanted {
    /// Whether every entry is wanted.
    #[must_use]
    pub const fn is_all(&self) -> bool {
        self.include.is_empty() && self.exclude.is_empty()
    }

    /// Whether an entry is wanted.
    #[must_use]
    pub fn takes(&self, entry: &[u8]) -> bool {
        if self.is_all() {
            return true;
        }
        // What cannot be told is wanted: better one too many.
        let Some(action) = action_of(entry) else { return true };
        let begins = |with: &Vec<String>| with.iter().any(|prefix| action.starts_with(prefix));
        (self.include.is_empty() || begins(&self.include)) && !begins(&self.exclude)
    }
}

/// The action of an entry: the first member, and a plain word (`docs/formats/audit.md`).
#[must_use]
pub fn action_of(entry: &[u8]) -> Option<&str> {
    let rest = entry.strip_prefix(b"{\"action\":\"")?;
    let end = rest.iter().position(|byte| *byte == b'"')?;
    std::str::from_utf8(rest.get(..end)?).ok()
}

/// One entry of a batch.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    /// Its position in the log.
    pub seq: u64,
    /// The stored bytes: one JSON object without line ends.
    pub bytes: &'a [u8],
    /// Its leaf hash.
    pub leaf: &'a Hash,
}

/// Consecutive durable entries. Clones share them.
#[derive(Clone, Debug)]
pub struct Batch {
    groups: Arc<[Arc<Committed>]>,
    wanted: Arc<Wanted>,
    from: u64,
    end: u64,
    count: usize,
}

impl Batch {
    /// The wanted ones among the entries from `from` on, at most `limit` of them, and no more than
    /// `most` bytes as lines unless the first has more.
    pub(crate) fn new(
        groups: Vec<Arc<Committed>>,
        wanted: Arc<Wanted>,
        from: u64,
        limit: usize,
        most: usize,
    ) -> Self {
        let (mut end, mut count, mut size) = (from, 0, 0);
        'groups: for group in &groups {
            for (seq, bytes, _) in group.entries(from) {
                if wanted.takes(bytes) {
                    size += bytes.len() + 1;
                    if count == limit || (count > 0 && size > most) {
                        break 'groups;
                    }
                    count += 1;
                }
                end = seq + 1;
            }
        }
        Self { groups: groups.into(), wanted, from, end, count }
    }

    /// A batch of these entries, which begin at `from`.
    #[must_use]
    pub fn of(from: u64, entries: &[&[u8]]) -> Self {
        let page = entries.iter().zip(from..).map(|(bytes, seq)| (seq, bytes.to_vec()));
        let groups = Committed::of_page(page.collect()).map(Arc::new).into_iter().collect();
        Self::new(groups, Arc::default(), from, usize::MAX, usize::MAX)
    }

    /// The sequence it begins at.
    #[must_use]
    pub const fn from(&self) -> u64 {
        self.from
    }

    /// The sequence after its last entry: the cursor when all of it is delivered.
    #[must_use]
    pub const fn end(&self) -> u64 {
        self.end
    }

    /// How many entries there are to deliver.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.count
    }

    /// Whether nothing in it is wanted.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The entries to deliver, in order.
    pub fn entries(&self) -> impl Iterator<Item = Entry<'_>> {
        self.groups
            .iter()
            .flat_map(|group| group.entries(self.from))
            .take_while(|(seq, ..)| *seq < self.end)
            .filter(|(_, bytes, _)| self.wanted.takes(bytes))
            .map(|(seq, bytes, leaf)| Entry { seq, bytes, leaf })
    }

    /// How many of them lie before this sequence.
    #[must_use]
    pub fn before(&self, seq: u64) -> usize {
        if seq >= self.end { self.count } else { self.entries().filter(|e| e.seq < seq).count() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENTRIES: [&[u8]; 4] = [
        br#"{"action":"keys.encrypt","seq":7}"#,
        br#"{"action":"keys.rotate","seq":8}"#,
        br#"{"action":"system.start","seq":9}"#,
        br#"{"action":"keys.encrypt","seq":10}"#,
    ];

    fn cut(include: &[&str], exclude: &[&str], limit: usize) -> (Vec<u64>, u64) {
        let words = |list: &[&str]| list.iter().map(|word| (*word).to_owned()).collect();
        let wanted = Wanted { include: words(include), exclude: words(exclude) };
        let groups = Batch::of(7, &ENTRIES).groups.to_vec();
        let batch = Batch::new(groups, Arc::new(wanted), 7, limit, usize::MAX);
        assert_eq!(batch.entries().count(), batch.len());
        (batch.entries().map(|entry| entry.seq).collect(), batch.end())
    }

    #[test]
    fn what_is_not_wanted_moves_the_end_all_the_same() {
        assert_eq!(cut(&[], &[], 9), (vec![7, 8, 9, 10], 11));
        assert_eq!(cut(&["system."], &[], 9), (vec![9], 11));
        assert_eq!(cut(&["keys."], &["keys.encrypt"], 9), (vec![8], 11));
        assert_eq!(cut(&["audit."], &[], 9), (vec![], 11));
        assert_eq!(cut(&["keys."], &[], 2), (vec![7, 8], 10));
        assert_eq!(cut(&[], &["keys."], 1), (vec![9], 11));
    }

    #[test]
    fn a_batch_is_bounded_by_bytes_and_never_empty_for_that() {
        let groups = Batch::of(7, &ENTRIES).groups.to_vec();
        let two = ENTRIES[0].len() + ENTRIES[1].len() + 2;
        for (most, end) in [(two, 9), (two - 1, 8), (1, 8), (usize::MAX, 11)] {
            let batch = Batch::new(groups.clone(), Arc::default(), 7, 9, most);
            assert_eq!((batch.end(), batch.len() as u64), (end, end - 7), "{most}");
        }
    }

    #[test]
    fn entries_before_a_cursor_are_counted() {
        let batch = Batch::of(7, &ENTRIES);
        assert_eq!((batch.before(7), batch.before(9), batch.before(11)), (0, 2, 4));
        assert!(!batch.is_empty());
    }
}
