//! Whether the other side's certificate counts.
//!
//! rustls's own judgement comes first. It refuses two kinds that OpenSSL takes and that people
//! have: certificates that are an authority's own (`CA:TRUE`, which `openssl req -x509` writes
//! unasked) and those of X.509 version 1 (which `openssl x509 -req` writes when it is given no
//! extensions). Only for these there is a judgement here, by the rules of OpenSSL: a chain of
//! signatures by authorities, each valid today, up to one that is trusted, and a last certificate
//! that may be used for what it is shown for.
//!
//! Invariant: nothing is trusted here but what an anchor's key has signed, directly or through
//! certificates that may sign. What cannot be understood, a constraint on names included, is
//! refused.

use super::certificate::{PublicKey, Purpose, Read};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::{
    verify_tls12_signature, verify_tls13_signature, verify_tls13_signature_with_raw_key,
    WebPkiSupportedAlgorithms,
};
use rustls::pki_types::{
    CertificateDer, ServerName, SignatureVerificationAlgorithm, TrustAnchor, UnixTime,
};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error};
use rustls::{PeerMisbehaved, RootCertStore, SignatureScheme};
use std::sync::Arc;

/// Certificates between the last one and the anchor.
const BETWEEN_MAX: usize = 8;

/// Who is trusted.
#[derive(Clone, Debug)]
pub(super) struct Trust {
    pub(super) roots: Arc<RootCertStore>,
    pub(super) algorithms: WebPkiSupportedAlgorithms,
}

impl Trust {
    /// The second judgement, after rustls's `first`.
    fn judge(
        &self,
        first: Result<(), Error>,
        shown: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        now: UnixTime,
        purpose: Purpose,
    ) -> Result<(), Error> {
        let Some(last) = Read::from(shown) else { return first };
        let Err(refusal) = first else {
            // Redis: OpenSSL also asks what its key is for, and Netscape's extension.
            return match last.is_for(purpose) {
                true => Ok(()),
                false => Err(CertificateError::InvalidPurpose.into()),
            };
        };
        if !last.is_of_version_1() && last.authority().is_none() {
            return Err(refusal);
        }
        if !last.is_valid_at(now) {
            return Err(CertificateError::Expired.into());
        }
        if !last.is_for(purpose) || !last.is_understood() {
            return Err(CertificateError::InvalidPurpose.into());
        }
        match self.vouches(last, between, now, purpose) {
            true => Ok(()),
            false => Err(CertificateError::UnknownIssuer.into()),
        }
    }

    /// Whether a chain leads from `last` to an anchor.
    fn vouches(
        &self,
        last: Read<'_>,
        between: &[CertificateDer<'_>],
        now: UnixTime,
        purpose: Purpose,
    ) -> bool {
        let mut signers: Vec<Read<'_>> =
            between.iter().take(BETWEEN_MAX).filter_map(Read::from).collect();
        let mut at = last;
        for below in 0..=BETWEEN_MAX {
            let Some(issuer) = at.issuer() else { return false };
            if self.roots.roots.iter().any(|anchor| self.anchored(&at, &issuer, anchor)) {
                return true;
            }
            let Some(next) = signers.iter().position(|signer| {
                signer.subject().is_some_and(|subject| subject == issuer)
                    && signer.is_valid_at(now)
                    && signer.may_sign(purpose)
                    && signer
                        .authority()
                        .is_some_and(|limit| limit.is_none_or(|limit| below <= usize::from(limit)))
                    && signer.public_key().is_some_and(|key| self.signed(&at, &key))
            }) else {
                return false;
            };
            at = signers.swap_remove(next);
        }
        false
    }

    fn anchored(&self, at: &Read<'_>, issuer: &[u8], anchor: &TrustAnchor<'_>) -> bool {
        anchor.subject.as_ref() == issuer
            && anchor.name_constraints.is_none()
            && PublicKey::from_contents(anchor.subject_public_key_info.as_ref())
                .is_some_and(|key| self.signed(at, &key))
    }

    /// Whether `certificate` is signed with `key`.
    fn signed(&self, certificate: &Read<'_>, key: &PublicKey) -> bool {
        let algorithm = certificate.algorithm();
        self.algorithms.all.iter().any(|candidate| {
            algorithm.as_deref() == Some(candidate.signature_alg_id().as_ref())
                && fits(*candidate, key, certificate.signed, certificate.signature())
        })
    }

    fn verify_tls12(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let Some(key) = unreadable_key(certificate) else {
            return verify_tls12_signature(message, certificate, signed, &self.algorithms);
        };
        let mut of_scheme =
            self.algorithms.mapping.iter().filter(|(scheme, _)| *scheme == signed.scheme);
        let (_, candidates) =
            of_scheme.next().ok_or(PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme)?;
        let signature = signed.signature();
        match candidates.iter().any(|one| fits(*one, &key, message, signature)) {
            true => Ok(HandshakeSignatureValid::assertion()),
            false => Err(CertificateError::BadSignature.into()),
        }
    }

    fn verify_tls13(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        match unreadable_key(certificate) {
            Some(key) => {
                verify_tls13_signature_with_raw_key(message, &key.der, signed, &self.algorithms)
            }
            None => verify_tls13_signature(message, certificate, signed, &self.algorithms),
        }
    }
}

/// Whether `signature` is `key`'s, made of `message` with this algorithm.
fn fits(
    algorithm: &dyn SignatureVerificationAlgorithm,
    key: &PublicKey,
    message: &[u8],
    signature: &[u8],
) -> bool {
    algorithm.public_key_alg_id().as_ref() == key.algorithm
        && algorithm.verify_signature(&key.bits, message, signature).is_ok()
}

/// The key of a certificate that rustls cannot read.
fn unreadable_key(certificate: &CertificateDer<'_>) -> Option<PublicKey> {
    match ParsedCertificate::try_from(certificate) {
        Ok(_) => None,
        Err(_) => Read::from(certificate)?.public_key(),
    }
}

/// Of clients, by rustls's verifier and [`Trust`].
#[derive(Debug)]
pub(super) struct OfClients {
    /// There is none where nobody is trusted.
    pub(super) first: Option<Arc<dyn ClientCertVerifier>>,
    pub(super) trust: Trust,
    /// Whoever shows no certificate is refused.
    pub(super) must_show: bool,
}

impl ClientCertVerifier for OfClients {
    fn offer_client_auth(&self) -> bool {
        true
    }

    fn client_auth_mandatory(&self) -> bool {
        self.must_show
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.first.as_ref().map_or(&[], |first| first.root_hint_subjects())
    }

    fn verify_client_cert(
        &self,
        shown: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let first = match &self.first {
            Some(first) => first.verify_client_cert(shown, between, now).map(drop),
            None => Err(CertificateError::UnknownIssuer.into()),
        };
        self.trust.judge(first, shown, between, now, Purpose::Client)?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.trust.verify_tls12(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.trust.verify_tls13(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.trust.algorithms.supported_schemes()
    }
}

/// Of servers, whatever their names.
#[derive(Debug)]
pub(super) struct OfServers(pub(super) Trust);

impl ServerCertVerifier for OfServers {
    fn verify_server_cert(
        &self,
        shown: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Trust { roots, algorithms } = &self.0;
        let first = ParsedCertificate::try_from(shown).and_then(|parsed| {
            let all = algorithms.all;
            verify_server_cert_signed_by_trust_anchor(&parsed, roots, between, now, all)
        });
        self.0.judge(first, shown, between, now, Purpose::Server)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls12(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls13(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests;
