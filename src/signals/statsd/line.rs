//! One line of statsd: `name:value|type|@rate|#tag:value,tag`.

/// Bytes of a name: longer ones are no names.
const NAME_BYTES_MAX: usize = 512;

/// What a line tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// So many more.
    Counter,
    /// How much there is.
    Gauge,
    /// Something that was there; how many different ones is what counts.
    Set,
    /// How long something took, in milliseconds, or another distribution.
    Timing,
}

/// A line.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Line<'a> {
    pub(super) name: &'a str,
    pub(super) kind: Kind,
    /// The share of the events that is sent; above 0.
    pub(super) rate: f64,
    values: &'a str,
    tags: &'a str,
}

impl<'a> Line<'a> {
    /// None if it is no figure.
    pub(super) fn parse(text: &'a str) -> Option<Self> {
        let (name, rest) = text.split_once(':')?;
        if name.is_empty() || name.len() > NAME_BYTES_MAX {
            return None;
        }
        let mut parts = rest.split('|');
        let values = parts.next()?;
        let kind = match parts.next()? {
            "c" => Kind::Counter,
            "g" => Kind::Gauge,
            "s" => Kind::Set,
            "ms" | "h" | "d" => Kind::Timing,
            _ => return None,
        };
        let mut line = Self { name, kind, rate: 1.0, values, tags: "" };
        for part in parts {
            if let Some(rate) = part.strip_prefix('@') {
                line.rate = rate.parse().ok().filter(|rate| *rate > 0.0 && *rate <= 1.0)?;
            } else if let Some(tags) = part.strip_prefix('#') {
                line.tags = tags;
            }
            // Whatever else there is (a container, a time) says nothing here.
        }
        let finite = |value: &str| value.parse().is_ok_and(f64::is_finite);
        let is_whole = kind == Kind::Set || line.values.split(':').all(finite);
        is_whole.then_some(line)
    }

    /// Its values; `DogStatsD` packs several.
    pub(super) fn values(&self) -> impl Iterator<Item = f64> {
        self.values.split(':').filter_map(|value| value.parse().ok())
    }

    /// What is set: the text itself.
    pub(super) const fn text(&self) -> &'a str {
        self.values
    }

    /// Whether a gauge is moved by its value, and not set to it.
    pub(super) fn is_relative(&self) -> bool {
        self.values.starts_with(['+', '-'])
    }

    /// The value of a tag.
    pub(super) fn tag(&self, name: &str) -> Option<&'a str> {
        let mut tags = self.tags.split(',').filter_map(|tag| tag.split_once(':'));
        tags.find(|(tag, _)| *tag == name).map(|(_, value)| value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_and_others_are_none() {
        let line = Line::parse("jobs.done:2|c|@0.1|#version:4.2,queue:mail|c:in-x").unwrap();
        assert_eq!((line.name, line.kind, line.rate), ("jobs.done", Kind::Counter, 0.1));
        assert_eq!((line.tag("version"), line.tag("none")), (Some("4.2"), None));
        let values: Vec<f64> = Line::parse("t:1:2.5|ms").unwrap().values().collect();
        assert_eq!(values, [1.0, 2.5]);
        assert!(Line::parse("g:-3|g").unwrap().is_relative());
        for wrong in [
            "",
            "jobs",
            "jobs:1",
            "jobs:1|x",
            ":1|c",
            "jobs:|c",
            "jobs:x|c",
            "jobs:NaN|g",
            "jobs:1|c|@0",
            "jobs:1|c|@2",
            "jobs:1|c|@x",
            "_e{5,4}:title|text",
            "_sc|name|0",
            "jobs:inf|g",
        ] {
            assert_eq!(Line::parse(wrong), None, "{wrong}");
        }
    }
}
