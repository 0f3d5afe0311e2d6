//! SMTP (RFC 5321) as far as handing over one message needs it. The crates that speak it bring thirty
//! others along, among them tables of Unicode; this is a conversation of ten lines.

use std::net::IpAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};

use super::Trouble;
use super::settings::{Encryption, Mail};
use super::wire::{self, Stream};
use crate::tls::Keyring;

/// Longest line of a reply, in bytes; RFC 5321 allows 512.
const LINE_BYTES_MAX: u64 = 4_096;

/// Lines of a reply.
const LINES_MAX: usize = 100;

/// Characters of a reply that an error shows.
const SHOWN_CHARS_MAX: usize = 160;

/// A message as it is handed over.
pub(super) struct Message {
    /// Its lines, each ending in CRLF.
    pub(super) text: String,
}

/// A conversation with a server.
struct Talk {
    stream: BufReader<Box<dyn Stream>>,
    /// How Weir introduces itself: as its address, which needs no name.
    name: String,
    host: String,
    extensions: Vec<String>,
}

struct Reply {
    code: u16,
    lines: Vec<String>,
}

/// Hands `message` over to the server of `mail`.
pub(super) async fn hand_over(
    mail: &Mail,
    message: &Message,
    keyring: &Keyring,
) -> Result<(), Trouble> {
    let mut talk = Talk::begin(mail, keyring).await?;
    talk.log_in(mail).await?;
    talk.say(&format!("MAIL FROM:<{}>", mail.from), 250).await?;
    let (mut refusals, mut accepted) = (Vec::new(), 0);
    for to in &mail.to {
        match talk.say(&format!("RCPT TO:<{to}>"), 250).await {
            Ok(_) => accepted += 1,
            Err(trouble) if trouble.is_final => refusals.push(trouble.what),
            Err(trouble) => return Err(trouble),
        }
    }
    if accepted == 0 {
        return Err(Trouble::refused(refusals.join("; ")));
    }
    for refusal in refusals {
        tracing::warn!("mail: {refusal}; the others get it");
    }
    talk.say("DATA", 354).await?;
    let mut text = String::with_capacity(message.text.len() + 8);
    for line in message.text.lines() {
        // A line that begins with a dot would end it.
        let dot = if line.starts_with('.') { "." } else { "" };
        text.extend([dot, line, "\r\n"]);
    }
    text.push('.');
    talk.say(&text, 250).await?;
    // It is theirs now, whatever they say to this.
    let _ = talk.say("QUIT", 221).await;
    Ok(())
}

impl Talk {
    async fn begin(mail: &Mail, keyring: &Keyring) -> Result<Self, Trouble> {
        let (host, port) = (mail.host.as_str(), mail.port);
        let tcp = wire::connect(host, port).await.map_err(Trouble::passing)?;
        let name = match tcp.local_addr().map(|address| address.ip()) {
            Ok(IpAddr::V4(ip)) => format!("[{ip}]"),
            Ok(IpAddr::V6(ip)) => format!("[IPv6:{ip}]"),
            Err(_) => "localhost".to_owned(),
        };
        let stream: Box<dyn Stream> = match mail.encryption {
            Encryption::Implicit => {
                let made = wire::encrypt(tcp, (host, port), &mail.tls, keyring).await;
                Box::new(made.map_err(Trouble::passing)?)
            }
            Encryption::None | Encryption::StartTls => Box::new(tcp),
        };
        let mut talk = Self {
            stream: BufReader::new(stream),
            name,
            host: format!("{host}:{port}"),
            extensions: Vec::new(),
        };
        talk.expect(220, "its greeting").await?;
        talk.hello().await?;
        if mail.encryption == Encryption::StartTls {
            talk = talk.encrypted(mail, keyring).await?;
        }
        Ok(talk)
    }

    async fn hello(&mut self) -> Result<(), Trouble> {
        let hello = format!("EHLO {}", self.name);
        let reply = self.say(&hello, 250).await?;
        self.extensions = reply.lines.into_iter().skip(1).collect();
        Ok(())
    }

    async fn encrypted(mut self, mail: &Mail, keyring: &Keyring) -> Result<Self, Trouble> {
        if self.extension("STARTTLS").is_none() {
            return Err(Trouble::passing(format!(
                "{} offers no STARTTLS, so nothing is sent; see `tls` of the target",
                self.host
            )));
        }
        self.say("STARTTLS", 220).await?;
        if !self.stream.buffer().is_empty() {
            // Said in the clear, and to be taken for said under TLS.
            let what = format!("{} speaks out of turn before TLS; nothing is sent", self.host);
            return Err(Trouble::passing(what));
        }
        let (host, port) = (mail.host.as_str(), mail.port);
        let stream = self.stream.into_inner();
        let made = wire::encrypt(stream, (host, port), &mail.tls, keyring).await;
        let stream: Box<dyn Stream> = Box::new(made.map_err(Trouble::passing)?);
        let mut talk = Self { stream: BufReader::new(stream), extensions: Vec::new(), ..self };
        talk.hello().await?;
        Ok(talk)
    }

    /// The arguments of an extension that the server has.
    fn extension(&self, name: &str) -> Option<&str> {
        self.extensions.iter().find_map(|line| {
            let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
            word.eq_ignore_ascii_case(name).then_some(rest)
        })
    }

    async fn log_in(&mut self, mail: &Mail) -> Result<(), Trouble> {
        let Some((user, password)) = &mail.login else { return Ok(()) };
        let password = password.reveal().map_err(Trouble::passing)?;
        let offered = self.extension("AUTH").unwrap_or_default().to_ascii_uppercase();
        let offers = |way: &str| offered.split(' ').any(|word| word == way);
        let outcome = if offers("PLAIN") {
            let both = STANDARD.encode(format!("\0{user}\0{password}"));
            self.say(&format!("AUTH PLAIN {both}"), 235).await
        } else if offers("LOGIN") {
            self.say("AUTH LOGIN", 334).await?;
            self.say(&STANDARD.encode(user), 334).await?;
            self.say(&STANDARD.encode(password), 235).await
        } else {
            let what = format!("{} offers neither AUTH PLAIN nor LOGIN", self.host);
            Err(Trouble::passing(what))
        };
        // A wrong password is mended there or here; the message is none the worse.
        outcome.map(drop).map_err(|trouble| Trouble::passing(trouble.what))
    }

    /// Says `line` and waits for the reply `code`. An error shows the first word of the line only.
    async fn say(&mut self, line: &str, code: u16) -> Result<Reply, Trouble> {
        let broken = |host: &str, error: std::io::Error| {
            Trouble::passing(format!("{host} broke off: {error}"))
        };
        let written = self.stream.write_all(format!("{line}\r\n").as_bytes()).await;
        written.map_err(|error| broken(&self.host, error))?;
        let flushed = self.stream.flush().await;
        flushed.map_err(|error| broken(&self.host, error))?;
        let word = line.split([' ', ':']).next().unwrap_or_default();
        let word = match word {
            "MAIL" | "RCPT" => line,
            "AUTH" | "DATA" | "EHLO" | "QUIT" | "STARTTLS" => word,
            _ if code == 250 => "the message",
            _ => "the login",
        };
        self.expect(code, word).await
    }

    async fn expect(&mut self, code: u16, what: &str) -> Result<Reply, Trouble> {
        let reply = self.reply().await?;
        if reply.code == code || (code == 250 && reply.code == 251) {
            return Ok(reply);
        }
        let said: String = reply.lines.join(" ");
        let said: String = said.chars().filter(|c| !c.is_control()).take(SHOWN_CHARS_MAX).collect();
        let what = format!("{} says {} {said} to {what}", self.host, reply.code);
        Err(if reply.code >= 500 { Trouble::refused(what) } else { Trouble::passing(what) })
    }

    async fn reply(&mut self) -> Result<Reply, Trouble> {
        let wrong = |host: &str| Trouble::passing(format!("what answers at {host} is no SMTP"));
        let mut lines = Vec::new();
        while lines.len() < LINES_MAX {
            let mut line = String::new();
            let read = (&mut self.stream).take(LINE_BYTES_MAX).read_line(&mut line).await;
            read.map_err(|error| Trouble::passing(format!("{} broke off: {error}", self.host)))?;
            if line.is_empty() {
                return Err(Trouble::passing(format!("{} closed the connection", self.host)));
            }
            let line = line.trim_end();
            let code = line.get(..3).and_then(|code| code.parse::<u16>().ok());
            let code = code.ok_or_else(|| wrong(&self.host))?;
            lines.push(line.get(4..).unwrap_or_default().to_owned());
            if line.as_bytes().get(3) != Some(&b'-') {
                return Ok(Reply { code, lines });
            }
        }
        Err(wrong(&self.host))
    }
}
