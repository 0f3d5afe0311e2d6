//! How it stands with a certificate, and when people should hear of it.

use crate::time::{Timestamp, in_words};
use crate::traffic::Certificate;

/// How it stands with a certificate, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The first name it is for.
    pub name: String,
    /// Whether an authority issues it by ACME; else it is of the file.
    pub acme: bool,
    /// Until when its certificate is valid; none: there is no certificate yet.
    pub not_after: Option<Timestamp>,
    /// From when on people should hear that it expires.
    pub expires_soon: Option<Timestamp>,
    /// Why the last try to get one failed; none: it did not.
    pub trouble: Option<String>,
    /// When the authority is asked again.
    pub next: Option<Timestamp>,
}

impl Standing {
    /// That of a certificate of the file.
    pub fn of_file(certificate: &Certificate) -> Self {
        Self {
            name: certificate.names.first().cloned().unwrap_or_default(),
            acme: false,
            not_after: Some(certificate.not_after),
            expires_soon: Some(certificate.expires_soon()),
            trouble: None,
            next: None,
        }
    }

    /// What people should know of it and what to do, as a sentence; none: all is well.
    pub fn remark(&self, now: Timestamp) -> Option<String> {
        let name = &self.name;
        let soon = self.expires_soon.is_some_and(|soon| now >= soon);
        let what = match self.not_after {
            None => format!("there is no certificate for {name} yet, its clients are refused"),
            Some(until) if until <= now => {
                format!("the certificate for {name} expired on {}, clients refuse it", day(until))
            }
            Some(until) if soon => {
                format!("the certificate for {name} expires in {}", in_words(until.since(now)))
            }
            Some(until) if self.trouble.is_some() => {
                let left = in_words(until.since(now));
                format!("the certificate for {name} could not be renewed and is good for {left}")
            }
            Some(_) => return None,
        };
        let then = match (self.acme, &self.trouble) {
            (false, _) => "; renew it and reload".to_owned(),
            (true, None) => "; a new one is ordered".to_owned(),
            (true, Some(trouble)) => {
                let again = self.next.map(|next| next.since(now)).filter(|wait| !wait.is_zero());
                let again = again.map_or("now".to_owned(), |wait| format!("in {}", in_words(wait)));
                format!(": {trouble}; tried again {again}, `weir reload` makes it sooner")
            }
        };
        Some(what + &then)
    }
}

/// A day as people write it: `2026-03-14`.
pub fn day(time: Timestamp) -> String {
    let millis = i64::try_from(time.millis()).unwrap_or(i64::MAX);
    let time = jiff::Timestamp::from_millisecond(millis).unwrap_or(jiff::Timestamp::MAX);
    time.strftime("%Y-%m-%d").to_string()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const HOUR: Duration = Duration::from_hours(1);

    fn at(hours: u32) -> Timestamp {
        Timestamp::from_millis(0).plus(HOUR * hours)
    }

    fn of_file(until: u32) -> Standing {
        Standing {
            name: "shop.test".to_owned(),
            acme: false,
            not_after: Some(at(until)),
            expires_soon: Some(at(until - 10)),
            trouble: None,
            next: None,
        }
    }

    #[test]
    fn a_certificate_of_the_file_is_spoken_of_when_it_expires_soon() {
        let standing = of_file(50);
        assert_eq!(standing.remark(at(39)), None);
        let said = standing.remark(at(45)).unwrap();
        assert_eq!(said, "the certificate for shop.test expires in 5 h; renew it and reload");
        let said = standing.remark(at(50)).unwrap();
        assert!(said.starts_with("the certificate for shop.test expired on 1970-01-03, clients"));
    }

    #[test]
    fn one_that_is_ordered_says_what_is_in_the_way() {
        let mut standing = Standing { acme: true, ..of_file(50) };
        assert_eq!(standing.remark(at(30)), None);
        standing.trouble = Some("nobody answers".to_owned());
        standing.next = Some(at(31));
        let said = standing.remark(at(30)).unwrap();
        assert_eq!(
            said,
            "the certificate for shop.test could not be renewed and is good for 20 h: nobody \
             answers; tried again in 1 h, `weir reload` makes it sooner"
        );
        standing.not_after = None;
        standing.expires_soon = None;
        let said = standing.remark(at(31)).unwrap();
        assert!(said.ends_with("yet, its clients are refused: nobody answers; tried again now, `weir reload` makes it sooner"), "{said}");
        standing.trouble = None;
        assert!(standing.remark(at(31)).unwrap().ends_with("; a new one is ordered"));
    }
}
