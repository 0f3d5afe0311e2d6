//! How answers are understood.

use std::net::{Ipv4Addr, SocketAddr};

use super::questions::Bad;
use crate::traffic::{Address, Listen, Spot, Version};

/// A version and where it runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Release {
    pub(super) version: Version,
    pub(super) upstreams: Vec<Address>,
}

pub(super) fn joined(addresses: &[Address]) -> String {
    addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

pub(super) fn port(address: &Address) -> Option<u16> {
    match &address.spot {
        Spot::Name(_, port) => Some(*port),
        Spot::Socket(socket) => Some(socket.port()),
        Spot::Unix(_) => None,
    }
}

/// One cannot connect to "any address".
pub(super) fn reachable(listening: SocketAddr) -> SocketAddr {
    let any = listening.ip().is_unspecified();
    if any { (Ipv4Addr::LOCALHOST, listening.port()).into() } else { listening }
}

/// `3000` and `:3000` are ports of this machine.
pub(super) fn with_host(text: &str) -> String {
    let port = text.strip_prefix(':').unwrap_or(text);
    if port.parse::<u16>().is_ok() { format!("127.0.0.1:{port}") } else { text.to_owned() }
}

pub(super) fn listen(answer: &str) -> Result<Listen, Bad> {
    if let Some(path) = answer.strip_prefix("unix:") {
        if path.starts_with('/') {
            return Ok(Listen::Unix(path.into()));
        }
        return Err(Bad::from("write the whole path: unix:/run/weir/web.sock"));
    }
    let socket: Result<SocketAddr, _> = with_host(answer).parse();
    let wrong = "write an IP address and a port, such as 127.0.0.1:8080, or unix:/run/web.sock";
    socket.map(Listen::Socket).map_err(|_| Bad::from(wrong))
}

/// `VERSION=ADDR,ADDR`, or the addresses only.
pub(super) fn release(answer: &str, usual: &Version, used: &[Address]) -> Result<Release, Bad> {
    let (version, addresses) = match answer.split_once('=') {
        Some((version, addresses)) => (version.parse()?, addresses),
        None => (usual.clone(), answer),
    };
    let mut upstreams = Vec::new();
    for address in addresses.split(',') {
        let address: Address = with_host(address.trim()).parse()?;
        if used.contains(&address) || upstreams.contains(&address) {
            return Err(Bad::from(format!("{address} is named already; it runs one version")));
        }
        upstreams.push(address);
    }
    Ok(Release { version, upstreams })
}

/// The last number of a version, one higher: what comes next if nobody says more.
pub(super) fn following(version: &Version) -> anyhow::Result<Version> {
    let text = version.as_str();
    let begin = text.rfind(|c: char| !c.is_ascii_digit()).map_or(0, |at| at + 1);
    let next = match text[begin..].parse::<u64>() {
        Ok(number) => format!("{}{}", &text[..begin], number.saturating_add(1)),
        Err(_) => format!("{text}-next"),
    };
    Ok(next.parse()?)
}

/// The value of `sticky`.
pub(super) fn sticky(answer: &str) -> Result<String, Bad> {
    let quoted = |kind: &str, name: &str| match name {
        "" => Err(Bad::from(format!("write {kind}:NAME"))),
        name => Ok(format!("{{ {kind} = {} }}", super::file::quoted(name))),
    };
    match answer.split_once(':') {
        Some(("cookie", name)) => quoted("cookie", name),
        Some(("header", name)) => quoted("header", name),
        None if ["cookie", "address", "none"].contains(&answer) => Ok(format!("\"{answer}\"")),
        _ => Err(Bad::from("use cookie, cookie:NAME, header:NAME, address or none")),
    }
}

/// Kind, address and name of a cache.
pub(super) fn cache(
    answer: &str,
    names: &[String],
) -> Result<Option<(&'static str, String, String)>, Bad> {
    if answer == "none" {
        return Ok(None);
    }
    let kind = match answer.split_once("://") {
        Some(("redis" | "rediss", _)) => "redis",
        Some(("memcached", _)) => "memcached",
        _ => return Err(Bad::from("write redis://HOST:PORT, memcached://HOST:PORT or none")),
    };
    if answer.contains(char::is_whitespace) {
        return Err(Bad::from("an address has no spaces"));
    }
    let base = if kind == "redis" { "pages" } else { "objects" };
    let is_free = |name: &String| !names.contains(name);
    let mut numbered = (2..).map(|number| format!("{base}{number}"));
    let name = Some(base.to_owned()).filter(is_free).or_else(|| numbered.find(is_free));
    Ok(Some((kind, answer.to_owned(), name.unwrap_or_default())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_understood_as_people_write_them() {
        let version: Version = "1.9".parse().unwrap();
        let read = |text: &str| {
            let found = release(text, &version, &["127.0.0.1:9".parse().unwrap()]).ok()?;
            Some(format!("{}={}", found.version, joined(&found.upstreams)))
        };
        assert_eq!(read("3000").as_deref(), Some("1.9=127.0.0.1:3000"));
        assert_eq!(read("2=:3000, app:80").as_deref(), Some("2=127.0.0.1:3000,app:80"));
        assert_eq!([read("9"), read("a b"), read("3000,3000")], [None, None, None]);
        let next = |text: &str| following(&text.parse().unwrap()).unwrap().to_string();
        assert_eq!([next("1.0.9"), next("v7"), next("blue")], ["1.0.10", "v8", "blue-next"]);
        assert_eq!(sticky("cookie:_uid").unwrap(), "{ cookie = \"_uid\" }");
        assert!(sticky("cookie:").is_err() && sticky("ip").is_err());
        let named = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(ToString::to_string).collect();
            cache("redis://h:1", &names).unwrap().unwrap().2
        };
        assert_eq!([named(&[]), named(&["pages"])], ["pages", "pages2"]);
        assert!(cache("http://h:1", &[]).is_err() && cache("none", &[]).unwrap().is_none());
        assert!(listen("unix:x").is_err() && listen("web").is_err());
        assert_eq!(listen("80").unwrap().to_string(), "127.0.0.1:80");
    }
}
