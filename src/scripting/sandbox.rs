//! The globals that scripts see: Redis's list and nothing else, all of it read-only.
//!
//! A protected table is reached through a stand-in (see `guard`): an empty table whose metatable
//! has the real one as `__index` and refuses new fields. The real tables are never handed out.

use super::api;
use super::fault::Fault;
use super::guard::{self, push_guard, READONLY};
use super::libs::{bit, cjson, cmsgpack, structs};
use super::random::{Lrand48, LIMIT};
use super::raw::{Kind, Lua, Results};
use super::shared::{Shared, Stock};

/// What an engine runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Purpose {
    /// EVAL and its relatives.
    Scripts = 0,
    /// Libraries of functions.
    Functions = 1,
}

/// Registry references of what the engine needs later.
pub struct Sandbox {
    /// The real table of globals.
    pub globals: i32,
    /// The globals' stand-in's metatable, whose `__index` decides what is seen.
    pub view: i32,
    /// What a library sees while it is being loaded; unused for scripts.
    pub loading: i32,
    /// The function that completes errors with source and line.
    pub error_handler: i32,
}

/// Stock functions that are kept as they are.
const KEPT: [&str; 10] = [
    "tostring", "assert", "tonumber", "rawequal", "type", "select", "gcinfo", "_VERSION", "ipairs",
    "error",
];

/// Builds the sandbox in a fresh state and makes it the globals of all code loaded later.
pub fn build(lua: Lua, shared: &Shared, purpose: Purpose, version: &Version) -> Sandbox {
    lua.set_top(0);
    lua.has_room(40);
    lua.new_table(0, 40);
    let globals = lua.top();
    lua.push_globals();
    let stock = lua.top();
    keep_functions(lua, globals, stock);
    guard_globals(lua, shared, globals, stock);
    guard_strings(lua, shared, globals, stock);
    guard_tables(lua, shared, globals, stock);
    lua.field(stock, b"coroutine");
    protect(lua, shared);
    lua.set_field(globals, b"coroutine");
    add_math(lua, shared, globals, stock);
    add_clock(lua, shared, globals, stock);
    add_libraries(lua, shared, globals);
    api::push_table(lua, shared, purpose, version);
    protect(lua, shared);
    // Valkey's name for the same table.
    lua.copy(-1);
    lua.set_field(globals, b"server");
    lua.set_field(globals, b"redis");
    lua.push_native(shared, api::complete_error);
    let error_handler = {
        lua.copy(-1);
        lua.keep()
    };
    if purpose == Purpose::Scripts {
        lua.set_field(globals, b"__redis__err__handler");
    } else {
        lua.pop(1);
    }
    let loading = keep_loading_view(lua, shared, version);
    refuse_unknown(lua, shared, globals);
    let view = install_globals(lua, shared, globals);
    add_getmetatable(lua, shared, globals);
    lua.copy(globals);
    let globals = lua.keep();
    lua.set_top(0);
    Sandbox { globals, view, loading, error_handler }
}

/// The versions that scripts are told.
#[derive(Clone, Debug)]
pub struct Version {
    /// Text, `7.4.0`.
    pub text: String,
    /// The same as a number, 0x00MMmmpp.
    pub number: u32,
}

impl Version {
    /// Of a text such as `7.4.2`.
    pub fn of(text: &str) -> Version {
        let mut parts = text.split('.').map(|part| part.parse::<u32>().unwrap_or(0) & 0xff);
        let mut next = || parts.next().unwrap_or(0);
        let number = (next() << 16) | (next() << 8) | next();
        Version { text: text.to_string(), number }
    }
}

fn keep_functions(lua: Lua, globals: i32, stock: i32) {
    for name in KEPT {
        lua.field(stock, name.as_bytes());
        lua.set_field(globals, name.as_bytes());
    }
}

fn guard_globals(lua: Lua, shared: &Shared, globals: i32, stock: i32) {
    for (name, which, function) in [
        ("next", Stock::Next, guard::next as guard::Function),
        ("rawget", Stock::RawGet, guard::rawget),
        ("rawset", Stock::RawSet, guard::rawset),
        ("setmetatable", Stock::SetMetatable, guard::setmetatable),
        ("collectgarbage", Stock::CollectGarbage, guard::collectgarbage),
        ("unpack", Stock::Unpack, guard::unpack),
        ("xpcall", Stock::Xpcall, guard::xpcall),
    ] {
        lua.field(stock, name.as_bytes());
        guard::keep_stock(lua, shared, which);
        push_guard(lua, shared, function, 0);
        lua.set_field(globals, name.as_bytes());
    }
    lua.field(stock, b"getmetatable");
    guard::keep_stock(lua, shared, Stock::GetMetatable);
    for (name, function) in [
        ("pcall", guard::pcall as guard::Function),
        ("load", guard::load),
        ("loadstring", guard::loadstring),
    ] {
        push_guard(lua, shared, function, 0);
        lua.set_field(globals, name.as_bytes());
    }
    lua.field(globals, b"next");
    push_guard(lua, shared, guard::pairs, 1);
    lua.set_field(globals, b"pairs");
}

fn guard_strings(lua: Lua, shared: &Shared, globals: i32, stock: i32) {
    lua.field(stock, b"string");
    for (names, function) in [
        (&["find"][..], guard::find as guard::Function),
        (&["match"], guard::pattern_match),
        (&["gmatch", "gfind"], guard::gmatch),
        (&["gsub"], guard::gsub),
    ] {
        for name in names {
            push_guard(lua, shared, function, 0);
            lua.set_field(-2, name.as_bytes());
        }
    }
    protect(lua, shared);
    lua.set_field(globals, b"string");
}

fn guard_tables(lua: Lua, shared: &Shared, globals: i32, stock: i32) {
    lua.field(stock, b"table");
    for (name, which, function) in [
        ("insert", Stock::Insert, guard::insert as guard::Function),
        ("remove", Stock::Remove, guard::remove),
        ("sort", Stock::Sort, guard::sort),
        ("foreach", Stock::Foreach, guard::foreach),
    ] {
        lua.field(-1, name.as_bytes());
        guard::keep_stock(lua, shared, which);
        push_guard(lua, shared, function, 0);
        lua.set_field(-2, name.as_bytes());
    }
    protect(lua, shared);
    lua.set_field(globals, b"table");
}

fn add_math(lua: Lua, shared: &Shared, globals: i32, stock: i32) {
    lua.field(stock, b"math");
    lua.push_native(shared, random);
    lua.set_field(-2, b"random");
    lua.push_native(shared, randomseed);
    lua.set_field(-2, b"randomseed");
    protect(lua, shared);
    lua.set_field(globals, b"math");
}

fn add_clock(lua: Lua, shared: &Shared, globals: i32, stock: i32) {
    lua.new_table(0, 1);
    lua.field(stock, b"os");
    lua.field(-1, b"clock");
    lua.set_field(-3, b"clock");
    lua.pop(1);
    protect(lua, shared);
    lua.set_field(globals, b"os");
}

fn add_libraries(lua: Lua, shared: &Shared, globals: i32) {
    type Push = fn(Lua, &Shared);
    let libraries: [(&[u8], Push); 4] = [
        (b"cjson", cjson::push_table),
        (b"cmsgpack", cmsgpack::push_table),
        (b"struct", structs::push_table),
        (b"bit", bit::push_table),
    ];
    for (name, push) in libraries {
        push(lua, shared);
        protect(lua, shared);
        lua.set_field(globals, name);
    }
}

/// Replaces the table on top by its stand-in.
fn protect(lua: Lua, shared: &Shared) {
    let real = lua.top();
    lua.new_table(0, 0);
    lua.new_table(0, 2);
    shared.proxies.borrow_mut().push(lua.identity(-1));
    lua.copy(real);
    lua.set_field(-2, b"__index");
    lua.push_native(shared, refuse);
    lua.set_field(-2, b"__newindex");
    lua.set_metatable(-2);
    lua.replace(real);
}

/// What a library sees while it loads: registering and logging only.
fn keep_loading_view(lua: Lua, shared: &Shared, version: &Version) -> i32 {
    lua.new_table(0, 1);
    let view = lua.top();
    api::push_loading_table(lua, shared, version);
    refuse_unknown(lua, shared, lua.top());
    protect(lua, shared);
    lua.copy(-1);
    lua.set_field(view, b"server");
    lua.set_field(view, b"redis");
    refuse_unknown(lua, shared, view);
    lua.keep()
}

/// Makes reading a missing field of `table` an error.
fn refuse_unknown(lua: Lua, shared: &Shared, table: i32) {
    lua.new_table(0, 1);
    lua.push_native(shared, unknown);
    lua.set_field(-2, b"__index");
    lua.set_metatable(table);
}

/// Puts the stand-in of the globals in place; gives the reference of its metatable.
fn install_globals(lua: Lua, shared: &Shared, globals: i32) -> i32 {
    lua.copy(globals);
    protect(lua, shared);
    lua.copy(-1);
    lua.set_field(globals, b"_G");
    lua.metatable(-1);
    let view = lua.keep();
    lua.set_globals();
    view
}

/// `getmetatable`, which shows stand-ins of the two metatables that scripts may look at.
fn add_getmetatable(lua: Lua, shared: &Shared, globals: i32) {
    lua.new_table(0, 1);
    lua.field(globals, b"string");
    lua.set_field(-2, b"__index");
    protect(lua, shared);
    lua.metatable(globals);
    protect(lua, shared);
    push_guard(lua, shared, guard::getmetatable, 2);
    lua.set_field(globals, b"getmetatable");
}

fn refuse(_: Lua) -> Results {
    Err(Fault::here(READONLY))
}

fn unknown(lua: Lua) -> Results {
    if lua.top() != 2 {
        return Err(Fault::here("Wrong number of arguments to luaProtectedTableError"));
    }
    if !lua.is_stringlike(2) {
        let text = "Second argument to luaProtectedTableError must be a string or number";
        return Err(Fault::here(text));
    }
    let name = lua.bytes(2).unwrap_or_default();
    let name = name.split(|&byte| byte == 0).next().unwrap_or_default();
    let mut text = b"Script attempted to access nonexistent global variable '".to_vec();
    text.extend_from_slice(name);
    text.push(b'\'');
    Err(Fault::Here(text))
}

/// An argument as a C `int`, the way `luaL_checkint` takes it.
pub fn integer_argument(lua: Lua, number: i32) -> Result<i32, Fault> {
    Ok(long_argument(lua, number)? as i32)
}

/// An argument as a C `long`, the way `luaL_checkinteger` takes it.
pub fn long_argument(lua: Lua, number: i32) -> Result<i64, Fault> {
    let value = number_argument(lua, number)?;
    Ok(truncate(value))
}

/// An argument as a number, the way `luaL_checknumber` takes it.
pub fn number_argument(lua: Lua, number: i32) -> Result<f64, Fault> {
    if !lua.is_numeric(number) {
        return Err(Fault::kind(lua, number, "number"));
    }
    Ok(lua.number(number))
}

/// An argument as bytes, the way `luaL_checklstring` takes it.
pub fn bytes_argument<'a>(lua: Lua, number: i32) -> Result<&'a [u8], Fault> {
    lua.bytes(number).ok_or_else(|| Fault::kind(lua, number, "string"))
}

/// C's conversion of a double to a 64-bit integer as x86 does it: what does not fit, and NaN,
/// becomes the smallest one.
pub fn truncate(value: f64) -> i64 {
    const LIMIT: f64 = 9_223_372_036_854_775_808.0;
    if (-LIMIT..LIMIT).contains(&value) {
        value as i64
    } else {
        i64::MIN
    }
}

/// C's conversion of a double to an unsigned 64-bit integer as x86 does it: what is too large
/// becomes 0, what is too small, and NaN, becomes 2^63.
pub fn truncate_unsigned(value: f64) -> u64 {
    const HALF: f64 = 9_223_372_036_854_775_808.0;
    if value >= HALF {
        truncate(value - HALF) as u64 ^ (1 << 63)
    } else {
        truncate(value) as u64
    }
}

fn random(lua: Lua) -> Results {
    let mut generator = lua.shared().random.get();
    let drawn = generator.draw();
    lua.shared().random.set(generator);
    let part = (drawn % LIMIT) as f64 / LIMIT as f64;
    let number = match lua.top() {
        0 => part,
        1 => {
            let upper = integer_argument(lua, 1)?;
            if upper < 1 {
                return Err(Fault::argument(1, "interval is empty"));
            }
            (part * upper as f64).floor() + 1.0
        }
        2 => {
            let lower = integer_argument(lua, 1)?;
            let upper = integer_argument(lua, 2)?;
            if lower > upper {
                return Err(Fault::argument(2, "interval is empty"));
            }
            let width = upper.wrapping_sub(lower).wrapping_add(1);
            (part * width as f64).floor() + lower as f64
        }
        _ => return Err(Fault::here("wrong number of arguments")),
    };
    lua.push_number(number);
    Ok(1)
}

fn randomseed(lua: Lua) -> Results {
    let seed = integer_argument(lua, 1)?;
    lua.shared().random.set(Lrand48::seeded(seed));
    Ok(0)
}

/// Whether an argument was given and is not nil.
pub fn is_given(lua: Lua, number: i32) -> bool {
    !matches!(lua.kind(number), Kind::None | Kind::Nil)
}
