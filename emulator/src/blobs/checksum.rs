//! Checksums that storage clients compare: MD5 and the CRC-64 of the NVM Express specification.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use md5::{Digest, Md5};

/// Both checksums, in base64 as headers carry them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checksums {
    /// `Content-MD5`
    pub md5: String,
    /// `x-ms-content-crc64`
    pub crc64: String,
}

/// Checksums of bytes that come piece by piece.
#[derive(Clone)]
pub(super) struct Running {
    md5: Md5,
    crc64: u64,
}

impl Running {
    pub(super) fn new() -> Self {
        Self {
            md5: Md5::new(),
            crc64: !0,
        }
    }

    pub(super) fn update(&mut self, bytes: &[u8]) {
        self.md5.update(bytes);
        self.crc64 = bytes.iter().fold(self.crc64, |crc, &byte| {
            TABLE[usize::from(crc as u8 ^ byte)] ^ (crc >> 8)
        });
    }

    pub(super) fn finish(self) -> Checksums {
        Checksums {
            md5: STANDARD.encode(self.md5.finalize()),
            crc64: STANDARD.encode((!self.crc64).to_le_bytes()),
        }
    }
}

const TABLE: [u64; 256] = table();

const fn table() -> [u64; 256] {
    // The polynomial with its bits reversed.
    const POLYNOMIAL: u64 = 0x9a6c_9329_ac4b_c9b5;
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < table.len() {
        let mut crc = byte as u64;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 {
                (crc >> 1) ^ POLYNOMIAL
            } else {
                crc >> 1
            };
            bit += 1;
        }
        table[byte] = crc;
        byte += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_sums() {
        let mut running = Running::new();
        running.update(b"12345");
        running.update(b"6789");

        let sums = running.finish();

        assert_eq!(sums.md5, "JfnnlDI7RTiF9RgfG2JNCw==");
        let crc64 = 0xae8b_1486_0a79_9888_u64;
        assert_eq!(sums.crc64, STANDARD.encode(crc64.to_le_bytes()));
    }
}
