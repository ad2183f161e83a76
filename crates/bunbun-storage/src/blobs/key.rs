//! Keys of contents: project, bucket, the object's name and the version, which is new for every
//! content. In a cloud they lie as the original lays them, `project/bucket/name/version`, so that
//! its data is found. On a local disk the name is encoded, so that no name can be another path,
//! too long for a file system, or a directory where another object is a file.

use std::{path::PathBuf, time::SystemTime};

/// Longest piece of an encoded name, below the 255 bytes that file systems allow.
const PIECE: usize = 200;
/// Marks a piece that goes on, so that a piece of a name never looks like a version.
const GOES_ON: char = '+';

/// Where parts of uploads lie in a cloud; no project's reference has a dot.
pub(super) const PARTS_PREFIX: &str = ".parts";
/// Stands for an empty segment in a cloud. No object's name may have it.
pub(crate) const EMPTY_SEGMENT: &str = ".bunbun-empty";

/// The key of one content.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct BlobKey {
    /// The project's reference.
    pub project: String,
    /// The bucket.
    pub bucket: String,
    /// The object's name.
    pub name: String,
    /// The version; objects of the original's first releases have none.
    pub version: Option<String>,
}

/// Content that is there.
#[derive(Debug, Clone)]
pub struct Found {
    /// Its key.
    pub key: BlobKey,
    /// When it was written.
    pub modified: SystemTime,
}

impl BlobKey {
    /// The bucket name under which parts of uploads lie; no bucket can have it.
    pub const PARTS: &str = "/parts";

    /// The key of an object's content.
    #[must_use]
    pub fn object(project: &str, bucket: &str, name: &str, version: Option<&str>) -> Self {
        Self {
            project: project.to_owned(),
            bucket: bucket.to_owned(),
            name: name.to_owned(),
            version: version.map(str::to_owned),
        }
    }

    /// The key of a part of an upload.
    #[must_use]
    pub fn part(project: &str, upload: &str, version: &str) -> Self {
        Self::object(project, Self::PARTS, upload, Some(version))
    }

    /// Whether it is a part of an upload.
    #[must_use]
    pub fn is_part(&self) -> bool {
        self.bucket == Self::PARTS
    }

    /// Where it lies below a local root.
    #[must_use]
    pub fn local_path(&self) -> PathBuf {
        let mut path = PathBuf::from(encode(&self.project));
        push(&mut path, &self.bucket);
        push(&mut path, &self.name);
        path.push(
            self.version
                .as_deref()
                .map_or_else(|| "-".to_owned(), encode),
        );
        path
    }

    /// The key that lies at this path below a local root.
    #[must_use]
    pub fn from_local<'p>(pieces: impl IntoIterator<Item = &'p str>) -> Option<Self> {
        let mut pieces = pieces.into_iter();
        let project = decode(pieces.next()?)?;
        let (bucket, name) = (pull(&mut pieces)?, pull(&mut pieces)?);
        let version = match pieces.next()? {
            "-" => None,
            version => Some(decode(version)?),
        };
        if pieces.next().is_some() {
            return None;
        }
        Some(Self {
            project,
            bucket,
            name,
            version,
        })
    }

    /// The key in a cloud, below its prefix. Parts of uploads lie apart, where no project can be.
    #[must_use]
    pub fn remote_path(&self) -> String {
        if self.is_part() {
            let version = self.version.as_deref().unwrap_or_default();
            return format!("{PARTS_PREFIX}/{}/{}/{version}", self.project, self.name);
        }
        let mut path = format!("{}/{}", self.project, self.bucket);
        let version = self.version.as_deref();
        for segment in self.name.split('/').chain(version) {
            path.push('/');
            // A cloud's paths have no empty segments; names may, as `folder/`.
            path.push_str(if segment.is_empty() {
                EMPTY_SEGMENT
            } else {
                segment
            });
        }
        path
    }

    /// The key that has this path in a cloud; `None` where the last piece is no version.
    #[must_use]
    pub fn from_remote(path: &str) -> Option<Self> {
        let (project, rest) = path.split_once('/')?;
        let (bucket, rest) = rest.split_once('/')?;
        let (name, version) = rest.rsplit_once('/')?;
        uuid::Uuid::try_parse(version).ok()?;
        if project == PARTS_PREFIX {
            return (!name.contains('/')).then(|| Self::part(bucket, name, version));
        }
        let segment = |s| if s == EMPTY_SEGMENT { "" } else { s };
        let name = name.split('/').map(segment).collect::<Vec<_>>().join("/");
        Some(Self::object(project, bucket, &name, Some(version)))
    }
}

/// Adds a name in pieces that fit.
fn push(path: &mut PathBuf, name: &str) {
    let encoded = encode(name);
    let mut rest = encoded.as_str();
    while rest.len() > PIECE {
        // The encoding is ASCII.
        let (piece, after) = rest.split_at(PIECE);
        path.push(format!("{piece}{GOES_ON}"));
        rest = after;
    }
    path.push(rest);
}

/// Takes a name's pieces.
fn pull<'p>(pieces: &mut impl Iterator<Item = &'p str>) -> Option<String> {
    let mut name = String::new();
    loop {
        let piece = pieces.next()?;
        let Some(begun) = piece.strip_suffix(GOES_ON) else {
            name.push_str(piece);
            return decode(&name);
        };
        name.push_str(begun);
    }
}

/// Letters, digits, `-`, `_` and inner dots stay; every other byte becomes `=XX`.
fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' => encoded.push(char::from(byte)),
            // A leading dot would be hidden or mean a directory; a leading dash is "no version".
            b'.' | b'-' if at > 0 => encoded.push(char::from(byte)),
            _ => {
                const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
                encoded.push('=');
                encoded.push(char::from(DIGITS[usize::from(byte >> 4)]));
                encoded.push(char::from(DIGITS[usize::from(byte & 15)]));
            }
        }
    }
    encoded
}

fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [byte, tail @ ..] = rest {
        rest = tail;
        if *byte == b'=' {
            let (digits, tail) = rest.split_at_checked(2)?;
            bytes.push(u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?);
            rest = tail;
        } else {
            bytes.push(*byte);
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use std::path::Component;

    use proptest::prelude::*;

    use super::BlobKey;

    fn there_and_back(key: &BlobKey) -> Option<BlobKey> {
        let path = key.local_path();
        BlobKey::from_local(path.components().map(|c| c.as_os_str().to_str().unwrap()))
    }

    proptest! {
        #[test]
        fn every_name_is_a_path_of_its_own_below_the_root(name in "\\PC{1,900}", bucket in "\\PC{1,60}") {
            let key = BlobKey::object("default", &bucket, &name, Some("0b8e7a5e-0000-4000-8000-000000000000"));
            let path = key.local_path();
            prop_assert!(path.components().all(|c| matches!(c, Component::Normal(_))));
            prop_assert!(path.components().all(|c| c.as_os_str().len() < 255));
            prop_assert_eq!(there_and_back(&key), Some(key));
        }
    }

    #[test]
    fn hostile_names_stay_below_the_root() {
        for name in [
            "..",
            "../../etc/passwd",
            "/etc/passwd",
            ".",
            "-",
            "a/../b",
            "a\0b",
            "CON",
            "+",
            "a+",
        ] {
            let key = BlobKey::object("p", "..", name, None);
            let path = key.local_path();
            assert!(
                path.components().all(|c| matches!(c, Component::Normal(_))),
                "{path:?}"
            );
            assert_eq!(there_and_back(&key), Some(key));
        }
    }

    #[test]
    fn keys_in_a_cloud_are_the_originals() {
        let version = "0b8e7a5e-0000-4000-8000-000000000000";
        let key = BlobKey::object("stub", "avatars", "a/b c.png", Some(version));
        assert_eq!(
            key.remote_path(),
            format!("stub/avatars/a/b c.png/{version}")
        );
        assert_eq!(BlobKey::from_remote(&key.remote_path()), Some(key));
        assert_eq!(BlobKey::from_remote("stub/avatars/a/b.png"), None);
        let part = BlobKey::part("stub", "upload", version);
        assert_eq!(BlobKey::from_remote(&part.remote_path()), Some(part));
        let marker = BlobKey::object("stub", "avatars", "/a//b/", Some(version));
        assert!(!marker.remote_path().contains("//"));
        assert_eq!(BlobKey::from_remote(&marker.remote_path()), Some(marker));
    }
}
