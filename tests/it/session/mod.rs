//! Session tests: text that reads like redis-cli, checked on any server, recorded from a genuine
//! one.
//!
//! A file is a list of blocks separated by blank lines. Each block starts on empty databases with
//! fresh clients; settings that it changes are put back after it.
//!
//! ```text
//! # a comment
//! > SET k v EX 10             a command of the nameless client, quoted as in redis-cli;
//! OK                            below it the reply, as `show` prints it
//! a> BLPOP q 0                a command of the client `a`, parked when no reply follows
//! b> RPUSH q x
//! (integer) 1
//! a< 1) "q"                   the next thing that `a` receives (a late reply, a push)
//!    2) "x"
//! *130> RPUSH l v$i           130 times with $i from 1; the last reply is shown
//! >> "*1\r\n$4\r\nPI"         bytes as they are
//! > SET k "x"*1000            a long word
//! clock +11s                  moves our clock; a genuine server sleeps through at most 200 ms
//!                               (15 s while recording), else the block ends there
//! close a                     cuts the connection of `a`
//! ```
//!
//! Marks stand on lines of their own, before what they mark:
//!
//! * `@since 7.4`: an older genuine server skips it. First in a block: the whole block; in a block
//!   without commands: the rest of the file. Elsewhere: the next command.
//! * `@ours reason`: ours answers otherwise, or alone; scope as for `@since`.
//! * `@resp3 [a b]`: these clients (or the nameless one) speak RESP3 from here on.
//! * `@unordered [N | rows]`: innermost arrays are sorted before comparing, in groups of N; with
//!   `rows` the outermost one.
//! * `@approx N`: numbers may differ by N.
//! * `@match`: the expected text may hold `*` for anything.
//! * `@save name`: the reply's value becomes `$name` in later words; its text is not compared.

pub mod compare;
mod control;
pub mod parse;
pub mod record;
pub mod run;
