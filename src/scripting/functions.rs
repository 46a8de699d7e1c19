//! Libraries of functions: what FUNCTION LOAD keeps and FCALL finds.

use std::collections::BTreeMap;
use std::collections::HashMap;

use super::engine::{Engine, Function};
use super::fault::Fault;
use super::flags::{self, Flags};
use super::host::Host;
use super::raw::{Kind, Lua, Results};

const NAME_RULE: &str = "Library names can only contain letters, numbers, or underscores(_) and \
                         must be at least one character long";

/// One function as `redis.register_function` received it.
#[derive(Clone, Debug)]
pub struct Registered {
    /// Its name, as written.
    pub name: Vec<u8>,
    /// What it says about itself.
    pub description: Option<Vec<u8>>,
    /// What it may do.
    pub flags: Flags,
    /// The compiled code.
    pub function: Function,
}

/// One library.
#[derive(Debug)]
pub struct Library {
    /// Its name, as written.
    pub name: Vec<u8>,
    /// The code as it was loaded, first line included.
    pub code: Vec<u8>,
    /// In the order of their registration.
    pub functions: Vec<Registered>,
}

/// All libraries of a server, by name; functions are found without regard to case.
#[derive(Default, Debug)]
pub struct Libraries {
    libraries: BTreeMap<Vec<u8>, Library>,
    /// Lower-case function name to library and position.
    index: HashMap<Vec<u8>, (Vec<u8>, usize)>,
}

/// What the first line of a library says.
#[derive(Debug, PartialEq, Eq)]
pub struct Metadata {
    pub engine: Vec<u8>,
    pub name: Vec<u8>,
    /// Bytes before the code proper; the line feed stays so that line numbers are right.
    pub header_bytes: usize,
}

impl Libraries {
    /// Number of libraries.
    pub fn len(&self) -> usize {
        self.libraries.len()
    }

    /// Whether there is no library.
    pub fn is_empty(&self) -> bool {
        self.libraries.is_empty()
    }

    /// Number of functions in all libraries.
    pub fn function_count(&self) -> usize {
        self.index.len()
    }

    /// Bytes of the code of all libraries.
    pub fn code_bytes(&self) -> usize {
        self.libraries.values().map(|library| library.code.len()).sum()
    }

    /// Libraries by name.
    pub fn iter(&self) -> impl Iterator<Item = &Library> {
        self.libraries.values()
    }

    /// Whether there is a library of this name.
    pub fn contains(&self, library: &[u8]) -> bool {
        self.libraries.contains_key(library)
    }

    /// Finds a function by name.
    pub fn find(&self, function: &[u8]) -> Option<&Registered> {
        let (library, position) = match self.index.get(function) {
            Some(found) => found,
            None => self.index.get(&function.to_ascii_lowercase())?,
        };
        self.libraries.get(library)?.functions.get(*position)
    }

    /// Takes a library out; its functions stay compiled until they are released.
    pub fn take(&mut self, library: &[u8]) -> Option<Library> {
        let taken = self.libraries.remove(library)?;
        for function in &taken.functions {
            self.index.remove(&function.name.to_ascii_lowercase());
        }
        Some(taken)
    }

    /// Puts a library in; the caller made sure that no name is taken.
    pub fn put(&mut self, library: Library) {
        for (position, function) in library.functions.iter().enumerate() {
            let key = function.name.to_ascii_lowercase();
            self.index.insert(key, (library.name.clone(), position));
        }
        self.libraries.insert(library.name.clone(), library);
    }

    /// Deletes a library; false when there is none of that name.
    pub fn delete(&mut self, engine: &mut Engine, library: &[u8]) -> bool {
        match self.take(library) {
            Some(taken) => {
                release(engine, &taken);
                true
            }
            None => false,
        }
    }

    /// Loads a library. The error is without `ERR`, and then nothing has changed.
    pub fn load(
        &mut self,
        engine: &mut Engine,
        code: &[u8],
        replace: bool,
        host: &mut dyn Host,
    ) -> Result<Vec<u8>, Vec<u8>> {
        let metadata = metadata(code)?;
        if !is_name(&metadata.name) {
            return Err(NAME_RULE.into());
        }
        if !metadata.engine.eq_ignore_ascii_case(b"lua") {
            return Err(quoted("Engine '", &metadata.engine, "' not found"));
        }
        if !replace && self.contains(&metadata.name) {
            return Err(quoted("Library '", &metadata.name, "' already exists"));
        }
        let functions = engine.load(&code[metadata.header_bytes..], host)?;
        let library = Library { name: metadata.name.clone(), code: code.to_vec(), functions };
        let replaced = self.take(&metadata.name);
        if let Err(text) = self.admit(&library) {
            release(engine, &library);
            if let Some(old) = replaced {
                self.put(old);
            }
            return Err(text);
        }
        if let Some(old) = replaced {
            release(engine, &old);
        }
        self.put(library);
        Ok(metadata.name)
    }

    /// Whether a library has functions and none of their names is taken.
    fn admit(&self, library: &Library) -> Result<(), Vec<u8>> {
        if library.functions.is_empty() {
            return Err(b"No functions registered".to_vec());
        }
        for function in &library.functions {
            if self.index.contains_key(&function.name.to_ascii_lowercase()) {
                return Err(quoted("Function ", &function.name, " already exists"));
            }
        }
        Ok(())
    }

    /// Moves all of `other` in. With `replace`, libraries of the same names go; a function name
    /// that is taken by another library stops it, and then nothing has changed.
    pub fn join(
        &mut self,
        engine: &mut Engine,
        mut other: Libraries,
        replace: bool,
    ) -> Result<(), Vec<u8>> {
        let mut replaced = Vec::new();
        let result = self.make_way(&other, replace, &mut replaced);
        match &result {
            Ok(()) => {
                for library in &replaced {
                    release(engine, library);
                }
                for (_, library) in std::mem::take(&mut other.libraries) {
                    self.put(library);
                }
            }
            Err(_) => {
                for library in replaced {
                    self.put(library);
                }
                other.release_all(engine);
            }
        }
        result
    }

    fn make_way(
        &mut self,
        other: &Libraries,
        replace: bool,
        replaced: &mut Vec<Library>,
    ) -> Result<(), Vec<u8>> {
        for library in other.iter() {
            if !self.contains(&library.name) {
                continue;
            }
            if !replace {
                return Err(quoted("Library ", &library.name, " already exists"));
            }
            replaced.extend(self.take(&library.name));
        }
        other.iter().try_for_each(|library| self.admit(library))
    }

    /// Releases every compiled function and forgets the libraries.
    pub fn release_all(&mut self, engine: &mut Engine) {
        for library in self.libraries.values() {
            release(engine, library);
        }
        self.clear();
    }

    /// Forgets the libraries; their engine goes too.
    pub fn clear(&mut self) {
        self.libraries.clear();
        self.index.clear();
    }
}

fn release(engine: &mut Engine, library: &Library) {
    for function in &library.functions {
        engine.release(function.function);
    }
}

fn quoted(before: &str, name: &[u8], after: &str) -> Vec<u8> {
    [before.as_bytes(), name, after.as_bytes()].concat()
}

/// Whether a name is made of letters, digits and underscores.
pub fn is_name(name: &[u8]) -> bool {
    !name.is_empty() && name.iter().all(|&byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// Reads the first line of a library: `#!<engine> name=<name>`.
pub fn metadata(code: &[u8]) -> Result<Metadata, Vec<u8>> {
    if !code.starts_with(b"#!") {
        return Err(b"Missing library metadata".to_vec());
    }
    let invalid = || b"Invalid library metadata".to_vec();
    let end = memchr::memchr(b'\n', code).ok_or_else(invalid)?;
    let words = flags::words(&code[..end]).ok_or_else(invalid)?;
    let Some((engine, options)) = words.split_first() else { return Err(invalid()) };
    let mut name: Option<Vec<u8>> = None;
    for option in options {
        let is_name = option.get(..5).is_some_and(|start| start.eq_ignore_ascii_case(b"name="));
        if !is_name {
            return Err(quoted("Invalid metadata value given: ", option, ""));
        }
        if name.is_some() {
            let text = "Invalid metadata value, name argument was given multiple times";
            return Err(text.into());
        }
        name = Some(option[5..].to_vec());
    }
    let name = name.ok_or_else(|| b"Library name was not given".to_vec())?;
    Ok(Metadata { engine: engine.get(2..).unwrap_or_default().to_vec(), name, header_bytes: end })
}

/// `redis.register_function`, in both of its forms.
pub fn register_function(lua: Lua) -> Results {
    let shared = lua.shared();
    if shared.loading.borrow().is_none() {
        return Err(Fault::reply(
            "redis.register_function can only be called on FUNCTION LOAD command",
        ));
    }
    let function = match lua.top() {
        1 => named(lua)?,
        2 => positional(lua)?,
        _ => {
            return Err(Fault::reply("wrong number of arguments to redis.register_function"));
        }
    };
    let refusal = {
        let loading = shared.loading.borrow();
        let known = loading
            .as_ref()
            .is_some_and(|functions| functions.iter().any(|other| other.name == function.name));
        if !is_name(&function.name) {
            Some(NAME_RULE)
        } else if known {
            Some("Function already exists in the library")
        } else {
            None
        }
    };
    if let Some(text) = refusal {
        lua.release(reference(&function));
        return Err(Fault::reply(text));
    }
    if let Some(functions) = shared.loading.borrow_mut().as_mut() {
        functions.push(function);
    }
    Ok(0)
}

fn reference(function: &Registered) -> i32 {
    function.function.reference()
}

fn positional(lua: Lua) -> Result<Registered, Fault> {
    let Some(name) = lua.bytes(1) else {
        return Err(Fault::reply("first argument to redis.register_function must be a string"));
    };
    if lua.kind(2) != Kind::Function {
        return Err(Fault::reply("second argument to redis.register_function must be a function"));
    }
    let name = name.to_vec();
    let function = Function::from_reference(lua.keep());
    Ok(Registered { name, description: None, flags: Flags::default(), function })
}

fn named(lua: Lua) -> Result<Registered, Fault> {
    if lua.kind(1) != Kind::Table {
        return Err(Fault::reply(
            "calling redis.register_function with a single argument is only applicable to Lua \
             table (representing named arguments).",
        ));
    }
    let mut parts = Parts::default();
    match read_parts(lua, &mut parts) {
        Ok(()) => {
            let Some(name) = parts.name else {
                parts.drop_callback(lua);
                return Err(Fault::reply(
                    "redis.register_function must get a function name argument",
                ));
            };
            let Some(callback) = parts.callback else {
                return Err(Fault::reply("redis.register_function must get a callback argument"));
            };
            Ok(Registered {
                name,
                description: parts.description,
                flags: parts.flags,
                function: Function::from_reference(callback),
            })
        }
        Err(text) => {
            parts.drop_callback(lua);
            Err(Fault::reply(text))
        }
    }
}

#[derive(Default)]
struct Parts {
    name: Option<Vec<u8>>,
    description: Option<Vec<u8>>,
    flags: Flags,
    callback: Option<i32>,
}

impl Parts {
    fn drop_callback(&mut self, lua: Lua) {
        if let Some(reference) = self.callback.take() {
            lua.release(reference);
        }
    }
}

fn read_parts(lua: Lua, parts: &mut Parts) -> Result<(), &'static str> {
    lua.push_nil();
    while lua.next(1) {
        if lua.kind(-2) != Kind::String {
            // Redis: a number is a string to lua_isstring, and then an unknown argument.
            return Err(match lua.kind(-2) {
                Kind::Number => "unknown argument given to redis.register_function",
                _ => "named argument key given to redis.register_function is not a string",
            });
        }
        let key = lua.bytes(-2).unwrap_or_default();
        if key.eq_ignore_ascii_case(b"function_name") {
            let text = "function_name argument given to redis.register_function must be a string";
            parts.name = Some(lua.bytes(-1).ok_or(text)?.to_vec());
        } else if key.eq_ignore_ascii_case(b"description") {
            let text = "description argument given to redis.register_function must be a string";
            parts.description = Some(lua.bytes(-1).ok_or(text)?.to_vec());
        } else if key.eq_ignore_ascii_case(b"callback") {
            if lua.kind(-1) != Kind::Function {
                return Err(
                    "callback argument given to redis.register_function must be a function",
                );
            }
            parts.drop_callback(lua);
            parts.callback = Some(lua.keep());
            continue;
        } else if key.eq_ignore_ascii_case(b"flags") {
            if lua.kind(-1) != Kind::Table {
                return Err("flags argument to redis.register_function must be a table \
                            representing function flags");
            }
            parts.flags = read_flags(lua).ok_or("unknown flag given")?;
        } else {
            return Err("unknown argument given to redis.register_function");
        }
        lua.pop(1);
    }
    Ok(())
}

/// The flags in the table on top of the stack; None when one is unknown.
fn read_flags(lua: Lua) -> Option<Flags> {
    let mut flags = Flags::default();
    for position in 1.. {
        lua.raw_get_at(-1, position);
        let kind = lua.kind(-1);
        let flag = lua.bytes(-1).and_then(|name| {
            flags::FLAGS.iter().find(|(_, word)| name.eq_ignore_ascii_case(word.as_bytes()))
        });
        lua.pop(1);
        match (kind, flag) {
            (Kind::Nil, _) => return Some(flags),
            (_, Some(&(flag, _))) => flags.insert(flag),
            (_, None) => return None,
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::{metadata, Metadata};

    #[test]
    fn first_lines() {
        let good = metadata(b"#!lua name=lib\ncode").expect("valid");
        let wanted = Metadata { engine: b"lua".to_vec(), name: b"lib".to_vec(), header_bytes: 14 };
        assert_eq!(good, wanted);
        for (code, text) in [
            ("return 1", "Missing library metadata"),
            ("#!lua name=x", "Invalid library metadata"),
            ("#!lua\n", "Library name was not given"),
            ("#!lua foo\n", "Invalid metadata value given: foo"),
            ("#!lua name=\"x\n", "Invalid library metadata"),
        ] {
            assert_eq!(metadata(code.as_bytes()), Err(text.as_bytes().to_vec()), "{code}");
        }
    }
}
