//! What changes something: an order is read, handed to the control wing, and its answer sent back.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::{Extension, Json};
use jiff::SignedDuration;
use serde::Deserialize;
use serde_json::{Map, Value};
use tokio::net::{TcpStream, UnixStream};

use super::api::{Done, Kind, Trouble};
use super::guard::Asker;
use super::views::bad_query;
use super::{Admin, ReloadError};
use crate::control::{Answer, OrderError};
use crate::rollout::{Command, Order, REASON_CHARS_MAX, Refusal};
use crate::traffic::{Address, Spot, Weight, WeightError};

/// Largest body of a request.
const BODY_BYTES_MAX: usize = 64 * 1024;

/// How long a body may take.
const BODY_MAX: Duration = Duration::from_secs(10);

/// How long a connection to an upstream that a `start` names may take.
const PROBE_MAX: Duration = Duration::from_secs(2);

/// Addresses that one `start` may name.
const UPSTREAMS_MAX: usize = 64;

/// The longest `wait`: a deploy job that waits longer has failed.
const WAIT_MAX: Duration = Duration::from_hours(1);

/// How often a `start` that waits for health is tried.
const WAIT_STEP: Duration = Duration::from_secs(1);

/// How long to wait.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wait {
    wait: Option<String>,
}

/// Carries out an order: adopt, advance, hold, maintenance, pause, promote, resume, rollback or start.
#[utoipa::path(
    post, path = "/api/v1/orders", tag = "order", security(("token" = [])),
    params(("wait" = Option<String>, Query,
        description = "For `start`: how long to wait for a healthy upstream, such as `5m`; at most `1h`")),
    request_body(
        content = OrderShape,
        description = "The order and, if you like, its reason",
        example = json!({"order": "rollback", "tier": "web", "reason": "checkout is slow"}),
    ),
    responses(
        (status = 200, description = "Done: the sentences that the journal keeps", body = Done),
        (status = 400, description = "Not understood", body = Trouble),
        (status = 401, description = "No token, or a wrong one", body = Trouble),
        (status = 403, description = "A viewer's token", body = Trouble),
        (status = 409, description = "Refused, with the way out", body = Trouble),
        (status = 413, description = "Larger than 64 KiB", body = Trouble),
        (status = 503, description = "The journal cannot be written, or the program stops", body = Trouble),
        (status = 504, description = "The journal's disk hangs", body = Trouble),
    )
)]
pub(super) async fn orders(
    State(admin): State<Arc<Admin>>,
    Extension(Asker(login)): Extension<Asker>,
    wait: Result<Query<Wait>, QueryRejection>,
    body: Body,
) -> Result<Json<Done>, Trouble> {
    let Query(Wait { wait }) = wait.map_err(bad_query)?;
    let wait = wait.as_deref().map_or(Ok(Duration::ZERO), |text| span("wait", text))?;
    let (order, because) = read(body).await?;
    let command = Command { order, by: login.name, because };
    let answer = give(&admin, command, wait).await?;
    Ok(Json(answer.into()))
}

/// An order. Weights are hundredths of a percent (`2500`) or text (`"25%"`).
#[derive(utoipa::ToSchema)]
#[expect(dead_code, reason = "describes what rollout::Order reads")]
pub(super) struct OrderShape {
    /// `adopt`, `advance`, `hold`, `maintenance`, `pause`, `promote`, `resume`, `rollback` or `start`.
    order: String,
    /// Where; without it all tiers with an open rollout, for `start` every tier that has the
    /// release, for `hold` and `maintenance` all. `adopt` needs it.
    tier: Option<String>,
    /// For `start` and `adopt`: which version.
    version: Option<String>,
    /// For `start`: where a release runs that the file does not list.
    upstreams: Option<Vec<String>>,
    /// For `start`: try a version again that was rolled back.
    again: Option<bool>,
    /// For `advance`: to this weight.
    to: Option<String>,
    /// For `rollback`: close upgraded connections at once.
    now: Option<bool>,
    /// For `rollback`: over which time users of an open rollout go back, such as `30s`, at most `1h`;
    /// without it as the file says.
    over: Option<String>,
    /// For `hold` and `maintenance`, which need it: whether it begins or ends.
    on: Option<bool>,
    /// For `hold` and `maintenance`: how long, in milliseconds or as text (`"30m"`).
    r#for: Option<String>,
    /// For `maintenance`: what users are told. At most 500 characters.
    message: Option<String>,
    /// For `maintenance`: close connections that are open beyond their request.
    close: Option<bool>,
    /// Why, in your words; the journal keeps it. At most 500 characters.
    reason: Option<String>,
}

/// Gives the order, and gives it again while only health is missing and there is time.
async fn give(admin: &Admin, command: Command, wait: Duration) -> Result<Answer, OrderError> {
    let begun = Instant::now();
    loop {
        let healthy = named_upstreams_healthy(&command.order).await;
        match admin.handle.order(command.clone(), healthy).await {
            Err(OrderError::Refused(Refusal::Unhealthy { .. })) if begun.elapsed() < wait => {
                tokio::time::sleep(WAIT_STEP).await;
            }
            outcome => return outcome,
        }
    }
}

/// Whether one of the addresses that a `start` names takes connections.
async fn named_upstreams_healthy(order: &Order) -> bool {
    let Order::Start { upstreams, .. } = order else {
        return false;
    };
    let mut probes = tokio::task::JoinSet::new();
    for address in upstreams.clone() {
        probes.spawn(async move {
            tokio::time::timeout(PROBE_MAX, connects(&address)).await.unwrap_or(false)
        });
    }
    while let Some(connected) = probes.join_next().await {
        if connected.unwrap_or(false) {
            return true;
        }
    }
    false
}

async fn connects(address: &Address) -> bool {
    match &address.spot {
        Spot::Name(host, port) => TcpStream::connect((host.as_str(), *port)).await.is_ok(),
        Spot::Socket(socket) => TcpStream::connect(socket).await.is_ok(),
        Spot::Unix(path) => UnixStream::connect(path).await.is_ok(),
    }
}

/// Reads the file again. An open rollout forbids some changes; a wrong file changes nothing.
#[utoipa::path(
    post, path = "/api/v1/reload", tag = "order", security(("token" = [])),
    responses(
        (status = 200, description = "The changes, like a diff", body = Done),
        (status = 400, description = "The file is wrong: every mistake", body = Trouble),
        (status = 401, description = "No token, or a wrong one", body = Trouble),
        (status = 403, description = "A viewer's token", body = Trouble),
        (status = 409, description = "An open rollout forbids it", body = Trouble),
        (status = 504, description = "The journal's disk hangs; it is taken over later", body = Trouble),
    )
)]
pub(super) async fn reload(
    State(admin): State<Arc<Admin>>,
    Extension(Asker(login)): Extension<Asker>,
) -> Result<Json<Done>, Trouble> {
    tracing::info!(by = %login.name, "reload ordered");
    match (admin.reload.0)().await {
        Ok(answer) => Ok(Json(answer.into())),
        Err(ReloadError::File(report)) => Err(Trouble::new(Kind::BadFile, report)),
        Err(error @ ReloadError::NoAnswer) => Err(Trouble::new(Kind::NoAnswer, error.to_string())),
        Err(ReloadError::Order(error)) => Err(error.into()),
    }
}

fn bad(error: impl Into<String>) -> Trouble {
    Trouble::new(Kind::BadRequest, error)
}

fn span(what: &str, text: &str) -> Result<Duration, Trouble> {
    let wrong = || bad(format!("{what} is {:?}; use 1s to 1h, such as 5m", cut(text)));
    let span: SignedDuration = text.parse().map_err(|_| wrong())?;
    let span = Duration::try_from(span).map_err(|_| wrong())?;
    if span > WAIT_MAX { Err(wrong()) } else { Ok(span) }
}

fn cut(text: &str) -> String {
    text.chars().take(40).collect()
}

/// The order of a request, and the reason for it.
/// A body, whole, if it is of a size and comes in time.
pub(super) async fn whole(body: Body) -> Result<Bytes, Trouble> {
    let too_large = format!("a body has at most {BODY_BYTES_MAX} bytes");
    let read = tokio::time::timeout(BODY_MAX, to_bytes(body, BODY_BYTES_MAX)).await;
    let read = read.map_err(|_| bad("the body took too long"))?;
    read.map_err(|_| Trouble::new(Kind::TooLarge, too_large))
}

async fn read(body: Body) -> Result<(Order, Option<String>), Trouble> {
    let bytes = whole(body).await?;
    let mut fields: Map<String, Value> = serde_json::from_slice(&bytes).map_err(|error| {
        bad(format!("the body is no order ({error}); send {{\"order\": \"rollback\"}}"))
    })?;
    let because = plain("reason", fields.remove("reason"))?;
    let message = plain("message", fields.remove("message"))?;
    if let Some(message) = message {
        fields.insert("message".into(), message.into());
    }
    if let Some(Value::String(text)) = fields.get("for") {
        let lasts = text.parse::<SignedDuration>().ok().and_then(|span| span.try_into().ok());
        let lasts: Duration = lasts
            .ok_or_else(|| bad(format!("for is {:?}; use a span such as 20s or 30m", cut(text))))?;
        let millis = u64::try_from(lasts.as_millis()).unwrap_or(u64::MAX);
        fields.insert("for".into(), millis.into());
    }
    if let Some(Value::String(to)) = fields.get("to") {
        let weight: Weight = to.parse().map_err(|error: WeightError| bad(error.to_string()))?;
        fields.insert("to".into(), weight.points().into());
    }
    if let Some(Value::String(text)) = fields.get("over") {
        let over = span("over", text)?.as_millis();
        fields.insert("over".into(), u64::try_from(over).unwrap_or(u64::MAX).into());
    }
    let order: Order =
        serde_json::from_value(Value::Object(fields)).map_err(|error| bad(error.to_string()))?;
    if let Order::Start { upstreams, .. } = &order
        && upstreams.len() > UPSTREAMS_MAX
    {
        return Err(bad(format!("{} upstreams; use at most {UPSTREAMS_MAX}", upstreams.len())));
    }
    Ok((order, because))
}

/// A reason and a message stand in the journal and on terminals: one line of plain text.
fn plain(what: &str, given: Option<Value>) -> Result<Option<String>, Trouble> {
    let text = match given {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::String(text)) => text.trim().to_owned(),
        Some(_) => return Err(bad(format!("{what} is text"))),
    };
    if text.chars().count() > REASON_CHARS_MAX {
        return Err(bad(format!("a {what} has at most {REASON_CHARS_MAX} characters")));
    }
    if text.chars().any(|c| c.is_control() || BIDI.contains(&c)) {
        return Err(bad(format!("a {what} is one line of plain text, without control characters")));
    }
    Ok(Some(text).filter(|text| !text.is_empty()))
}

/// Marks that make a line read differently from what it says.
const BIDI: [char; 11] = [
    '\u{200e}', '\u{200f}', '\u{202a}', '\u{202b}', '\u{202c}', '\u{202d}', '\u{202e}', '\u{2066}',
    '\u{2067}', '\u{2068}', '\u{2069}',
];

#[cfg(test)]
mod tests {
    use super::*;

    async fn parsed(body: &str) -> Result<(Order, Option<String>), String> {
        read(Body::from(body.to_owned())).await.map_err(|trouble| trouble.error)
    }

    #[tokio::test]
    async fn an_order_is_read_with_its_reason_and_a_weight_in_words() {
        let (order, because) =
            parsed(r#"{"order":"advance","to":"25%","reason":" busy "}"#).await.unwrap();
        assert_eq!(because.as_deref(), Some("busy"));
        let to = Some("25%".parse().unwrap());
        assert_eq!(order, Order::Advance { tier: None, to });
        let (order, _) = parsed(r#"{"order":"rollback","over":"30s"}"#).await.unwrap();
        let over = Some(Duration::from_secs(30));
        assert_eq!(order, Order::Rollback { tier: None, now: false, over, past_no_return: false });
    }

    #[tokio::test]
    async fn what_is_not_understood_is_refused_with_what_is_wrong() {
        let wrong = [
            ("", "no order"),
            ("[]", "no order"),
            (r#"{"order":"explode"}"#, "unknown variant"),
            (r#"{"order":"pause","teir":"web"}"#, "teir"),
            (r#"{"order":"advance","to":"25"}"#, "percentage"),
            (r#"{"order":"pause","reason":7}"#, "text"),
            (r#"{"order":"pause","reason":"a\nb"}"#, "one line"),
            (r#"{"order":"pause","reason":"a\u202eb"}"#, "one line"),
        ];
        for (body, part) in wrong {
            let error = parsed(body).await.unwrap_err();
            assert!(error.contains(part), "{body}: {error}");
        }
        let long = format!(r#"{{"order":"pause","reason":"{}"}}"#, "ä".repeat(501));
        assert!(parsed(&long).await.unwrap_err().contains("500"));
        assert!(parsed(&" ".repeat(BODY_BYTES_MAX + 1)).await.unwrap_err().contains("65536"));
    }

    #[test]
    fn a_wait_has_a_unit_and_an_end() {
        assert_eq!(span("wait", "5m").ok(), Some(Duration::from_mins(5)));
        for wrong in ["5", "-5m", "2h", ""] {
            assert!(span("wait", wrong).is_err(), "{wrong}");
        }
    }
}
