//! As much of DER as it takes to see who signed a certificate.

/// Whether issuer and subject of an X.509 certificate are the same name (RFC 5280 §4.1.2.4): nobody vouches for it
/// but itself. False for what is no certificate.
pub(super) fn is_self_issued(certificate: &[u8]) -> bool {
    names(certificate).is_some_and(|(issuer, subject)| issuer == subject)
}

const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;

/// Issuer and subject: `Certificate { TBSCertificate { [0] version, serial, algorithm, issuer, validity, subject … } … }`.
fn names(certificate: &[u8]) -> Option<(&[u8], &[u8])> {
    let (_, certificate, _) = element(certificate).filter(|(tag, ..)| *tag == SEQUENCE)?;
    let (_, tbs, _) = element(certificate).filter(|(tag, ..)| *tag == SEQUENCE)?;
    let after_version = match element(tbs)? {
        (VERSION, _, rest) => rest,
        _ => tbs,
    };
    let (_, _, after_serial) = element(after_version)?;
    let (_, _, after_algorithm) = element(after_serial)?;
    let (_, issuer, after_issuer) = element(after_algorithm)?;
    let (_, _, after_validity) = element(after_issuer)?;
    let (_, subject, _) = element(after_validity)?;
    Some((issuer, subject))
}

/// The first element: its tag, its content, and what follows it.
fn element(input: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = input.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81..=0x84 => {
            let (octets, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            (octets.iter().fold(0, |length, &octet| length << 8 | usize::from(octet)), rest)
        }
        _ => return None, // the indefinite length is not DER, and no certificate is that long
    };
    let (content, after) = rest.split_at_checked(length)?;
    Some((tag, content, after))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

    #[test]
    fn who_signed_is_seen() {
        let mut root = CertificateParams::new(Vec::new()).expect("parameters");
        root.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        root.distinguished_name.push(DnType::CommonName, "A root");
        let root_key = KeyPair::generate().expect("a key");
        let signed = root.self_signed(&root_key).expect("signed");
        assert!(is_self_issued(signed.der()));
        let leaf = CertificateParams::new(vec!["mx.test".to_owned()]).expect("parameters");
        let leaf_key = KeyPair::generate().expect("a key");
        let leaf = leaf.signed_by(&leaf_key, &Issuer::new(root, root_key)).expect("signed");
        assert!(!is_self_issued(leaf.der()));
        for end in 0..leaf.der().len() {
            assert!(!is_self_issued(&leaf.der()[..end]), "cut at {end}");
        }
    }

    proptest! {
        #[test]
        fn no_octets_are_too_strange(octets in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = is_self_issued(&octets);
        }
    }
}
