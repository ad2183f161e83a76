//! Embedded object storage, wire-compatible with Supabase Storage: buckets and objects over REST,
//! resumable uploads (TUS), the S3 protocol, and image rendering. Rows lie in the project's
//! database, where row-level security decides; bytes lie in a directory or a cloud.
//!
//! Its paths are those behind `/storage/v1`: `/bucket`, `/object/…`, `/upload/resumable`, `/s3/…`,
//! `/render/image/…`.

mod blobs;
mod coerce;
mod conditions;
mod database;
mod download;
mod error;
mod identity;
mod image;
mod mime;
mod names;
mod parts;
mod range;
mod request;
mod routes;
mod service;
mod size;
mod sweep;
mod token;
mod upload;

pub use self::{
    blobs::{Algorithm, Blob, BlobError, BlobKey, Blobs, Digests, Found, Sums, Writer, Written},
    database::migrate,
    error::{Code, StorageError},
    service::{Settings, StorageParts, StorageService},
    sweep::SweepReport,
};
