//! Errors on their way from native code into Lua.

use super::raw::Lua;

/// Why a native function fails. The trampoline turns it into a Lua error as its last act.
#[derive(Debug)]
pub enum Fault {
    /// A message that names the place of the calling script line, as `luaL_error` does.
    Here(Vec<u8>),
    /// A message as it stands.
    Plain(Vec<u8>),
    /// The argument with this number is wrong: `bad argument #1 to 'pack' (...)`.
    Argument(i32, Vec<u8>),
    /// A table with this text as its `err`, as the functions of `redis` raise it.
    Reply(Vec<u8>),
    /// The script was told to stop, with this text: no `pcall` outlives it.
    Stopped(&'static str),
    /// The error value lies on top of the stack.
    OnTop,
}

impl Fault {
    pub fn here(text: impl Into<Vec<u8>>) -> Self {
        Fault::Here(text.into())
    }

    pub fn argument(number: i32, text: impl Into<Vec<u8>>) -> Self {
        Fault::Argument(number, text.into())
    }

    pub fn reply(text: impl Into<Vec<u8>>) -> Self {
        Fault::Reply(text.into())
    }

    /// The argument should be of another kind: `(number expected, got nil)`.
    pub fn kind(lua: Lua, number: i32, wanted: &str) -> Self {
        let got = lua.kind(number).name();
        Fault::Argument(number, format!("{wanted} expected, got {got}").into_bytes())
    }

    /// Leaves only the error value on the stack.
    pub(super) fn push(self, lua: Lua) {
        if !matches!(self, Fault::OnTop) {
            lua.set_top(0);
        }
        match self {
            Fault::Here(text) => push_placed(lua, &text),
            Fault::Plain(text) => lua.push_bytes(&text),
            Fault::Argument(number, text) => push_argument(lua, number, &text),
            Fault::Reply(text) => push_error_table(lua, &text),
            Fault::Stopped(text) => {
                super::guard::stop_lines(lua, text);
                push_error_table(lua, text.as_bytes());
            }
            Fault::OnTop => {}
        }
    }
}

/// Pushes `text` with the calling line in front, when the caller is Lua code.
fn push_placed(lua: Lua, text: &[u8]) {
    let mut message = Vec::new();
    if let Some(place) = lua.place(1) {
        if place.line > 0 {
            message.extend_from_slice(&place.short_source);
            message.extend_from_slice(format!(":{}: ", place.line).as_bytes());
        }
    }
    message.extend_from_slice(text);
    lua.push_bytes(&message);
}

fn push_argument(lua: Lua, mut number: i32, text: &[u8]) {
    let mut message = Vec::new();
    match lua.called_as() {
        None => message.extend_from_slice(format!("bad argument #{number} (").as_bytes()),
        Some((name, is_method)) => {
            if is_method {
                number -= 1;
            }
            if is_method && number == 0 {
                message.extend_from_slice(b"calling '");
                message.extend_from_slice(&name);
                message.extend_from_slice(b"' on bad self (");
            } else {
                message.extend_from_slice(format!("bad argument #{number} to '").as_bytes());
                message.extend_from_slice(&name);
                message.extend_from_slice(b"' (");
            }
        }
    }
    message.extend_from_slice(text);
    message.push(b')');
    push_placed(lua, &message);
}

/// Pushes the table that stands for an error reply.
///
/// `text` is `-CODE message` (the code is kept) or a message alone (it gets `ERR`).
/// Redis: a text that begins with a dash and has no blank gets `ERR` too.
pub fn push_error_table(lua: Lua, text: &[u8]) {
    lua.new_table(0, 4);
    lua.push_bytes(&error_text(text));
    lua.set_field(-2, b"err");
}

fn error_text(text: &[u8]) -> Vec<u8> {
    let (code, message) = match text.strip_prefix(b"-") {
        None => (&b"ERR"[..], text),
        Some(rest) => match rest.iter().position(|&byte| byte == b' ') {
            None => (&b"ERR"[..], rest),
            Some(blank) => (&rest[..blank], &rest[blank + 1..]),
        },
    };
    let is_break = |byte: &u8| matches!(byte, b'\r' | b'\n');
    let start = message.iter().position(|byte| !is_break(byte)).unwrap_or(message.len());
    let end = message.iter().rposition(|byte| !is_break(byte)).map_or(start, |last| last + 1);
    let mut full = Vec::with_capacity(code.len() + 1 + end - start);
    full.extend_from_slice(code);
    full.push(b' ');
    full.extend_from_slice(&message[start..end]);
    full
}

#[cfg(test)]
mod tests {
    use super::error_text;

    #[test]
    fn error_texts_get_a_code() {
        for (given, wanted) in [
            ("x", "ERR x"),
            ("-x", "ERR x"),
            ("My Err\r\n", "ERR My Err"),
            ("-WRONG kind\r\n", "WRONG kind"),
            ("", "ERR "),
        ] {
            assert_eq!(error_text(given.as_bytes()), wanted.as_bytes());
        }
    }
}
