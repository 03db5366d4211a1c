//! The seeded source of identifiers, keys, etags and tracking ids.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use iothub_protocol::sas::SymmetricKey;
use sha2::Sha256;
use uuid::Uuid;

/// Deterministic bytes: HMAC-SHA256 of a counter under the seed. The same seed and the same
/// sequence of operations give the same bytes.
#[derive(Clone)]
pub struct Entropy {
    seed: [u8; 32],
    counter: u64,
    noted: u64,
}

impl Entropy {
    /// Everything that follows is determined by `seed`.
    pub fn new(seed: u64) -> Self {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_be_bytes());
        Self {
            seed: bytes,
            counter: 0,
            noted: 0,
        }
    }

    /// Skips ahead so that values given out before a restart are not given out again.
    pub fn advance_to(&mut self, counter: u64) {
        self.counter = self.counter.max(counter);
        self.noted = self.counter;
    }

    /// How many blocks have been used, when that is more than it was at the last call.
    pub fn take_used(&mut self) -> Option<u64> {
        (self.counter > self.noted).then(|| {
            self.noted = self.counter;
            self.counter
        })
    }

    /// The next 32 bytes.
    pub fn block(&mut self) -> [u8; 32] {
        self.counter += 1;
        let mut mac =
            Hmac::<Sha256>::new_from_slice(&self.seed).expect("HMAC takes a key of any length");
        mac.update(&self.counter.to_be_bytes());
        mac.finalize().into_bytes().into()
    }

    /// A key as the hub generates them: 32 bytes (`spec/service.md` 2.4).
    pub fn key(&mut self) -> SymmetricKey {
        SymmetricKey::from_bytes(self.block().to_vec())
    }

    /// An identity's etag: base64 of a decimal number of nine digits (`spec/service.md` 0.5).
    pub fn identity_etag(&mut self) -> String {
        let block = self.block();
        let number = u32::from_be_bytes([block[0], block[1], block[2], block[3]]);
        STANDARD.encode((100_000_000 + number % 900_000_000).to_string())
    }

    /// A random UUID.
    pub fn uuid(&mut self) -> Uuid {
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&self.block()[..16]);
        uuid::Builder::from_random_bytes(bytes).into_uuid()
    }

    /// `bytes` (at most 32) of hexadecimal text.
    pub fn hex(&mut self, bytes: usize) -> String {
        self.block()[..bytes]
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect()
    }
}
