//! Throw-away certificates: for tests, and for nothing else.

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose,
};

/// An authority made for one server, and what it signed, all in PEM.
#[derive(Clone)]
pub struct SelfSigned {
    /// What clients have to trust.
    pub ca_pem: String,
    /// For the server: localhost, 127.0.0.1 and ::1.
    pub certificate_pem: String,
    /// The key of that.
    pub key_pem: String,
    /// For a client, where the server asks for one.
    pub client_certificate_pem: String,
    /// The key of that.
    pub client_key_pem: String,
}

impl std::fmt::Debug for SelfSigned {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SelfSigned")
    }
}

/// Makes an authority and two certificates. The authority's key is forgotten.
pub fn self_signed() -> Result<SelfSigned, String> {
    let made = || -> Result<SelfSigned, rcgen::Error> {
        let mut params = CertificateParams::new(Vec::new())?;
        params.distinguished_name.push(DnType::CommonName, "Redouble test authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
        let signed = |names: &[&str], usage| -> Result<(String, String), rcgen::Error> {
            let names: Vec<String> = names.iter().map(|name| name.to_string()).collect();
            let mut params = CertificateParams::new(names)?;
            params.distinguished_name.push(DnType::CommonName, "Redouble test");
            params.extended_key_usages = vec![usage];
            let key = KeyPair::generate()?;
            Ok((params.signed_by(&key, &issuer)?.pem(), key.serialize_pem()))
        };
        let usage = ExtendedKeyUsagePurpose::ServerAuth;
        let (certificate_pem, key_pem) = signed(&["localhost", "127.0.0.1", "::1"], usage)?;
        let (client_certificate_pem, client_key_pem) =
            signed(&[], ExtendedKeyUsagePurpose::ClientAuth)?;
        let ca_pem = issuer.pem();
        Ok(SelfSigned { ca_pem, certificate_pem, key_pem, client_certificate_pem, client_key_pem })
    };
    made().map_err(|error| format!("No certificate could be made: {error}"))
}
