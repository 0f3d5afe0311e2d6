//! What is heard from outside, as a list of keys and values.

use std::fmt::Display;

use super::{Page, act, keys, tolerated};
use crate::analysis::{Limit, Settings};
use crate::config::SignalConfig;
use crate::control::Feeds;
use crate::signals::{Figure, Source, Token};

pub(super) fn describe_signal(
    page: &mut Page<'_>,
    config: &SignalConfig,
    judged: &Settings,
    path: &str,
) {
    let signal = &config.signal;
    page.turn(&keys::SIGNAL, format!("{path}.analysis.signal.{}", signal.name));
    page.put("tier", &signal.tier);
    page.put_duration("every", signal.every);
    page.put_duration("silent_after", config.silent_after);
    match &signal.source {
        Source::Jobs { cache } => {
            page.put("source", "jobs");
            page.put("cache", cache);
        }
        Source::Promql { endpoint, token, figure } => {
            page.put("source", "promql");
            page.put("url", endpoint);
            match token {
                Some(Token::Environment(name)) => page.put("token_env", name),
                Some(Token::File(path)) => page.put("token_file", path.display()),
                None => {}
            }
            describe_figure(page, figure);
        }
        Source::Scrape { url, version_label, figure } => {
            page.put("source", "scrape");
            page.put("url", url);
            page.put_some("version_label", version_label.as_ref());
            describe_figure(page, figure);
        }
        Source::Statsd { version_tag, figure, slower_than } => {
            page.put("source", "statsd");
            page.put_some("version_tag", version_tag.as_ref());
            match (slower_than, figure) {
                (Some(limit), Figure::Counts { total, .. }) => {
                    page.put("value", total);
                    page.put_duration("slower_than", *limit);
                }
                (None, _) | (Some(_), Figure::Number(_)) => describe_figure(page, figure),
            }
        }
    }
    page.put(
        "counts_as",
        match config.feeds {
            Feeds::Errors => "errors",
            Feeds::Slow => "slow",
            Feeds::Own | Feeds::Check => "itself",
        },
    );
    if let Some(counted) = judged.signals.iter().find(|counted| counted.name == signal.name) {
        page.put("on_fail", act(counted.on_fail));
        tolerated(page, counted.metric);
    }
    if let Some(check) = judged.checks.iter().find(|check| check.name == signal.name) {
        page.put("on_fail", act(check.on_fail));
        match check.limit {
            Limit::Above(limit) => page.put("above", limit),
            Limit::Below(limit) => page.put("below", limit),
        }
        page.put("beyond", check.beyond);
        page.put("samples", check.samples);
    }
}

fn describe_figure(page: &mut Page<'_>, figure: &Figure<impl Display>) {
    match figure {
        Figure::Counts { total, bad } => {
            page.put("total", total);
            page.put("bad", bad);
        }
        Figure::Number(value) => page.put("value", value),
    }
}
