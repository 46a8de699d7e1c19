//! DEBUG PROTOCOL: a value of every type of the protocol, for testing clients.

use crate::error::{Error, Result};
use crate::resp::out::{Done, Out};

// Redis's sample of a double is no attempt at pi.
#[allow(clippy::approx_constant)]
pub(super) fn protocol(kind: &[u8], out: Out<'_>) -> Result<Done> {
    Ok(match &*kind.to_ascii_lowercase() {
        b"string" => out.bulk(b"Hello World"),
        b"integer" => out.int(12345),
        b"double" => out.double(3.141),
        b"null" => out.null(),
        b"array" => numbers(out.array(3)),
        b"set" => numbers(out.set(3)),
        b"map" => {
            let mut items = out.map(3);
            for number in 0..3 {
                items.int(number);
                items.boolean(number == 1);
            }
            items.end()
        }
        b"attrib" if out.is_resp3() => {
            let mut items = out.several();
            items.raw(b"|1\r\n");
            items.text("key-popularity");
            items.array(2);
            items.text("key:123");
            items.int(90);
            items.text("Some real reply following the attribute");
            items.end()
        }
        b"attrib" => out.bulk(b"Some real reply following the attribute"),
        b"push" if out.is_resp3() => {
            let mut items = out.several();
            // Redis: a push that comes up during a command goes out behind its reply.
            items.text("Some real reply following the push reply");
            items.push(2);
            items.text("server-cpu-usage");
            items.int(42);
            items.end()
        }
        b"push" => return Err(Error::of("ERR RESP2 is not supported by this command")),
        b"verbatim" => out.verbatim("txt", b"This is a verbatim\nstring"),
        b"true" => out.boolean(true),
        b"false" => out.boolean(false),
        b"bignum" if out.is_resp3() => out.raw(b"(1234567999999999999999999999999999999\r\n"),
        b"bignum" => out.bulk(b"1234567999999999999999999999999999999"),
        _ => {
            return Err(Error::of(
                "ERR Wrong protocol type name. Please use one of the following: \
                 string|integer|double|bignum|null|array|set|map|attrib|push|verbatim|true|false",
            ))
        }
    })
}

fn numbers(mut items: crate::resp::out::Items<'_>) -> Done {
    for number in 0..3 {
        items.int(number);
    }
    items.end()
}
