//! The kinds of values: flags, numbers, durations, sizes, shares, words. Each getter leaves the
//! default in place where the key is absent or wrong.
#![allow(clippy::wildcard_enum_match_arm, reason = "kinds of values are TOML's enum, not ours")]

use std::ops::{Range, RangeInclusive};
use std::time::Duration;

use toml::de::DeValue;

use super::MemoryLimit;
use super::keys;
use super::section::{At, Section, not_a, set, shown};
use super::values::{self, Mistake, quoted};

impl Section<'_> {
    /// Reads `true` or `false`.
    pub(super) fn flag(&mut self, key: &'static str, into: &mut bool) {
        let read = self.read(key, |value| {
            value
                .as_bool()
                .ok_or_else(|| not_a("true or false", value, "write true or false, without quotes"))
        });
        set(into, read);
    }

    /// Reads a duration within `range`.
    pub(super) fn duration(
        &mut self,
        key: &'static str,
        range: RangeInclusive<Duration>,
        into: &mut Duration,
    ) -> Option<Range<usize>> {
        let read = self.read(key, |value| duration_of(value, &range));
        let span = read.as_ref().map(|at| at.span.clone());
        set(into, read);
        span
    }

    /// Reads a duration within `range`, or "none".
    pub(super) fn duration_or_none(
        &mut self,
        key: &'static str,
        range: RangeInclusive<Duration>,
        into: &mut Option<Duration>,
    ) {
        let read = self.read(key, |value| match value.as_str() {
            Some("none") => Ok(None),
            _ => duration_of(value, &range).map(Some).map_err(or_none),
        });
        set(into, read);
    }

    /// Reads a whole number within `range`.
    pub(super) fn integer<T: TryFrom<u64>>(
        &mut self,
        key: &'static str,
        range: RangeInclusive<u64>,
        into: &mut T,
    ) {
        let read = self.read(key, |value| integer_of(value, &range));
        set(into, read);
    }

    /// Reads a whole number within `range`, or "none".
    pub(super) fn integer_or_none<T: TryFrom<u64>>(
        &mut self,
        key: &'static str,
        range: RangeInclusive<u64>,
        into: &mut Option<T>,
    ) {
        let read = self.read(key, |value| match value.as_str() {
            Some("none") => Ok(None),
            _ => integer_of(value, &range).map(Some).map_err(or_none),
        });
        set(into, read);
    }

    /// Reads a size within `range`.
    pub(super) fn size<T: TryFrom<u64>>(
        &mut self,
        key: &'static str,
        range: RangeInclusive<u64>,
        into: &mut T,
    ) {
        let read = self.read(key, |value| {
            let bytes = size_of(value, &range)?;
            T::try_from(bytes)
                .map_err(|_| Mistake::new("more than this machine can address", "use less"))
        });
        set(into, read);
    }

    /// Reads a size within `range`, or "none".
    pub(super) fn size_or_none(
        &mut self,
        key: &'static str,
        range: RangeInclusive<u64>,
        into: &mut Option<u64>,
    ) {
        let read = self.read(key, |value| match value.as_str() {
            Some("none") => Ok(None),
            _ => size_of(value, &range).map(Some).map_err(or_none),
        });
        set(into, read);
    }

    /// Reads a size within `range`, "auto" or "none".
    pub(super) fn memory(
        &mut self,
        key: &'static str,
        range: RangeInclusive<u64>,
        into: &mut MemoryLimit,
    ) {
        let read = self.read(key, |value| match value.as_str() {
            Some("auto") => Ok(MemoryLimit::Auto),
            Some("none") => Ok(MemoryLimit::None),
            _ => size_of(value, &range).map(MemoryLimit::Bytes).map_err(|mistake| {
                let help = format!("{}; or \"auto\" or \"none\"", mistake.help);
                Mistake { help, ..mistake }
            }),
        });
        set(into, read);
    }

    /// Reads a factor within `range`: 1.5 or 2.
    pub(super) fn factor(&mut self, key: &'static str, range: RangeInclusive<f64>, into: &mut f64) {
        let (low, high) = (*range.start(), *range.end());
        let read = self.read(key, |value| {
            let help = format!("write a factor, {low} to {high}, without quotes: {key} = 1.5");
            let text = match value {
                DeValue::Float(float) => float.as_str().replace('_', ""),
                DeValue::Integer(integer) => integer.as_str().to_owned(),
                other => return Err(not_a("a factor", other, &help)),
            };
            let number = text.parse::<f64>().ok().filter(|number| range.contains(number));
            number.ok_or_else(|| {
                Mistake::new(format!("{text} is out of range"), format!("use {low} to {high}"))
            })
        });
        set(into, read);
    }

    /// Reads a number: 30, 0.5 or -4.
    pub(super) fn number(&mut self, key: &'static str) -> Option<At<f64>> {
        self.read(key, |value| {
            let help = format!("write a number, without quotes: {key} = 30");
            let text = match value {
                DeValue::Float(float) => float.as_str().replace('_', ""),
                DeValue::Integer(integer) => integer.as_str().to_owned(),
                other => return Err(not_a("a number", other, &help)),
            };
            let number = text.parse::<f64>().ok().filter(|number| number.is_finite());
            number.ok_or_else(|| Mistake::new(format!("{text} is no number"), help))
        })
    }

    /// Reads a share (`1%`) within `range`.
    pub(super) fn share(&mut self, key: &'static str, range: RangeInclusive<f64>, into: &mut f64) {
        self.hundredth(key, "%", values::share, &range, into);
    }

    /// Reads a share as hundredths of a percent.
    pub(super) fn hundredths(&mut self, key: &'static str, into: &mut u16) {
        let mut share = f64::from(*into) / 10_000.0;
        self.share(key, 0.0..=1.0, &mut share);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a share is within 0 and 1"
        )]
        let points = (share * 10_000.0).round() as u16;
        *into = points;
    }

    /// Reads a difference (`0.5pp`) within `range`.
    pub(super) fn points(&mut self, key: &'static str, range: RangeInclusive<f64>, into: &mut f64) {
        self.hundredth(key, "pp", values::points, &range, into);
    }

    fn hundredth(
        &mut self,
        key: &'static str,
        unit: &str,
        parse: fn(&str) -> Result<f64, Mistake>,
        range: &RangeInclusive<f64>,
        into: &mut f64,
    ) {
        let text = |share: f64| format!("{}{unit}", values::hundredfold(share));
        let kind = if unit == "%" { "share" } else { "difference in percentage points" };
        let read = self.read(key, |value| {
            let help = format!("write a {kind}, such as \"0.5{unit}\"");
            let number = match value {
                DeValue::String(text) => parse(text)?,
                DeValue::Integer(_) | DeValue::Float(_) => {
                    return Err(Mistake::new(format!("{} has no unit", shown(value)), help));
                }
                other => return Err(not_a("text", other, &help)),
            };
            if range.contains(&number) {
                return Ok(number);
            }
            let help = format!("use {} to {}", text(*range.start()), text(*range.end()));
            Err(Mistake::new(format!("{} is out of range", text(number)), help))
        });
        set(into, read);
    }

    /// Reads one of a few words.
    pub(super) fn word<T: Copy>(&mut self, key: &'static str, words: &[(&str, T)], into: &mut T) {
        let names: Vec<String> = words.iter().map(|(word, _)| format!("{word:?}")).collect();
        let allowed = format!("use {}", names.join(" or "));
        let read = self.text(key, &allowed, |text| {
            words.iter().find(|(word, _)| *word == text).map(|(_, value)| *value).ok_or_else(|| {
                let near = keys::nearest(text, words.iter().map(|(word, _)| *word));
                let near = near.map_or(String::new(), |word| format!("; did you mean {word:?}?"));
                Mistake::new(format!("{} is not known", quoted(text)), format!("{allowed}{near}"))
            })
        });
        set(into, read);
    }
}

fn integer_of<T: TryFrom<u64>>(
    value: &DeValue<'_>,
    range: &RangeInclusive<u64>,
) -> Result<T, Mistake> {
    let (low, high) = (*range.start(), *range.end());
    let help = format!("write a whole number, {low} to {high}, without quotes");
    let Some(integer) = value.as_integer() else {
        return Err(not_a("a whole number", value, &help));
    };
    let number = u64::from_str_radix(integer.as_str(), integer.radix()).ok();
    let number = number.filter(|number| range.contains(number));
    number.and_then(|number| T::try_from(number).ok()).ok_or_else(|| {
        Mistake::new(format!("{integer} is out of range"), format!("use {low} to {high}"))
    })
}

fn duration_of(value: &DeValue<'_>, range: &RangeInclusive<Duration>) -> Result<Duration, Mistake> {
    let text = match value {
        DeValue::String(text) => text.as_ref(),
        DeValue::Integer(_) | DeValue::Float(_) => {
            let number = shown(value);
            return Err(Mistake::new(
                format!("{number} has no unit"),
                format!(
                    "write \"{number}s\" for seconds; \"500ms\", \"1m30s\" and \"24h\" are allowed too"
                ),
            ));
        }
        other => {
            return Err(not_a(
                "a duration",
                other,
                "write text with a unit: \"500ms\", \"2s\", \"1m30s\"",
            ));
        }
    };
    let duration = values::duration(text)?;
    if range.contains(&duration) {
        return Ok(duration);
    }
    let said = values::duration_text;
    let help = format!("use {} to {}", said(*range.start()), said(*range.end()));
    Err(Mistake::new(format!("{} is out of range", quoted(text)), help))
}

fn size_of(value: &DeValue<'_>, range: &RangeInclusive<u64>) -> Result<u64, Mistake> {
    let help = "write text with a unit: \"512B\", \"64KiB\", \"10MB\"";
    let text = match value {
        DeValue::String(text) => text.as_ref(),
        DeValue::Integer(_) => {
            return Err(Mistake::new(format!("{} has no unit", shown(value)), help));
        }
        other => return Err(not_a("a size", other, help)),
    };
    let bytes = values::size(text)?;
    if range.contains(&bytes) {
        return Ok(bytes);
    }
    let help =
        format!("use {} to {}", values::size_text(*range.start()), values::size_text(*range.end()));
    Err(Mistake::new(format!("{} is out of range", quoted(text)), help))
}

fn or_none(mistake: Mistake) -> Mistake {
    Mistake { help: format!("{}; or \"none\"", mistake.help), ..mistake }
}
