//! The state directory, which one server has to itself.

use std::{
    fs,
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::Path,
    time::Duration,
};

use rustix::fs::{FlockOperation, flock};

use crate::Error;

/// How long a server that is about to end may hold its state directory.
const TAKE_OVER: Duration = Duration::from_secs(3);

/// Whether nobody else can change or read what is in a directory.
pub(crate) fn check_private(path: &Path) -> std::io::Result<()> {
    let meta = fs::metadata(path)?;
    let is_ours = meta.uid() == rustix::process::geteuid().as_raw() && meta.mode() & 0o077 == 0;
    if is_ours {
        Ok(())
    } else {
        Err(std::io::Error::other("it must be ours alone: chown it to this user, and chmod 700"))
    }
}

/// Takes the lock, which is held for as long as the file is open.
pub(crate) async fn lock(state: &Path) -> Result<fs::File, Error> {
    let failed = || format!("cannot use {}", state.display());
    let open = fs::OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(state.join("lock"));
    let file = open.map_err(Error::io(failed()))?;
    let taken = async {
        while flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    if tokio::time::timeout(TAKE_OVER, taken).await.is_err() {
        let reason = "another `glasshouse serve` uses it: stop that one, or choose another directory with --state";
        return Err(Error::io(failed())(std::io::Error::other(reason)));
    }
    Ok(file)
}
