//! Whether a sync waits a moment for those who are about to write.
//!
//! Clients that wait for their replies fall into two groups: one is served by the sync that ends,
//! the other has written during it and is served by the next, which could begin at once. On a slow
//! disk it is better if that one waits until the first group has written again: then each sync
//! serves all of them, and it serves twice as many. On a fast disk a group needs longer to come
//! back than a sync lasts, and to wait for it would leave the disk idle. So each wait is weighed by
//! what it brought, and after one that did not pay the next ones are left out, ever more of them.
//!
//! Invariant: a wait is at most half as long as a sync, and as a bound: one sync that took seconds
//! says nothing of the next.

/// Syncs that are shorter are not worth a wait.
const SYNC_NS_MIN: u64 = 60_000;
/// Longer syncs count as this long: nobody waits longer than half of it.
const SYNC_NS_MAX: u64 = 20_000_000;
/// Waits that are left out in a row, at most.
const LEFT_OUT_MAX: u32 = 63;

/// What is known of the last rounds.
#[derive(Debug, Default)]
pub(super) struct Gathering {
    /// Units that were there when the last sync began.
    begun: u64,
    /// Units that will be there when everybody whom it served has written again.
    expected: u64,
    /// How long a sync takes, about.
    sync_ns: u64,
    /// Waits to be left out, after the last one that did not pay.
    penalty: u32,
    left_out: u32,
}

impl Gathering {
    /// How many units to wait for, and how long, when so many are here.
    pub(super) fn wish(&mut self, here: u64) -> Option<(u64, u64)> {
        // Bursts differ a little: the last few need not come.
        let missing = self.expected.saturating_sub(here);
        let round = self.expected.saturating_sub(self.begun);
        if missing <= round / 16 || self.sync_ns < SYNC_NS_MIN {
            return None;
        }
        if self.left_out > 0 {
            self.left_out -= 1;
            return None;
        }
        Some((self.expected - round / 16, self.sync_ns / 2))
    }

    /// A wait is over: there were so many units, and are so many now.
    pub(super) fn waited(&mut self, before: u64, after: u64, took_ns: u64) {
        let (there, came) = (before.saturating_sub(self.begun), after.saturating_sub(before));
        // It served more in a longer time: did it serve more in the same time?
        let paid =
            u128::from(came) * u128::from(self.sync_ns) > u128::from(there) * u128::from(took_ns);
        self.penalty = if paid { 0 } else { (self.penalty * 2 + 1).min(LEFT_OUT_MAX) };
        self.left_out = self.penalty;
    }

    /// A sync is over that began with `begun` units; now there are `here`.
    pub(super) fn synced(&mut self, begun: u64, here: u64, took_ns: u64) {
        self.expected = here + begun.saturating_sub(self.begun);
        self.begun = begun;
        let took_ns = took_ns.min(SYNC_NS_MAX);
        self.sync_ns = match self.sync_ns {
            0 => took_ns,
            before => before - before / 8 + took_ns / 8,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Clients that write again a while after each reply, and a disk; syncs in a second.
    fn rounds(clients: u64, back_ns: u64, sync_ns: u64) -> u64 {
        let (mut gathering, mut now_ns, mut served) = (Gathering::default(), 0, 0);
        // When each of them writes next.
        let mut due: Vec<u64> = (0..clients).map(|at| at * back_ns / clients).collect();
        let units = |due: &[u64], served: u64, now_ns: u64| {
            served + due.iter().filter(|due| **due <= now_ns).count() as u64
        };
        while now_ns < 1_000_000_000 {
            now_ns = now_ns.max(due.iter().copied().min().unwrap());
            let here = units(&due, served, now_ns);
            if let Some((target, patience_ns)) = gathering.wish(here) {
                let until = now_ns + patience_ns;
                let began = now_ns;
                while units(&due, served, now_ns) < target && now_ns < until {
                    now_ns += 1000;
                }
                gathering.waited(here, units(&due, served, now_ns), now_ns - began);
            }
            let begun = units(&due, served, now_ns);
            let group: Vec<usize> = (0..due.len()).filter(|at| due[*at] <= now_ns).collect();
            now_ns += sync_ns;
            gathering.synced(begun, units(&due, served, now_ns), sync_ns);
            for (at, client) in group.iter().enumerate() {
                due[*client] = now_ns + (at as u64 + 1) * back_ns / clients;
            }
            served += group.len() as u64;
        }
        served
    }

    #[test]
    fn on_a_slow_disk_each_sync_serves_all() {
        // Two groups in turn would be 25,000.
        let served = rounds(50, 200_000, 1_000_000);
        assert!(served > 38_000, "{served}");
    }

    #[test]
    fn on_a_fast_disk_nothing_is_lost() {
        let served = rounds(50, 1_000_000, 100_000);
        assert!(served > 40_000, "{served}");
    }

    #[test]
    fn one_client_never_waits() {
        let mut gathering = Gathering::default();
        for unit in 1..100 {
            assert_eq!(gathering.wish(unit), None);
            gathering.synced(unit, unit, 1_000_000);
        }
    }

    #[test]
    fn one_sync_that_took_seconds_makes_no_long_waits() {
        let mut gathering = Gathering::default();
        gathering.synced(50, 100, 5_000_000_000);
        let (_, patience_ns) = gathering.wish(51).expect("the others may come");
        assert!(patience_ns <= SYNC_NS_MAX / 2, "{patience_ns}");
    }

    #[test]
    fn waits_that_do_not_pay_become_rare() {
        let mut gathering = Gathering::default();
        let (mut unit, mut waits) = (100, 0);
        for _ in 0..1000 {
            if gathering.wish(unit).is_some() {
                waits += 1;
                gathering.waited(unit, unit, 500_000);
            }
            gathering.synced(unit, unit + 50, 1_000_000);
            unit += 50;
        }
        assert!((1..40).contains(&waits), "{waits}");
    }
}
