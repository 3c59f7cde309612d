//! The small things inside sections: postcard, bounded and without leftovers.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Error, Result};

/// The longest postcard that is decoded, in bytes. What is larger belongs into a section
/// of raw numbers.
pub const POSTCARD_LIMIT: usize = 64 << 20;

/// Reads one value that fills `bytes` exactly; `what` names it in errors.
///
/// # Errors
/// More than [`POSTCARD_LIMIT`], anything that is no such value, and bytes left over.
pub fn decode_postcard<T: DeserializeOwned>(bytes: &[u8], what: &'static str) -> Result<T> {
    if bytes.len() > POSTCARD_LIMIT {
        return Err(Error::Limit {
            what,
            found: bytes.len() as u64,
            limit: POSTCARD_LIMIT as u64,
        });
    }
    let refused =
        |found| Error::invalid(what, found, "a value that this version of edgeclip wrote");
    match postcard::take_from_bytes(bytes) {
        Ok((value, [])) => Ok(value),
        Ok((_, rest)) => Err(refused(format!("{} bytes too many", rest.len()))),
        Err(e) => Err(refused(format!("bytes that do not decode ({e})"))),
    }
}

/// Writes one value for [`decode_postcard`].
///
/// # Errors
/// Values that postcard cannot express (sequences of unknown length), and those beyond
/// [`POSTCARD_LIMIT`].
pub fn encode_postcard<T: Serialize + ?Sized>(value: &T, what: &'static str) -> Result<Vec<u8>> {
    let bytes = postcard::to_stdvec(value)
        .map_err(|e| Error::invalid(what, e.to_string(), "a value of known shape"))?;
    if bytes.len() > POSTCARD_LIMIT {
        return Err(Error::Limit {
            what,
            found: bytes.len() as u64,
            limit: POSTCARD_LIMIT as u64,
        });
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_come_back_equal() {
        let value = (7u32, "mug".to_owned(), vec![0.5f32, -1.0]);
        let bytes = encode_postcard(&value, "test").unwrap();
        assert_eq!(
            decode_postcard::<(u32, String, Vec<f32>)>(&bytes, "test").unwrap(),
            value
        );
    }

    #[test]
    fn leftovers_and_cuts_are_refused() {
        let mut bytes = encode_postcard("mug", "name").unwrap();
        bytes.push(0);
        let e = decode_postcard::<String>(&bytes, "name").unwrap_err();
        assert!(
            e.to_string().starts_with("name: found 1 bytes too many"),
            "{e}"
        );
        assert!(decode_postcard::<String>(&bytes[..2], "name").is_err());
    }

    #[test]
    fn a_claimed_length_beyond_the_bytes_is_refused() {
        let bytes = [0xff, 0xff, 0xff, 0xff, 0x0f];
        assert!(decode_postcard::<Vec<f32>>(&bytes, "floats").is_err());
        assert!(decode_postcard::<String>(&bytes, "name").is_err());
    }
}
