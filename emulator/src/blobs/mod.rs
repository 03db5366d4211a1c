//! The storage account that devices' files go to: containers of blobs, in memory or below the data
//! directory (`spec/device.md` 8.2).
//!
//! [`Blobs`] is the entry point. It knows names, contents, properties and conditions; signatures
//! are `iothub_protocol::storage`'s, and requests `http::blob`'s. It has a lock of its own, which
//! is held for a look at the index and never across IO, so that the hub may ask whether a blob is
//! there while its own lock is held.
//!
//! On disk:
//!
//! ```text
//! blobs/{container}/content/{etag}~{blob}       the bytes
//! blobs/{container}/properties/{blob}.json      everything else; names the bytes
//! blobs/.staging/{number}                       what is not a blob yet
//! ```
//!
//! `{blob}` is the blob's name with everything percent-encoded that is no letter, digit, `.`, `_`
//! or `-`; a name that gets too long ends in its digest. A blob changes when its properties are
//! renamed into place, so that a crash leaves the old or the new one. Blocks that are not part of a
//! blob yet do not survive the process.

mod checksum;
mod content;
mod directory;
mod draft;
mod index;
mod store;

pub use checksum::Checksums;
pub use content::Content;
pub use draft::Draft;
pub use index::{Blob, BlobHeaders, Listing};
pub use store::{BlobError, BlobSettings, Blobs, Conditions, DEFAULT_CONTAINER, Home};
