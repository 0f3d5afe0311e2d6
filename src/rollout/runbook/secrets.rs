//! What looks like a secret: names of variables and headers, and words of commands.

/// What names of secrets have in them.
const SECRET_WORDS: [&str; 9] = [
    "password",
    "passwd",
    "secret",
    "token",
    "apikey",
    "api_key",
    "api-key",
    "authorization",
    "cookie",
];

/// Whether what is called `name` is a secret as a rule.
pub fn is_secret_name(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    SECRET_WORDS.iter().any(|word| name.contains(word))
}

/// Whether a word of a command says a secret itself: `--password=x`, `PGPASSWORD=x`,
/// `redis://:x@host`. A variable (`$TOKEN`) says none.
pub fn tells_a_secret(text: &str) -> bool {
    let said = |(at, _): (usize, &str)| {
        let name = text[..at].rsplit(|c: char| !(c.is_alphanumeric() || "_-".contains(c))).next();
        let value = text[at + 1..].trim_start_matches(['"', '\'']);
        let open = value.is_empty() || value.starts_with(['$', ' ', '{', ')', '/', '.']);
        name.is_some_and(is_secret_name) && !open
    };
    let in_url = |(at, mark): (usize, &str)| {
        let rest = text[at + mark.len()..].split(['/', ' ', '"', '\'']).next().unwrap_or_default();
        let user = rest.rsplit_once('@').and_then(|(user, _)| user.split_once(':'));
        user.is_some_and(|(_, password)| !password.is_empty() && !password.starts_with('$'))
    };
    text.match_indices('=').any(said) || text.match_indices("://").any(in_url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_told_from_the_name_of_one() {
        for told in ["PGPASSWORD=x ls", "--password=\"x\"", "redis://:x@h:1", "API_TOKEN='x'"] {
            assert!(tells_a_secret(told), "{told}");
        }
        for open in ["PGPASSWORD=$P", "--password-file=/x", "redis://h:1", "a=b", "TOKEN= ls"] {
            assert!(!tells_a_secret(open), "{open}");
        }
    }
}
