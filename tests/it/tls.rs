//! TLS from outside: handshakes that succeed, that must fail, and that never end. The client is
//! rustls with a configuration of its own.

use crate::patience::PATIENCE;
use crate::process::{output, text, Folder, Process};
use crate::waiters::run_after;
use crate::wire::{decode, request, Reply, Wire};
use redouble::config::Config;
use redouble::server_log::Logger;
use redouble::tls::{self_signed, SelfSigned};
use redouble::Server;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, HandshakeKind, RootCertStore, StreamOwned};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

pub type Stream = StreamOwned<ClientConnection, TcpStream>;

/// What a client trusts and shows.
pub fn client(certificates: &SelfSigned, shows: bool, versions: &str) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    let ca = CertificateDer::from_pem_slice(certificates.ca_pem.as_bytes()).expect("PEM");
    roots.add(ca).expect("an authority");
    let versions = match versions {
        "1.2" => vec![&rustls::version::TLS12],
        "1.3" => vec![&rustls::version::TLS13],
        _ => rustls::ALL_VERSIONS.to_vec(),
    };
    let builder = ClientConfig::builder_with_protocol_versions(&versions);
    let builder = builder.with_root_certificates(roots);
    if !shows {
        return Arc::new(builder.with_no_client_auth());
    }
    let pem = certificates.client_certificate_pem.as_bytes();
    let chain = vec![CertificateDer::from_pem_slice(pem).expect("PEM")];
    let key = PrivateKeyDer::from_pem_slice(certificates.client_key_pem.as_bytes()).expect("PEM");
    Arc::new(builder.with_client_auth_cert(chain, key).expect("a pair"))
}

pub fn shake_hands(config: &Arc<ClientConfig>, addr: SocketAddr) -> io::Result<Stream> {
    let tcp = TcpStream::connect(addr)?;
    tcp.set_read_timeout(Some(PATIENCE))?;
    let name = ServerName::try_from("localhost").expect("a name");
    let connection = ClientConnection::new(config.clone(), name).map_err(io::Error::other)?;
    let mut stream = StreamOwned::new(connection, tcp);
    while stream.conn.is_handshaking() {
        stream.conn.complete_io(&mut stream.sock)?;
    }
    Ok(stream)
}

fn reply(stream: &mut Stream) -> io::Result<Reply> {
    let mut bytes = Vec::new();
    let mut piece = [0; 1 << 14];
    loop {
        if let Some((reply, _)) = decode(&bytes).map_err(|bad| io::Error::other(bad.0))? {
            return Ok(reply);
        }
        match stream.read(&mut piece)? {
            0 => return Ok(Reply::Closed),
            len => bytes.extend(&piece[..len]),
        }
    }
}

pub fn call(stream: &mut Stream, words: &[&str]) -> io::Result<Reply> {
    stream.write_all(&request(words))?;
    reply(stream)
}

pub fn status(word: &str) -> Reply {
    Reply::Status(word.as_bytes().to_vec())
}

/// A server with a TLS port, its certificates, and where its log goes.
pub struct Tls {
    pub server: Server,
    pub certificates: SelfSigned,
    folder: Folder,
}

impl Tls {
    pub fn start(name: &str, directives: &[(&str, &str)]) -> Tls {
        let folder = Folder::new(name);
        let certificates = self_signed().expect("certificates");
        let mut config = Config::default();
        config.assign("logfile", &folder.path("log")).expect("a file");
        config.assign("loglevel", "verbose").expect("a level");
        let logger = Logger::new(config.settings(), Box::new(|| 0));
        let mut builder = Server::builder().tls(certificates.clone()).logger(Arc::new(logger));
        builder = builder.config("loglevel", "verbose");
        for (name, value) in directives {
            builder = builder.config(name, value);
        }
        Tls { server: builder.start().expect("it starts"), certificates, folder }
    }

    pub fn addr(&self) -> SocketAddr {
        self.server.tls_addr().expect("a TLS port")
    }

    fn plain(&self) -> SocketAddr {
        self.server.addr().expect("a plain port")
    }

    /// Waits until the log has a line with `wanted` in it.
    pub fn logs(&self, wanted: &str) {
        let until = Instant::now() + PATIENCE;
        loop {
            let log = std::fs::read_to_string(self.folder.path("log")).unwrap_or_default();
            if log.contains(wanted) {
                return;
            }
            assert!(Instant::now() < until, "no {wanted:?} in\n{log}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

#[test]
fn clients_of_both_versions_speak_with_and_without_a_certificate() {
    let tls = Tls::start("tls-versions", &[]);
    for (versions, shows) in [("1.2", false), ("1.2", true), ("1.3", false), ("1.3", true)] {
        let config = client(&tls.certificates, shows, versions);
        let mut stream = shake_hands(&config, tls.addr()).expect("a handshake");
        assert_eq!(call(&mut stream, &["PING"]).expect("a reply"), status("PONG"));
        // Longer than a record of TLS, and than what sockets take at once.
        let value = "v".repeat(3_000_000);
        assert_eq!(call(&mut stream, &["SET", "k", &value]).expect("a reply"), status("OK"));
        let got = call(&mut stream, &["GET", "k"]).expect("a reply");
        assert!(got == Reply::Bulk(value.into_bytes()), "the value comes back whole");
        let list = call(&mut stream, &["CLIENT", "LIST"]).expect("a reply");
        assert!(format!("{list:?}").contains("Bulk"), "{list:?}");
    }
    assert!(tls.server.url().starts_with("redis://"));
    assert!(Tls::start("tls-only", &[("port", "0")]).server.url().starts_with("rediss://"));
}

#[test]
fn pipelines_come_back_in_order_however_slowly_they_are_read() {
    let tls = Tls::start("tls-pipeline", &[]);
    let config = client(&tls.certificates, false, "");
    let mut stream = shake_hands(&config, tls.addr()).expect("a handshake");
    const REQUESTS: usize = 3000;
    let padding = "x".repeat(4000);
    let requests: Vec<u8> =
        (0..REQUESTS).flat_map(|n| request(&["ECHO", &format!("{n}-{padding}")])).collect();
    let mut writer = stream.sock.try_clone().expect("a twin");
    let expected: usize = (0..REQUESTS)
        .map(|n| {
            let len = n.to_string().len() + 1 + padding.len();
            len.to_string().len() + len + 5
        })
        .sum();
    // Enciphered by one thread while another reads: the writer only moves bytes.
    let mut records = Vec::new();
    for part in requests.chunks(1 << 14) {
        stream.conn.writer().write_all(part).expect("room");
        while stream.conn.wants_write() {
            stream.conn.write_tls(&mut records).expect("a record");
        }
    }
    let sending = std::thread::spawn(move || writer.write_all(&records));
    let mut got = vec![0; expected];
    stream.read_exact(&mut got).expect("all replies");
    sending.join().expect("no panic").expect("sent");
    let mut rest = got.as_slice();
    for n in 0..REQUESTS {
        let (reply, len) = decode(rest).expect("RESP").expect("whole");
        assert_eq!(reply, Reply::Bulk(format!("{n}-{padding}").into_bytes()));
        rest = &rest[len..];
    }
    assert!(rest.is_empty());
}

#[test]
fn sessions_are_resumed_unless_caching_is_off() {
    let tls = Tls::start("tls-resume", &[]);
    for versions in ["1.2", "1.3"] {
        let config = client(&tls.certificates, true, versions);
        let kinds: Vec<_> = (0..2)
            .map(|_| {
                let mut stream = shake_hands(&config, tls.addr()).expect("a handshake");
                // Tickets of TLS 1.3 come with the first reply.
                assert_eq!(call(&mut stream, &["PING"]).expect("a reply"), status("PONG"));
                stream.conn.handshake_kind()
            })
            .collect();
        assert_eq!(kinds, [Some(HandshakeKind::Full), Some(HandshakeKind::Resumed)]);
    }
    let mut wire = Wire::connect(tls.plain()).expect("connected");
    let off = wire.call(&["CONFIG", "SET", "tls-session-caching", "no"]).expect("a reply");
    assert_eq!(off, status("OK"));
    for versions in ["1.2", "1.3"] {
        let config = client(&tls.certificates, true, versions);
        for _ in 0..2 {
            let mut stream = shake_hands(&config, tls.addr()).expect("a handshake");
            assert_eq!(call(&mut stream, &["PING"]).expect("a reply"), status("PONG"));
            assert_eq!(stream.conn.handshake_kind(), Some(HandshakeKind::Full));
        }
    }
}

#[test]
fn who_must_show_a_certificate_and_does_not_is_let_go_with_a_line() {
    let tls = Tls::start("tls-auth", &[("tls-auth-clients", "yes")]);
    let stranger = client(&tls.certificates, false, "1.3");
    // In TLS 1.3 the client learns of it after its own part of the handshake.
    let refused = shake_hands(&stranger, tls.addr()).and_then(|mut stream| {
        call(&mut stream, &["PING"]).map(|reply| assert_eq!(reply, Reply::Closed))
    });
    assert!(refused.is_err(), "the alert is seen");
    tls.logs("# Error accepting a client connection: peer sent no certificates (addr=127.0.0.1:");
    let known = client(&tls.certificates, true, "1.3");
    let mut stream = shake_hands(&known, tls.addr()).expect("a handshake");
    assert_eq!(call(&mut stream, &["PING"]).expect("a reply"), status("PONG"));
    // A certificate of another authority is none.
    let other = SelfSigned {
        ca_pem: tls.certificates.ca_pem.clone(),
        ..self_signed().expect("certificates")
    };
    let other = client(&other, true, "1.3");
    let refused =
        shake_hands(&other, tls.addr()).and_then(|mut stream| call(&mut stream, &["PING"]));
    assert!(refused.is_err(), "{refused:?}");
    tls.logs("invalid peer certificate");
}

#[test]
fn certificates_are_replaced_without_dropping_anybody() {
    let tls = Tls::start("tls-reload", &[]);
    let config = client(&tls.certificates, false, "");
    let mut before = shake_hands(&config, tls.addr()).expect("a handshake");
    let fresh = self_signed().expect("certificates");
    let (cert, key, ca) = (tls.folder.path("cert"), tls.folder.path("key"), tls.folder.path("ca"));
    std::fs::write(&cert, &fresh.certificate_pem).expect("written");
    std::fs::write(&key, &tls.certificates.key_pem).expect("written");
    std::fs::write(&ca, &fresh.ca_pem).expect("written");
    let set = ["CONFIG", "SET", "tls-cert-file", &cert, "tls-key-file", &key];
    let refused = call(&mut before, &set).expect("a reply");
    let reason = "ERR CONFIG SET failed (possibly related to argument 'tls-cert-file') - Unable \
                  to update TLS configuration. Check server logs.";
    assert_eq!(refused, Reply::Error(reason.as_bytes().to_vec()));
    tls.logs("# Failed to load private key: it is not that of the certificate");
    assert!(shake_hands(&config, tls.addr()).is_ok(), "what there was goes on");
    std::fs::write(&key, &fresh.key_pem).expect("written");
    let set = [&set[..], &["tls-ca-cert-file", &ca]].concat();
    assert_eq!(call(&mut before, &set).expect("a reply"), status("OK"));
    assert!(shake_hands(&config, tls.addr()).is_err(), "the old authority vouches no more");
    let config = client(&fresh, true, "");
    let mut after = shake_hands(&config, tls.addr()).expect("a handshake");
    for stream in [&mut before, &mut after] {
        assert_eq!(call(stream, &["PING"]).expect("a reply"), status("PONG"));
    }
    // Files that were renewed under their names are read again when one of them is set anew.
    let newer = self_signed().expect("certificates");
    let renew = [(&cert, &newer.certificate_pem), (&key, &newer.key_pem), (&ca, &newer.ca_pem)];
    renew.iter().for_each(|(path, pem)| std::fs::write(path, pem).expect("written"));
    assert!(shake_hands(&config, tls.addr()).is_ok(), "nobody looks at them yet");
    assert_eq!(
        call(&mut after, &["CONFIG", "SET", "tls-cert-file", &cert]).expect("OK"),
        status("OK")
    );
    assert!(shake_hands(&config, tls.addr()).is_err(), "it shows another certificate");
    let config = client(&newer, true, "");
    let mut third = shake_hands(&config, tls.addr()).expect("a handshake");
    for stream in [&mut before, &mut after, &mut third] {
        assert_eq!(call(stream, &["PING"]).expect("a reply"), status("PONG"));
    }
    // The port can be left, and taken again; who is connected stays.
    let port = crate::server::free_port().expect("a port").to_string();
    assert_eq!(call(&mut after, &["CONFIG", "SET", "tls-port", &port]).expect("OK"), status("OK"));
    assert!(TcpStream::connect(tls.addr()).is_err(), "nobody listens there");
    let moved: SocketAddr = format!("127.0.0.1:{port}").parse().expect("an address");
    let mut third = shake_hands(&config, moved).expect("a handshake");
    for stream in [&mut before, &mut after, &mut third] {
        assert_eq!(call(stream, &["PING"]).expect("a reply"), status("PONG"));
    }
    let off = ["CONFIG", "SET", "tls-port", "0"];
    assert_eq!(call(&mut before, &off).expect("a reply"), status("OK"));
    assert!(TcpStream::connect(moved).is_err(), "nobody listens there");
    assert_eq!(call(&mut third, &["PING"]).expect("a reply"), status("PONG"));
}

#[test]
fn plain_bytes_on_the_tls_port_and_tls_on_the_plain_one_get_a_line_each() {
    let tls = Tls::start("tls-mixed", &[]);
    for plain in [&b"*1\r\n$4\r\nPING\r\n"[..], b"PING\r\n", b"GET / HTTP/1.1\r\n\r\n", &[0; 99]] {
        let mut stream = TcpStream::connect(tls.addr()).expect("connected");
        stream.write_all(plain).expect("sent");
        let mut told = Vec::new();
        // Closed with bytes unread: the system may say "reset".
        let _ = stream.read_to_end(&mut told);
        assert!(told.is_empty(), "nothing is said to who does not speak TLS: {told:?}");
    }
    let mut stream = TcpStream::connect(tls.addr()).expect("connected");
    stream.write_all(b"\x16\x03\x01\x00\x05abcde").expect("sent");
    let mut told = Vec::new();
    let _ = stream.read_to_end(&mut told);
    assert_eq!(told.first(), Some(&0x15), "an alert of TLS: {told:?}");
    tls.logs("# Error accepting a client connection: received corrupt message");
    let config = client(&tls.certificates, false, "");
    assert!(shake_hands(&config, tls.plain()).is_err());
    tls.logs("# Protocol error (TLS on a port that speaks without it) from client: addr=127.0.0.1");
    let mut stream = shake_hands(&config, tls.addr()).expect("a handshake");
    assert_eq!(call(&mut stream, &["PING"]).expect("a reply"), status("PONG"));
}

#[test]
fn half_open_connections_end_in_time_and_cost_others_nothing() {
    let tls = Tls::start("tls-half-open", &[("tls-handshake-timeout", "1")]);
    let config = client(&tls.certificates, false, "");
    let mut hello = Vec::new();
    let name = ServerName::try_from("localhost").expect("a name");
    let mut greeting = ClientConnection::new(config.clone(), name).expect("a client");
    greeting.write_tls(&mut hello).expect("a greeting");
    let half: Vec<TcpStream> = (0..200)
        .map(|n| {
            let mut stream = TcpStream::connect(tls.addr()).expect("connected");
            let sent = hello.len() * (n % 3) / 3;
            stream.write_all(&hello[..sent]).expect("sent");
            stream
        })
        .collect();
    let mut stream = shake_hands(&config, tls.addr()).expect("others get in meanwhile");
    assert_eq!(call(&mut stream, &["PING"]).expect("a reply"), status("PONG"));
    for mut stream in half {
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        let mut rest = Vec::new();
        // Closed with bytes unread: the system may say "reset".
        let ended = stream.read_to_end(&mut rest);
        assert!(ended.map_or_else(|e| e.kind() == io::ErrorKind::ConnectionReset, |_| true));
    }
    tls.logs("# Error accepting a client connection: the TLS handshake took too long (addr=");
    assert_eq!(call(&mut stream, &["PING"]).expect("a reply"), status("PONG"));
}

#[test]
fn connections_that_shake_hands_count_towards_maxclients() {
    let tls = Tls::start("tls-maxclients", &[("maxclients", "4")]);
    let mut plain = Wire::connect(tls.plain()).expect("connected");
    assert_eq!(plain.call(&["PING"]).expect("a reply"), status("PONG"));
    let waiting: Vec<TcpStream> =
        (0..3).map(|_| TcpStream::connect(tls.addr()).expect("connected")).collect();
    // Accepted in order: this one is the fifth.
    let mut late = TcpStream::connect(tls.addr()).expect("connected");
    late.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    assert_eq!(late.read(&mut [0; 16]).expect("the end"), 0);
    drop(waiting);
    let config = client(&tls.certificates, false, "");
    let until = Instant::now() + PATIENCE;
    let mut stream = loop {
        match shake_hands(&config, tls.addr()) {
            Ok(stream) => break stream,
            Err(error) => assert!(Instant::now() < until, "{error}"),
        }
    };
    assert_eq!(call(&mut stream, &["PING"]).expect("a reply"), status("PONG"));
}

/// Garbage in every place of a handshake and after it: an end or an alert, never a hang, and
/// nobody else notices.
#[test]
fn garbage_ends_its_own_connection_only() {
    let tls = Tls::start("tls-garbage", &[("tls-handshake-timeout", "2")]);
    let config = client(&tls.certificates, true, "");
    let mut bystander = shake_hands(&config, tls.addr()).expect("a handshake");
    let mut seed = 0x2545_f491_4f6c_dd1d_u64;
    let mut random = move || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed
    };
    for round in 0..120 {
        let tcp = TcpStream::connect(tls.addr()).expect("connected");
        tcp.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        let mut raw = tcp.try_clone().expect("a twin");
        let garbage: Vec<u8> = (0..random() % 3000).map(|_| random() as u8).collect();
        match round % 4 {
            0 => {
                let _ = raw.write_all(&garbage);
            }
            1 | 2 => {
                // A greeting with one byte turned, or a record that announces more than it has.
                let name = ServerName::try_from("localhost").expect("a name");
                let mut greeting = ClientConnection::new(config.clone(), name).expect("a client");
                let mut hello = Vec::new();
                greeting.write_tls(&mut hello).expect("a greeting");
                let at = random() as usize % hello.len();
                hello[at] ^= 1 << (random() % 8);
                if round % 4 == 2 {
                    hello[3..5].copy_from_slice(&[0x40, 0x00]);
                }
                let _ = raw.write_all(&hello);
            }
            _ => {
                let mut stream = shake_hands(&config, tls.addr()).expect("a handshake");
                let _ = stream.sock.write_all(&garbage);
                let _ = stream.sock.shutdown(std::net::Shutdown::Write);
                let mut rest = Vec::new();
                let _ = stream.sock.read_to_end(&mut rest);
            }
        }
        let _ = raw.shutdown(std::net::Shutdown::Write);
        let mut rest = Vec::new();
        let ended = raw.read_to_end(&mut rest);
        assert!(ended.map_or_else(|e| e.kind() == io::ErrorKind::ConnectionReset, |_| true));
        assert_eq!(call(&mut bystander, &["PING"]).expect("a reply"), status("PONG"));
    }
}

/// A key in the old form, under a cipher that nobody should use.
const OLD_KEY: &str = "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\
                       DEK-Info: RC2-40-CBC,0011223344556677\n\nMAA=\n\
                       -----END RSA PRIVATE KEY-----\n";

#[test]
fn what_cannot_be_done_stops_the_start_with_a_line() {
    let folder = Folder::new("tls-refusals");
    let made = self_signed().expect("certificates");
    let write = |name: &str, text: &str| {
        std::fs::write(folder.path(name), text).expect("written");
        folder.path(name)
    };
    let (cert, key) = (write("cert", &made.certificate_pem), write("key", &made.key_pem));
    let ca = write("ca", &made.ca_pem);
    let old = write("old", OLD_KEY);
    let locked = write(
        "locked",
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMAA=\n-----END ENCRYPTED \
                                  PRIVATE KEY-----\n",
    );
    let whole = |more: &[&str]| -> Vec<String> {
        let base = ["--tls-cert-file", &cert, "--tls-key-file", &key, "--tls-ca-cert-file", &ca];
        base.iter().chain(more).map(|word| word.to_string()).collect()
    };
    let cases: Vec<(Vec<String>, &str)> = vec![
        (vec![], "# No tls-cert-file configured!"),
        (vec!["--tls-cert-file".into(), cert.clone()], "# No tls-key-file configured!"),
        (
            whole(&["--tls-ca-cert-file", ""]),
            "# Either tls-ca-cert-file or tls-ca-cert-dir must be specified when tls-cluster, \
             tls-replication or tls-auth-clients are enabled!",
        ),
        (whole(&["--tls-protocols", "TLSv1.1 TLSv1.2"]), "# tls-protocols: TLSv1.1 is not"),
        (whole(&["--tls-protocols", "SSLv2"]), "# Invalid tls-protocols specified."),
        (whole(&["--tls-dh-params-file", "/tmp/x"]), "# tls-dh-params-file /tmp/x: Diffie-"),
        (whole(&["--tls-ciphers", "RC4-SHA"]), "# Failed to configure ciphers: RC4-SHA"),
        (whole(&["--tls-ciphersuites", "TLS_X"]), "# Failed to configure ciphersuites: TLS_X"),
        (whole(&["--tls-key-file", &old]), "old: the key is encrypted: set its passphrase"),
        (
            whole(&["--tls-key-file", &old, "--tls-key-file-pass", "x"]),
            "old: it is encrypted with 'RC2-40-CBC', which is not supported",
        ),
        (whole(&["--tls-key-file", &locked]), "locked: the key is encrypted: set its passphrase"),
        (whole(&["--tls-key-file", &ca]), "# Failed to load private key: "),
        (whole(&["--tls-cert-file", &key]), "there is no certificate in it"),
        (whole(&["--tls-cert-file", "/none"]), "# Failed to load certificate: /none: No such file"),
        (whole(&["--tls-ca-cert-file", "/none"]), "# Failed to configure CA certificate(s) file/"),
    ];
    let port = crate::server::free_port().expect("a port").to_string();
    for (args, line) in cases {
        let base = ["--port", "0", "--bind", "127.0.0.1", "--tls-port", &port];
        let args: Vec<&str> = base.into_iter().chain(args.iter().map(String::as_str)).collect();
        let ended = output(&args);
        let said = text(&ended.stdout);
        assert_eq!(ended.status.code(), Some(1), "{args:?}: {said}");
        assert!(said.contains(line), "{args:?}: no {line:?} in\n{said}");
        let last = "# Failed to configure TLS. Check logs for more info.\n";
        assert!(said.ends_with(last), "{said}");
    }
}

/// A directory of authorities is only a place to look: one that is missing, or in which nothing is
/// found, vouches for nobody, and a line says so.
#[test]
fn a_directory_of_authorities_may_be_missing() {
    let folder = Folder::new("tls-nowhere");
    let made = self_signed().expect("certificates");
    for (name, pem) in [("cert", &made.certificate_pem), ("key", &made.key_pem)] {
        std::fs::write(folder.path(name), pem).expect("written");
    }
    let (cert, key, none) = (folder.path("cert"), folder.path("key"), folder.path("none"));
    let port = crate::server::free_port().expect("a port");
    let base = ["--tls-cert-file", &cert, "--tls-key-file", &key, "--tls-ca-cert-dir", &none];
    let tls_port = port.to_string();
    let args = [&base[..], &["--tls-port", &tls_port, "--tls-auth-clients", "optional"]].concat();
    let mut process = Process::start(&args);
    assert!(process.log.contains("# tls-ca-cert-dir vouches for nobody: "), "{}", process.log);
    let addr = SocketAddr::from(([127, 0, 0, 1], port));
    // Of TLS 1.2: the handshake is not over before the certificate has been judged.
    let enters = |shows| {
        shake_hands(&client(&made, shows, "1.2"), addr).map(|mut s| call(&mut s, &["PING"]))
    };
    assert!(enters(false).is_ok_and(|pong| pong.is_ok()));
    assert!(enters(true).is_err(), "nobody vouches for it");
    let mut wire = process.wire();
    let set = |wire: &mut Wire, name: &str, value: &str| {
        assert_eq!(wire.call(&["CONFIG", "SET", name, value]).expect("a reply"), status("OK"));
    };
    set(&mut wire, "tls-auth-clients", "yes");
    assert!(enters(false).is_err() && enters(true).is_err());
    std::fs::create_dir(folder.path("none")).expect("a folder");
    std::fs::write(folder.path("none/ca.pem"), &made.ca_pem).expect("written");
    set(&mut wire, "tls-ca-cert-dir", &none);
    process.read_until("nobody: no certificate has a name that 'openssl rehash' gives");
    assert!(enters(true).is_err(), "not by that name");
    std::fs::write(folder.path("none/0123abcd.0"), &made.ca_pem).expect("written");
    set(&mut wire, "tls-ca-cert-dir", &none);
    assert!(enters(true).is_ok_and(|pong| pong.is_ok()));
    assert!(enters(false).is_err());
}

/// Certificates in files, for servers that speak only TLS to each other.
struct Files {
    folder: Folder,
    directives: Vec<(&'static str, String)>,
}

impl Files {
    fn new(name: &str) -> Files {
        let folder = Folder::new(name);
        let made = self_signed().expect("certificates");
        let files = [
            ("tls-cert-file", &made.certificate_pem),
            ("tls-key-file", &made.key_pem),
            ("tls-client-cert-file", &made.client_certificate_pem),
            ("tls-client-key-file", &made.client_key_pem),
            ("tls-ca-cert-file", &made.ca_pem),
        ];
        let written = files.map(|(name, text)| {
            std::fs::write(folder.path(name), text).expect("written");
            (name, folder.path(name))
        });
        let mut directives = Vec::from(written);
        directives.push(("tls-replication", "yes".to_string()));
        Files { folder, directives }
    }

    fn start(&self, more: &[(&str, &str)]) -> Server {
        let port = crate::server::free_port().expect("a port").to_string();
        let dir = self.folder.path(&format!("data-{port}"));
        std::fs::create_dir_all(&dir).expect("a folder");
        let mut builder = Server::builder().config("tls-port", &port).config("dir", &dir);
        let directives = self.directives.iter().map(|(name, value)| (*name, value.as_str()));
        for (name, value) in directives.chain(more.iter().copied()) {
            builder = builder.config(name, value);
        }
        builder.start().expect("it starts")
    }
}

/// MIGRATE speaks as replication does.
#[test]
fn keys_migrate_under_tls() {
    let files = Files::new("tls-migrate");
    let (from, to) = (files.start(&[]), files.start(&[]));
    let port = to.tls_addr().expect("a TLS port").port().to_string();
    let plain = to.addr().expect("a port").port().to_string();
    let migrate = |port: &str, key: &str| {
        format!("{:?}", from.command(&["MIGRATE", "127.0.0.1", port, key, "0", "60000"]))
    };
    // Far more than fits into one record, and again by the connection that was kept.
    let long = "v".repeat(1_000_000);
    from.command(&["SET", "long", &long]);
    from.command(&["RPUSH", "list", "a", "b"]);
    for key in ["long", "list"] {
        assert!(migrate(&port, key).contains("OK"), "{}", migrate(&port, key));
    }
    assert_eq!(format!("{:?}", from.command(&["DBSIZE"])), "Int(0)");
    assert!(format!("{:?}", to.command(&["GET", "long"])).contains(&long));
    assert!(format!("{:?}", to.command(&["LRANGE", "list", "0", "-1"])).contains("\"b\""));
    // Nobody shakes hands there, and the key stays.
    from.command(&["SET", "k", "v"]);
    let refused = migrate(&plain, "k");
    assert!(refused.contains("IOERR error or timeout connecting to the client"), "{refused}");
    assert_eq!(format!("{:?}", from.command(&["DBSIZE"])), "Int(1)");
}

/// One of ours as the primary and one as the replica, speaking only TLS to each other.
#[test]
fn replicas_follow_under_tls() {
    let files = Files::new("tls-replication");
    let primary = files.start(&[]);
    // Enough for a copy of many records of TLS.
    for n in 0..50 {
        primary.command(&["SET".to_string(), format!("k{n}"), "v".repeat(30_000)]);
    }
    let address = format!("127.0.0.1 {}", primary.tls_addr().expect("a TLS port").port());
    let replica = files.start(&[("replicaof", &address)]);
    let until = Instant::now() + PATIENCE;
    let wait_for = |what: &dyn Fn() -> bool| {
        while !what() {
            assert!(Instant::now() < until, "{:?}", replica.command(&["INFO", "replication"]));
            std::thread::sleep(Duration::from_millis(10));
        }
    };
    let same = |words: &[&str]| {
        format!("{:?}", primary.command(words)) == format!("{:?}", replica.command(words))
    };
    wait_for(&|| same(&["DBSIZE"]) && same(&["GET", "k49"]));
    primary.command(&["SET", "later", "yes"]);
    wait_for(&|| same(&["GET", "later"]));
}

#[test]
fn a_slow_script_keeps_nobody_who_speaks_tls_without_an_answer() {
    for workers in ["1", "2"] {
        let directives = [("busy-reply-threshold", "20"), ("io-threads", workers)];
        let tls = Tls::start(&format!("tls-busy-{workers}"), &directives);
        let config = client(&tls.certificates, false, "");
        let busy = "BUSY Redis is busy running a script. You can only call SCRIPT KILL or \
                    SHUTDOWN NOSAVE.";
        let busy = Reply::Error(busy.as_bytes().to_vec());
        for round in 0..3 {
            let mut slow = shake_hands(&config, tls.addr()).expect("a handshake");
            let mut before: Vec<Stream> =
                (0..4).map(|_| shake_hands(&config, tls.addr()).expect("a handshake")).collect();
            for stream in &mut before {
                assert_eq!(call(stream, &["PING"]).expect("a reply"), status("PONG"));
            }
            slow.write_all(&request(&["EVAL", "while true do end", "0"])).expect("sent");
            while call(&mut before[0], &["PING"]).expect("a reply") != busy {}
            let mut during: Vec<Stream> =
                (0..4).map(|_| shake_hands(&config, tls.addr()).expect("a handshake")).collect();
            for stream in before.iter_mut().chain(&mut during) {
                assert_eq!(call(stream, &["GET", "k"]).expect("a reply"), busy, "round {round}");
                // Half a request: its beginning is deciphered now, its end comes later.
                stream.write_all(b"*2\r\n$4\r\nECHO\r\n$3\r\nab").expect("sent");
            }
            // Nothing has come of these yet; their handshake begins and ends as it pleases.
            let mut silent = TcpStream::connect(tls.addr()).expect("connected");
            silent.write_all(b"\x16\x03\x01").expect("sent");
            let mut killer = shake_hands(&config, tls.addr()).expect("a handshake");
            assert_eq!(call(&mut killer, &["SCRIPT", "KILL"]).expect("a reply"), status("OK"));
            assert!(matches!(reply(&mut slow).expect("a reply"), Reply::Error(_)));
            for stream in before.iter_mut().chain(&mut during) {
                stream.write_all(b"c\r\n").expect("sent");
                assert_eq!(reply(stream).expect("a reply"), Reply::Bulk(b"abc".to_vec()));
                assert_eq!(call(stream, &["PING"]).expect("a reply"), status("PONG"));
            }
            assert_eq!(call(&mut slow, &["PING"]).expect("a reply"), status("PONG"));
            assert_eq!(call(&mut killer, &["PING"]).expect("a reply"), status("PONG"));
        }
    }
}

#[cfg(target_os = "linux")]
#[test]
fn who_has_closed_a_connection_takes_nothing_that_is_pushed_later() {
    let tls = Tls::start("gone", &[]);
    let config = client(&tls.certificates, true, "");
    let mut gone = shake_hands(&config, tls.addr()).expect("a handshake");
    gone.write_all(&request(&["BLPOP", "list", "0"])).expect("sent");
    gone.flush().expect("sent");
    let until = Instant::now() + PATIENCE;
    while tls.server.shared().lock().blocking.is_empty() {
        assert!(Instant::now() < until, "it does not wait");
        std::thread::sleep(Duration::from_millis(1));
    }
    let mut wire = Wire::connect(tls.plain()).expect("a connection");
    run_after(&tls.server, &mut wire, &["RPUSH list x"], || drop(gone));
    assert_eq!(wire.call(&["LLEN", "list"]).expect("a reply"), Reply::Int(1));
}
