//! A model's file that is cut while it is mapped: an error, where the system would end the program with a signal.

use gpt2::format::mapped_file;
use libc::{SA_SIGINFO, SIG_DFL, SIGBUS, STDERR_FILENO, c_int, c_void, siginfo_t};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// From now on, reading a byte that the file of a map has lost ends the program with an error and exit code 1.
pub fn watch() {
    // SAFETY: `explain` has the signature that SA_SIGINFO asks for, and does only what a handler may do.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = explain as extern "C" fn(c_int, *mut siginfo_t, *mut c_void) as usize;
        action.sa_flags = SA_SIGINFO;
        libc::sigaction(SIGBUS, &action, std::ptr::null_mut());
    }
}

/// The handler. It takes no memory and no lock that could be held here, writes once, and ends the process.
extern "C" fn explain(_: c_int, info: *mut siginfo_t, _: *mut c_void) {
    // SAFETY: the system gives a handler with SA_SIGINFO the information about its signal.
    let address = unsafe { (*info).si_addr() }.addr();
    match mapped_file(address, message) {
        // SAFETY: the bytes are those of a slice; both calls are async-signal-safe by POSIX.
        Some((bytes, len)) => unsafe {
            libc::write(STDERR_FILENO, bytes.as_ptr().cast(), len);
            libc::_exit(1);
        },
        // SAFETY: setting the default action. It acts when the fault repeats, after this handler.
        None => unsafe {
            libc::signal(SIGBUS, SIG_DFL);
        },
    }
}

/// The error, and its length. A handler must not allocate.
fn message(path: &Path) -> ([u8; 1024], usize) {
    let (mut line, mut len) = ([0; 1024], 0);
    let path =
        path.as_os_str().as_bytes().iter().map(|byte| if byte.is_ascii_control() { b'?' } else { *byte });
    let rest = b": was cut or became unreadable while it was in use; --no-mmap reads it once, at the start\n";
    for byte in b"error: ".iter().copied().chain(path.take(800)).chain(rest.iter().copied()) {
        line[len] = byte;
        len += 1;
    }
    (line, len)
}
