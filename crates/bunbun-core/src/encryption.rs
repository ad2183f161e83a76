//! Encryption of stored secrets: a random data key per project, wrapped by the installation's
//! master key; AES-256-GCM throughout.
//!
//! | what | bytes |
//! |---|---|
//! | wrapped data key | version 1, master key's id 8, nonce 12, ciphertext 32, tag 16 |
//! | sealed value | version 1, data key's id 16, nonce 12, ciphertext, tag 16 |
//!
//! The header and the place (project, column, row) are additional data: a value with a flipped byte,
//! or one that was moved to another project, column or row, does not open. Nonces are 96 random
//! bits; a data key encrypts a project's few secrets, far from the 2³² values that this allows.
//! A new master key re-wraps data keys only; the sealed values stay as they are.

#[cfg(test)]
mod tests;

use std::{borrow::Cow, fmt};

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use base64::{Engine as _, prelude::BASE64_STANDARD_NO_PAD};
use secrecy::{ExposeSecret as _, SecretString};
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::{
    Classify, Code,
    id::{DataKeyId, ProjectRef},
    secret,
};

/// The first byte of everything that is written here.
const VERSION: u8 = 1;
const MASTER_ID_LEN: usize = 8;
const DATA_ID_LEN: usize = 16;
const TAG_LEN: usize = 16;
const KEY_LEN: usize = 32;

/// Why a secret cannot be kept or read. Holds neither keys nor values.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EncryptionError {
    /// There is no master key.
    #[error("DATABASE_ENCRYPTION_KEY is not set")]
    NoMasterKey,
    /// The master key's text is none.
    #[error("the master key is not 32 bytes in base64 or hexadecimal")]
    InvalidMasterKey,
    /// The data key is wrapped by a master key that is not configured.
    #[error("wrapped by the master key {0}, which is neither the current nor the previous one")]
    UnknownMasterKey(MasterKeyId),
    /// The value is sealed with another data key.
    #[error("sealed with the data key {0}, which is not the one at hand")]
    UnknownDataKey(DataKeyId),
    /// Changed outside of BunBun, moved, or not written by it.
    #[error("the stored secret was changed or moved, and does not open")]
    Damaged,
}

impl Classify for EncryptionError {
    fn code(&self) -> Code {
        match self {
            Self::NoMasterKey | Self::InvalidMasterKey | Self::UnknownMasterKey(_) => {
                Code::ServiceUnavailable
            }
            Self::UnknownDataKey(_) | Self::Damaged => Code::Internal,
        }
    }

    fn public_message(&self) -> Option<Cow<'_, str>> {
        Some(
            match self {
                Self::NoMasterKey => {
                    "This installation keeps no secrets: its operator has to set \
                     DATABASE_ENCRYPTION_KEY."
                }
                Self::InvalidMasterKey | Self::UnknownMasterKey(_) => {
                    "The stored secrets cannot be read with the configured \
                     DATABASE_ENCRYPTION_KEY; its operator has to set the right one."
                }
                Self::UnknownDataKey(_) | Self::Damaged => {
                    "The stored secret cannot be read: it was changed outside of BunBun. Store it \
                     again."
                }
            }
            .into(),
        )
    }
}

/// Names a master key without telling it: the first 8 bytes of a SHA-256 over it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct MasterKeyId([u8; MASTER_ID_LEN]);

impl fmt::Display for MasterKeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&secret::hex(&self.0))
    }
}

/// The installation's master keys: the current one wraps and unwraps, the previous one unwraps
/// only, until `bunbun keys rotate` has re-wrapped everything.
pub struct MasterKeys {
    current: MasterKey,
    previous: Option<MasterKey>,
}

struct MasterKey {
    id: MasterKeyId,
    key: LessSafeKey,
}

impl fmt::Debug for MasterKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let previous = self.previous.as_ref().map(|key| key.id);
        f.debug_struct("MasterKeys")
            .field("current", &self.current.id)
            .field("previous", &previous)
            .finish()
    }
}

impl MasterKey {
    fn parse(text: &SecretString) -> Result<Self, EncryptionError> {
        let bytes = master_key_bytes(text.expose_secret())?;
        let mut named = b"bunbun master key id".to_vec();
        named.extend_from_slice(&*bytes);
        let digest = secret::digest(&Zeroizing::new(named));
        let mut id = [0; MASTER_ID_LEN];
        id.copy_from_slice(&digest[..MASTER_ID_LEN]);
        Ok(Self {
            id: MasterKeyId(id),
            key: gcm(&bytes),
        })
    }
}

/// The 32 bytes of a master key's text.
fn master_key_bytes(text: &str) -> Result<Zeroizing<[u8; KEY_LEN]>, EncryptionError> {
    let text = text.trim();
    let decoded = if text.len() == 2 * KEY_LEN && text.bytes().all(|b| b.is_ascii_hexdigit()) {
        text.as_bytes()
            .chunks(2)
            .map(|pair| {
                std::str::from_utf8(pair)
                    .ok()
                    .and_then(|pair| u8::from_str_radix(pair, 16).ok())
            })
            .collect::<Option<Vec<u8>>>()
    } else {
        // Either alphabet, with or without padding.
        let plain = text
            .trim_end_matches('=')
            .replace('-', "+")
            .replace('_', "/");
        BASE64_STANDARD_NO_PAD.decode(plain).ok()
    };
    let decoded = Zeroizing::new(decoded.ok_or(EncryptionError::InvalidMasterKey)?);
    let bytes = <[u8; KEY_LEN]>::try_from(decoded.as_slice())
        .map_err(|_| EncryptionError::InvalidMasterKey)?;
    Ok(Zeroizing::new(bytes))
}

impl MasterKeys {
    /// Understands the settings: 32 bytes each, in base64 or hexadecimal.
    ///
    /// # Errors
    /// [`EncryptionError::InvalidMasterKey`].
    pub fn parse(
        current: &SecretString,
        previous: Option<&SecretString>,
    ) -> Result<Self, EncryptionError> {
        let current = MasterKey::parse(current)?;
        let previous = previous.map(MasterKey::parse).transpose()?;
        Ok(Self {
            // The same key twice is one.
            previous: previous.filter(|key| key.id != current.id),
            current,
        })
    }

    /// The name of the key that wraps.
    #[must_use]
    pub const fn current_id(&self) -> MasterKeyId {
        self.current.id
    }

    /// The name of the key that only unwraps, where there is one.
    #[must_use]
    pub fn previous_id(&self) -> Option<MasterKeyId> {
        self.previous.as_ref().map(|key| key.id)
    }

    /// Wraps a project's data key with the current master key.
    #[must_use]
    pub fn wrap(&self, project: &ProjectRef, data_key: &DataKey) -> Vec<u8> {
        let place = wrapping_place(project, data_key.id);
        seal(
            &self.current.key,
            &self.current.id.0,
            &place,
            &*data_key.bytes,
        )
    }

    /// Opens a project's wrapped data key.
    ///
    /// # Errors
    /// [`EncryptionError::UnknownMasterKey`], [`EncryptionError::Damaged`].
    pub fn unwrap(
        &self,
        project: &ProjectRef,
        id: DataKeyId,
        wrapped: &[u8],
    ) -> Result<DataKey, EncryptionError> {
        let named = Self::id_of(wrapped)?;
        let master = [Some(&self.current), self.previous.as_ref()]
            .into_iter()
            .flatten()
            .find(|key| key.id == named)
            .ok_or(EncryptionError::UnknownMasterKey(named))?;
        let opened = open::<MASTER_ID_LEN>(&master.key, &wrapping_place(project, id), wrapped)?;
        let bytes =
            <[u8; KEY_LEN]>::try_from(opened.as_slice()).map_err(|_| EncryptionError::Damaged)?;
        Ok(DataKey::from_bytes(id, Zeroizing::new(bytes)))
    }

    /// The name of the master key that wrapped a data key.
    ///
    /// # Errors
    /// [`EncryptionError::Damaged`].
    pub fn id_of(wrapped: &[u8]) -> Result<MasterKeyId, EncryptionError> {
        header::<MASTER_ID_LEN>(wrapped).map(|(id, _)| MasterKeyId(*id))
    }
}

/// Where a sealed value stands. It opens nowhere else.
#[derive(Debug, Clone, Copy)]
pub struct Place<'p> {
    /// Whose it is.
    pub project: &'p ProjectRef,
    /// Table and column.
    pub column: &'static str,
    /// The row.
    pub row: Uuid,
}

impl Place<'_> {
    fn additional_data(&self) -> Vec<u8> {
        additional_data(self.project, self.column, self.row)
    }
}

fn wrapping_place(project: &ProjectRef, id: DataKeyId) -> Vec<u8> {
    additional_data(project, "data_keys.wrapped_key", id.0)
}

/// The parts with their lengths, so that no two places have the same bytes.
fn additional_data(project: &ProjectRef, column: &str, row: Uuid) -> Vec<u8> {
    let mut data = Vec::with_capacity(96);
    for part in [
        project.as_str().as_bytes(),
        column.as_bytes(),
        row.as_bytes(),
    ] {
        let length = u32::try_from(part.len()).expect("a part of a place is short");
        data.extend_from_slice(&length.to_be_bytes());
        data.extend_from_slice(part);
    }
    data
}

/// A project's data key.
pub struct DataKey {
    id: DataKeyId,
    bytes: Zeroizing<[u8; KEY_LEN]>,
    key: LessSafeKey,
}

impl fmt::Debug for DataKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("DataKey").field(&self.id).finish()
    }
}

impl DataKey {
    /// A new random key.
    #[must_use]
    pub fn generate() -> Self {
        let bytes = Zeroizing::new(secret::random_bytes::<KEY_LEN>());
        Self::from_bytes(DataKeyId::generate(), bytes)
    }

    fn from_bytes(id: DataKeyId, bytes: Zeroizing<[u8; KEY_LEN]>) -> Self {
        let key = gcm(&bytes);
        Self { id, bytes, key }
    }

    /// Its id.
    #[must_use]
    pub const fn id(&self) -> DataKeyId {
        self.id
    }

    /// Seals a value for its place.
    #[must_use]
    pub fn seal(&self, place: &Place<'_>, value: &[u8]) -> Vec<u8> {
        seal(
            &self.key,
            self.id.0.as_bytes(),
            &place.additional_data(),
            value,
        )
    }

    /// Opens what was sealed for this place.
    ///
    /// # Errors
    /// [`EncryptionError::UnknownDataKey`], [`EncryptionError::Damaged`].
    pub fn open(
        &self,
        place: &Place<'_>,
        sealed: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, EncryptionError> {
        let named = Self::id_of(sealed)?;
        if named != self.id {
            return Err(EncryptionError::UnknownDataKey(named));
        }
        open::<DATA_ID_LEN>(&self.key, &place.additional_data(), sealed)
    }

    /// The id of the data key that sealed a value.
    ///
    /// # Errors
    /// [`EncryptionError::Damaged`].
    pub fn id_of(sealed: &[u8]) -> Result<DataKeyId, EncryptionError> {
        header::<DATA_ID_LEN>(sealed).map(|(id, _)| DataKeyId(Uuid::from_bytes(*id)))
    }
}

fn gcm(bytes: &[u8; KEY_LEN]) -> LessSafeKey {
    let key = UnboundKey::new(&AES_256_GCM, bytes).expect("32 bytes are an AES-256 key");
    LessSafeKey::new(key)
}

fn seal(key: &LessSafeKey, id: &[u8], place: &[u8], value: &[u8]) -> Vec<u8> {
    let nonce = secret::random_bytes::<NONCE_LEN>();
    let mut sealed = Vec::with_capacity(1 + id.len() + NONCE_LEN + value.len() + TAG_LEN);
    sealed.push(VERSION);
    sealed.extend_from_slice(id);
    let data = [place, &sealed].concat();
    sealed.extend_from_slice(&nonce);
    let at = sealed.len();
    sealed.extend_from_slice(value);
    // In place, so that the value lies in no second buffer.
    let tag = key
        .seal_in_place_separate_tag(
            Nonce::assume_unique_for_key(nonce),
            Aad::from(data),
            &mut sealed[at..],
        )
        .expect("a secret is shorter than AES-GCM's limit of 64 GiB");
    sealed.extend_from_slice(tag.as_ref());
    sealed
}

/// The id in a header and what follows it.
fn header<const ID: usize>(sealed: &[u8]) -> Result<(&[u8; ID], &[u8]), EncryptionError> {
    let (version, rest) = sealed.split_first().ok_or(EncryptionError::Damaged)?;
    let (id, rest) = rest
        .split_first_chunk::<ID>()
        .ok_or(EncryptionError::Damaged)?;
    if *version != VERSION || rest.len() < NONCE_LEN + TAG_LEN {
        return Err(EncryptionError::Damaged);
    }
    Ok((id, rest))
}

fn open<const ID: usize>(
    key: &LessSafeKey,
    place: &[u8],
    sealed: &[u8],
) -> Result<Zeroizing<Vec<u8>>, EncryptionError> {
    let (_, rest) = header::<ID>(sealed)?;
    let (nonce, rest) = rest
        .split_first_chunk::<NONCE_LEN>()
        .ok_or(EncryptionError::Damaged)?;
    let data = [place, &sealed[..1 + ID]].concat();
    let mut buffer = Zeroizing::new(rest.to_vec());
    let length = key
        .open_in_place(
            Nonce::assume_unique_for_key(*nonce),
            Aad::from(data),
            &mut buffer,
        )
        .map_err(|_| EncryptionError::Damaged)?
        .len();
    buffer.truncate(length);
    Ok(buffer)
}
