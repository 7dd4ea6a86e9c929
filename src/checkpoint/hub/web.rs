//! The hub: what is asked of it, and what its answers mean.

use crate::checkpoint::names;
use crate::error::{Error, Result};
use serde_json::Value;
use std::time::Duration;
use std::{env, fs};
use ureq::http::{Response, header::HeaderMap};
use ureq::{Agent, Body};

/// The longest wait for a connection, an answer, or the next bytes.
const PATIENCE: Duration = Duration::from_secs(20);

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
    pub url: String,
    pub size: u64,
    /// The SHA-256 of its content, if the hub gives it.
    pub sha256: Option<String>,
}

/// Whether a name from the hub is a plain file name, not a path.
pub fn is_plain(name: &str) -> bool {
    let known = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    (1..=200).contains(&name.len()) && !name.starts_with('.') && name.bytes().all(known)
}

impl Web {
    /// As the environment says.
    pub fn from_environment(name: &str) -> Result<Self> {
        let var = |name| env::var(name).ok().filter(|value: &String| !value.is_empty());
        let endpoint = var("HF_ENDPOINT").unwrap_or_else(|| "https://huggingface.co".into());
        let token = var("HF_TOKEN").or_else(|| fs::read_to_string(names::token_file()?).ok());
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

    /// Sends a request and follows redirects. What a hub says of a linked file stays among the headers of the last answer.
    pub fn ask(&self, method: &str, url: &str, headers: &[(&str, String)]) -> Result<Response<Body>> {
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
    pub fn check(&self, answer: &Response<Body>, what: &str) -> Result<()> {
        let status = answer.status();
        if status.is_success() { Ok(()) } else { Err(self.status(status.as_u16(), answer, what)) }
    }

    /// What a status means for the user.
    pub fn status(&self, status: u16, answer: &Response<Body>, what: &str) -> Error {
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

    pub fn problem(&self, problem: &str) -> Error {
        Error::input(format!("{} from {}: {problem}", self.name, self.endpoint))
    }
}

/// The scheme and the host of an address.
fn origin(url: &str) -> &str {
    let host = url.find("://").map_or(0, |at| at + 3);
    &url[..url[host..].find('/').map_or(url.len(), |at| host + at)]
}

/// A header as text.
pub fn text(headers: &HeaderMap, name: &str) -> Option<String> {
    Some(headers.get(name)?.to_str().ok()?.to_string())
}

/// An ETag without its quotes.
fn bare(etag: &str) -> String {
    etag.trim_start_matches("W/").trim_matches('"').into()
}
