//! Questions to a Prometheus, or to what answers like one: `/api/v1/query`.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;
use tokio::fs;

use super::growth::{Growth, Reset};
use super::page::{Client, Question, encoded};
use super::{Asker, Endpoint, Figure, Token, VERSION};
use crate::analysis::Tally;
use crate::traffic::Version;

/// Bytes of a token; longer ones are no tokens.
const TOKEN_BYTES_MAX: usize = 16 << 10;

/// Asks for ever.
pub(super) async fn ask(
    asker: Asker,
    endpoint: Endpoint,
    token: Option<Token>,
    figure: Figure<String>,
) {
    let mut ticks = asker.ticks();
    let mut counters: BTreeMap<Version, [Growth; 2]> = BTreeMap::new();
    loop {
        ticks.tick().await;
        let wanted = asker.ledger().wanted(&asker.signal.tier, &asker.signal.name);
        counters.retain(|version, _| wanted.iter().any(|wanted| wanted.version == *version));
        let token = read(token.as_ref()).await;
        for version in wanted.into_iter().map(|wanted| wanted.version) {
            let told = match &token {
                Ok(token) => {
                    let server = Server {
                        client: &asker.client,
                        endpoint: &endpoint,
                        token: token.as_deref(),
                    };
                    answer(&server, &figure, &version).await
                }
                Err(why) => Err(why.clone()),
            };
            match told {
                Ok(Figure::Number(value)) => {
                    let (tier, name) = (&asker.signal.tier, &asker.signal.name);
                    asker.ledger().number(tier, name, &version, value);
                }
                Ok(Figure::Counts { total, bad }) => {
                    let growth = counters.entry(version.clone()).or_default();
                    let [total, bad] = [
                        growth[0].until(total, Reset::Unknown),
                        growth[1].until(bad, Reset::Unknown),
                    ];
                    let (tier, name) = (&asker.signal.tier, &asker.signal.name);
                    asker.ledger().count(tier, name, &version, Tally { total, bad });
                }
                Err(why) => asker.trouble(&version, &why),
            }
        }
    }
}

/// The token, if one is asked for. Why there is none is told, and never what it is.
async fn read(token: Option<&Token>) -> Result<Option<String>, String> {
    let text = match token {
        None => return Ok(None),
        Some(Token::Environment(name)) => std::env::var(name)
            .map_err(|_| format!("the environment has no {name}, which holds the token"))?,
        Some(Token::File(path)) => fs::read_to_string(path)
            .await
            .map_err(|error| format!("the token at {} cannot be read: {error}", path.display()))?,
    };
    let text = text.trim();
    if text.is_empty() || text.len() > TOKEN_BYTES_MAX {
        return Err("the token is empty, or too long to be one".to_owned());
    }
    Ok(Some(text.to_owned()))
}

struct Server<'a> {
    client: &'a Client,
    endpoint: &'a Endpoint,
    token: Option<&'a str>,
}

/// What the server says of `version`.
async fn answer(
    server: &Server<'_>,
    figure: &Figure<String>,
    version: &Version,
) -> Result<Figure<f64>, String> {
    match figure {
        Figure::Number(query) => Ok(Figure::Number(number(server, query, version).await?)),
        Figure::Counts { total, bad } => {
            // The bad ones first: what comes between the two questions is then no failure too many.
            let bad = number(server, bad, version).await?;
            let total = number(server, total, version).await?;
            Ok(Figure::Counts { total, bad })
        }
    }
}

async fn number(server: &Server<'_>, query: &str, version: &Version) -> Result<f64, String> {
    let query = query.replace(VERSION, version.as_str());
    let question = Question {
        endpoint: server.endpoint,
        path: "/api/v1/query",
        form: Some(format!("query={}", encoded(&query))),
        token: server.token,
    };
    let body = server.client.ask(question).await.map_err(|error| error.to_string())?;
    value(&body).map_err(|why| format!("{}: {why}", server.endpoint))
}

#[derive(Deserialize)]
struct Answer {
    status: String,
    data: Option<Data>,
    error: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Data {
    result_type: String,
    result: Value,
}

/// The one number of an answer.
fn value(body: &str) -> Result<f64, String> {
    let answer: Answer =
        serde_json::from_str(body).map_err(|_| "this is no answer of a Prometheus".to_owned())?;
    if answer.status != "success" {
        return Err(answer.error.unwrap_or(answer.status));
    }
    let Data { result_type, result } = answer.data.ok_or("the answer is empty")?;
    let pair = match result_type.as_str() {
        "scalar" => &result,
        "vector" => {
            let series = result.as_array().ok_or("the answer is no list")?;
            match series.as_slice() {
                [] => return Err("the query has no result".to_owned()),
                [one] => one.get("value").ok_or("a result has no value")?,
                many => {
                    return Err(format!(
                        "the query has {} results; write sum(...) around it",
                        many.len()
                    ));
                }
            }
        }
        other => return Err(format!("the query gives a {other}; ask for one number")),
    };
    let text = pair.get(1).and_then(Value::as_str).ok_or("a result has no value")?;
    let value: f64 = text.parse().map_err(|_| format!("{text:?} is no number"))?;
    if value.is_finite() { Ok(value) } else { Err(format!("the query gives {text}")) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(kind: &str, result: &str) -> Result<f64, String> {
        value(&format!(
            r#"{{"status":"success","data":{{"resultType":"{kind}","result":{result}}}}}"#
        ))
    }

    #[test]
    fn one_number_is_an_answer_and_nothing_else_is() {
        assert_eq!(of("scalar", r#"[1.5,"3"]"#), Ok(3.0));
        assert_eq!(of("vector", r#"[{"metric":{},"value":[1.5,"0.25"]}]"#), Ok(0.25));
        let cases = [
            (of("vector", "[]"), "the query has no result"),
            (of("vector", "[{},{}]"), "the query has 2 results; write sum(...) around it"),
            (of("vector", "[{}]"), "a result has no value"),
            (of("matrix", "[]"), "the query gives a matrix; ask for one number"),
            (of("scalar", r#"[1,"NaN"]"#), "the query gives NaN"),
            (of("scalar", r#"[1,"+Inf"]"#), "the query gives +Inf"),
            (of("scalar", r#"[1,"x"]"#), "\"x\" is no number"),
            (value("<html>"), "this is no answer of a Prometheus"),
            (value(r#"{"status":"success"}"#), "the answer is empty"),
            (value(r#"{"status":"error","error":"parse error"}"#), "parse error"),
        ];
        for (found, expected) in cases {
            assert_eq!(found, Err(expected.to_owned()));
        }
    }

    proptest! {
        #[test]
        fn no_answer_breaks_anything(text in ".{0,80}", kind in "scalar|vector|.{0,5}") {
            let _ = (value(&text), of(&kind, &text), of(&kind, &format!("[{text:?}]")));
        }
    }
}
