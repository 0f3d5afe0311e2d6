//! The names of the kinds of events, as the journal writes them. They are asked of the way in which
//! events are read, so that a new kind is known here at once.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, Visitor};
use serde::forward_to_deserialize_any;

use super::event::Change;

/// The names of all kinds of events: `adopted`, `advanced`, ...
pub fn event_names() -> &'static [&'static str] {
    match Change::deserialize(Names) {
        Err(Known(names)) => names,
        Ok(_) => &[],
    }
}

/// Reads nothing, and notes which variants were asked for.
struct Names;

/// The variants, by way of an error.
#[derive(Debug)]
struct Known(&'static [&'static str]);

impl fmt::Display for Known {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0.join(", "))
    }
}

impl std::error::Error for Known {}

impl Error for Known {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Self(&[])
    }
}

impl<'de> Deserializer<'de> for Names {
    type Error = Known;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Known> {
        Err(Known(&[]))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, Known> {
        Err(Known(variants))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option
        unit unit_struct newtype_struct seq tuple tuple_struct map struct identifier ignored_any
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_event_is_known_by_the_name_it_is_written_with() {
        let names = event_names();
        assert!(names.contains(&"rolled_back") && names.contains(&"cut"), "{names:?}");
        let written = serde_json::to_string(&Change::Paused).unwrap();
        assert!(names.contains(&written.trim_matches('"')));
    }
}
