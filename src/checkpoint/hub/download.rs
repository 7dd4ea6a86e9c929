//! One file over HTTP: its metadata, its download in one or more parts, and the check of its hash.

use super::Progress;
use crate::error::{Error, Result};
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{env, thread};
use ureq::http::{Response, header::HeaderMap};
use ureq::{Agent, Body};

/// The longest wait for a connection, an answer, or the next bytes.
const PATIENCE: Duration = Duration::from_secs(20);

/// How many attempts in a row may bring no new bytes.
const TRIES: usize = 4;

/// The hub, and how it is asked.
pub struct Web {
    agent: Agent,
    endpoint: String,
    token: Option<String>,
    /// The model, for messages.
    name: String,
}

/// A file on the hub.
pub struct Blob {
    /// Its name in the repository.
    pub file: String,
    /// What identifies its content; its name among the blobs.
    pub etag: String,
    url: String,
    pub size: u64,
    /// The SHA-256 of its content, if the hub gives it.
    sha256: Option<String>,
}

/// Whether a name from the hub is a plain file name, not a path.
pub fn is_plain(name: &str) -> bool {
    let known = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    (1..=200).contains(&name.len()) && !name.starts_with('.') && name.bytes().all(known)
}

/// Why an attempt failed.
enum Failed {
    /// Another attempt may continue.
    Retry(String),
    /// No attempt can succeed.
    Stop(Error),
}

impl Web {
    /// As the environment says.
    pub fn from_environment(name: &str) -> Result<Self> {
        let var = |name| env::var(name).ok().filter(|value: &String| !value.is_empty());
        let endpoint = var("HF_ENDPOINT").unwrap_or_else(|| "https://huggingface.co".into());
        let token = var("HF_TOKEN").or_else(|| fs::read_to_string(super::names::token_file()?).ok());
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .timeout_connect(Some(PATIENCE))
            .timeout_resolve(Some(PATIENCE))
            .timeout_recv_response(Some(PATIENCE))
            .timeout_per_read(Some(PATIENCE))
            .user_agent(concat!("gpt2-explained/", env!("CARGO_PKG_VERSION")))
            .build();
        Ok(Self {
            agent: config.into(),
            endpoint: endpoint.trim_end_matches('/').into(),
            token: token.map(|token| token.trim().to_string()).filter(|token| !token.is_empty()),
            name: name.into(),
        })
    }

    /// An answer as JSON.
    pub fn json(&self, path: &str) -> Result<Value> {
        let mut answer = self.ask("GET", &format!("{}/{path}", self.endpoint), &[])?;
        self.check(&answer, path)?;
        let text = answer.body_mut().with_config().limit(64 << 20).read_to_vec();
        let text = text.map_err(|e| self.problem(&format!("{path}: {e}")))?;
        serde_json::from_slice(&text)
            .map_err(|_| self.problem(&format!("{path} is not JSON; is HF_ENDPOINT a hub?")))
    }

    /// What the hub says about a file.
    pub fn blob(&self, path: &str, file: &str) -> Result<Blob> {
        let url = format!("{}/{path}", self.endpoint);
        let answer = self.ask("HEAD", &url, &[])?;
        if !answer.status().is_redirection() {
            self.check(&answer, file)?;
        }
        let header = |name: &str| text(answer.headers(), name);
        let linked = header("x-linked-etag").map(|etag| bare(&etag));
        let sha256 =
            linked.clone().filter(|etag| etag.len() == 64 && etag.bytes().all(|b| b.is_ascii_hexdigit()));
        let etag = linked.or_else(|| header("etag").map(|etag| bare(&etag))).filter(|etag| is_plain(etag));
        let etag = etag.ok_or_else(|| self.problem(&format!("{file} has no usable ETag")))?;
        let size =
            header("x-linked-size").or_else(|| header("content-length")).and_then(|size| size.parse().ok());
        let size = size.ok_or_else(|| self.problem(&format!("{file} has no size")))?;
        Ok(Blob { file: file.into(), etag, url, size, sha256 })
    }

    /// Fetches a file to `path`, where it appears when it is whole. What an earlier process left of it is continued.
    pub fn download(&self, blob: &Blob, path: &Path, progress: Progress<'_>) -> Result<()> {
        let grows = path.with_file_name(format!("{}.incomplete", blob.etag));
        let (mut failures, mut best) = (0, 0);
        loop {
            let cut = match self.attempt(blob, &grows, progress) {
                Ok(()) => break,
                Err(Failed::Stop(error)) => return Err(error),
                Err(Failed::Retry(cut)) => cut,
            };
            let there = fs::metadata(&grows).map_or(0, |about| about.len());
            failures = if there > best { 1 } else { failures + 1 };
            best = best.max(there);
            if failures == TRIES {
                let problem = format!(
                    "{}: {cut}, after {there} of {} bytes; run the command again to continue",
                    blob.file, blob.size
                );
                return Err(self.problem(&problem));
            }
            thread::sleep(Duration::from_millis(200 << failures));
        }
        fs::rename(&grows, path).map_err(Error::io(path))
    }

    /// One request for what is missing of a file; at its end the file is whole, checked, and on the disk.
    fn attempt(&self, blob: &Blob, grows: &Path, progress: Progress<'_>) -> Result<(), Failed> {
        let io = |error: io::Error| Failed::Stop(Error::io(grows)(error));
        let mut file = OpenOptions::new().create(true).append(true).read(true).open(grows).map_err(io)?;
        // without a hash, parts of two versions could not be told from a whole
        let begun = file.metadata().map_err(io)?.len();
        if blob.sha256.is_none() || begun > blob.size {
            file.set_len(0).map_err(io)?;
        }
        let mut there = file.metadata().map_err(io)?.len();
        let mark = mark(grows);
        if there < blob.size || blob.size == 0 {
            let mut headers = Vec::new();
            if there > 0 {
                headers.push(("range", format!("bytes={there}-")));
                headers.extend(fs::read_to_string(&mark).ok().map(|etag| ("if-range", etag)));
            }
            let mut answer =
                self.ask("GET", &blob.url, &headers).map_err(|e| Failed::Retry(e.to_string()))?;
            let from = text(answer.headers(), "content-range")
                .and_then(|range| range.strip_prefix("bytes ")?.split('-').next()?.parse::<u64>().ok());
            match answer.status().as_u16() {
                206 if from == Some(there) => (),
                // the whole file, another part than asked for, or none: begin again
                200 | 206 | 416 if there > 0 || answer.status() == 200 => {
                    file.set_len(0).map_err(io)?;
                    there = 0;
                    if answer.status() != 200 {
                        let _ = fs::remove_file(&mark);
                        return Err(Failed::Retry("the hub sent another part than asked for".into()));
                    }
                }
                status if status >= 500 => {
                    return Err(Failed::Retry(self.status(status, &answer, &blob.file).to_string()));
                }
                _ => {
                    return Err(Failed::Stop(
                        self.check(&answer, &blob.file)
                            .err()
                            .unwrap_or_else(|| self.problem("an odd answer")),
                    ));
                }
            }
            // only a strong ETag can say later that the rest belongs to this part
            match text(answer.headers(), "etag").filter(|etag| etag.starts_with('"')) {
                Some(etag) => fs::write(&mark, etag).map_err(io)?,
                None => drop(fs::remove_file(&mark)),
            }
            copy(answer.body_mut(), &mut file, there, blob, progress).map_err(|cut| match cut {
                Failed::Stop(error) => Failed::Stop(Error::file(grows, error.to_string())),
                retry => retry,
            })?;
        }
        let whole = file.metadata().map_err(io)?.len();
        if whole < blob.size {
            return Err(Failed::Retry("the connection ended".into()));
        }
        file.sync_data().map_err(io)?;
        drop(file);
        let _ = fs::remove_file(&mark);
        if whole > blob.size || !has_hash(grows, blob.sha256.as_deref()).map_err(io)? {
            fs::remove_file(grows).map_err(io)?;
            if begun > 0 {
                return Err(Failed::Retry("what an earlier call had left was damaged".into())); // once more from the beginning
            }
            let what = if whole > blob.size { "length" } else { "SHA-256" };
            let problem =
                format!("{} has not the {what} that the hub gives for it; try again later", blob.file);
            return Err(Failed::Stop(self.problem(&problem)));
        }
        Ok(())
    }

    /// Sends a request and follows redirects. What a hub says of a linked file stays among the headers of the last answer.
    fn ask(&self, method: &str, url: &str, headers: &[(&str, String)]) -> Result<Response<Body>> {
        let (mut url, mut linked) = (url.to_string(), Vec::new());
        for _ in 0..6 {
            let mut request = ureq::http::Request::builder().method(method).uri(&*url);
            for (name, value) in headers {
                request = request.header(*name, value);
            }
            // the token is for the hub alone
            if let Some(token) = self.token.as_ref().filter(|_| origin(&url) == origin(&self.endpoint)) {
                request = request.header("authorization", format!("Bearer {token}"));
            }
            let request = request.header("accept-encoding", "identity").body(());
            let request = request.map_err(|e| self.problem(&format!("{url}: {e}")))?;
            let answer = self.agent.run(request);
            let mut answer = answer.map_err(|e| self.problem(&format!("{e}; is the network there?")))?;
            for name in ["x-linked-etag", "x-linked-size"] {
                linked.extend(answer.headers().get(name).map(|value| (name, value.clone())));
            }
            let Some(to) = text(answer.headers(), "location").filter(|_| answer.status().is_redirection())
            else {
                linked
                    .into_iter()
                    .rev()
                    .for_each(|(name, value)| _ = answer.headers_mut().insert(name, value));
                return Ok(answer);
            };
            if method == "HEAD" && linked.len() >= 2 {
                return Ok(answer); // all is said, and a store may not answer to HEAD
            }
            url = if to.starts_with('/') { format!("{}{to}", origin(&url)) } else { to };
        }
        Err(self.problem("too many redirects"))
    }

    /// An error unless the answer is a success.
    fn check(&self, answer: &Response<Body>, what: &str) -> Result<()> {
        let status = answer.status();
        if status.is_success() { Ok(()) } else { Err(self.status(status.as_u16(), answer, what)) }
    }

    /// What a status means for the user.
    fn status(&self, status: u16, answer: &Response<Body>, what: &str) -> Error {
        let (name, wait) = (&self.name, text(answer.headers(), "retry-after"));
        self.problem(&match status {
            401 if self.token.is_none() => {
                format!("{what}: the hub has no such model, or it needs a token: set HF_TOKEN (status 401)")
            }
            401 => format!(
                "{what}: the hub does not take the token of HF_TOKEN, or has no such model (status 401)"
            ),
            403 => format!(
                "{what}: access is refused: accept the terms on {}/{name} first (status 403)",
                self.endpoint
            ),
            404 => format!("{what}: the hub has no such model or file (status 404); check the name"),
            429 => {
                let wait = wait.map_or("later".into(), |seconds| format!("in {seconds} seconds"));
                format!("{what}: too many requests (status 429); try again {wait}")
            }
            500.. => format!("{what}: the hub has a problem (status {status}); try again later"),
            _ => format!("{what}: an unexpected answer, status {status}"),
        })
    }

    fn problem(&self, problem: &str) -> Error {
        Error::input(format!("{} from {}: {problem}", self.name, self.endpoint))
    }
}

/// The scheme and the host of an address.
fn origin(url: &str) -> &str {
    let host = url.find("://").map_or(0, |at| at + 3);
    &url[..url[host..].find('/').map_or(url.len(), |at| host + at)]
}

/// Where the ETag of a part is kept.
fn mark(grows: &Path) -> PathBuf {
    grows.with_extension("incomplete-etag")
}

/// Appends the answer's body to the file.
fn copy(
    body: &mut Body,
    file: &mut File,
    mut there: u64,
    blob: &Blob,
    progress: Progress<'_>,
) -> Result<(), Failed> {
    let (mut reader, mut part) = (body.as_reader(), vec![0; 1 << 16]);
    loop {
        progress(&blob.file, there, blob.size);
        let len = reader.read(&mut part).map_err(|e| Failed::Retry(e.to_string()))?;
        if len == 0 {
            return Ok(());
        }
        file.write_all(&part[..len]).map_err(|e| Failed::Stop(Error::input(e.to_string())))?;
        there += len as u64;
        if there > blob.size {
            return Ok(()); // more than announced: no endless body
        }
    }
}

/// Whether the file's SHA-256 is this one, if there is one.
fn has_hash(path: &Path, sha256: Option<&str>) -> io::Result<bool> {
    let Some(expected) = sha256 else { return Ok(true) };
    let (mut file, mut hash, mut part) = (File::open(path)?, Sha256::new(), vec![0; 1 << 20]);
    loop {
        match file.read(&mut part)? {
            0 => break,
            len => hash.update(&part[..len]),
        }
    }
    let hex: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(hex.eq_ignore_ascii_case(expected))
}

/// A header as text.
fn text(headers: &HeaderMap, name: &str) -> Option<String> {
    Some(headers.get(name)?.to_str().ok()?.to_string())
}

/// An ETag without its quotes.
fn bare(etag: &str) -> String {
    etag.trim_start_matches("W/").trim_matches('"').into()
}
