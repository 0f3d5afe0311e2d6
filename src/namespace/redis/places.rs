//! Which arguments of a command are keys.

use crate::namespace::resp::integer;

/// Where a command has keys, as Redis's own "key specifications" say it; the name is argument 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spec {
    /// Every `step`th argument from `first` on.
    From {
        /// The first one.
        first: usize,
        /// The last one: so far behind the first, or, below zero, counted from the end.
        last: i64,
        /// The distance of two.
        step: usize,
        /// With `last` -1: the last of the first part of as many equal parts. 0: of one.
        parts: usize,
    },
    /// As many as an argument says.
    Counted {
        /// The argument that says it.
        number: usize,
        /// The first one.
        first: usize,
        /// The distance of two.
        step: usize,
    },
}

impl Spec {
    /// The argument `at`.
    pub const fn at(at: usize) -> Self {
        Self::From { first: at, last: 0, step: 1, parts: 0 }
    }

    /// Every `step`th from `first` to `last`, which is counted from the end.
    pub const fn to(first: usize, last: i64, step: usize) -> Self {
        Self::From { first, last, step, parts: 0 }
    }

    /// As many as `number` says, right after it.
    pub const fn counted(number: usize) -> Self {
        Self::Counted { number, first: number + 1, step: 1 }
    }
}

/// Specifications of one command; none has more. What has, is refused.
pub const SPECS_MAX: usize = 3;

/// Every `step`th argument of `first..end`.
#[derive(Clone, Copy, Debug, Default)]
struct Span {
    first: usize,
    end: usize,
    step: usize,
}

/// The keys among the arguments of one command, as far as they are known.
#[derive(Clone, Copy, Debug, Default)]
pub struct Places {
    spans: [Span; SPECS_MAX],
    /// The argument that must be read before the rest is known.
    number: Option<(usize, usize, usize)>,
    count: usize,
}

impl Places {
    /// The keys by `specs` among `count` arguments.
    pub fn new(specs: &[Spec], count: usize) -> Self {
        let mut places = Self { count, ..Self::default() };
        for (spec, span) in specs.iter().zip(&mut places.spans) {
            match *spec {
                Spec::From { first, last, step, parts } => {
                    let end = end_of(count, first, last, parts);
                    *span = Span { first, end, step: step.max(1) };
                }
                Spec::Counted { number, first, step } => {
                    places.number = Some((number, first, step.max(1)));
                }
            }
        }
        places
    }

    /// Whether an argument must be read before all are known.
    pub const fn is_counted(&self) -> bool {
        self.number.is_some()
    }

    /// Whether argument `at` is a key.
    pub fn has(&self, at: usize) -> bool {
        self.spans.iter().any(|span| {
            span.first <= at && at < span.end && (at - span.first).is_multiple_of(span.step)
        })
    }

    /// Whether argument `at` says how many keys there are.
    pub fn is_number(&self, at: usize) -> bool {
        self.number.is_some_and(|(number, _, _)| number == at)
    }

    /// Takes in what the argument says that says how many. What Redis refuses has no keys.
    pub fn count(&mut self, text: &[u8]) -> usize {
        let (Some((_, first, step)), Some(keys)) = (self.number, integer(text)) else { return 0 };
        let Ok(keys) = usize::try_from(keys) else { return 0 };
        if keys == 0 || keys > self.count {
            return keys;
        }
        let end = first + (keys - 1) * step + 1;
        if end <= self.count {
            // The number never comes with three other specifications.
            self.spans[SPECS_MAX - 1] = Span { first, end, step };
        }
        keys
    }
}

fn end_of(count: usize, first: usize, last: i64, parts: usize) -> usize {
    let from_end = |last: i64| usize::try_from(last.unsigned_abs()).unwrap_or(usize::MAX);
    let end = match usize::try_from(last) {
        Ok(behind) => first.saturating_add(behind).saturating_add(1),
        Err(_) if parts > 1 => first + count.saturating_sub(first) / parts + 1 - from_end(last),
        Err(_) => (count + 1).saturating_sub(from_end(last)),
    };
    end.min(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(specs: &[Spec], arguments: &[&str]) -> Vec<usize> {
        let mut places = Places::new(specs, arguments.len());
        for (at, argument) in arguments.iter().enumerate() {
            if places.is_number(at) {
                places.count(argument.as_bytes());
            }
        }
        (0..arguments.len()).filter(|at| places.has(*at)).collect()
    }

    #[test]
    fn keys_are_where_the_specifications_say() {
        assert_eq!(keys(&[Spec::at(1)], &["get", "k"]), [1]);
        assert_eq!(keys(&[Spec::at(1)], &["get"]), [0; 0]);
        assert_eq!(keys(&[Spec::to(1, -1, 2)], &["mset", "a", "1", "b", "2"]), [1, 3]);
        assert_eq!(keys(&[Spec::to(1, -2, 1)], &["blpop", "a", "b", "0"]), [1, 2]);
        assert_eq!(keys(&[Spec::to(1, -2, 1)], &["blpop"]), [0; 0]);
        let store = [Spec::at(1), Spec::counted(2)];
        assert_eq!(
            keys(&store, &["zunionstore", "d", "2", "a", "b", "weights", "1", "2"]),
            [1, 3, 4]
        );
        assert_eq!(keys(&store, &["zunionstore", "d", "9", "a", "b"]), [1]);
        assert_eq!(keys(&[Spec::counted(2)], &["eval", "s", "-1", "a"]), [0; 0]);
        assert_eq!(keys(&[Spec::counted(2)], &["eval", "s", "01", "a"]), [0; 0]);
        let halves = Spec::From { first: 2, last: -1, step: 1, parts: 2 };
        assert_eq!(keys(&[halves], &["xread", "streams", "a", "b", "0", "0"]), [2, 3]);
    }
}
