//! The signed session cookie: a CSRF token and the game last looked at.

use crate::query::python_int;

const NAME: &str = "session";

#[derive(Debug, Default)]
pub(crate) struct Session {
    /// The cookie came with the request and its signature is right.
    pub(crate) valid: bool,
    /// A handler looked into the session, so the answer depends on the cookie.
    pub(crate) used: bool,
    changed: bool,
    game_gid: Option<i64>,
}

impl Session {
    /// Reads a `Cookie` header; a missing or forged session is an empty one.
    pub(crate) fn read(cookie: Option<&str>) -> Self {
        cookie
            .and_then(|cookie| {
                cookie
                    .split(';')
                    .filter_map(|pair| pair.trim().split_once('='))
                    .find_map(|(name, value)| if name == NAME { Self::parse(value) } else { None })
            })
            .unwrap_or_default()
    }

    fn parse(value: &str) -> Option<Self> {
        let (payload, signature) = value.rsplit_once('.')?;
        if signature != sign(payload) {
            return None;
        }
        let (_token, gid) = payload.rsplit_once('.')?;
        Some(Self { valid: true, game_gid: python_int(gid), ..Self::default() })
    }

    pub(crate) fn game_gid(&mut self) -> Option<i64> {
        self.used = true;
        self.game_gid
    }

    pub(crate) fn set_game_gid(&mut self, gid: i64) {
        self.used = true;
        self.changed = true;
        self.game_gid = Some(gid);
    }

    /// The `Set-Cookie` value due with this answer. `eager` sessions start by themselves.
    pub(crate) fn cookie(&self, eager: bool, serial: u64) -> Option<String> {
        if !self.changed && (self.valid || !eager) {
            return None;
        }
        let token = mix(serial);
        let gid = self.game_gid.map(|gid| gid.to_string()).unwrap_or_default();
        let payload = format!("{token:016x}{:016x}.{gid}", mix(token));
        let signature = sign(&payload);
        Some(format!("{NAME}={payload}.{signature}; HttpOnly; Path=/; SameSite=Lax"))
    }
}

/// A keyed checksum: it tells a made-up cookie from a real one, no more is needed here.
fn sign(payload: &str) -> String {
    let sum = payload.bytes().fold(0x7469_6572_6365_6c00, |sum, byte| mix(sum ^ u64::from(byte)));
    format!("{sum:016x}")
}

/// One step of splitmix64.
pub(crate) fn mix(state: u64) -> u64 {
    let mut value = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value_of(cookie: &str) -> &str {
        cookie.split(';').next().unwrap_or_default()
    }

    #[test]
    fn round_trip_and_forgery() {
        let mut session = Session::read(None);
        assert!(session.cookie(false, 1).is_none());
        session.set_game_gid(10_000_147);
        let cookie = session.cookie(false, 1).unwrap_or_default();
        let mut back = Session::read(Some(&format!("a=b; {}", value_of(&cookie))));
        assert!(back.valid);
        assert_eq!(back.game_gid(), Some(10_000_147));
        assert!(back.cookie(true, 2).is_none());
        assert!(!Session::read(Some("session=made.up.value")).valid);
    }

    #[test]
    fn every_cookie_is_new() {
        let session = Session::read(None);
        assert_ne!(session.cookie(true, 1), session.cookie(true, 2));
    }
}
