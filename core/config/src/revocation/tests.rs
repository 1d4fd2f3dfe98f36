//! Lists made by hand, whole and broken. Against ssh-keygen: `tests/revocation.rs`.

use proptest::prelude::*;
use sockward_policy::CertificateIdentity;
use sockward_wire::Put;

use super::*;

const AUTHORITY: &[u8] = b"\0\0\0\x0bssh-ed25519\0\0\0\x01A";

fn identity(blob: &[u8]) -> KeyIdentity {
    let mut sha1 = [1; 20];
    sha1[0] = blob.last().copied().unwrap_or(0);
    KeyIdentity { blob: blob.to_vec(), sha1, sha256: [sha1[0]; 32] }
}

fn plain(last: u8) -> Presented {
    Presented {
        key: identity(&[b"\0\0\0\x0bssh-ed25519\0\0\0\x01", &[last][..]].concat()),
        certificate: None,
    }
}

fn certified(last: u8, serial: u64, key_id: &str) -> Presented {
    let certificate = CertificateIdentity {
        authority: identity(AUTHORITY),
        serial,
        key_id: key_id.into(),
        principals: vec![b"alex".to_vec()],
    };
    Presented { certificate: Some(certificate), ..plain(last) }
}

fn section(kind: u8, data: &[u8]) -> Vec<u8> {
    let mut out = vec![kind];
    out.put_string(data);
    out
}

fn strings(list: &[&[u8]]) -> Vec<u8> {
    let mut out = Vec::new();
    list.iter().for_each(|s| out.put_string(s));
    out
}

fn krl(sections: &[Vec<u8>]) -> Vec<u8> {
    let mut out = krl::MAGIC.to_vec();
    out.put_u32(1);
    for number in [7, 1_700_000_000, 0] {
        out.put_u64(number);
    }
    out.put_string(b"");
    out.put_string(b"a comment");
    sections.iter().for_each(|s| out.extend_from_slice(s));
    out
}

/// A KRL with one section about certificates of the authority, with an empty one of all.
fn of_certificates(authority: &[u8], kind: u8, data: &[u8]) -> Vec<u8> {
    let inner = [strings(&[authority, b""]), section(kind, data)].concat();
    krl(&[section(1, &inner)])
}

fn numbers(list: &[u64]) -> Vec<u8> {
    list.iter().flat_map(|n| n.to_be_bytes()).collect()
}

#[test]
fn keys_are_revoked_by_themselves_and_by_their_hashes() {
    let key = plain(9).key;
    for (kind, blob) in [(2, key.blob.as_slice()), (3, &key.sha1), (5, &key.sha256)] {
        let file = krl(&[section(kind, &strings(&[blob]))]);
        assert_eq!(check(&file, &plain(9)), Ok(Some(Revoked::Key)), "{kind}");
        assert_eq!(check(&file, &plain(8)), Ok(None), "{kind}");
        assert_eq!(check(&file, &certified(9, 1, "x")), Ok(Some(Revoked::Key)));
    }
    let file = krl(&[section(2, &strings(&[AUTHORITY]))]);
    assert_eq!(check(&file, &certified(9, 1, "x")), Ok(Some(Revoked::Authority)));
    assert_eq!(check(&krl(&[]), &certified(9, 1, "x")), Ok(None));
}

#[test]
fn certificates_are_revoked_by_number_and_name() {
    let bits = [numbers(&[100]), strings(&[&[0x01, 0x00, 0x00, 0x05]])].concat();
    for (kind, data, revoked, spared) in [
        (0x20, numbers(&[5, 9]), vec![5, 9], vec![1, 6, 0]),
        (0x21, numbers(&[5, 9]), vec![5, 7, 9], vec![4, 10, 0]),
        (0x21, numbers(&[1, u64::MAX]), vec![1, u64::MAX], vec![0]),
        (0x22, bits, vec![100, 102, 124], vec![99, 101, 103, 123, 125, 200, u64::MAX, 0]),
    ] {
        for authority in [AUTHORITY, b""] {
            let file = of_certificates(authority, kind, &data);
            for &serial in &revoked {
                let expected = Ok(Some(Revoked::Serial(serial)));
                assert_eq!(check(&file, &certified(1, serial, "x")), expected, "{kind} {serial}");
            }
            for &serial in &spared {
                assert_eq!(check(&file, &certified(1, serial, "x")), Ok(None), "{kind} {serial}");
            }
            assert_eq!(check(&file, &plain(1)), Ok(None));
        }
        let of_another = of_certificates(b"\0\0\0\x01B", kind, &data);
        assert_eq!(check(&of_another, &certified(1, revoked[0], "x")), Ok(None));
    }
    let file = of_certificates(b"", 0x23, &strings(&[b"laptop", b"old"]));
    assert_eq!(check(&file, &certified(1, 0, "old")), Ok(Some(Revoked::KeyId)));
    assert_eq!(check(&file, &certified(1, 0, "ol")), Ok(None));
}

#[test]
fn what_is_not_understood_is_an_error_even_behind_a_find() {
    let found = section(2, &strings(&[&plain(9).key.blob]));
    let extension = |critical| {
        let data = [strings(&[b"x@y"]), vec![critical], strings(&[b"data"])].concat();
        section(255, &data)
    };
    let malformed = |what| Err(RevocationError::Malformed(what));
    assert_eq!(check(&krl(&[found.clone(), extension(0)]), &plain(9)), Ok(Some(Revoked::Key)));
    for (bad, error) in [
        (extension(1), Err(RevocationError::Extension("x@y".into()))),
        (section(77, b""), Err(RevocationError::Section(77))),
        (section(4, b"key"), Err(RevocationError::Signed)),
        (section(2, &[0, 0, 0, 9, 1]), malformed("key or fingerprint")),
        (section(3, &strings(&[b"short"])), malformed("length of a fingerprint")),
        (vec![2, 0, 0, 1, 0], malformed("section")),
    ] {
        assert_eq!(check(&krl(&[found.clone(), bad]), &plain(9)), error);
    }
    for (kind, data) in [
        (0x20, numbers(&[0])),
        (0x20, vec![0; 9]),
        (0x21, numbers(&[9, 5])),
        (0x21, numbers(&[0, 5])),
        (0x21, numbers(&[1, 5, 6])),
        (0x22, [numbers(&[0]), strings(&[&[1]])].concat()),
        (0x22, [numbers(&[u64::MAX]), strings(&[&[2]])].concat()),
        (0x22, [numbers(&[1]), strings(&[&[0x80]])].concat()),
        (0x22, [numbers(&[1]), strings(&[&[1]]), vec![0]].concat()),
        (0x23, vec![0, 0, 0, 9]),
        (0x39, vec![]),
        (0x55, vec![]),
    ] {
        let file = of_certificates(AUTHORITY, kind, &data);
        assert!(check(&file, &plain(9)).is_err(), "{kind:x} {data:?}");
        assert!(check(&file, &certified(9, 1, "x")).is_err(), "{kind:x} {data:?}");
    }
    let mut version = krl(&[]);
    version[11] = 2;
    assert_eq!(check(&version, &plain(9)), Err(RevocationError::Version(2)));
}

#[test]
fn a_krl_that_was_cut_is_an_error() {
    let whole = krl(&[section(2, &strings(&[&plain(9).key.blob]))]);
    let empty = krl(&[]);
    for end in krl::MAGIC.len()..whole.len() {
        let result = check(&whole[..end], &plain(9));
        assert_eq!(result.is_err(), end != empty.len(), "{end}");
    }
}

#[test]
fn a_list_names_keys_line_by_line() {
    const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKkRAkm+7OzpnVwITNynVCyPMXgiKEzF7FSrHvM62zq6";
    let blob = keys(KEY.as_bytes()).next().unwrap().blob.unwrap();
    let shown = Presented { key: identity(&blob), certificate: None };
    let list = format!("# revoked\n\n{KEY} old laptop\r\n");
    assert_eq!(check(list.as_bytes(), &shown), Ok(Some(Revoked::Key)));
    assert_eq!(check(list.as_bytes(), &plain(1)), Ok(None));
    assert_eq!(check(b"", &shown), Ok(None));
    for bad in ["garbage", "ssh-ed25519 AAAA", &format!("restrict {KEY}"), &format!("{KEY}="), "a\0b"] {
        let list = format!("{KEY}\n{bad}\n");
        assert_eq!(check(list.as_bytes(), &shown), Err(RevocationError::Line(2)), "{bad}");
    }
}

proptest! {
    #[test]
    fn any_bytes_are_taken(data in proptest::collection::vec(any::<u8>(), 0..300)) {
        fuzz_revocation(&data);
    }
}
