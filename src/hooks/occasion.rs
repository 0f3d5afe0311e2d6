//! For what a step is done: what commands are told in variables.

use serde::{Deserialize, Serialize};

use crate::rollout::runbook::StepName;
use crate::traffic::{TierName, Version, Weight};

/// For what a step is done.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Occasion {
    /// The name or the number of the rollout.
    #[serde(default)]
    pub rollout: Option<String>,
    /// The tier whose turn it is.
    #[serde(default)]
    pub tier: Option<TierName>,
    /// The stage.
    #[serde(default)]
    pub stage: Option<Weight>,
    /// The version that is left.
    #[serde(default)]
    pub old: Option<Version>,
    /// The version that is rolled out.
    #[serde(default)]
    pub new: Option<Version>,
    /// Why: the reason of an order, or of a rollback.
    #[serde(default)]
    pub reason: Option<String>,
    /// What a process of the new version is told of its caches, as `weir cache env` prints it.
    #[serde(default)]
    pub caches: Vec<(String, String)>,
    /// Which try it is, from 1.
    #[serde(default)]
    pub attempt: u32,
}

impl Occasion {
    /// The variables of `step`, all there always: what is not known is empty, so that a script may
    /// use `set -u`.
    pub(super) fn variables(&self, step: &StepName) -> Vec<(String, String)> {
        fn said<T: ToString>(value: Option<&T>) -> String {
            value.map(ToString::to_string).unwrap_or_default()
        }
        let own = [
            ("WEIR_ROLLOUT", said(self.rollout.as_ref())),
            ("WEIR_TIER", said(self.tier.as_ref())),
            ("WEIR_STAGE", said(self.stage.as_ref())),
            ("WEIR_VERSION", said(self.new.as_ref())),
            ("WEIR_VERSION_OLD", said(self.old.as_ref())),
            ("WEIR_STEP", step.to_string()),
            ("WEIR_ATTEMPT", self.attempt.to_string()),
            ("WEIR_REASON", said(self.reason.as_ref())),
        ];
        let own = own.into_iter().map(|(name, value)| (name.to_owned(), value));
        own.chain(self.caches.iter().cloned()).collect()
    }

    /// `template` with `{version}` replaced by what `WEIR_VERSION` says, and so on; inside the
    /// quotes of JSON where that is what it is.
    pub(super) fn filled(&self, template: &str, step: &StepName) -> String {
        let is_json = template.trim_start().starts_with(['{', '[']);
        let mut text = String::with_capacity(template.len());
        let variables = self.variables(step);
        let mut rest = template;
        while let Some((before, after)) = rest.split_once('{') {
            text.push_str(before);
            let known = after.split_once('}').and_then(|(name, after)| {
                let upper = format!("WEIR_{}", name.to_ascii_uppercase());
                let fits = name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
                let found = variables.iter().find(|(variable, _)| fits && *variable == upper);
                found.map(|(_, value)| (value, after))
            });
            match known {
                Some((value, after)) if is_json => {
                    let quoted = serde_json::Value::from(value.as_str()).to_string();
                    text.push_str(&quoted[1..quoted.len() - 1]);
                    rest = after;
                }
                Some((value, after)) => {
                    text.push_str(value);
                    rest = after;
                }
                None => {
                    text.push('{');
                    rest = after;
                }
            }
        }
        text.push_str(rest);
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_says_what_the_variables_say() {
        let occasion = Occasion {
            new: Some("1.1.0".parse().unwrap()),
            reason: Some("the \"night\"".into()),
            ..Occasion::default()
        };
        let step = "tell".parse().unwrap();
        let filled = |template: &str| occasion.filled(template, &step);
        assert_eq!(filled("{step}: {version} {unknown} { {"), "tell: 1.1.0 {unknown} { {");
        let json = filled(r#"{"text": "{version} because of {reason}, {stage}"}"#);
        assert_eq!(json, r#"{"text": "1.1.0 because of the \"night\", "}"#);
    }
}
