//! Values that are asked for, and whether they were there. Only counted by it: an answer that is
//! taken for another's makes a count wrong by one, and no byte.

use std::collections::VecDeque;

/// Runs of requests that wait for their answers: more, and the oldest is not counted.
const RUNS_MAX: usize = 4096;

/// What was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// Keys of a `get`, whose answer ends with `END`.
    Get,
    /// A value by `mg`, which is answered in any case.
    Value,
    /// The same of which a miss is not answered.
    QuietValue,
    /// What ends with a line of its own and tells no value: `stats`.
    Stats,
    /// Something by `mg` that is no value.
    Bare,
    /// What is answered in any case and in its turn: then all before it has been.
    Fence,
}

#[derive(Clone, Copy, Debug)]
struct Run {
    asked: Asked,
    keys: u64,
    hits: u64,
}

/// What is waited for.
#[derive(Debug, Default)]
pub struct Lookups {
    runs: VecDeque<Run>,
}

/// Hits and misses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Values that were there.
    pub hits: u64,
    /// Values that were not.
    pub misses: u64,
}

/// What has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Came {
    /// A value of a `get`.
    Value,
    /// Its end, or that of `stats`.
    End,
    /// A value of `mg`, or of a quiet request.
    MetaValue,
    /// No value, said by `mg`.
    MetaMiss,
    /// An answer of `mg` or another without a value.
    MetaBare,
    /// The answer to what is answered in any case.
    Fence,
}

impl Lookups {
    /// `keys` are asked for.
    pub fn ask(&mut self, asked: Asked, keys: u64) {
        let joins = match asked {
            Asked::Get | Asked::Stats => false,
            Asked::Value | Asked::QuietValue | Asked::Bare | Asked::Fence => true,
        };
        if let Some(last) = self.runs.back_mut().filter(|last| joins && last.asked == asked) {
            last.keys += keys;
            return;
        }
        if self.runs.len() == RUNS_MAX {
            self.runs.pop_front();
        }
        self.runs.push_back(Run { asked, keys, hits: 0 });
    }

    /// Takes in an answer.
    pub fn came(&mut self, came: Came) -> Found {
        let answers: &[Asked] = match came {
            Came::Value => &[Asked::Get],
            Came::End => &[Asked::Get, Asked::Stats],
            Came::MetaValue => &[Asked::Value, Asked::QuietValue],
            Came::MetaMiss => &[Asked::Value, Asked::Bare],
            Came::MetaBare => &[Asked::Bare],
            Came::Fence => &[Asked::Fence],
        };
        let Some(at) = self.runs.iter().position(|run| answers.contains(&run.asked)) else {
            return Found::default();
        };
        // A line that others write, too, says nothing of what stands before.
        if came == Came::MetaBare && at > 0 {
            return Found::default();
        }
        let mut found = Found::default();
        for run in self.runs.drain(..at) {
            found.misses += run.missed();
        }
        let Some(run) = self.runs.front_mut() else { return found };
        match (came, run.asked) {
            (Came::Value, _) | (Came::MetaValue, Asked::QuietValue) => {
                run.hits += 1;
                found.hits += 1;
            }
            (Came::End, _) => {
                found.misses += run.missed();
                run.keys = 0;
            }
            (Came::MetaValue, _) => {
                found.hits += 1;
                run.keys -= 1;
            }
            (Came::MetaMiss, Asked::Value) => {
                found.misses += 1;
                run.keys -= 1;
            }
            (Came::MetaMiss | Came::MetaBare | Came::Fence, _) => run.keys -= 1,
        }
        if run.keys == 0 {
            self.runs.pop_front();
        }
        found
    }
}

impl Run {
    /// What was not there, once no more can come.
    fn missed(&self) -> u64 {
        match self.asked {
            Asked::Get | Asked::QuietValue => self.keys.saturating_sub(self.hits),
            Asked::Value | Asked::Stats | Asked::Bare | Asked::Fence => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn played(asked: &[(Asked, u64)], came: &[Came]) -> Found {
        let mut lookups = Lookups::default();
        for (asked, keys) in asked {
            lookups.ask(*asked, *keys);
        }
        came.iter().fold(Found::default(), |all, came| {
            let Found { hits, misses } = lookups.came(*came);
            Found { hits: all.hits + hits, misses: all.misses + misses }
        })
    }

    #[test]
    fn what_a_get_does_not_find_is_a_miss_at_its_end() {
        let asked = [(Asked::Get, 3), (Asked::Stats, 1), (Asked::Get, 1)];
        let came = [Came::Value, Came::Value, Came::End, Came::End, Came::End];
        assert_eq!(played(&asked, &came), Found { hits: 2, misses: 2 });
    }

    #[test]
    fn quiet_misses_are_known_when_something_after_them_is_answered() {
        let asked = [(Asked::QuietValue, 5), (Asked::QuietValue, 5), (Asked::Fence, 1)];
        let came = [Came::MetaValue, Came::MetaValue, Came::MetaValue];
        assert_eq!(played(&asked, &came), Found { hits: 3, misses: 0 });
        let came = [&came[..], &[Came::Fence]].concat();
        assert_eq!(played(&asked, &came), Found { hits: 3, misses: 7 });
    }

    #[test]
    fn answers_to_what_nobody_counts_are_no_harm() {
        let asked = [(Asked::Bare, 2), (Asked::Value, 2)];
        let came = [Came::MetaBare, Came::MetaMiss, Came::MetaMiss, Came::MetaValue];
        assert_eq!(played(&asked, &came), Found { hits: 1, misses: 1 });
        let all = [Came::Value, Came::End, Came::MetaValue, Came::MetaMiss, Came::Fence];
        assert_eq!(played(&[], &all), Found::default());
    }
}
