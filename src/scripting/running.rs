//! The script that runs now, as seen without the lock: whoever waits for the lock learns here that
//! a script takes long, and may ask it to stop.

use std::sync::atomic::{AtomicU64, AtomicU8, Ordering};

use parking_lot::Mutex;

use std::sync::mpsc::{sync_channel, Receiver, RecvTimeoutError, SyncSender};
use std::time::Duration;

use crate::client::{Asker, ClientId};
use crate::clock::Stopwatch;
use crate::error::Error;

/// It runs longer than `busy-reply-threshold`.
const SLOW: u8 = 1;
/// It was told to stop.
const KILLED: u8 = 2;
/// It has run a command that writes.
const WROTE: u8 = 4;
/// It is a function, not a script of EVAL.
const FUNCTION: u8 = 8;
/// The server ends: it must stop even if it has written.
const ENDING: u8 = 16;
/// Nobody waits for scripts any more: they stop as soon as they look up, slow or not.
const CLOSED: u8 = 32;

/// What FUNCTION STATS tells of a slow function.
#[derive(Clone, Debug)]
pub struct Slow {
    /// Its name.
    pub name: Vec<u8>,
    /// The words of the command that called it.
    pub words: Vec<Vec<u8>>,
    /// Runs since it began.
    pub watch: Stopwatch,
}

/// A request that came while the script runs; the script's side answers it when it looks up.
#[derive(Debug)]
pub struct Letter {
    number: u64,
    /// Whose request it is.
    pub asker: Asker,
    /// Its words.
    pub words: Vec<Vec<u8>>,
    /// Takes the reply, and whether the connection ends with it.
    pub answer: SyncSender<(Vec<u8>, bool)>,
}

/// How long a request waits for the script to look up.
const PATIENCE: Duration = Duration::from_millis(200);

/// Letters that wait, the number of the next one, and who has gone.
#[derive(Debug, Default)]
struct Mail {
    waiting: Vec<Letter>,
    gone: Vec<ClientId>,
    next: u64,
}

/// What became of a letter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// The script's side has answered; the connection ends with this reply, or not.
    Given(Vec<u8>, bool),
    /// The script did not look up in time.
    Late,
    /// The script is over.
    Over,
}

/// Why a script was not told to stop.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unkillable {
    /// Nothing runs that takes long.
    NotBusy,
    /// It has written.
    Wrote,
    /// It is of the other kind: `true` when it is a function.
    Other(bool),
}

/// See the module.
#[derive(Debug, Default)]
pub struct Running {
    flags: AtomicU8,
    /// Slow scripts so far: the number of the one that is slow now, if one is.
    number: AtomicU64,
    slow: Mutex<Option<Slow>>,
    /// Held by whoever answers in the place of the script's worker.
    turn: Mutex<()>,
    mail: Mutex<Mail>,
}

impl Running {
    /// Whether a script keeps everybody waiting.
    #[inline]
    pub fn is_slow(&self) -> bool {
        self.flags.load(Ordering::Acquire) & SLOW != 0
    }

    /// Whether the slow script is a function.
    pub fn is_function(&self) -> bool {
        self.flags.load(Ordering::Acquire) & FUNCTION != 0
    }

    /// What everybody else is told meanwhile.
    pub fn busy(&self) -> Error {
        if self.is_function() {
            Error::BusyFunction
        } else {
            Error::BusyScript
        }
    }

    /// What is known of the slow script.
    pub fn slow(&self) -> Option<Slow> {
        self.slow.lock().clone()
    }

    /// Called by the script's side when it has become slow: the script's number.
    pub fn turn_slow(&self, slow: Slow, is_function: bool, wrote: bool) -> u64 {
        // Before it is slow for everybody: who works for the one before must see that it is over.
        let number = self.number.fetch_add(1, Ordering::AcqRel) + 1;
        *self.slow.lock() = Some(slow);
        let mut flags = SLOW;
        if is_function {
            flags |= FUNCTION;
        }
        if wrote {
            flags |= WROTE;
        }
        self.flags.fetch_or(flags, Ordering::AcqRel);
        number
    }

    /// Called by the script's side: it has written, so it cannot be killed any more.
    pub fn note_write(&self) {
        self.flags.fetch_or(WROTE, Ordering::AcqRel);
    }

    /// Called by the script's side: whether it has to stop.
    pub fn must_stop(&self) -> bool {
        self.flags.load(Ordering::Acquire) & (KILLED | ENDING) != 0
    }

    /// Whether the server ends, so that what the script did must not be kept.
    pub fn is_ending(&self) -> bool {
        self.flags.load(Ordering::Acquire) & ENDING != 0
    }

    /// Does one round of work in the place of the worker of script `number`, unless that script has
    /// ended.
    pub fn while_slow(&self, number: u64, round: impl FnOnce()) -> bool {
        let _turn = self.turn.lock();
        let slow = self.is_slow() && self.number.load(Ordering::Acquire) == number;
        if slow {
            round();
        }
        slow
    }

    /// Called by the script's side at its end; waits for the round that may be under way.
    pub fn over(&self) {
        if self.flags.load(Ordering::Acquire) != 0 {
            // Nobody may wait for an answer while this waits for them.
            self.flags.fetch_and(!SLOW, Ordering::AcqRel);
            {
                let mut mail = self.mail.lock();
                mail.waiting.clear();
                mail.gone.clear();
            }
            let _turn = self.turn.lock();
            self.flags.fetch_and(CLOSED, Ordering::AcqRel);
            *self.slow.lock() = None;
        }
    }

    /// Lets the script's side answer a request.
    pub fn ask(&self, asker: &Asker, argv: &[&[u8]]) -> Reply {
        let (answer, reply) = sync_channel(1);
        let number = {
            let mut mail = self.mail.lock();
            if !self.is_slow() {
                return Reply::Over;
            }
            mail.next += 1;
            let words = argv.iter().map(|word| word.to_vec()).collect();
            let number = mail.next;
            mail.waiting.push(Letter { number, asker: asker.clone(), words, answer });
            number
        };
        self.wait(number, &reply)
    }

    fn wait(&self, number: u64, reply: &Receiver<(Vec<u8>, bool)>) -> Reply {
        match reply.recv_timeout(PATIENCE) {
            Ok((reply, ends)) => return Reply::Given(reply, ends),
            Err(RecvTimeoutError::Disconnected) => return Reply::Over,
            Err(RecvTimeoutError::Timeout) => {}
        }
        let mut mail = self.mail.lock();
        let before = mail.waiting.len();
        mail.waiting.retain(|letter| letter.number != number);
        if mail.waiting.len() < before {
            return Reply::Late;
        }
        drop(mail);
        // It is being answered just now.
        reply.recv().map_or(Reply::Over, |(reply, ends)| Reply::Given(reply, ends))
    }

    /// Called by the script's side: the requests that wait.
    pub fn letters(&self) -> Vec<Letter> {
        std::mem::take(&mut self.mail.lock().waiting)
    }

    /// Tells the script's side that a connection has ended. Whose it was unregisters the client
    /// when the script is over; until then it counts for nobody.
    pub fn note_gone(&self, client: ClientId) {
        let mut mail = self.mail.lock();
        if self.is_slow() && !mail.gone.contains(&client) {
            mail.gone.push(client);
        }
    }

    /// Called by the script's side: whose connections have ended.
    pub fn gone(&self) -> Vec<ClientId> {
        std::mem::take(&mut self.mail.lock().gone)
    }

    /// Tells a slow script to stop (SCRIPT KILL, FUNCTION KILL). Called under the lock: by the
    /// script's side, if there is one, so nothing that is judged here changes meanwhile.
    pub fn kill(&self, function: bool) -> Result<(), Unkillable> {
        judge(self.flags.load(Ordering::Acquire), function)?;
        self.flags.fetch_or(KILLED, Ordering::AcqRel);
        Ok(())
    }

    /// Tells the script that runs, and all that begin, to stop as soon as they look up.
    pub fn close(&self) {
        self.flags.fetch_or(CLOSED, Ordering::AcqRel);
    }

    /// Scripts may run again.
    pub fn reopen(&self) {
        self.flags.fetch_and(!CLOSED, Ordering::AcqRel);
    }

    /// Whether scripts have to stop at once.
    pub fn is_closed(&self) -> bool {
        self.flags.load(Ordering::Acquire) & CLOSED != 0
    }

    /// Tells a slow script to stop because the server ends.
    pub fn end(&self) {
        self.flags.fetch_or(ENDING, Ordering::AcqRel);
    }
}

fn judge(flags: u8, function: bool) -> Result<(), Unkillable> {
    if flags & SLOW == 0 {
        return Err(Unkillable::NotBusy);
    }
    if flags & WROTE != 0 {
        return Err(Unkillable::Wrote);
    }
    let is_function = flags & FUNCTION != 0;
    if is_function != function {
        return Err(Unkillable::Other(is_function));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{Running, Slow};
    use crate::clock::Stopwatch;

    #[test]
    fn who_works_for_a_slow_script_stops_when_the_next_one_is_slow() {
        let running = Running::default();
        let slow = || Slow { name: Vec::new(), words: Vec::new(), watch: Stopwatch::start() };
        let first = running.turn_slow(slow(), false, false);
        assert!(running.while_slow(first, || {}));
        running.over();
        let second = running.turn_slow(slow(), false, false);
        assert!(!running.while_slow(first, || panic!("a round for a script that is over")));
        assert!(running.while_slow(second, || {}));
        running.over();
        assert!(!running.while_slow(second, || panic!("a round for a script that is over")));
    }
}
