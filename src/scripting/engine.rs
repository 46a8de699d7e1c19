//! One Lua state with its sandbox: compiles code and calls functions.
//!
//! Invariant: between calls the stack is empty, no host is lent, and nothing of a finished script
//! is reachable except compiled functions that are kept by reference.

use std::ffi::CStr;

use super::convert::{write_error, write_result, Outcome, Protocols};
use super::functions::Registered;
use super::guard;
use super::host::Host;
use super::raw::{Kind, Lua};
use super::sandbox::{self, Purpose, Sandbox, Version};
use super::shared::Shared;

/// A compiled function, kept alive until [`Engine::release`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Function(i32);

impl Function {
    /// Takes over a reference made by `Lua::keep`.
    pub(super) fn from_reference(reference: i32) -> Self {
        Function(reference)
    }

    pub(super) fn reference(self) -> i32 {
        self.0
    }
}

/// How keys and arguments reach the code.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Passing {
    /// As the globals KEYS and ARGV (EVAL).
    Globals,
    /// As two parameters (FCALL).
    Parameters,
}

/// One call of a compiled function.
pub struct Call<'a> {
    /// What to run.
    pub function: Function,
    /// Name in error messages: the script's SHA1, or the function's name.
    pub name: &'a [u8],
    /// KEYS.
    pub keys: &'a [&'a [u8]],
    /// ARGV.
    pub args: &'a [&'a [u8]],
    /// How the code receives them.
    pub passing: Passing,
    /// Protocol of the client that waits for the result, 2 or 3.
    pub protocol: u8,
}

/// See the module.
pub struct Engine {
    lua: Lua,
    sandbox: Sandbox,
    shared: Box<Shared>,
}

// SAFETY: the state is owned by this value alone and used by one thread at a time.
#[allow(unsafe_code)]
unsafe impl Send for Engine {}

impl Engine {
    /// A fresh engine. None when there is no memory for it.
    pub fn new(purpose: Purpose, version: &Version) -> Option<Self> {
        let shared = Shared::new();
        let lua = guard::open_state(&shared)?;
        let sandbox = sandbox::build(lua, &shared, purpose, version);
        Some(Engine { lua, sandbox, shared })
    }

    /// Bytes that the Lua state holds.
    pub fn used_bytes(&self) -> usize {
        self.shared.used_bytes()
    }

    /// Sets the most bytes that scripts may take together.
    pub fn set_memory_limit(&mut self, bytes: usize) {
        self.shared.set_limit(bytes);
    }

    /// Compiles a chunk; the error is Lua's message.
    pub fn compile(&mut self, code: &[u8], chunk_name: &CStr) -> Result<Function, Vec<u8>> {
        let lua = self.lua;
        if lua.compile(code, chunk_name) {
            return Ok(Function(lua.keep()));
        }
        let message = lua.bytes(-1).unwrap_or_default().to_vec();
        lua.set_top(0);
        Err(message)
    }

    /// Lets a compiled function go.
    pub fn release(&mut self, function: Function) {
        self.lua.release(function.0);
    }

    /// Runs a function and appends its result, or its error, as one reply.
    pub fn call(&mut self, call: &Call<'_>, host: &mut dyn Host, out: &mut Vec<u8>) -> Outcome {
        let lua = self.lua;
        let shared = &*self.shared;
        shared.protocol.set(2);
        shared.mark_stack();
        lua.push_kept(self.sandbox.error_handler);
        lua.push_kept(call.function.0);
        let parameters = match call.passing {
            Passing::Globals => {
                lua.push_kept(self.sandbox.globals);
                push_list(lua, call.keys);
                lua.set_field(-2, b"KEYS");
                push_list(lua, call.args);
                lua.set_field(-2, b"ARGV");
                lua.pop(1);
                0
            }
            Passing::Parameters => {
                push_list(lua, call.keys);
                push_list(lua, call.args);
                2
            }
        };
        shared.native.set(false);
        let outcome = shared.with_host(host, || {
            let done = lua.protected_call(parameters, 1, 1);
            shared.native.set(true);
            self.write_end(call, done, out)
        });
        lua.set_top(0);
        self.after_run();
        outcome
    }

    /// Appends the result of a run, or the error that it ended with, which is on top.
    fn write_end(&self, call: &Call<'_>, done: bool, out: &mut Vec<u8>) -> Outcome {
        let start = out.len();
        let protocols = Protocols { client: call.protocol, script: self.shared.protocol.get() };
        if done {
            match write_result(self.lua, &self.shared, protocols, out) {
                Ok(outcome) => return outcome,
                Err(fault) => {
                    out.truncate(start);
                    fault.push(self.lua);
                }
            }
        }
        write_failure(self.lua, call.name, out)
    }

    /// Runs a library's code, which registers functions. Nothing stays registered on an error,
    /// whose text is without `ERR`.
    pub(super) fn load(
        &mut self,
        code: &[u8],
        host: &mut dyn Host,
    ) -> Result<Vec<Registered>, Vec<u8>> {
        let lua = self.lua;
        if !lua.compile(code, c"@user_function") {
            let mut text = b"Error compiling function: ".to_vec();
            text.extend_from_slice(lua.bytes(-1).unwrap_or_default());
            lua.set_top(0);
            return Err(text);
        }
        self.show(self.sandbox.loading);
        let shared = &*self.shared;
        shared.loading.replace(Some(Vec::new()));
        shared.mark_stack();
        shared.native.set(false);
        let done = shared.with_host(host, || lua.protected_call(0, 0, 0));
        shared.native.set(true);
        let registered = shared.loading.take().unwrap_or_default();
        self.show(self.sandbox.globals);
        self.after_run();
        let result = if done {
            Ok(registered)
        } else {
            for function in registered {
                lua.release(function.function.0);
            }
            let mut text = b"Error registering functions: ".to_vec();
            text.extend_from_slice(&error_of(lua).text);
            Err(text)
        };
        lua.set_top(0);
        result
    }

    /// Decides what the globals' stand-in leads to.
    fn show(&self, reference: i32) {
        self.lua.push_kept(self.sandbox.view);
        self.lua.push_kept(reference);
        self.lua.set_field(-2, b"__index");
        self.lua.pop(1);
    }

    /// Takes back what a script may have changed.
    fn after_run(&self) {
        if self.shared.stopped.take().is_some() {
            guard::install_hook(self.lua);
        }
        if self.shared.collector_touched.take() {
            self.lua.reset_collector();
        }
        if self.shared.is_crowded() {
            self.lua.collect();
        }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        guard::close_state(self.lua);
    }
}

fn push_list(lua: Lua, items: &[&[u8]]) {
    lua.new_table(i32::try_from(items.len()).unwrap_or(0), 0);
    for (index, item) in items.iter().enumerate() {
        lua.push_bytes(item);
        lua.raw_set_at(-2, index as i32 + 1);
    }
}

/// What an error value says.
struct ErrorValue {
    text: Vec<u8>,
    /// Source and line, when the error handler found them.
    place: Option<(Vec<u8>, Vec<u8>)>,
    counted: bool,
}

/// Reads the error value on top of the stack.
fn error_of(lua: Lua) -> ErrorValue {
    if lua.kind(-1) != Kind::Table {
        let mut text = b"ERR ".to_vec();
        text.extend_from_slice(lua.bytes(-1).unwrap_or_default());
        return ErrorValue { text, place: None, counted: false };
    }
    let field = |name: &[u8]| {
        lua.field(-1, name);
        let text = lua.bytes(-1).map(<[u8]>::to_vec);
        lua.pop(1);
        text
    };
    // Redis: a genuine 8.0 dies of a table without a text as `err`.
    let text = field(b"err").unwrap_or_else(|| b"ERR unknown error".to_vec());
    let place = field(b"source").zip(field(b"line"));
    lua.field(-1, b"ignore_error_stats_update");
    let counted = lua.kind(-1) == Kind::Boolean && lua.boolean(-1);
    lua.pop(1);
    ErrorValue { text, place, counted }
}

/// Writes the error that ended a run.
fn write_failure(lua: Lua, name: &[u8], out: &mut Vec<u8>) -> Outcome {
    let mut line = Vec::new();
    let mut counted = false;
    if lua.kind(-1) == Kind::Table {
        let error = error_of(lua);
        line.extend_from_slice(&error.text);
        if let Some((source, at)) = error.place {
            line.extend_from_slice(&[b" script: ", name, b", on "].concat());
            line.extend_from_slice(&source);
            line.push(b':');
            line.extend_from_slice(&at);
            line.push(b'.');
        }
        counted = error.counted;
    } else {
        let text = lua.bytes(-1).unwrap_or(b"execution failure");
        line.extend_from_slice(&[b"ERR Error running script ", name, b", "].concat());
        line.extend_from_slice(&text[..text.len().min(100)]);
    }
    write_error(out, &line);
    Outcome { failed: true, counted }
}
