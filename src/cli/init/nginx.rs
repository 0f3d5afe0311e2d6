//! What a configuration of nginx says of the apps behind it: which `server_name` and `location`
//! leads where, by which line.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::traffic::Address;
use crate::traffic::matching::Pattern;

/// Files that are read of one configuration: what is more is a circle.
const FILES_MAX: usize = 500;

/// Bytes of one of them.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// Blocks inside blocks.
const DEPTH_MAX: usize = 32;

/// A `location` that passes requests on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pass {
    /// The names of its server.
    pub(super) names: Vec<String>,
    /// What it is for, such as `/` or `@app`.
    pub(super) location: String,
    /// Where requests go; empty where that is not plain HTTP to known places.
    pub(super) upstreams: Vec<Address>,
    /// The directive as it stands there, such as `proxy_pass http://app`.
    pub(super) directive: String,
    /// Whether the app is told the client's address.
    pub(super) forwards: bool,
    /// Its file and line.
    pub(super) place: (PathBuf, usize),
}

/// A directive: its words and its block.
#[derive(Debug)]
struct Directive {
    words: Vec<String>,
    block: Vec<Directive>,
    place: (PathBuf, usize),
}

/// Reads the configuration that begins with `file`.
///
/// # Errors
/// The file, or one that it includes by its whole name, cannot be read.
pub(super) fn passes(file: &Path) -> io::Result<Vec<Pass>> {
    let mut reading = Reading { folder: folder(file), files: 0 };
    let tree = reading.file(file, 0)?;
    let mut upstreams = BTreeMap::new();
    gather_upstreams(&tree, &mut upstreams);
    let mut passes = Vec::new();
    gather(&tree, &Scope::default(), &upstreams, &mut passes);
    Ok(passes)
}

fn folder(file: &Path) -> PathBuf {
    // Snippets of a site are included relative to the main configuration, one folder up.
    let own = file.parent().unwrap_or(Path::new("")).to_owned();
    let above = own.parent().filter(|above| above.join("nginx.conf").is_file());
    above.map_or(own.clone(), Path::to_owned)
}

struct Reading {
    folder: PathBuf,
    files: usize,
}

impl Reading {
    fn file(&mut self, path: &Path, depth: usize) -> io::Result<Vec<Directive>> {
        self.files += 1;
        if self.files > FILES_MAX || path.metadata()?.len() > FILE_BYTES_MAX {
            return Err(io::Error::other(format!("{} is too much to read", path.display())));
        }
        let text = String::from_utf8_lossy(&fs::read(path)?).into_owned();
        let words = words(&text);
        let mut words = words.iter();
        let directives = directives(&mut words, path, 0);
        let mut whole = Vec::new();
        for directive in directives {
            self.included(directive, depth, &mut whole)?;
        }
        Ok(whole)
    }

    /// Puts `directive` into `out`, with what it includes in its place.
    fn included(
        &mut self,
        directive: Directive,
        depth: usize,
        out: &mut Vec<Directive>,
    ) -> io::Result<()> {
        let Directive { words, block, place } = directive;
        if words.first().is_some_and(|word| word == "include") && depth < DEPTH_MAX {
            let Some(pattern) = words.get(1) else { return Ok(()) };
            for path in matching(&self.folder.join(pattern)) {
                out.extend(self.file(&path, depth + 1)?);
            }
            return Ok(());
        }
        let mut inside = Vec::new();
        for directive in block {
            self.included(directive, depth + 1, &mut inside)?;
        }
        out.push(Directive { words, block: inside, place });
        Ok(())
    }
}

/// The files that fit a pattern whose last part may have stars, in their order.
fn matching(pattern: &Path) -> Vec<PathBuf> {
    let name = pattern.file_name().map(|name| name.to_string_lossy().into_owned());
    let name = name.unwrap_or_default();
    if !name.contains('*') {
        return vec![pattern.to_owned()];
    }
    let fits = Pattern::new(&name);
    let listed = fs::read_dir(pattern.parent().unwrap_or(Path::new(".")));
    // A pattern that fits nothing is no mistake to nginx.
    let entries = listed.map(|entries| entries.flatten().collect::<Vec<_>>()).unwrap_or_default();
    let mut paths: Vec<PathBuf> = entries
        .iter()
        .filter(|entry| fits.matches(entry.file_name().as_encoded_bytes()))
        .map(fs::DirEntry::path)
        .filter(|path| path.is_file())
        .collect();
    paths.sort();
    paths
}

/// The words of a file and their lines; `{`, `}` and `;` are words of their own.
fn words(text: &str) -> Vec<(usize, String)> {
    let (mut words, mut word, mut line) = (Vec::new(), String::new(), 1);
    let mut chars = text.chars().peekable();
    let end = |word: &mut String, words: &mut Vec<(usize, String)>, line: usize| {
        if !word.is_empty() {
            words.push((line, std::mem::take(word)));
        }
    };
    while let Some(c) = chars.next() {
        match c {
            '#' if word.is_empty() => while chars.next_if(|c| *c != '\n').is_some() {},
            '"' | '\'' if word.is_empty() => {
                let begun = line;
                while let Some(inner) = chars.next() {
                    match inner {
                        '\\' => word.extend(chars.next()),
                        _ if inner == c => break,
                        _ => word.push(inner),
                    }
                    line += usize::from(inner == '\n');
                }
                words.push((begun, std::mem::take(&mut word)));
            }
            // ${name} is a part of a word.
            '{' if word.ends_with('$') => {
                word.push(c);
                while let Some(inner) = chars.next_if(|c| *c != '}') {
                    word.push(inner);
                }
                word.extend(chars.next());
            }
            '{' | '}' | ';' => {
                end(&mut word, &mut words, line);
                words.push((line, c.to_string()));
            }
            _ if c.is_whitespace() => {
                end(&mut word, &mut words, line);
                line += usize::from(c == '\n');
            }
            _ => word.push(c),
        }
    }
    end(&mut word, &mut words, line);
    words
}

fn directives(
    words: &mut std::slice::Iter<'_, (usize, String)>,
    path: &Path,
    depth: usize,
) -> Vec<Directive> {
    let (mut found, mut current, mut begun) = (Vec::new(), Vec::new(), 0);
    while let Some((line, word)) = words.next() {
        let place = (path.to_owned(), begun);
        match word.as_str() {
            "}" => return found,
            ";" => {
                let words = std::mem::take(&mut current);
                found.push(Directive { words, block: Vec::new(), place });
            }
            "{" if depth < DEPTH_MAX => {
                let block = directives(words, path, depth + 1);
                found.push(Directive { words: std::mem::take(&mut current), block, place });
            }
            word => {
                if current.is_empty() {
                    begun = *line;
                }
                current.push(word.to_owned());
            }
        }
    }
    found
}

/// The servers of each `upstream`.
fn gather_upstreams(tree: &[Directive], found: &mut BTreeMap<String, Vec<String>>) {
    for Directive { words, block, .. } in tree {
        if let [kind, name] = words.as_slice()
            && kind == "upstream"
        {
            let servers = block.iter().filter(|inner| inner.words.len() > 1);
            let servers = servers.filter(|inner| inner.words[0] == "server");
            found.insert(name.clone(), servers.map(|inner| inner.words[1].clone()).collect());
        }
        gather_upstreams(block, found);
    }
}

#[derive(Clone, Default)]
struct Scope {
    names: Vec<String>,
    location: String,
    forwards: bool,
}

fn gather(
    tree: &[Directive],
    around: &Scope,
    upstreams: &BTreeMap<String, Vec<String>>,
    passes: &mut Vec<Pass>,
) {
    let mut here = around.clone();
    for Directive { words, .. } in tree {
        match words.first().map(String::as_str) {
            Some("server_name") => here.names = words[1..].to_vec(),
            Some("proxy_set_header") => {
                let field = words.get(1).map(|field| field.to_ascii_lowercase());
                here.forwards |= field.as_deref() == Some("x-forwarded-for");
            }
            _ => {}
        }
    }
    for Directive { words, block, place } in tree {
        match words.first().map(String::as_str) {
            Some("proxy_pass" | "fastcgi_pass" | "uwsgi_pass") if words.len() > 1 => {
                let plain = words[0] == "proxy_pass";
                passes.push(Pass {
                    names: here.names.clone(),
                    location: here.location.clone(),
                    upstreams: if plain { addresses(&words[1], upstreams) } else { Vec::new() },
                    directive: words.join(" "),
                    forwards: here.forwards,
                    place: place.clone(),
                });
            }
            Some("location") => {
                let location = words[1..].join(" ");
                gather(block, &Scope { location, ..here.clone() }, upstreams, passes);
            }
            _ => gather(block, &here, upstreams, passes),
        }
    }
}

/// Where `http://app/path` leads; nothing where that is only known at the request.
fn addresses(url: &str, upstreams: &BTreeMap<String, Vec<String>>) -> Vec<Address> {
    let (scheme, rest) = url.split_once("://").unwrap_or(("http", url));
    let host = if rest.starts_with("unix:") {
        // unix:/run/app.sock:/path
        rest.match_indices(':').nth(1).map_or(rest, |(at, _)| &rest[..at])
    } else {
        rest.split('/').next().unwrap_or(rest)
    };
    let usual = if scheme == "https" { 443 } else { 80 };
    let address = |host: &str| -> Option<Address> {
        let prefix = if scheme == "https" { "https://" } else { "" };
        let whole = format!("{prefix}{host}");
        whole.parse().ok().or_else(|| format!("{whole}:{usual}").parse().ok())
    };
    if host.contains('$') {
        return Vec::new();
    }
    match upstreams.get(host) {
        Some(servers) => servers.iter().filter_map(|server| address(server)).collect(),
        None => address(host).into_iter().collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sites_and_where_they_lead_are_found_through_includes() {
        let root = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = root.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write(
            "nginx.conf",
            "user www; # proxy_pass http://nobody;\nhttp {\n  include sites/*.conf;\n \
             log_format x \"{ ; }\";\n}\n",
        );
        write(
            "sites/shop.conf",
            "upstream app { server 127.0.0.1:3000 max_fails=0; server unix:/run/app.sock; }\n\
             server {\n  server_name shop.example www.shop.example;\n  location / {\n    \
             proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;\n    proxy_pass \
             http://app;\n  }\n  location ~ \\.php$ { fastcgi_pass unix:/run/php.sock; }\n}\n",
        );
        write(
            "sites/zoo.conf",
            "server { location @app { proxy_pass http://unix:/run/zoo.sock:/x; } location /v { \
             proxy_pass http://$where; } location /w { proxy_pass https://zoo.internal/; } }\n",
        );
        let passes = passes(&root.path().join("nginx.conf")).unwrap();
        let shown = |pass: &Pass| {
            let upstreams: Vec<String> = pass.upstreams.iter().map(ToString::to_string).collect();
            format!("{} {} {}", pass.names.join("+"), pass.location, upstreams.join("+"))
        };
        let all: Vec<String> = passes.iter().map(shown).collect();
        assert_eq!(
            all,
            [
                "shop.example+www.shop.example / 127.0.0.1:3000+unix:/run/app.sock",
                "shop.example+www.shop.example ~ \\.php$ ",
                " @app unix:/run/zoo.sock",
                " /v ",
                " /w https://zoo.internal:443"
            ]
        );
        assert_eq!(passes[0].place, (root.path().join("sites/shop.conf"), 6));
        assert_eq!(passes[0].directive, "proxy_pass http://app");
        assert!(passes[0].forwards && !passes[2].forwards);
        let site = root.path().join("sites/shop.conf");
        assert_eq!(super::passes(&site).unwrap().len(), 2, "a site of its own");
        assert!(super::passes(&root.path().join("none")).is_err());
    }
}
