//! A reader of requests that takes nothing but what RFC 9112 has in its grammar: what is meant by
//! bytes, if they mean anything.

/// A request as it is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Meant {
    /// Its method.
    pub method: String,
    /// Its path and query.
    pub target: String,
    /// Its Host; one of HTTP/1.0 may have none.
    pub host: String,
    /// Its body, however it is framed.
    pub body: Vec<u8>,
    /// Whether its Host says something else than its target, which counts.
    pub is_overruled: bool,
}

/// How reading ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// With the last byte of a request.
    Clean,
    /// Within a request.
    Early,
    /// At bytes that are no request.
    Wrong(&'static str),
}

/// A part that is there, or how reading ended.
type Part<T> = Result<T, End>;

const fn wrong<T>(what: &'static str) -> Part<T> {
    Err(End::Wrong(what))
}

/// All requests that stand in `bytes` one behind the other, and how it ends with them.
pub fn read(mut bytes: &[u8]) -> (Vec<Meant>, End) {
    let mut requests = Vec::new();
    loop {
        // Empty lines may stand before a request (section 2.2).
        while let Some(rest) = bytes.strip_prefix(b"\r\n") {
            bytes = rest;
        }
        if bytes.is_empty() {
            return (requests, End::Clean);
        }
        match request(&mut bytes) {
            Ok(request) => requests.push(request),
            Err(end) => return (requests, end),
        }
    }
}

fn request(bytes: &mut &[u8]) -> Part<Meant> {
    let (method, target, old) = request_line(line(bytes)?)?;
    let (mut host, mut length, mut chunked) = (None, None, false);
    loop {
        let field = line(bytes)?;
        if field.is_empty() {
            break;
        }
        let (name, value) = parse_field(field)?;
        match name.as_str() {
            "host" if host.is_some() => return wrong("two Hosts"),
            "host" => host = Some(parse_host(value)?),
            "content-length" if chunked || length.is_some() => return wrong("framed twice"),
            "content-length" => length = Some(parse_length(value)?),
            "transfer-encoding" if chunked || length.is_some() || old => {
                return wrong("framed twice, or by an old version");
            }
            "transfer-encoding" if value.eq_ignore_ascii_case(b"chunked") => chunked = true,
            "transfer-encoding" => return wrong("a coding that nobody knows"),
            _ => {}
        }
    }
    if host.is_none() && !old {
        return wrong("no Host");
    }
    let said = host.unwrap_or_default();
    let (host, target) = place(&target, said.clone())?;
    let is_overruled = !said.is_empty() && said != host;
    let body = if chunked { chunks(bytes)? } else { take(bytes, length.unwrap_or(0))? };
    Ok(Meant { method, target, host, body, is_overruled })
}

/// A line without its end.
fn line<'a>(bytes: &mut &'a [u8]) -> Part<&'a [u8]> {
    let Some(feed) = bytes.iter().position(|byte| *byte == b'\n') else {
        return Err(End::Early);
    };
    let Some(line) = bytes[..feed].strip_suffix(b"\r") else {
        return wrong("a bare line feed");
    };
    *bytes = &bytes[feed + 1..];
    Ok(line)
}

fn take(bytes: &mut &[u8], length: usize) -> Part<Vec<u8>> {
    let (body, rest) = bytes.split_at_checked(length).ok_or(End::Early)?;
    *bytes = rest;
    Ok(body.to_vec())
}

fn request_line(line: &[u8]) -> Part<(String, String, bool)> {
    let parts: Vec<&[u8]> = line.split(|byte| *byte == b' ').collect();
    let [method, target, version] = parts[..] else {
        return wrong("not three words");
    };
    let old = match version {
        b"HTTP/1.1" => false,
        b"HTTP/1.0" => true,
        _ => return wrong("the version"),
    };
    if !is_token(method) {
        return wrong("the method");
    }
    if target.is_empty() || !target.iter().all(|byte| byte.is_ascii_graphic() && *byte != b'#') {
        return wrong("the target");
    }
    Ok((text(method), text(target), old))
}

fn is_token(name: &[u8]) -> bool {
    let is = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    !name.is_empty() && name.iter().all(is)
}

fn parse_field(line: &[u8]) -> Part<(String, &[u8])> {
    let Some(colon) = line.iter().position(|byte| *byte == b':') else {
        return wrong("a field without a colon");
    };
    let (name, mut value) = (&line[..colon], &line[colon + 1..]);
    if !is_token(name) {
        return wrong("a field's name");
    }
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    if !value.iter().all(|byte| *byte == b'\t' || *byte >= b' ' && *byte != 0x7f) {
        return wrong("a field's value");
    }
    Ok((text(name).to_ascii_lowercase(), value))
}

fn parse_host(value: &[u8]) -> Part<String> {
    let host = text(value);
    let in_name = |c: char| c.is_ascii_alphanumeric() || "-._~!$&'()*+,;=%".contains(c);
    let address = host.strip_prefix('[').and_then(|rest| rest.split_once(']'));
    let (is_known, port) = if let Some((address, port)) = address {
        (address.parse::<std::net::Ipv6Addr>().is_ok(), port)
    } else {
        let (name, port) = host.split_at(host.find(':').unwrap_or(host.len()));
        (!name.is_empty() && name.chars().all(in_name), port)
    };
    let is_port = |port: &str| port.chars().all(|c| c.is_ascii_digit());
    if !is_known || !(port.is_empty() || port.strip_prefix(':').is_some_and(is_port)) {
        return wrong("Host");
    }
    Ok(host)
}

fn parse_length(value: &[u8]) -> Part<usize> {
    let length = text(value).parse().ok().filter(|_| value.iter().all(u8::is_ascii_digit));
    length.ok_or(End::Wrong("Content-Length"))
}

/// Host, path and query; an absolute target has its own.
fn place(target: &str, host: String) -> Part<(String, String)> {
    if target.starts_with('/') || target == "*" {
        return Ok((host, target.to_owned()));
    }
    let Some((scheme, rest)) = target.split_once("://") else {
        return wrong("the target");
    };
    if !["http", "https"].iter().any(|known| scheme.eq_ignore_ascii_case(known)) {
        return wrong("the scheme");
    }
    let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    let slash = if path.starts_with('/') { "" } else { "/" };
    Ok((parse_host(authority.as_bytes())?, format!("{slash}{path}")))
}

fn chunks(bytes: &mut &[u8]) -> Part<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let line = line(bytes)?;
        let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
        let (digits, extension) = line.split_at(digits);
        let Ok(size) = usize::from_str_radix(&text(digits), 16) else {
            return wrong("a chunk's size");
        };
        // "Bad" white space may stand before an extension (RFC 9110, section 5.6.3).
        let behind = extension.trim_ascii_start();
        let controls = |byte: &u8| byte.is_ascii_control() && *byte != b'\t';
        if !matches!(behind, [] | [b';', ..]) || extension.iter().any(controls) {
            return wrong("behind a chunk's size");
        }
        if size == 0 {
            break;
        }
        body.extend(take(bytes, size)?);
        match bytes {
            [b'\r', b'\n', rest @ ..] => *bytes = rest,
            [] | [b'\r'] => return Err(End::Early),
            _ => return wrong("a chunk is longer than it says"),
        }
    }
    loop {
        match line(bytes)? {
            [] => return Ok(body),
            trailer => _ = parse_field(trailer)?,
        }
    }
}

/// Bytes that are ASCII where it matters.
fn text(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| char::from(*byte)).collect()
}

#[test]
fn the_reader_takes_what_the_grammar_has_and_nothing_else() {
    let whole =
        b"\r\nPOST http://a:1?b HTTP/1.1\r\nhost: c\r\nTransfer-Encoding: \tchunked\r\n\r\n\
                  5;a=b\r\nhello\r\n0\r\nx: y\r\n\r\nGET /a HTTP/1.0\r\n\r\n";
    let meant = |method: &str, target: &str, host: &str, body: &[u8]| Meant {
        method: method.to_owned(),
        target: target.to_owned(),
        host: host.to_owned(),
        body: body.to_vec(),
        is_overruled: method == "POST",
    };
    let expected = vec![meant("POST", "/?b", "a:1", b"hello"), meant("GET", "/a", "", b"")];
    assert_eq!(read(whole), (expected, End::Clean));
    for cut in 3..whole.len() {
        let (requests, end) = read(&whole[..cut]);
        assert!(end == End::Early || cut == whole.len() - 19, "{cut} {end:?} {requests:?}");
    }
    for wrong in [
        "GET / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\nhost: a\r\n\r\n",
        "GET /# HTTP/1.1\r\nhost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: a:b\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: a\r\nhost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: a\r\n b\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n1\r\nab\r\n",
    ] {
        assert!(matches!(read(wrong.as_bytes()).1, End::Wrong(_)), "{wrong:?}");
    }
}
