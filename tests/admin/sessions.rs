//! Logins of browsers.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use weir::admin::{Role, TokenFile};

use super::Api;
use super::client::{self, Client};
use crate::support::program::Program;

/// What our page says of itself.
const PAGE: &str = "host: localhost:7700\r\nx-weir-page: 1\r\norigin: http://localhost:7700\r\nsec-fetch-site: same-origin\r\n";

/// An order that is refused once it was let in: no rollout is open.
const ORDER: &str = r#"{"order":"rollback"}"#;

/// Logs in with `token`, and gives the answer.
fn log_in(api: &Api, token: &str, headers: &str) -> client::Answer {
    api.raw("POST /api/v1/session", headers, &json!({ "token": token }).to_string())
}

/// The line by which a browser sends back what `answer` set.
fn cookie(answer: &client::Answer) -> String {
    let line = answer.field("set-cookie").expect("a cookie");
    format!("cookie: theme=dark; {}\r\n", line.split(';').next().unwrap())
}

fn trouble(answer: &client::Answer) -> Value {
    serde_json::from_slice(&answer.body).unwrap()
}

#[test]
fn a_browser_logs_in_and_gives_orders_from_our_page_alone() {
    let api = Api::start();
    let token = api.token("operator");
    let answer = log_in(&api, &token, PAGE);
    assert_eq!(answer.status, 200, "{}", answer.text());
    let who: Value = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!(who, json!({"name": "operator", "role": "operator"}));
    let line = answer.field("set-cookie").unwrap();
    assert!(line.starts_with("weir_session_7700=weir_"), "{line}");
    assert!(line.ends_with("; Path=/api/v1; HttpOnly; SameSite=Strict"), "{line}");
    assert!(!line.contains(&token), "the cookie holds the token itself");

    let cookie = cookie(&answer);
    let whoami = api.raw("GET /api/v1/whoami", &format!("host: localhost\r\n{cookie}"), "");
    assert_eq!(serde_json::from_slice::<Value>(&whoami.body).unwrap(), who);
    let order =
        |headers: &str| api.raw("POST /api/v1/orders", &format!("{headers}{cookie}"), ORDER).status;
    // 409: let in, and then refused.
    assert_eq!(order(PAGE), 409);
    assert_eq!(order("host: localhost:7700\r\nx-weir-page: 1\r\n"), 409);
    let elsewhere = [
        "host: localhost:7700\r\n",
        "host: localhost:7700\r\norigin: http://localhost:7700\r\n",
        "host: localhost:7700\r\nx-weir-page: 1\r\norigin: http://evil.example\r\n",
        // The app on the same host is another origin.
        "host: localhost:7700\r\nx-weir-page: 1\r\norigin: http://localhost:8080\r\n",
        "host: localhost:7700\r\nx-weir-page: 1\r\norigin: null\r\n",
        "host: localhost:7700\r\nx-weir-page: 1\r\nsec-fetch-site: cross-site\r\n",
        "host: localhost:7700\r\nx-weir-page: 1\r\nsec-fetch-site: same-site\r\n",
    ];
    for headers in elsewhere {
        assert_eq!(order(headers), 403, "{headers}");
        assert_eq!(log_in(&api, &token, headers).status, 403, "a login from elsewhere: {headers}");
    }
    // A browser asks before it lets a stranger's page send the header: it gets no leave.
    let asks = "host: localhost:7700\r\norigin: http://evil.example\r\n\
                access-control-request-method: POST\r\naccess-control-request-headers: x-weir-page\r\n";
    let leave = api.raw("OPTIONS /api/v1/orders", asks, "");
    assert_eq!(leave.status, 405);
    assert_eq!(leave.field("access-control-allow-origin"), None);
    // A wrong token beside the cookie counts, and not the cookie.
    let both = format!("{PAGE}authorization: Bearer weir_12\r\n");
    assert_eq!(order(&both), 401);
}

#[test]
fn a_viewer_in_a_browser_only_looks() {
    let outside = Api::start_at("203.0.113.7:7700", &[]);
    assert_eq!(outside.get("/api/v1/status").status, 401);
    let cookie = cookie(&log_in(&outside, &outside.token("viewer"), PAGE));
    let ask = |line: &str, body: &str| outside.raw(line, &format!("{PAGE}{cookie}"), body);
    assert_eq!(ask("GET /api/v1/status", "").status, 200);
    assert_eq!(ask("GET /api/v1/history", "").status, 200);
    let refused = ask("POST /api/v1/orders", ORDER);
    assert_eq!(refused.status, 403);
    assert!(trouble(&refused)["error"].as_str().unwrap().contains("viewer's token"));
}

#[test]
fn a_session_ends_by_logout_by_a_new_login_and_with_its_token() {
    let api = Api::start();
    let who = |cookie: &str| {
        api.raw("GET /api/v1/whoami", &format!("host: localhost\r\n{cookie}"), "").status
    };
    let token = api.token("operator");
    let first = cookie(&log_in(&api, &token, PAGE));
    let second = cookie(&log_in(&api, &token, &format!("{PAGE}{first}")));
    assert_eq!((who(&first), who(&second)), (401, 200), "the new login ends the one before");

    let forged = api.raw("DELETE /api/v1/session", &format!("host: localhost\r\n{second}"), "");
    assert_eq!((forged.status, who(&second)), (403, 200));
    let out = api.raw("DELETE /api/v1/session", &format!("{PAGE}{second}"), "");
    assert_eq!((out.status, who(&second)), (204, 401));
    assert!(out.field("set-cookie").unwrap().contains("weir_session_7700=; "), "{}", out.head);
    assert!(out.field("set-cookie").unwrap().contains("Max-Age=0"), "{}", out.head);

    let file = TokenFile::new(api.folder.path().join("weir.tokens"));
    let secret = file.add("night-shift", Role::Operator).unwrap();
    let third = cookie(&log_in(&api, secret.reveal(), PAGE));
    assert_eq!(who(&third), 200);
    file.revoke("night-shift").unwrap();
    assert_eq!(who(&third), 401);
    let over = api.raw("POST /api/v1/orders", &format!("{PAGE}{third}"), ORDER);
    assert_eq!(over.status, 401);
    assert!(trouble(&over)["error"].as_str().unwrap().contains("log in again"));
    // On loopback who has no session may look, so who had one may, too.
    let look = api.raw("GET /api/v1/status", &format!("host: localhost\r\n{third}"), "");
    assert_eq!(look.status, 200);
}

#[test]
fn behind_a_proxy_with_tls_the_cookie_is_for_tls_alone() {
    let api = Api::start();
    let token = api.token("operator");
    for headers in [
        "host: weir.example.com\r\nx-weir-page: 1\r\norigin: https://weir.example.com\r\n",
        // A proxy that does not pass the Host on.
        "host: 127.0.0.1:7700\r\nx-weir-page: 1\r\norigin: https://weir.example.com\r\n",
        "host: weir.example.com\r\nx-weir-page: 1\r\nx-forwarded-proto: https\r\n",
    ] {
        let answer = log_in(&api, &token, headers);
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert!(answer.field("set-cookie").unwrap().ends_with("; Secure"), "{}", answer.head);
        let order = format!("{headers}{}", cookie(&answer));
        assert_eq!(api.raw("POST /api/v1/orders", &order, ORDER).status, 409, "{headers}");
    }
}

#[test]
fn who_looks_through_a_proxy_logs_in() {
    let api = Api::start();
    let through = "host: weir.example.com\r\nx-forwarded-for: 203.0.113.9\r\n";
    for path in ["/api/v1/status", "/api/v1/history", "/api/v1/stream", "/metrics"] {
        assert_eq!(api.raw(&format!("GET {path}"), through, "").status, 401, "{path}");
    }
    let headers = format!("{through}x-weir-page: 1\r\n");
    let cookie = cookie(&log_in(&api, &api.token("viewer"), &headers));
    let look = api.raw("GET /api/v1/status", &format!("{through}{cookie}"), "");
    assert_eq!(look.status, 200, "{}", look.text());
    assert_eq!(api.raw("GET /", through, "").status, 200, "the page itself asks for the token");
}

#[test]
fn wrong_tokens_are_refused_and_limited_and_right_ones_never() {
    let api = Api::start();
    let stranger = format!("weir_{}", "0".repeat(64));
    let statuses: Vec<u16> = (0..25).map(|_| log_in(&api, &stranger, PAGE).status).collect();
    assert_eq!((statuses[0], statuses[24]), (401, 429), "{statuses:?}");
    assert_eq!(log_in(&api, &api.token("operator"), PAGE).status, 200);
    for body in ["", "weir_12", r#""weir_12""#, r#"{"token": 12}"#, r#"{"token":"a","b":1}"#] {
        let answer = api.raw("POST /api/v1/session", PAGE, body);
        assert_eq!(answer.status, 400, "{body}");
        assert!(!answer.text().contains("weir_12"), "{}", answer.text());
    }
}

#[test]
fn no_token_and_no_cookie_is_in_the_log() {
    let file = "[admin]\nlisten = \"ADMIN\"\n[state]\npath = \"weir.db\"\n[[tier]]\nname = \"web\"\n\
                listen = \"127.0.0.1:0\"\nstable = \"1.0.0\"\n\
                releases = [{ version = \"1.0.0\", upstreams = [\"127.0.0.1:1\"] }]\n";
    let program = Program::start_with(file, &[], &[("WEIR_LOG", "trace")]);
    let read = |name: &str| std::fs::read_to_string(program.directory().join(name)).unwrap();
    let token = read("operator.token").trim().to_owned();
    let wrong = format!("weir_{}", "5".repeat(64));
    let admin = program.admin();
    let ask = |line: &str, headers: &str, body: &str| {
        let mut client = Client::to(admin);
        let (page, length) = ("x-weir-page: 1\r\nconnection: close\r\n", body.len());
        client.send(&format!(
            "{line} HTTP/1.1\r\nhost: {admin}\r\n{page}{headers}content-length: {length}\r\n\r\n{body}"
        ));
        client.answer("POST").expect("an answer")
    };
    let body = |token: &str| json!({ "token": token }).to_string();
    assert_eq!(ask("POST /api/v1/session", "", &body(&wrong)).status, 401);
    let answer = ask("POST /api/v1/session", "", &body(&token));
    assert_eq!(answer.status, 200, "{}", answer.text());
    let cookie = cookie(&answer);
    assert_eq!(ask("POST /api/v1/orders", &cookie, ORDER).status, 409);
    let begun = Instant::now();
    while !program.log().contains("a browser has logged in") {
        assert!(begun.elapsed() < Duration::from_mins(2), "{}", program.log());
        std::thread::sleep(Duration::from_millis(50));
    }
    let log = program.log();
    let key = cookie.trim().rsplit_once('=').unwrap().1.to_owned();
    for secret in [&token, &wrong, &key] {
        let digits = secret.strip_prefix("weir_").unwrap();
        assert!(!log.contains(digits), "a secret is in the log");
    }
}
