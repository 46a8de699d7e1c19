//! Certificates of every shape, judged as OpenSSL judges them, and whole handshakes with those
//! that rustls alone would refuse.

use super::*;
use crate::config::{Config, Settings};
use crate::tls::{client_config, server_config};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, CustomExtension, DnType,
    ExtendedKeyUsagePurpose as Use, IsCa, KeyPair, KeyUsagePurpose,
};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{pem::PemObject, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::time_provider::TimeProvider;
use rustls::{ClientConfig, ClientConnection, ServerConfig, ServerConnection};

/// Certificates are looked at in May 2033.
const NOW: UnixTime = UnixTime::since_unix_epoch(std::time::Duration::from_secs(2_000_000_000));

type Authority = CertifiedIssuer<'static, KeyPair>;
type Der = CertificateDer<'static>;
type Change = fn(&mut CertificateParams);

fn params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::new(Vec::new()).expect("parameters");
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

fn authority_of(name: &str, limit: Option<u8>) -> CertificateParams {
    let mut params = params(name);
    let bounds = limit.map_or(BasicConstraints::Unconstrained, BasicConstraints::Constrained);
    params.is_ca = IsCa::Ca(bounds);
    params
}

fn key() -> KeyPair {
    KeyPair::generate().expect("a key")
}

fn root(name: &str) -> Authority {
    CertifiedIssuer::self_signed(authority_of(name, None), key()).expect("an authority")
}

fn below(params: CertificateParams, above: &Authority) -> Authority {
    CertifiedIssuer::signed_by(params, key(), above).expect("an authority")
}

fn leaf(params: CertificateParams, above: &Authority) -> Der {
    params.signed_by(&key(), above).expect("a certificate").der().clone()
}

/// An authority's own certificate with these uses.
fn own(uses: &[Use], above: &Authority) -> Der {
    let mut params = authority_of("own", None);
    params.extended_key_usages = uses.to_vec();
    leaf(params, above)
}

struct Judge {
    clients: OfClients,
    servers: OfServers,
}

impl Judge {
    fn new(trusted: &[&Der]) -> Judge {
        let mut roots = RootCertStore::empty();
        for der in trusted {
            roots.add((*der).clone()).expect("an anchor");
        }
        let provider = Arc::new(aws_lc_rs::default_provider());
        let algorithms = provider.signature_verification_algorithms;
        let trust = Trust { roots: Arc::new(roots), algorithms };
        let first =
            WebPkiClientVerifier::builder_with_provider(trust.roots.clone(), provider).build();
        let first = Some(first.expect("a verifier"));
        let clients = OfClients { first, trust: trust.clone(), must_show: true };
        Judge { clients, servers: OfServers(trust) }
    }

    /// Whether a client and a server may show it.
    fn takes(&self, shown: &Der, between: &[Der]) -> (bool, bool) {
        let name = ServerName::try_from("anything").expect("a name");
        (
            self.clients.verify_client_cert(shown, between, NOW).is_ok(),
            self.servers.verify_server_cert(shown, between, &name, &[], NOW).is_ok(),
        )
    }
}

const BOTH: (bool, bool) = (true, true);
const NEITHER: (bool, bool) = (false, false);
const CLIENTS: (bool, bool) = (true, false);
const SERVERS: (bool, bool) = (false, true);

#[test]
fn an_authoritys_own_certificate_serves_for_what_it_says() {
    let ca = root("CA");
    let judge = Judge::new(&[ca.der()]);
    let takes = |der: &Der| judge.takes(der, &[]);
    assert_eq!(takes(&leaf(params("plain"), &ca)), BOTH);
    assert_eq!(takes(&own(&[], &ca)), BOTH);
    assert_eq!(takes(ca.der()), BOTH, "the anchor itself");
    assert_eq!(takes(&own(&[Use::ClientAuth], &ca)), CLIENTS);
    assert_eq!(takes(&own(&[Use::ServerAuth], &ca)), SERVERS);
    assert_eq!(takes(&own(&[Use::Any], &ca)), NEITHER);
    let mut signs_only = authority_of("signs", None);
    signs_only.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    assert_eq!(takes(&leaf(signs_only, &ca)), NEITHER);
    for (critical, expected) in [(false, BOTH), (true, NEITHER)] {
        let mut odd = authority_of("odd", None);
        let mut unknown = CustomExtension::from_oid_content(&[1, 2, 3, 4], vec![5, 0]);
        unknown.set_criticality(critical);
        odd.custom_extensions = vec![unknown];
        assert_eq!(takes(&leaf(odd, &ca)), expected);
    }
}

#[test]
fn nobody_vouches_for_a_stranger() {
    let (ca, other, forged) = (root("CA"), root("other"), root("CA"));
    let judge = Judge::new(&[ca.der()]);
    for stranger in [other.der(), forged.der(), &own(&[], &other), &own(&[], &forged)] {
        assert_eq!(judge.takes(stranger, &[]), NEITHER);
        assert_eq!(judge.takes(stranger, &[other.der().clone(), forged.der().clone()]), NEITHER);
    }
    let mut damaged = own(&[], &ca).as_ref().to_vec();
    if let Some(byte) = damaged.last_mut() {
        *byte ^= 1;
    }
    assert_eq!(judge.takes(&Der::from(damaged), &[]), NEITHER);
    let mut past = authority_of("past", None);
    past.not_after = rcgen::date_time_ymd(2033, 1, 1);
    assert_eq!(judge.takes(&leaf(past, &ca), &[]), NEITHER);
    let mut future = authority_of("future", None);
    future.not_before = rcgen::date_time_ymd(2034, 1, 1);
    assert_eq!(judge.takes(&leaf(future, &ca), &[]), NEITHER);
}

#[test]
fn chains_lead_through_those_who_may_sign() {
    let ca = root("CA");
    let judge = Judge::new(&[ca.der()]);
    let inter = below(authority_of("inter", None), &ca);
    let chain = [inter.der().clone()];
    assert_eq!(judge.takes(&own(&[], &inter), &chain), BOTH);
    assert_eq!(judge.takes(&own(&[], &inter), &[]), NEITHER, "a link is missing");
    let last = below(authority_of("last", Some(0)), &inter);
    let chain = [last.der().clone(), inter.der().clone()];
    assert_eq!(judge.takes(&own(&[], &last), &chain), BOTH);
    assert_eq!(judge.takes(&own(&[], &last), &[chain[1].clone(), chain[0].clone()]), BOTH);
    let beyond = below(authority_of("beyond", None), &last);
    let chain = [beyond.der().clone(), last.der().clone(), inter.der().clone()];
    assert_eq!(judge.takes(&own(&[], &beyond), &chain), NEITHER, "one too many");
    let cases: [(&str, Change); 4] = [
        ("no authority", |params| params.is_ca = IsCa::ExplicitNoCa),
        ("signs nothing", |params| params.key_usages = vec![KeyUsagePurpose::DigitalSignature]),
        ("over", |params| params.not_after = rcgen::date_time_ymd(2030, 1, 1)),
        ("bound to names", |params| {
            let names = vec![rcgen::GeneralSubtree::DnsName("example.org".to_string())];
            params.name_constraints = Some(rcgen::NameConstraints {
                permitted_subtrees: names,
                excluded_subtrees: Vec::new(),
            });
        }),
    ];
    for (what, change) in cases {
        let mut params = authority_of("signer", None);
        change(&mut params);
        let signer = below(params, &ca);
        assert_eq!(judge.takes(&own(&[], &signer), &[signer.der().clone()]), NEITHER, "{what}");
    }
    let bound: [(&[Use], (bool, bool)); 4] = [
        (&[Use::ClientAuth], CLIENTS),
        (&[Use::ServerAuth], SERVERS),
        (&[Use::ClientAuth, Use::ServerAuth], BOTH),
        (&[Use::CodeSigning], NEITHER),
    ];
    for (uses, expected) in bound {
        let mut params = authority_of("bound", None);
        params.extended_key_usages = uses.to_vec();
        let signer = below(params, &ca);
        let chain = [signer.der().clone()];
        assert_eq!(judge.takes(&own(&[], &signer), &chain), expected, "{uses:?}");
    }
}

fn file(name: &str) -> String {
    format!("{}/tests/certificates/{name}", env!("CARGO_MANIFEST_DIR"))
}

fn pem(name: &str) -> Der {
    Der::from_pem_file(file(name)).expect("a certificate")
}

#[test]
fn certificates_of_version_1_are_taken_and_netscapes_words_heard() {
    let judge = Judge::new(&[&pem("authority.pem")]);
    assert_eq!(judge.takes(&pem("version-1.pem"), &[]), BOTH);
    assert_eq!(judge.takes(&pem("version-1-rsa.pem"), &[]), BOTH);
    assert_eq!(judge.takes(&pem("netscape-server.pem"), &[]), SERVERS);
    let stranger = Judge::new(&[root("CA").der()]);
    assert_eq!(stranger.takes(&pem("version-1.pem"), &[]), NEITHER);
}

#[test]
fn every_damaged_certificate_is_refused() {
    let judge = Judge::new(&[&pem("authority.pem")]);
    let whole = pem("version-1.pem");
    for at in 0..whole.len() {
        assert_eq!(judge.takes(&Der::from(whole[..at].to_vec()), &[]), NEITHER, "cut at {at}");
        let mut flipped = whole.to_vec();
        flipped[at] ^= 0x21;
        assert_eq!(judge.takes(&Der::from(flipped), &[]), NEITHER, "flipped at {at}");
    }
}

#[derive(Debug)]
struct May2033;

impl TimeProvider for May2033 {
    fn current_time(&self) -> Option<UnixTime> {
        Some(NOW)
    }
}

fn settings(certificate: &str, version: &str) -> Settings {
    let mut config = Config::default();
    for (name, value) in [
        ("tls-cert-file", file(&format!("{certificate}.pem"))),
        ("tls-key-file", file(&format!("{certificate}.key.pem"))),
        ("tls-ca-cert-file", file("authority.pem")),
        ("tls-protocols", version.to_string()),
    ] {
        config.assign(name, &value).expect("a directive");
    }
    config.settings().clone()
}

/// Shakes hands in memory; the first error of either side.
fn shake_hands(client: ClientConfig, server: ServerConfig) -> Result<(), Error> {
    let name = ServerName::try_from("anything").expect("a name");
    let mut client = ClientConnection::new(Arc::new(client), name)?;
    let mut server = ServerConnection::new(Arc::new(server))?;
    while client.is_handshaking() || server.is_handshaking() {
        let mut bytes = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut bytes).expect("written");
        }
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            server.read_tls(&mut rest).expect("read");
            server.process_new_packets()?;
        }
        let mut bytes = Vec::new();
        while server.wants_write() {
            server.write_tls(&mut bytes).expect("written");
        }
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            client.read_tls(&mut rest).expect("read");
            client.process_new_packets()?;
        }
    }
    Ok(())
}

#[test]
fn both_sides_shake_hands_with_certificates_of_version_1() {
    for version in ["TLSv1.2", "TLSv1.3"] {
        for (ours, theirs) in [("version-1", "version-1-rsa"), ("version-1-rsa", "version-1")] {
            let server = server_config(&settings(ours, version), None).expect("a server");
            let client = client_config(&settings(theirs, version), None).expect("a client");
            let (mut server, mut client) = (ServerConfig::clone(&server), (*client).clone());
            server.time_provider = Arc::new(May2033);
            client.time_provider = Arc::new(May2033);
            let shaken = shake_hands(client, server);
            assert_eq!(shaken, Ok(()), "{ours} and {theirs} by {version}");
        }
    }
}

#[test]
fn a_certificate_of_version_1_helps_nobody_without_its_key() {
    for version in ["TLSv1.2", "TLSv1.3"] {
        let server = server_config(&settings("version-1", version), None).expect("a server");
        let client = client_config(&settings("version-1", version), None).expect("a client");
        let (mut server, mut client) = (ServerConfig::clone(&server), (*client).clone());
        server.time_provider = Arc::new(May2033);
        client.time_provider = Arc::new(May2033);
        let signed_with = |key: &PrivateKeyDer<'static>| {
            let key = aws_lc_rs::sign::any_supported_type(key).expect("a key");
            let shown = CertifiedKey::new(vec![pem("version-1.pem")], key);
            let mut client = client.clone();
            client.client_auth_cert_resolver = Arc::new(SingleCertAndKey::from(shown));
            shake_hands(client, server.clone())
        };
        let own = PrivateKeyDer::from_pem_file(file("version-1.key.pem")).expect("a key");
        assert_eq!(signed_with(&own), Ok(()), "{version}");
        let stolen = PrivateKeyDer::try_from(key().serialize_der()).expect("a key");
        let refused = Err(CertificateError::BadSignature.into());
        assert_eq!(signed_with(&stolen), refused, "{version}");
    }
}
