//! A certificate that rustls does not take, read for what has to be known of it.
//!
//! Invariant: what is not understood is refused: an extension that is critical and unknown here,
//! an encoding that is not DER.

use rustls::pki_types::{CertificateDer, SubjectPublicKeyInfoDer, UnixTime};
use x509_cert::der::asn1::{AnyRef, ObjectIdentifier};
use x509_cert::der::oid::AssociatedOid;
use x509_cert::der::{Decode, Encode, Header, Reader, SliceReader};
use x509_cert::ext::pkix::{BasicConstraints, ExtendedKeyUsage, KeyUsage};
use x509_cert::ext::pkix::{NameConstraints, SubjectAltName};
use x509_cert::spki::AlgorithmIdentifierOwned;
use x509_cert::{Certificate, Version};

/// id-kp-serverAuth.
const SERVERS: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.1");
/// id-kp-clientAuth.
const CLIENTS: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.2");
/// nsCertType, an extension of Netscape's that OpenSSL still honours.
const NETSCAPE_TYPE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.113730.1.1");

/// What a certificate is shown for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// By a client, to this server.
    Client,
    /// By a server, to this one as its client.
    Server,
}

/// One that is read. What is compared with others is as it stands in the file.
pub(super) struct Read<'a> {
    certificate: Certificate,
    /// What is signed.
    pub(super) signed: &'a [u8],
}

impl<'a> Read<'a> {
    pub(super) fn from(der: &'a CertificateDer<'_>) -> Option<Read<'a>> {
        let bytes: &'a [u8] = der.as_ref();
        let certificate = Certificate::from_der(bytes).ok()?;
        let mut reader = SliceReader::new(bytes).ok()?;
        Header::decode(&mut reader).ok()?;
        let from = usize::try_from(reader.position()).ok()?;
        AnyRef::decode(&mut reader).ok()?;
        let until = usize::try_from(reader.position()).ok()?;
        let signed = bytes.get(from..until)?;
        // Both name the algorithm, the second one unsigned.
        (certificate.signature_algorithm == certificate.tbs_certificate.signature)
            .then_some(Read { certificate, signed })
    }

    /// Of the first version, which knows no extensions.
    pub(super) fn is_of_version_1(&self) -> bool {
        self.certificate.tbs_certificate.version == Version::V1
    }

    /// Whose certificate it is, as the contents of a name.
    pub(super) fn subject(&self) -> Option<Vec<u8>> {
        contents(&self.certificate.tbs_certificate.subject)
    }

    /// Who signed it.
    pub(super) fn issuer(&self) -> Option<Vec<u8>> {
        contents(&self.certificate.tbs_certificate.issuer)
    }

    /// How it is signed.
    pub(super) fn algorithm(&self) -> Option<Vec<u8>> {
        algorithm(&self.certificate.signature_algorithm)
    }

    pub(super) fn signature(&self) -> &[u8] {
        self.certificate.signature.raw_bytes()
    }

    /// The key that it is about.
    pub(super) fn public_key(&self) -> Option<PublicKey> {
        PublicKey::of(&self.certificate.tbs_certificate.subject_public_key_info)
    }

    pub(super) fn is_valid_at(&self, now: UnixTime) -> bool {
        let validity = &self.certificate.tbs_certificate.validity;
        let seconds = |time: x509_cert::time::Time| time.to_unix_duration().as_secs();
        (seconds(validity.not_before)..=seconds(validity.not_after)).contains(&now.as_secs())
    }

    /// An authority, and how many others may stand between it and the last certificate.
    pub(super) fn authority(&self) -> Option<Option<u8>> {
        match self.extension::<BasicConstraints>() {
            Ok(Some(constraints)) if constraints.ca => Some(constraints.path_len_constraint),
            _ => None,
        }
    }

    /// It may sign certificates that are shown for `purpose`: uses that an authority names bind
    /// those below it.
    pub(super) fn may_sign(&self, purpose: Purpose) -> bool {
        self.authority().is_some()
            && self.is_understood()
            && self.names(purpose)
            && self
                .extension::<KeyUsage>()
                .is_ok_and(|usage| usage.is_none_or(|usage| usage.key_cert_sign()))
    }

    /// It may be shown for `purpose`, by the rules of OpenSSL.
    pub(super) fn is_for(&self, purpose: Purpose) -> bool {
        let netscape_bit = match purpose {
            Purpose::Client => 0x80,
            Purpose::Server => 0x40,
        };
        let key = self.extension::<KeyUsage>().map(|usage| {
            usage.is_none_or(|usage| {
                usage.digital_signature()
                    || usage.key_agreement()
                    || (purpose == Purpose::Server && usage.key_encipherment())
            })
        });
        self.names(purpose)
            && key.unwrap_or(false)
            && self.netscape_type().is_none_or(|bits| bits & netscape_bit != 0)
    }

    /// Its extended uses are not limited, or `purpose` is among them.
    fn names(&self, purpose: Purpose) -> bool {
        let wanted = match purpose {
            Purpose::Client => CLIENTS,
            Purpose::Server => SERVERS,
        };
        self.extension::<ExtendedKeyUsage>()
            .is_ok_and(|uses| uses.is_none_or(|uses| uses.0.contains(&wanted)))
    }

    /// The bits of Netscape's extension; none of them if they cannot be read.
    fn netscape_type(&self) -> Option<u8> {
        let extensions = self.certificate.tbs_certificate.extensions.as_deref()?;
        let found = extensions.iter().find(|one| one.extn_id == NETSCAPE_TYPE)?;
        let bits = x509_cert::der::asn1::BitString::from_der(found.extn_value.as_bytes());
        Some(bits.ok().and_then(|bits| bits.raw_bytes().first().copied()).unwrap_or(0))
    }

    /// Nothing critical in it is unknown here, and it constrains no names.
    pub(super) fn is_understood(&self) -> bool {
        let known = [
            BasicConstraints::OID,
            KeyUsage::OID,
            ExtendedKeyUsage::OID,
            SubjectAltName::OID,
            NETSCAPE_TYPE,
        ];
        let extensions = self.certificate.tbs_certificate.extensions.as_deref().unwrap_or(&[]);
        extensions.iter().all(|one| {
            known.contains(&one.extn_id) || (!one.critical && one.extn_id != NameConstraints::OID)
        })
    }

    /// An extension, or that it cannot be read.
    fn extension<T>(&self) -> Result<Option<T>, x509_cert::der::Error>
    where
        T: for<'b> Decode<'b> + AssociatedOid,
    {
        Ok(self.certificate.tbs_certificate.get::<T>()?.map(|(_, value)| value))
    }
}

/// A public key in its parts.
pub(super) struct PublicKey {
    /// What kind of key it is.
    pub(super) algorithm: Vec<u8>,
    /// Its bits.
    pub(super) bits: Vec<u8>,
    /// All of it, in DER.
    pub(super) der: SubjectPublicKeyInfoDer<'static>,
}

impl PublicKey {
    /// The key of an authority, whose description lacks the outermost tag.
    pub(super) fn from_contents(contents: &[u8]) -> Option<PublicKey> {
        let sequence = AnyRef::new(x509_cert::der::Tag::Sequence, contents).ok()?;
        let der = sequence.to_der().ok()?;
        PublicKey::of(&x509_cert::spki::SubjectPublicKeyInfoOwned::from_der(&der).ok()?)
    }

    fn of(key: &x509_cert::spki::SubjectPublicKeyInfoOwned) -> Option<PublicKey> {
        Some(PublicKey {
            algorithm: algorithm(&key.algorithm)?,
            bits: key.subject_public_key.as_bytes()?.to_vec(),
            der: SubjectPublicKeyInfoDer::from(key.to_der().ok()?),
        })
    }
}

fn algorithm(named: &AlgorithmIdentifierOwned) -> Option<Vec<u8>> {
    contents(named)
}

/// The encoding of `value` without the tag and length around it.
fn contents(value: &impl Encode) -> Option<Vec<u8>> {
    let der = value.to_der().ok()?;
    AnyRef::from_der(&der).ok().map(|any| any.value().to_vec())
}
