//! What the world's own clients see: curl, nghttp and h2load.

use std::process::{Command, Stdio};

use crate::proxy::Site;

/// Whether there is time for other programs.
fn is_quick() -> bool {
    std::env::var_os("WEIR_QUICK").is_some()
}

/// What `program` prints.
fn output(program: &str, arguments: &[&str]) -> String {
    // Debian: curl, nghttp2-client.
    let mut command = Command::new("timeout");
    command.args(["180", program]).args(arguments).stdin(Stdio::null());
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program}: {} {error} {text}", output.status);
    text
}

#[test]
fn curl_is_served() {
    if is_quick() {
        return;
    }
    let site = Site::new(0);
    let url = format!("http://{}", site.address);
    let curl = |path: &str, more: &[&str]| {
        let url = format!("{url}{path}");
        let common = ["-sS", "--http2-prior-knowledge", "-w", " %{http_version} %{http_code}"];
        output("curl", &[&common[..], more, &[&url]].concat())
    };
    assert_eq!(curl("/chunked", &[]), "hello world 2 200");
    assert_eq!(curl("/empty", &[]), " 2 204");
    assert_eq!(curl("/sink", &["-d", "hello"]), "5  2 200");
    let large = "x".repeat(100_000);
    assert_eq!(curl("/sink", &["-d", &large, "-H", "content-type: text/plain"]), "100000  2 200");
    assert!(curl("/", &["-I"]).contains("HTTP/2 200"));
    let both = curl("/path", &["-b", "a=1; b=2", "-H", "host: app"]);
    assert!(both.contains("cookie: a=1; b=2") && both.contains("host: app"), "{both}");
    // By the Upgrade of HTTP/1.1, which HTTP/2 has given up (RFC 9113, section 3.1): refused, and
    // answered as it was asked.
    let upgraded =
        output("curl", &["-sS", "--http2", "-w", " %{http_version}", &format!("{url}/chunked")]);
    assert_eq!(upgraded, "hello world 1.1");
}

#[test]
fn nghttp_is_served() {
    if is_quick() {
        return;
    }
    let site = Site::new(0);
    let url = |path: &str| format!("http://{}{path}", site.address);
    assert_eq!(output("nghttp", &[&url("/chunked")]), "hello world");
    let verbose = output("nghttp", &["-nv", "-H", "te: trailers", &url("/trailers")]);
    assert!(verbose.contains("x-sum: 42"), "{verbose}");
    // Many streams at once, and windows that fill.
    let all = vec![url("/big?300000"); 30];
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    let arguments = [&["-n", "-s", "-m", "1", "-w", "14", "-W", "14"], &all[..]].concat();
    output("nghttp", &arguments);
    let bytes = site.stable.state.body_bytes.load(std::sync::atomic::Ordering::SeqCst);
    assert!(bytes >= 300_000, "{bytes}");
}

#[test]
fn h2load_loses_nothing() {
    if is_quick() {
        return;
    }
    let site = Site::new(50);
    let url = format!("http://{}/", site.address);
    let text = output("h2load", &["-n", "4000", "-c", "8", "-m", "50", &url]);
    assert!(text.contains("4000 succeeded, 0 failed, 0 errored, 0 timeout"), "{text}");
    assert_eq!(site.counts()[0].0 + site.counts()[1].0, 4000);
    assert_eq!(site.counts()[0].1 + site.counts()[1].1, 0);
}
