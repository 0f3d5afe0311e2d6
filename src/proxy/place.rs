//! Where a request goes: the client's key, its bucket, the track, the release.

use std::net::IpAddr;
use std::rc::Rc;

use http::HeaderMap;

use super::gate;
use super::random;
use super::seen::{Field, Seen};
use super::view::{ReleaseView, TierView, View};
use crate::traffic::affinity::{Keys, address_key, cookie};
use crate::traffic::{Bucket, Preview, Sticky, Track, Version};

/// Where a request goes, and why.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a question of its own")]
pub struct Place {
    /// The tier, as the table says that placed it.
    pub tier: Rc<TierView>,
    /// The release it goes to.
    pub release: Rc<ReleaseView>,
    /// The track it is counted under.
    pub track: Track,
    /// The number of the client's key, if anything keeps it on its version.
    pub key: Option<u64>,
    /// Whether a tester asked for the release.
    pub preview: bool,
    /// Whether the client comes in also where the tier is closed.
    pub insider: bool,
    /// Whether the client has no key of its own and would get Weir's cookie.
    pub newcomer: bool,
    /// Whether the client's key changed at login, and its track with it.
    pub switched: bool,
    bucket: Bucket,
}

impl Place {
    /// Places a request of `client`. Nothing here waits: between reading the table and this choice
    /// no other may come.
    pub fn of(tier: &Rc<TierView>, headers: &HeaderMap, seen: Seen, client: IpAddr) -> Self {
        let settings = &tier.table.tier;
        let Keys { app, own } = settings.sticky.keys(headers, seen.has(Field::Cookie));
        let number = |key: &[u8]| tier.table.salt.number(key);
        let key = match app.or(own) {
            Some(key) => Some(number(key)),
            None if settings.sticky == Sticky::Nothing => None,
            None => Some(number(&address_key(client))),
        };
        let bucket = Bucket::scaled(key.unwrap_or_else(random::number));
        let track = tier.table.track(bucket);
        // Both the app's key and Weir's cookie, and they disagree.
        let parts = |own| tier.table.track(Bucket::scaled(number(own))) != track;
        let switched = tier.canary.is_some() && app.is_some() && own.is_some_and(parts);
        let mut place = Self {
            tier: Rc::clone(tier),
            release: Rc::clone(tier.on(track)),
            track,
            key,
            preview: false,
            insider: gate::lets_in(&settings.closing, client, headers),
            newcomer: app.or(own).is_none() && settings.sticky.uses_own_cookie(),
            switched,
            bucket,
        };
        if let Some(preview) = &settings.preview
            && let Some(wish) = wish(preview, headers)
        {
            place.preview = true;
            let release = wished(tier, &wish).unwrap_or_else(|| Rc::clone(&place.release));
            place.go(release);
        }
        place
    }

    /// The same request by a later table, before it is sent anywhere: a release that has lost
    /// meanwhile gets nothing more.
    pub fn renew(&mut self, view: &View) {
        if view.epoch == self.tier.epoch {
            return;
        }
        let tier = match view.tier(&self.tier.table.tier.name) {
            Some(tier) => Rc::clone(tier),
            // The tier has left: what is under way ends at stable.
            None => Rc::new(TierView { epoch: view.epoch, canary: None, ..(*self.tier).clone() }),
        };
        let slot = self.release.release.slot;
        let same = |release: &&Rc<ReleaseView>| release.release.slot == slot;
        let kept = if self.preview {
            tier.releases().find(same)
        } else {
            let admitted = tier.table.track(self.bucket) == Track::Canary;
            tier.canary.as_ref().filter(|_| admitted && self.track == Track::Canary).filter(same)
        };
        let release = Rc::clone(kept.unwrap_or(&tier.stable));
        self.tier = tier;
        self.go(release);
    }

    /// Sends the request to stable instead.
    pub fn rescue(&mut self) {
        self.go(Rc::clone(&self.tier.stable));
    }

    /// The same, were it to go to `release`.
    pub fn at(&self, release: &Rc<ReleaseView>) -> Self {
        let mut there = self.clone();
        there.go(Rc::clone(release));
        there
    }

    fn go(&mut self, release: Rc<ReleaseView>) {
        let stable = release.release.slot == self.tier.stable.release.slot;
        self.track = if stable { Track::Stable } else { Track::Canary };
        self.release = release;
    }
}

/// Whether a client has the secret of `bypass`, and nothing behind it.
pub fn has_secret(bypass: &Preview, headers: &HeaderMap) -> bool {
    wish(bypass, headers).is_some_and(|wish| wish.is_empty())
}

/// What a tester asks for: nothing but the secret, or the text behind it.
fn wish(preview: &Preview, headers: &HeaderMap) -> Option<Vec<u8>> {
    let header = preview.header.as_deref().and_then(|name| headers.get(name));
    let cookie = preview.cookie.as_deref().and_then(|name| cookie(headers, name.as_bytes()));
    let texts = [header.map(http::HeaderValue::as_bytes), cookie];
    texts.into_iter().flatten().find_map(|text| secret_and_wish(preview, text)).map(<[u8]>::to_vec)
}

fn secret_and_wish<'a>(preview: &Preview, text: &'a [u8]) -> Option<&'a [u8]> {
    let (secret, rest) = text.split_at_checked(preview.secret.len())?;
    if !preview.secret.is(secret) {
        return None;
    }
    if rest.is_empty() { Some(rest) } else { rest.strip_prefix(b":") }
}

fn wished(tier: &TierView, wish: &[u8]) -> Option<Rc<ReleaseView>> {
    let release = match wish {
        b"" | b"canary" => tier.canary.as_ref().or(tier.others.last()),
        b"stable" => Some(&tier.stable),
        version => {
            let version: Version = std::str::from_utf8(version).ok()?.parse().ok()?;
            tier.version(&version)
        }
    };
    release.cloned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::traffic::TokenBytes;

    #[test]
    fn a_wish_stands_behind_the_secret() {
        let preview = Preview { header: None, cookie: None, secret: TokenBytes::new("s3cret") };
        let wish = |text: &'static str| secret_and_wish(&preview, text.as_bytes());
        assert_eq!(wish("s3cret"), Some(b"".as_slice()));
        assert_eq!(wish("s3cret:stable"), Some(b"stable".as_slice()));
        for wrong in ["", "s3cre", "s3cretx", "S3cret", "x:s3cret"] {
            assert_eq!(wish(wrong), None, "{wrong}");
        }
    }
}
