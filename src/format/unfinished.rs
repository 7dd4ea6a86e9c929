//! A file that appears under its name when it is whole, never before.
//!
//! It is written under another name in the same folder and then renamed, which every system does in one step. Dropped
//! before that, it is removed. A process that is killed cannot remove its file; the next one that writes to the folder
//! does. How does it know that nobody writes any more? The writer holds a lock, which ends with its process.

use crate::error::{Error, Result};
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A file in the making.
#[derive(Debug)]
pub(super) struct Unfinished {
    file: File,
    /// Where it grows.
    grows: PathBuf,
    /// Its final name.
    path: PathBuf,
}

/// What Unix says (`EFAULT`) of bytes that a mapped file has lost.
const BAD_ADDRESS: i32 = 14;

/// How the names of files in the making begin and end.
const BEGIN: &str = ".gpt2-";
const END: &str = ".unfinished";

/// Removes the files in the making whose process was killed. Where the system has no locks, they stay.
fn remove_abandoned(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let number = name.to_str().and_then(|name| name.strip_prefix(BEGIN)?.strip_suffix(END));
        let ours = number.is_some_and(|number| number.chars().all(|c| c.is_ascii_digit() || c == '-'));
        if ours && entry.file_type().is_ok_and(|kind| kind.is_file()) {
            let abandoned = File::open(entry.path()).is_ok_and(|file| file.try_lock().is_ok());
            if abandoned {
                let _ = fs::remove_file(entry.path()); // another process may have done it
            }
        }
    }
}

/// Where files grow now, for a process that must end at once.
fn growing() -> MutexGuard<'static, Vec<PathBuf>> {
    static GROWING: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());
    GROWING.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Unfinished {
    /// Begins a file that will lie at `path`; if that is a link, at what it points to.
    ///
    /// # Errors
    /// [`Error::Io`] if the file cannot be made; [`Error::File`] if `path` cannot be a file.
    pub fn create(path: &Path) -> Result<Self> {
        let path = destination(path)?;
        remove_abandoned(path.parent().filter(|folder| *folder != Path::new("")).unwrap_or(Path::new(".")));
        let mut number = 0;
        loop {
            // in the same folder, where a rename moves no bytes
            let grows = path.with_file_name(format!("{BEGIN}{}-{number}{END}", std::process::id()));
            let file = match OpenOptions::new().read(true).write(true).create_new(true).open(&grows) {
                Ok(file) => file,
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists && number < 1000 => {
                    number += 1;
                    continue;
                }
                Err(error) => return Err(Error::io(path)(error)),
            };
            // Another process may find the file before it is locked, and take it for abandoned.
            let taken = matches!(file.try_lock(), Err(TryLockError::WouldBlock)) || !grows.exists();
            if taken && number < 1000 {
                number += 1;
                continue;
            }
            growing().push(grows.clone());
            return Ok(Self { file, grows, path });
        }
    }

    /// The final name.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads or writes.
    ///
    /// # Errors
    /// [`Error::Io`] with the final name.
    pub fn with<T>(&mut self, work: impl FnOnce(&mut File) -> io::Result<T>) -> Result<T> {
        work(&mut self.file).map_err(|error| match error.raw_os_error() {
            Some(BAD_ADDRESS) if cfg!(unix) => {
                Error::file(&self.path, "a file that goes into it was cut meanwhile")
            }
            _ => Error::io(&self.path)(error),
        })
    }

    /// Gives the file its final name, in place of an older one.
    ///
    /// # Errors
    /// [`Error::Io`] if the disk or the folder refuses.
    pub fn finish(mut self) -> Result<()> {
        self.with(|file| file.sync_data())?; // on the disk before it is under its name
        fs::rename(&self.grows, &self.path).map_err(Error::io(&self.path))
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.grows); // after `finish` there is none
        growing().retain(|path| *path != self.grows);
    }
}

/// Removes every file in the making. Only for a process that is about to end: the threads that write them will fail.
pub fn remove_unfinished() {
    growing().drain(..).for_each(|path| drop(fs::remove_file(path)));
}

/// Writes a small file whole.
///
/// # Errors
/// [`Error::Io`] if the file cannot be made or the disk refuses; [`Error::File`] if `path` cannot be a file.
pub fn write_whole(path: &Path, bytes: &[u8]) -> Result<()> {
    write_whole_with(path, |file| file.write_all(bytes))
}

/// Lets `work` write a file whole.
///
/// # Errors
/// As [`Unfinished::create`] and [`Unfinished::finish`]; [`Error::Io`] if `work` fails.
pub(crate) fn write_whole_with(path: &Path, work: impl FnOnce(&mut File) -> io::Result<()>) -> Result<()> {
    let mut file = Unfinished::create(path)?;
    file.with(work)?;
    file.finish()
}

/// The file that `path` means: what a link points to. Anything but a file stays: a rename would replace a device.
fn destination(path: &Path) -> Result<PathBuf> {
    match fs::metadata(path) {
        Ok(about) if about.is_file() => path.canonicalize().map_err(Error::io(path)),
        Ok(about) if about.is_dir() => Err(Error::file(path, "is a folder; give the name of a file")),
        Ok(_) => Err(Error::file(path, "is not a regular file, which a new one could replace")),
        Err(_) if path.file_name().is_none() => Err(Error::file(path, "is not the name of a file")),
        Err(_) => Ok(path.to_path_buf()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(folder: &Path) -> Vec<String> {
        let names = fs::read_dir(folder).expect("a folder").map(|e| e.expect("an entry").file_name());
        names.map(|name| name.into_string().expect("a name")).collect()
    }

    #[test]
    fn what_is_not_finished_leaves_no_trace() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a");
        fs::write(&path, "older").expect("a file");
        let mut file = Unfinished::create(&path).expect("a file");
        file.with(|file| file.write_all(b"newer")).expect("a disk");
        assert_eq!((files(folder.path()).len(), file.path()), (2, &*path));
        drop(file);
        assert_eq!(fs::read(&path).expect("a file"), b"older");
        assert_eq!(files(folder.path()), ["a"]);
        write_whole(&path, b"newer").expect("a file");
        assert_eq!(fs::read(&path).expect("a file"), b"newer");
        assert_eq!(files(folder.path()), ["a"]);
    }

    #[test]
    fn a_place_that_is_none_is_named() {
        let folder = tempfile::tempdir().expect("a folder");
        let create = |path: &Path| Unfinished::create(path).map(|_| ());
        assert!(create(folder.path()).expect_err("a folder").to_string().contains("is a folder"));
        assert!(create(Path::new("")).expect_err("no name").to_string().contains("not the name"));
        let missing = folder.path().join("no/such");
        assert!(create(&missing).expect_err("no folder").to_string().contains("such"));
        #[cfg(unix)]
        assert!(create(Path::new("/dev/null")).expect_err("a device").to_string().contains("regular"));
    }

    #[test]
    fn what_a_killed_process_leaves_is_removed() {
        let folder = tempfile::tempdir().expect("a folder");
        let abandoned = folder.path().join(format!("{BEGIN}1-0{END}"));
        let other = folder.path().join(".gpt2-notes");
        fs::write(&abandoned, "half").expect("a file");
        fs::write(&other, "a user's").expect("a file");
        let file = Unfinished::create(&folder.path().join("a")).expect("a file");
        assert!(!abandoned.exists() && other.exists());
        let second = Unfinished::create(&folder.path().join("b")).expect("a file");
        assert!(file.grows.exists() && second.grows.exists(), "both still grow");
        file.finish().expect("a disk");
        second.finish().expect("a disk");
        assert_eq!(files(folder.path()).len(), 3);
    }

    #[cfg(unix)]
    #[test]
    fn a_mapped_file_that_is_cut_is_an_error() {
        let folder = tempfile::tempdir().expect("a folder");
        let (from, to) = (folder.path().join("from"), folder.path().join("to"));
        fs::write(&from, vec![1; 1 << 20]).expect("a file");
        let bytes = crate::format::Bytes::map(&from).expect("a file");
        File::options().write(true).open(&from).and_then(|file| file.set_len(10)).expect("a file");
        let error = write_whole(&to, &bytes).expect_err("no bytes");
        assert!(error.to_string().contains("was cut"), "{error}");
        assert_eq!(files(folder.path()), ["from"]);
    }

    #[cfg(unix)]
    #[test]
    fn a_link_stays_a_link() {
        let folder = tempfile::tempdir().expect("a folder");
        let (file, link) = (folder.path().join("file"), folder.path().join("link"));
        fs::write(&file, "older").expect("a file");
        std::os::unix::fs::symlink(&file, &link).expect("a link");
        write_whole(&link, b"newer").expect("a file");
        assert!(link.is_symlink());
        assert_eq!(fs::read(&file).expect("a file"), b"newer");
    }
}
