//! What the lines of some seconds come to as one number.

use std::collections::BTreeSet;

use super::line::{Kind, Line};

/// Different values of a set in one period; a number above it is at least this.
const SET_MAX: usize = 10_000;

/// Bytes kept of a value of a set.
const VALUE_BYTES_MAX: usize = 64;

/// The lines of one name in one period: the last value of a gauge, the sum of a counter, the mean of
/// timings, how many different values of a set. One name has one kind; of several the last counts.
#[derive(Debug, Default)]
pub(super) struct Period {
    /// Outlives the period: what is relative is relative to it.
    gauge: f64,
    kind: Option<Kind>,
    sum: f64,
    count: f64,
    set: BTreeSet<String>,
}

impl Period {
    pub(super) fn add(&mut self, line: &Line<'_>) {
        self.kind = Some(line.kind);
        match line.kind {
            Kind::Gauge => {
                for value in line.values() {
                    self.gauge = if line.is_relative() { self.gauge + value } else { value };
                }
            }
            Kind::Counter => self.sum += line.values().sum::<f64>() / line.rate,
            Kind::Timing => {
                self.sum += line.values().sum::<f64>();
                self.count += line.values().count() as f64;
            }
            Kind::Set => {
                let text = line.text();
                let end = text.floor_char_boundary(VALUE_BYTES_MAX);
                if self.set.len() < SET_MAX {
                    self.set.insert(text[..end].to_owned());
                }
            }
        }
    }

    /// The number; none if nothing came.
    pub(super) fn end(&mut self) -> Option<f64> {
        let period = std::mem::take(self);
        self.gauge = period.gauge;
        period.kind.map(|kind| match kind {
            Kind::Gauge => period.gauge,
            Kind::Counter => period.sum,
            Kind::Timing => period.sum / period.count.max(1.0),
            Kind::Set => period.set.len() as f64,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(lines: &[&str]) -> Option<f64> {
        let mut period = Period::default();
        for line in lines {
            period.add(&Line::parse(line).unwrap());
        }
        period.end()
    }

    #[test]
    fn each_kind_comes_to_a_number_of_its_own() {
        assert_eq!(number(&[]), None);
        assert_eq!(number(&["a:5|g", "a:-2|g", "a:+1|g"]), Some(4.0));
        assert_eq!(number(&["a:5|c", "a:1|c|@0.5"]), Some(7.0));
        assert_eq!(number(&["a:5:7|ms", "a:30|h"]), Some(14.0));
        assert_eq!(number(&["a:x|s", "a:y|s", "a:x|s"]), Some(2.0));
    }
}
