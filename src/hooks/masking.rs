//! Secrets, which no output may show.

use std::fmt;

use crate::rollout::runbook::is_secret_name;

/// A shorter value is no secret, and would be found in half of all words.
const SECRET_BYTES_MIN: usize = 6;

/// What stands in place of a secret.
const STARS: &str = "***";

/// Texts that no output may show. Prints as how many there are.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secrets(Vec<String>);

impl Secrets {
    /// `texts`, and the values of those variables of the `environment` whose names say that they
    /// are secrets, or stand in `names`.
    pub fn new(
        texts: impl IntoIterator<Item = String>,
        environment: impl IntoIterator<Item = (String, String)>,
        names: &[String],
    ) -> Self {
        let is_one = |name: &String| is_secret_name(name) || names.contains(name);
        let chosen = environment.into_iter().filter(|(name, _)| is_one(name));
        let all = texts.into_iter().chain(chosen.map(|(_, value)| value));
        // Output is looked through line by line.
        let mut lines: Vec<String> = all
            .flat_map(|text| text.lines().map(|line| line.trim().to_owned()).collect::<Vec<_>>())
            .filter(|line| line.len() >= SECRET_BYTES_MIN)
            .collect();
        // The longest first: one may stand in another.
        lines.sort_by(|a, b| b.len().cmp(&a.len()).then(a.cmp(b)));
        lines.dedup();
        Self(lines)
    }

    /// `text` with stars in place of secrets.
    pub fn masked(&self, text: &str) -> String {
        let mut masked = text.to_owned();
        for secret in self.0.iter().filter(|secret| text.contains(secret.as_str())) {
            masked = masked.replace(secret.as_str(), STARS);
        }
        masked
    }

    /// Bytes of the longest.
    pub(super) fn longest(&self) -> usize {
        self.0.first().map_or(0, String::len)
    }
}

impl fmt::Debug for Secrets {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Secrets({})", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_named_like_a_secret_is_masked() {
        let environment = [
            ("PGPASSWORD", "hunter2-hunter2"),
            ("DB_PIN", "123456789"),
            ("HOME", "/home/weir"),
            ("API_TOKEN", "abc"),
            ("SSH_SECRET", "first line of it\nand a second"),
        ];
        let environment = environment.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let texts = ["hunter2".to_owned()];
        let secrets = Secrets::new(texts, environment, &["DB_PIN".to_owned()]);
        let text = "hunter2-hunter2 123456789 /home/weir abc and a second";
        assert_eq!(secrets.masked(text), "*** *** /home/weir abc ***");
        assert_eq!(format!("{secrets:?}"), "Secrets(5)");
    }
}
