//! The cache of scripts: bodies and compiled functions by SHA1.
//!
//! Scripts that EVAL brought are bounded to the 500 used last; those of SCRIPT LOAD stay.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use sha1_smol::Sha1;

use super::engine::{Engine, Function};
use super::flags::{self, Flags};

/// Most scripts kept for EVAL alone.
const EVAL_SCRIPTS: usize = 500;

/// A SHA1 as 40 lower-case digits.
pub type Digest = [u8; 40];

/// One script.
#[derive(Clone, Debug)]
pub struct Script {
    /// SHA1 of the body.
    pub digest: Digest,
    /// The text, first line included.
    pub body: Arc<[u8]>,
    /// What its first line declares.
    pub flags: Flags,
    /// The compiled code.
    pub function: Function,
    /// Use counter, 0 for scripts that SCRIPT LOAD brought.
    used: u64,
}

/// See the module.
#[derive(Default, Debug)]
pub struct Scripts {
    /// Scripts by number; numbers of dropped ones are used again.
    slots: Vec<Option<Script>>,
    free: Vec<usize>,
    by_digest: HashMap<Digest, usize>,
    /// By the text, so that EVAL need not hash it twice.
    by_body: HashMap<Arc<[u8]>, usize>,
    uses: u64,
    evicted: u64,
    /// Those of EVAL alone, by their use counters.
    by_use: BTreeMap<u64, usize>,
    body_bytes: usize,
}

impl Scripts {
    /// Number of scripts.
    pub fn len(&self) -> usize {
        self.by_digest.len()
    }

    /// Whether there is no script.
    pub fn is_empty(&self) -> bool {
        self.by_digest.is_empty()
    }

    /// How many scripts were dropped to keep the bound.
    pub fn evicted(&self) -> u64 {
        self.evicted
    }

    /// Counts dropped scripts from 0 again.
    pub fn reset_statistics(&mut self) {
        self.evicted = 0;
    }

    /// Bytes of all bodies.
    pub fn body_bytes(&self) -> usize {
        self.body_bytes
    }

    /// Whether a script of this digest (either case) is known.
    pub fn contains(&self, digest: &[u8]) -> bool {
        lower(digest).is_some_and(|digest| self.by_digest.contains_key(&digest))
    }

    /// Finds a script by its digest, in either case, and marks it used.
    pub fn find(&mut self, digest: &[u8]) -> Option<&Script> {
        let slot = *self.by_digest.get(&lower(digest)?)?;
        self.touch(slot)
    }

    /// What the script of this digest declares, if it is known.
    pub fn flags(&self, digest: &[u8]) -> Option<Flags> {
        let slot = *self.by_digest.get(&lower(digest)?)?;
        self.slots.get(slot)?.as_ref().map(|script| script.flags)
    }

    /// The script of this body, compiled if it is new. The error is without `ERR`.
    pub fn eval(&mut self, engine: &mut Engine, body: &[u8]) -> Result<&Script, Vec<u8>> {
        let slot = match self.by_body.get(body) {
            Some(&slot) => slot,
            None => {
                self.make_room(engine);
                let slot = self.add(engine, digest_of(body), body)?;
                self.bound(slot);
                slot
            }
        };
        self.touch(slot).ok_or_else(Vec::new)
    }

    /// Keeps a script for good (SCRIPT LOAD). The error is without `ERR`.
    pub fn load(&mut self, engine: &mut Engine, body: &[u8]) -> Result<Digest, Vec<u8>> {
        let digest = digest_of(body);
        match self.by_digest.get(&digest) {
            Some(&slot) => {
                if let Some(script) = &mut self.slots[slot] {
                    self.by_use.remove(&std::mem::take(&mut script.used));
                }
            }
            None => {
                self.add(engine, digest, body)?;
            }
        }
        Ok(digest)
    }

    /// Forgets everything; the engine goes too.
    pub fn clear(&mut self) {
        let evicted = self.evicted;
        *self = Scripts { evicted, ..Scripts::default() };
    }

    fn touch(&mut self, slot: usize) -> Option<&Script> {
        let used = self.slots.get(slot)?.as_ref()?.used;
        if used != 0 && used != self.uses {
            self.by_use.remove(&used);
            self.bound(slot);
        }
        self.slots[slot].as_ref()
    }

    /// A script of EVAL alone is the last that was used.
    fn bound(&mut self, slot: usize) {
        self.uses += 1;
        self.by_use.insert(self.uses, slot);
        if let Some(script) = &mut self.slots[slot] {
            script.used = self.uses;
        }
    }

    fn add(&mut self, engine: &mut Engine, digest: Digest, body: &[u8]) -> Result<usize, Vec<u8>> {
        let (flags, header_bytes) = flags::shebang(body)?;
        let function =
            engine.compile(&body[header_bytes..], c"@user_script").map_err(|message| {
                [b"Error compiling script (new function): ", message.as_slice()].concat()
            })?;
        let body: Arc<[u8]> = body.into();
        self.body_bytes += body.len();
        let script = Script { digest, body: body.clone(), flags, function, used: 0 };
        let slot = match self.free.pop() {
            Some(slot) => {
                self.slots[slot] = Some(script);
                slot
            }
            None => {
                self.slots.push(Some(script));
                self.slots.len() - 1
            }
        };
        self.by_body.insert(body, slot);
        self.by_digest.insert(digest, slot);
        Ok(slot)
    }

    fn make_room(&mut self, engine: &mut Engine) {
        while self.by_use.len() >= EVAL_SCRIPTS {
            let Some((_, slot)) = self.by_use.pop_first() else { return };
            let Some(script) = self.slots[slot].take() else { return };
            self.free.push(slot);
            self.by_digest.remove(&script.digest);
            self.by_body.remove(&script.body);
            self.body_bytes -= script.body.len();
            engine.release(script.function);
            self.evicted += 1;
        }
    }
}

fn digest_of(body: &[u8]) -> Digest {
    let text = Sha1::from(body).digest().to_string();
    let mut digest = [0; 40];
    for (to, from) in digest.iter_mut().zip(text.bytes()) {
        *to = from;
    }
    digest
}

fn lower(digest: &[u8]) -> Option<Digest> {
    let mut digest: Digest = digest.try_into().ok()?;
    digest.make_ascii_lowercase();
    Some(digest)
}
