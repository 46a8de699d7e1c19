//! Strangers at the TLS port: greetings that are bent in every way, and handshakes that stop in
//! the middle. They get an end or an alert, cost a bounded amount of memory, and nobody else
//! notices.
//!
//! `TLS_ROUNDS` and `TLS_SEED` make the fuzz longer, or another one.

use crate::patience::PATIENCE;
use crate::process::{Folder, Process};
use crate::tls::{call, client, shake_hands, status, Tls};
use crate::wire::{request, Reply};
use redouble::tls::self_signed;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection};
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;

fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

/// A source of numbers that repeats itself for the same seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % sides.max(1)
    }

    fn byte(&mut self) -> u8 {
        // Lengths and types are small, or as large as can be.
        match self.roll(4) {
            0 => self.roll(4) as u8,
            1 => 0xff - self.roll(4) as u8,
            _ => self.roll(256) as u8,
        }
    }
}

fn greeter(config: &Arc<ClientConfig>) -> ClientConnection {
    let name = ServerName::try_from("localhost").expect("a name");
    ClientConnection::new(config.clone(), name).expect("a client")
}

fn said(client: &mut ClientConnection) -> Vec<u8> {
    let mut bytes = Vec::new();
    while client.wants_write() {
        client.write_tls(&mut bytes).expect("bytes");
    }
    bytes
}

/// Bends what a client says: bytes, lengths, order, pieces of it twice or not at all.
fn bend(bytes: &mut Vec<u8>, dice: &mut Dice) {
    for _ in 0..=dice.roll(4) {
        let at = dice.roll(bytes.len());
        let len = dice.roll(40).min(bytes.len() - at);
        match dice.roll(8) {
            0 => bytes.truncate(at),
            1 => drop(bytes.drain(at..at + len)),
            2 => {
                let again = bytes[at..at + len].to_vec();
                bytes.splice(at..at, again);
            }
            3 => {
                let fresh: Vec<u8> = (0..len).map(|_| dice.byte()).collect();
                bytes.splice(at..at, fresh);
            }
            4 => bytes[at..at + len].reverse(),
            5 => *bytes = split(bytes, 1 + dice.roll(64)),
            _ => {
                for byte in &mut bytes[at..at + len.min(3)] {
                    *byte = dice.byte();
                }
            }
        }
        if bytes.is_empty() {
            bytes.push(dice.byte());
        }
    }
}

/// The first record's contents in records of `len` bytes.
fn split(bytes: &[u8], len: usize) -> Vec<u8> {
    let Some((header, rest)) = bytes.split_at_checked(5) else { return bytes.to_vec() };
    let whole = usize::from(u16::from_be_bytes([header[3], header[4]])).min(rest.len());
    let mut records = Vec::new();
    for part in rest[..whole].chunks(len) {
        records.extend_from_slice(&header[..3]);
        records.extend((part.len() as u16).to_be_bytes());
        records.extend_from_slice(part);
    }
    records.extend_from_slice(&rest[whole..]);
    records
}

/// Speaks with the server until the end, bending what it says from the `bent`th time on.
fn talk(config: &Arc<ClientConfig>, addr: SocketAddr, bent: usize, dice: &mut Dice) {
    let mut stream = TcpStream::connect(addr).expect("connected");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let mut client = greeter(config);
    for time in 0..=bent {
        let mut bytes = said(&mut client);
        if time == bent {
            if bytes.is_empty() {
                let _ = client.writer().write_all(&request(&["PING"]));
                bytes = said(&mut client);
            }
            bend(&mut bytes, dice);
            let half = dice.roll(bytes.len());
            let _ =
                stream.write_all(&bytes[..half]).and_then(|()| stream.write_all(&bytes[half..]));
            break;
        }
        if stream.write_all(&bytes).is_err() {
            break;
        }
        while client.is_handshaking() && !client.wants_write() {
            match client.read_tls(&mut stream) {
                Ok(1..) if client.process_new_packets().is_ok() => {}
                _ => return,
            }
        }
    }
    let _ = stream.shutdown(Shutdown::Write);
    let mut rest = Vec::new();
    let ended = stream.read_to_end(&mut rest);
    assert!(ended.map_or_else(|e| e.kind() == io::ErrorKind::ConnectionReset, |_| true));
    // Greetings that are answered get some kilobytes; a flood would be a fault.
    assert!(rest.len() < 64 << 10, "{} bytes", rest.len());
}

#[test]
fn bent_greetings_end_their_own_connection_only() {
    let tls = Tls::start("tls-bent", &[("tls-auth-clients", "optional")]);
    let configs: Vec<_> = [("1.2", false), ("1.2", true), ("1.3", false), ("1.3", true)]
        .map(|(versions, shows)| client(&tls.certificates, shows, versions))
        .into();
    let mut bystander = shake_hands(&configs[2], tls.addr()).expect("a handshake");
    let mut dice = Dice(number("TLS_SEED", 0x9e37_79b9_7f4a_7c15));
    for round in 0..number("TLS_ROUNDS", 300) {
        // Mostly the first greeting: whatever comes before the keys is read as it stands.
        let bent = [0, 0, 0, 1, 2][dice.roll(5)];
        let config = &configs[dice.roll(configs.len())];
        talk(config, tls.addr(), bent, &mut dice);
        if round % 16 == 0 {
            assert_eq!(call(&mut bystander, &["PING"]).expect("a reply"), status("PONG"));
        }
    }
    assert_eq!(call(&mut bystander, &["PING"]).expect("a reply"), status("PONG"));
    let mut late = shake_hands(&configs[0], tls.addr()).expect("a handshake");
    assert_eq!(call(&mut late, &["PING"]).expect("a reply"), status("PONG"));
}

/// A binary with a TLS port, and what its clients need.
#[cfg(target_os = "linux")]
fn process(folder: &Folder, more: &[&str]) -> (Process, SocketAddr, Arc<ClientConfig>) {
    let made = self_signed().expect("certificates");
    let write = |name: &str, text: &str| {
        std::fs::write(folder.path(name), text).expect("written");
        folder.path(name)
    };
    let (cert, key) = (write("cert", &made.certificate_pem), write("key", &made.key_pem));
    let port = crate::process::free_port().to_string();
    let mut args = vec!["--tls-port", &port, "--tls-cert-file", &cert, "--tls-key-file", &key];
    args.extend(["--tls-auth-clients", "no", "--bind", "127.0.0.1"]);
    args.extend(more);
    let process = Process::start(&args);
    let addr = format!("127.0.0.1:{port}").parse().expect("an address");
    (process, addr, client(&made, false, ""))
}

#[cfg(target_os = "linux")]
fn resident_kb(process: &Process) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{}/status", process.child.id()));
    let status = status.expect("a process");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("a line");
    line.split_whitespace().nth(1).and_then(|kb| kb.parse().ok()).expect("a number")
}

/// What a handshake keeps while it waits does not grow with what was announced, nor with what has
/// been sent in vain.
#[cfg(target_os = "linux")]
#[test]
fn handshakes_that_stop_half_way_cost_little_memory() {
    let folder = Folder::new("tls-half-way");
    let (process, addr, config) = process(&folder, &["--tls-handshake-timeout", "3600"]);
    let mut wire = process.wire();
    let pong = Reply::Status(b"PONG".to_vec());
    let hello = said(&mut greeter(&config));
    // Nobody reads the lines about those who go.
    let quiet = wire.call(&["CONFIG", "SET", "loglevel", "nothing"]);
    assert_eq!(quiet.expect("a reply"), Reply::Status(b"OK".to_vec()));
    let before_kb = resident_kb(&process);
    const STRANGERS: usize = 600;
    let half: Vec<TcpStream> = (0..STRANGERS)
        .map(|n| {
            let mut stream = TcpStream::connect(addr).expect("connected");
            let bytes = match n % 4 {
                0 => Vec::new(),
                1 => hello[..hello.len() - 1].to_vec(),
                2 => hello.clone(),
                // Announces a message of 16 megabytes, and sends a part of it.
                _ => [&b"\x16\x03\x01\x20\x00\x01\xff\xff\xff"[..], &[0; 4096]].concat(),
            };
            stream.write_all(&bytes).expect("sent");
            stream
        })
        .collect();
    let mut stream = shake_hands(&config, addr).expect("others get in meanwhile");
    assert_eq!(call(&mut stream, &["PING"]).expect("a reply"), status("PONG"));
    let each_kb = resident_kb(&process).saturating_sub(before_kb) / STRANGERS;
    assert!(each_kb < 64, "{each_kb} kB for each");
    // Those who go make room for others.
    drop(half);
    for _ in 0..3 {
        let more: Vec<TcpStream> =
            (0..STRANGERS).map(|_| TcpStream::connect(addr).expect("connected")).collect();
        assert_eq!(wire.call(&["PING"]).expect("a reply"), pong);
        drop(more);
    }
    let each_kb = resident_kb(&process).saturating_sub(before_kb) / STRANGERS;
    assert!(each_kb < 64, "{each_kb} kB for each");
}

#[test]
fn handshakes_that_fail_during_a_slow_script_get_their_line() {
    let directives = [("busy-reply-threshold", "20"), ("tls-handshake-timeout", "1")];
    let tls = Tls::start("tls-busy-strangers", &[&directives[..], &[("io-threads", "1")]].concat());
    let config = client(&tls.certificates, false, "");
    let mut slow = shake_hands(&config, tls.addr()).expect("a handshake");
    let mut other = shake_hands(&config, tls.addr()).expect("a handshake");
    assert_eq!(call(&mut other, &["PING"]).expect("a reply"), status("PONG"));
    slow.write_all(&request(&["EVAL", "while true do end", "0"])).expect("sent");
    while !matches!(call(&mut other, &["PING"]).expect("a reply"), Reply::Error(_)) {}
    let mut plain = TcpStream::connect(tls.addr()).expect("connected");
    plain.write_all(b"PING\r\n").expect("sent");
    let mut told = Vec::new();
    let _ = plain.read_to_end(&mut told);
    assert!(told.is_empty(), "nothing is said to who does not speak TLS: {told:?}");
    tls.logs("# Error accepting a client connection: received corrupt message of type InvalidCont");
    let silent = TcpStream::connect(tls.addr()).expect("connected");
    tls.logs("# Error accepting a client connection: the TLS handshake took too long (addr=");
    drop(TcpStream::connect(tls.addr()).expect("connected"));
    tls.logs("# Error accepting a client connection: unexpected end of file (addr=");
    drop(silent);
    assert_eq!(call(&mut other, &["SCRIPT", "KILL"]).expect("a reply"), status("OK"));
    assert_eq!(call(&mut other, &["PING"]).expect("a reply"), status("PONG"));
}
