//! Lists of protocols and ciphers, in OpenSSL's words.
//!
//! rustls has nine suites, all of them strong. OpenSSL's lists name many more, and groups of them
//! ("HIGH:!aNULL"): a word is asked of each of the nine, and one that fits none of them chooses
//! none, as OpenSSL does with a suite that it was built without. A list that chooses nothing is
//! refused.

use rustls::{SupportedCipherSuite, SupportedProtocolVersion};

/// The versions that `tls-protocols` names.
pub(super) fn versions(
    words: Option<&str>,
) -> Result<Vec<&'static SupportedProtocolVersion>, String> {
    let Some(words) = words else { return Ok(rustls::ALL_VERSIONS.to_vec()) };
    let mut versions = Vec::new();
    for word in words.split(' ') {
        match word.to_ascii_lowercase().as_str() {
            "tlsv1.2" => versions.push(&rustls::version::TLS12),
            "tlsv1.3" => versions.push(&rustls::version::TLS13),
            "tlsv1" | "tlsv1.1" => {
                return Err(format!(
                    "tls-protocols: {word} is not supported, only 'TLSv1.2' and 'TLSv1.3' are."
                ))
            }
            _ => {
                return Err("Invalid tls-protocols specified. Use a combination of 'TLSv1.2' and \
                            'TLSv1.3'."
                    .to_string())
            }
        }
    }
    Ok(versions)
}

/// Those of `all` that `tls-ciphers` (for TLS 1.2) and `tls-ciphersuites` (for TLS 1.3) choose,
/// in the order that they give.
pub(super) fn suites(
    all: &[SupportedCipherSuite],
    ciphers: Option<&str>,
    ciphersuites: Option<&str>,
) -> Result<Vec<SupportedCipherSuite>, String> {
    let (newer, older): (Vec<_>, Vec<_>) =
        all.iter().copied().partition(|suite| suite.tls13().is_some());
    let mut chosen = match ciphersuites {
        Some(words) => named(&newer, words)
            .ok_or_else(|| format!("Failed to configure ciphersuites: {words}"))?,
        None => newer,
    };
    chosen.extend(match ciphers {
        Some(words) => {
            listed(&older, words).ok_or_else(|| format!("Failed to configure ciphers: {words}"))?
        }
        None => older,
    });
    Ok(chosen)
}

/// The suites of TLS 1.3 with these names, separated by colons; `None` if there are none.
fn named(all: &[SupportedCipherSuite], words: &str) -> Option<Vec<SupportedCipherSuite>> {
    let find = |word: &str| {
        // In rustls they are called TLS13_..., to tell them from those of TLS 1.2.
        let name = word.strip_prefix("TLS_").map(|rest| format!("TLS13_{rest}"))?;
        all.iter().copied().find(|suite| format!("{:?}", suite.suite()) == name)
    };
    // Redis: names that nobody knows are passed over beside others.
    let chosen: Vec<SupportedCipherSuite> = words.split(':').filter_map(find).collect();
    (!chosen.is_empty()).then_some(chosen)
}

/// The suites that an OpenSSL cipher list chooses; `None` if there are none.
fn listed(all: &[SupportedCipherSuite], words: &str) -> Option<Vec<SupportedCipherSuite>> {
    let mut chosen: Vec<SupportedCipherSuite> = Vec::new();
    let mut struck = Vec::new();
    for word in words.split([':', ',', ' ']).filter(|word| !word.is_empty()) {
        let (sign, word) = match word.as_bytes().first() {
            Some(sign @ (b'!' | b'-' | b'+')) => (*sign, &word[1..]),
            _ => (b' ', word),
        };
        if word.starts_with('@') {
            // @STRENGTH and @SECLEVEL=n: all nine suites are of the highest.
            continue;
        }
        let is_meant = |suite: &SupportedCipherSuite| fits(&openssl_name(suite), word);
        match sign {
            b'!' => {
                struck.extend(all.iter().copied().filter(is_meant));
                chosen.retain(|suite| !is_meant(suite));
            }
            b'-' => chosen.retain(|suite| !is_meant(suite)),
            b'+' => chosen.sort_by_key(is_meant),
            _ => {
                let fresh: Vec<_> = all
                    .iter()
                    .copied()
                    .filter(|suite| {
                        is_meant(suite) && !chosen.contains(suite) && !struck.contains(suite)
                    })
                    .collect();
                chosen.extend(fresh);
            }
        }
    }
    (!chosen.is_empty()).then_some(chosen)
}

/// The name that OpenSSL gives to a suite of TLS 1.2: ECDHE-RSA-AES128-GCM-SHA256, say.
fn openssl_name(suite: &SupportedCipherSuite) -> String {
    let name = format!("{:?}", suite.suite());
    let name = name.trim_start_matches("TLS_").replace("_WITH_", "_").replace("AES_", "AES");
    name.replace('_', "-").replace("-POLY1305-SHA256", "-POLY1305")
}

/// Whether a word of a cipher list, parts joined by "+", means the suite of this name.
fn fits(name: &str, word: &str) -> bool {
    word == name
        || word.split('+').all(|part| match part {
            "ALL" | "DEFAULT" | "COMPLEMENTOFDEFAULT" => part != "COMPLEMENTOFDEFAULT",
            "HIGH" | "ECDHE" | "EECDH" | "kECDHE" | "kEECDH" | "TLSv1.2" | "FIPS" => true,
            "ECDSA" | "aECDSA" => name.contains("ECDSA"),
            "RSA" | "aRSA" => name.contains("RSA") && part == "aRSA",
            "AES" => name.contains("AES"),
            "AES128" => name.contains("AES128"),
            "AES256" => name.contains("AES256"),
            "AESGCM" => name.contains("GCM"),
            "CHACHA20" => name.contains("CHACHA20"),
            "SHA256" | "SHA384" => false,
            _ => false,
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::crypto::aws_lc_rs::ALL_CIPHER_SUITES;

    fn older(words: &str) -> Vec<String> {
        let chosen = suites(ALL_CIPHER_SUITES, Some(words), None).unwrap_or_default();
        chosen.iter().filter(|suite| suite.tls13().is_none()).map(openssl_name).collect()
    }

    #[test]
    fn lists_of_ciphers_choose_as_openssl_does() {
        let all = older("ALL");
        assert_eq!(all.len(), 6, "{all:?}");
        assert!(all.contains(&"ECDHE-RSA-CHACHA20-POLY1305".to_string()), "{all:?}");
        for same in ["DEFAULT:!MEDIUM", "HIGH:!aNULL:!MD5", "EECDH", "ALL:@STRENGTH"] {
            assert_eq!(older(same), all, "{same}");
        }
        let two = ["ECDHE-RSA-AES256-GCM-SHA384", "ECDHE-ECDSA-AES128-GCM-SHA256"];
        assert_eq!(older(&two.join(":")), two, "the order is that of the list");
        assert_eq!(older("ECDHE+aRSA+AESGCM:!AES128"), ["ECDHE-RSA-AES256-GCM-SHA384"]);
        let sunk = older("ALL:+CHACHA20");
        assert!(sunk[4..].iter().all(|name| name.contains("CHACHA20")), "{sunk:?}");
        assert_eq!(older("RC4-SHA:AES128-SHA:RSA"), [""; 0]);
        assert!(suites(ALL_CIPHER_SUITES, Some("RC4"), None).is_err());
    }

    #[test]
    fn suites_of_tls_13_are_named_one_by_one() {
        let words = "TLS_CHACHA20_POLY1305_SHA256:TLS_AES_128_GCM_SHA256";
        let chosen = suites(ALL_CIPHER_SUITES, None, Some(words)).expect("known names");
        let newer: Vec<String> = chosen[..2].iter().map(|s| format!("{:?}", s.suite())).collect();
        assert_eq!(newer, ["TLS13_CHACHA20_POLY1305_SHA256", "TLS13_AES_128_GCM_SHA256"]);
        assert_eq!(chosen.len(), 2 + 6);
        for none in ["TLS_AES_128_CCM_SHA256", "nonsense", ":"] {
            assert!(suites(ALL_CIPHER_SUITES, None, Some(none)).is_err(), "{none}");
        }
        let one = suites(ALL_CIPHER_SUITES, None, Some("nonsense:TLS_AES_256_GCM_SHA384"));
        assert_eq!(one.expect("a known name").len(), 1 + 6);
    }

    #[test]
    fn old_protocols_are_refused_by_name() {
        assert_eq!(versions(None).expect("all").len(), 2);
        assert_eq!(versions(Some("tlsv1.3")).expect("one").len(), 1);
        assert!(versions(Some("TLSv1.1 TLSv1.2")).is_err_and(|text| text.contains("TLSv1.1")));
        assert!(versions(Some("SSLv3")).is_err_and(|text| text.starts_with("Invalid")));
    }
}
