//! Asks one question after the other, again where an answer will not do; or takes what was given
//! or is proposed, where nobody is to be asked.

use anyhow::{Context as _, bail};

use crate::cli::print;

/// Answers to one question that will not do, until it is given up: somebody has left the keyboard.
const TRIES_MAX: usize = 20;

/// Why an answer will not do.
#[derive(Debug)]
pub(super) enum Bad {
    /// It is wrong.
    No(String),
    /// It looks wrong; said twice it is taken.
    Doubt(String),
}

impl<T: std::fmt::Display> From<T> for Bad {
    fn from(why: T) -> Self {
        Self::No(why.to_string())
    }
}

/// One question.
#[derive(Debug)]
pub(super) struct Question<'a> {
    /// What is asked.
    pub(super) text: &'a str,
    /// What there is to know before, a line each.
    pub(super) notes: &'a [String],
    /// The flag that answers it.
    pub(super) flag: &'static str,
    /// What that flag said.
    pub(super) given: Option<String>,
    /// What is proposed.
    pub(super) proposed: &'a str,
}

/// Who asks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Questions {
    /// Whether there is somebody to ask.
    pub(super) ask: bool,
}

impl Questions {
    /// The answer, understood by `read`.
    pub(super) fn put<T>(
        self,
        question: &Question<'_>,
        mut read: impl FnMut(&str) -> Result<T, Bad>,
    ) -> anyhow::Result<T> {
        let silent = question.given.is_some() || !self.ask;
        if silent {
            let answer = question.given.as_deref().unwrap_or(question.proposed);
            return taken(question.flag, answer, &mut read);
        }
        print::note("");
        print::note(question.text);
        for note in question.notes {
            print::note(&format!("  {note}"));
        }
        for _ in 0..TRIES_MAX {
            let answer = print::ask(&format!("[{}] > ", question.proposed))?;
            let Some(answer) = answer else {
                bail!("the questions were broken off; nothing was written");
            };
            let answer = if answer.is_empty() { question.proposed.to_owned() } else { answer };
            match read(&answer) {
                Ok(answer) => return Ok(answer),
                Err(Bad::Doubt(why)) => {
                    print::note(&format!("  {why}; say it again if it is meant"));
                }
                Err(Bad::No(why)) => print::note(&format!("  {why}")),
            }
        }
        bail!("no answer would do; nothing was written")
    }

    /// Yes or no; no where nobody is to be asked.
    pub(super) fn whether(self, text: &str) -> anyhow::Result<bool> {
        if !self.ask {
            return Ok(false);
        }
        print::note("");
        print::confirm(text)
    }
}

/// An answer that nobody can be asked about again. A doubt is said, and it is taken all the same:
/// `read` does not doubt it a second time.
fn taken<T>(
    flag: &str,
    answer: &str,
    read: &mut impl FnMut(&str) -> Result<T, Bad>,
) -> anyhow::Result<T> {
    let wrong = |why: String| anyhow::Error::msg(format!("{flag} {answer}: {why}"));
    match read(answer) {
        Ok(answer) => Ok(answer),
        Err(Bad::No(why)) => Err(wrong(why)),
        Err(Bad::Doubt(why)) => {
            print::note(&format!("remark: {flag} {answer}: {why}"));
            match read(answer) {
                Ok(answer) => Ok(answer),
                Err(Bad::No(why) | Bad::Doubt(why)) => Err(wrong(why)),
            }
        }
    }
    .context("nothing was written")
}

/// Doubts one answer once: the same answer, asked about again, is meant.
#[derive(Debug, Default)]
pub(super) struct Doubts(Option<String>);

impl Doubts {
    /// Whether `answer` may be doubted now.
    pub(super) fn may(&mut self, answer: &str) -> bool {
        let again = self.0.as_deref() == Some(answer);
        self.0 = Some(answer.to_owned());
        !again
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_doubt_is_taken_the_second_time_and_a_mistake_never() {
        let question = Question {
            text: "?",
            notes: &[],
            flag: "--x",
            given: Some("odd".into()),
            proposed: "even",
        };
        let silent = Questions { ask: false };
        let mut doubts = Doubts::default();
        let read = |answer: &str| match answer {
            "odd" if doubts.may(answer) => Err(Bad::Doubt("it is odd".into())),
            "no" => Err(Bad::No("never".into())),
            other => Ok(other.to_owned()),
        };
        assert_eq!(silent.put(&question, read).unwrap(), "odd");
        let question = Question { given: Some("no".into()), ..question };
        let refused: anyhow::Result<()> = silent.put(&question, |_| Err(Bad::from("never")));
        let refused = format!("{:#}", refused.unwrap_err());
        assert_eq!(refused, "nothing was written: --x no: never");
        let proposed = Question { given: None, ..question };
        assert_eq!(silent.put(&proposed, |answer| Ok(answer.to_owned())).unwrap(), "even");
    }
}
