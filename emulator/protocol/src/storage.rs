//! What the blob service that takes devices' files has on the wire: names, shared access
//! signatures, shared keys, block lists (`spec/device.md` 8.2; where that is silent, the REST
//! reference of Azure Storage, version 2020-12-06 and what its clients need).

mod block_list;
mod names;
mod query;
mod sas;
mod shared_key;

pub use block_list::{BlockChoice, BlockListError, BlockRef, MAX_BLOCKS, parse_block_list};
pub use names::{ContainerName, InvalidName, check_blob_name};
pub use query::Query;
pub use sas::{AccessFault, Grant, sign_blob, verify_sas};
pub use shared_key::{SignedRequest, verify_shared_key};

use crate::sas::SymmetricKey;

/// The storage account: its name stands in what is signed, its key signs.
#[derive(Clone, Debug)]
pub struct Account {
    /// 3 to 24 lower-case letters and digits.
    pub name: String,
    /// Signs shared access signatures and requests.
    pub key: SymmetricKey,
}
