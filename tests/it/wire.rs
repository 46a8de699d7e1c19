//! A RESP client that believes nothing: it decodes every reply type of RESP2 and RESP3, keeps them
//! apart (a null bulk is not a null array), and reports a closed connection as a reply of its own.

use crate::patience::PATIENCE;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

/// One reply as it came over the wire.
#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    /// `+text`
    Status(Vec<u8>),
    /// `-text`
    Error(Vec<u8>),
    /// `:n`
    Int(i64),
    /// `$n`
    Bulk(Vec<u8>),
    /// `$-1`
    NilBulk,
    /// `*-1`
    NilArray,
    /// `_`
    Null,
    /// `*n`
    Array(Vec<Reply>),
    /// `%n`
    Map(Vec<(Reply, Reply)>),
    /// `~n`
    Set(Vec<Reply>),
    /// `>n`
    Push(Vec<Reply>),
    /// `,text`; kept as text because its spelling is what we compare
    Double(Vec<u8>),
    /// `#t` or `#f`
    Bool(bool),
    /// `=n fmt:text`
    Verbatim(Vec<u8>),
    /// `(digits`
    Big(Vec<u8>),
    /// `|n`, printed before the reply that it belongs to
    Attribute(Vec<(Reply, Reply)>),
    /// The peer hung up.
    Closed,
}

/// Bytes that are no RESP.
#[derive(Debug)]
pub struct Malformed(pub String);

/// Decodes one reply from the front of `bytes`: `Ok(None)` when more bytes are needed, else the
/// reply and the number of bytes that it took.
pub fn decode(bytes: &[u8]) -> Result<Option<(Reply, usize)>, Malformed> {
    let mut at = 0;
    Ok(decode_at(bytes, &mut at)?.map(|reply| (reply, at)))
}

fn decode_at(bytes: &[u8], at: &mut usize) -> Result<Option<Reply>, Malformed> {
    let Some(line) = line_at(bytes, at) else { return Ok(None) };
    let bad = || Malformed(format!("not a reply: {}", line.escape_ascii()));
    let (&kind, rest) = line.split_first().ok_or_else(bad)?;
    let number = || std::str::from_utf8(rest).ok().and_then(|s| s.parse::<i64>().ok());
    let count = || number().ok_or_else(bad);
    let several = |at: &mut usize, n: i64| {
        let mut items = Vec::new();
        for _ in 0..n.max(0) {
            match decode_at(bytes, at)? {
                Some(item) => items.push(item),
                None => return Ok(None),
            }
        }
        Ok(Some(items))
    };
    let pairs = |at: &mut usize, n: i64| {
        Ok(several(at, 2 * n)?.map(|items| {
            let mut items = items.into_iter();
            std::iter::from_fn(|| Some((items.next()?, items.next()?))).collect()
        }))
    };
    Ok(match kind {
        b'+' => Some(Reply::Status(rest.to_vec())),
        b'-' => Some(Reply::Error(rest.to_vec())),
        b':' => Some(Reply::Int(count()?)),
        b',' => Some(Reply::Double(rest.to_vec())),
        b'(' => Some(Reply::Big(rest.to_vec())),
        b'_' if rest.is_empty() => Some(Reply::Null),
        b'#' if rest == b"t" || rest == b"f" => Some(Reply::Bool(rest == b"t")),
        b'$' if count()? == -1 => Some(Reply::NilBulk),
        b'*' if count()? == -1 => Some(Reply::NilArray),
        b'$' => blob_at(bytes, at, count()?)?.map(Reply::Bulk),
        b'=' => blob_at(bytes, at, count()?)?.map(Reply::Verbatim),
        b'*' => several(at, count()?)?.map(Reply::Array),
        b'~' => several(at, count()?)?.map(Reply::Set),
        b'>' => several(at, count()?)?.map(Reply::Push),
        b'%' => pairs(at, count()?)?.map(Reply::Map),
        b'|' => pairs(at, count()?)?.map(Reply::Attribute),
        _ => return Err(bad()),
    })
}

fn line_at<'b>(bytes: &'b [u8], at: &mut usize) -> Option<&'b [u8]> {
    let rest = &bytes[*at..];
    let end = rest.windows(2).position(|pair| pair == b"\r\n")?;
    *at += end + 2;
    Some(&rest[..end])
}

fn blob_at(bytes: &[u8], at: &mut usize, len: i64) -> Result<Option<Vec<u8>>, Malformed> {
    let len = usize::try_from(len).map_err(|_| Malformed(format!("blob of {len} bytes")))?;
    let Some(blob) = bytes.get(*at..*at + len + 2) else { return Ok(None) };
    if !blob.ends_with(b"\r\n") {
        return Err(Malformed("blob without its line end".into()));
    }
    *at += len + 2;
    Ok(Some(blob[..len].to_vec()))
}

/// Encodes a request as a client does.
pub fn request<W: AsRef<[u8]>>(words: &[W]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        let word = word.as_ref();
        bytes.extend(format!("${}\r\n", word.len()).bytes());
        bytes.extend(word);
        bytes.extend(b"\r\n");
    }
    bytes
}

/// One connection.
pub struct Wire {
    stream: TcpStream,
    unread: Vec<u8>,
    taken: usize,
    closed: bool,
}

impl Wire {
    /// Connects, trying until somebody listens.
    pub fn connect(addr: impl ToSocketAddrs + Copy) -> io::Result<Wire> {
        let until = Instant::now() + PATIENCE;
        let stream = loop {
            match TcpStream::connect(addr) {
                Ok(stream) => break stream,
                Err(e) if Instant::now() > until => return Err(e),
                Err(_) => std::thread::sleep(Duration::from_millis(2)),
            }
        };
        Wire::on(stream)
    }

    /// Connects to somebody who listens already.
    pub fn connect_now(addr: impl ToSocketAddrs) -> io::Result<Wire> {
        Wire::on(TcpStream::connect(addr)?)
    }

    fn on(stream: TcpStream) -> io::Result<Wire> {
        stream.set_nodelay(true)?;
        // A peer that stops reading must not keep us for ever.
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Wire { stream, unread: Vec::new(), taken: 0, closed: false })
    }

    /// Our end's address.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.stream.local_addr()
    }

    /// Sends bytes as they are. A broken pipe is no error here: the reply will be `Closed`.
    pub fn send(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes);
    }

    /// Sends a request and waits for its reply.
    pub fn call<W: AsRef<[u8]>>(&mut self, words: &[W]) -> io::Result<Reply> {
        self.send(&request(words));
        self.wait(PATIENCE)?.ok_or_else(|| io::Error::new(io::ErrorKind::TimedOut, "no reply"))
    }

    /// The next reply, or `None` if none comes in time. `Reply::Closed` when the peer hung up.
    pub fn wait(&mut self, limit: Duration) -> io::Result<Option<Reply>> {
        let until = Instant::now() + limit;
        loop {
            let decoded = decode(&self.unread[self.taken..])
                .map_err(|Malformed(why)| io::Error::new(io::ErrorKind::InvalidData, why))?;
            if let Some((reply, len)) = decoded {
                self.taken += len;
                return Ok(Some(reply));
            }
            if self.closed {
                return Ok(Some(Reply::Closed));
            }
            let left = until.saturating_duration_since(Instant::now());
            if !self.read_more(left.max(Duration::from_micros(50)))? && left.is_zero() {
                return Ok(None);
            }
        }
    }

    /// Reads what there is within `limit`; false if nothing came.
    fn read_more(&mut self, limit: Duration) -> io::Result<bool> {
        self.unread.drain(..self.taken);
        self.taken = 0;
        self.stream.set_read_timeout(Some(limit))?;
        let mut chunk = [0; 1 << 16];
        match self.stream.read(&mut chunk) {
            Ok(0) => self.closed = true,
            Ok(n) => self.unread.extend(&chunk[..n]),
            Err(e) if e.kind() == io::ErrorKind::ConnectionReset => self.closed = true,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                return Ok(false)
            }
            Err(e) => return Err(e),
        }
        Ok(true)
    }
}

impl Drop for Wire {
    /// The end of the connection is told now: a child that another test has just forked keeps a
    /// twin of the socket until it becomes another program, and to drop ours alone tells nobody.
    fn drop(&mut self) {
        let _ = self.stream.shutdown(Shutdown::Both);
    }
}

#[test]
fn every_reply_type_is_decoded_whole_or_not_at_all() {
    let bytes =
        b"*9\r\n+OK\r\n-ERR x\r\n:-3\r\n$3\r\na\r\n\r\n$-1\r\n*-1\r\n_\r\n%1\r\n,1.5\r\n#t\r\n\
        =5\r\ntxt:a\r\n";
    let (reply, len) = decode(bytes).unwrap().unwrap();
    assert_eq!(len, bytes.len());
    let expected = Reply::Array(vec![
        Reply::Status(b"OK".to_vec()),
        Reply::Error(b"ERR x".to_vec()),
        Reply::Int(-3),
        Reply::Bulk(b"a\r\n".to_vec()),
        Reply::NilBulk,
        Reply::NilArray,
        Reply::Null,
        Reply::Map(vec![(Reply::Double(b"1.5".to_vec()), Reply::Bool(true))]),
        Reply::Verbatim(b"txt:a".to_vec()),
    ]);
    assert_eq!(reply, expected);
    for short in 0..bytes.len() {
        assert!(decode(&bytes[..short]).unwrap().is_none());
    }
}
