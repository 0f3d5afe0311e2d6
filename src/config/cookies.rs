//! Reads `cookies` of a tier: which of the app's cookies its versions do not share.

use toml::de::DeValue;

use super::preview::cookie_name;
use super::section::{Section, not_a};
use super::values::{Mistake, quoted};
use crate::traffic::Sticky;
use crate::traffic::affinity::OWN_COOKIE;
use crate::traffic::overlay::{Cookies, Keeping};

/// Cookies that are told apart: a browser keeps a few for each site.
const COOKIES_MAX: usize = 16;

/// How it is written.
const EXAMPLE: &str = "write cookies = { \"_session\" = \"overlay\" }";

/// Reads the cookies of a tier whose clients are kept on their version by `sticky`.
pub(super) fn read(section: &mut Section<'_>, sticky: &Sticky) -> Cookies {
    let table = section.read("cookies", |value| match value.as_table() {
        Some(table) if table.iter().count() > COOKIES_MAX => {
            let message = format!("{} cookies are too many", table.iter().count());
            Err(Mistake::new(message, format!("at most {COOKIES_MAX} are allowed")))
        }
        Some(table) => Ok(table),
        None => Err(not_a("a table", value, EXAMPLE)),
    });
    let mut list = Vec::new();
    for (name, value) in table.iter().flat_map(|at| at.value.iter()) {
        let key = format!("cookies.{}", name.get_ref());
        let text = name.get_ref().as_ref();
        match cookie_name(text, OWN_COOKIE) {
            Ok(_) if text.contains('~') => {
                let help = "Weir writes the mark of a release behind it; leave such a cookie out";
                let mistake = Mistake::new(format!("{} has a ~ in its name", quoted(text)), help);
                section.wrong(&key, name.span(), mistake);
            }
            Ok(name) => match keeping(value.get_ref()) {
                Ok(None) => {}
                Ok(Some(keeping)) => list.push((name, keeping)),
                Err(mistake) => section.wrong(&key, value.span(), mistake),
            },
            Err(mistake) => section.wrong(&key, name.span(), mistake),
        }
        if let Sticky::Cookie(own) = sticky
            && own == text
            && keeping(value.get_ref()).is_ok_and(|keeping| keeping.is_some())
        {
            let message =
                format!("clients stick to {}, which the canary writes elsewhere", quoted(own));
            let help = "who logs in on the canary would change to stable and be logged out; \
                        leave `sticky` out";
            section.remark(&key, name.span(), Mistake::new(message, help));
        }
    }
    Cookies::new(list)
}

/// None: it is shared.
fn keeping(value: &DeValue<'_>) -> Result<Option<Keeping>, Mistake> {
    let help = "use \"share\", \"isolate\" or \"overlay\"";
    match value.as_str() {
        Some("share") => Ok(None),
        Some("isolate") => Ok(Some(Keeping::Isolate)),
        Some("overlay") => Ok(Some(Keeping::Overlay)),
        Some(text) => Err(Mistake::new(format!("{} is not known", quoted(text)), help)),
        None => Err(not_a("text", value, help)),
    }
}
