//! Numbers of the evidence row: written so that JSON gives them back bit for bit.
//!
//! JSON has no infinities (an unused hypothesis has log weight minus infinity), and a JSON
//! reader may lose the last bit. So they travel as text: `"-inf"`, `"0.1 2.5 -3.75"`.

use serde::{Deserialize, Deserializer, Serializer, de};

/// A number or a row of numbers that can be told as words.
pub(super) trait Exact: Sized {
    fn numbers(&self) -> &[f64];
    fn from_numbers(numbers: &[f64]) -> Option<Self>;
}

impl Exact for f64 {
    fn numbers(&self) -> &[f64] {
        std::slice::from_ref(self)
    }

    fn from_numbers(numbers: &[f64]) -> Option<Self> {
        <[f64; 1]>::from_numbers(numbers).map(|[number]| number)
    }
}

impl<const N: usize> Exact for [f64; N] {
    fn numbers(&self) -> &[f64] {
        self
    }

    fn from_numbers(numbers: &[f64]) -> Option<Self> {
        numbers.try_into().ok()
    }
}

pub(super) fn serialize<T: Exact, S: Serializer>(
    value: &T,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let words: Vec<String> = value.numbers().iter().map(|number| format!("{number:?}")).collect();
    serializer.serialize_str(&words.join(" "))
}

pub(super) fn deserialize<'de, T: Exact, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    let text = String::deserialize(deserializer)?;
    let numbers: Option<Vec<f64>> = text.split(' ').map(number).collect();
    numbers
        .and_then(|numbers| T::from_numbers(&numbers))
        .ok_or_else(|| de::Error::custom(format!("{text:?} is not the numbers expected here")))
}

fn number(word: &str) -> Option<f64> {
    word.parse().ok().filter(|number: &f64| !number.is_nan())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, serde::Serialize, Deserialize)]
    struct Row {
        #[serde(with = "super")]
        logs: [f64; 3],
        #[serde(with = "super")]
        time: f64,
    }

    #[test]
    fn numbers_come_back_bit_for_bit() {
        let row = Row { logs: [f64::NEG_INFINITY, 0.1 + 0.2, 5e-324], time: 1.797e308 };
        let json = serde_json::to_string(&row).unwrap();
        assert_eq!(json, r#"{"logs":"-inf 0.30000000000000004 5e-324","time":"1.797e308"}"#);
        assert_eq!(serde_json::from_str::<Row>(&json).unwrap(), row);
    }

    #[test]
    fn a_torn_row_is_refused() {
        for json in [
            r#"{"logs":"1 2","time":"0"}"#,
            r#"{"logs":"1 2 x","time":"0"}"#,
            r#"{"logs":"1 2 NaN","time":"0"}"#,
        ] {
            assert!(serde_json::from_str::<Row>(json).is_err(), "{json}");
        }
    }
}
