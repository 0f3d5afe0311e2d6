//! The notations of the file: durations, sizes, shares, points. Each is read and printed here.

use std::net::SocketAddr;
use std::time::Duration;

use jiff::SignedDuration;

use crate::traffic::{Address, Listen, Scheme, Spot};

/// What is wrong with a value, and what is allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mistake {
    pub(super) message: String,
    pub(super) help: String,
}

impl Mistake {
    pub(super) fn new(message: impl Into<String>, help: impl Into<String>) -> Self {
        Self { message: message.into(), help: help.into() }
    }
}

/// Text as messages show it: quoted, escaped, and not longer than a line takes.
pub(super) fn quoted(text: &str) -> String {
    let short: String = text.chars().take(60).collect();
    if short.len() < text.len() { format!("{short:?}...") } else { format!("{short:?}") }
}

/// `500ms`, `2s`, `1m30s`, `24h`.
pub(super) fn duration(text: &str) -> Result<Duration, Mistake> {
    let help = "write a number with its unit: \"500ms\", \"2s\", \"1m30s\" or \"24h\"";
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
        let help = format!(
            "write {:?} for seconds; \"500ms\", \"1m30s\" and \"24h\" are allowed too",
            format!("{text}s")
        );
        return Err(Mistake::new(format!("{} has no unit", quoted(text)), help));
    }
    let wrong = || Mistake::new(format!("{} is no duration", quoted(text)), help);
    if let Some(days) =
        text.trim_end().strip_suffix('d').and_then(|days| days.trim_end().parse::<u64>().ok())
    {
        // A day of 24 hours: nothing here depends on the calendar.
        return days.checked_mul(86_400).map(Duration::from_secs).ok_or_else(wrong);
    }
    let signed: SignedDuration = text.parse().map_err(|_| wrong())?;
    Duration::try_from(signed)
        .map_err(|_| Mistake::new(format!("{} lies in the past", quoted(text)), help))
}

/// The shortest way to write a duration: `1m30s`.
pub(super) fn duration_text(span: Duration) -> String {
    let (mut text, mut rest) = (String::new(), span);
    for (unit, nanos) in [
        ("h", 3_600_000_000_000_u128),
        ("m", 60_000_000_000),
        ("s", 1_000_000_000),
        ("ms", 1_000_000),
    ] {
        let count = rest.as_nanos() / nanos;
        if count > 0 {
            text = format!("{text}{count}{unit}");
            rest -= Duration::from_nanos(u64::try_from(count * nanos).unwrap_or(u64::MAX));
        }
    }
    match (text.is_empty(), rest.as_nanos()) {
        (true, 0) => "0s".to_owned(),
        (false, 0) => text,
        (_, nanos) => format!("{text}{nanos}ns"),
    }
}

/// `512B`, `64KiB`, `10MB`, `1GiB`.
pub(super) fn size(text: &str) -> Result<u64, Mistake> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let help = "write a whole number with its unit: \"512B\", \"64KiB\", \"10MB\" or \"1GiB\"";
    let wrong = || Mistake::new(format!("{} is no size", quoted(text)), help);
    let scale: u64 = match unit.trim_start() {
        "" if digits > 0 => {
            return Err(Mistake::new(format!("{} has no unit", quoted(text)), help));
        }
        "B" => 1,
        "kB" | "KB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return Err(wrong()),
    };
    number.parse::<u64>().ok().and_then(|number| number.checked_mul(scale)).ok_or_else(wrong)
}

/// The shortest way to write a size without loss: `64KiB`.
pub(super) fn size_text(bytes: u64) -> String {
    let units = [
        ("GiB", 1 << 30),
        ("MiB", 1 << 20),
        ("KiB", 1 << 10),
        ("GB", 1_000_000_000),
        ("MB", 1_000_000),
    ];
    match units.iter().find(|(_, scale)| bytes > 0 && bytes.is_multiple_of(*scale)) {
        Some((unit, scale)) => format!("{}{unit}", bytes / scale),
        None => format!("{bytes}B"),
    }
}

/// A probability: `1%` is 0.01.
pub(super) fn share(text: &str) -> Result<f64, Mistake> {
    let help = "write a share with %, such as \"1%\" or \"0.5%\"";
    match text.trim_end().strip_suffix('%').map(decimal) {
        Some(Some(percent)) => Ok(percent / 100.0),
        _ if text.trim_end().ends_with("pp") => Err(Mistake::new(
            format!("{} is a difference, and a share is wanted here", quoted(text)),
            format!("{help}; pp is for differences"),
        )),
        _ => Err(Mistake::new(format!("{} is no share", quoted(text)), help)),
    }
}

/// A difference of two shares in percentage points: `0.5pp` is 0.005.
pub(super) fn points(text: &str) -> Result<f64, Mistake> {
    let help = "write a difference in percentage points, such as \"0.5pp\"";
    match text.trim_end().strip_suffix("pp").map(decimal) {
        Some(Some(points)) => Ok(points / 100.0),
        _ if text.trim_end().ends_with('%') => Err(Mistake::new(
            format!("{} is a share, and a difference is wanted here", quoted(text)),
            format!("{help}; % is for shares"),
        )),
        _ => Err(Mistake::new(format!("{} is no difference", quoted(text)), help)),
    }
}

/// A plain decimal number; no sign, no exponent, nothing that is not a number.
fn decimal(text: &str) -> Option<f64> {
    let text = text.trim_end();
    let plain = text.len() <= 16 && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    if plain && text.starts_with(|c: char| c.is_ascii_digit()) { text.parse().ok() } else { None }
}

/// A share or a difference as it is written, without its unit: 0.005 is `0.5`.
pub(super) fn hundredfold(share: f64) -> String {
    let text = format!("{:.8}", share * 100.0);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Where a tier listens: an IP address and a port, or a Unix socket.
pub(super) fn listen(text: &str) -> Result<Listen, Mistake> {
    if !text.starts_with("unix:") {
        return socket(text).map(Listen::Socket);
    }
    if let Ok(Address { scheme: Scheme::Http, spot: Spot::Unix(path) }) = text.parse() {
        return Ok(Listen::Unix(path));
    }
    let help = "write an absolute path of at most 107 bytes: \"unix:/run/weir/web.sock\"";
    Err(Mistake::new(format!("{} is no socket", quoted(text)), help))
}

/// Where to listen: an IP address and a port.
pub(super) fn socket(text: &str) -> Result<SocketAddr, Mistake> {
    let help = "write an IP address and a port: \"127.0.0.1:8080\", \"0.0.0.0:80\" or \"[::]:80\"";
    let port = |prefix: &str| text.strip_prefix(prefix).and_then(|port| port.parse::<u16>().ok());
    if let Ok(socket) = text.parse() {
        return Ok(socket);
    }
    let help = match (port(":"), port("localhost:"), port("*:")) {
        (Some(port), ..) | (_, _, Some(port)) => {
            format!(
                "write \"0.0.0.0:{port}\" for all addresses, \"127.0.0.1:{port}\" for this machine"
            )
        }
        (_, Some(port), _) => format!("write \"127.0.0.1:{port}\" or \"[::1]:{port}\""),
        _ => help.to_owned(),
    };
    Err(Mistake::new(format!("{} is no address to listen on", quoted(text)), help))
}

/// Where an upstream listens, and what is spoken there.
pub(super) fn upstream(text: &str) -> Result<Address, Mistake> {
    let mistake =
        |what: &str, help: String| Mistake::new(format!("{} is no {what}", quoted(text)), help);
    let (scheme, spot) = match text.split_once("://") {
        None => ("", text),
        Some((scheme, spot)) => (scheme, spot.trim_end_matches('/')),
    };
    let before = if scheme.is_empty() { String::new() } else { format!("{scheme}://") };
    if !["", "h2c", "http", "https"].contains(&scheme) {
        let help = match scheme {
            "h2" | "grpc" => {
                format!("write h2c:// without TLS, https:// with it: \"h2c://{spot}\"")
            }
            "grpcs" | "tls" => format!("write \"https://{spot}\""),
            _ => "write http://, h2c:// (HTTP/2 without TLS), https://, or nothing".to_owned(),
        };
        return Err(mistake("scheme that upstreams have", help));
    }
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    // As in the address bar.
    if scheme == "https"
        && let Ok(address) = format!("https://{spot}:443").parse()
    {
        return Ok(address);
    }
    if let Some(path) = spot.strip_prefix("unix:") {
        let help = match path {
            _ if !path.starts_with('/') => {
                "the path of a socket is absolute: \"unix:/run/app.sock\""
            }
            _ => "the path of a socket has at most 107 bytes",
        };
        return Err(mistake("socket", help.to_owned()));
    }
    let port = if scheme == "https" { 443 } else { 3000 };
    let is_address = |text: &str| text.parse::<Address>().is_ok();
    let host = spot.split('/').next().unwrap_or_default();
    let help = if is_address(&format!("{spot}:{port}")) {
        format!("a port is missing: \"{before}{spot}:{port}\"")
    } else if host.len() < spot.len() && is_address(host) {
        format!("an upstream has no path: \"{before}{host}\"")
    } else {
        "write \"host:port\", \"127.0.0.1:3000\", \"[::1]:3000\" or \"unix:/run/app.sock\""
            .to_owned()
    };
    Err(mistake("address", help))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_need_their_unit() {
        let millis = |text: &str| duration(text).map(|span| span.as_millis());
        assert_eq!(millis("500ms"), Ok(500));
        assert_eq!(millis("1m30s"), Ok(90_000));
        assert_eq!(millis("7d"), Ok(604_800_000));
        let error = duration("30").unwrap_err();
        assert_eq!(error.message, "\"30\" has no unit");
        assert!(error.help.starts_with("write \"30s\" for seconds"), "{}", error.help);
        for wrong in ["", "s", "-5s", "5s ago", "1w", "99999999999999999999d", "5 bananas"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_is_printed_reads_back() {
        for text in ["500ms", "2s", "1m30s", "24h", "0s", "1h1ms"] {
            assert_eq!(duration_text(duration(text).unwrap()), text);
        }
        for text in ["64KiB", "1MiB", "10MB", "512B", "0B", "2GiB"] {
            assert_eq!(size_text(size(text).unwrap()), text);
        }
        for text in ["0.5", "1", "0.05", "33.3", "0"] {
            assert_eq!(hundredfold(share(&format!("{text}%")).unwrap()), text);
        }
        assert!(!duration_text(Duration::MAX).is_empty());
    }

    #[test]
    fn shares_and_differences_are_not_mixed_up() {
        assert!((points("0.5pp").unwrap() - 0.005).abs() < 1e-12);
        assert_eq!(
            points("0.5%").unwrap_err().message,
            "\"0.5%\" is a share, and a difference is wanted here"
        );
        assert_eq!(
            share("1pp").unwrap_err().message,
            "\"1pp\" is a difference, and a share is wanted here"
        );
        for wrong in ["", "%", "1", "-1%", "1e3%", "nan%", "inf%", "1..2%", "0x1%"] {
            assert!(share(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn sizes_need_their_unit() {
        assert_eq!(size("64 KiB"), Ok(65_536));
        for wrong in ["", "64", "KiB", "1.5MiB", "99999999999GiB", "-1B"] {
            assert!(size(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn addresses_are_refused_with_the_way_out() {
        let help = |text: &str| upstream(text).unwrap_err().help;
        assert_eq!(upstream("http://127.0.0.1:3000/").unwrap().to_string(), "127.0.0.1:3000");
        assert_eq!(help("app"), "a port is missing: \"app:3000\"");
        assert_eq!(help("h2c://app:80/v1"), "an upstream has no path: \"h2c://app:80\"");
        assert_eq!(
            help("grpc://app:80"),
            "write h2c:// without TLS, https:// with it: \"h2c://app:80\""
        );
        assert_eq!(
            help("unix:app.sock"),
            "the path of a socket is absolute: \"unix:/run/app.sock\""
        );
        assert_eq!(
            socket("localhost:80").unwrap_err().help,
            "write \"127.0.0.1:80\" or \"[::1]:80\""
        );
    }
}
