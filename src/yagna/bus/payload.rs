//! What calls and replies carry: FlexBuffers, which the daemon compresses with zlib in what it answers itself.

use miniz_oxide::{deflate::compress_to_vec_zlib, inflate::decompress_to_vec_zlib_with_limit};
use serde::{Serialize, de::DeserializeOwned};

use super::flex;

/// The most that is read, after decompression.
const SIZE_MAX: usize = 64 << 10;
/// With this byte all begins that zlib has compressed, and no FlexBuffers that is said on the bus.
const COMPRESSED: u8 = 0x78;
/// How hard is tried; messages are short.
const LEVEL: u8 = 6;

/// The bytes of a message.
///
/// # Panics
///
/// If it has a map whose keys are not text; none of ours has.
#[must_use]
pub(super) fn write<T: Serialize>(message: &T) -> Vec<u8> {
    flexbuffers::to_vec(message).expect("maps of text are always FlexBuffers")
}

/// The same as the daemon compresses it.
#[must_use]
pub(super) fn compress(message: &[u8]) -> Vec<u8> {
    compress_to_vec_zlib(message, LEVEL)
}

/// Whether a message is compressed.
#[must_use]
pub(super) fn is_compressed(bytes: &[u8]) -> bool {
    bytes.first() == Some(&COMPRESSED)
}

/// Reads a message; none if the bytes are none, or too many.
pub(super) fn read<T: DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    if bytes.len() > SIZE_MAX {
        return None;
    }
    let value = match is_compressed(bytes) {
        true => flex::read(&decompress_to_vec_zlib_with_limit(bytes, SIZE_MAX).ok()?),
        false => flex::read(bytes),
    };
    serde_json::from_value(value?).ok()
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};
    use serde_json::{Value, json};

    use super::{SIZE_MAX, compress, read, write};

    #[test]
    fn what_is_compressed_is_read_as_what_is_not() {
        let message = json!({ "Ok": { "nodeId": "0x1" } });
        let plain = write(&message);

        assert_eq!(read::<Value>(&plain), Some(message.clone()));
        assert_eq!(read::<Value>(&compress(&plain)), Some(message));
    }

    #[test]
    fn little_that_becomes_much_is_refused() {
        let much = write(&"x".repeat(SIZE_MAX + 1));
        let little = compress(&much);

        assert!(little.len() < SIZE_MAX / 100);
        assert_eq!(read::<Value>(&little), None);
        assert_eq!(read::<Value>(&much), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_not(bytes in vec(any::<u8>(), 0..200), is_compressed: bool) {
            let bytes = if is_compressed { compress(&bytes) } else { bytes };
            let _ = read::<Value>(&bytes);
        }
    }
}
