//! What opens, and everything that must not.

use proptest::prelude::*;
use secrecy::SecretString;
use uuid::Uuid;

use super::{DataKey, EncryptionError, MasterKeys, Place};
use crate::id::ProjectRef;

const FIRST: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
const SECOND: &str = "QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVphYmNkZWY=";

fn keys(current: &str, previous: Option<&str>) -> MasterKeys {
    let previous = previous.map(SecretString::from);
    MasterKeys::parse(&current.into(), previous.as_ref()).expect("good keys")
}

fn project(name: &str) -> ProjectRef {
    name.parse().expect("a reference")
}

fn place<'p>(project: &'p ProjectRef, column: &'static str, row: u128) -> Place<'p> {
    Place {
        project,
        column,
        row: Uuid::from_u128(row),
    }
}

#[test]
fn what_is_sealed_opens_at_its_place_only() {
    let (mine, other) = (project("mine"), project("other"));
    let key = DataKey::generate();
    let sealed = key.seal(&place(&mine, "t.password", 1), b"hunter2");
    assert!(!sealed.windows(7).any(|window| window == b"hunter2"));
    let opened = key.open(&place(&mine, "t.password", 1), &sealed).unwrap();
    assert_eq!(&**opened, b"hunter2");
    for elsewhere in [
        place(&other, "t.password", 1),
        place(&mine, "t.username", 1),
        place(&mine, "t.password", 2),
    ] {
        assert_eq!(
            key.open(&elsewhere, &sealed),
            Err(EncryptionError::Damaged),
            "{elsewhere:?}"
        );
    }
    let stranger = DataKey::generate();
    let here = place(&mine, "t.password", 1);
    assert_eq!(
        stranger.open(&here, &sealed),
        Err(EncryptionError::UnknownDataKey(key.id()))
    );
    assert_ne!(sealed, key.seal(&here, b"hunter2"), "nonces are random");
}

#[test]
fn any_flipped_bit_and_any_cut_is_noticed() {
    let mine = project("mine");
    let here = place(&mine, "t.password", 1);
    let key = DataKey::generate();
    let sealed = key.seal(&here, b"hunter2");
    for at in 0..sealed.len() {
        for bit in 0..8 {
            let mut flipped = sealed.clone();
            flipped[at] ^= 1 << bit;
            assert!(key.open(&here, &flipped).is_err(), "byte {at} bit {bit}");
        }
        assert!(key.open(&here, &sealed[..at]).is_err(), "cut to {at}");
    }
    assert!(key.open(&here, &[&*sealed, b"x"].concat()).is_err());
}

#[test]
fn a_data_key_unwraps_with_the_current_and_the_previous_master_key() {
    let mine = project("mine");
    let data_key = DataKey::generate();
    let old = keys(FIRST, None);
    let wrapped = old.wrap(&mine, &data_key);
    assert_eq!(MasterKeys::id_of(&wrapped), Ok(old.current_id()));
    let sealed = data_key.seal(&place(&mine, "c", 1), b"secret");

    let both = keys(SECOND, Some(FIRST));
    let unwrapped = both.unwrap(&mine, data_key.id(), &wrapped).unwrap();
    let again = both.wrap(&mine, &unwrapped);
    assert_eq!(MasterKeys::id_of(&again), Ok(both.current_id()));
    assert_ne!(both.current_id(), old.current_id());

    let new = keys(SECOND, None);
    assert_eq!(
        new.unwrap(&mine, data_key.id(), &wrapped).unwrap_err(),
        EncryptionError::UnknownMasterKey(old.current_id())
    );
    let unwrapped = new.unwrap(&mine, data_key.id(), &again).unwrap();
    // The values were not touched.
    let opened = unwrapped.open(&place(&mine, "c", 1), &sealed).unwrap();
    assert_eq!(&**opened, b"secret");
}

#[test]
fn a_wrapped_key_does_not_open_for_another_project_or_id() {
    let keys = keys(FIRST, None);
    let data_key = DataKey::generate();
    let wrapped = keys.wrap(&project("mine"), &data_key);
    let other_id = DataKey::generate().id();
    for (owner, id) in [("other", data_key.id()), ("mine", other_id)] {
        let outcome = keys.unwrap(&project(owner), id, &wrapped);
        assert_eq!(outcome.unwrap_err(), EncryptionError::Damaged);
    }
    for at in 0..wrapped.len() {
        let mut flipped = wrapped.clone();
        flipped[at] ^= 1;
        assert!(
            keys.unwrap(&project("mine"), data_key.id(), &flipped)
                .is_err(),
            "byte {at}"
        );
    }
}

#[test]
fn master_keys_are_32_bytes_in_hexadecimal_or_base64() {
    let parse = |text: &str| MasterKeys::parse(&text.into(), None);
    let same = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
    assert_eq!(
        parse(FIRST).unwrap().current_id(),
        parse(same).unwrap().current_id()
    );
    let url_safe = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8";
    assert_eq!(
        parse(same).unwrap().current_id(),
        parse(url_safe).unwrap().current_id()
    );
    for bad in [
        "",
        "short",
        &FIRST[2..],
        "zz",
        &format!("{FIRST}00"),
        "AAEC",
    ] {
        assert_eq!(
            parse(bad).unwrap_err(),
            EncryptionError::InvalidMasterKey,
            "{bad}"
        );
    }
    assert!(
        keys(FIRST, Some(same)).previous_id().is_none(),
        "the same key twice is one"
    );
    let shown = format!("{:?} {:?}", keys(FIRST, Some(SECOND)), DataKey::generate());
    assert!(
        !shown.contains("0001020304") && !shown.contains("[0, 1"),
        "{shown}"
    );
}

proptest! {
    #[test]
    fn hostile_bytes_are_errors_and_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..120)) {
        let mine = project("mine");
        let key = DataKey::generate();
        prop_assert!(key.open(&place(&mine, "c", 1), &bytes).is_err());
        prop_assert!(keys(FIRST, None).unwrap(&mine, key.id(), &bytes).is_err());
    }

    #[test]
    fn every_value_comes_back(value in proptest::collection::vec(any::<u8>(), 0..300)) {
        let mine = project("mine");
        let key = DataKey::generate();
        let here = place(&mine, "c", 1);
        prop_assert_eq!(&**key.open(&here, &key.seal(&here, &value)).unwrap(), &*value);
    }
}
