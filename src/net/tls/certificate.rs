//! What a certificate says, for logs, choice by name and metrics: subject, alternative names, validity. Nothing here
//! decides whom to trust; rustls did that before.

use crate::limits::tls as limits;
use std::fmt::Write as _;
use std::net::IpAddr;
use x509_cert::attr::AttributeTypeAndValue;
use x509_cert::certificate::{CertificateInner, Raw};
use x509_cert::der::{Decode, Encode, Tag, Tagged};
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::name::Name;

/// One certificate, read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Certificate {
    /// The subject as Java and so Kafka writes it (RFC 2253, most specific first): `CN=orders,OU=data,O=Example`.
    pub subject: String,
    /// Alternative names that are host names, lower-cased; may begin with `*.`.
    pub dns_names: Vec<String>,
    /// The other alternative names: `IP:10.0.0.1`, `URI:spiffe://...`, `email:...`.
    pub other_names: Vec<String>,
    /// Valid from, in seconds since 1970.
    pub not_before: i64,
    /// Valid until, in seconds since 1970.
    pub not_after: i64,
}

/// Reads a certificate. The error is for people.
pub fn read(der: &[u8]) -> Result<Certificate, String> {
    // `Raw`: what rustls verified shall not fail here for a serial number of 21 bytes.
    let parsed = CertificateInner::<Raw>::from_der(der).map_err(|error| error.to_string())?;
    let tbs = parsed.tbs_certificate();
    let seconds =
        |time: x509_cert::time::Time| i64::try_from(time.to_unix_duration().as_secs()).unwrap_or(i64::MAX);
    let mut certificate = Certificate {
        subject: rfc2253(tbs.subject()),
        not_before: seconds(tbs.validity().not_before),
        not_after: seconds(tbs.validity().not_after),
        ..Certificate::default()
    };
    let names = match tbs.get_extension::<SubjectAltName>() {
        Ok(Some((_, names))) => names.0,
        Ok(None) => Vec::new(),
        Err(error) => return Err(format!("its alternative names: {error}")),
    };
    for name in names.iter().take(limits::NAMES) {
        match name {
            GeneralName::DnsName(dns) => {
                certificate.dns_names.push(printable(&dns.as_str().to_ascii_lowercase()))
            }
            other => certificate.other_names.extend(other_name(other)),
        }
    }
    Ok(certificate)
}

fn other_name(name: &GeneralName) -> Option<String> {
    match name {
        GeneralName::UniformResourceIdentifier(uri) => Some(format!("URI:{}", printable(uri.as_str()))),
        GeneralName::Rfc822Name(email) => Some(format!("email:{}", printable(email.as_str()))),
        GeneralName::IpAddress(octets) => {
            let bytes = octets.as_bytes();
            let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
            let ip = v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from));
            ip.ok().map(|ip| format!("IP:{ip}"))
        }
        _ => None,
    }
}

/// A distinguished name as `X500Principal.getName()` of Java has it, which is what Kafka's principals are made of:
/// last part first, the nine attribute names of RFC 2253, every other attribute as its OID and DER in hex.
/// One difference: control characters are escaped, so that a subject can't forge lines in a log. Cut after 1 KiB.
fn rfc2253(name: &Name) -> String {
    let parts: Vec<_> = name.iter_rdn().collect();
    let mut text = String::new();
    for (index, part) in parts.iter().rev().enumerate() {
        if index > 0 {
            text.push(',');
        }
        for (index, attribute) in part.iter().enumerate() {
            if index > 0 {
                text.push('+');
            }
            push_attribute(&mut text, attribute);
        }
        if text.len() > limits::SUBJECT_BYTES {
            cut(&mut text);
            break;
        }
    }
    text
}

fn cut(text: &mut String) {
    let mut end = limits::SUBJECT_BYTES;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
    text.push_str("...");
}

fn push_attribute(text: &mut String, attribute: &AttributeTypeAndValue) {
    let oid = attribute.oid.to_string();
    let name = match oid.as_str() {
        "2.5.4.3" => "CN",
        "2.5.4.6" => "C",
        "2.5.4.7" => "L",
        "2.5.4.8" => "ST",
        "2.5.4.9" => "STREET",
        "2.5.4.10" => "O",
        "2.5.4.11" => "OU",
        "0.9.2342.19200300.100.1.1" => "UID",
        "0.9.2342.19200300.100.1.25" => "DC",
        _ => "",
    };
    let is_text = matches!(
        attribute.value.tag(),
        Tag::Utf8String | Tag::PrintableString | Tag::Ia5String | Tag::TeletexString | Tag::BmpString
    );
    if name.is_empty() || !is_text {
        text.push_str(if name.is_empty() { &oid } else { name });
        text.push_str("=#");
        for byte in attribute.value.to_der().unwrap_or_default().iter().take(limits::SUBJECT_BYTES) {
            let _ = write!(text, "{byte:02x}"); // a String takes all
        }
        return;
    }
    text.push_str(name);
    text.push('=');
    push_escaped(text, &String::from_utf8_lossy(attribute.value.value()));
}

/// Escapes as RFC 2253 section 2.4 asks, and as Java does it: spaces at both ends, `,=+<>#;"\` anywhere.
fn push_escaped(text: &mut String, value: &str) {
    let leading = value.len() - value.trim_start_matches(' ').len();
    let trailing = value.trim_end_matches(' ').len();
    for (at, char) in value.char_indices() {
        match char {
            ',' | '=' | '+' | '<' | '>' | '#' | ';' | '"' | '\\' => text.extend(['\\', char]),
            ' ' if at < leading || at >= trailing => text.push_str("\\ "),
            control if control.is_control() => {
                let mut utf8 = [0; 4];
                for byte in control.encode_utf8(&mut utf8).bytes() {
                    let _ = write!(text, "\\{byte:02X}"); // a String takes all
                }
            }
            other => text.push(other),
        }
    }
}

/// Without control characters: names from a certificate go into logs.
fn printable(text: &str) -> String {
    text.chars().map(|char| if char.is_control() { '?' } else { char }).take(limits::SUBJECT_BYTES).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, DistinguishedName, DnType, DnValue, KeyPair, SanType};

    fn with_subject(parts: &[(DnType, DnValue)]) -> Certificate {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        for (kind, value) in parts {
            params.distinguished_name.push(kind.clone(), value.clone());
        }
        let made = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        read(made.der()).unwrap()
    }

    /// The expected texts are what `X500Principal.getName()` of Java 17 printed for the same names.
    #[test]
    fn subjects_are_written_as_kafka_writes_them() {
        let plain = [
            (DnType::CountryName, "DE".into()),
            (DnType::OrganizationName, "Example, Inc.".into()),
            (DnType::OrganizationalUnitName, "data+\"x\" #1".into()),
            (DnType::CommonName, " orders \u{fc}; a=b\\\\c ".into()),
        ];
        assert_eq!(
            with_subject(&plain).subject,
            "CN=\\ orders \u{fc}\\; a\\=b\\\\\\\\c\\ ,OU=data\\+\\\"x\\\" \\#1,O=Example\\, Inc.,C=DE"
        );
        let address = DnValue::Ia5String("a@b.c".try_into().unwrap());
        let mail = DnType::from_oid(&[1, 2, 840, 113_549, 1, 9, 1]);
        assert_eq!(
            with_subject(&[(DnType::CommonName, "w".into()), (mail, address)]).subject,
            "1.2.840.113549.1.9.1=#16056140622e63,CN=w"
        );
    }

    #[test]
    fn a_subject_forges_no_log_line_and_is_bounded() {
        assert_eq!(with_subject(&[(DnType::CommonName, "a\nINFO b\0".into())]).subject, "CN=a\\0AINFO b\\00");
        let long = with_subject(&[(DnType::CommonName, "\u{fc}".repeat(4_000).into())]).subject;
        assert!(long.ends_with("\u{fc}...") && long.len() <= limits::SUBJECT_BYTES + 3, "{}", long.len());
        assert_eq!(with_subject(&[]).subject, "");
    }

    #[test]
    fn names_and_validity_are_read() {
        let mut params =
            CertificateParams::new(vec!["Vpc-1.prod.example".into(), "*.vpc-1.prod.example".into()]).unwrap();
        params.subject_alt_names.push(SanType::IpAddress("::1".parse().unwrap()));
        params.subject_alt_names.push(SanType::URI("spiffe://example/orders".try_into().unwrap()));
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(2060, 1, 2);
        let made = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        let read = read(made.der()).unwrap();
        assert_eq!(read.dns_names, ["vpc-1.prod.example", "*.vpc-1.prod.example"]);
        assert_eq!(read.other_names, ["IP:::1", "URI:spiffe://example/orders"]);
        assert_eq!((read.not_before, read.not_after), (1_577_836_800, 2_840_227_200));
    }

    #[test]
    fn junk_is_an_error() {
        let good = CertificateParams::default().self_signed(&KeyPair::generate().unwrap()).unwrap();
        let mut random = fastrand::Rng::with_seed(7);
        let mut refused = 0;
        for _ in 0..20_000 {
            let mut bytes = good.der().to_vec();
            let at = random.usize(..bytes.len());
            bytes[at] = random.u8(..);
            bytes.truncate(random.usize(bytes.len() / 2..=bytes.len()));
            refused += usize::from(read(&bytes).is_err());
        }
        assert!(refused > 10_000);
        assert!(read(&[]).is_err());
    }
}
