//! One file over HTTP, in one or more parts, and the check of its hash.

use super::Progress;
use super::web::{Blob, Web, text};
use crate::error::{Error, Result};
use sha2::{Digest, Sha256};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;
use ureq::Body;

/// How many attempts in a row may bring no new bytes.
const TRIES: usize = 4;

/// Why an attempt failed.
enum Failed {
    /// Another attempt may continue.
    Retry(String),
    /// No attempt can succeed.
    Stop(Error),
}

impl Web {
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
