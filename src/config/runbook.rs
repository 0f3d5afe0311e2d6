//! Reads `[[step]]` and `[preflight]`: what is done beside the weights.

use std::collections::HashMap;
use std::ops::Range;
use std::path::Path;
use std::time::Duration;

use toml::de::DeValue;

use super::checks;
use super::diagnostic::{Code, Level};
use super::keys;
use super::program::path;
use super::reader::Reader;
use super::rollout::RolloutDraft;
use super::section::{At, PATTERNS_MAX, Section, not_a, set};
use super::tier::Draft;
use super::values::{self, Mistake, quoted};
use crate::rollout::runbook::{
    Action, COMMAND_WORDS_MAX, Check, Http, OnFailure, OnInterrupt, OnRollback, QUESTION_CHARS_MAX,
    RETRIES_MAX, Reach, Run, STEPS_MAX, Step, StepName, Url, When, is_secret_name, tells_a_secret,
};
use crate::rollout::{Stages, Workers};
use crate::traffic::{Address, TierName, Weight};

/// Whoever is asked longer than a week is not asked.
const TIMEOUT_MAX: Duration = Duration::from_hours(7 * 24);

/// A longer pause is a step of its own.
const RETRY_AFTER_MAX: Duration = Duration::from_hours(1);

/// How long a check of the preflight may take: somebody waits for it.
const CHECK_TIMEOUT: Duration = Duration::from_secs(30);

/// How far clocks may be apart where nothing is said; `Date` knows whole seconds.
const CLOCK: Duration = Duration::from_secs(10);

/// What is done beside the weights.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunbookConfig {
    /// What a rollout does, in the order of the file; the checks of `[preflight]` come first,
    /// where the file has it.
    pub steps: Vec<Step>,
    /// What `weir preflight` goes through: the checks and questions before a rollout.
    pub preflight: Vec<Step>,
}

/// The steps as far as they could be read.
pub(super) struct RunbookDraft {
    steps: Vec<StepDraft>,
    preflight: Vec<Step>,
    is_wanted: bool,
}

/// A step, and the places that others may contradict.
struct StepDraft {
    step: Step,
    name: Range<usize>,
    when: Range<usize>,
    undoes: Option<Range<usize>>,
}

impl RunbookDraft {
    /// Reads `[preflight]` and every `[[step]]`.
    pub(super) fn read(root: &mut Section<'_>, base: &Path) -> Self {
        let is_wanted = root.key_span("preflight").is_some();
        let preflight = preflight(root.table("preflight", &keys::PREFLIGHT), base);
        let sections = root.tables("step", STEPS_MAX, &keys::STEP);
        let steps = sections.into_iter().filter_map(|section| step(section, base)).collect();
        Self { steps, preflight, is_wanted }
    }

    /// Whether there is a step of this name.
    pub(super) fn has(&self, name: &StepName) -> bool {
        self.steps.iter().any(|draft| draft.step.name == *name)
    }

    /// What the steps say against each other, the tiers and the stages.
    pub(super) fn check(
        &self,
        reader: &Reader,
        tiers: &[Draft],
        workers: &[Workers],
        rollout: &RolloutDraft,
    ) {
        let mut seen: HashMap<&StepName, &Range<usize>> = HashMap::new();
        let names: Vec<&TierName> =
            tiers.iter().filter_map(|tier| tier.name.as_ref()).map(|at| &at.value).collect();
        let moments: Vec<&TierName> =
            names.iter().copied().chain(workers.iter().map(Workers::name)).collect();
        for StepDraft { step, name, when, undoes } in &self.steps {
            let conflict = |key: &str, span: &Range<usize>, mistake, others| {
                let place = (format!("step.{}.{key}", step.name), span.clone());
                reader.note((Level::Error, Code::Conflict), place, mistake, others);
            };
            if let Some(first) = seen.insert(&step.name, name) {
                let message = format!("two steps are called {}", quoted(step.name.as_str()));
                let others = vec![(first.clone(), "the first".to_owned())];
                let help = "give each a name of its own";
                conflict("name", name, Mistake::new(message, help), others);
            }
            if let Some(mistake) = no_such_moment(&step.when, &moments, tiers, rollout.stages()) {
                conflict("when", when, mistake, Vec::new());
            }
            if let (Some(mistake), Some(span)) = (self.undoes_nothing(step), undoes) {
                conflict("undoes", span, mistake, Vec::new());
            }
            if let Some(tier) = tier_of(&step.action).filter(|tier| !names.contains(tier)) {
                conflict("check.tier", when, no_such_tier(tier, &names), Vec::new());
            }
        }
    }

    /// Why `step` cannot undo what it says, if it says so.
    fn undoes_nothing(&self, step: &Step) -> Option<Mistake> {
        let undone = step.undoes.as_ref()?;
        if step.when != When::OnRollback {
            let help = "write when = \"on rollback\"";
            return Some(Mistake::new("steps are undone on a rollback alone", help));
        }
        match self.steps.iter().find(|draft| draft.step.name == *undone) {
            None => {
                let names = self.steps.iter().map(|draft| draft.step.name.as_str());
                let near = keys::nearest(undone.as_str(), names);
                let near = near.map_or(String::new(), |near| format!("; did you mean {near:?}?"));
                let help = format!("name a [[step]] of the way onward{near}");
                Some(Mistake::new(format!("there is no step {}", quoted(undone.as_str())), help))
            }
            Some(draft) if draft.step.when == When::OnRollback => {
                let message = format!("step {undone} is done on a rollback itself");
                Some(Mistake::new(message, "name a [[step]] of the way onward"))
            }
            Some(_) => None,
        }
    }

    /// The runbook. A file without `[preflight]` has rollouts that begin at once, and a `weir
    /// preflight` that goes through what needs no settings.
    pub(super) fn finish(self) -> RunbookConfig {
        let own: Vec<Step> = self.steps.into_iter().map(|draft| draft.step).collect();
        let before = own.iter().filter(|step| step.is_preflight());
        let preflight: Vec<Step> = self.preflight.iter().chain(before).cloned().collect();
        let first = if self.is_wanted { self.preflight } else { Vec::new() };
        RunbookConfig { steps: first.into_iter().chain(own).collect(), preflight }
    }
}

fn no_such_moment(
    when: &When,
    moments: &[&TierName],
    tiers: &[Draft],
    stages: &Stages,
) -> Option<Mistake> {
    match when {
        When::AfterTier(tier) | When::BeforeTier(tier) => {
            (!moments.contains(&tier)).then(|| no_such_tier(tier, moments))
        }
        When::AfterStage { weight, tier } => no_such_stage(*weight, tier.as_ref(), tiers, stages),
        When::InTier(tier) => {
            let help = format!("use \"before tier {tier}\" or \"after tier {tier}\"");
            Some(Mistake::new("what is done in a tier is its own", help))
        }
        When::AfterHop(_)
        | When::AfterRollout
        | When::BeforeHop(_)
        | When::BeforeRollout
        | When::OnRollback => None,
    }
}

/// Whether no tier, or not `tier`, has a stage of `weight`; the stages of a tier may be `auto`, and
/// then nobody knows.
fn no_such_stage(
    weight: Weight,
    tier: Option<&TierName>,
    tiers: &[Draft],
    stages: &Stages,
) -> Option<Mistake> {
    let mut known = Vec::new();
    let mut is_named = tier.is_none();
    for draft in tiers {
        let name = draft.name.as_ref().map(|at| &at.value);
        if tier.is_some() && tier != name {
            continue;
        }
        is_named = true;
        match draft.stages.as_ref().map_or(stages, |at| &at.value) {
            Stages::Auto => return None,
            Stages::Listed(plan) => known.extend(plan.stages().iter().map(|stage| stage.weight)),
        }
    }
    if let Some(tier) = tier.filter(|_| !is_named) {
        let names = tiers.iter().filter_map(|draft| draft.name.as_ref());
        return Some(no_such_tier(tier, &names.map(|at| &at.value).collect::<Vec<_>>()));
    }
    known.sort();
    known.dedup();
    (!known.contains(&weight)).then(|| {
        let known: Vec<String> = known.iter().map(ToString::to_string).collect();
        let help = format!("the stages are {}", known.join(", "));
        Mistake::new(format!("there is no stage of {weight}"), help)
    })
}

pub(super) fn no_such_tier(tier: &TierName, tiers: &[&TierName]) -> Mistake {
    let near = keys::nearest(tier.as_str(), tiers.iter().map(|tier| tier.as_str()));
    let near = near.map_or(String::new(), |near| format!("; did you mean {near:?}?"));
    let known: Vec<&str> = tiers.iter().map(|tier| tier.as_str()).collect();
    let help = format!("the tiers are {}{near}", known.join(", "));
    Mistake::new(format!("there is no tier {}", quoted(tier.as_str())), help)
}

fn tier_of(action: &Action) -> Option<&TierName> {
    match action {
        Action::Check(Check::Traffic { tier, .. } | Check::Version { tier, .. }) => tier.as_ref(),
        Action::Check(_) | Action::Confirm | Action::Http(_) | Action::Run(_) => None,
    }
}

/// Reads one `[[step]]`; none where it has no name, no moment or nothing to do.
fn step(mut section: Section<'_>, base: &Path) -> Option<StepDraft> {
    section.need("name", "name = \"backup\"");
    section.need("when", "when = \"before rollout\"");
    let parse = |text: &str| {
        let wrong = |error: String| Mistake::new(error, "use letters, digits and ._-");
        text.parse::<StepName>().map_err(|error| wrong(error.to_string()))
    };
    let name = section.text("name", "write text: \"backup\"", parse);
    let undoes = section.text("undoes", "write the name of a step", parse);
    if let Some(at) = &name {
        section.rename(format!("step.{}", at.value));
    }
    let when = section.text("when", "write text: \"before rollout\"", |text| {
        text.parse::<When>().map_err(|error| {
            let said = error.to_string();
            let (message, help) = said.split_once("; ").unwrap_or((&said, "see docs/runbook.md"));
            Mistake::new(message, help)
        })
    });
    let owner = section.text("owner", "write a name", one_line);
    let confirm = section.text("confirm", "write the question", one_line).map(|at| at.value);
    let action = action(&mut section, base, confirm.is_some());
    let nothing = Step::new(name.as_ref()?.value.clone(), When::BeforeRollout, Action::Confirm);
    let mut step = Step { owner: owner.map(|at| at.value), confirm, ..nothing };
    section.duration("timeout", Duration::from_secs(1)..=TIMEOUT_MAX, &mut step.timeout);
    section.integer("retries", 0..=u64::from(RETRIES_MAX), &mut step.retries);
    section.duration("retry_after", Duration::ZERO..=RETRY_AFTER_MAX, &mut step.retry_after);
    let words =
        [("ask", OnInterrupt::Ask), ("retry", OnInterrupt::Retry), ("fail", OnInterrupt::Fail)];
    section.word("on_interrupt", &words, &mut step.on_interrupt);
    let words = [
        ("hold", OnFailure::Hold),
        ("rollback", OnFailure::Rollback),
        ("continue", OnFailure::Continue),
    ];
    section.word("on_failure", &words, &mut step.on_failure);
    let words = [("wait", OnRollback::Wait), ("stop", OnRollback::Stop)];
    section.word("on_rollback", &words, &mut step.on_rollback);
    section.finish();
    (step.when, step.action) = (when.as_ref()?.value.clone(), action?);
    step.undoes = undoes.as_ref().map(|at| at.value.clone());
    let undoes = undoes.map(|at| at.span);
    Some(StepDraft { step, name: name?.span, when: when?.span, undoes })
}

/// What the step does: one of `run`, `http`, `check`, or only its question.
fn action(section: &mut Section<'_>, base: &Path, asks: bool) -> Option<Action> {
    let written: Vec<_> = ["run", "http", "check"]
        .into_iter()
        .filter_map(|key| Some((key, section.key_span(key)?)))
        .collect();
    let run = run(section).map(Action::Run);
    let http = http(section).map(Action::Http);
    let check = checks::check(section.table("check", &keys::STEP_CHECK), base).map(Action::Check);
    match written.as_slice() {
        [] if asks => Some(Action::Confirm),
        [] => {
            let help = "add run = [\"...\"], http = \"...\", check = { ... } or confirm = \"...\"";
            section.wrong("run", section.span.clone(), Mistake::new("the step does nothing", help));
            None
        }
        [_] => run.or(http).or(check),
        [(first, place), (second, span), ..] => {
            let message = format!("a step does one thing, and `{first}` stands here, too");
            let others = vec![(place.clone(), format!("`{first}`"))];
            section.conflict(
                second,
                span.clone(),
                Mistake::new(message, "make it two steps"),
                others,
            );
            None
        }
    }
}

fn run(section: &mut Section<'_>) -> Option<Run> {
    let mut shell = false;
    section.flag("shell", &mut shell);
    command(section, "run", shell)
}

/// Reads the command `key`: words, or one text where a `shell` was asked for.
pub(super) fn command(section: &mut Section<'_>, key: &'static str, shell: bool) -> Option<Run> {
    let list =
        &format!("write the command and its arguments: {key} = [\"pg_dump\", \"-Fc\", \"shop\"]");
    let asked = if key == "run" { "add shell = true" } else { "[\"sh\", \"-c\", \"...\"]" };
    #[allow(clippy::wildcard_enum_match_arm, reason = "kinds of values are TOML's, not ours")]
    let read = section.read(key, |value| match value {
        DeValue::String(text) if shell => Ok(vec![text.to_string()]),
        DeValue::String(_) => {
            let message = "a text is for a shell, and none was asked for";
            Err(Mistake::new(message, format!("{list}; or {asked}")))
        }
        DeValue::Array(_) if shell => {
            let help = "write one text for /bin/sh, or take shell away";
            Err(Mistake::new("a shell takes a text, not a list", help))
        }
        DeValue::Array(words) if words.len() <= COMMAND_WORDS_MAX => words
            .iter()
            .map(|word| word.get_ref().as_str().map(str::to_owned))
            .collect::<Option<Vec<_>>>()
            .ok_or_else(|| Mistake::new("there is something else than text in the list", list)),
        other => Err(not_a("a command", other, list)),
    })?;
    let At { value: command, span } = read;
    let mistake = if command.first().is_none_or(|program| program.trim().is_empty()) {
        Mistake::new("the command is empty", list)
    } else if command.iter().any(|word| word.contains('\0')) {
        Mistake::new("the command has a zero byte in it", list)
    } else if command.iter().any(|word| tells_a_secret(word)) {
        let help = "the journal and the list of processes would show it: put it in a variable of \
                    Weir's environment (PGPASSWORD), or in a file that the command reads";
        Mistake::new("there seems to be a password in the command", help)
    } else {
        return Some(Run { command, shell, expect: None });
    };
    section.wrong(key, span, mistake);
    None
}

fn http(section: &mut Section<'_>) -> Option<Http> {
    let get =
        |url| Http { method: "GET".to_owned(), url, headers: Vec::new(), body: None, expect: None };
    if section.is_text("http") {
        return section.text("http", "write a URL", url).map(|at| get(at.value));
    }
    let mut inner = section.table("http", &keys::STEP_HTTP);
    if !inner.is_there() {
        return None;
    }
    inner.need("url", "url = \"https://chat.example.org/hooks/x\"");
    let url = inner.text("url", "write a URL", url);
    let mut method = "GET".to_owned();
    let read = inner.text("method", "write text: \"POST\"", |text| {
        let fits = (1..=16).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_uppercase());
        let help = "write it in capitals: \"POST\"";
        fits.then(|| text.to_owned())
            .ok_or_else(|| Mistake::new(format!("{} is no method", quoted(text)), help))
    });
    set(&mut method, read);
    let headers = headers(&mut inner);
    let body = inner.text("body", "write text", |text| Ok(text.to_owned())).map(|at| at.value);
    let mut expect = None;
    inner.integer_or_none("expect", 100..=599, &mut expect);
    inner.finish();
    url.map(|url| Http { method, headers, body, expect, ..get(url.value) })
}

fn headers(section: &mut Section<'_>) -> Vec<(String, String)> {
    let help = "write names and texts: headers = { Authorization = \"env:TOKEN\" }";
    let read = section.read("headers", |value| {
        let table = value.as_table().ok_or_else(|| Mistake::new("this is no table", help))?;
        let mut headers = Vec::new();
        for (name, value) in table {
            let name = name.get_ref().as_ref();
            if http::HeaderName::try_from(name).is_err() {
                return Err(Mistake::new(format!("{} is no name of a header", quoted(name)), help));
            }
            let value = value.get_ref().as_str().unwrap_or("\n");
            let from_outside = value.starts_with("env:");
            if http::HeaderValue::try_from(value).is_err() {
                return Err(Mistake::new(format!("the value of {name} is no header value"), help));
            }
            if is_secret_name(name) && !from_outside {
                let message = format!("the value of {name} would stand in the journal");
                let help = "name a variable of Weir's environment that has it: \"env:TOKEN\"";
                return Err(Mistake::new(message, help));
            }
            headers.push((name.to_owned(), value.to_owned()));
        }
        Ok(headers)
    });
    read.map(|at| at.value).unwrap_or_default()
}

pub(super) fn url(text: &str) -> Result<Url, Mistake> {
    text.parse::<Url>().map_err(|error| {
        let said = error.to_string();
        let (message, help) = said.split_once("; ").unwrap_or((&said, "write http://host/path"));
        Mistake::new(message, help)
    })
}

pub(super) fn one_line(text: &str) -> Result<String, Mistake> {
    let help = format!("write one line of at most {QUESTION_CHARS_MAX} characters");
    let short = text.chars().count() <= QUESTION_CHARS_MAX && !text.chars().any(char::is_control);
    if short && !text.trim().is_empty() {
        return Ok(text.trim().to_owned());
    }
    Err(Mistake::new(format!("{} is no such line", quoted(text)), help))
}

/// Reads `[preflight]`; without it what needs no settings.
fn preflight(mut section: Section<'_>, base: &Path) -> Vec<Step> {
    let mut steps = Vec::new();
    let step = |name: &str, action: Action| {
        // The names are ours.
        let step = Step::new(name.parse().ok()?, When::BeforeRollout, action);
        Some(Step { timeout: CHECK_TIMEOUT, ..step })
    };
    for (key, standard) in [
        ("exact", Check::Exact),
        ("healthy", Check::Healthy),
        ("hours", Check::Hours),
        ("caches", Check::Caches),
    ] {
        let mut wanted = true;
        section.flag(key, &mut wanted);
        steps.extend(step(key, Action::Check(standard)).filter(|_| wanted));
    }
    let mut clock = Some(CLOCK);
    section.duration_or_none("clock", checks::CLOCKS, &mut clock);
    steps.extend(clock.and_then(|within| step("clock", Action::Check(Check::Clock { within }))));
    for key in ["version", "backup", "disk"] {
        let check = checks::check(section.table(key, &keys::STEP_CHECK), base);
        steps.extend(check.and_then(|check| step(key, Action::Check(check))));
    }
    let mut below = 0;
    section.integer("traffic_below", 1..=1_000_000, &mut below);
    let traffic = Action::Check(Check::Traffic { tier: None, below });
    steps.extend(step("traffic", traffic).filter(|_| below > 0));
    let tcp = section.list("tcp", PATTERNS_MAX, "[\"db.internal:5432\"]", values::upstream);
    let tcp: Vec<Address> = tcp.into_iter().flatten().map(|at| at.value).collect();
    let http = section.list("http", PATTERNS_MAX, "[\"http://search.internal/ping\"]", url);
    let http: Vec<Url> = http.into_iter().flatten().map(|at| at.value).collect();
    for (at, address) in (1..).zip(tcp) {
        steps.extend(step(
            &format!("tcp-{at}"),
            Action::Check(Check::Reachable(Reach::Tcp(address))),
        ));
    }
    for (at, url) in (1..).zip(http) {
        steps
            .extend(step(&format!("http-{at}"), Action::Check(Check::Reachable(Reach::Http(url)))));
    }
    let question = section.text("migrations", "write the question", one_line);
    if let Some(At { value, .. }) = question {
        let asked = step("migrations", Action::Confirm);
        steps.extend(asked.map(|step| Step { confirm: Some(value), ..step }));
    }
    section.finish();
    steps
}

/// A path of the file, relative to its folder.
pub(super) fn place(text: &str, base: &Path) -> Result<String, Mistake> {
    path(text).map(|path| base.join(path).to_string_lossy().into_owned())
}
