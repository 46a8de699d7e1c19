//! The room under the lock: engines, the cache of scripts, libraries.
//!
//! A running engine is taken out of the room, so that commands of the script reach the rest of
//! the state; its bytes are still counted.

use std::sync::Arc;

use super::engine::Engine;
use super::functions::Libraries;
use super::running::Running;
use super::sandbox::{Purpose, Version};
use super::scripts::Scripts;

/// See the module.
#[derive(Default)]
pub struct Scripting {
    /// Scripts of EVAL and SCRIPT LOAD.
    pub scripts: Scripts,
    /// Libraries of functions.
    pub libraries: Libraries,
    /// The script that runs now, for those without the lock.
    pub running: Arc<Running>,
    /// The error of the command that has just run was counted before, inside a script.
    pub error_counted: bool,
    engines: [Option<Engine>; 2],
    lent_bytes: usize,
}

impl std::fmt::Debug for Scripting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Scripting of {} scripts", self.scripts.len())
    }
}

/// Libraries, and the engine that their functions are compiled in: none means anything without
/// the other.
#[derive(Default)]
pub struct Shelf {
    libraries: Libraries,
    engine: Option<Engine>,
}

impl Scripting {
    /// Puts the libraries aside, in exchange for others.
    pub fn swap_libraries(&mut self, shelf: &mut Shelf) {
        std::mem::swap(&mut self.libraries, &mut shelf.libraries);
        std::mem::swap(&mut self.engines[Purpose::Functions as usize], &mut shelf.engine);
    }

    /// Takes an engine out, made now if there is none. None when there is no memory for one.
    pub fn take_engine(&mut self, purpose: Purpose, version: &str) -> Option<Engine> {
        let taken = self.engines[purpose as usize].take();
        let engine = match taken {
            Some(engine) => engine,
            None => Engine::new(purpose, &Version::of(version))?,
        };
        self.lent_bytes += engine.used_bytes();
        Some(engine)
    }

    /// Puts an engine back.
    pub fn put_engine(&mut self, purpose: Purpose, engine: Engine) {
        self.engines[purpose as usize] = Some(engine);
        self.lent_bytes = 0;
    }

    /// Bytes of engines and scripts.
    pub fn used_bytes(&self) -> usize {
        let held: usize = self.engines.iter().flatten().map(Engine::used_bytes).sum();
        held + self.lent_bytes + self.scripts.body_bytes()
    }

    /// Bytes of the engine of one purpose.
    pub fn engine_bytes(&self, purpose: Purpose) -> usize {
        self.engines[purpose as usize].as_ref().map_or(0, Engine::used_bytes)
    }

    /// Forgets all scripts and their engine (SCRIPT FLUSH).
    pub fn flush_scripts(&mut self) {
        self.scripts.clear();
        self.engines[Purpose::Scripts as usize] = None;
    }

    /// Forgets all libraries and their engine (FUNCTION FLUSH).
    pub fn flush_libraries(&mut self) {
        self.libraries.clear();
        self.engines[Purpose::Functions as usize] = None;
    }
}
