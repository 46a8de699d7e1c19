//! TLS.

use super::{choice, number, off, on, unset, Choices, Directive, I32_MAX};

const AUTH: Choices = &[("no", 0), ("yes", 1), ("optional", 2)];

pub(super) const TLS: &[Directive] = &[
    number("tls-port", "0", 0, 65535).honoured().about("TCP port for TLS; 0 for none."),
    unset("tls-cert-file").read_anew().honoured().about("Certificate of the server, PEM."),
    unset("tls-key-file").read_anew().honoured().about("Its private key, PEM."),
    unset("tls-key-file-pass").secret().honoured().about("Password of the private key."),
    unset("tls-client-cert-file")
        .read_anew()
        .honoured()
        .about("Certificate for outgoing connections, PEM."),
    unset("tls-client-key-file").read_anew().honoured().about("Its private key, PEM."),
    unset("tls-client-key-file-pass").secret().honoured().about("Password of that key."),
    unset("tls-dh-params-file")
        .read_anew()
        .honoured()
        .about("Diffie-Hellman parameters; refused, as they are not used."),
    unset("tls-ca-cert-file").read_anew().honoured().about("Certificates that are trusted, PEM."),
    unset("tls-ca-cert-dir")
        .read_anew()
        .honoured()
        .about("Directory of certificates that are trusted, named by `openssl rehash`."),
    choice("tls-auth-clients", "yes", AUTH)
        .honoured()
        .about("Whether clients must show a certificate."),
    off("tls-replication").honoured().about("Use TLS towards the primary."),
    off("tls-cluster").about("Use TLS on the cluster bus."),
    unset("tls-protocols").honoured().about("Versions of TLS, such as \"TLSv1.2 TLSv1.3\"."),
    unset("tls-ciphers").honoured().about("Ciphers of TLS 1.2, as OpenSSL lists them."),
    unset("tls-ciphersuites").honoured().about("Ciphers of TLS 1.3."),
    off("tls-prefer-server-ciphers").honoured().about("The server's order of ciphers decides."),
    on("tls-session-caching").honoured().about("Remember sessions."),
    number("tls-session-cache-size", "20480", 0, I32_MAX)
        .honoured()
        .about("Sessions remembered; 0: all."),
    number("tls-session-cache-timeout", "300", 0, I32_MAX)
        .honoured()
        .about("Seconds that a session may be resumed; 0: two hours."),
];
