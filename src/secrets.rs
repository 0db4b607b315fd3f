//! Secrets of a fleet: what is signed with them is its own, and what they make of a text nobody else can tell.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// Bytes of a signature.
pub(crate) const SIGNATURE: usize = 32;

/// The secrets of a fleet: the first signs, each of them verifies. None of them: nothing is signed.
#[derive(Clone, Default)]
pub struct Secrets(Vec<Hmac<Sha256>>);

impl Secrets {
    /// These secrets, the first of which signs.
    pub fn new<'a>(secrets: impl IntoIterator<Item = &'a str>) -> Self {
        // A key of any length is one.
        Self(secrets.into_iter().filter_map(|s| Hmac::new_from_slice(s.as_bytes()).ok()).collect())
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The signature of some bytes, if there is a secret.
    pub(crate) fn sign(&self, bytes: &[u8]) -> Option<[u8; SIGNATURE]> {
        let signature = self.0.first()?.clone().chain_update(bytes).finalize();
        Some(signature.into_bytes().into())
    }

    /// Whether a signature of these bytes was made with one of the secrets; how long it takes tells nothing of it.
    pub(crate) fn verify(&self, bytes: &[u8], signature: &[u8]) -> bool {
        self.0.iter().any(|keyed| keyed.clone().chain_update(bytes).verify_slice(signature).is_ok())
    }
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secrets({})", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    /// RFC 4231, 4.3.
    #[test]
    fn it_is_hmac_sha256() {
        let signature = Secrets::new(["Jefe"]).sign(b"what do ya want for nothing?").unwrap();
        let expected = [
            0x5bdc_c146_bf60_754e_6a04_2426_0895_75c7_u128.to_be_bytes(),
            0x5a00_3f08_9d27_3983_9dec_58b9_64ec_3843_u128.to_be_bytes(),
        ];
        assert_eq!(signature[..], expected.concat());
    }

    #[test]
    fn the_first_signs_and_all_verify() {
        let (both, new) = (Secrets::new(["new", "old"]), Secrets::new(["new"]));
        let signature = Secrets::new(["old"]).sign(b"x").unwrap();
        assert!(both.verify(b"x", &signature) && !both.verify(b"y", &signature));
        assert!(!new.verify(b"x", &signature) && !both.verify(b"x", &signature[1..]));
        assert_eq!(both.sign(b"x"), new.sign(b"x"));
        assert_eq!(Secrets::default().sign(b"x"), None);
        assert!(!Secrets::default().verify(b"x", &signature));
        assert!(!format!("{both:?}").contains("old"));
    }
}
