//! Tests of sealing and opening: against published and independently computed bytes, against themselves
//! with every cipher and MAC, and against altered packets.

use proptest::prelude::*;

use super::*;
use crate::CryptoError;
use crate::testing::hex;

/// Key bytes for tests; a slice of them serves as each key.
fn bytes(from: u8) -> [u8; 64] {
    std::array::from_fn(|i| from.wrapping_add(u8::try_from(i).unwrap()))
}

/// Every cipher with every MAC that goes with it.
fn suites() -> Vec<(Cipher, Option<Mac>)> {
    let mut all = Vec::new();
    for (_, cipher) in Cipher::NAMES {
        if cipher.is_aead() {
            all.push((*cipher, None));
        } else {
            all.extend(Mac::NAMES.iter().map(|(_, mac)| (*cipher, Some(*mac))));
        }
    }
    all
}

fn pair(cipher: Cipher, mac: Option<Mac>) -> (Sealer, Opener) {
    let (key, iv, mac_key) = (bytes(0), bytes(100), bytes(200));
    let keys = || PacketKeys {
        cipher,
        mac,
        key: &key[..cipher.key_len()],
        iv: &iv[..cipher.iv_len()],
        mac_key: &mac_key[..mac.map_or(0, Mac::key_len)],
    };
    (Sealer::new(keys()).unwrap(), Opener::new(keys()).unwrap())
}

/// Lays a packet out as the transport layer does (RFC 4253 §6), with room for the tag.
fn frame(sealer: &Sealer, payload: &[u8]) -> Vec<u8> {
    let counted = 1 + payload.len() + if sealer.length_is_aligned() { 4 } else { 0 };
    let mut padding = sealer.block() - counted % sealer.block();
    if padding < 4 {
        padding += sealer.block();
    }
    let mut packet = u32::try_from(1 + payload.len() + padding).unwrap().to_be_bytes().to_vec();
    packet.push(u8::try_from(padding).unwrap());
    packet.extend_from_slice(payload);
    packet.resize(packet.len() + padding, 0xee);
    packet.resize(packet.len() + sealer.tag_len(), 0);
    packet
}

/// Opens one whole packet as the transport layer does; the payload.
fn open(opener: &mut Opener, sequence: u32, packet: &mut [u8]) -> Result<Vec<u8>, CryptoError> {
    let head = packet.get_mut(..opener.head_len()).ok_or(CryptoError::WrongSize("head"))?;
    let length = opener.packet_length(sequence, head)? as usize;
    let counted = length + if opener.length_is_aligned() { 4 } else { 0 };
    // The transport layer waits for as many bytes as the length says, and checks the alignment.
    if packet.len() != 4 + length + opener.tag_len() || !counted.is_multiple_of(opener.block()) {
        return Err(CryptoError::BadPacketLength(0));
    }
    opener.open(sequence, packet)?;
    let padding = usize::from(packet[4]);
    Ok(packet[5..4 + length - padding].to_vec())
}

/// draft-ietf-sshm-chacha20-poly1305, appendix A.
#[test]
fn chacha20_poly1305_as_published() {
    let key = hex("8bbff6855fc102338c373e73aac0c914 f076a905b2444a32eecaffeae22becc5\
                   e9b7a7a5825a8249346ec1c28301cf39 4543fc7569887d76e168f37562ac0740");
    let plain = hex("00000048065e00000000000000384c6f 72656d20697073756d20646f6c6f7220\
                     73697420616d65742c20636f6e736563 7465747572206164697069736963696e\
                     6720656c69744e43e804dc6c");
    let sealed = hex("2c3ecce4a5bc05895bf07a7ba956b6c6 8829ac7c83b780b7000ecde745afc705\
                      bbc378ce03a280236b87b53bed583966 2302b164b6286a48cd1e097138e3cb90\
                      9b8b2b829dd18d2a35ff82d995349e85 5bf02c298ef775f2d1a7e8b8");
    let keys =
        || PacketKeys { cipher: Cipher::ChaCha20Poly1305, mac: None, key: &key, iv: &[], mac_key: &[] };
    let mut packet = plain.clone();
    packet.resize(plain.len() + 16, 0);
    Sealer::new(keys()).unwrap().seal(7, &mut packet).unwrap();
    assert_eq!(packet, sealed);

    let mut opener = Opener::new(keys()).unwrap();
    assert_eq!(opener.packet_length(7, &mut packet[..4]), Ok(0x48));
    assert_eq!(packet, sealed, "the head stays as it is");
    opener.open(7, &mut packet).unwrap();
    assert_eq!(packet[4..plain.len()], plain[4..]);
}

/// Sealed bytes computed with Python's `cryptography` 48 (OpenSSL); each list is one direction's packets.
#[test]
fn sealed_packets_are_those_of_another_implementation() {
    let wrapping = [9, 8, 7, 6, 255, 255, 255, 255, 255, 255, 255, 255];
    let plain_iv = bytes(100);
    let short = b"0123456789";
    for (cipher, mac, iv, first, expected) in [
        (
            Cipher::Aes128Gcm,
            None,
            &wrapping[..],
            0,
            vec![
                "00000010fc3650429f1bcbbc83c8a34326c5b4d251ff8e493dfe02a78e5bea445121689b",
                "00000010f1200dcdcd54bd74514aa82a4677b36fbb833ffe6280ae42e2cba8ca51c75a2f",
            ],
        ),
        (
            Cipher::Aes256Gcm,
            None,
            &[9, 8, 7, 6, 0, 0, 0, 0, 0, 0, 0, 42],
            5,
            vec!["00000010110562956fb88d995c2973064e1c40d80721a9e851d979b329f9089d182e0ccd"],
        ),
        (
            Cipher::Aes128Ctr,
            Some(Mac::HmacSha256Etm),
            &plain_iv[..16],
            3,
            vec![
                "000000109b8f5fae8e28db4e3a3f2c667f0b6a7506438bb3ca80600dde7eaac6f3361f75368f383ece64\
              e33801ad39f245d59b2b",
                "0000001069bf51f56d14d5ef1c890de68e1751b409230c5748c33047c6678adbd93da4a00c199b1b1d2d\
              3acac9724328cc924aa9",
            ],
        ),
        (
            Cipher::Aes256Ctr,
            Some(Mac::HmacSha512),
            &plain_iv[..16],
            u32::MAX,
            vec![
                "93d8113ca7108a7f4db98a9dd187a9325b0765ebee3dfb369c987ab474620f7cdce95cf7b39e1980b04a\
              88e4ca1110d61d1d763eb11cd3eba93be60da7c7ed6c80324c5a09c9bff60bfada8b045d73d7b1956456\
              abd23e5c27ac8c5b7c3f52fd",
                "c0c19a4dc7999c6a916a8db95dbebce1d2abb435f45f95f9af961d44198dc50a52eb7be9d80188e406be\
              7ce9b57a0808ff4044181c0b1aef9e0361ccefc43885e5609ecc4112c59921609678a89256c04c9b8ff3\
              fc4cf2d35497ef14809c0c2a",
            ],
        ),
    ] {
        let mut mac_key = bytes(200);
        mac_key[32..].fill(0);
        let key = bytes(0);
        let keys = || PacketKeys {
            cipher,
            mac,
            key: &key[..cipher.key_len()],
            iv,
            mac_key: &mac_key[..mac.map_or(0, Mac::key_len)],
        };
        let mut sealer = Sealer::new(keys()).unwrap();
        let mut opener = Opener::new(keys()).unwrap();
        let mut sequence: u32 = first;
        for sealed in expected {
            let mut packet = frame(&sealer, short);
            sealer.seal(sequence, &mut packet).unwrap();
            assert_eq!(packet, hex(sealed), "{cipher:?} {mac:?}");
            assert_eq!(open(&mut opener, sequence, &mut packet).unwrap(), short);
            sequence = sequence.wrapping_add(1);
        }
    }
}

#[test]
fn every_suite_carries_every_size() {
    for (cipher, mac) in suites() {
        let (mut sealer, mut opener) = pair(cipher, mac);
        let sizes = (0..70).chain([255, 4096, 4097, 8191, 32 * 1024 + 9, 200_000]);
        let mut sequence: u32 = u32::MAX - 20;
        for n in sizes {
            let payload: Vec<u8> = (0..n).map(|i: u32| i.to_le_bytes()[0]).collect();
            let mut packet = frame(&sealer, &payload);
            let plain = packet.clone();
            sealer.seal(sequence, &mut packet).unwrap();
            assert_ne!(packet[5..], plain[5..], "{cipher:?}");
            assert_eq!(open(&mut opener, sequence, &mut packet).unwrap(), payload, "{cipher:?} {mac:?} {n}");
            sequence = sequence.wrapping_add(1);
        }
    }
}

#[test]
fn a_packet_with_any_bit_flipped_is_refused() {
    for (cipher, mac) in suites() {
        let (mut sealer, _) = pair(cipher, mac);
        let mut sealed = frame(&sealer, b"payload");
        sealer.seal(0, &mut sealed).unwrap();
        for bit in 0..sealed.len() * 8 {
            let (_, mut opener) = pair(cipher, mac);
            let mut packet = sealed.clone();
            packet[bit / 8] ^= 1 << (bit % 8);
            assert!(open(&mut opener, 0, &mut packet).is_err(), "{cipher:?} {mac:?} bit {bit}");
        }
        let (_, mut opener) = pair(cipher, mac);
        assert_eq!(open(&mut opener, 0, &mut sealed).unwrap(), b"payload");
    }
}

#[test]
fn packets_repeated_left_out_or_swapped_are_refused() {
    for (cipher, mac) in suites() {
        let (mut sealer, _) = pair(cipher, mac);
        let mut packets: Vec<_> = [&b"first one"[..], b"second one"].map(|p| frame(&sealer, p)).into();
        for (sequence, packet) in packets.iter_mut().enumerate() {
            sealer.seal(u32::try_from(sequence).unwrap(), packet).unwrap();
        }
        let (_, mut opener) = pair(cipher, mac);
        assert!(open(&mut opener, 0, &mut packets[1].clone()).is_err(), "{cipher:?} {mac:?}");
        let (_, mut opener) = pair(cipher, mac);
        assert!(open(&mut opener, 0, &mut packets[0].clone()).is_ok());
        assert!(open(&mut opener, 1, &mut packets[0].clone()).is_err(), "{cipher:?} {mac:?}");
    }
}

#[test]
fn nothing_is_decrypted_before_its_tag_is_checked() {
    for (cipher, mac) in suites().into_iter().filter(|(_, mac)| mac.is_none_or(Mac::is_etm)) {
        let (mut sealer, mut opener) = pair(cipher, mac);
        let mut packet = frame(&sealer, b"a payload of some length");
        let plain = packet[5..].to_vec();
        sealer.seal(0, &mut packet).unwrap();
        *packet.last_mut().unwrap() ^= 1;
        assert_eq!(open(&mut opener, 0, &mut packet), Err(CryptoError::BadMac));
        // The library wipes what fails, or leaves it encrypted.
        assert_ne!(packet[5..21], plain[..16], "{cipher:?}");
    }
}

#[test]
fn lengths_out_of_bounds_are_refused_whatever_the_cipher() {
    for length in [0, 4, PACKET_LENGTH_MAX + 1, u32::MAX] {
        assert_eq!(
            Opener::clear().packet_length(0, &mut length.to_be_bytes()),
            Err(CryptoError::BadPacketLength(length))
        );
        for (cipher, mac) in suites() {
            let (mut sealer, mut opener) = pair(cipher, mac);
            let mut packet = frame(&sealer, b"x");
            packet[..4].copy_from_slice(&length.to_be_bytes());
            sealer.seal(0, &mut packet).unwrap();
            let n = opener.head_len();
            assert_eq!(
                opener.packet_length(0, &mut packet[..n]),
                Err(CryptoError::BadPacketLength(length)),
                "{cipher:?} {mac:?}"
            );
        }
    }
    for length in [5, 35_000, PACKET_LENGTH_MAX] {
        assert_eq!(Opener::clear().packet_length(0, &mut length.to_be_bytes()), Ok(length));
    }
}

#[test]
fn chopped_buffers_are_errors_and_never_panics() {
    for (cipher, mac) in suites() {
        for n in 0..120 {
            let (mut sealer, mut opener) = pair(cipher, mac);
            let _ = sealer.seal(0, &mut vec![0; n]);
            assert!(opener.open(0, &mut vec![0; n]).is_err());
            let (_, mut opener) = pair(cipher, mac);
            assert!(opener.packet_length(0, &mut vec![0; n]).is_err());
        }
    }
}

#[test]
fn keys_of_the_wrong_size_and_stray_macs_are_refused() {
    let key = bytes(0);
    for (cipher, mac) in suites() {
        let mac_len = mac.map_or(0, Mac::key_len);
        let other_mac = if mac.is_some() { None } else { Some(Mac::HmacSha256) };
        for (k, i, m, mac) in [
            (cipher.key_len() - 1, cipher.iv_len(), mac_len, mac),
            (cipher.key_len(), cipher.iv_len() + 1, mac_len, mac),
            (cipher.key_len(), cipher.iv_len(), mac_len.abs_diff(1), mac),
            (cipher.key_len(), cipher.iv_len(), other_mac.map_or(0, Mac::key_len), other_mac),
        ] {
            let keys = || PacketKeys { cipher, mac, key: &key[..k], iv: &key[..i], mac_key: &key[..m] };
            assert!(Sealer::new(keys()).is_err(), "{cipher:?} {k} {i} {m}");
            assert!(Opener::new(keys()).is_err(), "{cipher:?} {k} {i} {m}");
        }
    }
}

#[test]
fn the_clear_mode_changes_nothing() {
    let (mut sealer, mut opener) = (Sealer::clear(), Opener::clear());
    assert_eq!((sealer.block(), sealer.tag_len(), sealer.length_is_aligned()), (8, 0, true));
    let mut packet = frame(&sealer, b"hello");
    let plain = packet.clone();
    sealer.seal(0, &mut packet).unwrap();
    assert_eq!(packet, plain);
    assert_eq!(open(&mut opener, 0, &mut packet).unwrap(), b"hello");
}

#[test]
fn names_lead_to_their_algorithms_and_back() {
    for (name, cipher) in Cipher::NAMES {
        assert_eq!((Cipher::from_name(name), cipher.name()), (Some(*cipher), *name));
    }
    for (name, mac) in Mac::NAMES {
        assert_eq!((Mac::from_name(name), mac.name()), (Some(*mac), *name));
    }
    assert_eq!(Cipher::from_name("aes256-cbc"), None);
    assert_eq!(Mac::from_name("hmac-sha1"), None);
    let preferred = Cipher::preferred();
    assert!(Cipher::NAMES.iter().all(|(_, cipher)| preferred.contains(cipher)));
    assert_eq!(preferred.len(), Cipher::NAMES.len());
    let first = if has_aes() { Cipher::Aes128Gcm } else { Cipher::ChaCha20Poly1305 };
    assert_eq!(preferred[0], first);
}

proptest! {
    #[test]
    fn random_packets_go_through_every_suite(
        payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..2000), 1..5),
        start in any::<u32>(),
    ) {
        for (cipher, mac) in suites() {
            let (mut sealer, mut opener) = pair(cipher, mac);
            let mut sequence = start;
            for payload in &payloads {
                let mut packet = frame(&sealer, payload);
                sealer.seal(sequence, &mut packet).unwrap();
                prop_assert_eq!(&open(&mut opener, sequence, &mut packet).unwrap(), payload);
                sequence = sequence.wrapping_add(1);
            }
        }
    }

    #[test]
    fn noise_is_never_taken_for_a_packet(noise in prop::collection::vec(any::<u8>(), 0..300)) {
        for (cipher, mac) in suites() {
            let (_, mut opener) = pair(cipher, mac);
            prop_assert!(open(&mut opener, 0, &mut noise.clone()).is_err());
        }
    }
}
